package ui

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/ui/internal/mapdraw"
)

// maxListed is how many features or dependencies a list of the failure map
// tells one by one.
const maxListed = 200

// failureMap is the failure map with what was asked of it.
type failureMap struct {
	drawing  mapdraw.Drawing
	plan     degrade.Plan
	features []degrade.Feature
	findings []*plimsollv1.Fault
	// names are what can be asked about: dependencies, then features.
	names []string
	// needed are the dependencies with what hangs on each.
	needed []neededBy

	// failing is the name that was asked about; failure what it does.
	failing string
	failure *degrade.Failure
	// level is the level that was asked about; dims what it does.
	level string
	dims  []degrade.TierDim
	// problem is what was wrong with the question.
	problem string
}

// neededBy is a dependency with what hangs on it.
type neededBy struct {
	name, description string
	needs             []string
	hits              int
	worst             string
	planned           bool
}

func mapPage(ctx context.Context, q *request) {
	q.expect("map")
	m, err := readMap(ctx, q)
	if err != nil {
		q.fail(err)
		return
	}
	q.render(ctx, http.StatusOK, frame{Title: "Failure map", Nav: "map", Topic: "map"}, mapContent(q.view, m))
}

func readMap(ctx context.Context, q *request) (*failureMap, error) {
	got, err := call(ctx, q.c, q.c.Degradation.GetFailureMap, &plimsollv1.GetFailureMapRequest{Namespace: q.ns})
	if err != nil {
		return nil, err
	}
	plan, err := call(ctx, q.c, q.c.Degradation.GetPlan, &plimsollv1.GetPlanRequest{Namespace: q.ns})
	if err != nil {
		return nil, err
	}
	m := &failureMap{
		plan: planOf(got.GetPlan()), features: featuresOf(got.GetFeatures()), findings: plan.GetFindings(),
		failing: clip(strings.TrimSpace(q.r.URL.Query().Get("dep")), 300), level: clip(strings.TrimSpace(q.r.URL.Query().Get("level")), 20),
	}
	whole := degrade.NewMap(m.plan, m.features)
	m.list(whole)
	m.answer(whole)
	m.drawing = mapdraw.Draw(m.plan, m.features, m.named())
	return m, nil
}

// list finds what can be asked about, and what hangs on each dependency.
func (m *failureMap) list(whole *degrade.Map) {
	seen := make(map[string]bool)
	add := func(n neededBy) {
		if seen[n.name] {
			return
		}
		seen[n.name] = true
		if f, err := whole.IfFails(n.name); err == nil {
			n.hits, n.worst = len(f.Hits), f.WorstTier
		}
		m.needed = append(m.needed, n)
		m.names = append(m.names, n.name)
	}
	for _, d := range m.plan.Dependencies {
		add(neededBy{name: d.Name, description: d.Description, needs: d.DependsOn, planned: true})
	}
	isFeature := make(map[string]bool, len(m.features))
	for _, f := range m.features {
		isFeature[f.Key] = true
	}
	for _, f := range m.features {
		for _, name := range f.DependsOn {
			if !isFeature[name] {
				add(neededBy{name: name})
			}
		}
	}
	slices.SortFunc(m.needed, func(a, b neededBy) int { return strings.Compare(a.name, b.name) })
	slices.Sort(m.names)
	for _, f := range m.features[:min(maxListed, len(m.features))] {
		m.names = append(m.names, f.Key)
	}
}

// answer answers what was asked.
func (m *failureMap) answer(whole *degrade.Map) {
	switch {
	case m.failing != "":
		f, err := whole.IfFails(m.failing)
		if err != nil {
			m.problem = sentence(err.Error()) + "."
			return
		}
		m.failure = &f
	case m.level != "":
		l, err := degrade.ParseLevel(m.level)
		if err != nil {
			m.problem = sentence(err.Error()) + "."
			return
		}
		m.dims = whole.AtLevel(l)
	}
}

// named are what the answer is about: it is drawn before others.
func (m *failureMap) named() map[string]bool {
	out := make(map[string]bool)
	if m.failure != nil {
		out[m.failure.Name] = true
		for _, name := range m.failure.Falls {
			out[name] = true
		}
		for _, h := range m.failure.Hits {
			out[h.Feature.Key] = true
		}
	}
	for _, d := range m.dims {
		if d.Shed > 0 {
			for _, f := range d.Features {
				out[f.Key] = true
			}
		}
	}
	return out
}

// nodeClass is what becomes of a node by the answer.
func (m *failureMap) nodeClass(n mapdraw.Node) string {
	switch {
	case m.failure != nil && n.Name == m.failure.Name && (n.Feature != nil) == m.failure.IsFeature:
		return "node-dead"
	case m.failure != nil && n.Feature == nil && slices.Contains(m.failure.Falls, n.Name):
		return "node-dead"
	case m.failure != nil && n.Feature != nil:
		for _, h := range m.failure.Hits {
			if h.Feature.Key == n.Name {
				return outcomeClass(h.Outcome)
			}
		}
		return "node-calm"
	case m.failure != nil:
		return "node-calm"
	case len(m.dims) > 0 && n.Feature != nil:
		for _, d := range m.dims {
			if d.Tier == n.Feature.Tier && d.Shed > 0 {
				return "node-dim"
			}
		}
		return "node-calm"
	}
	return ""
}

func outcomeClass(o degrade.Outcome) string {
	switch o {
	case degrade.Breaks:
		return "node-breaks"
	case degrade.AlreadyOff:
		return "node-calm"
	}
	return "node-dim"
}

// edgeClass tells whether a line carries the failure.
func (m *failureMap) edgeClass(e mapdraw.Edge) string {
	if m.failure == nil {
		return ""
	}
	if e.From != m.failure.Name && !slices.Contains(m.failure.Falls, e.From) && !m.hits(e.From) {
		return "edge-calm"
	}
	return "edge-hit"
}

func (m *failureMap) hits(key string) bool {
	return slices.ContainsFunc(m.failure.Hits, func(h degrade.Hit) bool { return h.Feature.Key == key })
}

// renderMap has the page loaded anew, in place, when a flag or the plan has
// changed.
func renderMap(_ *Console, prev, next *View, _ string, emit emit) {
	if prev != nil && !slices.Equal(prev.Rows, next.Rows) {
		emit("*", nil)
	}
}

// planOf is a plan of the API as package degrade takes it.
func planOf(plan *plimsollv1.Plan) degrade.Plan {
	var out degrade.Plan
	for _, t := range plan.GetTiers() {
		out.Tiers = append(out.Tiers, t.GetName())
	}
	for _, d := range plan.GetDependencies() {
		out.Dependencies = append(out.Dependencies, degrade.Dependency{Name: d.GetName(), Description: d.GetDescription(), DependsOn: d.GetDependsOn()})
	}
	return out
}

func featuresOf(features []*plimsollv1.Feature) []degrade.Feature {
	out := make([]degrade.Feature, 0, len(features))
	for _, f := range features {
		out = append(out, degrade.Feature{
			Key: f.GetFlagKey(), Tier: f.GetTier(), Degraded: f.GetDegradedVariant(), Default: f.GetDefaultVariant(), Targeted: f.GetTargeted(),
			Enabled: f.GetEnabled(), DependsOn: f.GetDependsOn(), Guard: f.GetGuard(), Owner: f.GetOwner(),
		})
	}
	return out
}
