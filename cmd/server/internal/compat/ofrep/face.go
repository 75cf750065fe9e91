package ofrep

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
)

// face is a state with what answers need of it beyond the set. It is immutable
// but for its listing, which is made when first asked for.
type face struct {
	*effective.State
	version version
	digest  [sha256.Size]byte

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
func (f *face) listed() *listing {
	f.once.Do(func() {
		keys := f.Flags.AllKeys()
		f.list.entries = make([]entry, len(keys))
		for i, key := range keys {
			e := &f.list.entries[i]
			e.key, e.quoted = key, string(appendString(nil, key))
		}
		f.list.timed = f.Flags.TellsTime()
	})
	return &f.list
}

// faces keeps the face of each namespace that was asked for last.
type faces struct {
	mu sync.RWMutex
	by map[string]*face
}

// of is the face of a state.
func (f *faces) of(s *effective.State) *face {
	f.mu.RLock()
	known := f.by[s.Namespace]
	f.mu.RUnlock()
	if known != nil && known.State == s {
		return known
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if known = f.by[s.Namespace]; known != nil && known.State == s {
		return known
	}
	made := &face{State: s, version: versionOf(s.Position, s.Lapsed)}
	made.digest = made.version.digest(s.Namespace)
	f.by[s.Namespace] = made
	return made
}

// drop forgets a namespace that is gone.
func (f *faces) drop(ns string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.by, ns)
}
