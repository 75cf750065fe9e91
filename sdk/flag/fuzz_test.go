package flag

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzRule: any rule over any context, checked or not, evaluates without a panic
// and in bounded time, says the same twice, and explains itself the same; and
// whatever the checker takes compiles.
func FuzzRule(f *testing.F) {
	for _, d := range differences {
		f.Add(d.rule, d.context)
	}
	g := newGenerator(5)
	for range 30 {
		f.Add(encode(g.rule(3)), encode(g.data()))
	}
	f.Add(`{"fractional":[{"var":""},["a",1]]}`, `{"targetingKey":"k"}`)
	for range 10 {
		f.Add(encode(map[string]any{"fractional": op("merge", g.scalar(), []any{g.list(0), g.list(0)})}), encode(g.data()))
	}
	for _, rule := range spreadConstants {
		f.Add(rule, `{"targetingKey":"k"}`)
	}
	f.Fuzz(func(t *testing.T, rule, data string) {
		if len(rule) > 4<<10 || len(data) > 4<<10 {
			return
		}
		var ctx map[string]any
		if json.Unmarshal([]byte(data), &ctx) != nil {
			ctx = map[string]any{targetingKey: data, "x": data}
		}
		compiled, err := compileRule(rule)
		if checked, _ := ParseRule("r", []byte(rule), Env{}); checked != nil && err != nil && len(checked.Evaluators())+len(checked.Segments()) == 0 {
			t.Fatalf("%s is taken and does not compile: %v", rule, err)
		}
		if compiled == nil {
			return
		}
		for _, generation := range []Bucketing{V1, V2, V3} {
			a, errA := evalRule(rule, ctx, generation)
			b, errB := evalRule(rule, ctx, generation)
			if (errA == nil) != (errB == nil) || (errA == nil && encode(lossless(a, ctx)) != encode(lossless(b, ctx))) {
				t.Fatalf("%s yields %v (%v) and %v (%v)", rule, encode(lossless(a, ctx)), errA, encode(lossless(b, ctx)), errB)
			}
		}
		flagText := `{"state":"ENABLED","variants":{"on":true,"a":false,"true":true},"defaultVariant":"on","targeting":` + rule + `}`
		s, _ := Empty().WithClock(func() time.Time { return time.Unix(1, 0) }).With(Update{Flags: []Source{{testKey, flagText}}}, time.Unix(0, 0))
		want, trace := s.Any(testKey, ctx), s.Explain(testKey, ctx)
		if trace.Result.Variant != want.Variant || trace.Result.ErrorCode != want.ErrorCode {
			t.Fatalf("%s: explained as %+v, is %+v", flagText, trace.Result, want)
		}
		if _, err := json.Marshal(trace); err != nil {
			t.Fatalf("%s: the trace is no JSON: %v", flagText, err)
		}
		if text, ok := s.Compose(testKey); ok {
			if d, faults := Parse(testKey, []byte(text), Env{}); d == nil {
				t.Fatalf("%s is composed as %s: %v", flagText, text, faults)
			}
		}
	})
}

// spreadConstants are fractionals whose only argument, not bracketed, depends on
// nothing.
var spreadConstants = []string{
	`{"fractional":{"merge":["x",[["on",1]]]}}`, `{"fractional":{"merge":[[["on",1],["a",1]]]}}`, `{"fractional":{"if":[true,"x"]}}`,
	`{"if":[{"fractional":{"merge":["x",[["on",1]]]}},"on"]}`, `{"cat":[{"fractional":{"or":["x",1]}}]}`,
}

// A fractional is never computed before there is a set and a context.
func TestSpreadConstants(t *testing.T) {
	for _, generation := range []Bucketing{V1, V2, V3} {
		for _, rule := range spreadConstants {
			s := setWith(t, Update{Settings: &Settings{Bucketing: generation}, Flags: []Source{{"f", flagHead + rule + "}"}}})
			if r := s.Any("f", map[string]any{targetingKey: "k"}); r.ErrorCode == ParseError {
				t.Errorf("%s: %+v", rule, r)
			}
			agreesWithComposed(t, s, nil, map[string]any{targetingKey: "k"})
		}
	}
}

// FuzzDocument: any text is taken or refused without a panic; what is taken means
// the same once written out, and all of its flags compile.
func FuzzDocument(f *testing.F) {
	names, err := filepath.Glob("testdata/faults-*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(`{"flags":[{"key":"a","state":"ENABLED","variants":{"on":{"a":[1]}}}],"$evaluators":{"e":{"var":"x"}},"segments":{"s":{"$ref":"e"}},"metadata":{"a":1}}`)
	f.Add(`{"flags":{"a":{"state":"ENABLED","variants":{"on":true,"off":false},"targeting":{"if":[{"segment":"s"},"on"]},"degradation":{"guard":"db"},"plimsoll":{"owner":"x"}}},"segments":{"s":true}}`)
	f.Fuzz(func(t *testing.T, text string) {
		doc, faults := ParseDocument([]byte(text), Env{})
		if (doc == nil) != (len(faults.Errors()) > 0) {
			t.Fatalf("document %v, faults %v", doc, faults)
		}
		for _, fault := range faults {
			if fault.Line < 1 || fault.Column < 1 || fault.Path == "" || fault.Message == "" {
				t.Fatalf("fault without a place or a word: %+v", fault)
			}
		}
		if doc == nil {
			return
		}
		again, faults := ParseDocument([]byte(doc.JSON()), Env{})
		if again == nil || again.JSON() != doc.JSON() {
			t.Fatalf("written out as %s: %v", doc.JSON(), faults)
		}
		u := Update{Settings: &Settings{Metadata: doc.Metadata}}
		for _, d := range doc.Flags {
			u.Flags = append(u.Flags, Source{d.Key(), d.JSON()})
		}
		for _, r := range doc.Evaluators {
			u.Evaluators = append(u.Evaluators, Source{r.Name(), r.JSON()})
		}
		for _, r := range doc.Segments {
			u.Segments = append(u.Segments, Source{r.Name(), r.JSON()})
		}
		s, problems := Empty().With(u, time.Unix(0, 0))
		if dangling(doc) {
			return
		}
		if len(problems) > 0 {
			t.Fatalf("taken, but does not compile: %v", problems)
		}
		if plain, faults := ParseDocument([]byte(s.ComposeAll()), Env{}); plain == nil {
			t.Fatalf("composed as %s: %v", s.ComposeAll(), faults)
		}
	})
}

// dangling tells whether a document refers to rules that it does not define, which
// is only a warning.
func dangling(doc *Document) bool {
	have := map[string]bool{}
	for _, r := range doc.Evaluators {
		have[evaluatorID(r.name)] = true
	}
	for _, r := range doc.Segments {
		have[segmentID(r.name)] = true
	}
	var refs []*references
	for _, r := range append(doc.Evaluators, doc.Segments...) {
		refs = append(refs, r.refs)
	}
	for _, d := range doc.Flags {
		refs = append(refs, d.refs)
	}
	for _, r := range refs {
		for id := range r.ids("") {
			if !have[id] {
				return true
			}
		}
	}
	return false
}
