// Package mapdraw lays out the drawing of a failure map: dependencies on the
// left, in layers, features on the right, by tier, and lines between what needs
// what. It is pure, and gives the same drawing for the same map.
package mapdraw

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

// Bounds of what is drawn; what is more is counted.
const (
	MaxDependencies = 60
	MaxFeatures     = 120
	maxLayers       = 6
)

// Sizes in units of the drawing.
const (
	nodeWidth, nodeHeight = 190, 30
	rowHeight             = 38
	columnWidth           = nodeWidth + 90
	headingHeight         = 30
	margin                = 8
)

// Node is a dependency or a feature.
type Node struct {
	Name    string
	Feature *degrade.Feature // nil for a dependency
	// Unknown: features need it, but the plan does not have it.
	Unknown    bool
	X, Y, W, H int
}

// Edge goes from what is needed to what needs it.
type Edge struct {
	From, To string
	Path     string
}

// Heading is the name of a column or tier.
type Heading struct {
	Text string
	X, Y int
}

// Drawing is a laid out map.
type Drawing struct {
	Width, Height int
	Nodes         []Node
	Edges         []Edge
	Headings      []Heading
	// MoreDependencies and MoreFeatures are how many are not drawn.
	MoreDependencies, MoreFeatures int
}

type layout struct {
	deps     []degrade.Dependency
	known    map[string]bool
	layer    map[string]int
	needs    map[string][]string
	users    map[string][]string
	features []degrade.Feature
	y        map[string]float64
}

// Draw lays out a plan and features. first are names that are drawn before
// others where not all can be.
func Draw(plan degrade.Plan, features []degrade.Feature, first map[string]bool) Drawing {
	l := &layout{known: make(map[string]bool), layer: make(map[string]int), needs: make(map[string][]string), users: make(map[string][]string), y: make(map[string]float64)}
	var d Drawing
	l.features, d.MoreFeatures = choose(features, plan.Tiers, first)
	l.deps, d.MoreDependencies = l.dependencies(plan, first)
	l.connect()
	l.findLayers()
	l.place(&d)
	return d
}

// choose takes the features to draw, in the order in which they are.
func choose(features []degrade.Feature, tiers degrade.Tiers, first map[string]bool) ([]degrade.Feature, int) {
	rank := func(f degrade.Feature) int {
		if n, ok := tiers.Rank(f.Tier); ok {
			return n
		}
		return len(tiers)
	}
	all := slices.Clone(features)
	slices.SortFunc(all, func(a, b degrade.Feature) int {
		return cmp.Or(
			cmp.Compare(boolRank(first[a.Key]), boolRank(first[b.Key])),
			cmp.Compare(boolRank(len(a.DependsOn) > 0), boolRank(len(b.DependsOn) > 0)),
			cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Key, b.Key))
	})
	drawn := all[:min(len(all), MaxFeatures)]
	slices.SortFunc(drawn, func(a, b degrade.Feature) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Key, b.Key))
	})
	return drawn, len(all) - len(drawn)
}

func boolRank(b bool) int {
	if b {
		return 0
	}
	return 1
}

// dependencies are those to draw: of the plan, and those that features name
// beyond it.
func (l *layout) dependencies(plan degrade.Plan, first map[string]bool) ([]degrade.Dependency, int) {
	isFeature := make(map[string]bool)
	used := make(map[string]bool)
	for _, f := range l.features {
		isFeature[f.Key] = true
		for _, name := range f.DependsOn {
			used[name] = true
		}
	}
	all := slices.Clone(plan.Dependencies)
	for _, dep := range plan.Dependencies {
		l.known[dep.Name] = true
	}
	for name := range used {
		if !l.known[name] && !isFeature[name] {
			all = append(all, degrade.Dependency{Name: name})
		}
	}
	slices.SortFunc(all, func(a, b degrade.Dependency) int {
		return cmp.Or(cmp.Compare(boolRank(first[a.Name]), boolRank(first[b.Name])),
			cmp.Compare(boolRank(used[a.Name]), boolRank(used[b.Name])), cmp.Compare(a.Name, b.Name))
	})
	drawn := all[:min(len(all), MaxDependencies)]
	slices.SortFunc(drawn, func(a, b degrade.Dependency) int { return cmp.Compare(a.Name, b.Name) })
	return drawn, len(all) - len(drawn)
}

