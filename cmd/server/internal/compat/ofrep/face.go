package ofrep

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

// gradual is how seldom an automatic move of the level is shown, and over how
// long the clients are spread that hear of one: each of them asks for everything
// then, and the level may move twice a second.
const gradual = 5 * time.Second

// state is what is served of a namespace from one moment on. It is immutable but
// for its listing, which is made when first asked for.
type state struct {
	snap    *store.Snapshot
	set     *flag.Set
	version version
	digest  [sha256.Size]byte
	since   time.Time // since when it is served here
	shown   time.Time // since when its snapshot is
	gentle  bool      // only an automatic move of the level led to it

	once sync.Once
	list listing
}

// listing is what bulk answers of a state have in common.
type listing struct {
	entries []entry
	timed   bool // answers may change with the time of day
}

// entry is a flag in bulk answers.
type entry struct {
	key, quoted string // as it is, and as JSON
	// plain and degraded are the metadata seen last of such answers.
	plain, degraded atomic.Pointer[encoded]
}

// encoded is metadata with its text. While it is kept, no other map can have the
// address of this one.
type encoded struct {
	of   map[string]any
	at   uintptr // address of the map
	text string
}

// listed makes the listing.
func (s *state) listed() *listing {
	s.once.Do(func() {
		keys := s.set.AllKeys()
		s.list.entries = make([]entry, len(keys))
		for i, key := range keys {
			e := &s.list.entries[i]
			e.key, e.quoted = key, string(appendString(nil, key))
		}
		s.list.timed = s.set.TellsTime()
	})
	return &s.list
}

// faces are the states of all namespaces that were asked for.
type faces struct {
	store *store.Store
	now   func() time.Time

	mu sync.RWMutex
	by map[string]*face
}

// face is the state of one namespace.
type face struct {
	mu  sync.Mutex
	cur atomic.Pointer[state]
}

// sight is a state, and what may end it.
type sight struct {
	*state
	// superseded is closed once the store has a newer snapshot than the newest
	// one that was looked at.
	superseded <-chan struct{}
	// until is when the state has to be looked at again in any case; zero: never.
	until time.Time
}

// look is what a namespace shows now. Eager: an automatic move of the level need
// not wait, since this caller knows of it already.
func (f *faces) look(ns string, eager bool) (sight, error) {
	snap, err := f.store.Snapshot(ns)
	if err != nil {
		f.mu.Lock()
		delete(f.by, ns)
		f.mu.Unlock()
		return sight{}, err
	}
	f.mu.RLock()
	one := f.by[ns]
	f.mu.RUnlock()
	if one == nil {
		f.mu.Lock()
		if one = f.by[ns]; one == nil {
			one = new(face)
			f.by[ns] = one
		}
		f.mu.Unlock()
	}
	now := f.now()
	s := one.show(snap, now, eager)
	out := sight{state: s, superseded: snap.Superseded()}
	if due, ok := s.set.NextExpiry(); ok {
		out.until = due
	}
	if held := s.shown.Add(gradual); s.snap != snap && (out.until.IsZero() || held.Before(out.until)) {
		out.until = held
	}
	return out, nil
}

// show is the state for the newest snapshot, which may be an older one if what is
// newer is but an automatic move of the level that has to wait.
func (f *face) show(newest *store.Snapshot, now time.Time, eager bool) *state {
	cur := f.cur.Load()
	if cur != nil && cur.snap == newest && cur.set == newest.Set(now) {
		return cur
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	cur = f.cur.Load()
	snap, gentle := newest, false
	if cur != nil && cur.snap != newest {
		if older(newest, cur.snap) { // this caller was overtaken
			return cur
		}
		names, ok := newest.ChangedSince(cur.snap.Position())
		gentle = ok && store.AutomaticMove(names)
		if gentle && !eager && now.Before(cur.shown.Add(gradual)) {
			snap = cur.snap
		}
	}
	set := snap.Set(now)
	if cur != nil && cur.snap == snap && cur.set == set {
		return cur
	}
	next := &state{
		snap: snap, set: set, version: versionOf(snap.Position(), snap.Lapsed(now)), since: now, shown: now, gentle: gentle && snap == newest,
	}
	if cur != nil && cur.snap == snap { // something has expired
		next.shown = cur.shown
	}
	next.digest = next.version.digest(snap.Namespace())
	f.cur.Store(next)
	return next
}

// older tells whether a snapshot lies before another one of the same store.
func older(a, b *store.Snapshot) bool {
	x, y := a.Position(), b.Position()
	return x.GetStoreId() == y.GetStoreId() && (x.GetEpoch() < y.GetEpoch() || x.GetEpoch() == y.GetEpoch() && x.GetRevision() < y.GetRevision())
}
