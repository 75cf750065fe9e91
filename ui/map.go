package ui

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/ui/internal/mapdraw"
)

const (
	// maxListed is how many dependencies, or features that are hit, are told one
	// by one.
	maxListed = 200
	// mapPageSize is how many features a page of their list holds.
	mapPageSize = 100
)

// wiring is what needs what in a namespace. It is made once for each revision
// that somebody looks at, and immutable.
type wiring struct {
	position *plimsollv1.Position
	plan     degrade.Plan
	features []degrade.Feature
	whole    *degrade.Map
	findings []*plimsollv1.Fault
	// deps are the dependencies of the plan and those that features name beyond
	// it, sorted by name; listed are the first of them, with what they hit.
	deps   []dependency
	listed []dependency
	// users are how many features name something.
	users map[string]int
	// names are what can be asked about: dependencies, then features.
	names []string
}

// dependency is one of the plan, or one that the plan lacks.
type dependency struct {
	degrade.Dependency
	planned bool
	hits    int
	worst   string
}

// wiring is that of the newest revision, as the namespace's room knows it.
func (q *request) wiring(ctx context.Context) (*wiring, error) {
	rm := q.room
	rm.wiringMu.Lock()
	defer rm.wiringMu.Unlock()
	want := q.view.Level.GetPosition()
	if w := rm.wired; w != nil && w.position.GetStoreId() == want.GetStoreId() && w.position.GetRevision() >= want.GetRevision() {
		return w, nil
	}
	got, err := call(ctx, q.c, q.c.Degradation.GetFailureMap, &plimsollv1.GetFailureMapRequest{Namespace: q.ns})
	if err != nil {
		return nil, err
	}
	plan, err := call(ctx, q.c, q.c.Degradation.GetPlan, &plimsollv1.GetPlanRequest{Namespace: q.ns})
	if err != nil {
		return nil, err
	}
	w := &wiring{position: got.GetPosition(), plan: planOf(got.GetPlan()), features: featuresOf(got.GetFeatures()), findings: plan.GetFindings()}
	w.whole = degrade.NewMap(w.plan, w.features)
	w.list()
	rm.wired = w
	return w, nil
}

// list finds what can be asked about, and what hangs on each dependency.
func (w *wiring) list() {
	known, isFeature := make(map[string]bool), make(map[string]bool)
	for _, d := range w.plan.Dependencies {
		known[d.Name] = true
		w.deps = append(w.deps, dependency{Dependency: d, planned: true})
	}
	for i := range w.features {
		isFeature[w.features[i].Key] = true
	}
	w.users = make(map[string]int)
	for i := range w.features {
		for _, name := range w.features[i].DependsOn {
			w.users[name]++
			if !known[name] && !isFeature[name] {
				known[name] = true
				w.deps = append(w.deps, dependency{Dependency: degrade.Dependency{Name: name}})
			}
		}
	}
	slices.SortFunc(w.deps, func(a, b dependency) int { return strings.Compare(a.Name, b.Name) })
	w.listed = slices.Clone(w.deps[:min(maxListed, len(w.deps))])
	for i := range w.listed {
		d := &w.listed[i]
		d.hits, d.worst = w.whole.Reach(d.Name)
		w.names = append(w.names, d.Name)
	}
	for i := range w.features[:min(maxListed, len(w.features))] {
		w.names = append(w.names, w.features[i].Key)
	}
}

// failureMap is the failure map with what was asked of it.
type failureMap struct {
	*wiring
	drawing mapdraw.Drawing
	// failing is the name that was asked about; failure what it does.
	failing string
	failure *degrade.Failure
	falls   map[string]bool
	hits    map[string]degrade.Outcome
	// level is the level that was asked about; dims what it does, shed the share
	// of each tier.
	level string
	dims  []degrade.TierDim
	shed  map[string]uint32
	// problem is what was wrong with the question.
	problem string

	// search is what the list of features was searched for; shown are those of
	// its page.
	search      string
	found       int
	page, pages int
	shown       []degrade.Feature
}

