package rules_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/ui/internal/rules"
)

var names = rapid.OneOf(
	rapid.SampledFrom([]string{"on", "off", "country", "user.plan", `a"b`, "<script>", "a, b", "\u202eabc", "grün 🌊", "not in", "0"}),
	rapid.StringMatching(`[a-z][a-z0-9.]{0,8}`),
)

var texts = rapid.OneOf(
	rapid.SampledFrom([]string{"", " x ", "42", "true", "null", `"q"`, `"`, "a,b", "a\nb", "a\r\nb", "<b>&", "{", "[1]", `\`, "1.2.3", "\u2028", "-0"}),
	rapid.StringMatching(`[ -~äöü🌊]{0,12}`),
)

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	// The canonical text has no more escapes than needed.
	for escaped, plain := range map[string]string{`\u003c`: "<", `\u003e`: ">", `\u0026`: "&"} {
		b = []byte(strings.ReplaceAll(string(b), escaped, plain))
	}
	return string(b)
}

func values(op rules.Op) *rapid.Generator[string] {
	text := rapid.Map(texts, quoted)
	if strings.HasPrefix(string(op), "sem_ver") || strings.HasSuffix(string(op), "_with") {
		return text
	}
	return rapid.OneOf(text, rapid.SampledFrom([]string{"0", "-1.50", "1e5", "true", "false", "null"}))
}

func conds(t *rapid.T, groups bool) rules.Cond {
	q := rapid.SampledFrom(rules.Questions).Draw(t, "question")
	code, not := strings.CutPrefix(q.Code, "not ")
	c := rules.Cond{Op: rules.Op(code), Not: not != rapid.Bool().Draw(t, "flip")}
	if groups && rapid.IntRange(0, 4).Draw(t, "group") == 0 {
		return rules.Cond{Op: rules.OpGroup, Not: c.Not, Group: &rules.Group{
			Any:   rapid.Bool().Draw(t, "any"),
			Conds: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) rules.Cond { return conds(t, false) }), 2, 4).Draw(t, "conds"),
		}}
	}
	c.Name = names.Draw(t, "name")
	switch {
	case c.Op == rules.OpIn:
		c.Values = rapid.SliceOfN(values(c.Op), 1, 5).Draw(t, "values")
	case c.Op.TakesValue():
		c.Values = []string{values(c.Op).Draw(t, "value")}
	}
	return c
}

func results(t *rapid.T) rules.Result {
	r := rules.Result{Kind: rapid.SampledFrom([]rules.ResultKind{rules.ServeDefault, rules.ServeVariant, rules.ServeSplit}).Draw(t, "kind")}
	switch r.Kind {
	case rules.ServeVariant:
		r.Variant = names.Draw(t, "variant")
	case rules.ServeSplit:
		if rapid.Bool().Draw(t, "by?") {
			r.By, r.Salted = names.Draw(t, "by"), rapid.Bool().Draw(t, "salted")
		}
		r.Shares = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) rules.Share {
			return rules.Share{Variant: names.Draw(t, "share"), Weight: rapid.Int64Range(1, 1000).Draw(t, "weight")}
		}), 1, 4).Draw(t, "shares")
	}
	return r
}

// models are those in normal form.
var models = rapid.Custom(func(t *rapid.T) rules.Model {
	m := rules.Model{Else: results(t)}
	for range rapid.IntRange(0, 4).Draw(t, "rules") {
		r := rules.Rule{Then: results(t)}
		for range rapid.IntRange(0, 4).Draw(t, "conds") {
			r.When.Conds = append(r.When.Conds, conds(t, true))
		}
		switch {
		case len(r.When.Conds) > 1:
			r.When.Any = rapid.Bool().Draw(t, "any")
		case len(r.When.Conds) == 1 && r.When.Conds[0].Op == rules.OpGroup && !r.When.Conds[0].Not:
			r.When = *r.When.Conds[0].Group
		}
		m.Rules = append(m.Rules, r)
	}
	if len(m.Rules) == 0 && m.Else.Kind == rules.ServeVariant {
		m.Else = rules.Result{Kind: rules.ServeDefault}
	}
	return m
})

func TestAModelSurvivesItsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := models.Draw(t, "model")
		text := m.JSON()
		got, err := rules.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if d := cmp.Diff(m, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("%s:\n%s", text, d)
		}
	})
}

func TestAModelSurvivesAForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := models.Draw(t, "model")
		form := make(url.Values)
		m.Encode(form)
		// As a browser sends it.
		sent, err := url.ParseQuery(form.Encode())
		if err != nil {
			t.Fatal(err)
		}
		got, problems := rules.Decode(sent)
		if len(problems) > 0 {
			t.Fatalf("%v of %v", problems, sent)
		}
		if d := cmp.Diff(m, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("%v:\n%s", sent, d)
		}
	})
}

// What Parse reads it may write otherwise, but only if it means the same.
func TestOtherSpellingsMeanTheSame(t *testing.T) {
	contexts := []map[string]any{
		{}, {"a": "x"}, {"a": "y", "b": 2.0}, {"a": "", "b": 3}, {"a": true, "b": false}, {"a": []any{"x"}, "b": "2"},
		{"targetingKey": "u1", "a": "1.2.3"}, {"targetingKey": "u2", "a": "2.0.0", "b": nil},
	}
	for _, text := range []string{
		`{"if":[{"and":[{"==":[{"var":["a"]},"x"]}]},"on"]}`,
		`{"if":[{"or":[{"!":{"var":"a"}},{"!!":{"var":"b"}}]},"on",null]}`,
		`{"if":[{"var":"a"},"on",{"if":[{"var":"b"},"off","on"]}]}`,
		`{"if":[{"!":[{"missing":"a"}]},"on","off"]}`,
		`{"if":[{"!":{"!":{"in":["x",{"var":"a"}]}}},{"fractional":[["on",1],["off"]]},{"fractional":[{"var":"a"},["on",30],["off",70]]}]}`,
		`{"if":[{"!":{"or":[{"==":[{"var":"a"},"x"]},{">":[{"var":"b"},2]}]}},"on"]}`,
		`{"if":[{"and":[{"or":[{"==":[{"var":"a"},"x"]},{"<=":[{"var":"b"},2]}]},{"!==":[{"var":"b"},null]}]},"on"]}`,
		`{"if":[{"sem_ver":[{"var":"a"},"^","1.0.0"]},"on",{"fractional":[{"cat":[{"var":"$flagd.flagKey"},{"var":"a"}]},["on",50],["off",50]]}]}`,
		`{"if":[{"==":[true,false]},"off"]}`,
	} {
		m, err := rules.Parse(text)
		if err != nil {
			if strings.Contains(text, "[true,false]") {
				continue
			}
			t.Errorf("%s: %v", text, err)
			continue
		}
		before, after := set(t, text), set(t, m.JSON())
		for _, c := range contexts {
			a, b := before.Explain("f", c), after.Explain("f", c)
			if a.Variant != b.Variant || a.Reason != b.Reason {
				t.Errorf("%s gives %s (%s) for %v, %s gives %s (%s)", text, a.Variant, a.Reason, c, m.JSON(), b.Variant, b.Reason)
			}
		}
	}
}

func set(t *testing.T, targeting string) *flag.Set {
	t.Helper()
	def, faults := flag.Parse("f", []byte(`{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":`+targeting+`}`), flag.Env{})
	if def == nil {
		t.Fatalf("%s: %v", targeting, faults)
	}
	s, _ := flag.Empty().With(flag.Update{Flags: []flag.Source{{Key: "f", JSON: def.JSON()}}}, time.Time{})
	return s
}

func TestWhatAFormCannotShowIsRefused(t *testing.T) {
	deep := strings.Repeat(`{"!":`, 40000) + "1" + strings.Repeat("}", 40000)
	for text, why := range map[string]string{
		`{"if":[{"==":["x",{"var":"a"}]},"on"]}`: "not an attribute and a constant",
		`{"if":[{"var":["a",1]},"on"]}`:          "something else than an attribute",
		`{"if":[{"var":""},"on"]}`:               "something else than an attribute",
		`{"if":[{"<":[1,{"var":"a"},3]},"on"]}`:  "not an attribute and a constant",
		`{"if":[{"and":[{"or":[{"and":[{"var":"a"},{"var":"b"}]},{"var":"c"}]},{"var":"d"}]},"on"]}`: "nested too deep",
		`{"if":[{"var":"a"},true]}`:                                     "neither a variant nor a split",
		`{"if":[{"var":"a"},{"if":[{"var":"b"},"on"]}]}`:                "neither a variant nor a split",
		`{"if":{"var":"a"}}`:                                            "less than a condition and a result",
		`{"if":[]}`:                                                     "less than",
		`{"fractional":[["on",{"var":"w"}]]}`:                           "no whole number",
		`{"fractional":[["on",2.5]]}`:                                   "no whole number",
		`{"fractional":["on",50]}`:                                      "not a variant and a weight",
		`{"fractional":[{"upper":[1]},["on",50]]}`:                      "something else than an attribute",
		`{"==":[1,1]}`:                                                  "begins with",
		`{"if":[{"in":[{"var":"a"},["x",["y"]]]},"on"]}`:                "not an attribute and a constant",
		`{"if":[{"==":[{"var":"a"},"x"],"!=":[{"var":"a"},"y"]},"on"]}`: "not one operation",
		`{"if":[{"==":[{"var":"a"},"\ud800"]},"on"]}`:                   "not an attribute and a constant",
		`{"if":[{"sem_ver =":[{"var":"a"},"1.0.0"]},"on"]}`:             "not an attribute and a constant",
		`{"if":[{"starts_with":[{"var":"a"},3]},"on"]}`:                 "not an attribute and a constant",
		`{"if":[{"var":"a"},"on\n"]}`:                                   "cannot be typed into a field",
		`{"if":[{"segment":["x"]},"on"]}`:                               "fits into a field",
		`[]`:                                                            "not one operation",
		`{"if":[`:                                                       "not readable",
		deep:                                                            "not readable",
	} {
		m, err := rules.Parse(text)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%.100s: %v, %+v; want the reason %q", text, err, m, why)
		}
	}
}

func TestButtons(t *testing.T) {
	var m rules.Model
	m.Else.Kind = rules.ServeDefault
	for _, step := range []struct{ do, want string }{
		{"add-rule", `{"if":[{"==":[{"var":""},""]},null]}`},
		{"add-cond:0", `{"if":[{"and":[{"==":[{"var":""},""]},{"==":[{"var":""},""]}]},null]}`},
		{"remove-cond:0.1", `{"if":[{"==":[{"var":""},""]},null]}`},
		{"add-group:0", `{"if":[{"and":[{"==":[{"var":""},""]},{"or":[{"==":[{"var":""},""]},{"==":[{"var":""},""]}]}]},null]}`},
		{"remove-cond:0.1.0", `{"if":[{"and":[{"==":[{"var":""},""]},{"==":[{"var":""},""]}]},null]}`},
		{"remove-cond:0.1.0", `{"if":[{"==":[{"var":""},""]},null]}`},
		{"remove-cond:0.0", `{"if":[true,null]}`},
		{"add-rule", `{"if":[true,null,{"==":[{"var":""},""]},null]}`},
		{"down-rule:0", `{"if":[{"==":[{"var":""},""]},null,true,null]}`},
		{"up-rule:0", `{"if":[{"==":[{"var":""},""]},null,true,null]}`},
		{"up-rule:1", `{"if":[true,null,{"==":[{"var":""},""]},null]}`},
		{"remove-rule:0", `{"if":[{"==":[{"var":""},""]},null]}`},
	} {
		if !m.Edit(step.do) {
			t.Fatalf("%s is unknown", step.do)
		}
		if got := m.JSON(); got != step.want {
			t.Fatalf("after %s: %s, want %s", step.do, got, step.want)
		}
	}
	m.Else = rules.Result{Kind: rules.ServeSplit}
	m.Fill([]string{"a", "b", "c"})
	if !m.Edit("remove-share:else.1") || !m.Edit("add-share:else") || !slices.Equal(m.Else.Shares, []rules.Share{{"a", 34}, {"c", 33}, {}}) {
		t.Errorf("shares: %v", m.Else.Shares)
	}
	for _, do := range []string{"", "x", "remove-rule:9", "remove-rule:-1", "up-rule:", "remove-cond:0.9", "add-cond:0.0", "add-share:0", "remove-share:else.7", "add-cond:else", "add-group:0.0", "remove-rule:99999999999999999999"} {
		if m.Edit(do) {
			t.Errorf("%q was taken", do)
		}
	}
}

func TestASliderGivesTheRestToTheOther(t *testing.T) {
	m, problems := rules.Decode(url.Values{
		"else.kind": {"split"}, "else.total": {"100"}, "else.share.0.variant": {"on"}, "else.share.0.weight": {"30"}, "else.share.1.variant": {"off"},
	})
	if len(problems) > 0 || m.JSON() != `{"fractional":[["on",30],["off",70]]}` {
		t.Error(problems, m.JSON())
	}
}

func TestFormsSayWhatIsMissing(t *testing.T) {
	for field, form := range map[string]url.Values{
		"rule.0.cond.0.name":  {"rule.0.then.kind": {"default"}, "rule.0.cond.0.op": {"=="}},
		"rule.0.cond.0.op":    {"rule.0.then.kind": {"default"}, "rule.0.cond.0.op": {"nonsense"}, "rule.0.cond.0.name": {"a"}},
		"rule.0.cond.0.value": {"rule.0.then.kind": {"default"}, "rule.0.cond.0.op": {"in"}, "rule.0.cond.0.name": {"a"}},
		"rule.0.then.variant": {"rule.0.then.kind": {"variant"}},
		"else.kind":           {"else.kind": {"split"}},
		"else.share.0.weight": {"else.kind": {"split"}, "else.share.0.variant": {"on"}, "else.share.0.weight": {"-1"}},
		"else.by":             {"else.kind": {"split"}, "else.by": {"a\x00b"}, "else.share.0.variant": {"on"}, "else.share.0.weight": {"1"}},
	} {
		_, problems := rules.Decode(form)
		if !slices.ContainsFunc(problems, func(p rules.Problem) bool { return p.Field == field && p.Message != "" }) {
			t.Errorf("%s: %v", field, problems)
		}
	}
}

// No form, however it came about, makes a targeting that is not JSON.
func FuzzDecode(f *testing.F) {
	f.Add("rule.0.then.kind=split&rule.0.cond.0.op=in&rule.0.cond.0.name=a&rule.0.cond.0.value=%22a,b&else.kind=variant", "add-cond:0")
	f.Fuzz(func(t *testing.T, query, do string) {
		form, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		m, problems := rules.Decode(form)
		m.Edit(do)
		text := m.JSON()
		if text != "" && !json.Valid([]byte(text)) {
			t.Fatalf("%s is no JSON", text)
		}
		if len(problems) > 0 || text == "" || do != "" {
			return
		}
		back, err := rules.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if back.JSON() != text {
			t.Fatalf("%s became %s", text, back.JSON())
		}
	})
}

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		part, whole int64
		want        string
	}{{1, 3, "33.33 %"}, {0, 5, "0 %"}, {5, 5, "100 %"}, {1, 2, "50 %"}, {1, 1e9, "under 0.01 %"}, {1e9 - 1, 1e9, "over 99.99 %"}, {1, 0, "0 %"}} {
		if got := rules.Percent(c.part, c.whole); got != c.want {
			t.Errorf("%d of %d: %s, want %s", c.part, c.whole, got, c.want)
		}
	}
}

func TestWords(t *testing.T) {
	m, err := rules.Parse(`{"if":[{"and":[{"in":[{"var":"country"},["de","at"]]},{"or":[{"segment":"staff"},{"!":{"missing":["beta"]}}]}]},"on"]}`)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, w := range m.Rules[0].When.Words() {
		b.WriteString(w.Text)
	}
	if want := `country is one of "de" or "at" and (the user is in the segment staff or beta is given)`; b.String() != want {
		t.Errorf("%s\nwant %s", &b, want)
	}
	long := rules.Cond{Op: rules.OpIn, Name: "a"}
	for i := range 20 {
		long.Values = append(long.Values, strconv.Itoa(i))
	}
	words := rules.Group{Conds: []rules.Cond{long}}.Words()
	if last := words[len(words)-1].Text; last != " or 12 more" {
		t.Errorf("a long list ends with %q", last)
	}
}
