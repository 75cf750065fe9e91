package effective

import (
	"sync"
	"time"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

// State is what a namespace serves from one moment to the next. It is
// immutable and safe for concurrent use.
type State struct {
	// Namespace is whose state it is.
	Namespace string
	// Flags evaluates, and each evaluation is counted.
	Flags *flag.Set
	// Position is that of the namespace. It must not be modified.
	Position *plimsollv1.Position
	// Lapsed is when the last override or hold ended of those that the position
	// still has; zero: none has. Together they tell states apart, alike on every
	// server.
	Lapsed time.Time
	// Since is when this server first had the state.
	Since time.Time

	raw   *flag.Set // as the snapshot has it
	snap  *store.Snapshot
	entry *entry

	composing sync.Once
	document  *Document
	memo      memo
}

// Document is a set as plain flagd JSON, the shape that every flagd provider
// takes.
type Document struct {
	// JSON is the text.
	JSON string

	memo memo
}

func newState(e *entry, snap *store.Snapshot, set *flag.Set, now time.Time) *State {
	s := &State{
		Namespace: snap.Namespace(), Flags: set, Position: snap.Position(), Lapsed: lapsed(snap, now), Since: now,
		raw: set, snap: snap, entry: e,
	}
	s.Flags = set.Counted(e.counts)
	if e.sets.clocked {
		s.Flags = s.Flags.WithClock(e.sets.now)
	}
	return s
}

// Document is the state as one plain flagd document: composed when first asked
// for, and the very same as before where that had the same text.
func (s *State) Document() *Document {
	s.composing.Do(func() { s.document = s.entry.compose(s.raw) })
	return s.document
}

// compose is the document of a set, and the one before where that is equal.
func (e *entry) compose(set *flag.Set) *Document {
	e.composing.Lock()
	defer e.composing.Unlock()
	if text := e.composer.ComposeAll(set); e.last == nil || e.last.JSON != text {
		e.last = &Document{JSON: text}
	}
	return e.last
}

// AutomaticSince tells whether all that has happened since an earlier state is
// that a policy moved the level. Clients may be told of that one after another.
func (s *State) AutomaticSince(earlier *State) bool { return automatic(earlier, s) }

// after tells whether the state is newer than a snapshot.
func (s *State) after(snap *store.Snapshot) bool {
	a, b := s.Position, snap.Position()
	return a.GetStoreId() == b.GetStoreId() && a.GetEpoch() == b.GetEpoch() && a.GetRevision() > b.GetRevision()
}

// lapsed is when the last override or hold ended that has ended by now.
func lapsed(snap *store.Snapshot, now time.Time) time.Time {
	var last time.Time
	for end := range snap.Ends() {
		if !now.Before(end) && end.After(last) {
			last = end
		}
	}
	return last
}
