package yamldoc_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/yamldoc"
)

func TestRead(t *testing.T) {
	tests := []struct {
		name, yaml string
		json       []string
	}{
		{"mapping", "a: 1\nb: x\n", []string{`{"a":1,"b":"x"}`}},
		{"nested", "a:\n  b:\n  - 1\n  - c: d\n    e: f\n", []string{`{"a":{"b":[1,{"c":"d","e":"f"}]}}`}},
		{"flow", `{a: [1, two, "three"], "b": {}, c: []}`, []string{`{"a":[1,"two","three"],"b":{},"c":[]}`}},
		{"on, off, yes and no are text", "on: off\nyes: no\n", []string{`{"on":"off","yes":"no"}`}},
		{"bool and null", "a: true\nb: False\nc: null\nd: ~\ne:\n", []string{`{"a":true,"b":false,"c":null,"d":null,"e":null}`}},
		{"numbers as written", "a: 1.50\nb: 1e3\nc: -0\nd: 123456789012345678901234567890\ne: 1e400\nf: 2.5e-3\n", []string{`{"a":1.50,"b":1e3,"c":-0,"d":123456789012345678901234567890,"e":1e400,"f":2.5e-3}`}},
		{"numbers of YAML alone", "a: 0x1F\nb: 0o17\nc: +5\nd: .5\ne: 1.\n", []string{`{"a":31,"b":15,"c":5,"d":0.5,"e":1}`}},
		{"quoted numbers are text", "a: \"1\"\nb: '2'\nc: !!str 3\n", []string{`{"a":"1","b":"2","c":"3"}`}},
		{"dates are text", "a: 2026-11-24\n", []string{`{"a":"2026-11-24"}`}},
		{"literal and folded", "a: |\n  x\n  y\nb: >-\n  x\n  y\n", []string{`{"a":"x\ny\n","b":"x y"}`}},
		{"escapes", `a: "é\u00e9\n\t\"\\"`, []string{`{"a":"éé\n\t\"\\"}`}},
		{"anchor and alias", "a: &x {b: 1}\nc: *x\nd: [*x]\n", []string{`{"a":{"b":1},"c":{"b":1},"d":[{"b":1}]}`}},
		{"scalar anchor", "a: &x on\nb: *x\n", []string{`{"a":"on","b":"on"}`}},
		{"merge: own keys win", "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\n", []string{`{"a":{"b":1,"c":2},"d":{"b":1,"c":3}}`}},
		{"merge of a list: the first wins", "a: &x {k: 1}\nb: &y {k: 2, l: 3}\nc:\n  <<: [*x, *y]\n", []string{`{"a":{"k":1},"b":{"k":2,"l":3},"c":{"k":1,"l":3}}`}},
		{"stream", "# first\na: 1\n---\n# nothing\n---\nb: 2\n...\n---\n- c\n", []string{`{"a":1}`, `{"b":2}`, `["c"]`}},
		{"directive", "%YAML 1.2\n---\na: 1\n", []string{`{"a":1}`}},
		{"comments", "# one\na: 1 # two\n# three\n", []string{`{"a":1}`}},
		{"carriage returns", "a: 1\r\nb: x\r\n", []string{`{"a":1,"b":"x"}`}},
		{"byte order mark", "\ufeffa: 1\n", []string{`{"a":1}`}},
		{"explicit key", "? a\n: 1\n", []string{`{"a":1}`}},
		{"nothing", "\n# only a comment\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			docs, faults := yamldoc.Read([]byte(tt.yaml))
			if len(faults) > 0 {
				t.Fatalf("faults: %v", faults)
			}
			var got []string
			for _, d := range docs {
				got = append(got, string(d.JSON))
			}
			if diff := cmp.Diff(tt.json, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadFaults(t *testing.T) {
	tests := []struct {
		name, yaml string
		want       []string // line:column: path: message (hint)
	}{
		{"keys that are no strings", "flags:\n  1: a\n  true: b\n  x:\n    null: c\n", []string{
			`2:3: $.flags: the key 1 is no string (quote it: "1")`,
			`3:3: $.flags: the key true is no string (quote it: "true")`,
			`5:5: $.flags["x"]: the key null is no string (quote it: "null")`,
		}},
		{"ambiguous numbers", "a: 012\nb: 1_000\nc: [0b11]\n", []string{
			`1:4: $.a: readers of YAML disagree about 012 (write 12 for the number, "012" for the text)`,
			`2:4: $.b: readers of YAML disagree about 1_000 (write 1000 for the number, "1_000" for the text)`,
			`3:5: $.c[0]: readers of YAML disagree about 0b11 (write a decimal number, or "0b11" for the text)`,
		}},
		{"no numbers of JSON", "a: .inf\nb: .nan\n", []string{
			"1:4: $.a: .inf is no number that JSON can write",
			"2:4: $.b: .nan is no number that JSON can write",
		}},
		{"tags", "a: !mine 1\nb: !!binary aGk=\n", []string{
			"1:4: $.a: the tag !mine has no meaning here (remove it)",
			"2:4: $.b: the tag !!binary has no meaning here (remove it)",
		}},
		{"unknown alias", "a: *x\n", []string{"1:4: $.a: there is no anchor &x before this alias"}},
		{"alias of another document", "a: &x 1\n---\nb: *x\n", []string{"3:4: $.b: there is no anchor &x before this alias"}},
		{"endless alias", "a: &x [1, *x]\n", []string{"1:11: $.a[1]: the alias *x stands within what it names"}},
		{"merge of a scalar", "a:\n  <<: 1\n", []string{"2:7: $.a: << takes a mapping, or a list of mappings (quote the key, if << is its name)"}},
		{"tab", "a:\n\tb: 1\n", []string{"2:1: this is no YAML: a tab cannot indent (indent with spaces; what precedes and follows it in this document was not checked)"}},
		{"syntax, in each document", "a: b: c\n---\nok: 1\n---\na: [1\n", []string{
			"1:4: this is no YAML: mapping value is not allowed in this context (what precedes and follows it in this document was not checked)",
			"5:4: this is no YAML: sequence end token ']' not found (what precedes and follows it in this document was not checked)",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, faults := yamldoc.Read([]byte(tt.yaml))
			var got []string
			for _, f := range faults {
				got = append(got, f.Error())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReadGoesOn: a document with faults is read as far as it can be, and a
// document that cannot be read does not hide the others.
func TestReadGoesOn(t *testing.T) {
	docs, faults := yamldoc.Read([]byte("a: 012\n1: !x {b: .inf}\na: 2\n---\na: *x\n---\nb: [\n---\nc: 1\n"))
	var got []string
	for _, d := range docs {
		got = append(got, string(d.JSON))
	}
	if diff := cmp.Diff([]string{`{"a":0,"1":{"b":0},"a":2}`, `{"c":1}`}, got); diff != "" {
		t.Error(diff)
	}
	if len(faults) != 6 {
		t.Errorf("%d faults, want 6: %v", len(faults), faults)
	}
}

// TestPlaces asks for the place of every value and key by its place in the JSON.
func TestPlaces(t *testing.T) {
	const text = `# a comment
flags:
  "né-ui":
    variants: {on: true, "öff": [1, two]}
    text: |
      hello
  other: &x
  - a: 1
  again: *x
---
second: 1
`
	docs, faults := yamldoc.Read([]byte(text))
	if len(faults) > 0 || len(docs) != 2 {
		t.Fatalf("%d documents, faults %v", len(docs), faults)
	}
	tests := []struct {
		doc          int
		find         string
		nth          int
		line, column int
	}{
		{0, `"flags"`, 0, 2, 1},
		{0, `"né-ui"`, 0, 3, 3},
		{0, `{"variants"`, 0, 4, 5},
		{0, `"variants"`, 0, 4, 5},
		{0, `{"on"`, 0, 4, 15},
		{0, `true`, 0, 4, 20},
		{0, `"öff"`, 0, 4, 26},
		{0, `[1,`, 0, 4, 33},
		{0, `"two"`, 0, 4, 37},
		{0, `two"`, 0, 4, 37}, // within a value: the value
		{0, `"hello`, 0, 5, 11},
		{0, `[{"a"`, 0, 8, 3},
		{0, `"a"`, 0, 8, 5},
		{0, `"a"`, 1, 8, 5}, // through the alias: where it was written
		{1, `"second"`, 0, 11, 1},
		{1, `1}`, 0, 11, 9},
	}
	for _, tt := range tests {
		text := string(docs[tt.doc].JSON)
		at := -1
		for range tt.nth + 1 {
			next := strings.Index(text[at+1:], tt.find)
			if next < 0 {
				t.Fatalf("%s is not in %s", tt.find, text)
			}
			at += next + 1
		}
		column := len([]rune(text[:at])) + 1
		if line, col := docs[tt.doc].At(column); line != tt.line || col != tt.column {
			t.Errorf("%s (%d) is at %d:%d, want %d:%d", tt.find, tt.nth, line, col, tt.line, tt.column)
		}
	}
}

func TestHostileStreams(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	staircase := "a0: &a0 [1]\n"
	for i := 1; i < 40; i++ {
		staircase += fmt.Sprintf("a%d: &a%d %s*a%d%s\n", i, i, strings.Repeat("[", 100), i-1, strings.Repeat("]", 100))
	}
	var ladder strings.Builder
	for i := range 2000 {
		ladder.WriteString(strings.Repeat(" ", i) + strings.Repeat("k", 2000-i) + ":\n")
	}
	tests := []struct{ name, yaml, want string }{
		{"brackets", strings.Repeat("[", 1<<20), "nested too deeply"},
		{"braces", strings.Repeat("{a: ", 100_000), "nested too deeply"},
		{"dashes", strings.Repeat("- ", 100_000), "nested too deeply"},
		{"indentation", ladder.String(), "nested too deeply"},
		{"aliases of aliases", bomb, "more than 8 MiB"},
		{"depth by aliases", staircase, "nested too deeply"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			docs, faults := yamldoc.Read([]byte(tt.yaml))
			if len(docs) != 0 || len(faults) != 1 || !strings.Contains(faults[0].Message, tt.want) {
				t.Errorf("%d documents, faults %v, want one with %q", len(docs), faults, tt.want)
			}
		})
	}
}

func TestFromJSON(t *testing.T) {
	const in = `{"flags":{"new-ui":{"state":"ENABLED","variants":{"on":true,"off":false},"n":1.50,"empty":{},"none":[],"list":[1,[2],{"a":"b","c":[]}],"text":"two\nlines","date":"2026-11-24"}}}`
	const want = `flags:
  new-ui:
    state: ENABLED
    variants:
      "on": true
      "off": false
    "n": 1.50
    empty: {}
    none: []
    list:
      - 1
      - - 2
      - a: b
        c: []
    text: "two\nlines"
    date: "2026-11-24"
`
	got, err := yamldoc.FromJSON([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{``, `{`, `{"a":1} 2`, `[1,]`} {
		if out, err := yamldoc.FromJSON([]byte(bad)); err == nil {
			t.Errorf("FromJSON(%q) = %q without an error", bad, out)
		}
	}
}

// awkward are strings that some reader of YAML takes for something else.
var awkward = []string{
	"", " ", "yes", "On", "NULL", "~", "1", "1e3", "0x1f", "012", "1_000", ".inf", "-", "---", "...", "- x", "? x", "x: y", "x:", "a #b", "#", "&x", "*x",
	"!x", "%x", "@x", "`", "|", ">-", "[x", "{", "}", ",", "<<", "=", "\t", "a\r\nb", "\n", "a\n\n", "  x", "x ", "'", `"`, `\`, "\u0085", "\u2028", "\ufeff",
	"\x00", "\x1b[31m", "\x7f", "\u0091", "é", "😀", "2026-11-24", "12:30", "a'b",
}

func jsonValue() *rapid.Generator[any] {
	text := rapid.OneOf(rapid.SampledFrom(awkward), rapid.String())
	scalar := rapid.OneOf(
		rapid.Map(text, func(s string) any { return s }),
		rapid.Map(rapid.Int64(), func(i int64) any { return i }),
		rapid.Map(rapid.Float64Range(-1e300, 1e300), func(f float64) any { return f }),
		rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Just(any(nil)),
	)
	value := scalar
	for range 3 {
		inner := value
		value = rapid.OneOf(scalar,
			rapid.Map(rapid.SliceOfN(inner, 0, 4), func(v []any) any { return v }),
			rapid.Map(rapid.MapOfN(text, inner, 0, 4), func(v map[string]any) any { return v }),
		)
	}
	return value
}

// TestRoundTrip: what FromJSON writes, Read reads as the same JSON.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, err := json.Marshal(map[string]any{"v": jsonValue().Draw(t, "value")})
		if err != nil {
			t.Fatal(err)
		}
		text, err := yamldoc.FromJSON(want)
		if err != nil {
			t.Fatal(err)
		}
		docs, faults := yamldoc.Read(text)
		if len(faults) > 0 || len(docs) != 1 {
			t.Fatalf("%d documents, faults %v from\n%s", len(docs), faults, text)
		}
		if got := canonical(t, docs[0].JSON); !bytes.Equal(got, canonical(t, want)) {
			t.Fatalf("read back %s, want %s, from\n%s", got, want, text)
		}
	})
}

// canonical is the JSON with escapes and numbers written in one way.
func canonical(t *rapid.T, text []byte) []byte {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{"a: 1\n---\nb: [*x]", "a: &x {b: *x}", "? [a]\n: b", "<<: {a: 1}", "- - - a", "{a: \"\\xff\"}", "%TAG ! x\n---\na: !b c", "a: |\n b\n---\n...", "\"\\ud800\": 1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		docs, _ := yamldoc.Read(text)
		for _, d := range docs {
			if !json.Valid(d.JSON) {
				t.Fatalf("Read(%q) gave %q, which is no JSON", text, d.JSON)
			}
		}
	})
}
