package shelf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

func written(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flags.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadDocument(t *testing.T) {
	s, warnings, err := Read(written(t, `{
		"$schema": "https://flagd.dev/schema/v0/flags.json",
		"metadata": {"team": "a", "plimsoll.store": "s1", "plimsoll.epoch": 3, "plimsoll.revision": 4711},
		"$evaluators": {"always": true},
		"segments": {"staff": {"==": [{"var": "role"}, "staff"]}},
		"flags": {
			"f": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
				"targeting": {"if": [{"and": [{"$ref": "always"}, {"segment": "staff"}]}, "on", "off"]}}
		}
	}`), flag.Empty(), time.Now())
	if err != nil || warnings != nil {
		t.Fatal(err, warnings)
	}
	if s.Store != "s1" || s.Set.Epoch() != 3 || s.Set.Revision() != 4711 {
		t.Errorf("store %q at %d/%d", s.Store, s.Set.Epoch(), s.Set.Revision())
	}
	r := s.Set.Bool("f", false, map[string]any{"role": "staff"})
	if !r.Value || len(r.Metadata) != 1 || r.Metadata["team"] != "a" {
		t.Errorf("f is %+v, want it on, with the metadata that is not ours", r)
	}
}

func TestPositionOfADocument(t *testing.T) {
	const flags = `"flags":{"f":` + on + `}}`
	for _, test := range []struct {
		name, metadata string
		store          string
		epoch          uint64
		revision       int64
		rest           string
		fault          string
	}{
		{name: "no metadata"},
		{name: "none", metadata: `"metadata":{"a":1},`, rest: `{"a":1}`},
		{name: "all", metadata: `"metadata":{"plimsoll.store":"s","plimsoll.epoch":1,"plimsoll.revision":2},`, store: "s", epoch: 1, revision: 2},
		{name: "no store", metadata: `"metadata":{"plimsoll.epoch":1,"plimsoll.revision":2},`},
		{name: "empty store", metadata: `"metadata":{"plimsoll.store":"","plimsoll.epoch":1,"plimsoll.revision":2},`},
		{name: "a store alone", metadata: `"metadata":{"plimsoll.store":"s"},`, store: "s"},
		{name: "wrong store", metadata: `"metadata":{"plimsoll.store":7},`, fault: `$.metadata["plimsoll.store"]: 7 is not a string`},
		{name: "wrong epoch", metadata: `"metadata":{"plimsoll.store":"s","plimsoll.epoch":-1},`, fault: `$.metadata["plimsoll.epoch"]: -1 is not a whole number`},
		{name: "wrong revision", metadata: `"metadata":{"plimsoll.store":"s","plimsoll.revision":1.5},`, fault: `1.5 is not a whole number`},
		{name: "huge revision", metadata: `"metadata":{"plimsoll.revision":9223372036854775808},`, fault: `is not a whole number`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, _, err := Read(written(t, "{"+test.metadata+flags), flag.Empty(), time.Now())
			if test.fault != "" {
				if err == nil || !strings.Contains(err.Error(), test.fault) {
					t.Errorf("error %v, want it to say %q", err, test.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.Store != test.store || s.Set.Epoch() != test.epoch || s.Set.Revision() != test.revision || s.Set.Settings().Metadata != test.rest {
				t.Errorf("store %q at %d/%d, metadata %s", s.Store, s.Set.Epoch(), s.Set.Revision(), s.Set.Settings().Metadata)
			}
		})
	}
}

func TestReadWhatIsNoDocument(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"YAML", "flags:\n  f:\n    state: ENABLED\n", "`flagctl export -o json` writes a namespace as JSON"},
		{"YAML with a marker", "---\nflags: {}\n", "YAML is not read here"},
		{"nothing", "", "no JSON document"},
		{"cut off", `{"flags":{`, "1:"},
		{"all faults", `{"flags":{"a":{"state":"ON"},"b":{"state":"OFF"}}}`, `$.flags["b"]`},
		{"cut off cache", magic + "abc", "cut off"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if s, _, err := Read(written(t, test.text), flag.Empty(), time.Now()); err == nil || s.Set != nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want it to say %q", err, test.want)
			}
		})
	}
	if _, _, err := Read(filepath.Join(t.TempDir(), "none"), flag.Empty(), time.Now()); !os.IsNotExist(err) {
		t.Errorf("error %v", err)
	}
}

func TestReadWarns(t *testing.T) {
	s, warnings, err := Read(written(t, `{"flags":{"f":{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on","targeting":{"if":[{"segment":"elsewhere"},"on"]}},"g":`+on+`}}`), flag.Empty(), time.Now())
	if err != nil || warnings == nil || !strings.Contains(warnings.Error(), "elsewhere") {
		t.Fatalf("warnings %v, error %v", warnings, err)
	}
	if len(s.Set.Problems()) != 1 || !s.Set.Bool("g", false, nil).Value {
		t.Errorf("problems %v", s.Set.Problems())
	}
}

func TestReadAFileOfTheCache(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "shop", store1, rich(time.Now()), false)
	s, _, err := Read(filepath.Join(dir, "shop-"+store1+".flags"), flag.Empty(), time.Now())
	if err != nil || s.Store != store1 || s.Set.Revision() != 50 {
		t.Errorf("read %+v, %v", s, err)
	}
}
