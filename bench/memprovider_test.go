package bench

import (
	of "github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/memprovider"
	"github.com/twmb/murmur3"
)

// memProvider is the OpenFeature SDK's own in-memory provider. Its rules are
// Go functions, so this is the floor for any rule that is data.
func memProvider() of.FeatureProvider {
	variants := map[string]any{"on": true, "off": false}
	match := of.ProviderResolutionDetail{Reason: of.TargetingMatchReason, Variant: "on"}
	miss := of.ProviderResolutionDetail{Reason: of.DefaultReason, Variant: "off"}

	rule := func(_ memprovider.InMemoryFlag, ctx of.FlattenedContext) (any, of.ProviderResolutionDetail) {
		if ctx["plan"] == "team" {
			return true, match
		}
		return false, miss
	}
	conditions := func(_ memprovider.InMemoryFlag, ctx of.FlattenedContext) (any, of.ProviderResolutionDetail) {
		if plan := ctx["plan"]; (plan == "pro" || plan == "team") && ctx["country"] != "US" {
			return true, match
		}
		return false, miss
	}
	rollout := func(_ memprovider.InMemoryFlag, ctx of.FlattenedContext) (any, of.ProviderResolutionDetail) {
		key, _ := ctx[of.TargetingKey].(string)
		if murmur3.StringSum32(rolloutFlag+key) < 1<<31 {
			return true, match
		}
		return false, miss
	}
	return memprovider.NewInMemoryProvider(map[string]memprovider.InMemoryFlag{
		staticFlag:     {Key: staticFlag, State: memprovider.Enabled, DefaultVariant: "on", Variants: variants},
		ruleFlag:       {Key: ruleFlag, State: memprovider.Enabled, DefaultVariant: "off", Variants: variants, ContextEvaluator: &rule},
		conditionsFlag: {Key: conditionsFlag, State: memprovider.Enabled, DefaultVariant: "off", Variants: variants, ContextEvaluator: &conditions},
		rolloutFlag:    {Key: rolloutFlag, State: memprovider.Enabled, DefaultVariant: "off", Variants: variants, ContextEvaluator: &rollout},
	})
}
