package flag

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// agreesWithComposed fails unless each flag, composed and loaded, serves what the
// set serves, and explains itself the same.
func agreesWithComposed(t interface{ Fatalf(string, ...any) }, s *Set, contexts ...map[string]any) {
	plain := recompose(t, s)
	for _, key := range slices.Sorted(s.Keys()) {
		for _, ctx := range contexts {
			want, got, trace := s.Any(key, ctx), plain.Any(key, ctx), s.Explain(key, ctx)
			text, _ := s.Compose(key)
			if got.Variant != want.Variant || got.ErrorCode != want.ErrorCode {
				t.Fatalf("%s with %s\nnative   %q %s\ncomposed %q %s\n%s", key, encode(ctx), want.Variant, want.ErrorCode, got.Variant, got.ErrorCode, text)
			}
			last := trace.Stages[len(trace.Stages)-1]
			if want.Reason == ReasonTargetingMatch && last.Finding != "it yields "+string(appendQuoted(nil, want.Variant)) {
				t.Fatalf("%s with %s is %q, the trace says %s\n%s", key, encode(ctx), want.Variant, last.Finding, text)
			}
		}
	}
}

// The texts of rules that are kept may lead in a circle, and the rules of a kept
// flag may have changed since: what is written out and explained is what is
// served.
func TestKeptRules(t *testing.T) {
	update := func(s *Set, evaluators ...Source) *Set {
		s, _ = s.With(Update{Evaluators: evaluators}, time.Unix(0, 0))
		return s
	}
	s := setWith(t, Update{
		Evaluators: []Source{{"a", `{"var":"x"}`}, {"b", `{"!":[{"$ref":"a"}]}`}},
		Flags:      []Source{{"f", flagHead + `{"if":[{"$ref":"a"},"on","off"]}}`}},
	})
	on, off := map[string]any{"x": true}, map[string]any{}
	for what, circle := range map[string]*Set{
		"a circle of two":  update(s, Source{"a", `{"!":[{"$ref":"b"}]}`}),
		"and turned again": update(update(s, Source{"a", `{"!":[{"$ref":"b"}]}`}), Source{"a", `{"and":[{"$ref":"b"},true]}`}),
	} {
		if len(circle.Problems()) != 1 {
			t.Fatalf("%s: problems %v", what, circle.Problems())
		}
		agreesWithComposed(t, circle, on, off)
	}

	// A flag that does not fit a changed rule any more keeps the old one.
	big := `{"in":[{"var":"y"},["` + strings.Repeat(`abcdefg","`, 6_000) + `"]]}`
	many := `{"if":[{"$ref":"a"},"on",{"and":[` + strings.Repeat(`{"$ref":"a"},`, 100) + `1]},"off"]}`
	s = setWith(t, Update{Evaluators: []Source{{"a", `{"var":"x"}`}}, Flags: []Source{{"f", flagHead + many + "}"}}})
	s = update(s, Source{"a", big})
	if problems := s.Problems(); len(problems) != 1 || !s.Bool("f", false, on).Value {
		t.Fatalf("problems %v", problems)
	}
	agreesWithComposed(t, s, on, off)
	if text, _ := s.Compose("f"); !strings.Contains(text, `{"if":[{"var":"x"},"on"`) {
		t.Errorf("composed as %s", text)
	}
}

func TestComposeOfAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := flagGenerator{newGenerator(rapid.Uint64().Draw(t, "texts")), map[string]bool{}}
		names := []string{"a", "b", "c"}
		ref := func() any { return map[string]any{"$ref": rapid.SampledFrom(names).Draw(t, "refers to")} }
		rule := func() string {
			switch rapid.IntRange(0, 3).Draw(t, "rule") {
			case 0:
				return encode(at("x"))
			case 1:
				return encode(op("!", ref()))
			default:
				return encode(op(rapid.SampledFrom([]string{"and", "or"}).Draw(t, "op"), ref(), op("!", ref()), at("y")))
			}
		}
		s := Empty()
		for range rapid.IntRange(1, 12).Draw(t, "updates") {
			var u Update
			for range rapid.IntRange(1, 2).Draw(t, "rules") {
				u.Evaluators = append(u.Evaluators, Source{rapid.SampledFrom(names).Draw(t, "name"), rule()})
			}
			if rapid.Bool().Draw(t, "removes") {
				u.RemovedEvaluators = []string{rapid.SampledFrom(names).Draw(t, "removed")}
			}
			if rapid.Bool().Draw(t, "flag") {
				u.Flags = []Source{{rapid.SampledFrom([]string{"f", "g"}).Draw(t, "key"), flagHead + encode(op("if", ref(), "on", g.condition(0), "off")) + "}"}}
			}
			s, _ = s.With(u, time.Unix(0, 0))
			ctx := g.context()
			x, y := g.IntN(2) == 0, g.IntN(2) == 0
			agreesWithComposed(t, s, ctx, map[string]any{"x": x, "y": y}, map[string]any{"x": !x, "y": y})
		}
	})
}

// However long the texts of rules, what a flag is composed as is bounded.
func TestComposedSize(t *testing.T) {
	s := Empty()
	escapes := strings.Repeat(`"`+strings.Repeat(`\u0001`, 15)+`",`, 690)
	rules := []Source{{"r0", `{"in":["x",[` + escapes + `1]]}`}, {"long", `{"==":[{"var":"x"},"` + strings.Repeat(`\u0001`, 10_800) + `"]}`}}
	for i := 1; i < 9; i++ {
		rules = append(rules, Source{fmt.Sprint("r", i), fmt.Sprintf(`{"and":[{"var":"x"},{"$ref":"r%d"},{"$ref":"r%d"},{"$ref":"long"}]}`, i-1, i-1)})
	}
	var flags []Source
	for i := range 9 {
		flags = append(flags, Source{fmt.Sprint("f", i), flagHead + fmt.Sprintf(`{"if":[{"$ref":"r%d"},"on"]}}`, i)})
	}
	s, _ = s.With(Update{Evaluators: rules, Flags: flags}, time.Unix(0, 0))
	if s.Len() < 7 {
		t.Errorf("only %d flags compile: %v", s.Len(), s.Problems())
	}
	longest := 0
	for key := range s.Keys() {
		text, _ := s.Compose(key)
		longest = max(longest, len(text))
	}
	if longest < 1<<20 || longest > 16<<20 {
		t.Errorf("the longest text has %d bytes", longest)
	}
}
