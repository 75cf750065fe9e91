package flag

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"pgregory.net/rapid"
)

// remade is a set made again from another's sources.
func remade(s *Set, now time.Time) *Set {
	made := Empty()
	for u := range s.Sources() {
		made, _ = made.With(u, now)
	}
	return made
}

// guardless is a set with all guards closed: what sources give back.
func guardless(s *Set, now time.Time) *Set {
	u := Update{Epoch: s.Epoch(), Revision: s.Revision(), Fingerprint: s.Fingerprint()}
	for name := range s.guards.all() {
		u.ClosedGuards = append(u.ClosedGuards, name)
	}
	s, _ = s.With(u, now)
	return s
}

// wantRemade fails unless the set that is made of another's sources answers alike.
// Flags with targeting count as changed, since they were compiled anew.
func wantRemade(t interface {
	Helper()
	Fatalf(string, ...any)
}, s *Set, now time.Time, contexts []map[string]any, words func([]Problem) string,
) {
	t.Helper()
	made := remade(s, now)
	s = guardless(s, now)
	for _, key := range made.ChangedKeys(s) {
		f, ok := s.flags.get(key)
		if !ok || f.rule == nil {
			t.Fatalf("made again, %s answers differently", key)
		}
		if usesOlderRules(s, key) {
			continue
		}
		for _, ctx := range contexts {
			if a, b := made.Any(key, ctx), s.Any(key, ctx); !reflect.DeepEqual(a, b) {
				t.Fatalf("made again, %s answers differently\ngot  %+v\nwant %+v", key, a, b)
			}
		}
	}
	if a, b := words(made.Problems()), words(s.Problems()); a != b {
		t.Fatalf("made again, the problems are\n%swant\n%s", a, b)
	}
	if made.Epoch() != s.Epoch() || made.Revision() != s.Revision() || made.Level() != s.Level() {
		t.Fatalf("made again at %d/%d, level %s; want %d/%d, %s",
			made.Epoch(), made.Revision(), made.Level(), s.Epoch(), s.Revision(), s.Level())
	}
	a, _ := made.NextExpiry()
	b, _ := s.NextExpiry()
	if !a.Equal(b) || !reflect.DeepEqual(made.Settings(), s.Settings()) {
		t.Fatalf("made again, expiry %s, settings %+v; want %s, %+v", a, made.Settings(), b, s.Settings())
	}
}

func problemKeys(problems []Problem) (keys string) {
	for _, p := range problems {
		keys += p.Key + "\n"
	}
	return keys
}

