package store

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// tailBuffer is how many records a reader may fall behind before it is cut
// off. It bounds the memory that a stuck reader holds.
const tailBuffer = 256

// tailed is an audit record that the watch has brought. One without kv says
// that records up to seq may have been written while the watch was down.
type tailed struct {
	ns  string
	seq uint64
	kv  *mvccpb.KeyValue
}

// tail is one reader of a namespace's new records.
type tail struct {
	records chan tailed // closed by tails, under its lock, when it is cut off
	err     error       // why; set before records is closed
}

// tails are the readers of new records, by namespace.
type tails struct {
	mu   sync.Mutex
	byNS map[string]map[*tail]struct{}
}

func (t *tails) add(ns string) *tail {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := &tail{records: make(chan tailed, tailBuffer)}
	if t.byNS[ns] == nil {
		t.byNS[ns] = make(map[*tail]struct{})
	}
	t.byNS[ns][one] = struct{}{}
	return one
}

func (t *tails) remove(ns string, one *tail, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(ns, one, err)
}

// drop cuts a reader off. The lock must be held.
func (t *tails) drop(ns string, one *tail, err error) {
	if _, there := t.byNS[ns][one]; !there {
		return
	}
	delete(t.byNS[ns], one)
	if len(t.byNS[ns]) == 0 {
		delete(t.byNS, ns)
	}
	one.err = err
	close(one.records)
}

// send hands new records to their readers and never blocks.
func (t *tails) send(records []tailed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, rec := range records {
		for one := range t.byNS[rec.ns] {
			select {
			case one.records <- rec:
			default:
				t.drop(rec.ns, one, ErrTooSlow)
			}
		}
	}
}

func (t *tails) close(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ns, all := range t.byNS {
		for one := range all {
			t.drop(ns, one, err)
		}
	}
}

// Tail calls each for every record of a namespace after sequence after, in
// order and without gaps, the stored ones first and then new ones as they are
// written, until ctx ends, each fails, or the reader is too slow (ErrTooSlow).
// A nil after begins with the next record. Every heartbeat, each is called
// with nil.
func (s *Store) Tail(ctx context.Context, ns string, after *uint64, heartbeat time.Duration, each func(*plimsollv1.AuditRecord) error) error {
	snap, err := s.Snapshot(ns)
	if err != nil {
		return err
	}
	one := s.tails.add(ns)
	defer s.tails.remove(ns, one, nil)
	seen, _ := snap.AuditSeq()
	if after != nil {
		seen = *after
	}
	deliver := func(kv *mvccpb.KeyValue) error {
		rec, err := decodeRecord(kv)
		if err != nil || rec.GetSeq() <= seen {
			return err
		}
		seen = rec.GetSeq()
		return each(rec)
	}
	if err := s.recordsAfter(ctx, ns, seen, deliver); err != nil {
		return err
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beat.C:
			if err := each(nil); err != nil {
				return err
			}
		case rec, open := <-one.records:
			if !open {
				return one.err
			}
			if rec.kv == nil || rec.seq > seen+1 {
				// The watch was interrupted: what it missed is in the log.
				if err := s.recordsAfter(ctx, ns, seen, deliver); err != nil {
					return err
				}
				continue
			}
			if err := deliver(rec.kv); err != nil {
				return err
			}
		}
	}
}
