// Package effective answers what a namespace serves now, for the faces of other
// protocols: the one place where definition, override and level are put
// together for clients that are not Plimsoll's own.
//
// [Sets] keeps, of each namespace that was asked for, the newest [State] and the
// paced one, which follows automatic level moves at most every few seconds: the
// level of a system in trouble must not become a load of its own. Both follow
// the store, and the ends of overrides and holds, which come without a writer.
// A state is immutable; its document is composed once, however many ask for it.
package effective

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

const (
	// defaultPace is how often automatic level moves reach paced clients at most.
	defaultPace = 5 * time.Second
	// defaultStreams bounds the streams of all faces together.
	defaultStreams = 20_000
	// countsEvery is how often evaluations are told.
	countsEvery = 10 * time.Second
	// fullRetry is when a client that found no room for a stream comes back.
	fullRetry = 5 * time.Second
)

// Options are how sets are served. The zero value works.
type Options struct {
	// Context is added to what clients send.
	Context Context
	// MaxStreams bounds the streams that are admitted at once; default 20 000.
	MaxStreams int
	// Pace is how often automatic level moves reach paced clients at most;
	// default 5 s.
	Pace time.Duration
	// Evaluated, if set, is told every few seconds, and at the end, what was
	// evaluated of a namespace by its states.
	Evaluated func(namespace string, counts []flag.Count)
	// Following, if set, is told of each stream that begins. What it returns is
	// called with each position that the stream's client has been told of, and at
	// the stream's end.
	Following func(namespace string, protocol Protocol) (sent func(*plimsollv1.Position), left func())
	// Asked, if set, is told that somebody has asked without a stream, at most once
	// a second of each namespace and protocol.
	Asked func(namespace string, protocol Protocol)
	// Turns is how many requests evaluate at once that take long; default two for
	// each core.
	Turns int
	// Now is the clock, of rules as well; default time.Now.
	Now func() time.Time
}

// Sets are the effective sets of all namespaces. They are safe for concurrent
// use.
type Sets struct {
	store   *store.Store
	context Context
	pace    time.Duration
	now     func() time.Time
	clocked bool
	counted func(string, []flag.Count)
	asked   func(string, Protocol)
	// following is never nil.
	following func(string, Protocol) (func(*plimsollv1.Position), func())
	// automatic tells whether all that happened between two states is that a
	// policy moved the level.
	automatic func(from, to *State) bool

	mu      sync.RWMutex
	entries map[string]*entry

	turns    chan struct{} // holds one token for each that is taken
	streams  atomic.Int64
	max      int64
	draining chan struct{}
	drained  sync.Once

	nudge chan struct{} // holds one token: something may be due earlier
	stop  context.CancelFunc
	done  chan struct{}
}

// New follows a store until Close is called.
func New(s *store.Store, opts Options) *Sets {
	sets := &Sets{
		counted: opts.Evaluated, asked: opts.Asked, following: opts.Following, store: s, context: opts.Context, pace: opts.Pace, now: opts.Now, clocked: opts.Now != nil, automatic: automatic, max: int64(opts.MaxStreams),
		entries: make(map[string]*entry), draining: make(chan struct{}), nudge: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if sets.following == nil {
		sets.following = func(string, Protocol) (func(*plimsollv1.Position), func()) {
			return func(*plimsollv1.Position) {}, func() {}
		}
	}
	if sets.pace == 0 {
		sets.pace = defaultPace
	}
	if sets.now == nil {
		sets.now = time.Now
	}
	if sets.max == 0 {
		sets.max = defaultStreams
	}
	if opts.Turns == 0 {
		opts.Turns = defaultTurns()
	}
	sets.turns = make(chan struct{}, opts.Turns)
	ctx, cancel := context.WithCancel(context.Background())
	sets.stop = cancel
	go func() {
		defer close(sets.done)
		sets.run(ctx)
		sets.tellCounts()
	}()
	return sets
}

// Close stops following. Streams must have been drained before.
func (s *Sets) Close() {
	s.Drain()
	s.stop()
	<-s.done
}

// Newest is the state of a namespace at this instant.
func (s *Sets) Newest(ns string) (*State, error) { return s.current(ns, (*entry).newestLine) }

// Paced is the state as clients get it that are told of automatic level moves
// at most every few seconds. Everything else shows at once.
func (s *Sets) Paced(ns string) (*State, error) { return s.current(ns, (*entry).pacedLine) }

// FollowNewest is Newest, with a channel that is closed once there is a newer
// state, or the namespace is gone.
func (s *Sets) FollowNewest(ns string) (*State, <-chan struct{}, error) {
	return s.follow(ns, (*entry).newestLine)
}

// FollowPaced is Paced, with a channel as that of FollowNewest.
func (s *Sets) FollowPaced(ns string) (*State, <-chan struct{}, error) {
	return s.follow(ns, (*entry).pacedLine)
}

func (s *Sets) current(ns string, of func(*entry) *line) (*State, error) {
	state, _, err := s.follow(ns, of)
	return state, err
}

func (s *Sets) follow(ns string, of func(*entry) *line) (*State, <-chan struct{}, error) {
	now := s.now()
	s.mu.RLock()
	e := s.entries[ns]
	s.mu.RUnlock()
	if e == nil || !e.fresh(now) {
		var err error
		if e, err = s.refresh(ns, now); err != nil {
			return nil, nil, discreet(err)
		}
	}
	p := of(e).at.Load()
	if p == nil { // it was deleted meanwhile
		return nil, nil, api.Error(&store.NotFoundError{Kind: "namespace", Name: ns})
	}
	return p.state, p.over, nil
}

// discreet is an error as those are told who may not know which other namespaces
// there are.
func discreet(err error) error {
	var gone *store.NotFoundError
	if errors.As(err, &gone) {
		err = &store.NotFoundError{Kind: gone.Kind, Name: gone.Name}
	}
	return api.Error(err)
}

// Namespace is the namespace of a request whose message names one, or a
// selector, in a field; see [authz.Caller.Select]. Aliases count as names.
func (s *Sets) Namespace(ctx context.Context, field string) (string, error) {
	return authz.CallerFrom(ctx).Select(field, s.store.NamespaceOf)
}

// Context is what is added to the contexts that clients send.
func (s *Sets) Context() Context { return s.context }

// Now is the clock by which sets are composed and evaluated.
func (s *Sets) Now() time.Time { return s.now() }

// run wakes those who follow a namespace when it changes, or when something in
// it is due.
func (s *Sets) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	counts := time.NewTicker(countsEvery)
	defer counts.Stop()
	for {
		changed := s.store.Changed()
		if due := s.refreshAll(); due.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(due.Sub(s.now()))
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-s.nudge:
		case <-timer.C:
		case <-counts.C:
			s.tellCounts()
		}
	}
}

// tellCounts tells what was evaluated since it was called last.
func (s *Sets) tellCounts() {
	if s.counted == nil {
		return
	}
	s.mu.RLock()
	entries := maps.Clone(s.entries)
	s.mu.RUnlock()
	for ns, e := range entries {
		state := e.newest.state()
		if state == nil {
			continue
		}
		var list []flag.Count
		e.counts.Collect(state.Flags, func(c flag.Count) { list = append(list, c) })
		if len(list) > 0 {
			s.counted(ns, list)
		}
	}
}

// refreshAll brings every namespace that was asked for up to now, and tells
// when that must be done again.
func (s *Sets) refreshAll() (due time.Time) {
	s.mu.RLock()
	list := make([]string, 0, len(s.entries))
	for ns := range s.entries {
		list = append(list, ns)
	}
	s.mu.RUnlock()
	for _, ns := range list {
		e, err := s.refresh(ns, s.now())
		if err != nil {
			continue
		}
		if at := e.due(); !at.IsZero() && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	return due
}

// refresh brings one namespace up to now.
func (s *Sets) refresh(ns string, now time.Time) (*entry, error) {
	snap, err := s.store.Snapshot(ns)
	if err != nil {
		var gone *store.NotFoundError
		if errors.As(err, &gone) {
			s.drop(ns)
		}
		return nil, err
	}
	s.mu.Lock()
	e := s.entries[ns]
	isNew := e == nil
	if isNew {
		e = &entry{sets: s, counts: flag.NewCounts()}
		s.entries[ns] = e
	}
	s.mu.Unlock()
	before := e.due()
	e.advance(snap, now)
	// What is due earlier than before must be waited for.
	if at := e.due(); isNew || !at.Equal(before) {
		select {
		case s.nudge <- struct{}{}:
		default:
		}
	}
	return e, nil
}

// drop forgets a namespace that is gone and wakes those who follow it.
func (s *Sets) drop(ns string) {
	s.mu.Lock()
	e := s.entries[ns]
	delete(s.entries, ns)
	s.mu.Unlock()
	if e != nil {
		e.end()
	}
}
