package bench

import (
	"fmt"
	"testing"

	of "github.com/open-feature/go-sdk/openfeature"
)

// The contest: four flags, one context. Every contestant serves the same
// answers by its own means.
const (
	// staticFlag is true for everybody.
	staticFlag = "new-checkout"
	// ruleFlag is true where plan is team.
	ruleFlag = "shared-carts"
	// conditionsFlag is true where plan is pro or team, and country is not US.
	conditionsFlag = "bulk-discount"
	// rolloutFlag is true for half of all targeting keys.
	rolloutFlag = "fast-search"
)

// customer is the context of every evaluation: a key and five attributes. It
// is flattened, as a provider gets it from the SDK's client.
func customer() of.FlattenedContext {
	return of.FlattenedContext{
		of.TargetingKey: "customer-4711",
		"plan":          "team",
		"country":       "NL",
		"email":         "ada@example.com",
		"age":           37,
		"beta":          true,
	}
}

// contestant is something that can be asked for a bool as the SDK's client
// asks a provider.
type contestant struct {
	name string
	// provider is the contestant's OpenFeature provider.
	provider of.FeatureProvider
}

// contestants are all of them, ready.
func contestants(tb testing.TB) []contestant {
	return []contestant{
		{"memprovider", memProvider()},
		{"plimsoll", plimsoll(tb)},
		{"launchdarkly", launchDarkly(tb)},
	}
}

// TestContestantsAgree makes sure that the benchmarks compare like with like.
func TestContestantsAgree(t *testing.T) {
	for _, c := range contestants(t) {
		t.Run(c.name, func(t *testing.T) {
			ask := func(flag, key, plan, country string) bool {
				t.Helper()
				ctx := customer()
				ctx[of.TargetingKey], ctx["plan"], ctx["country"] = key, plan, country
				got := c.provider.BooleanEvaluation(t.Context(), flag, false, ctx)
				if err := got.Error(); err != nil {
					t.Fatalf("%s: %v", flag, err)
				}
				return got.Value
			}
			if !ask(staticFlag, "a", "free", "US") {
				t.Errorf("%s: false", staticFlag)
			}
			for _, tc := range []struct {
				plan, country    string
				rule, conditions bool
			}{{"team", "NL", true, true}, {"pro", "NL", false, true}, {"free", "NL", false, false}, {"team", "US", true, false}} {
				if got := ask(ruleFlag, "a", tc.plan, tc.country); got != tc.rule {
					t.Errorf("%s for %s in %s: %t", ruleFlag, tc.plan, tc.country, got)
				}
				if got := ask(conditionsFlag, "a", tc.plan, tc.country); got != tc.conditions {
					t.Errorf("%s for %s in %s: %t", conditionsFlag, tc.plan, tc.country, got)
				}
			}
			in := 0
			for i := range 2000 {
				if ask(rolloutFlag, fmt.Sprintf("customer-%d", i), "free", "NL") {
					in++
				}
			}
			if in < 880 || in > 1120 {
				t.Errorf("%s: %d of 2000 are in, want about half", rolloutFlag, in)
			}
		})
	}
}
