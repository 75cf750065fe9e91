// Package fleet knows the processes that evaluate flags: what each has applied,
// and what it has evaluated.
//
// A [Registry] keeps what processes report to this server (process.go), when
// each revision reached it (arrivals.go), and what was evaluated lately
// (usage.go), and what it tells clients that do not report (foreign.go). That is
// this server's share (share.go). A [Service] takes reports
// and answers for the whole fleet: it asks the other servers for their shares
// by [Peers] (peers.go), which sign what they ask (sign.go), and merges them
// (merge.go).
//
// Nothing of it is stored: a server that starts knows nobody, and learns who is
// there within the 18 s that processes take to come back and to report.
package fleet

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

const (
	// liveFor is how long a process counts as live after a report.
	liveFor = 15 * time.Second
	// refusedRetry is after how long a process that was refused may report again:
	// before liveFor is over, so that it is not forgotten meanwhile.
	refusedRetry = 10 * time.Second
	// newFor is how long a server does not know yet who is there: until processes
	// that lost its predecessor have come back (8 s) and reported (10 s).
	newFor = 18 * time.Second
	// rememberFor is how long the number of a process's last report is
	// remembered, so that one that is sent again is not counted again.
	rememberFor = time.Minute
	// maxProcesses bounds the processes of one namespace.
	maxProcesses = 50_000
	// sweepEvery is how often what is over is forgotten.
	sweepEvery = 5 * time.Second
	// maxName bounds the names a process gives itself, in bytes; page tokens
	// contain them.
	maxName = 256
)

// Registry keeps what processes report to this server. It is safe for
// concurrent use. Close ends it.
type Registry struct {
	store   *store.Store
	now     func() time.Time
	metrics Metrics
	started time.Time
	limit   int

	mu   sync.RWMutex
	byNS map[string]*namespace
	// since is when the first report could be taken; zero: none can yet.
	since time.Time

	stop context.CancelFunc
	done sync.WaitGroup
}

// Metrics are told what a registry does; nil functions are not called.
type Metrics struct {
	// Reported is called for every report, with what became of it: counted,
	// repeated (counted before), left or refused.
	Reported func(result string)
	// Applied is called when a process is first known to have applied a
	// revision, with how long after its arrival here it did.
	Applied func(after time.Duration)
}

// NewRegistry makes a registry of the processes that use a store's flags.
func NewRegistry(s *store.Store, m Metrics) *Registry {
	return newRegistry(s, m, time.Now)
}

func newRegistry(s *store.Store, m Metrics, now func() time.Time) *Registry {
	if m.Reported == nil {
		m.Reported = func(string) {}
	}
	if m.Applied == nil {
		m.Applied = func(time.Duration) {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Registry{
		store: s, now: now, metrics: m, started: now(), limit: maxProcesses,
		byNS: make(map[string]*namespace), stop: cancel,
	}
	r.done.Go(func() { r.run(ctx) })
	return r
}

// Close ends the registry's goroutine and waits for it.
func (r *Registry) Close() {
	r.stop()
	r.done.Wait()
}

// run notes when revisions arrive, and forgets what is over.
func (r *Registry) run(ctx context.Context) {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		changed := r.store.Changed()
		r.observe()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-sweep.C:
			r.sweep()
		}
	}
}

// observe notes the newest revision of every namespace.
func (r *Registry) observe() {
	for _, name := range r.store.Namespaces() {
		if n, err := r.namespace(name); err == nil {
			n.mu.Lock()
			r.refresh(n)
			n.mu.Unlock()
		}
	}
}

// sweep forgets processes that are gone, counts that are too old, and
// namespaces that were deleted.
func (r *Registry) sweep() {
	exists := make(map[string]bool)
	for _, name := range r.store.Namespaces() {
		exists[name] = true
	}
	r.mu.Lock()
	all := make([]*namespace, 0, len(r.byNS))
	for name, n := range r.byNS {
		if !exists[name] {
			delete(r.byNS, name)
			continue
		}
		all = append(all, n)
	}
	r.mu.Unlock()
	now := r.now()
	for _, n := range all {
		n.mu.Lock()
		r.refresh(n)
		n.forget(now, rememberFor)
		maps.DeleteFunc(n.refused, func(_ string, at time.Time) bool { return now.Sub(at) > liveFor })
		n.usage.prune(n.snap, r.minute(now), now)
		n.mu.Unlock()
	}
}

// minute counts the minutes since the registry was made.
func (r *Registry) minute(now time.Time) int64 { return int64(now.Sub(r.started) / time.Minute) }

