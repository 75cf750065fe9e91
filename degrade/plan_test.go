package degrade_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/plimsoll-dev/plimsoll/degrade"
	"pgregory.net/rapid"
)

// needs is a dependency that needs others.
func needs(name string, others ...string) degrade.Dependency {
	return degrade.Dependency{Name: name, DependsOn: others}
}

func planOf(dependencies ...degrade.Dependency) degrade.Plan {
	return degrade.Plan{Tiers: degrade.DefaultTiers(), Dependencies: dependencies}
}

// lines are findings as text.
func lines(findings []degrade.Finding) []string {
	var out []string
	for _, f := range findings {
		line := f.Path + ": " + f.Message
		if f.Hint != "" {
			line += " (" + f.Hint + ")"
		}
		out = append(out, line)
	}
	return out
}

func TestPlanCheck(t *testing.T) {
	const name = "(it is 1 to 63 of a-z, 0-9, '.', '_' and '-', and begins with a letter or digit)"
	long := make([]string, degrade.MaxDependsOn+1)
	for i := range long {
		long[i] = "db"
	}
	for what, c := range map[string]struct {
		plan degrade.Plan
		want []string
	}{
		"the default plan": {planOf(), nil},
		"a plan without faults": {planOf(needs("db.eu-1", "net_0"), needs("net_0"), needs("0", "db.eu-1", "net_0"),
			degrade.Dependency{Name: strings.Repeat("x", 63), Description: strings.Repeat("ä", 1024)}), nil},
		"no tiers":       {degrade.Plan{}, []string{`$.tiers: 0 tiers: there must be 2 to 8`}},
		"too many tiers": {degrade.Plan{Tiers: strings.Split("abcdefghi", "")}, []string{`$.tiers: 9 tiers: there must be 2 to 8`}},
		"every fault of the tiers": {degrade.Plan{Tiers: degrade.Tiers{"a", "A", "b", "a"}}, []string{
			`$.tiers[1]: "A" is no name for a tier (it is 1 to 63 of a-z, 0-9 and -)`,
			`$.tiers[3]: tier "a" is listed twice`,
		}},
		"names": {planOf(needs(""), needs("-a"), needs("Db"), needs(strings.Repeat("x", 64))), []string{
			`$.dependencies[""]: "" is no name for a dependency ` + name,
			`$.dependencies["-a"]: "-a" is no name for a dependency ` + name,
			`$.dependencies["Db"]: "Db" is no name for a dependency ` + name,
			fmt.Sprintf(`$.dependencies["%[1]s"]: "%[1]s" is no name for a dependency %s`, strings.Repeat("x", 64), name),
		}},
		"a name three times": {planOf(needs("db"), needs("db"), needs("db")), []string{
			`$.dependencies["db"]: dependency "db" is listed twice (make them one, or rename one of them)`,
		}},
		"unknown": {planOf(needs("payments", "cache", "paymnets"), needs("cache", "nothing-like-it")), []string{
			`$.dependencies["cache"].dependsOn[0]: there is no dependency "nothing-like-it" in the plan (add it, or leave the name out)`,
			`$.dependencies["payments"].dependsOn[1]: there is no dependency "paymnets" in the plan (did you mean "payments"?)`,
		}},
		"itself": {planOf(needs("db", "db")), []string{
			`$.dependencies["db"].dependsOn[0]: dependency "db" depends on itself (leave it out)`,
		}},
		"circles, each once": {planOf(needs("a", "x", "b"), needs("b", "c"), needs("c", "x", "a"), needs("d", "e"), needs("e", "d"), needs("x"), needs("y", "a")), []string{
			`$.dependencies["a"].dependsOn[1]: dependencies need each other in a circle: a → b → c → a (leave out one of the steps)`,
			`$.dependencies["d"].dependsOn[0]: dependencies need each other in a circle: d → e → d (leave out one of the steps)`,
		}},
		"circles that share a dependency": {planOf(needs("m", "a", "z"), needs("a", "m"), needs("z", "m")), []string{
			`$.dependencies["a"].dependsOn[0]: dependencies need each other in a circle: a → m → a (leave out one of the steps)`,
			`$.dependencies["m"].dependsOn[1]: dependencies need each other in a circle: m → z → m (leave out one of the steps)`,
		}},
		"limits": {planOf(degrade.Dependency{Name: "db", Description: strings.Repeat("ä", 1025)}, needs("web", long...)), []string{
			`$.dependencies["db"].description: the description has 1025 characters; at most 1024 are allowed`,
			`$.dependencies["web"].dependsOn: 101 names: there may be at most 100`,
		}},
		"indices in their order": {planOf(needs("a", "b", "b", "u1", "b", "b", "b", "b", "b", "b", "b", "u2"), needs("b")), []string{
			`$.dependencies["a"].dependsOn[2]: there is no dependency "u1" in the plan (add it, or leave the name out)`,
			`$.dependencies["a"].dependsOn[10]: there is no dependency "u2" in the plan (add it, or leave the name out)`,
		}},
	} {
		if diff := cmp.Diff(c.want, lines(c.plan.Check())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		for _, f := range c.plan.Check() {
			if f.Warning {
				t.Errorf("%s: %s is a warning", what, f.Path)
			}
		}
	}
}

func TestPlanLimits(t *testing.T) {
	var p degrade.Plan
	p.Tiers = degrade.DefaultTiers()
	for i := range degrade.MaxDependencies {
		p.Dependencies = append(p.Dependencies, needs(fmt.Sprintf("d%d", i)))
	}
	if found := p.Check(); found != nil {
		t.Fatalf("as many dependencies as there may be: %v", lines(found))
	}
	p.Dependencies = append(p.Dependencies, needs("one-more"))
	want := []string{`$.dependencies: 1001 dependencies: there may be at most 1000 (leave out what fails together with another one)`}
	if diff := cmp.Diff(want, lines(p.Check())); diff != "" {
		t.Errorf("one more (-want +got):\n%s", diff)
	}

	// What there is no end of is cut.
	var circles, unknown degrade.Plan
	circles.Tiers, unknown.Tiers = p.Tiers, p.Tiers
	for i := range 30 {
		a, b := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)
		circles.Dependencies = append(circles.Dependencies, needs(a, b), needs(b, a))
	}
	found := lines(circles.Check())
	if len(found) != 21 || found[0] != "$.dependencies: there are more than 20 circles: the rest is not listed (mend these first)" {
		t.Errorf("30 circles: %d findings, the first is %s", len(found), found[0])
	}
	for i := range 1001 {
		unknown.Dependencies = append(unknown.Dependencies, needs(fmt.Sprintf("d%d", i), fmt.Sprintf("u%d", i)))
	}
	found = lines(unknown.Check())
	if len(found) != 1001 || found[1000] != "$: there are more than 1000 findings: the rest is not listed (mend these first)" {
		t.Errorf("1001 unknown names and more: %d findings, the last is %s", len(found), found[len(found)-1])
	}

	// A long circle is named with its ends.
	var long degrade.Plan
	long.Tiers = p.Tiers
	for i := range 1000 {
		long.Dependencies = append(long.Dependencies, needs(fmt.Sprintf("d%03d", i), fmt.Sprintf("d%03d", (i+1)%1000)))
	}
	found = lines(long.Check())
	if len(found) != 1 || strings.Count(found[0], " → ") != 63 || !strings.Contains(found[0], "d030 → … → d969 → d970") || !strings.Contains(found[0], "d999 → d000 (") {
		t.Errorf("a circle of 1000: %v", found)
	}
}

