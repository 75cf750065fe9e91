package flag_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// serves is a flag that is on for whom a rule holds.
func serves(rule string) string {
	return `{"state":"ENABLED",` + onOff + `,"defaultVariant":"off","targeting":{"if":[` + rule + `,"on"]}}`
}

const isGerman, isGold = `{"==":[{"var":"country"},"DE"]}`, `{"==":[{"var":"plan"},"gold"]}`

// inUse is a snapshot in which everything refers to something.
func inUse() flag.Update {
	return flag.Update{
		Reset:      true,
		Evaluators: []flag.Source{{Key: "german", JSON: isGerman}},
		Segments:   []flag.Source{{Key: "vip", JSON: `{"and":[{"$ref":"german"},` + isGold + `]}`}},
		Flags: []flag.Source{
			{Key: "e", JSON: serves(`{"$ref":"german"}`)}, {Key: "s", JSON: serves(`{"segment":"vip"}`)}, {Key: "t", JSON: tiered}, {Key: "n", JSON: staticFlag},
		},
		Overrides:  []flag.Override{{Key: "n", Variant: "off"}},
		OpenGuards: []flag.OpenGuard{{Name: "db"}},
		Level:      atLevel(400_000),
		Settings:   &flag.Settings{Bucketing: flag.V3, Metadata: `{"flagSetId":"shop"}`},
		Epoch:      1, Revision: 10,
	}
}

// labels are the keys of problems.
func labels(problems []flag.Problem) []string {
	list := make([]string, 0, len(problems))
	for _, p := range problems {
		list = append(list, p.Key)
	}
	return list
}

var goldGerman = map[string]any{"targetingKey": "k", "country": "DE", "plan": "gold"}

// What does not compile in a snapshot keeps its last good version from before it,
// and so does what is built on that.
func TestSnapshotKeepsLastGoodVersions(t *testing.T) {
	const noOperator = `{"no-such-operator":[1]}`
	for _, c := range []struct {
		what   string
		change func(*flag.Update)
		want   []string // problems
	}{
		{"a flag that does not parse", func(u *flag.Update) { u.Flags[0].JSON = `{"state":"ON"}` }, []string{"e"}},
		{"a flag with an unknown operator", func(u *flag.Update) { u.Flags[0].JSON = serves(noOperator) }, []string{"e"}},
		{"a flag that refers to nothing", func(u *flag.Update) { u.Flags[0].JSON = serves(`{"$ref":"nope"}`) }, []string{"e"}},
		{"an evaluator", func(u *flag.Update) { u.Evaluators[0].JSON = noOperator }, []string{`$evaluators["german"]`}},
		{"a segment", func(u *flag.Update) { u.Segments[0].JSON = `{"$ref":"nope"}` }, []string{`segments["vip"]`}},
		{"a segment that is gone, and still in use", func(u *flag.Update) { u.Segments = nil }, []string{`segments["vip"]`}},
		{"all of it", func(u *flag.Update) {
			u.Flags[0].JSON, u.Flags[1].JSON, u.Evaluators[0].JSON, u.Segments[0].JSON = "", "{", "[", noOperator
		}, []string{`$evaluators["german"]`, "e", "s", `segments["vip"]`}},
		{"a flag that never compiled", func(u *flag.Update) { u.Flags = append(u.Flags, flag.Source{Key: "z", JSON: "{}"}) }, []string{"z"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			before := next(t, flag.Empty(), inUse())
			u := inUse()
			c.change(&u)
			u.Revision = 11
			s := before
			for range 2 { // the second snapshot finds the problems there already
				var problems []flag.Problem
				s, problems = s.With(u, noon)
				for _, got := range [][]string{labels(problems), labels(s.Problems())} {
					if !slices.Equal(got, c.want) {
						t.Fatalf("problems %q, want %q", got, c.want)
					}
				}
				for _, key := range []string{"e", "s"} {
					if got := show(s.Bool(key, false, goldGerman)); got != "true on TARGETING_MATCH" {
						t.Errorf("%s: %s", key, got)
					}
				}
				u.Revision++
			}
			if changed := s.ChangedKeys(before); len(slices.DeleteFunc(changed, func(key string) bool { return key == "z" })) > 0 {
				t.Errorf("changed: %v", changed)
			}
			if r := s.Bool("z", true, nil); slices.Contains(c.want, "z") && r.ErrorCode != flag.ParseError {
				t.Errorf("one that never compiled: %s", show(r))
			}
			u = inUse()
			u.Revision = 13
			if s = next(t, s, u); len(s.Problems()) > 0 {
				t.Errorf("problems left by a snapshot that compiles: %v", s.Problems())
			}
		})
	}
}

