package sdktest_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/isolated"
	"go.uber.org/goleak"

	"github.com/plimsoll-dev/plimsoll/sdk"
	"github.com/plimsoll-dev/plimsoll/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const recommendations = sdktest.Definition(`{"state":"ENABLED","variants":{"full":"full","none":""},"defaultVariant":"none",
	"targeting":{"if":[{"segment":"staff"},"full"]},"degradation":{"tier":"optional"}}`)

func client(t *testing.T, p *sdktest.Provider) *openfeature.Client {
	t.Helper()
	api := isolated.NewAPI()
	if err := api.SetProviderAndWait(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Shutdown(context.Background()) })
	return api.NewClient()
}

func TestFlagsInCode(t *testing.T) {
	flags := sdktest.New(t, map[string]any{
		"bool": true, "text": "hello", "whole": 20, "number": 2.5, "object": map[string]any{"columns": 2},
	})
	c, ctx := client(t, flags), t.Context()
	columns := sdk.Object(flags.Provider, "object", nil)
	if v := c.Boolean(ctx, "bool", false, openfeature.EvaluationContext{}); !v {
		t.Error("bool")
	}
	if v := c.String(ctx, "text", "", openfeature.EvaluationContext{}); v != "hello" {
		t.Error("text", v)
	}
	if v := c.Int(ctx, "whole", 0, openfeature.EvaluationContext{}); v != 20 {
		t.Error("whole", v)
	}
	if v := c.Float(ctx, "number", 0, openfeature.EvaluationContext{}); v != 2.5 {
		t.Error("number", v)
	}
	if v := fmt.Sprint(columns.Value(ctx, nil)); v != "map[columns:2]" {
		t.Error("object", v)
	}
	flags.Set("bool", false)
	flags.Remove("text")
	if c.Boolean(ctx, "bool", true, openfeature.EvaluationContext{}) {
		t.Error("a change is not served at once")
	}
	if d := flags.StringEvaluation(ctx, "text", "none", nil); d.Value != "none" || d.Error() == nil {
		t.Errorf("a flag that was removed: %+v", d)
	}
}

// Handles work without OpenFeature, and before anything is initialized.
func TestHandlesNeedNoInit(t *testing.T) {
	flags := sdktest.New(t, map[string]any{"f": true})
	f := sdk.Bool(flags.Provider, "f", false)
	if !f.Value(t.Context(), nil) {
		t.Error("not served")
	}
	ctx := sdk.Pin(t.Context())
	f.Value(ctx, nil)
	flags.Set("f", false)
	if !f.Value(ctx, nil) || f.Value(t.Context(), nil) {
		t.Error("Pin does not hold")
	}
}

func TestTargetingAndDegradation(t *testing.T) {
	flags := sdktest.New(t, nil)
	flags.Segment("staff", `{"ends_with":[{"var":"email"},"@shop.de"]}`)
	flags.Set("recommendations", recommendations)
	recs := sdk.String(flags.Provider, "recommendations", "?")
	served := func(email string) string {
		return recs.Value(t.Context(), sdk.Attributes("u", map[string]any{"email": email}))
	}
	if served("bob@shop.de") != "full" || served("eve@else.de") != "" {
		t.Error("targeting")
	}
	flags.SetLevel(1)
	if d := recs.Details(t.Context(), sdk.Attributes("u", map[string]any{"email": "bob@shop.de"})); d.Value != "" || d.Reason != "DEGRADED" {
		t.Errorf("shed: %+v", d)
	}
	flags.SetLevel(0)
	flags.Override("recommendations", "full")
	if d := recs.Details(t.Context(), nil); d.Value != "full" || d.Reason != "OVERRIDE" {
		t.Errorf("overridden: %+v", d)
	}
	flags.Override("recommendations", "")
	if served("eve@else.de") != "" {
		t.Error("the override is still there")
	}
	want := map[string]int{"full": 2, "none": 3}
	if got := flags.Evaluations("recommendations"); !maps.Equal(got, want) {
		t.Errorf("evaluations %v, want %v", got, want)
	}
}

func TestEventsAndTracking(t *testing.T) {
	flags := sdktest.New(t, map[string]any{"f": true})
	c := client(t, flags)
	changed := make(chan []string, 1)
	handler := func(e openfeature.EventDetails) { changed <- e.FlagChanges }
	c.AddHandler(openfeature.ProviderConfigChange, &handler)
	flags.Set("f", false)
	select {
	case keys := <-changed:
		if len(keys) != 1 || keys[0] != "f" {
			t.Errorf("changed: %v", keys)
		}
	case <-time.After(30 * time.Second):
		t.Error("no event of a change")
	}
	c.Track(t.Context(), "order", openfeature.EvaluationContext{}, openfeature.NewTrackingEventDetails(5))
	c.Track(t.Context(), "order", openfeature.EvaluationContext{}, openfeature.NewTrackingEventDetails(7))
	if got := flags.Tracked("order"); got != (sdktest.Tracked{Count: 2, Sum: 12}) {
		t.Errorf("tracked %v", got)
	}
}

// failing is a test that notes why it was ended.
type failing struct {
	testing.TB
	why string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.why = fmt.Sprintf(format, args...)
	panic(f)
}

func TestNonsenseEndsTheTest(t *testing.T) {
	for what, test := range map[string]struct {
		do   func(*sdktest.Provider)
		want string
	}{
		"definition": {func(p *sdktest.Provider) { p.Set("f", sdktest.Definition(`{"state":"ON"}`)) }, "ENABLED"},
		"value":      {func(p *sdktest.Provider) { p.Set("f", make(chan int)) }, "unsupported type"},
		"list":       {func(p *sdktest.Provider) { p.Set("f", []int{1}) }, "a variant is a bool"},
		"key":        {func(p *sdktest.Provider) { p.Set("", true) }, "key"},
		"level":      {func(p *sdktest.Provider) { p.SetLevel(3.5) }, "0 to 3"},
		"variant":    {func(p *sdktest.Provider) { p.Set("f", true); p.Override("f", "blue") }, `"blue"`},
		"flag":       {func(p *sdktest.Provider) { p.Override("f", "on") }, "no flag"},
		"segment":    {func(p *sdktest.Provider) { p.Segment("s", `{"nonsense":1}`) }, "nonsense"},
	} {
		t.Run(what, func(t *testing.T) {
			tb := &failing{TB: t}
			defer func() {
				_ = recover()
				if !strings.Contains(tb.why, test.want) {
					t.Errorf("ended with %q, want %q in it", tb.why, test.want)
				}
			}()
			test.do(sdktest.New(tb, nil))
		})
	}
}

// Counts stay until they are asked for.
func TestCountsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flags := sdktest.New(t, map[string]any{"f": true})
		api := isolated.NewAPI()
		if err := api.SetProviderAndWait(context.Background(), flags); err != nil {
			t.Fatal(err)
		}
		c := api.NewClient()
		c.Boolean(context.Background(), "f", false, openfeature.EvaluationContext{})
		c.Track(context.Background(), "buy", openfeature.EvaluationContext{}, openfeature.NewTrackingEventDetails(3))
		time.Sleep(time.Minute)
		if err := api.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := flags.Evaluations("f")["on"]; n != 1 {
			t.Errorf("%d evaluations, want 1", n)
		}
		if got := flags.Tracked("buy"); got.Count != 1 || got.Sum != 3 {
			t.Errorf("tracked %v", got)
		}
	})
}
