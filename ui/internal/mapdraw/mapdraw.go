// Package mapdraw lays out the failure map: dependencies on the left, the most
// fundamental ones leftmost, and features on the right, grouped by tier, with a
// line from each need to what needs it. It decides where things are; what they
// look like is for the page.
//
// The layers and their order follow Sugiyama, Tagawa and Toda, "Methods for
// visual understanding of hierarchical system structures" (1981), without its
// dummy nodes: an edge may pass under the nodes of a layer between.
package mapdraw

import (
	"cmp"
	"slices"
)

// Bounds of a drawing: what is past them is folded into one node a group.
const (
	MaxDependencies = 60
	MaxFeatures     = 120
	// MaxEdges is how many lines there are at most.
	MaxEdges = 600
)

// A Thing is a dependency or a feature, as it is put in.
type Thing struct {
	Name string
	// Group is a feature's place among the groups; dependencies have none.
	Group int
	// Needs names what it needs. A name that nothing has is left out.
	Needs []string
	// Prefer has it drawn before others if not all can be.
	Prefer bool
}

// A Graph is what is to be drawn. Where a feature is called as a dependency is,
// the name is the dependency's.
type Graph struct {
	Dependencies, Features []Thing
	// Groups are the headings of the features' groups, from top to bottom.
	Groups []string
}

// A Node is a box.
type Node struct {
	// Name is that of the thing; "" in a node that others are folded into.
	Name    string
	Feature bool
	// Folded are the names that have no box of their own, sorted.
	Folded     []string
	X, Y, W, H float64
	layer      int
	group      int
}

// An Edge leads from a need to what needs it: indices of nodes, and the path of
// the line.
type Edge struct {
	From, To int
	Path     string
}

// A Heading is that of a group, which its Y is the base line of.
type Heading struct {
	Group int
	X, Y  float64
}

// A Drawing is the map with a place for everything. Equal graphs have equal
// drawings.
type Drawing struct {
	Width, Height float64
	Nodes         []Node
	Edges         []Edge
	Headings      []Heading
	// EdgesLeftOut is how many lines there would be more.
	EdgesLeftOut int
}

// layout is a drawing in the making.
type layout struct {
	g     Graph
	nodes []Node
	// deps and feats find a node by the name of a thing, own or folded.
	deps, feats map[string]int
	edges       [][2]int // from a need to what needs it
	leftOut     int
	in, out     [][]int // by node: what it needs, what needs it
	columns     [][]int // by layer: its nodes from top to bottom; the last are the features
}

// Draw lays out a graph.
func Draw(g Graph) Drawing {
	l := &layout{g: g, deps: make(map[string]int), feats: make(map[string]int)}
	l.place()
	l.connect()
	l.layers()
	l.order()
	return l.finish()
}

// choose are the things that get a box of their own, and the others. Those that
// are preferred, and those that most others need, come first.
func choose(things []Thing, most int, weight func(*Thing) int) (drawn, folded []Thing) {
	all := slices.Clone(things)
	slices.SortStableFunc(all, func(a, b Thing) int { return cmp.Compare(a.Name, b.Name) })
	all = slices.CompactFunc(all, func(a, b Thing) bool { return a.Name == b.Name })
	if len(all) <= most {
		return all, nil
	}
	slices.SortStableFunc(all, func(a, b Thing) int {
		if a.Prefer != b.Prefer {
			if a.Prefer {
				return -1
			}
			return 1
		}
		return cmp.Compare(weight(&b), weight(&a))
	})
	drawn, folded = all[:most:most], all[most:]
	for _, part := range [][]Thing{drawn, folded} {
		slices.SortFunc(part, func(a, b Thing) int { return cmp.Compare(a.Name, b.Name) })
	}
	return drawn, folded
}

// place makes the nodes.
func (l *layout) place() {
	users := make(map[string]int)
	for _, things := range [][]Thing{l.g.Dependencies, l.g.Features} {
		for i := range things {
			for _, name := range things[i].Needs {
				users[name]++
			}
		}
	}
	drawn, folded := choose(l.g.Dependencies, MaxDependencies, func(t *Thing) int { return users[t.Name] })
	l.box(l.deps, drawn, false)
	l.fold(l.deps, folded, 0, false)
	// Features that need something tell more than those that need nothing, and the
	// upper groups more than the lower ones.
	drawn, folded = choose(l.g.Features, MaxFeatures, func(t *Thing) int {
		weight := -l.group(t)
		if len(t.Needs) > 0 {
			weight += len(l.g.Groups) + 1
		}
		return weight
	})
	l.box(l.feats, drawn, true)
	for group := range len(l.g.Groups) + 1 {
		l.fold(l.feats, slices.DeleteFunc(slices.Clone(folded), func(t Thing) bool { return l.group(&t) != group }), group, true)
	}
}

// group is a feature's group; what is in none of them is in one after the last.
func (l *layout) group(t *Thing) int {
	if t.Group < 0 || t.Group > len(l.g.Groups) {
		return len(l.g.Groups)
	}
	return t.Group
}

func (l *layout) box(index map[string]int, things []Thing, feature bool) {
	for i := range things {
		index[things[i].Name] = len(l.nodes)
		n := Node{Name: things[i].Name, Feature: feature}
		if feature {
			n.group = l.group(&things[i])
		}
		l.nodes = append(l.nodes, n)
	}
}

func (l *layout) fold(index map[string]int, things []Thing, group int, feature bool) {
	if len(things) == 0 {
		return
	}
	n := Node{Feature: feature, group: group}
	for i := range things {
		index[things[i].Name] = len(l.nodes)
		n.Folded = append(n.Folded, things[i].Name)
	}
	l.nodes = append(l.nodes, n)
}

// connect makes the edges, each once.
func (l *layout) connect() {
	known := make(map[[2]int]bool)
	add := func(from, to int) {
		if e := [2]int{from, to}; from != to && !known[e] {
			known[e] = true
			l.edges = append(l.edges, e)
		}
	}
	for i := range l.g.Dependencies {
		to := l.deps[l.g.Dependencies[i].Name]
		for _, name := range l.g.Dependencies[i].Needs {
			if from, ok := l.deps[name]; ok {
				add(from, to)
			}
		}
	}
	for i := range l.g.Features {
		to := l.feats[l.g.Features[i].Name]
		for _, name := range l.g.Features[i].Needs {
			if from, ok := l.deps[name]; ok {
				add(from, to)
			} else if from, ok := l.feats[name]; ok {
				add(from, to)
			}
		}
	}
	l.thin()
	slices.SortFunc(l.edges, func(a, b [2]int) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	l.in, l.out = make([][]int, len(l.nodes)), make([][]int, len(l.nodes))
	for _, e := range l.edges {
		l.in[e[1]] = append(l.in[e[1]], e[0])
		l.out[e[0]] = append(l.out[e[0]], e[1])
	}
}

// thin leaves out edges past the bound, those between preferred things last.
func (l *layout) thin() {
	if len(l.edges) <= MaxEdges {
		return
	}
	preferred := make([]int, len(l.nodes))
	for _, t := range l.g.Dependencies {
		if t.Prefer {
			preferred[l.deps[t.Name]] = 1
		}
	}
	for _, t := range l.g.Features {
		if t.Prefer {
			preferred[l.feats[t.Name]] = 1
		}
	}
	slices.SortStableFunc(l.edges, func(a, b [2]int) int {
		return cmp.Compare(preferred[b[0]]*preferred[b[1]], preferred[a[0]]*preferred[a[1]])
	})
	l.leftOut = len(l.edges) - MaxEdges
	l.edges = l.edges[:MaxEdges]
}