func TestSnapshotRemovesWhatItDoesNotName(t *testing.T) {
	s, _ := next(t, flag.Empty(), inUse()).With(flag.Update{
		Flags:      []flag.Source{{Key: "e", JSON: "{"}, {Key: "z", JSON: "{"}},
		Evaluators: []flag.Source{{Key: "x", JSON: `{"$ref":"nope"}`}, {Key: "german", JSON: `{"segment":"vip"}`}}, // leads back to itself
	}, noon)
	s = next(t, s, flag.Update{Reset: true, Flags: []flag.Source{{Key: "t", JSON: tiered}}, Epoch: 1, Revision: 11})
	if got := slices.Collect(s.Keys()); !slices.Equal(got, []string{"t"}) || len(s.Problems()) > 0 {
		t.Errorf("left: flags %v, problems %v", got, s.Problems())
	}
	if got := show(s.Bool("t", false, nil)); got != "true on STATIC" {
		t.Errorf("with its guard and the level gone: %s", got)
	}
	if s.Level() != 0 || !reflect.DeepEqual(s.Settings(), flag.Settings{}) {
		t.Errorf("left: level %s, settings %+v", s.Level(), s.Settings())
	}
	s, problems := s.With(flag.Update{Flags: []flag.Source{{Key: "e", JSON: serves(`{"$ref":"german"}`)}, {Key: "s", JSON: serves(`{"segment":"vip"}`)}, {Key: "n", JSON: staticFlag}}}, noon)
	if got := labels(problems); !slices.Equal(got, []string{"e", "s"}) {
		t.Errorf("rules were left: problems %v", problems)
	}
	if got := show(s.Bool("n", false, nil)); got != "true on STATIC" {
		t.Errorf("its override was left: %s", got)
	}
}

