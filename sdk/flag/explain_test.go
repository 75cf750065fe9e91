package flag_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// The traces of one evaluation for each thing that can decide, as text and JSON.
func TestExplain(t *testing.T) {
	const checkout = `{"state":"ENABLED","variants":{"new":"n","old":"o","off":""},"defaultVariant":"old",
		"targeting":{"if":[{"segment":"vip"},"new",{"and":[{"starts_with":[{"var":"email"},"ann@"]},{">":[{"var":"cart.items"},3]}]},"new",
		{"fractional":[{"cat":["salt",{"var":"targetingKey"}]},["new",25],["old",75]]}]},
		"degradation":{"tier":"optional","guard":"search"}}`
	base := flag.Update{
		Evaluators: []flag.Source{{Key: "german", JSON: `{"in":[{"var":"country"},["DE","AT","CH"]]}`}},
		Segments:   []flag.Source{{Key: "vip", JSON: `{"and":[{"$ref":"german"},{"==":[{"var":"plan"},"gold"]}]}`}},
		Flags: []flag.Source{
			{Key: "checkout", JSON: checkout}, {Key: "plain", JSON: staticFlag}, {Key: "off", JSON: strings.Replace(staticFlag, "ENABLED", "DISABLED", 1)},
			{Key: "wrong", JSON: `{"state":"ENABLED","variants":{"on":true},"targeting":{"cat":["o",{"var":"x"}]}}`},
			{Key: "lists", JSON: `{"state":"ENABLED","variants":{"on":true},"targeting":{"if":[{"some":[{"var":"roles"},{"==":[{"var":""},"admin"]}]},"on"]}}`},
		},
		Level: atLevel(300_000), Revision: 4,
	}
	s := next(t, flag.Empty(), base)
	ann := map[string]any{"targetingKey": "user-1", "country": "DE", "plan": "free", "email": "ann@example.com", "cart": map[string]any{"items": 5}, "roles": []string{"viewer", "admin"}}
	var out strings.Builder
	for _, c := range []struct {
		what   string
		set    *flag.Set
		key    string
		ctx    map[string]any
		asJSON bool
	}{
		{"a match", s, "checkout", ann, false},
		{"the same as JSON", s, "checkout", ann, true},
		{"by bucket", s, "checkout", keyed("user-8"), false},
		{"shed", next(t, s, flag.Update{Level: atLevel(1_000_000)}), "checkout", ann, false},
		{"an open guard", next(t, s, flag.Update{Level: atLevel(0), OpenGuards: []flag.OpenGuard{{Name: "search"}}}), "checkout", ann, false},
		{"overridden", next(t, s, flag.Update{Overrides: []flag.Override{{Key: "checkout", Variant: "old"}}}), "checkout", ann, false},
		{"static", s, "plain", nil, false},
		{"disabled", s, "off", nil, false},
		{"unknown", s, "nope", nil, false},
		{"no variant", s, "wrong", map[string]any{"x": "x"}, false},
		{"over a list", s, "lists", ann, false},
		{"no match and no default", s, "lists", nil, false},
	} {
		trace := c.set.Explain(c.key, c.ctx)
		fmt.Fprintf(&out, "# %s\n", c.what)
		if !c.asJSON {
			out.WriteString(trace.Text() + "\n")
			continue
		}
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(trace); err != nil {
			t.Fatal(err)
		}
		out.WriteString("\n")
	}
	golden(t, "explain.golden", out.String())
}

// A trace ends: over a long list, with values that JSON does not have, with long
// text.
func TestExplainIsBounded(t *testing.T) {
	s := next(t, flag.Empty(), flag.Update{Flags: []flag.Source{{Key: "f", JSON: `{"state":"ENABLED","variants":{"on":true},"targeting":{"if":[{"all":[{"var":"xs"},{"!=":[{"var":""},{"cat":["x",{"var":""}]}]}]},{"var":"s"}]}}`}}})
	xs := make([]any, 50_000)
	for i := range xs {
		xs[i] = math.NaN()
	}
	trace := s.Explain("f", map[string]any{"xs": xs, "s": strings.Repeat("ü", 100_000)})
	text, err := json.Marshal(trace)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 2<<20 || len(trace.Text()) > 2<<20 {
		t.Errorf("the trace has %d bytes as JSON, %d as text", len(text), len(trace.Text()))
	}
	if !strings.Contains(trace.Text(), "the trace is cut here") {
		t.Error("the trace does not say that it is cut")
	}
}

