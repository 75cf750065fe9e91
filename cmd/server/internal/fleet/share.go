package fleet

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// share is what one server knows of a namespace's fleet.
type share struct {
	server string
	// position is the namespace's on the server; none: it has no such namespace.
	position position
	members  []member
	// silent counts the watch streams of those who do not report.
	silent  int
	foreign []*plimsollv1.ForeignClients
	window  time.Duration
	usage   []*plimsollv1.FlagUsage
	unknown uint64
	tracked []*plimsollv1.TrackedEvent
	// reportingFor is how long the server has been taking reports; negative: that
	// does not matter.
	reportingFor time.Duration
	// refused counts processes that it had no room for.
	refused int
}

// member is a live process as one server knows it. Times are negative where
// they are not known.
type member struct {
	client       *plimsollv1.ClientInfo
	server       string
	applied      position
	appliedAge   time.Duration
	reportedAge  time.Duration
	knownFor     time.Duration
	laggingFor   time.Duration
	appliedAfter time.Duration
	connected    bool
	lagging      bool
	source       plimsollv1.FlagSource
	overrides    uint32
}

// share is what this server knows. Revision 0 is the newest one.
func (r *Registry) share(ns string, revision int64, usage bool, keys []string) (*share, error) {
	n, err := r.namespace(ns)
	if err != nil {
		return nil, err
	}
	now := r.now()
	s := &share{window: covered(now.Sub(r.started)), reportingFor: r.reportingFor(now)}
	r.fillMembers(n, s, revision, now)
	if usage {
		r.fillUsage(n, s, keys, now)
	}
	return s, nil
}

func (r *Registry) fillMembers(n *namespace, s *share, revision int64, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r.refresh(n)
	s.position = positionOf(n.snap.Position())
	target := s.position
	if revision != 0 {
		target = target.at(revision)
	}
	s.members = make([]member, 0, len(n.processes))
	for _, p := range n.processes {
		if p.live(now) {
			s.members = append(s.members, n.member(p, target, s.position, now))
		}
	}
	s.silent = n.silent(now)
	s.foreign = n.foreign.clients(target, now)
	for _, at := range n.refused {
		if now.Sub(at) <= liveFor {
			s.refused++
		}
	}
}

// fillUsage adds the usage of the flags that are asked for, or of all. Reports
// get their turn meanwhile.
func (r *Registry) fillUsage(n *namespace, s *share, keys []string, now time.Time) {
	minute := r.minute(now)
	batch := batch{n: n}
	defer batch.end()
	batch.next()
	u := &n.usage
	if len(keys) == 0 {
		keys = slices.Collect(maps.Keys(u.flags))
	} else {
		keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	}
	s.unknown = u.unknown.sum(minute)
	for name, e := range u.events {
		if count := e.count.sum(minute); count > 0 {
			s.tracked = append(s.tracked, &plimsollv1.TrackedEvent{Name: name, Count: count, Sum: e.sum.sum(minute)})
		}
	}
	for _, key := range keys {
		batch.next()
		if f := u.flags[key]; f != nil && !f.lastAt.IsZero() {
			s.usage = append(s.usage, f.message(key, minute, now))
		}
	}
}

func (f *flagUsage) message(key string, minute int64, now time.Time) *plimsollv1.FlagUsage {
	out := &plimsollv1.FlagUsage{FlagKey: key, LastEvaluatedAge: durationpb.New(max(0, now.Sub(f.lastAt)))}
	for o, w := range f.outcomes {
		if count := w.sum(minute); count > 0 {
			out.Outcomes = append(out.Outcomes, &plimsollv1.OutcomeCount{Variant: o.variant, Reason: o.reason, Count: count})
		}
	}
	return out
}

// member describes a process at a time, with regard to a target and the
// namespace's head.
func (n *namespace) member(p *process, target, head position, now time.Time) member {
	last := p.last()
	m := member{
		client: p.client, applied: last.position, source: p.source, overrides: p.overrides,
		connected:  n.streams[p.client.GetInstanceId()] != nil,
		appliedAge: -1, reportedAge: now.Sub(p.reportedAt), knownFor: now.Sub(p.knownSince),
		lagging: last.position.lags(target, head), laggingFor: -1, appliedAfter: -1,
	}
	if !last.at.IsZero() {
		m.appliedAge = now.Sub(last.at)
	}
	if !m.lagging {
		m.appliedAfter = n.appliedAfter(p, target)
	} else if since, ok := n.arrivals.after(last.position); ok {
		m.laggingFor = now.Sub(since)
	}
	return m
}

