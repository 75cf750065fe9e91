package mapdraw

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Sizes, in the units of the drawing.
const (
	margin       = 8.0
	boxHeight    = 24.0
	rowHeight    = 30.0
	headHeight   = 30.0
	depWidth     = 164.0
	featureWidth = 232.0
	gap          = 76.0
	// maxLayers bounds how wide a drawing gets; deeper dependencies share the
	// leftmost layer.
	maxLayers = 5
	// sweeps is how often the layers are ordered by their neighbours; the order
	// hardly changes after that.
	sweeps = 6
)

// layers gives each dependency a layer as far to the right as what needs it
// allows, and the features the last one.
func (l *layout) layers() {
	height := make([]int, len(l.nodes)) // how many dependencies are on the longest way to the right
	state := make([]int8, len(l.nodes)) // 1: on the way, 2: done
	var visit func(int) int
	visit = func(n int) int {
		if state[n] != 0 {
			return height[n] // of a circle, the step that closes it does not count
		}
		state[n] = 1
		for _, user := range l.out[n] {
			if !l.nodes[user].Feature && state[user] != 1 {
				height[n] = max(height[n], visit(user)+1)
			}
		}
		state[n] = 2
		return height[n]
	}
	deepest := -1
	for n := range l.nodes {
		if !l.nodes[n].Feature {
			height[n] = min(visit(n), maxLayers-1)
			deepest = max(deepest, height[n])
		}
	}
	l.columns = make([][]int, deepest+2)
	for n := range l.nodes {
		layer := deepest + 1
		if !l.nodes[n].Feature {
			layer = deepest - height[n]
		}
		l.nodes[n].layer = layer
		l.columns[layer] = append(l.columns[layer], n)
	}
}

// order puts each layer in the order of its neighbours' places, to and fro, and
// keeps the order in which the fewest lines cross.
func (l *layout) order() {
	l.settle()
	best, fewest := l.snapshot(), l.crossings()
	for sweep := range 2 * sweeps {
		if fewest == 0 {
			break
		}
		if sweep%2 == 0 {
			for i := len(l.columns) - 2; i >= 0; i-- {
				l.sort(l.columns[i], l.out)
			}
		} else {
			for i := 1; i < len(l.columns); i++ {
				l.sort(l.columns[i], l.in)
			}
		}
		if n := l.crossings(); n < fewest {
			best, fewest = l.snapshot(), n
		}
	}
	l.columns = best
	l.settle()
}

func (l *layout) snapshot() [][]int {
	out := make([][]int, len(l.columns))
	for i := range l.columns {
		out[i] = slices.Clone(l.columns[i])
	}
	return out
}

// sort orders a layer by the middle of each node's neighbours. Groups stay
// together, and what others are folded into stays last.
func (l *layout) sort(column []int, neighbours [][]int) {
	middle := make(map[int]float64, len(column))
	for _, n := range column {
		middle[n] = l.nodes[n].Y
		if m, ok := l.barycentre(neighbours[n]); ok {
			middle[n] = m
		}
	}
	slices.SortStableFunc(column, func(a, b int) int {
		return cmp.Or(cmp.Compare(l.nodes[a].group, l.nodes[b].group), cmp.Compare(min(1, len(l.nodes[a].Folded)), min(1, len(l.nodes[b].Folded))),
			cmp.Compare(middle[a], middle[b]))
	})
	l.stack(column)
}

func (l *layout) barycentre(of []int) (float64, bool) {
	if len(of) == 0 {
		return 0, false
	}
	sum := 0.0
	for _, n := range of {
		sum += l.nodes[n].Y
	}
	return sum / float64(len(of)), true
}

// settle gives all nodes a place in the order that they have.
func (l *layout) settle() {
	for _, column := range l.columns {
		slices.SortStableFunc(column, func(a, b int) int { return cmp.Compare(l.nodes[a].group, l.nodes[b].group) })
		l.stack(column)
	}
}