// A dependency that needs itself over others is on a circle that is named, each
// circle once, and each step of it is one that the plan has.
func TestPlanCheckFindsAllCircles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(t, "dependencies")
		reach := make([][]bool, n)
		for i := range reach {
			reach[i] = make([]bool, n)
		}
		var p degrade.Plan
		p.Tiers = degrade.DefaultTiers()
		edge := map[string]bool{}
		for i := range n {
			d := needs(fmt.Sprintf("d%d", i))
			for _, j := range rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 3).Draw(t, "needs") {
				if i != j {
					d.DependsOn = append(d.DependsOn, fmt.Sprintf("d%d", j))
					edge[d.Name+" → "+fmt.Sprintf("d%d", j)], reach[i][j] = true, true
				}
			}
			p.Dependencies = append(p.Dependencies, d)
		}
		for k := range n {
			for i := range n {
				for j := range n {
					reach[i][j] = reach[i][j] || reach[i][k] && reach[k][j]
				}
			}
		}
		named, circles := map[string]bool{}, map[string]bool{}
		for _, f := range p.Check() {
			_, circle, ok := strings.Cut(f.Message, "in a circle: ")
			if !ok || circles[circle] {
				t.Fatalf("%v says %q, or says it twice", p, f.Message)
			}
			circles[circle] = true
			names := strings.Split(circle, " → ")
			for i := range names[1:] {
				if !edge[names[i]+" → "+names[i+1]] {
					t.Fatalf("%v has no step %s → %s of %s", p, names[i], names[i+1], circle)
				}
				named[names[i]] = true
			}
			if names[0] != names[len(names)-1] || names[0] != slices.Min(names) {
				t.Fatalf("%s does not go from its first name to it", circle)
			}
		}
		for i := range n {
			if name := fmt.Sprintf("d%d", i); named[name] != reach[i][i] {
				t.Fatalf("%v: %s is on a circle: %v, named on one: %v", p, name, reach[i][i], named[name])
			}
		}
	})
}

// Which of several circles are named does not depend on the order of the plan.
func TestPlanCheckInAnyOrder(t *testing.T) {
	p := planOf(needs("e", "c"), needs("d", "a"), needs("c", "e", "d"), needs("b", "d"), needs("a", "c", "b"))
	for _, p := range []degrade.Plan{p, p.Canonical()} {
		var got []string
		for _, f := range p.Check() {
			got = append(got, f.Message)
		}
		want := []string{"dependencies need each other in a circle: a → b → d → a", "dependencies need each other in a circle: c → e → c"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", p, diff)
		}
	}
}

func TestPlanCanonical(t *testing.T) {
	p := planOf(degrade.Dependency{Name: "web", Description: "d", DependsOn: []string{"net", "db", "net"}}, needs("net"), needs("db"))
	want := planOf(needs("db"), needs("net"), degrade.Dependency{Name: "web", Description: "d", DependsOn: []string{"db", "net"}})
	got := p.Canonical()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if !reflect.DeepEqual(got, got.Canonical()) {
		t.Error("the canonical form has another one")
	}
	got.Tiers[0], got.Dependencies[2].DependsOn[0] = "changed", "changed"
	if p.Tiers[0] != "critical" || !slices.Equal(p.Dependencies[0].DependsOn, []string{"net", "db", "net"}) {
		t.Errorf("the canonical form shares memory with the plan: %v", p)
	}
}
