package degrade_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/plimsoll-dev/plimsoll/degrade"
)

// feature is one that is on, and off when it is degraded.
func feature(key, tier string, dependsOn ...string) degrade.Feature {
	return degrade.Feature{Key: key, Tier: tier, Degraded: "off", Default: "on", Enabled: true, DependsOn: dependsOn}
}

func changed(f degrade.Feature, change func(*degrade.Feature)) degrade.Feature {
	change(&f)
	return f
}

func TestPlanLint(t *testing.T) {
	offAnyway := func(f *degrade.Feature) { f.Default = "off" }
	for what, c := range map[string]struct {
		plan     degrade.Plan
		features []degrade.Feature
		want     []string
	}{
		"nothing": {planOf(), nil, nil},
		"all in order": {planOf(needs("db", "net"), needs("net")), []degrade.Feature{
			feature("checkout", "critical", "db"), feature("search", "standard", "db", "checkout"), feature("hints", "optional", "search"),
			changed(feature("text", "optional"), func(f *degrade.Feature) { f.Default, f.Targeted = "off", true }),
			changed(feature("new", "optional"), func(f *degrade.Feature) { f.Default, f.Enabled = "off", false }),
			changed(feature("pay", "critical"), offAnyway),
		}, nil},
		"no features so far": {planOf(needs("db")), nil, nil},
		"a name that leads nowhere": {planOf(needs("payments")), []degrade.Feature{feature("checkout", "critical", "payments", "paymnts"), feature("search", "standard", "elsewhere", "checkuot")}, []string{
			`$.flags["checkout"].degradation.dependsOn[1]: "paymnts", which feature "checkout" depends on, is no dependency of the plan and no other feature (did you mean "payments"?)`,
			`$.flags["search"].degradation.dependsOn[0]: "elsewhere", which feature "search" depends on, is no dependency of the plan and no other feature (add it to the plan's dependencies)`,
			`$.flags["search"].degradation.dependsOn[1]: "checkuot", which feature "search" depends on, is no dependency of the plan and no other feature (did you mean "checkout"?)`,
		}},
		"a dependency and a feature of one name": {planOf(needs("search")), []degrade.Feature{feature("search", "optional", "search"), feature("checkout", "critical", "search")}, []string{
			`$.dependencies["search"]: dependency "search" is called as a feature is: features that depend on the name need the dependency (rename one of them)`,
		}},
		"a critical feature depends on a sheddable one": {planOf(), []degrade.Feature{feature("checkout", "critical", "recs"), feature("recs", "optional")}, []string{
			`$.flags["checkout"].degradation.dependsOn[0]: critical feature "checkout" (tier critical is never shed) depends on the sheddable feature "recs" (tier optional) (give "recs" the tier "critical", or make "checkout" do without it)`,
		}},
		"a feature is shed before one that needs it": {planOf(), []degrade.Feature{feature("search", "important", "recs"), feature("recs", "standard")}, []string{
			`$.flags["search"].degradation.dependsOn[0]: feature "search" (tier important) depends on feature "recs" (tier standard), which is shed before it (give "recs" the tier "important", or make "search" do without it)`,
		}},
		"unknown tiers": {planOf(), []degrade.Feature{feature("a", "optoinal", "b"), feature("b", "gold", "c"), feature("c", "critical", "a")}, []string{
			`$.flags["a"].degradation.dependsOn[0]: features depend on each other in a circle: a → b → c → a (leave out one of the steps)`,
			`$.flags["a"].degradation.tier: there is no tier "optoinal": feature "a" is never shed (did you mean "optional"?)`,
			`$.flags["b"].degradation.tier: there is no tier "gold": feature "b" is never shed (there are critical, important, standard, optional)`,
		}},
		"shed in vain": {planOf(), []degrade.Feature{changed(feature("footer", "optional"), offAnyway)}, []string{
			`$.flags["footer"].degradation.degradedVariant: shedding feature "footer" saves nothing: "off" is what it serves anyway (name a cheaper variant)`,
		}},
		"itself": {planOf(), []degrade.Feature{feature("a", "standard", "a")}, []string{
			`$.flags["a"].degradation.dependsOn[0]: feature "a" depends on itself (leave it out)`,
		}},
		"features in a circle": {planOf(), []degrade.Feature{feature("b", "standard", "a"), feature("a", "standard", "b")}, []string{
			`$.flags["a"].degradation.dependsOn[0]: features depend on each other in a circle: a → b → a (leave out one of the steps)`,
		}},
		"the circles of dependencies are Check's": {planOf(needs("x", "y"), needs("y", "x")), []degrade.Feature{feature("a", "standard", "x")}, nil},
		"unused": {planOf(needs("db"), needs("net"), needs("web", "net")), []degrade.Feature{feature("a", "standard")}, []string{
			`$.dependencies["db"]: no feature and no other dependency needs "db" (leave it out, or name it in the dependsOn of what needs it)`,
			`$.dependencies["web"]: no feature and no other dependency needs "web" (leave it out, or name it in the dependsOn of what needs it)`,
		}},
	} {
		got := c.plan.Lint(c.features)
		if diff := cmp.Diff(c.want, lines(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		for _, f := range got {
			if !f.Warning {
				t.Errorf("%s: %s is an error", what, f.Path)
			}
		}
		slices.Reverse(c.features)
		slices.Reverse(c.plan.Dependencies)
		if diff := cmp.Diff(got, c.plan.Lint(c.features)); diff != "" {
			t.Errorf("%s, in another order (-want +got):\n%s", what, diff)
		}
	}
}

func TestPlanLintIsBounded(t *testing.T) {
	var features []degrade.Feature
	for i := range 1100 {
		features = append(features, feature(fmt.Sprintf("f%d", i), "standard", "databsae"))
	}
	found := lines(planOf(needs("database"), needs("x", "database"), needs("y", "x"), needs("database", "y")).Lint(features))
	if len(found) != 1001 || !strings.HasPrefix(found[1000], "$: there are more than 1000 findings") {
		t.Errorf("%d findings, the last is %s", len(found), found[len(found)-1])
	}
	if n := strings.Count(strings.Join(found, "\n"), "did you mean"); n != 1000 {
		t.Errorf("one name was looked for %d times of 1000", n)
	}
	for i := range features {
		features[i].DependsOn[0] = fmt.Sprintf("databsae%d", i)
	}
	found = lines(planOf(needs("database")).Lint(features[:30]))
	if n := strings.Count(strings.Join(found, "\n"), "did you mean"); n != 20 {
		t.Errorf("%d of 30 names were looked for, want 20", n)
	}
	features = nil
	for i := range 30 {
		a, b := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)
		features = append(features, feature(a, "standard", b), feature(b, "standard", a))
	}
	found = lines(planOf().Lint(features))
	if len(found) != 21 || !strings.HasPrefix(found[0], "$.flags: there are more than 20 circles") {
		t.Errorf("30 circles: %d findings, the first is %s", len(found), found[0])
	}
}