// stack puts a layer's nodes below each other.
func (l *layout) stack(column []int) {
	y, group := margin, -1
	for _, n := range column {
		if l.nodes[n].Feature && l.nodes[n].group != group {
			group = l.nodes[n].group
			y += headHeight
		}
		l.nodes[n].Y = y
		y += rowHeight
	}
}

// crossings counts the pairs of lines that cross between the same two layers.
func (l *layout) crossings() (crossed int) {
	between := make(map[[2]int][][2]int)
	for _, e := range l.edges {
		key := [2]int{l.nodes[e[0]].layer, l.nodes[e[1]].layer}
		between[key] = append(between[key], e)
	}
	for key, edges := range between {
		if key[0] == key[1] {
			continue
		}
		for i, a := range edges {
			for _, b := range edges[i+1:] {
				if (l.nodes[a[0]].Y-l.nodes[b[0]].Y)*(l.nodes[a[1]].Y-l.nodes[b[1]].Y) < 0 {
					crossed++
				}
			}
		}
	}
	return crossed
}

// finish moves the dependencies beside what needs them, and draws the lines.
func (l *layout) finish() Drawing {
	out := Drawing{Width: 2 * margin, Height: 2 * margin, EdgesLeftOut: l.leftOut}
	for _, column := range l.columns {
		if len(column) > 0 {
			out.Height = max(out.Height, l.nodes[column[len(column)-1]].Y+boxHeight+margin)
		}
	}
	for i := len(l.columns) - 2; i >= 0; i-- {
		l.spread(l.columns[i], out.Height)
	}
	x := margin
	for i, column := range l.columns {
		width := depWidth
		if i == len(l.columns)-1 {
			width = featureWidth
		}
		for _, n := range column {
			l.nodes[n].X, l.nodes[n].W, l.nodes[n].H = x, width, boxHeight
		}
		out.Width = x + width + margin
		x += width + gap
	}
	group := -1
	for _, n := range l.columns[len(l.columns)-1] {
		if g := l.nodes[n].group; g != group {
			group = g
			out.Headings = append(out.Headings, Heading{Group: g, X: l.nodes[n].X, Y: l.nodes[n].Y - 9})
		}
	}
	out.Nodes = l.nodes
	if slices.ContainsFunc(l.edges, func(e [2]int) bool { return l.nodes[e[0]].Feature }) {
		out.Width += 28 // lines between features go around on the right
	}
	for _, e := range l.edges {
		out.Edges = append(out.Edges, Edge{From: e[0], To: e[1], Path: line(&l.nodes[e[0]], &l.nodes[e[1]])})
	}
	return out
}

// spread moves a layer's nodes towards the middle of what needs them, in their
// order, as far apart as they have to be and no further down than height.
func (l *layout) spread(column []int, height float64) {
	below := height - margin - boxHeight
	for i, n := range column {
		want := l.nodes[n].Y
		if m, ok := l.barycentre(l.out[n]); ok {
			want = m
		}
		if i > 0 {
			want = max(want, l.nodes[column[i-1]].Y+rowHeight)
		}
		l.nodes[n].Y = math.Round(want)
	}
	for _, n := range slices.Backward(column) {
		l.nodes[n].Y = min(l.nodes[n].Y, below)
		below = l.nodes[n].Y - rowHeight
	}
}

// line is the path from a need to what needs it: to its left side if it is
// further to the right, else around to its right side.
func line(from, to *Node) string {
	x1, y1, y2 := from.X+from.W, from.Y+from.H/2, to.Y+to.H/2
	if x2 := to.X; x2 > x1 {
		bend := (x2 - x1) / 2
		return fmt.Sprintf("M%s %sC%s %s %s %s %s %s", num(x1), num(y1), num(x1+bend), num(y1), num(x2-bend), num(y2), num(x2), num(y2))
	}
	x2 := to.X + to.W
	bend := max(x1, x2) + 28
	return fmt.Sprintf("M%s %sC%s %s %s %s %s %s", num(x1), num(y1), num(bend), num(y1), num(bend), num(y2), num(x2), num(y2))
}

// num is a coordinate, with a tenth of a unit.
func num(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }
