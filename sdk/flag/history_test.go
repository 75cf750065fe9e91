package flag

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"pgregory.net/rapid"
)

// world is what a set is meant to hold: the newest text of everything, good or
// not.
type world struct {
	flags, evaluators, segments map[string]string
	overrides                   map[string]Override
	guards                      map[string]OpenGuard
	level                       *degrade.LevelState
	settings                    *Settings
}

func newWorld() world {
	return world{map[string]string{}, map[string]string{}, map[string]string{}, map[string]Override{}, map[string]OpenGuard{}, nil, nil}
}

func (w world) clone() world {
	return world{maps.Clone(w.flags), maps.Clone(w.evaluators), maps.Clone(w.segments), maps.Clone(w.overrides), maps.Clone(w.guards), w.level, w.settings}
}

// since is the incremental update from an older world.
func (w world) since(old world) Update {
	var u Update
	u.Flags, u.RemovedFlags = changes(old.flags, w.flags, func(k, text string) Source { return Source{k, text} })
	u.Evaluators, u.RemovedEvaluators = changes(old.evaluators, w.evaluators, func(k, text string) Source { return Source{k, text} })
	u.Segments, u.RemovedSegments = changes(old.segments, w.segments, func(k, text string) Source { return Source{k, text} })
	u.Overrides, u.RemovedOverrides = changes(old.overrides, w.overrides, func(_ string, o Override) Override { return o })
	u.OpenGuards, u.ClosedGuards = changes(old.guards, w.guards, func(_ string, g OpenGuard) OpenGuard { return g })
	if w.level != old.level {
		u.Level = w.level
	}
	if w.settings != old.settings {
		u.Settings = w.settings
	}
	return u
}

func changes[V comparable, T any](old, now map[string]V, item func(string, V) T) (put []T, removed []string) {
	for _, k := range sortedKeys(now) {
		if was, ok := old[k]; !ok || was != now[k] {
			put = append(put, item(k, now[k]))
		}
	}
	for _, k := range sortedKeys(old) {
		if _, ok := now[k]; !ok {
			removed = append(removed, k)
		}
	}
	return put, removed
}

// snapshot is all of it.
func (w world) snapshot() Update {
	u := w.since(newWorld())
	u.Reset = true
	return u
}

// spaced is a snapshot whose texts are not compact.
func spaced(u Update) Update {
	indent := func(list []Source) []Source {
		list = slices.Clone(list)
		for i := range list {
			var b strings.Builder
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			enc.SetIndent(" ", " ")
			if enc.Encode(json.RawMessage(list[i].JSON)) == nil {
				list[i].JSON = b.String()
			}
		}
		return list
	}
	u.Flags, u.Evaluators, u.Segments = indent(u.Flags), indent(u.Evaluators), indent(u.Segments)
	return u
}

var (
	worldFlags      = []string{"f0", "f1", "f2", "f3", "f4"}
	worldEvaluators = []string{"e0", "e1", "e2"}
	worldSegments   = []string{"s0", "s1", "s2"}
)

// change makes one random change.
func (w *world) change(t *rapid.T, g flagGenerator, now time.Time) {
	gone := rapid.IntRange(0, 3).Draw(t, "gone") == 0
	put := func(m map[string]string, keys []string, text func() string) {
		key := rapid.SampledFrom(keys).Draw(t, "key")
		if gone {
			delete(m, key)
		} else {
			m[key] = text()
		}
	}
	due := func() time.Time {
		if n := rapid.IntRange(-1, 3).Draw(t, "minutes"); n > 0 {
			return now.Add(time.Duration(n) * time.Minute)
		} else if n < 0 {
			return now.Add(-time.Minute)
		}
		return time.Time{}
	}
	switch rapid.SampledFrom([]string{"flag", "flag", "flag", "evaluator", "evaluator", "segment", "segment", "override", "guard", "level", "settings"}).Draw(t, "what") {
	case "flag":
		put(w.flags, worldFlags, func() string { return worldFlag(t, g) })
	case "evaluator":
		put(w.evaluators, worldEvaluators, func() string { return worldRule(t, g) })
	case "segment":
		put(w.segments, worldSegments, func() string { return worldRule(t, g) })
	case "override":
		key := rapid.SampledFrom(worldFlags).Draw(t, "key")
		w.overrides[key] = Override{key, rapid.SampledFrom([]string{"on", "off", "gone"}).Draw(t, "variant"), due()}
		if gone {
			delete(w.overrides, key)
		}
	case "guard":
		name := rapid.SampledFrom([]string{"db", "cache"}).Draw(t, "guard")
		w.guards[name] = OpenGuard{name, due()}
		if gone {
			delete(w.guards, name)
		}
	case "level":
		floor := degrade.Level(rapid.SampledFrom([]uint32{0, 600_000, 2_000_000}).Draw(t, "floor"))
		w.level = &degrade.LevelState{
			Auto: degrade.Level(rapid.SampledFrom([]uint32{0, 400_000, 1_000_000, 3_000_000}).Draw(t, "level")), Seed: rapid.SampledFrom([]string{"5eed", "0ther"}).Draw(t, "seed"),
			Holds: []degrade.Hold{{Name: "h", Floor: &floor, ExpiresAt: due()}},
		}
	case "settings":
		w.settings = &Settings{
			Bucketing: rapid.SampledFrom([]Bucketing{V1, V2, V3}).Draw(t, "generation"),
			Metadata:  rapid.SampledFrom([]string{"", `{"flagSetId":"shop"}`}).Draw(t, "metadata"),
			Tiers:     rapid.SampledFrom([]degrade.Tiers{nil, {"optional", "standard"}}).Draw(t, "tiers"),
		}
	}
}

