package flag_test

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// collected are the counts since the last call, by "key/variant/reason".
func collected(c *flag.Counts, s *flag.Set) map[string]uint64 {
	m := map[string]uint64{}
	c.Collect(s, func(n flag.Count) { m[n.Key+"/"+n.Variant+"/"+string(n.Reason)] += n.N })
	return m
}

func wantCounts(t *testing.T, c *flag.Counts, s *flag.Set, want map[string]uint64) {
	t.Helper()
	if got := collected(c, s); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

func TestEachOutcomeIsCounted(t *testing.T) {
	c := flag.NewCounts()
	s := setOf(t, flag.Update{
		Flags: []flag.Source{
			{Key: "static", JSON: staticFlag}, {Key: "rule", JSON: ruleFlag}, {Key: "tiered", JSON: tieredFlag},
			{Key: "disabled", JSON: `{"state":"DISABLED","variants":{"on":true},"defaultVariant":"on"}`},
			{Key: "open", JSON: `{"state":"ENABLED","variants":{"on":true},"defaultVariant":null}`},
			{Key: "lost", JSON: `{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on","targeting":{"cat":["no","where"]}}`},
			{Key: "text", JSON: `{"state":"ENABLED","variants":{"a":"A"},"defaultVariant":"a"}`},
			{Key: "number", JSON: `{"state":"ENABLED","variants":{"a":7},"defaultVariant":"a"}`},
			{Key: "object", JSON: `{"state":"ENABLED","variants":{"a":{}},"defaultVariant":"a"}`},
			{Key: "pinned", JSON: staticFlag},
		},
		Overrides: []flag.Override{{Key: "pinned", Variant: "off"}},
		Level:     &degrade.LevelState{Auto: degrade.One, Seed: "5eed5eed5eed5eed"},
	}).Counted(c)
	german := map[string]any{"country": "DE"}
	for range 2 {
		s.Bool("static", false, nil)
		s.Bool("rule", false, german)
		s.Bool("rule", false, nil)
		s.Bool("tiered", false, nil)
		s.Bool("disabled", false, nil)
		s.Bool("open", false, nil)
		s.Bool("lost", false, nil)
		s.Bool("text", false, nil) // of another type
		s.Bool("nowhere", false, nil)
		s.String("text", "", nil)
		s.Float("number", 0, nil)
		s.Int("number", 0, nil)
		s.Object("object", nil, nil)
		s.Any("object", nil)
		s.Bool("pinned", false, nil)
	}
	want := map[string]uint64{
		"static/on/STATIC": 2, "rule/on/TARGETING_MATCH": 2, "rule/off/DEFAULT": 2, "tiered/off/DEGRADED": 2,
		"disabled//DISABLED": 2, "open//DEFAULT": 2, "lost//ERROR": 2, "text//ERROR": 2, "//ERROR": 2,
		"text/a/STATIC": 2, "number/a/STATIC": 4, "object/a/STATIC": 4, "pinned/off/OVERRIDE": 2,
	}
	wantCounts(t, c, s, want)
	wantCounts(t, c, s, map[string]uint64{})

	// Evaluations at a place count the same.
	for range 2 {
		s.BoolAt(s.Find("static"), false, nil)
		s.BoolAt(s.Find("rule"), false, german)
		s.BoolAt(s.Find("rule"), false, nil)
		s.BoolAt(s.Find("tiered"), false, nil)
		s.BoolAt(s.Find("disabled"), false, nil)
		s.BoolAt(s.Find("open"), false, nil)
		s.BoolAt(s.Find("lost"), false, nil)
		s.BoolAt(s.Find("text"), false, nil)
		s.BoolAt(s.Find("nowhere"), false, nil)
		s.StringAt(s.Find("text"), "", nil)
		s.FloatAt(s.Find("number"), 0, nil)
		s.IntAt(s.Find("number"), 0, nil)
		s.ObjectAt(s.Find("object"), nil, nil)
		s.ObjectAt(s.Find("object"), nil, nil)
		s.BoolAt(s.Find("pinned"), false, nil)
	}
	wantCounts(t, c, s, want)

	s.Counted(nil).Bool("static", false, nil)
	s.Explain("static", nil)
	s.Compose("static")
	wantCounts(t, c, s, map[string]uint64{})
}

// Values at a place are those of a look-up.
func TestPlacesServeTheSame(t *testing.T) {
	s := setOf(t, flag.Update{Flags: append([]flag.Source{
		{Key: "text", JSON: `{"state":"ENABLED","variants":{"a":"A"},"defaultVariant":"a"}`},
		{Key: "number", JSON: `{"state":"ENABLED","variants":{"a":7.9},"defaultVariant":"a"}`},
		{Key: "object", JSON: `{"state":"ENABLED","variants":{"a":{"b":1}},"defaultVariant":"a"}`},
	}, benchFlags...)})
	for _, key := range []string{"static", "rule", "rollout", "tiered", "text", "number", "object", "nowhere"} {
		place := s.Find(key)
		tagged := s.Tagged("cache")
		for _, user := range []map[string]any{nil, benchContext, {"targetingKey": "u-2"}} {
			for _, fallback := range []bool{true, false} {
				if got, want := tagged.BoolAt(place, fallback, user), s.Bool(key, fallback, user).Value; got != want {
					t.Errorf("%s: bool %v, want %v", key, got, want)
				}
			}
			if got, want := tagged.StringAt(place, "x", user), s.String(key, "x", user).Value; got != want {
				t.Errorf("%s: string %v, want %v", key, got, want)
			}
			if got, want := tagged.FloatAt(place, 0.5, user), s.Float(key, 0.5, user).Value; got != want {
				t.Errorf("%s: float %v, want %v", key, got, want)
			}
			if got, want := tagged.IntAt(place, 5, user), s.Int(key, 5, user).Value; got != want {
				t.Errorf("%s: int %v, want %v", key, got, want)
			}
			if got, want := fmt.Sprint(tagged.ObjectAt(place, "x", user)), fmt.Sprint(s.Object(key, "x", user).Value); got != want {
				t.Errorf("%s: object %v, want %v", key, got, want)
			}
		}
	}
}

// Nothing is lost or counted twice, whoever counts and collects and whatever
// changes meanwhile.
func TestCountsAreExact(t *testing.T) {
	const workers, rounds, changes = 16, 6000, 200
	c := flag.NewCounts()
	var mu sync.Mutex
	current := setOf(t, flag.Update{Flags: benchFlags}).Counted(c)
	load := func() *flag.Set {
		mu.Lock()
		defer mu.Unlock()
		return current
	}
	var work, warm sync.WaitGroup
	warm.Add(workers)
	for range workers {
		work.Go(func() {
			for i := range rounds {
				if i == rounds*2/3 { // so many make it hot, whoever runs when
					warm.Done()
				}
				load().Bool("static", false, nil)
			}
		})
	}
	warm.Wait()
	total := map[string]uint64{}
	for i := range changes {
		variants := `"on":true,"off":false`
		if i%3 == 0 {
			variants = `"off":false,"on":true`
		}
		next, _ := load().With(flag.Update{Revision: int64(i), Flags: []flag.Source{
			{Key: "static", JSON: fmt.Sprintf(`{"state":"ENABLED","variants":{%s},"defaultVariant":"on","metadata":{"i":%d}}`, variants, i)},
		}}, time.Unix(0, 0))
		mu.Lock()
		current = next
		mu.Unlock()
		for k, n := range collected(c, next) {
			total[k] += n
		}
	}
	work.Wait()
	for k, n := range collected(c, load()) {
		total[k] += n
	}
	if want := map[string]uint64{"static/on/STATIC": workers * rounds}; !maps.Equal(total, want) {
		t.Errorf("counted %v, want %v", total, want)
	}
	if n := flag.Tallies(c); n > 2 {
		t.Errorf("%d tallies for one outcome, though every version of the flag has it", n)
	}
	if all, ofHot := flag.Stripes(c); all < ofHot {
		t.Errorf("%d stripes, want the tally hot by now", all)
	}
}

// What is gone does not stay in memory, and what is not is never forgotten.
func TestOldCountsAreForgotten(t *testing.T) {
	c := flag.NewCounts()
	s := setOf(t, flag.Update{Flags: benchFlags}).Counted(c)
	s.Bool("static", false, nil)
	s.Bool("tiered", false, nil)
	wantCounts(t, c, s, map[string]uint64{"static/on/STATIC": 1, "tiered/on/STATIC": 1})
	s, _ = s.With(flag.Update{RemovedFlags: []string{"static"}}, time.Unix(0, 0))
	for range 10 {
		wantCounts(t, c, s, map[string]uint64{})
	}
	if n := flag.Tallies(c); n != 1 {
		t.Errorf("%d tallies, want that of the flag that is left", n)
	}
	s.Bool("tiered", false, nil)
	wantCounts(t, c, s, map[string]uint64{"tiered/on/STATIC": 1})
}

// Flags that are seldom evaluated cost little memory, however many cores there are.
func TestSeldomCountedIsSmall(t *testing.T) {
	c := flag.NewCounts()
	var u flag.Update
	for i := range 100 {
		u.Flags = append(u.Flags, flag.Source{Key: fmt.Sprintf("f%d", i), JSON: staticFlag})
	}
	s := setOf(t, u).Counted(c)
	for range 10 {
		for i := range 100 {
			s.Bool(fmt.Sprintf("f%d", i), false, nil)
		}
	}
	if all, _ := flag.Stripes(c); all != 100 {
		t.Errorf("%d stripes for 100 outcomes, want one each", all)
	}
	for range 10_000 {
		s.Bool("f7", false, nil)
	}
	if all, ofHot := flag.Stripes(c); all != 99+ofHot {
		t.Errorf("%d stripes with one hot outcome, want %d", all, 99+ofHot)
	}
	if n := collected(c, s)["f7/on/STATIC"]; n != 10_010 {
		t.Errorf("counted %d, want 10010", n)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	s := setOf(t, flag.Update{Flags: benchFlags}).Counted(flag.NewCounts())
	place := s.Find("rule")
	s.Bool("rule", false, benchContext)
	if n := testing.AllocsPerRun(1000, func() {
		s.Bool("rule", false, benchContext)
		s.BoolAt(place, false, benchContext)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