// silent counts the open watch streams that belong to nobody who reports.
func (n *namespace) silent(now time.Time) int {
	silent := n.anonymous
	for id, s := range n.streams {
		if p := n.processes[id]; p == nil || !p.live(now) {
			silent += s.n
		}
	}
	return silent
}

// message is the process as the API tells it.
func (m *member) message() *plimsollv1.FleetClient {
	return &plimsollv1.FleetClient{
		Client: m.client, ServerId: m.server,
		Applied: m.applied.message(), AppliedAge: known(m.appliedAge),
		ReportedAge: known(m.reportedAge), KnownFor: known(m.knownFor),
		Connected: m.connected, Source: m.source, LocalOverrides: m.overrides,
		Lagging: m.lagging, LaggingFor: known(m.laggingFor), AppliedAfter: known(m.appliedAfter),
	}
}

// memberOf reads a process that another server tells of.
func memberOf(c *plimsollv1.FleetClient, server string) member {
	return member{
		client: describe(c.GetClient()), server: server,
		applied: positionOf(c.GetApplied()), appliedAge: age(c.GetAppliedAge()),
		reportedAge: max(0, age(c.GetReportedAge())), knownFor: max(0, age(c.GetKnownFor())),
		connected: c.GetConnected(), source: c.GetSource(), overrides: c.GetLocalOverrides(),
		lagging: c.GetLagging(), laggingFor: age(c.GetLaggingFor()), appliedAfter: age(c.GetAppliedAfter()),
	}
}

// known is a duration that may be unknown.
func known(d time.Duration) *durationpb.Duration {
	if d < 0 {
		return nil
	}
	return durationpb.New(d)
}

func age(d *durationpb.Duration) time.Duration {
	if d == nil {
		return -1
	}
	return max(0, d.AsDuration())
}

// byName is the order in which processes are listed.
func byName(a, b member) int {
	return cmp.Or(cmp.Compare(a.client.GetService(), b.client.GetService()), cmp.Compare(a.client.GetInstanceId(), b.client.GetInstanceId()))
}

// byLag puts the longest lag first; one that is not known began before those
// that are.
func byLag(a, b member) int {
	if (a.laggingFor < 0) != (b.laggingFor < 0) {
		if a.laggingFor < 0 {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(b.laggingFor, a.laggingFor), cmp.Compare(a.client.GetInstanceId(), b.client.GetInstanceId()))
}

// Stats are the figures of one namespace for a monitoring system.
type Stats struct {
	Namespace string
	// Live processes, and how many of them have not applied the newest revision.
	Live, Lagging int
	// Evaluations and Events count since this server was started.
	Evaluations []EvaluationStats
	Events      []EventStats
}

// EvaluationStats count evaluations of flags of one tier with one reason.
type EvaluationStats struct {
	Tier, Reason string
	Count        uint64
}

// EventStats sum up one tracked event.
type EventStats struct {
	Name  string
	Count uint64
	Sum   float64
}

// Stats are the figures of all namespaces, in no order.
func (r *Registry) Stats() []Stats {
	r.mu.RLock()
	all := make([]*namespace, 0, len(r.byNS))
	for _, n := range r.byNS {
		all = append(all, n)
	}
	r.mu.RUnlock()
	now := r.now()
	out := make([]Stats, 0, len(all))
	for _, n := range all {
		if s, ok := r.stats(n, now); ok {
			out = append(out, s)
		}
	}
	return out
}

func (r *Registry) stats(n *namespace, now time.Time) (Stats, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !r.refresh(n) {
		return Stats{}, false // deleted
	}
	s := Stats{Namespace: n.name}
	newest := positionOf(n.snap.Position())
	for _, p := range n.processes {
		if !p.live(now) {
			continue
		}
		s.Live++
		if p.last().position.lags(newest, newest) {
			s.Lagging++
		}
	}
	for c, count := range n.usage.totals {
		s.Evaluations = append(s.Evaluations, EvaluationStats{c.tier, c.reason, count})
	}
	for name, e := range n.usage.events {
		s.Events = append(s.Events, EventStats{name, e.total, e.value})
	}
	return s, true
}
