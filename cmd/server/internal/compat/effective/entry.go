package effective

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

// entry is a namespace that somebody has asked for.
type entry struct {
	sets          *Sets
	newest, paced line
	// counts are those of the evaluations of all states.
	counts *flag.Counts
	// reached is the snapshot that both lines have been brought up to.
	reached atomic.Pointer[store.Snapshot]
	// dueAt is when advance must be called though nothing was written, in
	// nanoseconds since 1970; 0: never.
	dueAt atomic.Int64
	// asked is when it was last told that a protocol is asked by, in nanoseconds
	// since 1970.
	asked [8]atomic.Int64

	mu sync.Mutex
	// movedAt is when an automatic move last reached the paced line.
	movedAt time.Time
	ended   bool

	composing sync.Mutex
	composer  flag.Composer
	// last is the document composed last, which the next one may be equal to.
	last *Document
}

// line is a succession of states of one namespace.
type line struct{ at atomic.Pointer[point] }

// point is a place on a line.
type point struct {
	state *State
	// over is closed by the line once it has moved on, or has ended.
	over chan struct{}
}

func (e *entry) newestLine() *line { return &e.newest }

func (e *entry) pacedLine() *line { return &e.paced }

// move puts the line at a state and wakes those who wait.
func (l *line) move(state *State) {
	old := l.at.Swap(&point{state: state, over: make(chan struct{})})
	if old != nil {
		close(old.over)
	}
}

func (l *line) state() *State {
	if p := l.at.Load(); p != nil {
		return p.state
	}
	return nil
}

// fresh tells whether there is nothing to do for advance.
func (e *entry) fresh(now time.Time) bool {
	state, reached := e.newest.state(), e.reached.Load()
	if state == nil || reached == nil {
		return false
	}
	// Whoever was told of a change finds it in the store's view; the snapshot
	// before may be marked as superseded a moment later only. Nor is it enough that
	// the newest line has it: the paced one follows a moment later.
	if snap, err := e.sets.store.Snapshot(state.Namespace); err != nil || snap != reached {
		return false
	}
	due := e.dueAt.Load()
	return due == 0 || now.UnixNano() < due
}

// due is when advance must be called though nothing was written; zero: never.
func (e *entry) due() time.Time {
	if ns := e.dueAt.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// advance brings both lines up to a snapshot at an instant.
func (e *entry) advance(snap *store.Snapshot, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return
	}
	set := snap.Set(now)
	if old := e.newest.state(); old == nil || old.raw != set {
		if old != nil && old.after(snap) {
			return // somebody else was faster
		}
		e.newest.move(newState(e, snap, set, now))
	}
	next := e.newest.state()
	var later time.Time
	switch old := e.paced.state(); {
	case old == next:
	case old == nil || !e.sets.automatic(old, next):
		e.paced.move(next)
	default:
		if later = e.movedAt.Add(e.sets.pace); e.movedAt.IsZero() || !now.Before(later) {
			e.movedAt, later = now, time.Time{}
			e.paced.move(next)
		}
	}
	if at, ok := set.NextExpiry(); ok && (later.IsZero() || at.Before(later)) {
		later = at
	}
	due := int64(0)
	if !later.IsZero() {
		due = later.UnixNano()
	}
	e.dueAt.Store(due)
	e.reached.Store(snap)
}

// automatic is how it is told: only a policy writes the level and no hold, and
// what ends by itself was set by somebody.
func automatic(from, to *State) bool {
	if !from.Lapsed.Equal(to.Lapsed) {
		return false
	}
	names, ok := to.snap.ChangedSince(from.Position)
	return ok && store.AutomaticOnly(names)
}

// end wakes those who follow a namespace that is gone.
func (e *entry) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	for _, l := range []*line{&e.newest, &e.paced} {
		if p := l.at.Load(); p != nil {
			close(p.over)
		}
	}
}
