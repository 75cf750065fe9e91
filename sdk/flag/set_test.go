package flag_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// next is the set after an update at noon, which must compile.
func next(t testing.TB, s *flag.Set, u flag.Update) *flag.Set {
	t.Helper()
	s, problems := s.With(u, noon)
	if len(problems) > 0 {
		t.Fatalf("these do not compile: %v", problems)
	}
	return s
}

func keyed(key string) map[string]any { return map[string]any{"targetingKey": key} }

// show is a result in one line.
func show[T any](r flag.Result[T]) string {
	text := fmt.Sprintf("%v %s %s", r.Value, r.Variant, r.Reason)
	if !r.HasValue {
		text += " no value"
	}
	if r.ErrorCode != "" {
		text += " " + string(r.ErrorCode)
	}
	return text
}

const onOff = `"variants":{"on":true,"off":false}`

// The table of results in flagd's documentation, row by row.
func TestResults(t *testing.T) {
	s := setOf(t, flag.Update{Flags: []flag.Source{
		{Key: "disabled", JSON: `{"state":"DISABLED",` + onOff + `,"defaultVariant":"on"}`},
		{Key: "static", JSON: `{"state":"ENABLED",` + onOff + `,"defaultVariant":"on"}`},
		{Key: "null-targeting", JSON: `{"state":"ENABLED",` + onOff + `,"defaultVariant":"on","targeting":null}`},
		{Key: "empty-targeting", JSON: `{"state":"ENABLED",` + onOff + `,"defaultVariant":"on","targeting":{}}`},
		{Key: "yields-null", JSON: `{"state":"ENABLED",` + onOff + `,"defaultVariant":"on","targeting":{"if":[false,"off"]}}`},
		{Key: "no-default", JSON: `{"state":"ENABLED",` + onOff + `}`},
		{Key: "null-default", JSON: `{"state":"ENABLED",` + onOff + `,"defaultVariant":null,"targeting":{"if":[false,"off"]}}`},
		{Key: "match", JSON: `{"state":"ENABLED",` + onOff + `,"defaultVariant":"on","targeting":{"if":[{"var":"x"},"off","on"]}}`},
		{Key: "bool-names", JSON: `{"state":"ENABLED","variants":{"true":"yes","false":"no"},"targeting":{"==":[{"var":"x"},1]}}`},
		{Key: "number-names", JSON: `{"state":"ENABLED","variants":{"1":"one","2.5":"more"},"targeting":{"+":[{"var":"x"},0.5]}}`},
		{Key: "other-name", JSON: `{"state":"ENABLED",` + onOff + `,"defaultVariant":"on","targeting":{"cat":["o",{"var":"x"}]}}`},
		{Key: "number", JSON: `{"state":"ENABLED","variants":{"a":-2.75},"defaultVariant":"a","targeting":{"if":[{"var":"x"},null]}}`},
		{Key: "text", JSON: `{"state":"ENABLED","variants":{"a":"A"},"defaultVariant":"a"}`},
		{Key: "object", JSON: `{"state":"ENABLED","variants":{"a":{"k":[1,null,"s"]},"b":{}},"defaultVariant":"a"}`},
	}})
	x := map[string]any{"x": 1}
	for _, c := range []struct{ what, got, want string }{
		{"unknown key", show(s.Bool("nope", true, nil)), "true  ERROR no value FLAG_NOT_FOUND"},
		{"disabled", show(s.Bool("disabled", true, nil)), "true  DISABLED no value"},
		{"static", show(s.Bool("static", false, nil)), "true on STATIC"},
		{"null targeting", show(s.Bool("null-targeting", false, nil)), "true on STATIC"},
		{"empty targeting", show(s.Bool("empty-targeting", false, nil)), "true on STATIC"},
		{"targeting yields null", show(s.Bool("yields-null", false, nil)), "true on DEFAULT"},
		{"no default", show(s.Bool("no-default", true, nil)), "true  DEFAULT no value"},
		{"null default", show(s.Bool("null-default", true, nil)), "true  DEFAULT no value"},
		{"match", show(s.Bool("match", true, x)), "false off TARGETING_MATCH"},
		{"bool names a variant", show(s.String("bool-names", "", x)), "yes true TARGETING_MATCH"},
		{"false too", show(s.String("bool-names", "", nil)), "no false TARGETING_MATCH"},
		{"number names a variant", show(s.String("number-names", "", map[string]any{"x": 2})), "more 2.5 TARGETING_MATCH"},
		{"other name", show(s.Bool("other-name", true, x)), "true  ERROR no value GENERAL"},
		{"as other name happens to be one", show(s.Bool("other-name", true, map[string]any{"x": "ff"})), "false off TARGETING_MATCH"},
		{"number as float", show(s.Float("number", 0, nil)), "-2.75 a DEFAULT"},
		{"number as int", show(s.Int("number", 0, nil)), "-2 a DEFAULT"},
		{"text", show(s.String("text", "", nil)), "A a STATIC"},
		{"text as bool", show(s.Bool("text", true, nil)), "true  ERROR no value TYPE_MISMATCH"},
		{"bool as text", show(s.String("static", "d", nil)), "d  ERROR no value TYPE_MISMATCH"},
		{"bool as int", show(s.Int("static", 3, nil)), "3  ERROR no value TYPE_MISMATCH"},
		{"bool as float", show(s.Float("static", 3, nil)), "3  ERROR no value TYPE_MISMATCH"},
		{"text as object", show(s.Object("text", "d", nil)), "d  ERROR no value TYPE_MISMATCH"},
		{"object", show(s.Object("object", nil, nil)), "map[k:[1 <nil> s]] a STATIC"},
		{"any of an object", show(s.Any("object", nil)), "map[k:[1 <nil> s]] a STATIC"},
		{"any of a bool", show(s.Any("static", nil)), "true on STATIC"},
		{"any of nothing", show(s.Any("disabled", nil)), "<nil>  DISABLED no value"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got, c.want)
		}
	}
	if r := s.Bool("text", true, nil); !strings.Contains(r.Message, `"A", which is not a bool`) {
		t.Errorf("the message of a mismatch is %q", r.Message)
	}
}

