package flag_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

func TestParse(t *testing.T) {
	text := `{
		"plimsoll": {"owner": "ann", "expires": "2030-01-31", "description": "d", "labels": {"team": "search"}},
		"state": "ENABLED", "variants": {"big": {"n": 10, "s": "x y"}, "none": {}}, "defaultVariant": "big",
		"targeting": {"if": [{"$ref": "b"}, "big", {"segment": "s"}, "none", {"$ref": "a"}]},
		"degradation": {"dependsOn": ["db", "cache"], "guard": "db"}
	}`
	d, faults := flag.Parse("f", []byte(text), flag.Env{})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	compact := `{"plimsoll":{"owner":"ann","expires":"2030-01-31","description":"d","labels":{"team":"search"}},"state":"ENABLED","variants":{"big":{"n":10,"s":"x y"},"none":{}},"defaultVariant":"big","targeting":{"if":[{"$ref":"b"},"big",{"segment":"s"},"none",{"$ref":"a"}]},"degradation":{"dependsOn":["db","cache"],"guard":"db"}}`
	value, ok := d.Variant("big")
	name, hasDefault := d.DefaultVariant()
	_, unknown := d.Variant("nope")
	for _, c := range []struct{ what, got, want any }{
		{"key", d.Key(), "f"}, {"JSON", d.JSON(), compact}, {"type", d.Type(), flag.Object}, {"enabled", d.Enabled(), true}, {"targeted", d.Targeted(), true},
		{"variants", d.Variants(), []string{"big", "none"}}, {"variant", value, `{"n":10,"s":"x y"}`}, {"found", ok, true}, {"unknown", unknown, false},
		{"default", name, "big"}, {"has default", hasDefault, true},
		{"evaluators", d.Evaluators(), []string{"a", "b"}}, {"segments", d.Segments(), []string{"s"}},
		{"degradation", d.Degradation(), &flag.Degradation{Tier: "standard", DegradedVariant: "none", DependsOn: []string{"db", "cache"}, Guard: "db"}},
		{"info", d.Info(), flag.Info{Owner: "ann", Expires: "2030-01-31", Description: "d", Labels: map[string]string{"team": "search"}}},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
	d.Info().Labels["team"] = "changed"
	d.Degradation().DependsOn[0] = "changed"
	if d.Info().Labels["team"] != "search" || d.Degradation().DependsOn[0] != "db" {
		t.Error("a definition can be changed from outside")
	}
}

func TestDegradedVariantDefault(t *testing.T) {
	for variants, want := range map[string]string{
		`{"on":true,"off":false}`: "off", `{"a":"x","b":""}`: "b", `{"full":{"k":1},"none":{}}`: "none",
		`{"on":true}`: "no variant is false or empty", `{"one":1,"zero":0}`: "no variant is false or empty", `{"a":"","b":""}`: `both "a" and "b"`,
	} {
		d, faults := flag.Parse("f", []byte(`{"state":"ENABLED","variants":`+variants+`,"degradation":{}}`), flag.Env{})
		switch {
		case d != nil && d.Degradation().DegradedVariant == want:
		case d == nil && strings.Contains(faults.Error(), want):
		default:
			t.Errorf("%s: %v %v, want %s", variants, d, faults, want)
		}
	}
}

// golden compares text with a file in testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if flag.Updating() {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run go test -update and read what changed. got:\n%s", file, got)
	}
}

// Every fault of a document is told at once, with its place, its path, what to
// do, and the nearest known name.
func TestDocumentFaults(t *testing.T) {
	env := flag.Env{
		Tiers:          degrade.DefaultTiers(),
		HasEvaluator:   func(name string) bool { return name == "stored" },
		EvaluatorNames: func() []string { return []string{"stored"} },
		HasSegment:     func(string) bool { return false },
	}
	var out strings.Builder
	for _, name := range []string{"faults-map.json", "faults-array.json", "faults-broken.json"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		doc, faults := flag.ParseDocument(text, env)
		if doc != nil {
			t.Errorf("%s has faults and is taken", name)
		}
		fmt.Fprintf(&out, "# %s: %d errors, %d warnings\n%s\n\n", name, len(faults.Errors()), len(faults.Warnings()), faults.Error())
		for _, f := range faults {
			if f.Line < 1 || f.Column < 1 || !strings.HasPrefix(f.Path, "$") {
				t.Errorf("%s: fault without a place: %+v", name, f)
			}
		}
	}
	golden(t, "faults.golden", out.String())
}