func (l *layout) connect() {
	drawn := make(map[string]bool)
	for _, dep := range l.deps {
		drawn[dep.Name] = true
	}
	isDep := make(map[string]bool)
	for name := range drawn {
		isDep[name] = true
	}
	for _, f := range l.features {
		drawn[f.Key] = true
	}
	add := func(user, name string) {
		if drawn[name] && name != user {
			l.needs[user] = append(l.needs[user], name)
			l.users[name] = append(l.users[name], user)
		}
	}
	for _, dep := range l.deps {
		for _, name := range dep.DependsOn {
			if isDep[name] {
				add(dep.Name, name)
			}
		}
	}
	for _, f := range l.features {
		if isDep[f.Key] {
			continue // called as a dependency is: the name is the dependency's
		}
		for _, name := range f.DependsOn {
			add(f.Key, name)
		}
	}
}

// findLayers puts each dependency right of those that it needs. A circle, which
// a plan cannot have, would end at the last layer.
func (l *layout) findLayers() {
	for range maxLayers {
		moved := false
		for _, dep := range l.deps {
			for _, name := range l.needs[dep.Name] {
				if want := min(maxLayers-1, l.layer[name]+1); l.layer[dep.Name] < want {
					l.layer[dep.Name], moved = want, true
				}
			}
		}
		if !moved {
			return
		}
	}
}

// place gives everything its coordinates: features in order, and then layer by
// layer, from right to left, each dependency beside the middle of what needs it.
func (l *layout) place(d *Drawing) {
	layers := 0
	for _, dep := range l.deps {
		layers = max(layers, l.layer[dep.Name]+1)
	}
	featureX := margin + layers*columnWidth
	y, tier := margin, "\x00"
	for i := range l.features {
		f := &l.features[i]
		if f.Tier != tier {
			tier = f.Tier
			d.Headings = append(d.Headings, Heading{tier, featureX, y + 18})
			y += headingHeight
		}
		d.Nodes = append(d.Nodes, Node{Name: f.Key, Feature: f, X: featureX, Y: y, W: nodeWidth, H: nodeHeight})
		l.y[f.Key] = float64(y)
		y += rowHeight
	}
	height := y
	for layer := layers - 1; layer >= 0; layer-- {
		height = max(height, l.placeLayer(d, layer, y))
	}
	d.Width, d.Height = featureX+nodeWidth+margin, height+margin
	l.draw(d)
}

// placeLayer places one layer of dependencies, and returns where it ends.
func (l *layout) placeLayer(d *Drawing, layer, middle int) int {
	var names []string
	for _, dep := range l.deps {
		if l.layer[dep.Name] == layer {
			names = append(names, dep.Name)
		}
	}
	want := make(map[string]float64)
	for _, name := range names {
		sum := 0.0
		for _, user := range l.users[name] {
			sum += l.y[user]
		}
		if n := len(l.users[name]); n > 0 {
			want[name] = sum / float64(n)
		} else {
			want[name] = float64(middle) // what nothing needs goes last
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(want[a], want[b]) })
	at := margin + headingHeight
	for i, name := range names {
		room := max(0, len(names)-i-1) * rowHeight
		y := max(at, min(int(want[name]), max(at, middle-room-rowHeight)))
		l.y[name] = float64(y)
		d.Nodes = append(d.Nodes, Node{Name: name, Unknown: !l.known[name], X: margin + layer*columnWidth, Y: y, W: nodeWidth, H: nodeHeight})
		at = y + rowHeight
	}
	return at
}

// draw makes the lines.
func (l *layout) draw(d *Drawing) {
	at := make(map[string]Node, len(d.Nodes))
	for _, n := range d.Nodes {
		if _, taken := at[n.Name]; !taken || n.Feature == nil {
			at[n.Name] = n
		}
	}
	for _, n := range d.Nodes {
		for _, name := range l.needs[n.Name] {
			d.Edges = append(d.Edges, Edge{From: name, To: n.Name, Path: curve(at[name], n)})
		}
	}
	slices.SortFunc(d.Edges, func(a, b Edge) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
}

// curve is a line from the right side of one node to the left side of another;
// between two of one column it goes round their right sides.
func curve(from, to Node) string {
	x1, y1, y2 := from.X+from.W, from.Y+from.H/2, to.Y+to.H/2
	if from.X == to.X {
		return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+40, y1, x1+40, y2, x1, y2)
	}
	mid := (x1 + to.X) / 2
	return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, mid, y1, mid, y2, to.X, y2)
}
