package flag

import (
	"fmt"
	"strings"
	"testing"

	"github.com/diegoholiveira/jsonlogic/v3"
)

// askOracle evaluates a rule with the Go library that flagd uses.
func askOracle(rule any, data map[string]any) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it panics: %v", p)
		}
	}()
	return jsonlogic.ApplyInterface(rule, data)
}

// plainCondition is a condition without flagd's own operators.
func plainCondition(g flagGenerator) any {
	for {
		rule := g.condition(3)
		if text := encode(rule); !strings.Contains(text, "sem_ver") && !strings.Contains(text, "s_with") {
			return rule
		}
	}
}

// knownOracle names the listed difference that a rule touches; "" for none.
func knownOracle(rule string, data map[string]any) string {
	_, email := data["email"]
	switch {
	case strings.Contains(rule, `"substr"`) && !email:
		return caseNullSubstr
	default:
		return ""
	}
}

func compareWithOracle(t *testing.T, seed uint64) {
	g := flagGenerator{newGenerator(seed), map[string]bool{}}
	tree, data := plainCondition(g), g.context()
	rule := encode(tree)
	// Both get what a JSON decoder makes of the same text.
	data = contextOf(t, encode(data))
	want, err := askOracle(decode(t, rule), data)
	got, evalErr := evalRule(rule, data, V2)
	if evalErr != nil {
		t.Fatalf("rule %s: %v", rule, evalErr)
	}
	if err == nil && got.kind == kindBool && want == (got.num != 0) {
		return
	}
	if c := knownOracle(rule, data); c != "" {
		return
	}
	t.Errorf("rule %s\nwith %s\ngot  %s\nwant %v, error %v", rule, encode(data), encode(lossless(got, data)), want, err)
}

// TestOracle compares conditions as people write them with the Go library that
// flagd uses.
func TestOracle(t *testing.T) {
	for seed := range uint64(5_000) {
		compareWithOracle(t, seed)
	}
}

func FuzzOracle(f *testing.F) {
	for seed := range uint64(16) {
		f.Add(seed)
	}
	f.Fuzz(compareWithOracle)
}
