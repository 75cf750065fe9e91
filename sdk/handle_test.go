package sdk_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk"
)

// Handles give the client's answers, for every type, outcome and user, before
// and after changes, and are counted like it.
func TestHandlesAnswerLikeTheClient(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(shop)
		a.server.Put(map[string]string{"tiered": optional, "pinned": on})
		keys := []string{"bool", "string", "number", "object", "disabled", "open", "wrong", "rollout", "tiered", "pinned", "nowhere"}
		ctx := t.Context()
		type handles struct {
			b *sdk.BoolFlag
			s *sdk.StringFlag
			f *sdk.FloatFlag
			i *sdk.IntFlag
			o *sdk.ObjectFlag
		}
		made := map[string]handles{}
		for _, key := range keys {
			made[key] = handles{
				sdk.Bool(a.provider, key, true), sdk.String(a.provider, key, "x"), sdk.Float(a.provider, key, 0.5),
				sdk.Int(a.provider, key, 5), sdk.Object(a.provider, key, "none"),
			}
		}
		compare := func(when string) {
			t.Helper()
			for _, key := range keys {
				for user := range 20 {
					attributes := map[string]any{"plan": []string{"pro", "free"}[user%2]}
					id := fmt.Sprint("user-", user)
					c, flat := openfeature.NewEvaluationContext(id, attributes), sdk.Attributes(id, attributes)
					h := made[key]
					same := func(kind string, got, detail, want any) {
						t.Helper()
						if fmt.Sprint(got) != fmt.Sprint(want) || fmt.Sprint(detail) != fmt.Sprint(want) {
							t.Errorf("%s, %s as %s: handle %v, details %v, client %v", when, key, kind, got, detail, want)
						}
					}
					b, _ := a.client.BooleanValue(ctx, key, true, c)
					same("bool", h.b.Value(ctx, flat), h.b.Details(ctx, flat).Value, b)
					s, _ := a.client.StringValue(ctx, key, "x", c)
					same("string", h.s.Value(ctx, flat), h.s.Details(ctx, flat).Value, s)
					f, _ := a.client.FloatValue(ctx, key, 0.5, c)
					same("float", h.f.Value(ctx, flat), h.f.Details(ctx, flat).Value, f)
					i, _ := a.client.IntValue(ctx, key, 5, c)
					same("int", h.i.Value(ctx, flat), h.i.Details(ctx, flat).Value, i)
					o, _ := a.client.ObjectValue(ctx, key, "none", c)
					same("object", h.o.Value(ctx, flat), h.o.Details(ctx, flat).Value, o)
				}
			}
		}
		compare("before Init")
		a.start()
		compare("after Init")
		a.server.Put(map[string]string{"bool": off, "nowhere": on})
		a.after(0)
		compare("after a change")
		a.server.SetLevel(&plimsollv1.LevelState{AutoMillionths: 400_000, Seed: "5eed5eed5eed5eed"})
		a.server.Change(&plimsollv1.StateChange{Overrides: []*plimsollv1.OverrideState{{FlagKey: "pinned", Variant: "off"}}})
		a.after(0)
		compare("degraded")
		a.server.Change(&plimsollv1.StateChange{RemovedFlags: []string{"bool"}})
		a.after(0)
		compare("after a removal")
		a.server.Stop()
		a.after(time.Minute)
		compare("without a server")
	})
}

func TestHandlesCountAlike(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(shop)
		a.start()
		users := make([]openfeature.FlattenedContext, 50)
		for i := range users {
			users[i] = sdk.Attributes(fmt.Sprint("user-", i), nil)
		}
		rollout := sdk.Bool(a.provider, "rollout", false)
		for _, u := range users {
			rollout.Value(t.Context(), u)
		}
		a.after(12 * time.Second)
		byHandle := counted(a.server.Reports())
		n := len(a.server.Reports())
		for _, u := range users {
			a.provider.BooleanEvaluation(t.Context(), "rollout", false, u)
		}
		a.after(12 * time.Second)
		byProvider := counted(a.server.Reports()[n:])
		if len(byHandle) != 2 || !maps.Equal(byHandle, byProvider) {
			t.Errorf("handles counted %v, the provider %v", byHandle, byProvider)
		}
	})
}

func TestHandlesAllocateNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(shop)
		a.start()
		ctx := t.Context()
		pinned := sdk.Pin(ctx)
		user := sdk.Attributes("user-1", map[string]any{"plan": "pro"})
		b, s, f, i := sdk.Bool(a.provider, "rollout", false), sdk.String(a.provider, "string", ""), sdk.Float(a.provider, "number", 0), sdk.Int(a.provider, "number", 0)
		if n := testing.AllocsPerRun(1000, func() {
			b.Value(ctx, user)
			s.Value(ctx, user)
			f.Value(ctx, user)
			i.Value(ctx, user)
			b.Value(pinned, user)
			a.provider.BooleanEvaluation(ctx, "rollout", false, user)
			a.provider.BooleanEvaluation(pinned, "rollout", false, user)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestAttributesAreCopied(t *testing.T) {
	mine := map[string]any{"plan": "pro"}
	flat := sdk.Attributes("u", mine)
	mine["plan"] = "free"
	if flat["plan"] != "pro" || flat["targetingKey"] != "u" || len(flat) != 2 {
		t.Errorf("attributes %v", flat)
	}
	if _, has := sdk.Attributes("", mine)["targetingKey"]; has {
		t.Error("an empty targeting key is one")
	}
}
