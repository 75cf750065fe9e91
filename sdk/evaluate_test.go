package sdk_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/fakeserver"
)

// shop is a flag of every type and of every outcome.
var shop = map[string]string{
	"bool":     on,
	"string":   `{"state":"ENABLED","variants":{"a":"hello","b":"bye"},"defaultVariant":"a","targeting":{"if":[{"==":[{"var":"plan"},"pro"]},"b","a"]}}`,
	"number":   `{"state":"ENABLED","variants":{"few":3.5,"many":12},"defaultVariant":"few"}`,
	"object":   `{"state":"ENABLED","variants":{"x":{"columns":2}},"defaultVariant":"x","metadata":{"team":"web"}}`,
	"disabled": `{"state":"DISABLED","variants":{"on":true},"defaultVariant":"on"}`,
	"open":     `{"state":"ENABLED","variants":{"on":true}}`,
	"wrong":    `{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on","targeting":{"var":"plan"}}`,
	"rollout":  `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":{"fractional":[["on",50],["off",50]]}}`,
}

func TestEvaluation(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(shop)
		a.start()
		p, ctx := a.provider, t.Context()
		pro := openfeature.FlattenedContext{"targetingKey": "u", "plan": "pro"}
		type answer struct {
			value   any
			variant string
			reason  openfeature.Reason
			code    openfeature.ErrorCode
		}
		of := func(value any, d openfeature.ProviderResolutionDetail) answer {
			r := d.ResolutionDetail()
			return answer{value, r.Variant, r.Reason, r.ErrorCode}
		}
		boolean := func(key string, def bool) answer {
			d := p.BooleanEvaluation(ctx, key, def, pro)
			return of(d.Value, d.ProviderResolutionDetail)
		}
		text := func(key, def string, c openfeature.FlattenedContext) answer {
			d := p.StringEvaluation(ctx, key, def, c)
			return of(d.Value, d.ProviderResolutionDetail)
		}
		whole := func(key string, def int64) answer {
			d := p.IntEvaluation(ctx, key, def, pro)
			return of(d.Value, d.ProviderResolutionDetail)
		}
		float := func(key string, def float64) answer {
			d := p.FloatEvaluation(ctx, key, def, pro)
			return of(d.Value, d.ProviderResolutionDetail)
		}
		object := func(key string, def any) answer {
			d := p.ObjectEvaluation(ctx, key, def, pro)
			return of(d.Value, d.ProviderResolutionDetail)
		}
		for _, test := range []struct {
			name      string
			got, want answer
		}{
			{"bool", boolean("bool", false), answer{true, "on", "STATIC", ""}},
			{"string, targeted", text("string", "x", pro), answer{"bye", "b", "TARGETING_MATCH", ""}},
			{"string, not targeted", text("string", "x", nil), answer{"hello", "a", "TARGETING_MATCH", ""}},
			{"float", float("number", 1), answer{3.5, "few", "STATIC", ""}},
			{"int", whole("number", 1), answer{int64(3), "few", "STATIC", ""}},
			{"object", object("object", nil), answer{map[string]any{"columns": 2.0}, "x", "STATIC", ""}},
			{"disabled", boolean("disabled", false), answer{false, "", "DISABLED", ""}},
			{"no default variant", boolean("open", false), answer{false, "", "DEFAULT", ""}},
			{"not found", boolean("nothing", true), answer{true, "", "ERROR", "FLAG_NOT_FOUND"}},
			{"of another type", boolean("string", true), answer{true, "", "ERROR", "TYPE_MISMATCH"}},
			{"string of another type", text("bool", "x", nil), answer{"x", "", "ERROR", "TYPE_MISMATCH"}},
			{"int of another type", whole("bool", 7), answer{int64(7), "", "ERROR", "TYPE_MISMATCH"}},
			{"float of another type", float("bool", 7), answer{7.0, "", "ERROR", "TYPE_MISMATCH"}},
			{"object of another type", object("bool", "mine"), answer{"mine", "", "ERROR", "TYPE_MISMATCH"}},
			{"no such variant", boolean("wrong", true), answer{true, "", "ERROR", "GENERAL"}},
		} {
			if !reflect.DeepEqual(test.got, test.want) {
				t.Errorf("%s: %+v, want %+v", test.name, test.got, test.want)
			}
		}
		if d := p.ObjectEvaluation(ctx, "object", nil, nil); d.FlagMetadata["team"] != "web" {
			t.Errorf("metadata %v, want the flag's own", d.FlagMetadata)
		}
	})
}

