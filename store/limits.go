package store

import (
	"fmt"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// Limits on what may be stored. They keep one team's mistake from becoming
// everybody's outage: every process loads what is stored here.
type Limits struct {
	// FlagsPerNamespace; default 100 000.
	FlagsPerNamespace int
	// Flags in all namespaces; default 200 000.
	Flags int
	// Namespaces; default 1 000.
	Namespaces int
	// Bytes of all objects' names and values; default 1 GiB.
	Bytes int64
}

const (
	maxReason = 4 << 10
	// A transaction's bounds, with room for head, audit record and compares
	// below etcd's own (128 operations, 1.5 MiB).
	maxTxnOps   = 100
	maxTxnBytes = 1 << 20
)

func (l Limits) withDefaults() Limits {
	if l.FlagsPerNamespace == 0 {
		l.FlagsPerNamespace = 100_000
	}
	if l.Flags == 0 {
		l.Flags = 200_000
	}
	if l.Namespaces == 0 {
		l.Namespaces = 1000
	}
	if l.Bytes == 0 {
		l.Bytes = 1 << 30
	}
	return l
}

// checkRoom refuses a change that adds flags and bytes past the limits.
func (s *Store) checkRoom(snap *Snapshot, addFlags int, addBytes int64) error {
	if addFlags <= 0 && addBytes <= 0 {
		return nil
	}
	flags, bytes := 0, int64(0)
	for _, other := range *s.view.Load() {
		flags += other.flags
		bytes += other.bytes
	}
	switch {
	case addFlags > 0 && snap.flags+addFlags > s.limits.FlagsPerNamespace:
		return &LimitError{Message: limitText("namespace "+snap.namespace+" holds", snap.flags, addFlags, s.limits.FlagsPerNamespace, "flags")}
	case addFlags > 0 && flags+addFlags > s.limits.Flags:
		return &LimitError{Message: limitText("the store holds", flags, addFlags, s.limits.Flags, "flags")}
	case addBytes > 0 && bytes+addBytes > s.limits.Bytes:
		return &LimitError{Message: limitText("the store holds", bytes, addBytes, s.limits.Bytes, "bytes")}
	}
	return nil
}

// nearest is the name that is closest to name, or empty.
func nearest(name string, names []string) string { return flag.Nearest(name, names) }

func limitText[N int | int64](what string, have, add, limit N, unit string) string {
	return fmt.Sprintf("%s %d %s; %d more would pass the limit of %d", what, have, unit, add, limit)
}
