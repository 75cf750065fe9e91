package mapdraw

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

func shop() (degrade.Plan, []degrade.Feature) {
	return degrade.Plan{
			Tiers: degrade.DefaultTiers(),
			Dependencies: []degrade.Dependency{
				{Name: "db"}, {Name: "ranker", DependsOn: []string{"db"}}, {Name: "payments"},
			},
		}, []degrade.Feature{
			{Key: "recommendations", Tier: "optional", DependsOn: []string{"ranker"}},
			{Key: "checkout", Tier: "critical", DependsOn: []string{"payments", "db"}},
			{Key: "reviews", Tier: "standard", DependsOn: []string{"nobody-knows", "checkout"}},
			{Key: "plain", Tier: "standard"},
		}
}

func TestDraw(t *testing.T) {
	plan, features := shop()
	d := Draw(plan, features, nil)
	at := make(map[string]Node)
	for i, n := range d.Nodes {
		at[n.Name] = n
		for _, other := range d.Nodes[:i] {
			if n.X < other.X+other.W && other.X < n.X+n.W && n.Y < other.Y+other.H && other.Y < n.Y+n.H {
				t.Errorf("%s lies over %s", n.Name, other.Name)
			}
		}
		if n.X < 0 || n.Y < 0 || n.X+n.W > d.Width || n.Y+n.H > d.Height {
			t.Errorf("%s is outside", n.Name)
		}
	}
	if at["db"].X >= at["ranker"].X || at["ranker"].X >= at["recommendations"].X {
		t.Error("what is needed is not left of what needs it")
	}
	if at["checkout"].Y >= at["reviews"].Y || at["reviews"].Y >= at["recommendations"].Y {
		t.Error("features are not in the order of their tiers")
	}
	if !at["nobody-knows"].Unknown || at["db"].Unknown {
		t.Error("what the plan lacks is not told apart")
	}
	var edges []string
	for _, e := range d.Edges {
		edges = append(edges, e.From+">"+e.To)
	}
	want := []string{"checkout>reviews", "db>checkout", "db>ranker", "nobody-knows>reviews", "payments>checkout", "ranker>recommendations"}
	if diff := cmp.Diff(want, edges); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(d, Draw(plan, features, nil)); diff != "" {
		t.Errorf("the same map is drawn in two ways:\n%s", diff)
	}
}

func TestDrawIsBounded(t *testing.T) {
	var plan degrade.Plan
	plan.Tiers = degrade.DefaultTiers()
	var features []degrade.Feature
	for i := range 500 {
		plan.Dependencies = append(plan.Dependencies, degrade.Dependency{Name: fmt.Sprintf("dep-%03d", i), DependsOn: []string{fmt.Sprintf("dep-%03d", (i+499)%500)}})
		features = append(features, degrade.Feature{Key: fmt.Sprintf("flag-%03d", i), Tier: "optional", DependsOn: []string{fmt.Sprintf("dep-%03d", i)}})
	}
	d := Draw(plan, features, map[string]bool{"flag-400": true, "dep-400": true})
	if len(d.Nodes) != MaxDependencies+MaxFeatures || d.MoreDependencies != 440 || d.MoreFeatures != 380 {
		t.Errorf("%d nodes, %d and %d more", len(d.Nodes), d.MoreDependencies, d.MoreFeatures)
	}
	found := 0
	for _, n := range d.Nodes {
		if n.Name == "flag-400" || n.Name == "dep-400" {
			found++
		}
	}
	if found != 2 {
		t.Error("what was to come first was left out")
	}
	if empty := Draw(degrade.Plan{}, nil, nil); len(empty.Nodes) != 0 || empty.Width <= 0 {
		t.Errorf("nothing is drawn as %+v", empty)
	}
}