func TestRuleFaults(t *testing.T) {
	for text, want := range map[string]string{
		`{"starts-with":["a","b"]}`:                    `$["starts-with"]: unknown operator "starts-with" (did you mean "starts_with"?)`,
		`{"==":[1]}`:                                   `$["=="]: "==" takes 2 arguments, not 1`,
		`{"<":[1,2,3,4]}`:                              `$["<"]: "<" takes 2 to 3 arguments, not 4`,
		`{"and":[]}`:                                   `$.and: "and" takes at least 1 argument, not 0`,
		`{"!":[]}`:                                     `$["!"]: "!" takes 1 argument, not 0`,
		`{"if":[1],"or":[1]}`:                          `$: an operation is an object with exactly one member, the operator; this one has 2`,
		`{"!":[{}]}`:                                   `$["!"][0]: an operation is an object with exactly one member, the operator; this one has 0`,
		`{"var":"$flagd.flagkey"}`:                     `$.var: $flagd has no field "flagkey" (did you mean "flagKey"?)`,
		`{"$ref":1}`:                                   `$.$ref: this is a number; the name of the evaluator is wanted`,
		`{"sem_ver":[{"var":"v"},"==","1.0.0"]}`:       `$.sem_ver[1]: unknown comparison of versions "==" (there are = != < <= > >= ~ ^)`,
		`{"sem_ver":[{"var":"v"},"=","1.2.3.4"]}`:      `$.sem_ver[2]: "1.2.3.4" is no semantic version (such as 1.2.3, 1.2 or v1.2.3-rc.1)`,
		`{"sem_ver":[{"var":"v"},"=",true]}`:           `$.sem_ver[2]: a version is a string, not a bool`,
		`{"fractional":[{"var":"v"},"on"]}`:            `$.fractional[1]: a bucket is a list of a variant and a weight, not a string (such as ["on", 25])`,
		`{"fractional":[["on",1,2]]}`:                  `$.fractional[0]: a bucket is a variant and an optional weight; this one has 3 elements (such as ["on", 25])`,
		`{"fractional":[["on","1"]]}`:                  `$.fractional[0][1]: a weight is a whole number, not a string`,
		`{"fractional":[["on",-2.5]]}`:                 `$.fractional[0][1]: a weight is a whole number from 0 to 2147483647, not -2.5`,
		`[1,2]`:                                        `$: an evaluator or segment is one value, not a list: not bracketed, a list stands for several arguments (write the list where it is used)`,
		`{"sem_ver":[{"var":"v"},"=",1e21]}`:           `$.sem_ver[2]: "1e21" is no semantic version`,
		`{"ends_with":[{"var":"id"},3]}`:               `$.ends_with[1]: both arguments of "ends_with" are text, this is a number`,
		`{"fractional":[[["on"],1]]}`:                  `$.fractional[0][0]: a list names no variant`,
		`{"in":["a",[1,{"va":"x"}]]}`:                  `$.in[1][1].va: unknown operator "va" (did you mean "var"?)`,
		`{"and":[{"nor":[1]},{"==":[1]},{"x":[1,2]}]}`: `$.and[0].nor: unknown operator "nor"`,
	} {
		rule, faults := flag.ParseRule("r", []byte(text), flag.Env{})
		if rule != nil || len(faults) == 0 || !strings.Contains(faults.Error(), want) {
			t.Errorf("%s:\ngot  %v\nwant %s", text, faults, want)
		}
	}
	if _, faults := flag.ParseRule("r", []byte(`{"and":[{"nor":[1]},{"==":[1]},{"x":[1,2]}]}`), flag.Env{}); len(faults) != 3 {
		t.Errorf("not all faults at once: %v", faults)
	}
	for _, text := range []string{`{"missing":["a","b"]}`, `true`, `"on"`, `null`, `{"fractional":[["on",-0],["off",1]]}`, `{"sem_ver":[{"var":"v"},"=",1e1]}`, `{"sem_ver":[1.0,"=",1.5]}`, `{"sem_ver":{"var":"list"}}`, `{"fractional":{"var":"list"}}`, `{"?:":[1,2,3]}`, `{"max":[]}`} {
		if rule, faults := flag.ParseRule("r", []byte(text), flag.Env{}); rule == nil || len(faults) > 0 {
			t.Errorf("%s: %v", text, faults)
		}
	}
	weighed, faults := flag.ParseRule("r", []byte(`{"fractional":[["on",-25],["off",1]]}`), flag.Env{})
	if weighed == nil || faults.Error() != `1:22: warning: $.fractional[0][1]: the weight -25 counts as 0` {
		t.Errorf("a negative weight: %v", faults)
	}
	rule, _ := flag.ParseRule("r", []byte(` { "and" : [ {"$ref":"b"}, {"$ref":"a"}, {"segment":"s"}, {"$ref":"a"} ] } `), flag.Env{})
	if rule.Name() != "r" || rule.JSON() != `{"and":[{"$ref":"b"},{"$ref":"a"},{"segment":"s"},{"$ref":"a"}]}` ||
		!reflect.DeepEqual(rule.Evaluators(), []string{"a", "b"}) || !reflect.DeepEqual(rule.Segments(), []string{"s"}) {
		t.Errorf("%s %s %v %v", rule.Name(), rule.JSON(), rule.Evaluators(), rule.Segments())
	}
}

