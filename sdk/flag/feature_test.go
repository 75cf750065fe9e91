package flag_test

import (
	"reflect"
	"testing"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

func TestFeature(t *testing.T) {
	parse := func(text string) *flag.Definition {
		d, faults := flag.Parse("f", []byte(text), flag.Env{})
		if err := faults.Err(); err != nil {
			t.Fatal(err)
		}
		return d
	}
	const variants = `"variants":{"on":true,"off":false},`
	for text, want := range map[string]degrade.Feature{
		`{"state":"ENABLED",` + variants + `"defaultVariant":"on","targeting":{"if":[true,"on","off"]},"plimsoll":{"owner":"ann"},` +
			`"degradation":{"tier":"optional","dependsOn":["db","cache"],"guard":"g"}}`: {Key: "f", Tier: "optional", Degraded: "off", Default: "on", Targeted: true, Enabled: true, DependsOn: []string{"db", "cache"}, Guard: "g", Owner: "ann"},
		`{"state":"DISABLED",` + variants + `"defaultVariant":null,"targeting":{},"degradation":{"degradedVariant":"on"}}`: {Key: "f", Tier: "standard", Degraded: "on"},
	} {
		d := parse(text)
		got, ok := d.Feature()
		if !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nis %+v, %v\nwant %+v", text, got, ok, want)
		}
		clear(got.DependsOn)
		if again, _ := d.Feature(); !reflect.DeepEqual(again, want) {
			t.Errorf("changing a feature changed its flag: %+v", again)
		}
	}
	if f, ok := parse(`{"state":"ENABLED",` + variants + `"defaultVariant":"on"}`).Feature(); ok {
		t.Errorf("a flag without a degradation block is the feature %+v", f)
	}
}