func mapPage(ctx context.Context, q *request) {
	q.expect("map")
	w, err := q.wiring(ctx)
	if err != nil {
		q.fail(err)
		return
	}
	query := q.r.URL.Query()
	m := &failureMap{
		wiring: w, failing: clip(strings.TrimSpace(query.Get("dep")), 300), level: clip(strings.TrimSpace(query.Get("level")), 20),
		search: clip(strings.TrimSpace(query.Get("q")), 200),
	}
	m.answer()
	m.drawing = mapdraw.Draw(m.graph())
	m.choose(query.Get("page"))
	q.render(ctx, http.StatusOK, frame{Title: "Failure map", Nav: "map", Topic: "map"}, mapContent(q.view, m))
}

// answer answers what was asked.
func (m *failureMap) answer() {
	switch {
	case m.failing != "":
		f, err := m.whole.IfFails(m.failing)
		if err != nil {
			m.problem = sentence(err.Error()) + "."
			return
		}
		m.failure, m.falls, m.hits = &f, make(map[string]bool), make(map[string]degrade.Outcome)
		for _, name := range f.Falls {
			m.falls[name] = true
		}
		for i := range f.Hits {
			m.hits[f.Hits[i].Feature.Key] = f.Hits[i].Outcome
		}
	case m.level != "":
		l, err := degrade.ParseLevel(m.level)
		if err != nil {
			m.problem = sentence(err.Error()) + "."
			return
		}
		m.dims, m.shed = m.whole.AtLevel(l), make(map[string]uint32)
		for _, d := range m.dims {
			m.shed[d.Tier] = d.Shed
		}
	}
}

// graph is what is drawn; what the answer is about comes first.
func (m *failureMap) graph() mapdraw.Graph {
	g := mapdraw.Graph{Groups: m.plan.Tiers}
	for i := range m.deps {
		d := &m.deps[i]
		g.Dependencies = append(g.Dependencies, mapdraw.Thing{Name: d.Name, Needs: d.DependsOn, Prefer: m.fate(d.Name, nil) != fateNone})
	}
	for i := range m.features {
		f := &m.features[i]
		g.Features = append(g.Features, mapdraw.Thing{
			Name: f.Key, Group: slices.Index(m.plan.Tiers, f.Tier), Needs: f.DependsOn, Prefer: m.fate(f.Key, f) != fateNone,
		})
	}
	return g
}

// fate is what becomes of something by the answer.
type fate uint8

const (
	fateNone fate = iota
	fateFails
	fateBreaks
	fateDims
	fateOff
)

// fates are how each is marked, by class, by sign and in words.
var fates = [...]struct{ class, sign, words string }{
	fateNone:   {"", "", ""},
	fateFails:  {"node-dead", "✕ ", ": fails"},
	fateBreaks: {"node-breaks", "! ", ": breaks"},
	fateDims:   {"node-dim", "↓ ", ": is degraded"},
	fateOff:    {"node-calm", "○ ", ": is off already"},
}

// fate is that of a feature, or, without one, of a dependency.
func (m *failureMap) fate(name string, f *degrade.Feature) fate {
	switch {
	case m.failure != nil && name == m.failure.Name && (f != nil) == m.failure.IsFeature, m.failure != nil && f == nil && m.falls[name]:
		return fateFails
	case m.failure != nil && f != nil:
		outcome, hit := m.hits[name]
		switch {
		case !hit:
			return fateNone
		case outcome == degrade.Breaks:
			return fateBreaks
		case outcome == degrade.AlreadyOff:
			return fateOff
		}
		return fateDims
	case f != nil && m.shed[f.Tier] > 0 && f.Enabled:
		return fateDims
	}
	return fateNone
}

// carries tells whether a line carries the failure from one node to another.
func (m *failureMap) carries(e mapdraw.Edge) bool {
	from, to := m.node(&m.drawing.Nodes[e.From]), m.node(&m.drawing.Nodes[e.To])
	return m.failure != nil && from.fate != fateNone && from.fate != fateOff && to.fate != fateNone
}

