package manifest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/manifest"
	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// readPlan reads a plan from standard input.
func readPlan(t testing.TB, text string) *manifest.PlanFile {
	t.Helper()
	p, err := manifest.ReadPlan("-", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestReadPlan(t *testing.T) {
	want := degrade.Plan{
		Tiers: degrade.Tiers{"vital", "optional"},
		Dependencies: []degrade.Dependency{
			{Name: "orders-db", Description: "where orders are", DependsOn: []string{"network", "network"}}, {Name: "network"}, {Name: "dns"},
		},
	}
	for name, text := range map[string]string{
		"YAML": "# yaml-language-server: $schema=x\ntiers: [vital, optional]\ndependencies:\n  orders-db: {description: where orders are, dependsOn: [network, network]}\n  network: {}\n  dns:\n",
		"JSON": `{"$schema": "x", "tiers": ["vital", "optional"], "dependencies": {"orders-db": {"description": "where orders are", "dependsOn": ["network", "network"]}, "network": {}, "dns": null}}`,
	} {
		p := readPlan(t, text)
		if len(p.Errors) > 0 {
			t.Errorf("%s: %v", name, lines(p.Errors))
		}
		if diff := cmp.Diff(want, p.Plan); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestPlanFaults: every fault is found, and says where it stands.
func TestPlanFaults(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"empty", "# nothing\n", []string{"<stdin>: there is no document in this file (a plan has the field tiers)"}},
		{"no YAML", "tiers: [a\n", []string{"<stdin>:1:8: this is no YAML"}},
		{"no JSON", "{\"tiers\": [\"a\",\n \"b\",]}", []string{"<stdin>:2:6: this is no JSON"}},
		{"not UTF-8", "tiers: [\xff]", []string{"<stdin>:1:9: the file is not valid UTF-8"}},
		{"a list", "- a\n", []string{"<stdin>:1:1: $: a plan must be an object"}},
		{"no tiers", "dependencies: {}\n", []string{`<stdin>:1:1: $: the field "tiers" is missing (such as tiers:`}},
		{"two documents", "tiers: [a, b]\n---\ntiers: [a, b]\n", []string{"<stdin>:3:1: there is a second document in this file"}},
		{"unknown fields", "tiers: [a, b]\nguards: {}\ndependencys: {}\n", []string{
			`<stdin>:2:9: $: a plan has no field "guards" (there are dependencies and tiers)`,
			`<stdin>:3:14: $: a plan has no field "dependencys" (did you mean "dependencies"?)`,
		}},
		{"twice", "tiers: [a, b]\ntiers: [a, b]\ndependencies:\n  x: {}\n  x: {}\n", []string{
			`<stdin>:2:8: $.tiers: the field "tiers" is there twice`, `<stdin>:5:6: $.dependencies["x"]: dependency "x" is there twice`,
		}},
		{"wrong types", "tiers: a\ndependencies: [x]\n", []string{
			"<stdin>:1:8: $.tiers: this must be a list of names", "<stdin>:2:15: $.dependencies: dependencies must be an object",
		}},
		{"numbers", "tiers: [a, 012]\n", []string{"<stdin>:1:12: $.tiers[1]: readers of YAML disagree about 012", "<stdin>:1:12: $.tiers[1]: this must be a text"}},
		{"what Check finds", "tiers: [a, b, b]\ndependencies:\n  é: {}\n  x:\n    dependsOn:\n      - x\n      - gone\n", []string{
			`<stdin>:1:15: $.tiers[2]: tier "b" is listed twice`, `<stdin>:3:6: $.dependencies["é"]: "é" is no name for a dependency`,
			`<stdin>:6:9: $.dependencies["x"].dependsOn[0]: dependency "x" depends on itself`, `<stdin>:7:9: $.dependencies["x"].dependsOn[1]: there is no dependency "gone" in the plan`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := lines(readPlan(t, tt.text).Errors)
			if len(got) != len(tt.want) {
				t.Fatalf("%d faults, want %d: %q", len(got), len(tt.want), got)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("fault %q, want %q", got[i], want)
				}
			}
		})
	}
}

// TestPlanFiles: a plan is one file that can be read.
func TestPlanFiles(t *testing.T) {
	write(t, map[string]string{"d/a.yaml": "tiers: [a, b]", "d/b.yaml": "tiers: [a, b]"})
	if _, err := manifest.ReadPlan("d", nil); err == nil || !strings.Contains(err.Error(), "a plan is one file") {
		t.Errorf("a folder: %v", err)
	}
	p, err := manifest.ReadPlan("none.yaml", nil)
	if err != nil || len(p.Errors) != 1 || p.Errors[0].Error() != "none.yaml: this cannot be read: no such file or directory" {
		t.Errorf("no file: %v, %v", lines(p.Errors), err)
	}
	if f := p.Locate(flag.Fault{Path: "$.tiers", Message: "x"}); f.Line != 0 {
		t.Errorf("a place in a file that cannot be read: %v", f)
	}
	p = readPlan(t, "tiers: [a, b]\n")
	if f := p.Locate(flag.Fault{Path: `$.flags["x"].degradation.tier`, Message: "x"}); f.File != "" || f.Line != 0 {
		t.Errorf("a fault of a flag has a place in the plan: %v", f)
	}
}

func FuzzReadPlan(f *testing.F) {
	for _, text := range []string{
		"", "tiers: [a, b]", `{"tiers":["a","b"],"dependencies":{"x":{"dependsOn":["y"]},"y":null}}`, "tiers: &t [a, b]\ndependencies: {x: {dependsOn: *t}}",
		"{\"tiers\":", "tiers: [a, b]\n---\n- 1", `{"dependencies":{"":{"description":"\ud800"}}}`, `{"a":{"b":[{}]}}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := readPlan(t, text)
		if len(p.Errors) > 0 {
			return
		}
		// What can be used is written so that it is read as the same.
		again := readPlan(t, string(manifest.PlanJSON(p.Plan)))
		if len(again.Errors) > 0 {
			t.Fatalf("what was written cannot be read: %v", lines(again.Errors))
		}
		if was, is := manifest.PlanJSON(p.Plan), manifest.PlanJSON(again.Plan); !bytes.Equal(was, is) {
			t.Errorf("%s is read as %s", was, is)
		}
	})
}

// TestPlanSchema: docs/schema/plan.schema.json takes what ReadPlan takes. It
// knows nothing of circles and of names that lead nowhere.
func TestPlanSchema(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "docs", "schema", "plan.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	if schema["$id"] != manifest.PlanSchema {
		t.Errorf("$id is %v, and plans name %s", schema["$id"], manifest.PlanSchema)
	}
	many := func(n int, format, between string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(parts, between)
	}
	depends := func(n int) string {
		return `{"tiers":["a","b"],"dependencies":{"x":{"dependsOn":[` + many(n, `"d%d"`, ",") + `]},` + many(n, `"d%d":{}`, ",") + `}}`
	}
	described := func(n int) string {
		return fmt.Sprintf(`{"tiers":["a","b"],"dependencies":{"x":{"description":%q}}}`, strings.Repeat("é", n))
	}
	documents := map[string]bool{
		`{"tiers":["a","b"]}`: true,
		`{"$schema":"x","tiers":["a","b"],"dependencies":{}}`:        true,
		`{"$schema":1,"tiers":["a","b"]}`:                            false,
		`{"tiers":["a","b"],"dependencies":{"x":null,"y":{}}}`:       true,
		`{"tiers":["a","b"],"dependencies":{"0.a_b-c":{}}}`:          true,
		`{"tiers":["a","b"],"dependencies":{"-a":{}}}`:               false,
		`{"tiers":["a","b"],"dependencies":{"A":{}}}`:                false,
		`{"tiers":["a","b"],"dependencies":{"":{}}}`:                 false,
		`{"tiers":["a","b"],"dependencies":{"x":[]}}`:                false,
		`{"tiers":["a","b"],"dependencies":{"x":{"on":1}}}`:          false,
		`{"tiers":["a","b"],"dependencies":{"x":{"description":1}}}`: false,
		`{"tiers":["a","b"],"dependencies":{"x":{"dependsOn":"a"}}}`: false,
		`{"tiers":["a","b"],"dependencies":null}`:                    false,
		`{"tiers":["a","b"],"guards":{}}`:                            false,
		`{"tiers":["a","a"]}`:                                        false,
		`{"tiers":["a","B"]}`:                                        false,
		`{"tiers":["a",1]}`:                                          false,
		`{"tiers":"a"}`:                                              false,
		`{"tiers":null}`:                                             false,
		`{}`:                                                         false,
		`[]`:                                                         false,
		`{"tiers":["a"]}`:                                            false,
		`{"tiers":[` + many(degrade.MaxTiers, `"t%d"`, ",") + `]}`:   true,
		`{"tiers":[` + many(degrade.MaxTiers+1, `"t%d"`, ",") + `]}`: false,
		fmt.Sprintf(`{"tiers":["a",%q]}`, strings.Repeat("b", 63)):   true,
		fmt.Sprintf(`{"tiers":["a",%q]}`, strings.Repeat("b", 64)):   false,
		fmt.Sprintf(`{"tiers":["a","b"],"dependencies":{%q:{}}}`, strings.Repeat("x", 63)): true,
		fmt.Sprintf(`{"tiers":["a","b"],"dependencies":{%q:{}}}`, strings.Repeat("x", 64)): false,
		depends(degrade.MaxDependsOn):     true,
		depends(degrade.MaxDependsOn + 1): false,
		described(1024):                   true,
		described(1025):                   false,
		`{"tiers":["a","b"],"dependencies":{` + many(degrade.MaxDependencies, `"d%d":{}`, ",") + `}}`:   true,
		`{"tiers":["a","b"],"dependencies":{` + many(degrade.MaxDependencies+1, `"d%d":{}`, ",") + `}}`: false,
	}
	for doc, valid := range documents {
		var v any
		if err := json.Unmarshal([]byte(doc), &v); err != nil {
			t.Fatal(err)
		}
		shown := doc[:min(len(doc), 100)]
		if errs := readPlan(t, doc).Errors; (len(errs) == 0) != valid {
			t.Errorf("%s: is read with %v; want valid: %v", shown, lines(errs), valid)
		}
		if got := matches(t, schema, v); got != valid {
			t.Errorf("%s: valid by the schema: %v, want %v", shown, got, valid)
		}
	}
}

// matches tells whether a value matches a JSON schema, by the keywords that the
// schema of plans has.
func matches(t *testing.T, schema map[string]any, v any) bool {
	t.Helper()
	object, _ := v.(map[string]any)
	list, isList := v.([]any)
	text, isText := v.(string)
	ok := true
	for keyword, arg := range schema {
		number, _ := arg.(float64)
		switch keyword {
		case "$schema", "$id", "title", "description":
		case "type":
			kinds, several := arg.([]any)
			if !several {
				kinds = []any{arg}
			}
			ok = ok && slices.Contains(kinds, any(kindOf(v)))
		case "required":
			for _, name := range arg.([]any) {
				_, has := object[name.(string)]
				ok = ok && (object == nil || has)
			}
		case "properties": // with additionalProperties
		case "additionalProperties":
			properties, _ := schema["properties"].(map[string]any)
			for name, value := range object {
				if of, known := properties[name].(map[string]any); known {
					ok = ok && matches(t, of, value)
				} else if of, others := arg.(map[string]any); others {
					ok = ok && matches(t, of, value)
				} else {
					ok = ok && arg.(bool)
				}
			}
		case "propertyNames":
			for name := range object {
				ok = ok && matches(t, arg.(map[string]any), name)
			}
		case "maxProperties":
			ok = ok && len(object) <= int(number)
		case "items":
			for _, item := range list {
				ok = ok && matches(t, arg.(map[string]any), item)
			}
		case "minItems":
			ok = ok && (!isList || len(list) >= int(number))
		case "maxItems":
			ok = ok && len(list) <= int(number)
		case "uniqueItems":
			seen := make(map[any]bool)
			for _, item := range list {
				ok = ok && !seen[item]
				seen[item] = true
			}
		case "pattern":
			ok = ok && (!isText || regexp.MustCompile(arg.(string)).MatchString(text))
		case "maxLength":
			ok = ok && utf8.RuneCountInString(text) <= int(number)
		default:
			t.Fatalf("this test does not know the keyword %q", keyword)
		}
	}
	return ok
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	default:
		return "number"
	}
}

// TestPlanAmongFlags: apply and lint say which command takes a plan.
func TestPlanAmongFlags(t *testing.T) {
	write(t, map[string]string{"a.yaml": "flags: {}\n---\ntiers: [a, b]\n"})
	got := lines(read(t, "a.yaml").Errors())
	want := "a.yaml:3:1: this document is a plan, not one of flags (a plan is a file of its own, which `flagctl plan` takes)"
	if len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
	if text := manifest.PlanJSON(degrade.Plan{Tiers: degrade.DefaultTiers()}); bytes.Contains(text, []byte("dependencies")) {
		t.Errorf("%s", text)
	}
}
