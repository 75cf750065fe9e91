package effective

import (
	"crypto/sha256"
	"encoding/binary"
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
}

// Document is a set as plain flagd JSON, the shape that every flagd provider
// takes.
type Document struct {
	// JSON must not be modified.
	JSON string
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
	s.composing.Do(func() {
		s.document = &Document{JSON: s.raw.ComposeAll()}
		if last := s.entry.last.Load(); last != nil && last.JSON == s.document.JSON {
			s.document = last
			return
		}
		s.entry.last.Store(s.document)
	})
	return s.document
}

// Digest tells the state apart from all others of its namespace: a hash of the
// position and of the ends that have passed since.
func (s *State) Digest() [16]byte {
	h := sha256.New()
	var number [8]byte
	for _, n := range []uint64{s.Position.GetEpoch(), uint64(s.Position.GetRevision()), s.Position.GetFingerprint(), uint64(s.Lapsed.UnixNano())} {
		binary.BigEndian.PutUint64(number[:], n)
		h.Write(number[:])
	}
	h.Write([]byte(s.Position.GetStoreId()))
	return [16]byte(h.Sum(nil)[:16])
}

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