func TestSourcesOfASetWithEverything(t *testing.T) {
	const (
		plain  = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}`
		shed   = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","degradation":{"tier":"low","guard":"db"}}`
		byRule = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","targeting":{"if":[{"segment":"staff"},"off","on"]}}`
		byRef  = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","targeting":{"if":[{"$ref":"eu"},"off","on"]}}`
		bad    = `{"state":"ENABLED","variants":{"on":true},"defaultVariant":"gone"}`
	)
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	floor := 500_000 * degrade.Level(1)
	contexts := []map[string]any{nil, {"role": "staff"}, {"region": "eu"}}
	set := Empty()
	for i, u := range []Update{
		{
			Reset: true,
			Flags: []Source{
				{"plain", plain}, {"shed", shed}, {"by-rule", byRule}, {"by-ref", byRef},
				{"once-good", plain}, {"never-good", bad}, {"lost-override", plain},
			},
			Evaluators: []Source{{"eu", `{"==":[{"var":"region"},"eu"]}`}},
			Segments:   []Source{{"staff", `{"==":[{"var":"role"},"staff"]}`}, {"unused", `true`}},
			Settings:   &Settings{Bucketing: V3, Tiers: degrade.Tiers{"high", "mid", "low"}, Metadata: `{"team":"a"}`},
		},
		{Overrides: []Override{{Key: "plain", Variant: "off"}, {Key: "lost-override", Variant: "gone"}}},
		{Overrides: []Override{{"by-ref", "off", now.Add(time.Hour)}, {"ended", "off", now.Add(-time.Hour)}}},
		{Level: &degrade.LevelState{Auto: 400_000, Seed: "5eed", Holds: []degrade.Hold{{Name: "h", Floor: &floor, ExpiresAt: now.Add(time.Minute)}}}},
		{Flags: []Source{{"once-good", bad}}},
		{Segments: []Source{{"unused", `{"no-such-operator":[1]}`}, {"new", `{"segment":"nowhere"}`}}},
		{RemovedSegments: []string{"staff"}},
		{OpenGuards: []OpenGuard{{"db", now.Add(2 * time.Minute)}}},
	} {
		u.Epoch, u.Revision = 3, int64(10*(i+1))
		set, _ = set.With(u, now)
		wantRemade(t, set, now, contexts, told)
	}
	made := remade(set, now)
	set = guardless(set, now)
	for key, revision := range map[string]int64{"plain": 20, "by-ref": 30} {
		r := made.Bool(key, true, nil)
		if r.Value || r.Reason != ReasonOverride || r.Metadata["revision"] != revision {
			t.Errorf("%s is %+v, want it off by the override of revision %d", key, r, revision)
		}
	}
	if r := made.Bool("once-good", false, nil); !r.Value || r.ErrorCode != "" {
		t.Errorf("once-good is %+v, want its last good version", r)
	}
	if r := made.Bool("by-rule", true, map[string]any{"role": "staff"}); r.Value {
		t.Errorf("by-rule is %+v, want it off by a segment that was removed", r)
	}
	want := "lost-override\nnever-good\nonce-good\nsegments[\"new\"]\nsegments[\"staff\"]\nsegments[\"unused\"]\n"
	if keys := problemKeys(made.Problems()); keys != want {
		t.Errorf("problems of\n%swant\n%s", keys, want)
	}
	// Time goes on alike.
	for _, later := range []time.Duration{90 * time.Second, 3 * time.Minute, 2 * time.Hour} {
		a, b := made.At(now.Add(later)), set.At(now.Add(later))
		for key := range b.Keys() {
			if got, want := a.Any(key, nil), b.Any(key, nil); !reflect.DeepEqual(got, want) {
				t.Errorf("%s later %s is %+v, want %+v", later, key, got, want)
			}
		}
	}
}

func TestSourcesOfNothing(t *testing.T) { wantRemade(t, Empty(), time.Now(), nil, told) }

// usesOlderRules tells whether a flag may be served by a version of a rule that is
// not the newest: because its own newest version, or that of a rule, does not
// compile.
func usesOlderRules(s *Set, key string) bool {
	_, broken := s.broken.get(key)
	for _, b := range s.brokenRules.all() {
		broken = broken || !b.removed
	}
	return broken
}

// leadsBack tells whether a rule leads back to itself by the last good or the newest
// versions of rules.
func leadsBack(s *Set) bool {
	f := &cycleFinder{graph: map[string]*references{}, state: map[string]int8{}, loops: map[string]string{}}
	for id, c := range s.rules.all() {
		f.graph[id] = c.rule.refs
	}
	for id, b := range s.brokenRules.all() {
		if r, _, _ := parseRule(b.source.Key, b.source.JSON, Env{}); r != nil && r.refs != nil {
			both := references{evaluators: r.refs.evaluators, segments: r.refs.segments}
			if good := f.graph[id]; good != nil {
				both.evaluators = slices.Concat(both.evaluators, good.evaluators)
				both.segments = slices.Concat(both.segments, good.segments)
			}
			f.graph[id] = &both
		}
	}
	for id := range f.graph {
		f.walk(id)
	}
	return len(f.loops) > 0
}

// Whatever a history leads to can be made again; but for rules of which one
// compiles only with what another was before, which now leads back to it.
func TestSourcesOfAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := flagGenerator{newGenerator(rapid.Uint64().Draw(t, "texts")), map[string]bool{}}
		contexts := []map[string]any{nil, g.context(), g.context(), g.context()}
		now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
		w, set := newWorld(), Empty()
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			next := w.clone()
			next.change(t, g, now)
			u := next.since(w)
			u.Epoch, u.Revision = 1, set.Revision()+1
			set, _ = set.With(u, now)
			w = next
			if rapid.IntRange(0, 2).Draw(t, "time passes") == 0 {
				now = now.Add(time.Minute)
				set = set.At(now)
			}
			if leadsBack(set) {
				return
			}
			// Keys alone: that a rule is broken, or gone, is said in the words of
			// what came first.
			wantRemade(t, set, now, contexts, problemKeys)
		}
	})
}
