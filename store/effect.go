package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
)

// Effect tells what a change did, or in a dry run would do.
type Effect struct {
	Result
	// Before is the state that the change was decided on, and After the one that
	// it leads to: at the same position, and with nothing but this change between
	// them. Where nothing changes they are the same.
	Before, After *Snapshot
	// At is the instant that it was decided for.
	At time.Time

	// objects are the names of those that it writes.
	objects []string
}

// Flags are the keys of the flags that the change itself writes or overrides, or
// overrides no more, sorted. Those that only feel another level are not among
// them.
func (e Effect) Flags() []string {
	var keys []string
	for _, name := range e.objects {
		if kind, key := cutKind(name); kind == kindFlag || kind == kindOverride {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// deed decides what is to be written on a snapshot, at an instant; nil: nothing.
type deed func(snap *Snapshot, now time.Time) (*txn, error)

// act makes one change in one transaction, or in a dry run finds out all that
// making it would, and writes nothing.
func (s *Store) act(ctx context.Context, ns string, c Change, dry bool, decide deed) (Effect, error) {
	var e Effect
	var t *txn
	plan := func(snap *Snapshot) (*txn, error) {
		e.Before, e.At = snap, s.now()
		var err error
		t, err = decide(snap, e.At)
		return t, err
	}
	var err error
	if dry {
		e.Result, err = s.dryRun(ns, c, plan)
	} else {
		e.Result, err = s.commit(ctx, ns, c, plan)
	}
	if err != nil {
		return Effect{}, err
	}
	e.After = e.Before
	if t != nil && t.after != nil {
		e.After = t.after
		for _, w := range t.writes {
			e.objects = append(e.objects, w.name)
		}
	}
	return e, nil
}

func (s *Store) dryRun(ns string, c Change, plan planner) (Result, error) {
	snap, err := s.Snapshot(ns)
	if err != nil {
		return Result{}, err
	}
	t, err := plan(snap)
	if err == nil && t != nil && len(t.writes) > 0 {
		err = s.prepare(snap, t)
	}
	return Result{ChangeID: c.ID, Position: snap.Position()}, err
}

// sized is an object that a change writes, and what that takes in a transaction.
type sized struct {
	name string
	size int
}

// actInBatches makes one change of the named objects, in as many transactions
// as they take. decide says what to write of some of them; it is asked for all
// of them first, so that what is wrong is found before anything is written.
func (s *Store) actInBatches(ctx context.Context, ns string, c Change, dry bool, objects []sized, decide func(*Snapshot, time.Time, []string) (*txn, error)) (Effect, error) {
	of := func(names []string) deed {
		return func(snap *Snapshot, now time.Time) (*txn, error) { return decide(snap, now, names) }
	}
	batches := inBatches(objects)
	if len(batches) <= 1 {
		var names []string
		for _, batch := range batches {
			names = batch
		}
		return s.act(ctx, ns, c, dry, of(names))
	}
	var all []string
	for _, batch := range batches {
		all = append(all, batch...)
	}
	e, err := s.act(ctx, ns, c, true, of(all))
	if err != nil || dry {
		return e, err
	}
	for i, batch := range batches {
		c.batch, c.batches = i+1, len(batches)
		one, err := s.act(ctx, ns, c, false, of(batch))
		if err != nil {
			if e.Changed {
				err = fmt.Errorf("change %s: %d of %d batches were done, then: %w; sending it again with this id finishes it", c.ID, i, len(batches), err)
			}
			return e, err
		}
		e.Position, e.Changed = one.Position, e.Changed || one.Changed
	}
	return e, nil
}

// inBatches groups objects in order, each group within the limits of a
// transaction.
func inBatches(objects []sized) [][]string {
	var out [][]string
	size := 0
	for _, o := range objects {
		last := len(out) - 1
		if last < 0 || len(out[last]) == maxTxnOps || size+o.size > maxTxnBytes {
			out, size = append(out, nil), 0
			last++
		}
		out[last] = append(out[last], o.name)
		size += o.size
	}
	return out
}

// put adds one object to a transaction, in the place of what it wrote there
// before.
func (t *txn) put(name string, msg proto.Message) error {
	value, err := proto.Marshal(msg)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	for i := range t.writes {
		if t.writes[i].name == name {
			t.writes[i].value = present(value)
			return nil
		}
	}
	t.writes = append(t.writes, write{name, present(value)})
	return nil
}

func (t *txn) remove(name string) { t.writes = append(t.writes, write{name, nil}) }