func TestCheckKey(t *testing.T) {
	for _, key := range []string{"a", "a b/c.d", "日本", strings.Repeat("x", 256)} {
		if err := flag.CheckKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range []string{"", strings.Repeat("x", 257), "a\nb", "a\x7fb", "a\u0085b", "\xff", "\x00"} {
		if err := flag.CheckKey(key); err == nil {
			t.Errorf("%q is taken", key)
		}
	}
}

func TestEdits(t *testing.T) {
	const text = `{"metadata":{"a":1},"state":"ENABLED","variants":{"on":true,"o\"ff":false},"defaultVariant":"on"}`
	off, err := flag.WithState(text, false)
	if want := strings.Replace(text, "ENABLED", "DISABLED", 1); err != nil || off != want {
		t.Errorf("%s, %v", off, err)
	}
	if on, err := flag.WithState(off, true); err != nil || on != text {
		t.Errorf("%s, %v", on, err)
	}
	got, err := flag.WithDefaultVariant(text, `o"ff`)
	if want := strings.Replace(text, `"defaultVariant":"on"`, `"defaultVariant":"o\"ff"`, 1); err != nil || got != want {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := flag.WithDefaultVariant(`{"state":"ENABLED","variants":{"on":true}}`, "on"); err != nil || got != `{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on"}` {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := flag.WithState(`{}`, true); err != nil || got != `{"state":"ENABLED"}` {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := flag.WithDefaultVariant(text, "om"); err == nil || !strings.Contains(err.Error(), `did you mean "on"?`) {
		t.Errorf("an unknown variant: %v", err)
	}
	for _, broken := range []string{``, `[]`, `{`} {
		if _, err := flag.WithState(broken, true); err == nil {
			t.Errorf("%q is edited", broken)
		}
		if _, err := flag.WithDefaultVariant(broken, "on"); err == nil {
			t.Errorf("%q is edited", broken)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"defaultVariant", "state", "variants", "targeting"}
	for name, want := range map[string]string{
		"defaultVarient": "defaultVariant", "stat": "state", "sttae": "state", "varients": "variants", "targetting": "targeting", "x": "", "nothing": "", "": "",
		strings.Repeat("x", 100): "", "State": "state",
	} {
		if got := flag.Nearest(name, names); got != want {
			t.Errorf("nearest to %q is %q, want %q", name, got, want)
		}
	}
}

func TestDocument(t *testing.T) {
	asMap := `{"$schema":"https://flagd.dev/schema/v0/flags.json","metadata":{"flagSetId":"shop"},"segments":{"vip":{"var":"gold"}},
		"$evaluators":{"de":{"==":[{"var":"country"},"DE"]}},
		"flags":{"b":{"state":"ENABLED","variants":{"x":1}},"a":{"state":"DISABLED","variants":{"x":"1"},"targeting":{"if":[{"$ref":"de"},"x"]}}}}`
	asArray := `{"flags":[{"key":"b","state":"ENABLED","variants":{"x":1}},{"state":"DISABLED","variants":{"x":"1"},"key":"a","targeting":{"if":[{"$ref":"de"},"x"]}}],
		"metadata":{"flagSetId":"shop"},"segments":{"vip":{"var":"gold"}},"$evaluators":{"de":{"==":[{"var":"country"},"DE"]}}}`
	const want = `{"flags":{"a":{"state":"DISABLED","variants":{"x":"1"},"targeting":{"if":[{"$ref":"de"},"x"]}},"b":{"state":"ENABLED","variants":{"x":1}}},"$evaluators":{"de":{"==":[{"var":"country"},"DE"]}},"segments":{"vip":{"var":"gold"}},"metadata":{"flagSetId":"shop"}}`
	for _, text := range []string{asMap, asArray} {
		doc, faults := flag.ParseDocument([]byte(text), flag.Env{})
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		if got := doc.JSON(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if doc.Flags[0].Key() != "b" || !doc.HasMetadata || doc.Metadata != `{"flagSetId":"shop"}` {
			t.Errorf("%+v", doc)
		}
		again, faults := flag.ParseDocument([]byte(want), flag.Env{})
		if len(faults) > 0 || again.JSON() != want {
			t.Errorf("once more: %v", faults)
		}
	}
	for _, text := range []string{`{"flags":{}}`, `{"flags":[]}`, `{"metadata":{}}`, `{"segments":{}}`} {
		if doc, faults := flag.ParseDocument([]byte(text), flag.Env{}); doc == nil || len(faults) > 0 {
			t.Errorf("%s: %v", text, faults)
		}
	}
}

// What a document refers to and does not define is a warning where nothing else is
// known, whatever else it defines; and an error where it is known not to exist.
func TestDanglingReferences(t *testing.T) {
	const flags = `{"flags":{"f":{"state":"ENABLED","variants":{"on":true},"targeting":{"if":[{"segment":"vip"},"on",{"$ref":"vips"},"on"]}}}`
	none := func(string) bool { return false }
	for _, rules := range []string{`}`, `,"segments":{"vop":true}}`, `,"$evaluators":{"e":{"$ref":"vips"}}}`} {
		doc, faults := flag.ParseDocument([]byte(flags+rules), flag.Env{})
		if doc == nil || len(faults) < 2 || !strings.Contains(faults.Error(), `warning: $.flags["f"].targeting.if[0].segment: the segment "vip" is not in this document; it must exist on the server`) ||
			!strings.Contains(faults.Error(), `the evaluator "vips" is not in this document`) {
			t.Errorf("%s: %v", rules, faults)
		}
		if doc, faults := flag.ParseDocument([]byte(flags+rules), flag.Env{HasEvaluator: none, HasSegment: none}); doc != nil || !strings.Contains(faults.Error(), `there is no segment "vip"`) {
			t.Errorf("%s where nothing exists: %v", rules, faults)
		}
	}
	many := `{"flags":{"f":{"state":"ENABLED","variants":{"on":true},"targeting":{"and":[` + strings.Repeat(`{"$ref":"e"},`, 3_000) + `1]}}}`
	if doc, faults := flag.ParseDocument([]byte(many+"}"), flag.Env{}); doc == nil || len(faults) != 1_001 {
		t.Errorf("3 000 warnings: %d faults", len(faults))
	}
	if doc, faults := flag.ParseDocument([]byte(many+`,"segments":{"s":{"nope":1}}}`), flag.Env{}); doc != nil || len(faults.Errors()) != 1 {
		t.Errorf("an error behind 3 000 warnings: %d faults", len(faults))
	}
}

// A flag of an array may be as long as one of an object: its key does not count.
func TestArrayFlagLength(t *testing.T) {
	const head = `"state":"ENABLED","variants":{"a":"`
	for _, n := range []int{flag.MaxDefinition, flag.MaxDefinition + 1} {
		value := strings.Repeat("x", n-len(head)-len(`{"}}`))
		for _, text := range []string{`{"flags":{"k":{` + head + value + `"}}}}`, `{"flags":[{"key":"k",` + head + value + `"}}]}`} {
			if doc, faults := flag.ParseDocument([]byte(text), flag.Env{}); (doc != nil) != (n == flag.MaxDefinition) {
				t.Errorf("%d bytes, %.20s: %v", n, text, faults)
			}
		}
	}
}

// Names that are unknown cost little, however many are known: only the first of
// them get a hint.
func TestManyUnknownNames(t *testing.T) {
	var own, refs strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&own, `"rule-number-%d":true,`, i)
		fmt.Fprintf(&refs, `"e%d":{"segment":"rule-numbre-%d"},`, i, i)
	}
	text := `{"segments":{` + own.String() + `"s":1},"$evaluators":{` + refs.String() + `"e":1}}`
	asked := 0
	_, faults := flag.ParseDocument([]byte(text), flag.Env{
		HasEvaluator: func(string) bool { return false }, HasSegment: func(string) bool { return false }, SegmentNames: func() []string { asked++; return nil },
	})
	hints := 0
	for _, f := range faults {
		if strings.HasPrefix(f.Hint, "did you mean") {
			hints++
		}
	}
	if len(faults) != 1_001 || hints != 20 || asked != 1 {
		t.Errorf("%d faults, %d hints, asked %d times for names", len(faults), hints, asked)
	}
}

// A text with more faults than anybody reads ends the list.
func TestManyFaults(t *testing.T) {
	text := `{"flags":{` + strings.TrimSuffix(strings.Repeat(`"":0,`, 5000), ",") + `}}`
	_, faults := flag.ParseDocument([]byte(text), flag.Env{})
	if len(faults) > 1001 || !strings.Contains(faults.Error(), "more than 1000 faults") {
		t.Errorf("%d faults", len(faults))
	}
}