// A snapshot names as changed what really is.
func TestSnapshotNamesWhatChanged(t *testing.T) {
	old := next(t, flag.Empty(), inUse())
	for _, c := range []struct {
		what   string
		change func(*flag.Update)
		want   []string
	}{
		{"nothing", func(*flag.Update) {}, nil},
		{"the order", func(u *flag.Update) { slices.Reverse(u.Flags) }, nil},
		{"white space", func(u *flag.Update) { u.Flags[0].JSON = "\n" + u.Flags[0].JSON + " " }, nil},
		{"a flag", func(u *flag.Update) { u.Flags[0].JSON = ruleFlag }, []string{"e"}},
		{"a flag is gone", func(u *flag.Update) { u.Flags = u.Flags[1:] }, []string{"e"}},
		{"an evaluator", func(u *flag.Update) { u.Evaluators[0].JSON = `{"==":[{"var":"country"},"AT"]}` }, []string{"e", "s"}},
		{"a segment", func(u *flag.Update) { u.Segments[0].JSON = `{"var":"x"}` }, []string{"s"}},
		{"an override", func(u *flag.Update) { u.Overrides[0].Variant = "on" }, []string{"n"}},
		{"overrides", func(u *flag.Update) { u.Overrides = []flag.Override{{Key: "e", Variant: "on"}} }, []string{"e", "n"}},
		{"a guard", func(u *flag.Update) { u.OpenGuards = nil }, []string{"t"}},
		{"the level", func(u *flag.Update) { u.Level = nil }, []string{"t"}},
		{"the settings", func(u *flag.Update) { u.Settings = nil }, []string{"e", "n", "s", "t"}},
		{"everything", func(u *flag.Update) { *u = flag.Update{Reset: true} }, []string{"e", "n", "s", "t"}},
		{"of two texts the last counts", func(u *flag.Update) {
			u.Flags = append([]flag.Source{{Key: "n", JSON: tiered}}, u.Flags...)
		}, nil},
	} {
		u := inUse()
		c.change(&u)
		u.Revision = 20
		if got := next(t, old, u).ChangedKeys(old); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// An override or a level that a snapshot repeats is as old as it was, but not in
// another epoch, whose revisions are others.
func TestSnapshotKeepsRevisions(t *testing.T) {
	old := next(t, flag.Empty(), inUse())
	for _, c := range []struct {
		epoch          uint64
		revision, want int64
	}{{1, 20, 10}, {2, 20, 20}, {1, 9, 9}} {
		u := inUse()
		u.Epoch, u.Revision = c.epoch, c.revision
		s := next(t, old, u)
		if got := s.Bool("n", true, nil).Metadata["revision"]; got != c.want {
			t.Errorf("override in %d/%d: revision %v, want %d", c.epoch, c.revision, got, c.want)
		}
		if got := s.Bool("t", true, nil).Metadata["revision"]; got != c.want {
			t.Errorf("level in %d/%d: revision %v, want %d", c.epoch, c.revision, got, c.want)
		}
	}
}

func TestSnapshotKeepsClockDrawAndTag(t *testing.T) {
	s := next(t, flag.Empty(), inUse()).Tagged("cache").
		WithClock(func() time.Time { return time.Unix(42, 0) }).
		WithKeylessDraw(func() uint32 { return 399_999 })
	s = next(t, s, flag.Update{Reset: true, Epoch: 2, Revision: 1})
	if s.Len() != 0 || s.Epoch() != 2 || s.Revision() != 1 {
		t.Errorf("%d flags at %d/%d", s.Len(), s.Epoch(), s.Revision())
	}
	s = next(t, s, flag.Update{Flags: []flag.Source{
		{Key: "clock", JSON: serves(`{"==":[{"var":"$flagd.timestamp"},42]}`)}, {Key: "draw", JSON: tiered},
	}, Level: atLevel(400_000)})
	if r := s.Bool("clock", false, nil); !r.Value || r.Metadata["source"] != "cache" {
		t.Errorf("clock and tag: %s %v", show(r), r.Metadata)
	}
	if r := s.Bool("draw", true, nil); r.Reason != flag.ReasonDegraded {
		t.Errorf("draw: %s", show(r))
	}
}

// A rule that does not compile is tried again when those it refers to come, and
// one that was removed while in use goes when it is not any more.
func TestRulesSettle(t *testing.T) {
	s, problems := flag.Empty().With(flag.Update{
		Segments: []flag.Source{{Key: "vip", JSON: `{"$ref":"later"}`}},
		Flags:    []flag.Source{{Key: "s", JSON: serves(`{"segment":"vip"}`)}},
	}, noon)
	if got := labels(problems); !slices.Equal(got, []string{"s", `segments["vip"]`}) {
		t.Fatalf("problems %v", problems)
	}
	s = next(t, s, flag.Update{Evaluators: []flag.Source{{Key: "other", JSON: `true`}}}) // no news of vip
	s = next(t, s, flag.Update{Evaluators: []flag.Source{{Key: "later", JSON: isGerman}}})
	if got := show(s.Bool("s", false, goldGerman)); got != "true on TARGETING_MATCH" || len(s.Problems()) > 0 {
		t.Errorf("once the evaluator is there: %s, problems %v", got, s.Problems())
	}
	s, problems = s.With(flag.Update{RemovedSegments: []string{"vip"}}, noon)
	if got := labels(problems); !slices.Equal(got, []string{`segments["vip"]`}) {
		t.Fatalf("problems %v", problems)
	}
	s = next(t, s, flag.Update{Evaluators: []flag.Source{{Key: "later", JSON: isGold}}})
	if got := fmt.Sprint(labels(s.Problems()), s.EvaluatorUsers("later")); got != `[segments["vip"]] [segments["vip"]]` {
		t.Errorf("after a change of what it refers to: %s", got)
	}
	s = next(t, s, flag.Update{RemovedFlags: []string{"s"}})
	if got := fmt.Sprint(labels(s.Problems()), s.EvaluatorUsers("later")); got != "[] []" {
		t.Errorf("once it is not in use: %s", got)
	}
}

// The level of a set that is made at no moment in particular is the set's.
func TestLevelAtTheZeroTime(t *testing.T) {
	for _, reset := range []bool{true, false} {
		s, _ := flag.Empty().With(flag.Update{Reset: reset, Level: atLevel(degrade.One)}, time.Time{})
		if s.Level() != degrade.One {
			t.Errorf("reset %v: level %s", reset, s.Level())
		}
	}
}

// A flag that comes back to its last good text is compiled with the rules of
// today.
func TestLastGoodTextAgain(t *testing.T) {
	for _, reset := range []bool{true, false} {
		s := next(t, flag.Empty(), inUse())
		s, _ = s.With(flag.Update{Flags: []flag.Source{{Key: "e", JSON: "{"}}}, noon)
		s, _ = s.With(flag.Update{Evaluators: []flag.Source{{Key: "german", JSON: `false`}}}, noon)
		if got := show(s.Bool("e", false, goldGerman)); got != "true on TARGETING_MATCH" {
			t.Errorf("reset %v: the last good version: %s", reset, got)
		}
		u := inUse()
		u.Reset, u.Evaluators[0].JSON = reset, `false`
		s = next(t, s, u)
		if got := show(s.Bool("e", true, goldGerman)); got != "false off DEFAULT" || len(s.Problems()) > 0 {
			t.Errorf("reset %v: %s, problems %v", reset, got, s.Problems())
		}
	}
}