const tiered = `{"state":"ENABLED",` + onOff + `,"defaultVariant":"on","degradation":{"tier":"optional","guard":"db"},"metadata":{"owner":"ann","n":3}}`

func atLevel(l degrade.Level) *degrade.LevelState {
	return &degrade.LevelState{Auto: l, Seed: "5eed5eed5eed5eed"}
}

// Override wins over DISABLED, DISABLED over shedding, shedding over targeting.
func TestPrecedence(t *testing.T) {
	s := flag.Empty()
	text := func(state string) flag.Source {
		return flag.Source{Key: "f", JSON: `{"state":"` + state + `","variants":{"a":"a","b":"b","t":"t","d":"d"},"defaultVariant":"a","targeting":{"if":[true,"t"]},"degradation":{"degradedVariant":"d","guard":"db"}}`}
	}
	override := []flag.Override{{Key: "f", Variant: "b"}}
	for _, c := range []struct {
		what   string
		update flag.Update
		want   string
	}{
		{"targeting", flag.Update{Flags: []flag.Source{text("ENABLED")}}, "t t TARGETING_MATCH"},
		{"shed over targeting", flag.Update{Level: atLevel(degrade.One * 2)}, "d d DEGRADED"},
		{"a guard over targeting", flag.Update{Level: atLevel(0), OpenGuards: []flag.OpenGuard{{Name: "db"}}}, "d d DEGRADED"},
		{"another guard does nothing", flag.Update{ClosedGuards: []string{"db"}, OpenGuards: []flag.OpenGuard{{Name: "cache"}}}, "t t TARGETING_MATCH"},
		{"disabled over shed", flag.Update{Flags: []flag.Source{text("DISABLED")}, Level: atLevel(degrade.One * 2)}, "  DISABLED no value"},
		{"override over disabled", flag.Update{Overrides: override}, "b b OVERRIDE"},
		{"override over shed", flag.Update{Flags: []flag.Source{text("ENABLED")}}, "b b OVERRIDE"},
		{"and gone again", flag.Update{RemovedOverrides: []string{"f"}}, "d d DEGRADED"},
	} {
		s = next(t, s, c.update)
		if got := show(s.String("f", "", keyed("k"))); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

// Only a flag with the block is ever shed, rank 0 never, and a tier's flags do not
// answer STATIC while a share of it is shed.
func TestShedding(t *testing.T) {
	block := func(tier string) string {
		return `{"state":"ENABLED",` + onOff + `,"defaultVariant":"on","degradation":{"tier":"` + tier + `"}}`
	}
	s := next(t, flag.Empty(), flag.Update{
		Flags: []flag.Source{
			{Key: "critical", JSON: block("critical")}, {Key: "important", JSON: block("important")},
			{Key: "standard", JSON: block("standard")}, {Key: "optional", JSON: block("optional")},
			{Key: "unknown", JSON: block("gone")}, {Key: "none", JSON: staticFlag},
		},
		Level: atLevel(1_400_000), Revision: 9,
	})
	shed := map[string]int{}
	reasons := map[string]map[flag.Reason]bool{}
	const keys = 10_000
	for key := range s.Keys() {
		reasons[key] = map[flag.Reason]bool{}
		for i := range keys {
			r := s.Bool(key, true, keyed(fmt.Sprint("user-", i)))
			reasons[key][r.Reason] = true
			if r.Reason == flag.ReasonDegraded {
				shed[key]++
				if r.Value || r.Variant != "off" {
					t.Fatalf("%s is shed to %v", key, r)
				}
			}
		}
	}
	if shed["optional"] != keys || shed["standard"] < keys*37/100 || shed["standard"] > keys*43/100 {
		t.Errorf("shed at 1.4: %v", shed)
	}
	for key, want := range map[string][]flag.Reason{
		"critical": {flag.ReasonStatic}, "important": {flag.ReasonStatic}, "unknown": {flag.ReasonStatic}, "none": {flag.ReasonStatic},
		"standard": {flag.ReasonDegraded, flag.ReasonDefault}, "optional": {flag.ReasonDegraded},
	} {
		if got := slices.Sorted(maps.Keys(reasons[key])); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("%s answers %v, want %v", key, got, want)
		}
	}
	if s.Level() != 1_400_000 {
		t.Errorf("the level is %s", s.Level())
	}
	r := s.Bool("optional", true, keyed("k"))
	if want := map[string]any{"tier": "optional", "level": 1.4, "revision": int64(9)}; !reflect.DeepEqual(r.Metadata, want) {
		t.Errorf("metadata %v, want %v", r.Metadata, want)
	}
}

// The level never goes deeper than the tiers allow.
func TestLevelIsBounded(t *testing.T) {
	s := next(t, flag.Empty(), flag.Update{Level: atLevel(7_000_000)})
	if s.Level() != 3*degrade.One {
		t.Errorf("the level is %s", s.Level())
	}
	s = next(t, s, flag.Update{Settings: &flag.Settings{Tiers: degrade.Tiers{"a", "b"}}})
	if s.Level() != degrade.One {
		t.Errorf("with one sheddable tier the level is %s", s.Level())
	}
}

// Tiers are looked up anew when a namespace changes them.
func TestTiersChange(t *testing.T) {
	s := next(t, flag.Empty(), flag.Update{Flags: []flag.Source{{Key: "f", JSON: tiered}}, Level: atLevel(1_000_000)})
	if r := s.Bool("f", true, nil); r.Reason != flag.ReasonDegraded {
		t.Errorf("optional at level 1: %s", show(r))
	}
	s = next(t, s, flag.Update{Settings: &flag.Settings{Tiers: degrade.Tiers{"optional", "other"}}})
	if r := s.Bool("f", true, nil); r.Reason != flag.ReasonStatic {
		t.Errorf("optional as rank 0: %s", show(r))
	}
}

// Tiers that are invalid are refused, and those before are kept.
func TestInvalidTiers(t *testing.T) {
	good := flag.Settings{Tiers: degrade.Tiers{"optional", "other"}}
	s := next(t, flag.Empty(), flag.Update{Flags: []flag.Source{{Key: "f", JSON: tiered}}, Settings: &good})
	for _, tiers := range []degrade.Tiers{{"a", "b", "c", "d", "e", "f", "g", "h", "i"}, {}, {"a", "a"}} {
		for _, reset := range []bool{false, true} {
			u := flag.Update{Reset: reset, Settings: &flag.Settings{Tiers: tiers, Bucketing: flag.V3}, Flags: []flag.Source{{Key: "f", JSON: tiered}}}
			bad, problems := s.With(u, noon)
			if len(problems) != 1 || problems[0].Key != "$settings" || !reflect.DeepEqual(problems, bad.Problems()) {
				t.Errorf("%v: problems %v, of the set %v", tiers, problems, bad.Problems())
			}
			if got := bad.Settings(); !slices.Equal(got.Tiers, good.Tiers) || got.Bucketing != flag.V3 {
				t.Errorf("%v: settings %+v", tiers, got)
			}
			for _, mended := range []flag.Settings{good, bad.Settings()} {
				u.Settings = &mended
				if s, problems := bad.With(u, noon); len(problems)+len(s.Problems()) > 0 {
					t.Errorf("%v: after good settings %v, of the set %v", tiers, problems, s.Problems())
				}
			}
		}
	}
}

func TestKeyless(t *testing.T) {
	for _, c := range []struct {
		level degrade.Level
		draw  func() uint32
		shed  bool
	}{
		{499_999, nil, false}, {500_000, nil, true}, {1_000_000, nil, true},
		{300_000, func() uint32 { return 299_999 }, true}, {300_000, func() uint32 { return 300_000 }, false},
		{0, func() uint32 { return 0 }, false}, {1_000_000, func() uint32 { return 999_999 }, true},
	} {
		s := next(t, flag.Empty(), flag.Update{Flags: []flag.Source{{Key: "f", JSON: tiered}}, Level: atLevel(c.level)}).WithKeylessDraw(c.draw)
		for _, ctx := range []map[string]any{nil, {}, {"targetingKey": ""}, {"targetingKey": nil}, {"targetingKey": 0}} {
			if r := s.Bool("f", true, ctx); (r.Reason == flag.ReasonDegraded) != c.shed {
				t.Errorf("level %s, context %v: %s", c.level, ctx, show(r))
			}
		}
	}
}

func TestExpiry(t *testing.T) {
	minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	floor := degrade.One
	s := next(t, flag.Empty(), flag.Update{
		Flags:      []flag.Source{{Key: "f", JSON: tiered}, {Key: "g", JSON: tiered}, {Key: "h", JSON: tiered}},
		Overrides:  []flag.Override{{Key: "f", Variant: "off", ExpiresAt: minute(1)}, {Key: "g", Variant: "off"}, {Key: "h", Variant: "off", ExpiresAt: noon}},
		OpenGuards: []flag.OpenGuard{{Name: "db", Until: minute(2)}},
		Level:      &degrade.LevelState{Holds: []degrade.Hold{{Floor: &floor, ExpiresAt: minute(3)}}},
		Revision:   5,
	})
	for i, want := range []struct{ f, h string }{
		{"OVERRIDE", "DEGRADED"}, {"DEGRADED", "DEGRADED"}, {"DEGRADED", "DEGRADED"}, {"STATIC", "STATIC"},
	} {
		s = s.At(minute(i))
		if f, g, h := s.Bool("f", true, nil), s.Bool("g", true, nil), s.Bool("h", true, nil); string(f.Reason) != want.f || g.Reason != flag.ReasonOverride || string(h.Reason) != want.h {
			t.Errorf("minute %d: f %s, g %s, h %s", i, show(f), show(g), show(h))
		}
		due, ok := s.NextExpiry()
		if ok != (i < 3) || (ok && !due.Equal(minute(i+1))) {
			t.Errorf("minute %d: next expiry %v, %v", i, due, ok)
		}
		if s.At(minute(i)) != s {
			t.Errorf("minute %d: recomposed although nothing is due", i)
		}
		if s.Revision() != 5 {
			t.Errorf("minute %d: revision %d", i, s.Revision())
		}
	}
}

// An override may come before its flag, survives changes of it, and one for a
// variant that the flag does not have counts for nothing.
func TestOverrides(t *testing.T) {
	s := next(t, flag.Empty(), flag.Update{Overrides: []flag.Override{{Key: "f", Variant: "off"}}, Revision: 3})
	s = next(t, s, flag.Update{Flags: []flag.Source{{Key: "f", JSON: staticFlag}}, Revision: 4})
	r := s.Bool("f", true, nil)
	if got := show(r); got != "false off OVERRIDE" {
		t.Errorf("override before its flag: %s", got)
	}
	if want := map[string]any{"level": 0.0, "revision": int64(3)}; !reflect.DeepEqual(r.Metadata, want) {
		t.Errorf("metadata %v, want %v", r.Metadata, want)
	}
	only := []flag.Source{{Key: "f", JSON: `{"state":"ENABLED","variants":{"only":true},"defaultVariant":"only"}`}}
	s = next(t, s, flag.Update{Flags: only, Revision: 5})
	if got := show(s.Bool("f", true, nil)); got != "true only STATIC" {
		t.Errorf("override to a variant that is gone: %s", got)
	}
	_, again := s.With(flag.Update{Reset: true, Flags: only, Overrides: []flag.Override{{Key: "f", Variant: "off"}}, Revision: 5}, noon)
	for what, problems := range map[string][]flag.Problem{"the set": s.Problems(), "a snapshot": again} {
		if len(problems) != 1 || problems[0].Key != "f" || problems[0].Faults.Error() != `warning: an override names the variant "off", which is gone (remove the override)` {
			t.Errorf("problems of %s: %v", what, problems)
		}
	}
	if text := s.Explain("f", nil).Text(); !strings.Contains(text, `it names the variant "off", which is gone`) {
		t.Errorf("the trace does not tell: %s", text)
	}
	s = next(t, s, flag.Update{Flags: []flag.Source{{Key: "f", JSON: tiered}}, Revision: 6})
	r = s.Bool("f", true, nil)
	if want := map[string]any{"owner": "ann", "n": 3.0, "tier": "optional", "level": 0.0, "revision": int64(3)}; !reflect.DeepEqual(r.Metadata, want) || r.Reason != flag.ReasonOverride {
		t.Errorf("metadata %v, want %v", r.Metadata, want)
	}
}

func TestMetadata(t *testing.T) {
	s := next(t, flag.Empty(), flag.Update{
		Flags:    []flag.Source{{Key: "own", JSON: tiered}, {Key: "none", JSON: staticFlag}},
		Settings: &flag.Settings{Metadata: ` { "flagSetId": "shop", "owner": "set" } `},
	})
	check := func(what string, got, want map[string]any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	plain := map[string]any{"flagSetId": "shop", "owner": "ann", "n": 3.0}
	check("the flag's own wins", s.Bool("own", true, nil).Metadata, plain)
	check("the set's alone", s.Bool("none", true, nil).Metadata, map[string]any{"flagSetId": "shop", "owner": "set"})
	check("of an unknown flag", s.Bool("nope", true, nil).Metadata, map[string]any{"flagSetId": "shop", "owner": "set"})

	tagged := s.Tagged("cache")
	check("tagged", tagged.Bool("own", true, nil).Metadata, map[string]any{"flagSetId": "shop", "owner": "ann", "n": 3.0, "source": "cache"})
	check("tagged, the set's", tagged.Bool("none", true, nil).Metadata, map[string]any{"flagSetId": "shop", "owner": "set", "source": "cache"})
	check("not the original", s.Bool("own", true, nil).Metadata, plain)
	check("the tag removed", tagged.Tagged("").Bool("own", true, nil).Metadata, plain)
	kept := next(t, tagged, flag.Update{Level: atLevel(1_000_000), Revision: 7})
	check("tagged and shed", kept.Bool("own", true, nil).Metadata,
		map[string]any{"flagSetId": "shop", "owner": "ann", "n": 3.0, "source": "cache", "tier": "optional", "level": 1.0, "revision": int64(7)})
	guarded := next(t, s, flag.Update{OpenGuards: []flag.OpenGuard{{Name: "db"}}})
	check("by a guard", guarded.Bool("own", true, nil).Metadata,
		map[string]any{"flagSetId": "shop", "owner": "ann", "n": 3.0, "tier": "optional", "level": 0.0, "revision": int64(0), "guard": "db"})

	for key := range s.Keys() {
		a, b := kept.Bool(key, true, nil).Metadata, kept.Bool(key, true, nil).Metadata
		if reflect.ValueOf(a).Pointer() != reflect.ValueOf(b).Pointer() {
			t.Errorf("%s: each answer has a map of its own", key)
		}
	}
}

// A flag that does not compile keeps its last good version; one that never had
// one says why.
func TestProblems(t *testing.T) {
	s := next(t, flag.Empty(), flag.Update{Flags: []flag.Source{{Key: "f", JSON: staticFlag}}})
	s, problems := s.With(flag.Update{Flags: []flag.Source{{Key: "f", JSON: `{"state":"ON"}`}, {Key: "g", JSON: `{"state":"ENABLED",` + onOff + `,"targeting":{"$ref":"later"}}`}}}, noon)
	if len(problems) != 2 || problems[0].Key != "f" || problems[1].Key != "g" || len(problems[0].Faults) < 2 {
		t.Fatalf("problems %v", problems)
	}
	if got := show(s.Bool("f", false, nil)); got != "true on STATIC" {
		t.Errorf("the last good version: %s", got)
	}
	r := s.Bool("g", true, nil)
	if r.ErrorCode != flag.ParseError || !strings.Contains(r.Message, `no $evaluators["later"]`) {
		t.Errorf("one that never compiled: %s, %s", show(r), r.Message)
	}
	if got := s.Problems(); len(got) != 2 {
		t.Errorf("problems later: %v", got)
	}
	// What it lacks comes: it compiles.
	s = next(t, s, flag.Update{Evaluators: []flag.Source{{Key: "later", JSON: `{"if":[true,"on"]}`}}})
	if got := show(s.Bool("g", false, nil)); got != "true on TARGETING_MATCH" {
		t.Errorf("once its evaluator is there: %s", got)
	}
	s = next(t, s, flag.Update{RemovedFlags: []string{"f"}})
	if len(s.Problems()) != 0 {
		t.Errorf("problems left: %v", s.Problems())
	}
	if r := s.Bool("f", true, nil); r.ErrorCode != flag.FlagNotFound {
		t.Errorf("a removed flag: %s", show(r))
	}
}

func TestRules(t *testing.T) {
	uses := func(rule string) string {
		return `{"state":"ENABLED",` + onOff + `,"defaultVariant":"off","targeting":{"if":[` + rule + `,"on"]}}`
	}
	s := next(t, flag.Empty(), flag.Update{
		Evaluators: []flag.Source{{Key: "german", JSON: `{"==":[{"var":"country"},"DE"]}`}},
		Segments:   []flag.Source{{Key: "vip", JSON: `{"and":[{"$ref":"german"},{"var":"gold"}]}`}},
		Flags:      []flag.Source{{Key: "e", JSON: uses(`{"$ref":"german"}`)}, {Key: "s", JSON: uses(`{"segment":"vip"}`)}, {Key: "n", JSON: staticFlag}},
	})
	ctx := map[string]any{"country": "DE", "gold": true}
	check := func(s *flag.Set, e, v bool) {
		t.Helper()
		if got := s.Bool("e", false, ctx).Value; got != e {
			t.Errorf("the evaluator's flag serves %v", got)
		}
		if got := s.Bool("s", false, ctx).Value; got != v {
			t.Errorf("the segment's flag serves %v", got)
		}
	}
	check(s, true, true)
	after := next(t, s, flag.Update{Evaluators: []flag.Source{{Key: "german", JSON: `{"==":[{"var":"country"},"AT"]}`}}})
	check(after, false, false)
	check(s, true, true)
	if got := after.ChangedKeys(s); !reflect.DeepEqual(got, []string{"e", "s"}) {
		t.Errorf("changed: %v", got)
	}

	// One that is in use is not removed, and says so; then it is not in use.
	kept, problems := s.With(flag.Update{RemovedSegments: []string{"vip"}}, noon)
	if len(problems) != 1 || problems[0].Key != `segments["vip"]` {
		t.Fatalf("problems %v", problems)
	}
	check(kept, true, true)
	gone := next(t, kept, flag.Update{RemovedSegments: []string{"vip"}, RemovedEvaluators: []string{"german"}, RemovedFlags: []string{"e", "s"}})
	if len(gone.Problems()) != 0 {
		t.Errorf("problems left: %v", gone.Problems())
	}

	// A cycle keeps the last good versions.
	looped, problems := s.With(flag.Update{Evaluators: []flag.Source{{Key: "german", JSON: `{"segment":"vip"}`}}}, noon)
	if len(problems) == 0 {
		t.Fatal("a cycle is no problem")
	}
	check(looped, true, true)
	self, problems := s.With(flag.Update{Evaluators: []flag.Source{{Key: "me", JSON: `{"!":[{"$ref":"me"}]}`}}}, noon)
	if len(problems) != 1 || problems[0].Key != `$evaluators["me"]` {
		t.Errorf("a rule that needs itself: %v", problems)
	}
	check(self, true, true)
}

func TestReset(t *testing.T) {
	s := next(t, flag.Empty(), flag.Update{
		Flags: []flag.Source{{Key: "f", JSON: tiered}}, Overrides: []flag.Override{{Key: "g", Variant: "off"}},
		Level: atLevel(degrade.One), OpenGuards: []flag.OpenGuard{{Name: "db"}}, Settings: &flag.Settings{Bucketing: flag.V3, Metadata: `{"a":1}`},
	}).Tagged("cache")
	s = next(t, s, flag.Update{Reset: true, Flags: []flag.Source{{Key: "g", JSON: tiered}}, Epoch: 2, Revision: 1})
	if s.Len() != 1 || s.Level() != 0 || s.Settings().Bucketing != flag.V2 || s.Epoch() != 2 || s.Revision() != 1 {
		t.Errorf("after a reset: %d flags, level %s, %+v, position %d/%d", s.Len(), s.Level(), s.Settings(), s.Epoch(), s.Revision())
	}
	r := s.Bool("g", true, nil)
	if r.Reason != flag.ReasonStatic || r.Metadata["source"] != "cache" || r.Metadata["a"] != nil {
		t.Errorf("after a reset: %s %v", show(r), r.Metadata)
	}
}

func TestChangedKeys(t *testing.T) {
	old := next(t, flag.Empty(), flag.Update{Flags: []flag.Source{
		{Key: "a", JSON: staticFlag}, {Key: "b", JSON: tiered}, {Key: "c", JSON: rolloutFlag}, {Key: "d", JSON: `{"state":"ENABLED",` + onOff + `,"defaultVariant":"on","degradation":{"tier":"important"}}`},
	}, Level: atLevel(0)})
	for _, c := range []struct {
		what   string
		update flag.Update
		want   []string
	}{
		{"nothing", flag.Update{Revision: 2}, nil},
		{"the same text", flag.Update{Flags: []flag.Source{{Key: "a", JSON: staticFlag}}}, nil},
		{"a flag", flag.Update{Flags: []flag.Source{{Key: "a", JSON: ruleFlag}}}, []string{"a"}},
		{"a new and a removed flag", flag.Update{Flags: []flag.Source{{Key: "e", JSON: staticFlag}}, RemovedFlags: []string{"a"}}, []string{"a", "e"}},
		{"an override", flag.Update{Overrides: []flag.Override{{Key: "c", Variant: "on"}}}, []string{"c"}},
		{"a level that sheds a share of one tier", flag.Update{Level: atLevel(400_000)}, []string{"b"}},
		{"a level that sheds all", flag.Update{Level: atLevel(3_000_000)}, []string{"b", "d"}},
		{"the generation", flag.Update{Settings: &flag.Settings{Bucketing: flag.V3}}, []string{"c"}},
		{"the set's metadata", flag.Update{Settings: &flag.Settings{Metadata: `{"x":1}`}}, []string{"a", "b", "c", "d"}},
		{"a guard", flag.Update{OpenGuards: []flag.OpenGuard{{Name: "db"}}}, []string{"b"}},
		{"a guard of nobody", flag.Update{OpenGuards: []flag.OpenGuard{{Name: "x"}}}, nil},
		{"a flag that is broken from the start", flag.Update{Flags: []flag.Source{{Key: "z", JSON: `{}`}}}, []string{"z"}},
	} {
		s, _ := old.With(c.update, noon)
		if got := s.ChangedKeys(old); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
		if got := old.ChangedKeys(s); !slices.Equal(got, c.want) {
			t.Errorf("%s, backwards: %v, want %v", c.what, got, c.want)
		}
	}
	half := next(t, old, flag.Update{Level: atLevel(400_000)})
	reseeded := next(t, half, flag.Update{Level: &degrade.LevelState{Auto: 400_000, Seed: "other"}})
	if got := reseeded.ChangedKeys(half); !slices.Equal(got, []string{"b"}) {
		t.Errorf("another seed: %v", got)
	}
}

func TestLookup(t *testing.T) {
	s := next(t, flag.Empty(), flag.Update{Flags: []flag.Source{{Key: "f", JSON: tiered}}})
	d, ok := s.Lookup("f")
	if !ok || d.Key() != "f" || d.JSON() != tiered || d.Type() != flag.Bool {
		t.Errorf("found %v, %v", d, ok)
	}
	if _, ok := s.Lookup("g"); ok {
		t.Error("found a flag that is not there")
	}
	if got := slices.Collect(s.Keys()); !slices.Equal(got, []string{"f"}) {
		t.Errorf("keys %v", got)
	}
}
