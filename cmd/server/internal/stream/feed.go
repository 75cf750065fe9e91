package stream

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"google.golang.org/protobuf/types/known/durationpb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

// item is a link of a feed's chain. Readers wait for the last item they have
// written to be followed; nobody keeps a list of readers, so a slow one costs
// the others nothing. The feed holds the newest few items; a reader that is
// busy writing holds none, so that it cannot keep a long chain alive.
type item struct {
	// seq counts the items of the feed.
	seq uint64
	// self is how a reader that is busy refers to the item.
	self weak.Pointer[item]
	// snap is the state after the item.
	snap *store.Snapshot
	// message takes a reader from the item before to this one; nil in the
	// first item.
	message *message
	// next is set before followed is closed; nil then: the feed has ended with
	// err.
	next     atomic.Pointer[item]
	followed chan struct{}
	err      error
}

// feed turns the snapshots of one namespace into messages, encoded once for
// all of the namespace's streams. It runs while there are any.
type feed struct {
	hub  *Hub
	ns   string
	stop context.CancelFunc
	done chan struct{}
	// readers is guarded by hub.mu.
	readers int

	head atomic.Pointer[item]
	// over is set before the last item is marked as followed by nothing.
	over atomic.Bool
	// recent are the newest items; only run writes it, and nobody reads it: it
	// keeps them from being collected.
	recent [maxLag + 1]*item

	// whole is the last snapshot that was encoded for joining clients.
	mu    sync.Mutex
	whole *wholeState

	// deltas are those that were made for clients with the same past, up to the
	// snapshot deltasTo: after a restart of many, they ask for the same.
	deltaMu  sync.Mutex
	deltas   map[int64]*message
	deltasTo *store.Snapshot
}

// wholeState is an encoded snapshot.
type wholeState struct {
	snap   *store.Snapshot
	chunks []*message
	usedAt time.Time
}

func newFeed(h *Hub, snap *store.Snapshot) *feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &feed{hub: h, ns: snap.Namespace(), stop: cancel, done: make(chan struct{})}
	f.head.Store(&item{snap: snap, followed: make(chan struct{})})
	go func() {
		defer close(f.done)
		f.run(ctx)
	}()
	return f
}

func (f *feed) run(ctx context.Context) {
	beat := time.NewTicker(f.hub.heartbeat)
	defer beat.Stop()
	for {
		head := f.head.Load()
		select {
		case <-ctx.Done():
			f.end(ctx.Err())
			return
		case <-beat.C:
			f.dropIdle()
			if !f.publish(head.snap, f.heartbeat(head.snap)) {
				return
			}
		case <-head.snap.Superseded():
			snap, err := f.hub.Store.Snapshot(f.ns)
			if err != nil {
				f.end(err)
				return
			}
			if !f.publish(snap, f.step(head.snap, snap)) {
				return
			}
		}
	}
}

// step is the message from one snapshot to a later one. It is nil where the
// history does not reach back: the store was replaced, or very much has
// changed; readers then get the whole state.
func (f *feed) step(from, to *store.Snapshot) *plimsollv1.WatchResponse {
	names, ok := changes(from.Position(), to)
	if !ok {
		return nil
	}
	return change(from.Revision(), to, names)
}

// maxDeltas bounds how many deltas are kept for clients with other pasts.
const maxDeltas = 64

// delta is the message from a position to a snapshot, given the names of what
// has changed.
func (f *feed) delta(since int64, to *store.Snapshot, names []string) (*message, error) {
	f.deltaMu.Lock()
	defer f.deltaMu.Unlock()
	if f.deltasTo != to {
		f.deltas, f.deltasTo = make(map[int64]*message), to
	}
	if m := f.deltas[since]; m != nil {
		return m, nil
	}
	m, err := encode(change(since, to, names))
	if err == nil && len(f.deltas) < maxDeltas {
		f.deltas[since] = m
	}
	return m, err
}

func (f *feed) heartbeat(snap *store.Snapshot) *plimsollv1.WatchResponse {
	return &plimsollv1.WatchResponse{
		Position: snap.Position(),
		Event: &plimsollv1.WatchResponse_Heartbeat{Heartbeat: &plimsollv1.Heartbeat{
			ConfirmedAge: durationpb.New(confirmedAge(f.hub.Store.Health())),
		}},
	}
}

// never is the age of a state that etcd has not confirmed at all.
const never = 365 * 24 * time.Hour

func confirmedAge(h store.Health) time.Duration {
	if h.ConfirmedAge < 0 {
		return never
	}
	return h.ConfirmedAge
}

// publish appends an item and wakes the readers. It reports false if the feed
// had to end.
func (f *feed) publish(snap *store.Snapshot, msg *plimsollv1.WatchResponse) bool {
	head := f.head.Load()
	it := &item{seq: head.seq + 1, snap: snap, followed: make(chan struct{})}
	if msg != nil {
		m, err := encode(msg)
		if err != nil {
			f.end(err)
			return false
		}
		it.message = m
	}
	it.self = weak.Make(it)
	f.recent[it.seq%uint64(len(f.recent))] = it
	head.next.Store(it)
	f.head.Store(it)
	close(head.followed)
	return true
}

func (f *feed) end(err error) {
	head := f.head.Load()
	head.err = err
	f.over.Store(true)
	close(head.followed)
}

// wholeFor returns an encoded snapshot from which the given one can be reached
// with a small delta: the one encoded last, if it is that close, or a new one.
func (f *feed) wholeFor(snap *store.Snapshot) (*wholeState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.whole; w != nil {
		if _, ok := changes(w.snap.Position(), snap); ok {
			w.usedAt = f.hub.now()
			return w, nil
		}
	}
	encoded, err := chunks(snap)
	if err != nil {
		return nil, err
	}
	f.whole = &wholeState{snap: snap, chunks: encoded, usedAt: f.hub.now()}
	return f.whole, nil
}

// dropIdle frees an encoded snapshot that nobody has asked for in a while.
func (f *feed) dropIdle() {
	if !f.mu.TryLock() {
		return // it is in use
	}
	defer f.mu.Unlock()
	if f.whole != nil && f.hub.now().Sub(f.whole.usedAt) > 2*f.hub.heartbeat {
		f.whole = nil
	}
}
