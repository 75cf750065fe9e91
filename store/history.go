package store

import (
	"encoding/binary"
	"sort"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// What is kept of a namespace's past, so that a client that was away for a
// while gets what has changed and not the whole set. Past either bound the
// oldest changes are forgotten and such a client gets a snapshot.
const (
	historyRevisions = 4096
	historyNames     = 32768
)

// history is the names of the objects changed at each of the last revisions.
// A value is immutable: append returns a new one that shares the entries.
// Only the newest value of a namespace may be appended to.
type history struct {
	// from: every change after this point is in entries.
	from    point
	entries []changed
	names   int
}

// point is a revision of a namespace, and the fingerprint that it has in one
// history: another one, of a store that was put back and written to since, may
// have the same number.
type point struct {
	revision    int64
	fingerprint uint64
}

type changed struct {
	point
	names []string
}

// fingerprintOf is that of the history that ends with the audit record of a hash.
func fingerprintOf(hash []byte) uint64 {
	if len(hash) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(hash)
}

// append adds the objects changed at a point, which is not before the last one.
func (h history) append(at point, names []string) history {
	h.entries = append(h.entries, changed{at, names})
	h.names += len(names)
	for len(h.entries) > historyRevisions || (h.names > historyNames && len(h.entries) > 0) {
		h.from = h.entries[0].point
		h.names -= len(h.entries[0].names)
		h.entries = h.entries[1:]
	}
	return h
}

// since returns the names of all objects changed after a point, sorted, each
// once. It reports false if the history does not reach back that far, or if the
// point is of another one.
func (h history) since(at point) ([]string, bool) {
	first := sort.Search(len(h.entries), func(i int) bool { return h.entries[i].revision > at.revision })
	last := h.from
	if first > 0 {
		last = h.entries[first-1].point
	}
	if last != at {
		return nil, false
	}
	seen := make(map[string]struct{})
	for _, e := range h.entries[first:] {
		for _, n := range e.names {
			seen[n] = struct{}{}
		}
	}
	names := make([]string, 0, len(seen))
	for n := range seen {
		names = append(names, n)
	}
	sort.Strings(names)
	return names, true
}

// ChangedSince returns the names of the objects that changed after a position,
// each once and sorted. It reports false where the history does not reach back
// to the position, or where that is not in this snapshot's past.
func (s *Snapshot) ChangedSince(p *plimsollv1.Position) ([]string, bool) {
	own := s.position
	if p.GetStoreId() != own.GetStoreId() || p.GetEpoch() != own.GetEpoch() || p.GetRevision() > own.GetRevision() {
		return nil, false
	}
	return s.history.since(point{p.GetRevision(), p.GetFingerprint()})
}

// point is where the snapshot is in its history.
func (s *Snapshot) point() point { return point{s.Revision(), s.position.GetFingerprint()} }
