package sdk_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-feature/go-sdk/openfeature"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func TestEventsOfAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.start()
		a.after(time.Minute)
		if kinds, _ := a.told(); !slices.Equal(kinds, []openfeature.EventType{openfeature.ProviderReady}) {
			t.Fatalf("told %v at the start, want READY alone", kinds)
		}
		a.wantState(openfeature.ReadyState)

		a.server.Stop()
		a.after(time.Second)
		a.wantState(openfeature.StaleState)
		if d := a.bool("f", false); !d.Value || d.Reason != openfeature.StaticReason || d.FlagMetadata["source"] != "memory" {
			t.Errorf("f is %+v while the server is gone, want as before, from memory", d)
		}
		a.after(time.Minute)
		kinds, events := a.told()
		if len(kinds) < 5 || slices.ContainsFunc(kinds, func(k openfeature.EventType) bool { return k != openfeature.ProviderStale }) {
			t.Errorf("told %v, want STALE for every failed attempt", kinds)
		}
		if events[0].Message == "" || events[0].ProviderName != "plimsoll" {
			t.Errorf("told %+v, want the reason", events[0])
		}

		a.server.Start()
		a.after(10 * time.Second)
		a.wantState(openfeature.ReadyState)
		if kinds, _ := a.told(); len(kinds) == 0 || kinds[len(kinds)-1] != openfeature.ProviderReady {
			t.Errorf("told %v, want READY at last", kinds)
		}
		if d := a.bool("f", false); d.FlagMetadata["source"] != nil {
			t.Errorf("f is %+v with a live stream, want no source", d)
		}
	})
}

// OpenFeature fires READY after Init whatever happened. STALE follows.
func TestStaleFollowsInit(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.network.Hang("a", true) // no attempt fails for 15 s
		a.start()
		a.after(200 * time.Millisecond)
		a.wantState(openfeature.StaleState)
		kinds, _ := a.told()
		if !slices.Equal(kinds, []openfeature.EventType{openfeature.ProviderReady, openfeature.ProviderStale}) {
			t.Errorf("told %v, want READY and then STALE", kinds)
		}
		// The same when a further domain is bound.
		if err := a.api.SetProviderAndWait(t.Context(), a.provider, openfeature.WithDomain("x")); err != nil {
			t.Fatal(err)
		}
		a.after(200 * time.Millisecond)
		if s := a.api.NewClient(openfeature.WithDomain("x")).State(); s != openfeature.StaleState {
			t.Errorf("state of the domain %s, want STALE", s)
		}
	})
}

func TestChangedFlagsAreNamed(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on, "g": on, "h": on})
		a.start()
		a.told()
		steps := []struct {
			name string
			do   func()
			want []string
		}{
			{"changed and new", func() { a.server.Put(map[string]string{"f": off, "i": on}) }, []string{"f", "i"}},
			{"the same again", func() { a.server.Put(map[string]string{"f": off}) }, nil},
			{"removed", func() { a.server.Change(&plimsollv1.StateChange{RemovedFlags: []string{"g"}}) }, []string{"g"}},
			{"overridden", func() {
				a.server.Change(&plimsollv1.StateChange{Overrides: []*plimsollv1.OverrideState{{
					FlagKey: "h", Variant: "off", ExpiresAt: timestamppb.New(time.Now().Add(time.Minute)),
				}}})
			}, []string{"h"}},
			{"expired", func() { a.after(time.Minute) }, []string{"h"}},
		}
		for _, step := range steps {
			step.do()
			_, events := a.told()
			var got []string
			for _, e := range events {
				got = append(got, e.FlagChanges...)
			}
			if diff := cmp.Diff(step.want, got); diff != "" {
				t.Errorf("%s: %s", step.name, diff)
			}
		}
	})
}

func TestFirstFlagsAfterInitAreNamed(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.server.Stop()
		a.start()
		a.told()
		a.server.Start()
		a.after(10 * time.Second)
		kinds, events := a.told()
		i := slices.Index(kinds, openfeature.ProviderConfigChange)
		if i < 0 || !slices.Equal(events[i].FlagChanges, []string{"f"}) {
			t.Errorf("told %v %+v, want a change of f", kinds, events)
		}
	})
}

func TestLevelHasNoKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"recommendations": optional})
		a.start()
		a.told()
		a.server.SetLevel(&plimsollv1.LevelState{AutoMillionths: 1_000_000, Seed: "5eed"})
		kinds, events := a.told()
		if len(events) != 1 || kinds[0] != openfeature.ProviderConfigChange {
			t.Fatalf("told %v, want one change", kinds)
		}
		if e := events[0]; len(e.FlagChanges) != 0 || e.EventMetadata["level"] != 1.0 {
			t.Errorf("told %+v, want no keys and level 1", e)
		}
		d := a.bool("recommendations", true)
		if d.Value || d.Reason != "DEGRADED" || d.FlagMetadata["tier"] != "optional" {
			t.Errorf("recommendations is %+v, want it shed", d)
		}
		// A hold that moves nothing is not told.
		a.server.SetLevel(&plimsollv1.LevelState{AutoMillionths: 1_000_000, Seed: "5eed", Holds: []*plimsollv1.HoldState{
			{Name: "shed-optional", FloorMillionths: new(uint32(500_000))},
		}})
		if kinds, _ := a.told(); len(kinds) != 0 {
			t.Errorf("told %v though the level did not move", kinds)
		}
	})
}

func TestLevelAndFlagsInOneChange(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.start()
		a.told()
		a.server.Change(&plimsollv1.StateChange{
			Flags: []*plimsollv1.FlagDefinition{{Key: "f", Definition: off}},
			Level: &plimsollv1.LevelState{AutoMillionths: 400_000, Seed: "5eed"},
		})
		_, events := a.told()
		var keys []string
		level := any(nil)
		for _, e := range events {
			keys = append(keys, e.FlagChanges...)
			if l, ok := e.EventMetadata["level"]; ok {
				level = l
			}
		}
		if !slices.Equal(keys, []string{"f"}) || level != 0.4 {
			t.Errorf("told keys %v and level %v, want f and 0.4", keys, level)
		}
	})
}

func TestAdoptionIsToldAsChanges(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"same": on, "gone": on, "other": on})
		a.start()
		a.server.Stop()
		a.server.Wipe("store-2")
		a.server.Put(map[string]string{"same": on, "other": off, "new": on})
		a.server.Start()
		a.after(20 * time.Second)
		a.told()
		a.wantState(openfeature.StaleState)
		a.after(25 * time.Second)
		a.wantState(openfeature.ReadyState)
		_, events := a.told()
		var keys []string
		for _, e := range events {
			keys = append(keys, e.FlagChanges...)
		}
		if !slices.Equal(keys, []string{"gone", "new", "other"}) {
			t.Errorf("told %v, want what differs between the stores", keys)
		}
	})
}

// When nobody takes events, changes go on being applied, and what waits is
// merged.
func TestEventsNeverBlock(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		if err := a.provider.Init(nobody); err != nil { // without OpenFeature
			t.Fatal(err)
		}
		defer a.provider.Shutdown()
		for i := range 500 {
			a.server.Put(map[string]string{fmt.Sprintf("f%03d", i%250): []string{on, off}[i%2]})
			a.after(time.Millisecond)
		}
		if d := a.provider.BooleanEvaluation(t.Context(), "f249", true, nil); d.Value || d.Variant != "off" {
			t.Fatalf("f249 is %+v, want what was sent last", d)
		}
		var keys []string
		events := 0
		for open := true; open; {
			select {
			case e := <-a.provider.EventChannel():
				keys = append(keys, e.FlagChanges...)
				events++
			case <-time.After(time.Second):
				open = false
			}
		}
		slices.Sort(keys)
		if n := len(slices.Compact(keys)); n != 250 || events > 3 {
			t.Errorf("%d keys in %d events, want all 250 merged into a few", n, events)
		}
	})
}

// Beyond a bound an event without keys stands for all.
func TestTooManyKeysAreNotNamed(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		if err := a.provider.Init(nobody); err != nil {
			t.Fatal(err)
		}
		defer a.provider.Shutdown()
		for batch := range 5 { // the first two are on their way to whoever listens
			flags := map[string]string{}
			for i := range 5000 {
				flags[fmt.Sprintf("f%d-%04d", batch, i)] = on
			}
			a.server.Put(flags)
			a.after(time.Millisecond)
		}
		for range 2 {
			if e := <-a.provider.EventChannel(); len(e.FlagChanges) != 5000 {
				t.Errorf("told %d keys first, want those of one change", len(e.FlagChanges))
			}
		}
		e := <-a.provider.EventChannel()
		if e.EventType != openfeature.ProviderConfigChange || len(e.FlagChanges) != 0 || e.EventMetadata != nil {
			t.Errorf("told %s of %d keys, metadata %v; want a change without keys", e.EventType, len(e.FlagChanges), e.EventMetadata)
		}
	})
}
