package degrade

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Feature is a flag with a degradation block, as far as failures and levels
// matter.
type Feature struct {
	// Key is the flag's key.
	Key string
	// Tier is its priority.
	Tier string
	// Degraded is the variant that is served when it is degraded.
	Degraded string
	// Default is the variant it serves by default; empty: the caller's default.
	Default string
	// Targeted tells whether it has targeting, so that it may serve others too.
	Targeted bool
	// Enabled tells whether it is on at all.
	Enabled bool
	// DependsOn names what it needs: each name is a dependency of the plan, else
	// another feature, else unknown.
	DependsOn []string
	// Guard is the guard that degrades it by itself; may be empty.
	Guard string
	// Owner is who to call; may be empty.
	Owner string
}

// sheddingChangesNothing tells whether the feature serves its degraded variant
// to everybody anyway.
func (f *Feature) sheddingChangesNothing() bool { return !f.Targeted && f.Default == f.Degraded }

// Outcome is what becomes of a feature when something that it needs fails.
type Outcome uint8

// The outcomes.
const (
	// DegradesByItself: its guard turns it over to the degraded variant.
	DegradesByItself Outcome = iota
	// DegradesByHand: it has a degraded variant to turn to, and somebody has to
	// kill or shed it.
	DegradesByHand
	// Breaks: it has nothing to turn to, since its degraded variant is what it
	// serves anyway.
	Breaks
	// AlreadyOff: it is disabled, and serves the caller's default.
	AlreadyOff
)

// String is the outcome in words.
func (o Outcome) String() string {
	switch o {
	case DegradesByItself:
		return "degrades by itself"
	case DegradesByHand:
		return "degrades by hand"
	case Breaks:
		return "breaks"
	case AlreadyOff:
		return "already off"
	default:
		return fmt.Sprintf("Outcome(%d)", uint8(o))
	}
}

// outcome is what becomes of the feature when something that it needs fails.
func (f *Feature) outcome() Outcome {
	switch {
	case !f.Enabled:
		return AlreadyOff
	case f.sheddingChangesNothing():
		return Breaks
	case f.Guard != "":
		return DegradesByItself
	default:
		return DegradesByHand
	}
}

// Failure is what a failure does.
type Failure struct {
	// Name is what fails.
	Name string
	// IsFeature tells whether that is a feature, and not a dependency.
	IsFeature bool
	// Falls are the other dependencies that fall with it, sorted.
	Falls []string
	// Hits are the features that need it, directly or over others, the most
	// important tier first, then by key. A feature that fails is none of its own
	// hits.
	Hits []Hit
	// WorstTier is the most important tier of which a feature degrades or breaks;
	// empty when none does.
	WorstTier string
	// WorstRank is the rank of that tier; -1 when nothing is hit, or the tier is
	// not one of the plan.
	WorstRank int
}

// Hit is what a failure does to one feature.
type Hit struct {
	// Feature is the one that is hit.
	Feature Feature
	// Rank is that of its tier; -1 when the plan has no such tier.
	Rank int
	// Outcome is what becomes of it.
	Outcome Outcome
	// Serves is the variant that it serves once it is degraded; empty when it
	// breaks or is off.
	Serves string
	// Via is how the failure gets there: a shortest way from what fails to the
	// feature, both included. Of a very long way the middle is left out, with
	// "…" in its place.
	Via []string
}

// Map tells what a failure or a level does to the features of a namespace. It is
// immutable and safe for concurrent use; what its methods return shares memory
// with it and must not be changed.
type Map struct {
	tiers Tiers
	// Nodes are the dependencies of the plan, then the unknown names that
	// features depend on, then the features; each part is sorted by name.
	names                 []string
	planned, dependencies int // how many of the nodes are in the plan; how many are no features
	node                  map[string]int32
	needs, users          [][]int32 // by node: what it needs and what needs it, sorted, itself not among them
	features              []Feature
	ranks                 []int // by feature; -1: the plan has no such tier
	byRank                [][]Feature
}