// node is a box of the drawing as it is marked.
type node struct {
	box     *mapdraw.Node
	feature *degrade.Feature
	fate    fate
	// marked is how many of the folded have a fate.
	marked  int
	unknown bool
}

func (m *failureMap) node(box *mapdraw.Node) node {
	n := node{box: box}
	if box.Name == "" {
		for _, name := range box.Folded {
			f, _ := m.find(name, box.Feature)
			if fate := m.fate(name, f); fate != fateNone {
				n.marked++
				n.fate = fate
			}
		}
		return n
	}
	n.feature, n.unknown = m.find(box.Name, box.Feature)
	n.fate = m.fate(box.Name, n.feature)
	return n
}

// find is the feature of a name, or whether the plan lacks the dependency.
func (m *failureMap) find(name string, feature bool) (f *degrade.Feature, unknown bool) {
	if !feature {
		i, ok := slices.BinarySearchFunc(m.deps, name, func(d dependency, name string) int { return strings.Compare(d.Name, name) })
		return nil, ok && !m.deps[i].planned
	}
	i, ok := slices.BinarySearchFunc(m.features, name, func(f degrade.Feature, name string) int { return strings.Compare(f.Key, name) })
	if !ok {
		return nil, false
	}
	return &m.features[i], false
}

// choose searches the features, and takes those of a page.
func (m *failureMap) choose(page string) {
	words := strings.Fields(strings.ToLower(m.search))
	var found []degrade.Feature
	for i := range m.features {
		f := &m.features[i]
		text := strings.ToLower(f.Key + " " + f.Tier + " " + f.Owner + " " + f.Guard + " " + strings.Join(f.DependsOn, " "))
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			found = append(found, *f)
		}
	}
	m.found = len(found)
	m.pages = max(1, (m.found+mapPageSize-1)/mapPageSize)
	n, err := strconv.Atoi(page)
	if err != nil {
		n = 1
	}
	m.page = max(1, min(n, m.pages))
	from := (m.page - 1) * mapPageSize
	m.shown = found[from:min(from+mapPageSize, m.found)]
}

// url is the address of another page of the list of features.
func (m *failureMap) url(ns string, page int) string {
	return nsURL(ns, "map", "dep", m.failing, "level", m.level, "q", m.search, "page", strconv.Itoa(page))
}

// renderMap has the page loaded anew, in place, when the plan, or a flag that is
// in the map, has changed.
func renderMap(_ *Console, prev, next *View, _ string, emit emit) {
	if prev == nil {
		return
	}
	if prev.Level.GetPosition().GetStoreId() != next.Level.GetPosition().GetStoreId() || planChanged(prev, next) || mapRowsChanged(prev.Rows, next.Rows) {
		emit("*", nil)
	}
}

// planChanged tells whether a record that is new since prev is about the plan.
func planChanged(prev, next *View) bool {
	for _, rec := range next.Records {
		if rec.GetSeq() <= prev.lastSeq {
			return false
		}
		if slices.ContainsFunc(rec.GetObjects(), func(o *plimsollv1.AuditObject) bool { return o.GetObject() == "plan" }) {
			return true
		}
	}
	return false
}

// mapRowsChanged tells whether a flag that is in the map, or comes into it, has
// changed.
func mapRowsChanged(old, now []*Row) bool {
	for len(old) > 0 || len(now) > 0 {
		switch {
		case len(old) == 0 || (len(now) > 0 && now[0].Key < old[0].Key):
			if now[0].Degradable {
				return true
			}
			now = now[1:]
		case len(now) == 0 || old[0].Key < now[0].Key:
			if old[0].Degradable {
				return true
			}
			old = old[1:]
		default:
			if old[0] != now[0] && (old[0].Degradable || now[0].Degradable) {
				return true
			}
			old, now = old[1:], now[1:]
		}
	}
	return false
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
