package store

import "sort"

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
	// from: every change after this revision is in entries.
	from    int64
	entries []changed
	names   int
}

type changed struct {
	revision int64
	names    []string
}

// append adds the objects changed at rev, which is not below the last one.
func (h history) append(rev int64, names []string) history {
	h.entries = append(h.entries, changed{rev, names})
	h.names += len(names)
	for len(h.entries) > historyRevisions || (h.names > historyNames && len(h.entries) > 0) {
		h.from = h.entries[0].revision
		h.names -= len(h.entries[0].names)
		h.entries = h.entries[1:]
	}
	return h
}

// since returns the names of all objects changed after rev, sorted, each
// once. It reports false if the history does not reach back that far.
func (h history) since(rev int64) ([]string, bool) {
	if rev < h.from {
		return nil, false
	}
	first := sort.Search(len(h.entries), func(i int) bool { return h.entries[i].revision > rev })
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

// ChangedSince returns the names of the objects that changed after rev, each
// once and sorted. It reports false where the history does not reach back to
// rev, or where rev is not in this snapshot's past.
func (s *Snapshot) ChangedSince(rev int64) ([]string, bool) {
	if rev > s.Revision() {
		return nil, false
	}
	return s.history.since(rev)
}