// NewMap makes the map of a plan and the features. It takes a plan with faults as
// well, and the first of features with one key. It keeps the DependsOn of the
// features, which must not be changed any more.
func NewMap(p Plan, features []Feature) *Map {
	m := &Map{tiers: slices.Clone(p.Tiers), names: p.names(), features: slices.Clone(features)}
	slices.SortStableFunc(m.features, func(a, b Feature) int { return cmp.Compare(a.Key, b.Key) })
	m.features = slices.CompactFunc(m.features, func(a, b Feature) bool { return a.Key == b.Key })
	m.nameNodes()
	m.connect(p)
	m.rankFeatures()
	return m
}

// nameNodes numbers the nodes. Where a feature is called as a dependency is, the
// name is the dependency's.
func (m *Map) nameNodes() {
	m.planned = len(m.names)
	m.node = make(map[string]int32, len(m.names)+len(m.features))
	for i, name := range m.names {
		m.node[name] = int32(i)
	}
	isFeature := make(map[string]bool, len(m.features))
	for i := range m.features {
		isFeature[m.features[i].Key] = true
	}
	unknown := make(map[string]bool)
	for i := range m.features {
		for _, name := range m.features[i].DependsOn {
			if _, planned := m.node[name]; !planned && !isFeature[name] {
				unknown[name] = true
			}
		}
	}
	m.names = slices.AppendSeq(m.names, maps.Keys(unknown))
	slices.Sort(m.names[m.planned:])
	m.dependencies = len(m.names)
	for i := range m.features {
		m.names = append(m.names, m.features[i].Key)
	}
	for i := m.planned; i < len(m.names); i++ {
		if _, taken := m.node[m.names[i]]; !taken {
			m.node[m.names[i]] = int32(i)
		}
	}
}

// connect fills in who needs whom.
func (m *Map) connect(p Plan) {
	m.needs, m.users = make([][]int32, len(m.names)), make([][]int32, len(m.names))
	for _, d := range p.Dependencies {
		n := m.node[d.Name]
		for _, name := range d.DependsOn {
			// Dependencies need nothing but dependencies.
			if other, ok := m.node[name]; ok && int(other) < m.planned {
				m.needs[n] = append(m.needs[n], other)
			}
		}
	}
	for i := range m.features {
		n := m.dependencies + i
		for _, name := range m.features[i].DependsOn {
			m.needs[n] = append(m.needs[n], m.node[name])
		}
	}
	for n, needs := range m.needs {
		slices.Sort(needs)
		needs = slices.DeleteFunc(slices.Compact(needs), func(other int32) bool { return int(other) == n })
		m.needs[n] = needs
		for _, other := range needs {
			m.users[other] = append(m.users[other], int32(n))
		}
	}
}

func (m *Map) rankFeatures() {
	m.ranks, m.byRank = make([]int, len(m.features)), make([][]Feature, len(m.tiers))
	for i, f := range m.features {
		rank, ok := m.tiers.Rank(f.Tier)
		if !ok {
			m.ranks[i] = -1
			continue
		}
		m.ranks[i] = rank
		if f.Enabled {
			m.byRank[rank] = append(m.byRank[rank], f)
		}
	}
}