// Values that are false or zero are there.
func TestResultAsJSON(t *testing.T) {
	s := next(t, flag.Empty(), flag.Update{Flags: []flag.Source{{Key: "f", JSON: `{"state":"ENABLED","variants":{"off":false},"defaultVariant":"off"}`}}})
	for what, v := range map[string]any{`"Value":false`: s.Bool("f", true, nil), `"value":false`: s.Explain("f", nil), `"Value":0,`: s.Int("f", 0, nil)} {
		if text, err := json.Marshal(v); err != nil || !strings.Contains(string(text), what) {
			t.Errorf("%s has no %s: %v", text, what, err)
		}
	}
	if text, err := json.Marshal(s.Explain("nope", nil)); err != nil || strings.Contains(string(text), "value") {
		t.Errorf("%s, %v", text, err)
	}
}

// As it is traced, a rule may take more steps than are allowed: the trace says so,
// and does not contradict the answer.
func TestExplainTooLong(t *testing.T) {
	constants := strings.Repeat(`{"==":[1,1]},`, 1_500)
	s := next(t, flag.Empty(), flag.Update{Flags: []flag.Source{{Key: "f", JSON: `{"state":"ENABLED","variants":{"on":true,"off":false},"targeting":{"if":[{"all":[{"var":"xs"},{"and":[` + constants + `{"var":""}]}]},"on","off"]}}`}}})
	for n, want := range map[int]string{100: `it yields "on"`, 1_000: `it yields "on"`, 20_000: "too long to trace", maxList: "takes more than 1048576 steps"} {
		xs := make([]bool, n)
		for i := range xs {
			xs[i] = true
		}
		trace := s.Explain("f", map[string]any{"xs": xs})
		if last := trace.Stages[len(trace.Stages)-1]; !strings.Contains(last.Finding, want) || (n < maxList) != trace.Result.HasValue {
			t.Errorf("over %d elements: %s, %s", n, last.Finding, show(trace.Result))
		}
	}
}

// maxList is a list that no rule gets through.
const maxList = 1 << 21

// Of a large object a trace tells the size, and gathering it does not slow down
// each of its steps.
func TestExplainOfLargeObjects(t *testing.T) {
	s := next(t, flag.Empty(), flag.Update{Flags: []flag.Source{{Key: "f", JSON: `{"state":"ENABLED","variants":{"on":true},"targeting":{"if":[{"all":[{"var":"xs"},{"!!":[{"var":""}]}]},"on"]}}`}}})
	object := map[string]any{}
	for i := range 80_000 {
		object[fmt.Sprint("member ", i)] = i
	}
	xs := make([]any, 2_000)
	for i := range xs {
		xs[i] = object
	}
	text := s.Explain("f", map[string]any{"xs": xs}).Text()
	if !strings.Contains(text, "!! {… 80000 members} → true") || len(text) > 2<<20 {
		t.Errorf("the trace is %.300s", text)
	}
	few := s.Explain("f", map[string]any{"xs": []any{map[string]any{"b": 1, "a": 2}}}).Text()
	if !strings.Contains(few, `{"a":2,"b":1}`) {
		t.Errorf("the trace is %s", few)
	}
}

// A draw or a clock that changes does not make the trace contradict its answer.
func TestExplainIsConsistent(t *testing.T) {
	draws := uint32(0)
	s := next(t, flag.Empty(), flag.Update{
		Flags: []flag.Source{{Key: "f", JSON: `{"state":"ENABLED","variants":{"on":true,"off":false},"targeting":{"if":[{"%":[{"var":"$flagd.timestamp"},2]},"on"]},"degradation":{"tier":"optional"}}`}},
		Level: atLevel(500_000),
	}).WithKeylessDraw(func() uint32 { draws += 333_333; return draws % 1_000_000 })
	tick := noon
	s = s.WithClock(func() time.Time { tick = tick.Add(time.Second); return tick })
	for range 20 {
		trace := s.Explain("f", nil)
		last := trace.Stages[len(trace.Stages)-1]
		want := map[flag.Reason]string{flag.ReasonDegraded: "level", flag.ReasonTargetingMatch: "targeting", flag.ReasonDefault: "default"}[trace.Result.Reason]
		if last.Name != want {
			t.Errorf("the answer is %s, the trace ends with %s: %s", trace.Result.Reason, last.Name, last.Finding)
		}
	}
}