// reference names a rule that may be there or not.
func reference(t *rapid.T) any {
	if rapid.Bool().Draw(t, "is segment") {
		return map[string]any{"segment": rapid.SampledFrom(worldSegments).Draw(t, "refers to")}
	}
	return map[string]any{"$ref": rapid.SampledFrom(worldEvaluators).Draw(t, "refers to")}
}

// worldRule is a condition; at times one that does not compile. There are few of
// most kinds, so that a history comes back to what it had before.
func worldRule(t *rapid.T, g flagGenerator) string {
	switch rapid.IntRange(0, 7).Draw(t, "rule") {
	case 0:
		return `{"no-such-operator":[1]}`
	case 1, 2, 3, 4:
		return encode(op("!", reference(t)))
	case 5:
		return encode(g.condition(1))
	default:
		return encode(rapid.Bool().Draw(t, "constant"))
	}
}

func worldFlag(t *rapid.T, g flagGenerator) string {
	f := map[string]any{"state": "ENABLED", "variants": map[string]any{"on": true, "off": false}, "defaultVariant": "on"}
	switch rapid.IntRange(0, 7).Draw(t, "flag") {
	case 0, 1:
		return `{"state":"ON"}`
	case 2:
		f = g.flag()
	default:
		f["targeting"] = op("if", reference(t), "on", "off")
	}
	if rapid.Bool().Draw(t, "sheddable") {
		f["degradation"] = map[string]any{"tier": pick(g.generator, "critical", "standard", "optional"), "degradedVariant": "off", "guard": pick(g.generator, "db", "cache")}
		f["metadata"] = map[string]any{"team": "a"}
	}
	return encode(f)
}

// answersOf is what a set answers, but for the words of errors and for revisions,
// which are not the same on each way to a state.
func answersOf(s *Set, key string, contexts []map[string]any) (list []Result[any]) {
	for _, ctx := range contexts {
		r := s.Any(key, ctx)
		r.Message = ""
		r.Metadata = maps.Clone(r.Metadata)
		delete(r.Metadata, metadataRevision)
		if len(r.Metadata) == 0 {
			r.Metadata = nil
		}
		list = append(list, r)
	}
	return list
}

// wantSame fails unless two sets answer the same for each key.
func wantSame(t *rapid.T, what string, got, want *Set, keys []string, contexts []map[string]any) {
	t.Helper()
	for _, key := range keys {
		if a, b := answersOf(got, key, contexts), answersOf(want, key, contexts); !reflect.DeepEqual(a, b) {
			t.Fatalf("%s: %s\ngot  %+v\nwant %+v", what, key, a, b)
		}
	}
	gotDue, _ := got.NextExpiry()
	wantDue, _ := want.NextExpiry()
	if got.Level() != want.Level() || !reflect.DeepEqual(got.Settings(), want.Settings()) || !gotDue.Equal(wantDue) {
		t.Fatalf("%s: level %s, settings %+v, expiry %s; want %s, %+v, %s", what,
			got.Level(), got.Settings(), gotDue, want.Level(), want.Settings(), wantDue)
	}
}

// wantNamed fails unless the changed keys are all those whose answers differ, in
// more than the level in their metadata.
func wantNamed(t *rapid.T, what string, next, old *Set, contexts []map[string]any) {
	t.Helper()
	strip := func(list []Result[any]) []Result[any] {
		for i := range list {
			delete(list[i].Metadata, metadataLevel)
			if len(list[i].Metadata) == 0 || list[i].ErrorCode == FlagNotFound {
				list[i].Metadata = nil
			}
		}
		return list
	}
	changed := next.ChangedKeys(old)
	for _, key := range worldFlags {
		a, b := strip(answersOf(old, key, contexts)), strip(answersOf(next, key, contexts))
		if !reflect.DeepEqual(a, b) && !slices.Contains(changed, key) {
			t.Fatalf("%s: %s changed and is not among %v\nfrom %+v\nto   %+v", what, key, changed, a, b)
		}
	}
}

// told are problems as text.
func told(problems []Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s: %s\n", p.Key, p.Faults.Error())
	}
	return b.String()
}

