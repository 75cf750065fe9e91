package degrade_test

import (
	"strings"
	"testing"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

func TestTiers(t *testing.T) {
	tiers := degrade.DefaultTiers()
	if err := tiers.Validate(); err != nil {
		t.Fatal(err)
	}
	if rank, ok := tiers.Rank("optional"); !ok || rank != 3 {
		t.Errorf("optional has rank %d, %v", rank, ok)
	}
	if rank, ok := tiers.Rank("none"); ok || rank != 0 {
		t.Errorf("a tier that does not exist has rank %d, %v", rank, ok)
	}
	if tiers.Max() != 3*degrade.One {
		t.Errorf("the deepest level is %s", tiers.Max())
	}
	tiers[0] = "changed"
	if degrade.DefaultTiers()[0] != "critical" {
		t.Error("changing the default tiers changed them for everybody")
	}
}

func TestTiersValidate(t *testing.T) {
	for want, tiers := range map[string]degrade.Tiers{
		"there must be 2 to 8": {"one"},
		"8":                    {"a", "b", "c", "d", "e", "f", "g", "h", "i"},
		"listed twice":         {"a", "b", "a"},
		`tier ""`:              {"a", ""},
		`tier "A"`:             {"a", "A"},
		"1 to 63":              {"a", strings.Repeat("x", 64)},
		`tier "ä"`:             {"a", "ä"},
	} {
		if err := tiers.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want it to say %q", tiers, err, want)
		}
	}
	if degrade.Tiers(nil).Max() != 0 {
		t.Error("no tiers have a level")
	}
}