// namespace is what is known of one namespace.
type namespace struct {
	name string

	// mu guards what follows. It is held for microseconds, but by sweeps and by
	// those who ask for everything.
	mu        sync.Mutex
	snap      *store.Snapshot
	arrivals  arrivals
	processes map[string]*process
	// refused are processes that were one too many, with when.
	refused map[string]time.Time
	streams map[string]*openStreams
	// anonymous counts streams of clients that have no instance id.
	anonymous int
	foreign   foreign
	usage     usage
	evictedAt time.Time
}

// openStreams are the watch streams of one instance.
type openStreams struct {
	n     int
	since time.Time
}

// namespace returns what is known of a namespace that exists.
func (r *Registry) namespace(name string) (*namespace, error) {
	r.mu.RLock()
	n := r.byNS[name]
	r.mu.RUnlock()
	if n != nil {
		return n, nil
	}
	snap, err := r.store.Snapshot(name)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n = r.byNS[name]; n == nil {
		n = &namespace{
			name: name, snap: snap, processes: make(map[string]*process), refused: make(map[string]time.Time), streams: make(map[string]*openStreams), foreign: newForeign(), usage: newUsage(),
		}
		n.arrivals.note(positionOf(snap.Position()), r.now())
		r.byNS[name] = n
		if r.since.IsZero() {
			r.since = r.now()
		}
	}
	return n, nil
}

// reportingFor is how long this server has been taking reports; negative: it
// needs no time to learn who is there, as it has created the store.
func (r *Registry) reportingFor(now time.Time) time.Duration {
	r.mu.RLock()
	defer r.mu.RUnlock()
	age := max(0, now.Sub(r.since))
	if age <= newFor && r.store.Created() {
		return -1
	}
	return age
}

// refresh takes note of the namespace's newest snapshot. The caller holds n.mu,
// which keeps snapshots in their order. It reports false if the namespace is
// gone.
func (r *Registry) refresh(n *namespace) bool {
	snap, err := r.store.Snapshot(n.name)
	if err != nil {
		return false
	}
	if snap != n.snap {
		n.snap = snap
		n.arrivals.note(positionOf(snap.Position()), r.now())
	}
	return true
}

// forget drops processes that have not reported for a time; if it is short,
// those that have left as well.
func (n *namespace) forget(now time.Time, after time.Duration) {
	for id, p := range n.processes {
		if silent := now.Sub(p.reportedAt); silent > after || (p.left && after <= liveFor) {
			delete(n.processes, id)
		}
	}
}

// Watching tells that a stream of a client has begun, which has applied since;
// the caller calls left when it has ended. The client counts as live from now
// on, as after a report: one that comes back is known before it reports.
func (r *Registry) Watching(ns string, client *plimsollv1.ClientInfo, since *plimsollv1.Position) (left func()) {
	n, err := r.namespace(ns)
	if err != nil {
		return func() {} // deleted meanwhile
	}
	id := client.GetInstanceId()
	n.mu.Lock()
	defer n.mu.Unlock()
	if id == "" {
		n.anonymous++
		return func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.anonymous--
		}
	}
	s := n.streams[id]
	if s == nil {
		s = &openStreams{since: r.now()}
		n.streams[id] = s
	}
	s.n++
	r.came(n, client, positionOf(since))
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if s.n--; s.n == 0 {
			delete(n.streams, id)
		}
	}
}

// came notes that a process has opened a stream.
func (r *Registry) came(n *namespace, client *plimsollv1.ClientInfo, since position) {
	now := r.now()
	p := n.processes[client.GetInstanceId()]
	if p == nil {
		if r.room(n, now) != nil {
			n.refuse(client.GetInstanceId(), now, r.limit)
			return
		}
		p = &process{client: describe(client), knownSince: now}
		n.processes[client.GetInstanceId()] = p
	}
	if !p.left {
		p.reportedAt, p.since = now, since
	}
}

// Report takes one report of a process, which must have an instance id. An
// error means that it was not counted.
func (r *Registry) Report(ns string, req *plimsollv1.ReportRequest) error {
	n, err := r.namespace(ns)
	if err != nil {
		return api.Error(err)
	}
	a, err := r.admit(n, req)
	r.metrics.Reported(a.result)
	if err != nil {
		return err
	}
	if a.after >= 0 {
		r.metrics.Applied(a.after)
	}
	if a.fresh {
		r.count(n, req)
	}
	return nil
}
