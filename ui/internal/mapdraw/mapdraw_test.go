package mapdraw

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
)

func shop() Graph {
	return Graph{
		Groups: []string{"critical", "optional"},
		Dependencies: []Thing{
			{Name: "db"}, {Name: "network"}, {Name: "payments", Needs: []string{"db", "network"}}, {Name: "ranker", Needs: []string{"network", "nobody"}}, {Name: "mail"},
		},
		Features: []Thing{
			{Name: "checkout", Group: 0, Needs: []string{"payments", "payments"}},
			{Name: "receipts", Group: 0, Needs: []string{"mail", "checkout"}},
			{Name: "hints", Group: 1, Needs: []string{"ranker", "gone"}},
			{Name: "stray", Group: -1},
		},
	}
}

func node(t *testing.T, d *Drawing, name string) *Node {
	t.Helper()
	for i := range d.Nodes {
		if d.Nodes[i].Name == name {
			return &d.Nodes[i]
		}
	}
	t.Fatalf("%s is not drawn", name)
	return nil
}

// edges are those of a drawing, by name.
func edges(d *Drawing) (out []string) {
	for _, e := range d.Edges {
		out = append(out, d.Nodes[e.From].Name+">"+d.Nodes[e.To].Name)
	}
	slices.Sort(out)
	return out
}

// check tells what no drawing may have: boxes that overlap or stick out.
func check(t *testing.T, d *Drawing) {
	t.Helper()
	for i, a := range d.Nodes {
		if a.X < 0 || a.Y < 0 || a.X+a.W > d.Width || a.Y+a.H > d.Height {
			t.Errorf("%q sticks out: %+v of %v × %v", a.Name, a, d.Width, d.Height)
		}
		for _, b := range d.Nodes[i+1:] {
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%q and %q overlap", a.Name, b.Name)
			}
		}
	}
}

func TestNeedsAreLeftOfWhatNeedsThem(t *testing.T) {
	d := Draw(shop())
	check(t, &d)
	want := []string{"checkout>receipts", "db>payments", "mail>receipts", "network>payments", "network>ranker", "payments>checkout", "ranker>hints"}
	if got := edges(&d); !slices.Equal(got, want) {
		t.Errorf("edges %v, want %v", got, want)
	}
	x := func(name string) float64 { return node(t, &d, name).X }
	if !(x("db") == x("network") && x("network") < x("payments") && x("payments") == x("ranker") && x("ranker") == x("mail") && x("mail") < x("checkout")) {
		t.Error("the layers are out of order")
	}
	y := func(name string) float64 { return node(t, &d, name).Y }
	if !(y("checkout") < y("hints") && y("receipts") < y("hints") && y("hints") < y("stray")) {
		t.Error("the groups are out of order")
	}
	if len(d.Headings) != 3 || d.Headings[2].Group != 2 {
		t.Errorf("headings %v", d.Headings)
	}
}

func TestTheSameGraphIsDrawnTheSameWay(t *testing.T) {
	a, g := Draw(shop()), shop()
	slices.Reverse(g.Dependencies)
	slices.Reverse(g.Features)
	for range 20 {
		if b := Draw(g); !reflect.DeepEqual(a, b) {
			t.Fatalf("two drawings of one graph:\n%+v\n%+v", a, b)
		}
	}
}

func TestLinesAreUntangled(t *testing.T) {
	// Each feature has a dependency of its own, in the opposite order.
	g := Graph{Groups: []string{"all"}}
	for i := range 12 {
		g.Dependencies = append(g.Dependencies, Thing{Name: fmt.Sprintf("d%02d", 11-i)})
		g.Features = append(g.Features, Thing{Name: fmt.Sprintf("f%02d", i), Needs: []string{fmt.Sprintf("d%02d", 11-i)}})
	}
	d := Draw(g)
	check(t, &d)
	for i := range 12 {
		if f, dep := node(t, &d, fmt.Sprintf("f%02d", i)), node(t, &d, fmt.Sprintf("d%02d", 11-i)); f.Y != dep.Y {
			t.Errorf("%s is at %v, what it needs at %v", f.Name, f.Y, dep.Y)
		}
	}
}

func TestCirclesAndChainsAreDrawn(t *testing.T) {
	g := Graph{Dependencies: []Thing{{Name: "a", Needs: []string{"c", "a"}}, {Name: "b", Needs: []string{"a"}}, {Name: "c", Needs: []string{"b"}}}}
	for i := range 40 {
		g.Dependencies = append(g.Dependencies, Thing{Name: fmt.Sprintf("n%02d", i), Needs: []string{fmt.Sprintf("n%02d", i+1)}})
	}
	d := Draw(g)
	check(t, &d)
	if len(d.Nodes) != 43 || len(d.Edges) != 3+39 {
		t.Errorf("%d nodes, %d edges", len(d.Nodes), len(d.Edges))
	}
	if most := maxLayers*(depWidth+gap) + featureWidth + 2*margin; d.Width > most {
		t.Errorf("%v wide, at most %v", d.Width, most)
	}
	if empty := Draw(Graph{}); len(empty.Nodes) != 0 {
		t.Errorf("nothing is drawn as %+v", empty)
	}
}

func TestALargeMapIsBounded(t *testing.T) {
	g := Graph{Groups: []string{"critical", "optional"}}
	for i := range 300 {
		g.Dependencies = append(g.Dependencies, Thing{Name: fmt.Sprintf("dep-%03d", i), Prefer: i == 299})
	}
	for i := range 1000 {
		f := Thing{Name: fmt.Sprintf("feature-%03d", i), Group: i % 2, Prefer: i == 999}
		for j := range 30 {
			f.Needs = append(f.Needs, fmt.Sprintf("dep-%03d", (i*7+j)%300))
		}
		f.Needs = append(f.Needs, "dep-299")
		g.Features = append(g.Features, f)
	}
	d := Draw(g)
	check(t, &d)
	deps, features, folded := 0, 0, 0
	for i := range d.Nodes {
		switch n := &d.Nodes[i]; {
		case n.Name == "":
			folded += len(n.Folded)
		case n.Feature:
			features++
		default:
			deps++
		}
	}
	if deps != MaxDependencies || features != MaxFeatures || folded != 300+1000-MaxDependencies-MaxFeatures {
		t.Errorf("%d dependencies, %d features, %d folded", deps, features, folded)
	}
	if len(d.Edges) != MaxEdges || d.EdgesLeftOut == 0 {
		t.Errorf("%d edges, %d left out", len(d.Edges), d.EdgesLeftOut)
	}
	node(t, &d, "feature-999")
	if !slices.Contains(edges(&d), "dep-299>feature-999") {
		t.Error("the line between what is preferred is left out")
	}
	// Of features that are alike, the more important ones are drawn.
	optional := 0
	for _, n := range d.Nodes {
		if n.Feature && n.Name != "" && n.group == 1 {
			optional++
		}
	}
	if optional != 1 {
		t.Errorf("%d optional features are drawn while critical ones are not", optional)
	}
}