func TestEvaluationWithoutFlags(t *testing.T) {
	p, err := sdk.NewProvider(sdk.WithEndpoints("http://localhost:1"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	b := p.BooleanEvaluation(ctx, "f", true, nil)
	s := p.StringEvaluation(ctx, "f", "x", nil)
	i := p.IntEvaluation(ctx, "f", 7, nil)
	f := p.FloatEvaluation(ctx, "f", 7.5, nil)
	o := p.ObjectEvaluation(ctx, "f", []int{1}, nil)
	if !b.Value || s.Value != "x" || i.Value != 7 || f.Value != 7.5 || !reflect.DeepEqual(o.Value, []int{1}) {
		t.Errorf("values %v %v %v %v %v, want the defaults", b.Value, s.Value, i.Value, f.Value, o.Value)
	}
	for _, d := range []openfeature.ProviderResolutionDetail{
		b.ProviderResolutionDetail, s.ProviderResolutionDetail, i.ProviderResolutionDetail,
		f.ProviderResolutionDetail, o.ProviderResolutionDetail,
	} {
		if d.Reason != openfeature.DefaultReason || d.Error() != nil || d.FlagMetadata != nil {
			t.Errorf("detail %+v, want reason DEFAULT and nothing else", d)
		}
	}
}

// evaluations are calls that must not allocate, on a provider that follows shop.
func evaluations(p *sdk.Provider) map[string]func() {
	ctx := context.Background()
	user := openfeature.FlattenedContext{"targetingKey": "user-42", "plan": "pro"}
	boolean := func(key string) func() {
		return func() { p.BooleanEvaluation(ctx, key, false, user) }
	}
	return map[string]func(){
		"static":     boolean("bool"),
		"rollout":    boolean("rollout"),
		"shed":       boolean("shed"),
		"overridden": boolean("overridden"),
		"disabled":   boolean("disabled"),
		"string":     func() { p.StringEvaluation(ctx, "string", "", user) },
		"int":        func() { p.IntEvaluation(ctx, "number", 0, user) },
		"float":      func() { p.FloatEvaluation(ctx, "number", 0, user) },
		"object":     func() { p.ObjectEvaluation(ctx, "object", nil, user) },
	}
}

// following is a provider that follows shop, a tier of it shed, over a socket.
func following(tb testing.TB) (*sdk.Provider, *fakeserver.Server) {
	server := fakeserver.NewHandler("store-1")
	server.Put(shop)
	server.Change(&plimsollv1.StateChange{
		Flags: []*plimsollv1.FlagDefinition{{Key: "shed", Definition: optional}, {Key: "overridden", Definition: on}},
		Level: &plimsollv1.LevelState{AutoMillionths: 1_000_000, Seed: "5eed"},
		Overrides: []*plimsollv1.OverrideState{{
			FlagKey: "overridden", Variant: "off", ExpiresAt: timestamppb.New(time.Now().Add(time.Hour)),
		}},
	})
	http := httptest.NewServer(server.Handler())
	tb.Cleanup(http.Close)
	p, err := sdk.NewProvider(sdk.WithEndpoints(http.URL), sdk.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.Init(nobody); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Shutdown)
	return p, server
}

func TestEvaluationDoesNotAllocate(t *testing.T) {
	p, _ := following(t)
	for name, evaluate := range evaluations(p) {
		if n := testing.AllocsPerRun(1000, evaluate); n != 0 {
			t.Errorf("%s: %v allocations an evaluation, want none", name, n)
		}
	}
	if d := p.BooleanEvaluation(t.Context(), "shed", true, nil); d.Reason != "DEGRADED" {
		t.Errorf("shed is %+v: not what was to be measured", d)
	}
}

func TestEvaluationWithoutFlagsDoesNotAllocate(t *testing.T) {
	p, err := sdk.NewProvider(sdk.WithEndpoints("http://localhost:1"))
	if err != nil {
		t.Fatal(err)
	}
	for name, evaluate := range evaluations(p) {
		if n := testing.AllocsPerRun(1000, evaluate); n != 0 {
			t.Errorf("%s: %v allocations an evaluation, want none", name, n)
		}
	}
}

// Evaluations go on undisturbed while changes arrive as fast as they can.
func TestEvaluationWhileChangesArrive(t *testing.T) {
	p, server := following(t)
	server.Put(map[string]string{"f": on})
	eventually(t, func() bool { return p.BooleanEvaluation(t.Context(), "f", false, nil).Variant == "on" })
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for ctx.Err() == nil {
				d := p.BooleanEvaluation(ctx, "f", false, nil)
				if d.Error() != nil || d.Value != (d.Variant == "on") {
					t.Errorf("f is %+v", d)
					return
				}
			}
		})
	}
	for i := range 500 {
		server.Put(map[string]string{"f": []string{on, off}[i%2]})
	}
	server.Put(map[string]string{"last": on})
	eventually(t, func() bool { return p.BooleanEvaluation(t.Context(), "last", false, nil).Value })
	stop()
	readers.Wait()
	if d := p.BooleanEvaluation(t.Context(), "f", true, nil); d.Value {
		t.Errorf("f is %+v, want what was sent last", d)
	}
}

func BenchmarkEvaluation(b *testing.B) {
	p, _ := following(b)
	for name, evaluate := range evaluations(p) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				evaluate()
			}
		})
	}
}
