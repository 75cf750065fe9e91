package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/launchdarkly/go-sdk-common/v3/ldcontext"
	"github.com/launchdarkly/go-sdk-common/v3/ldlog"
	"github.com/launchdarkly/go-sdk-common/v3/ldreason"
	"github.com/launchdarkly/go-sdk-common/v3/ldvalue"
	ldclient "github.com/launchdarkly/go-server-sdk/v7"
	"github.com/launchdarkly/go-server-sdk/v7/ldcomponents"
	"github.com/launchdarkly/go-server-sdk/v7/ldfiledata"
	of "github.com/open-feature/go-sdk/openfeature"
)

// contestFlags is the contest in LaunchDarkly's format.
const contestFlags = `{"flags": {
	"new-checkout": {"key": "new-checkout", "version": 1, "on": true, "variations": [true, false], "offVariation": 1,
		"fallthrough": {"variation": 0}},
	"shared-carts": {"key": "shared-carts", "version": 1, "on": true, "variations": [true, false], "offVariation": 1,
		"fallthrough": {"variation": 1},
		"rules": [{"id": "r", "variation": 0, "clauses": [{"attribute": "plan", "op": "in", "values": ["team"]}]}]},
	"bulk-discount": {"key": "bulk-discount", "version": 1, "on": true, "variations": [true, false], "offVariation": 1,
		"fallthrough": {"variation": 1},
		"rules": [{"id": "r", "variation": 0, "clauses": [
			{"attribute": "plan", "op": "in", "values": ["pro", "team"]},
			{"attribute": "country", "op": "in", "values": ["US"], "negate": true}]}]},
	"fast-search": {"key": "fast-search", "version": 1, "on": true, "variations": [true, false], "offVariation": 1,
		"salt": "s", "fallthrough": {"rollout": {"variations": [
			{"variation": 0, "weight": 50000}, {"variation": 1, "weight": 50000}]}}}
}}`

// newLDClient starts LaunchDarkly's client on a file of flags, with no network
// and no analytics events. It returns once the flags are loaded.
func newLDClient(tb testing.TB, file string) *ldclient.LDClient {
	tb.Helper()
	client, err := ldclient.MakeCustomClient("no-key", ldclient.Config{
		DataSource: ldfiledata.DataSource().FilePaths(file),
		Events:     ldcomponents.NoEvents(),
		Logging:    ldcomponents.Logging().MinLevel(ldlog.Error),
	}, time.Minute)
	if err != nil {
		tb.Fatalf("start LaunchDarkly's client: %v", err)
	}
	return client
}

func writeFile(tb testing.TB, content string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "flags.json")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}

// launchDarkly is the contest behind an adapter.
func launchDarkly(tb testing.TB) of.FeatureProvider {
	client := newLDClient(tb, writeFile(tb, contestFlags))
	tb.Cleanup(func() {
		if err := client.Close(); err != nil {
			tb.Error(err)
		}
	})
	return ldProvider{client: client}
}

// ldProvider is the least adapter that is correct: it turns the flattened
// context into LaunchDarkly's, asks, and names the answer's variant and
// reason. Published adapters do more.
type ldProvider struct {
	of.NoopProvider
	client *ldclient.LDClient
}

// BooleanEvaluation implements openfeature.FeatureProvider.
func (p ldProvider) BooleanEvaluation(_ context.Context, flag string, fallback bool, ctx of.FlattenedContext) of.BoolResolutionDetail {
	key, _ := ctx[of.TargetingKey].(string)
	builder := ldcontext.NewBuilder(key)
	for name, value := range ctx {
		if name != of.TargetingKey {
			builder.SetValue(name, ldvalue.CopyArbitraryValue(value))
		}
	}
	value, detail, err := p.client.BoolVariationDetail(flag, builder.Build(), fallback)
	out := of.ProviderResolutionDetail{Reason: ldReason(detail.Reason.GetKind())}
	if err != nil {
		out.ResolutionError = of.NewGeneralResolutionError(err.Error())
	}
	if detail.VariationIndex.IsDefined() {
		out.Variant = strconv.Itoa(detail.VariationIndex.IntValue())
	}
	return of.BoolResolutionDetail{Value: value, ProviderResolutionDetail: out}
}

func ldReason(kind ldreason.EvalReasonKind) of.Reason {
	switch kind {
	case ldreason.EvalReasonOff:
		return of.DisabledReason
	case ldreason.EvalReasonTargetMatch, ldreason.EvalReasonRuleMatch:
		return of.TargetingMatchReason
	case ldreason.EvalReasonError:
		return of.ErrorReason
	default:
		return of.DefaultReason
	}
}

// manyLDFlags is a document of n flags of one kind in LaunchDarkly's format.
func manyLDFlags(kind string, n int) string {
	var b strings.Builder
	b.WriteString(`{"flags":{`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		rules := ""
		if kind == "rule" {
			rules = fmt.Sprintf(`,"rules":[{"id":"r","variation":0,"clauses":[{"attribute":"plan","op":"in","values":["plan-%d"]}]}]`, i%100)
		}
		key := fmt.Sprintf("flag-%06d", i)
		fmt.Fprintf(&b, `%q:{"key":%q,"version":1,"on":true,"variations":[true,false],"offVariation":1,"fallthrough":{"variation":%d}%s}`, key, key, i%2, rules)
	}
	b.WriteString(`}}`)
	return b.String()
}
