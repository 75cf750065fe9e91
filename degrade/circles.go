package degrade

import (
	"slices"
	"strings"
)

// maxCircles is how many circles are looked for: the work grows with each.
const maxCircles = 20

// circles are the ways in which nodes need themselves over others: for every
// node that is on one, a shortest one, unless one that was found before it leads
// through it. needs are the nodes that each node needs, sorted, itself not among
// them. A circle begins with its lowest node. More tells that there are further
// ones.
func circles(needs [][]int32) (found [][]int32, more bool) {
	group := components(needs)
	size := make([]int, len(needs))
	for _, g := range group {
		size[g]++
	}
	covered := make([]bool, len(needs))
	for n := range int32(len(needs)) {
		if size[group[n]] == 1 || covered[n] {
			continue
		}
		if len(found) == maxCircles {
			return found, true
		}
		loop := circleThrough(n, needs, group)
		for _, member := range loop {
			covered[member] = true
		}
		lowest := slices.Index(loop, slices.Min(loop))
		found = append(found, slices.Concat(loop[lowest:], loop[:lowest]))
	}
	return found, false
}

// circleThrough is a shortest circle through a node that is on one.
func circleThrough(start int32, needs [][]int32, group []int32) []int32 {
	from := make(map[int32]int32)
	queue := []int32{start}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		for _, next := range needs[n] {
			if next == start {
				loop := []int32{n}
				for n != start {
					n = from[n]
					loop = append(loop, n)
				}
				slices.Reverse(loop)
				return loop
			}
			if _, seen := from[next]; !seen && group[next] == group[start] {
				from[next] = n
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// components is, for each node, a number that it shares with the nodes that it
// needs and that need it (its strongly connected component), by Tarjan's
// algorithm. It keeps its own stack, since a chain may be as long as there are
// nodes.
func components(needs [][]int32) []int32 {
	const unseen = -1
	group := make([]int32, len(needs))
	order := make([]int32, len(needs)) // in which nodes were reached
	low := make([]int32, len(needs))   // the first reached that is known to be in the same component
	for n := range needs {
		group[n], order[n] = unseen, unseen
	}
	type step struct{ node, next int32 }
	var walk []step     // from the root to the node at hand
	var pending []int32 // reached, without a component so far
	reached, groups := int32(0), int32(0)
	visit := func(n int32) {
		order[n], low[n] = reached, reached
		reached++
		walk, pending = append(walk, step{node: n}), append(pending, n)
	}
	for root := range int32(len(needs)) {
		if order[root] != unseen {
			continue
		}
		visit(root)
		for len(walk) > 0 {
			at := &walk[len(walk)-1]
			n := at.node
			if int(at.next) < len(needs[n]) {
				next := needs[n][at.next]
				at.next++
				switch {
				case order[next] == unseen:
					visit(next)
				case group[next] == unseen:
					low[n] = min(low[n], order[next])
				}
				continue
			}
			walk = walk[:len(walk)-1]
			if len(walk) > 0 {
				up := walk[len(walk)-1].node
				low[up] = min(low[up], low[n])
			}
			if low[n] != order[n] {
				continue
			}
			for group[n] == unseen {
				last := len(pending) - 1
				group[pending[last]] = groups
				pending = pending[:last]
			}
			groups++
		}
	}
	return group
}

// circle is a circle of nodes as text, its first name at the end again.
func (m *Map) circle(loop []int32) string {
	var path []string
	for _, n := range loop {
		path = extend(path, m.names[n])
	}
	return strings.Join(extend(path, m.names[loop[0]]), " → ")
}
