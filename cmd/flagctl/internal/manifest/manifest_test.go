package manifest_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/manifest"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// write puts files into a new folder and makes it the working directory.
func write(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, paths ...string) *manifest.Bundle {
	t.Helper()
	b, err := manifest.Read(paths, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func lines(faults []manifest.Fault) []string {
	var out []string
	for _, f := range faults {
		out = append(out, f.Error())
	}
	return out
}

const minimal = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`

func TestEveryFaultOfEveryFile(t *testing.T) {
	write(t, map[string]string{
		"a.json": "{\n  \"flags\": {\n    \"x\": {\"state\": \"ENABLD\", \"variants\": {\"on\": true}, \"defaultVariant\": \"onn\"}\n  }\n}\n",
		"b.yaml": "flags:\n  é-y: {state: ENABLED, variants: {\"on\": true, \"off\": 1}, defaultVarian: \"on\"}\n---\nflags: [\n---\nflags:\n  z:\n    state: 012\n    state: ENABLED\n    variants: {\"on\": true}\n",
		"c.json": "{\"flags\": {\"q\": \"\xff\"}}",
		"d.yaml": "# nothing\n",
	})
	b := read(t, "a.json", "b.yaml", "c.json", "d.yaml")
	want := []string{
		`a.json:3:20: $.flags["x"].state: unknown state "ENABLD" (did you mean "ENABLED"?)`,
		`a.json:3:74: $.flags["x"].defaultVariant: there is no variant "onn" (did you mean "on"?)`,
		`b.yaml:2:55: $.flags["é-y"].variants.off: this is a number, but variants before it are bools (all variants of a flag have one type)`,
		`b.yaml:2:59: $.flags["é-y"].defaultVarian: unknown field of a flag "defaultVarian" (did you mean "defaultVariant"?)`,
		`b.yaml:4:8: this is no YAML: sequence end token ']' not found (what precedes and follows it in this document was not checked)`,
		`b.yaml:8:12: $.flags["z"].state: readers of YAML disagree about 012 (write 12 for the number, "012" for the text)`,
		`b.yaml:8:12: $.flags["z"].state: this is a number; "ENABLED" or "DISABLED" is wanted`,
		`b.yaml:9:5: $.flags["z"].state: the name "state" is there twice (keep one of the two)`,
		`c.json:1:18: the file is not valid UTF-8: byte 0xff (save it as UTF-8)`,
		`d.yaml: there is no document in this file (such as {"flags": {}})`,
	}
	if diff := cmp.Diff(want, lines(b.Errors())); diff != "" {
		t.Error(diff)
	}
	if b.Files() != 4 {
		t.Errorf("%d files, want 4", b.Files())
	}
}

func TestDefinedTwice(t *testing.T) {
	write(t, map[string]string{
		"a.yaml": "flags:\n  x: " + minimal + "\nsegments: {s: true}\n---\nsegments: {s: false}\n",
		"b.json": "{\"metadata\": {\"a\": 1}, \"flags\": [\n  {\"key\": \"x\", " + minimal[1:] + "\n]}",
		"c.json": `{"metadata": {"a": 2}}`,
	})
	want := []string{
		`a.yaml:5:15: $.segments["s"]: this is defined twice (it is in a.yaml:3 already; keep one of the two)`,
		`b.json:2:3: $.flags["x"]: this is defined twice (it is in a.yaml:2 already; keep one of the two)`,
		`c.json:1:14: $.metadata: this is defined twice (it is in b.json:1 already; keep one of the two)`,
	}
	if diff := cmp.Diff(want, lines(read(t, "a.yaml", "b.json", "c.json").Errors())); diff != "" {
		t.Error(diff)
	}
}

func TestCheckReferences(t *testing.T) {
	rule := func(targeting string) string { return minimal[:len(minimal)-1] + `,"targeting":` + targeting + "}" }
	write(t, map[string]string{
		"flags.json": "{\"flags\": {\n\"a\": " + rule(`{"if":[{"segment":"betta"},"on"]}`) + ",\n\"b\": " + rule(`{"if":[{"$ref":"internal"},{"if":[{"segment":"x y"},"on"]}]}`) + "}}",
		"rules.yaml": "segments: {beta: true}\n$evaluators: {internal: {\"!\": [{segment: gone}]}}\n",
	})
	b := read(t, "flags.json", "rules.yaml")
	if errs := b.Errors(); len(errs) > 0 {
		t.Fatal(errs)
	}
	b.CheckReferences()
	want := []string{
		`flags.json:2:113: warning: $.flags["a"].targeting.if[0].segment: none of the files defines the segment "betta" (did you mean "beta"?)`,
		`flags.json:3:140: warning: $.flags["b"].targeting.if[1].if[0].segment: none of the files defines the segment "x y" (the namespace must have it already)`,
		`rules.yaml:2:42: warning: $.$evaluators["internal"]["!"][0].segment: none of the files defines the segment "gone" (the namespace must have it already)`,
	}
	if diff := cmp.Diff(want, lines(b.Warnings())); diff != "" {
		t.Error(diff)
	}
}

func TestFoldersAndStdin(t *testing.T) {
	write(t, map[string]string{
		"d/b.yaml": "flags: {b: " + minimal + "}", "d/a.json": `{"flags":{"a":` + minimal + `}}`, "d/sub/c.YML": "flags: {c: " + minimal + "}",
		"d/readme.md": "no", "d/.hidden.yaml": "no: [", "d/.git/x.yaml": "no: [",
	})
	b, err := manifest.Read([]string{"d", "-"}, strings.NewReader(`{"flags":{"d":`+minimal+`}}`))
	if err != nil {
		t.Fatal(err)
	}
	if errs := b.Errors(); len(errs) > 0 {
		t.Fatal(errs)
	}
	var keys []string
	for _, f := range b.Document().Flags {
		keys = append(keys, f.Key())
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, keys); diff != "" {
		t.Error(diff)
	}
}

func TestUnreadable(t *testing.T) {
	write(t, map[string]string{"empty/readme.md": "", "bad.json": `{"flagz":{}}`})
	tests := []struct {
		name  string
		paths []string
		stdin io.Reader
		want  string
	}{
		{"no such file", []string{"nope.json"}, nil, "nope.json: this cannot be read: no such file or directory"},
		{"folder without documents", []string{"empty"}, nil, "empty: this cannot be read: there is no .json, .yaml or .yml file in it"},
		{"stdin fails", []string{"-"}, iotest.ErrReader(errors.New("broken pipe")), "<stdin>: this cannot be read: broken pipe"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := manifest.Read(append(tt.paths, "bad.json"), tt.stdin)
			if err != nil {
				t.Fatal(err)
			}
			got := lines(b.Errors())
			if len(got) != 3 || got[0] != tt.want || !strings.HasPrefix(got[1], "bad.json:1:") {
				t.Errorf("errors %q, want %q and those of the file after it", got, tt.want)
			}
		})
	}
	if _, err := manifest.Read([]string{"-", "-"}, strings.NewReader("")); err == nil || err.Error() != "- (standard input) is named twice" {
		t.Errorf("error %v for standard input twice", err)
	}
}

// TestHuge: a flag of 10 MiB is one clear error, in each format.
func TestHuge(t *testing.T) {
	huge := strings.Repeat("x", 10<<20)
	write(t, map[string]string{
		"huge.json": `{"flags":{"big":{"state":"ENABLED","variants":{"a":"` + huge + `"},"defaultVariant":"a"}}}`,
		"huge.yaml": "flags:\n  big:\n    state: ENABLED\n    variants: {a: '" + huge + "'}\n    defaultVariant: a\n",
	})
	want := []string{
		`huge.json:1:17: $.flags["big"]: the definition has 10485820 bytes; at most 65536 are allowed (move long lists into segments)`,
		`huge.yaml:3:5: $.flags["big"]: the definition has 10485820 bytes; at most 65536 are allowed (move long lists into segments)`,
	}
	if diff := cmp.Diff(want, lines(read(t, "huge.json", "huge.yaml").Errors())); diff != "" {
		t.Error(diff)
	}
}

// TestLocate: what a server finds in a request is shown where it stands in the
// file.
func TestLocate(t *testing.T) {
	write(t, map[string]string{
		"a.yaml": "flags:\n  \"ü x\":\n    state: ENABLED\n    variants: {\"on\": true}\n    targeting:\n      if:\n      - true\n      - {segment: s}\n",
		"b.json": "{\"segments\": {\"s\": {\"!\": [1]}}, \"metadata\": {\"ä\": 1},\n\"flags\": [{\"key\": \"y\", \"state\": \"ENABLED\", \"variants\": {\"on\": true}}]}",
	})
	b := read(t, "a.yaml", "b.json")
	if errs := b.Errors(); len(errs) > 0 {
		t.Fatal(errs)
	}
	tests := []struct{ path, want string }{
		{`$.flags["ü x"].targeting.if[1].segment`, "a.yaml:8:19"},
		{`$.flags["ü x"].targeting.if[7]`, "a.yaml:7:7"}, // as far as it can be followed
		{`$.flags["ü x"]`, "a.yaml:3:5"},
		{`$.flags["y"].variants.on`, "b.json:2:63"},
		{`$.flags["y"].nothing`, "b.json:2:11"},
		{`$.segments["s"]["!"][0]`, "b.json:1:27"},
		{`$.metadata["ä"]`, "b.json:1:51"},
		{`$.flags["unknown"]`, "request:0:0"},
		{`$.flags["broken`, "request:0:0"},
		{`$`, "request:0:0"},
		{``, "request:0:0"},
	}
	for _, tt := range tests {
		f := b.Locate(flag.Fault{Path: tt.path, Line: 99, Column: 99})
		if got := fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column); got != tt.want {
			t.Errorf("%s is at %s, want %s", tt.path, got, tt.want)
		}
	}
	if file, line := b.Place("flags/y"); file != "b.json" || line != 2 {
		t.Errorf("flags/y is at %s:%d", file, line)
	}
}

func TestReadDefinition(t *testing.T) {
	write(t, map[string]string{
		"good.yaml": "state: ENABLED\nvariants: {\"on\": true}\n", "good.json": minimal,
		"two.yaml": "a: 1\n---\nb: 2\n", "empty.yaml": "", "d/a.json": "{}", "d/b.json": "{}",
		"bad.yaml": "state: ENABLD\nvariants:\n  1: true\n",
	})
	for _, name := range []string{"good.yaml", "good.json"} {
		def, faults, err := manifest.ReadDefinition("x", name, nil)
		if def == nil || def.Key() != "x" || err != nil || len(faults) > 0 {
			t.Errorf("%s: %v, %v", name, faults, err)
		}
	}
	for name, want := range map[string]string{"two.yaml": "holds 2 documents", "d": "holds 2 files", "none": "no such file"} {
		if _, _, err := manifest.ReadDefinition("x", name, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", name, err, want)
		}
	}
	def, faults, err := manifest.ReadDefinition("x", "bad.yaml", nil)
	want := []string{
		`bad.yaml:3:3: $.variants: the key 1 is no string (quote it: "1")`,
		`bad.yaml:1:8: $.state: unknown state "ENABLD" (did you mean "ENABLED"?)`,
	}
	if diff := cmp.Diff(want, lines(faults)); diff != "" || def != nil || err != nil {
		t.Errorf("definition %v, error %v, faults %s", def, err, diff)
	}
	if def, faults, err := manifest.ReadDefinition("x", "empty.yaml", nil); def != nil || len(faults) != 1 || err != nil {
		t.Errorf("empty file: %v, %v, %v", def, faults, err)
	}
}