// wantSound compares a set with one that was built from nothing. What compiles
// there is served alike, and has no problem; what does not may have a last good
// version that others still compile with.
func wantSound(t *rapid.T, what string, s, scratch *Set, w world, contexts []map[string]any) {
	t.Helper()
	bad := map[string]bool{}
	for _, p := range scratch.Problems() {
		bad[p.Key] = true
	}
	var good []string
	for _, key := range worldFlags {
		if !bad[key] {
			good = append(good, key)
		}
	}
	wantSame(t, what, s, scratch, good, contexts)
	for _, p := range s.Problems() {
		inWorld := w.flags[p.Key] != ""
		for name := range w.evaluators {
			inWorld = inWorld || ruleLabel(evaluatorID(name)) == p.Key
		}
		for name := range w.segments {
			inWorld = inWorld || ruleLabel(segmentID(name)) == p.Key
		}
		switch {
		case inWorld && !bad[p.Key]:
			t.Fatalf("%s: %s has a problem, and from nothing it has none: %s", what, p.Key, p.Faults)
		case !inWorld && len(bad) == 0:
			t.Fatalf("%s: %s was left: %s", what, p.Key, p.Faults)
		}
	}
	if len(bad) == 0 && (s.rules.n != len(w.evaluators)+len(w.segments) || s.Len() != len(w.flags)) {
		t.Fatalf("%s: %d rules and %d flags, want %d and %d", what, s.rules.n, s.Len(), len(w.evaluators)+len(w.segments), len(w.flags))
	}
}

// However a set came to its state, by changes, by a snapshot on top of any older
// set, or from nothing, it serves the same.
func TestAllWaysLeadToTheSameSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := flagGenerator{newGenerator(rapid.Uint64().Draw(t, "texts")), map[string]bool{}}
		contexts := []map[string]any{nil, g.context(), g.context(), g.context()}
		now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
		w, set := newWorld(), Empty()
		older := []*Set{set}
		check := func(next world) {
			u := next.since(w)
			u.Epoch, u.Revision = 1, set.Revision()+1
			snapshot := next.snapshot()
			snapshot.Epoch, snapshot.Revision = 1, u.Revision

			byChanges, _ := set.With(u, now)
			bySnapshot, problems := set.With(snapshot, now)
			wantSame(t, "a snapshot and changes", bySnapshot, byChanges, worldFlags, contexts)
			if a, b := told(bySnapshot.Problems()), told(byChanges.Problems()); a != b {
				t.Fatalf("problems of a snapshot\n%swant, as by changes,\n%s", a, b)
			}
			if a, b := told(problems), told(bySnapshot.Problems()); a != b {
				t.Fatalf("a snapshot told the problems\n%swant all of the set's,\n%s", a, b)
			}
			wantNamed(t, "changes", byChanges, set, contexts)
			wantNamed(t, "a snapshot", bySnapshot, set, contexts)

			snapshot.Revision++
			for _, s := range []*Set{byChanges, bySnapshot} {
				same, _ := s.With(snapshot, now)
				if changed := same.ChangedKeys(s); len(changed) > 0 {
					t.Fatalf("a snapshot of the same changed %v", changed)
				}
				if a, b := told(same.Problems()), told(s.Problems()); a != b {
					t.Fatalf("problems after a snapshot of the same\n%swant\n%s", a, b)
				}
				wantSame(t, "a snapshot of the same", same, s, worldFlags, contexts)
			}

			scratch, _ := Empty().With(snapshot, now)
			wantSound(t, "changes", byChanges, scratch, next, contexts)
			wantSound(t, "a snapshot", bySnapshot, scratch, next, contexts)
			base := rapid.SampledFrom(older).Draw(t, "older set")
			far, _ := base.With(snapshot, now)
			wantSound(t, "a snapshot on an older set", far, scratch, next, contexts)
			wantNamed(t, "a snapshot on an older set", far, base, contexts)
			if len(scratch.Problems()) == 0 {
				loose, _ := far.With(spaced(snapshot), now)
				if changed := loose.ChangedKeys(far); len(changed) > 0 {
					t.Fatalf("white space changed %v", changed)
				}
			}

			w, set = next, byChanges
			if rapid.Bool().Draw(t, "go on from the snapshot") {
				set = bySnapshot
			}
			older = append(older, set)
		}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			next := w.clone()
			for range rapid.IntRange(1, 4).Draw(t, "changes") {
				next.change(t, g, now)
			}
			check(next)
			if rapid.IntRange(0, 2).Draw(t, "time passes") == 0 {
				now = now.Add(time.Minute)
			}
		}
		// What does not compile is taken out, until everything does.
		next := w.clone()
		for {
			scratch, _ := Empty().With(next.snapshot(), now)
			problems := scratch.Problems()
			if len(problems) == 0 {
				break
			}
			for _, p := range problems {
				delete(next.flags, p.Key)
				maps.DeleteFunc(next.evaluators, func(name, _ string) bool { return ruleLabel(evaluatorID(name)) == p.Key })
				maps.DeleteFunc(next.segments, func(name, _ string) bool { return ruleLabel(segmentID(name)) == p.Key })
			}
		}
		check(next)
	})
}