// IfFails tells what the failure of a dependency does, of a name that only
// features depend on, or of a feature. A name that is none of these is an error
// that names the nearest.
//
// What needs something that fails, fails too: dependencies, and features that
// degrade or break, by themselves or by hand. A feature that is off was off
// before, so that nothing more fails for it.
func (m *Map) IfFails(name string) (Failure, error) {
	start, ok := m.node[name]
	if !ok {
		return Failure{}, fmt.Errorf("%s is no dependency and no feature%s", quote(name), aside(suggest(name, m.names)))
	}
	out := Failure{Name: name, IsFeature: int(start) >= m.dependencies, WorstRank: -1}
	via := m.spread(start)
	for n, way := range via {
		switch i := n - m.dependencies; {
		case way == nil || n == int(start):
		case i < 0:
			out.Falls = append(out.Falls, m.names[n])
		default:
			f := m.features[i]
			hit := Hit{Feature: f, Rank: m.ranks[i], Outcome: f.outcome(), Via: way}
			if hit.Outcome == DegradesByItself || hit.Outcome == DegradesByHand {
				hit.Serves = f.Degraded
			}
			out.Hits = append(out.Hits, hit)
		}
	}
	slices.SortStableFunc(out.Hits, func(a, b Hit) int { return cmp.Compare(uint(a.Rank), uint(b.Rank)) }) // -1 is last
	if i := slices.IndexFunc(out.Hits, func(h Hit) bool { return h.Outcome != AlreadyOff }); i >= 0 {
		out.WorstTier, out.WorstRank = out.Hits[i].Feature.Tier, out.Hits[i].Rank
	}
	return out, nil
}

// Reach tells how many features a failure hits, and the most important tier of
// which one degrades or breaks, "" when none does: what IfFails tells of Hits and
// WorstTier, at a fraction of the cost. A name that IfFails refuses hits none.
func (m *Map) Reach(name string) (hits int, worstTier string) {
	start, ok := m.node[name]
	if !ok {
		return 0, ""
	}
	worst, worstRank := -1, len(m.tiers)+1 // the feature, and one more than the rank of any
	seen := make([]bool, len(m.names))
	seen[start] = true
	for queue := []int32{start}; len(queue) > 0; queue = queue[1:] {
		n := queue[0]
		if i := int(n) - m.dependencies; i >= 0 && n != start {
			hits++
			if !m.features[i].Enabled {
				continue
			}
			rank := m.ranks[i]
			if rank < 0 {
				rank = len(m.tiers) // a tier that the plan does not have is the least important
			}
			if rank < worstRank || (rank == worstRank && i < worst) {
				worst, worstRank, worstTier = i, rank, m.features[i].Tier
			}
		}
		for _, user := range m.users[n] {
			if !seen[user] {
				seen[user] = true
				queue = append(queue, user)
			}
		}
	}
	return hits, worstTier
}

// spread is, for each node that the failure of start reaches, a shortest way to
// it, of equally short ones the first by node; nil for the others.
func (m *Map) spread(start int32) [][]string {
	via := make([][]string, len(m.names))
	via[start] = []string{m.names[start]}
	queue := []int32{start}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		if i := int(n) - m.dependencies; i >= 0 && n != start && !m.features[i].Enabled {
			continue
		}
		for _, user := range m.users[n] {
			if via[user] == nil {
				way := append(make([]string, 0, len(via[n])+1), via[n]...)
				via[user] = extend(way, m.names[user])
				queue = append(queue, user)
			}
		}
	}
	return via
}

// maxWay is how many names a way or a circle has at most; of a longer one the
// middle is left out, or the ways of a long chain would grow with its square.
const maxWay = 64

// extend is a way with one more name at its end. It may change the way.
func extend(way []string, name string) []string {
	if len(way) < maxWay {
		return append(way, name)
	}
	const middle = maxWay/2 - 1
	way[middle] = "…"
	copy(way[middle+1:], way[middle+2:])
	way[maxWay-1] = name
	return way
}

// TierDim is what a level does to one tier.
type TierDim struct {
	// Tier is its name.
	Tier string
	// Rank is its rank; 0 is never shed.
	Rank int
	// Shed is the share of its traffic that is shed, in millionths.
	Shed uint32
	// Features are those of the tier that are enabled, sorted by key.
	Features []Feature
}

// AtLevel tells what a level does to each tier, the least important one first.
func (m *Map) AtLevel(l Level) []TierDim {
	var out []TierDim
	for rank := len(m.tiers) - 1; rank >= 0; rank-- {
		out = append(out, TierDim{
			Tier: m.tiers[rank], Rank: rank, Shed: ShedFraction(l, rank, m.tiers.Sheddable()), Features: m.byRank[rank],
		})
	}
	return out
}
