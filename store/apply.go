package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// ApplyOptions say how a document is applied.
type ApplyOptions struct {
	// Force overwrites what was changed by hand since it was last applied, and
	// allows changes of a flag's type.
	Force bool
	// DryRun compares and validates, and writes nothing.
	DryRun bool
}

// Applied tells what apply did, or would do.
type Applied struct {
	Result
	// Objects are what was done with each object, sorted by object.
	Objects []*plimsollv1.AppliedObject
	// Batches is the number of transactions.
	Batches int
}

// applyItem brings one object to what the document says. It looks at the
// snapshot and returns what to write, if anything.
type applyItem struct {
	object string
	plan   func(*Snapshot, Change, ApplyOptions) (applyStep, error)
}

type applyStep struct {
	outcome  plimsollv1.AppliedObject_Outcome
	write    *write
	conflict *plimsollv1.Conflict
}

// Apply brings the namespace to what the document says; what the document does
// not name stays as it is. Conflicts, definitions that do not compile, and
// limits are found before anything is written. A document that is too large
// for one transaction is written in ordered batches with one change id; if it
// is interrupted, applying it again finishes it.
func (s *Store) Apply(ctx context.Context, ns string, doc *flag.Document, opts ApplyOptions, c Change) (Applied, error) {
	c, err := c.normalize("apply")
	if err != nil {
		return Applied{}, err
	}
	snap, err := s.Snapshot(ns)
	if err != nil {
		return Applied{}, err
	}
	items := s.applyItems(doc)
	done := Applied{Result: Result{ChangeID: c.ID, Position: snap.Position()}}
	writes, err := s.rehearse(snap, items, opts, c, &done)
	if err != nil || opts.DryRun {
		return done, err
	}
	all := batches(items, writes)
	for i, batch := range all {
		if len(all) > 1 {
			c.batch, c.batches = i+1, len(all)
		}
		res, err := s.commit(ctx, ns, c, func(snap *Snapshot) (*txn, error) { return s.batchTxn(snap, batch, opts, c) })
		if err != nil {
			if done.Batches > 0 {
				err = fmt.Errorf("change %s: %d batches were written, then: %w; applying the document again finishes it", c.ID, done.Batches, err)
			}
			return done, err
		}
		if res.Changed {
			done.Batches++
			done.Changed = true
		}
		done.Position = res.Position
	}
	return done, nil
}

// rehearse finds everything that is wrong with applying the items, all at
// once, and fills in what would be done with each. It returns the objects to
// write, with what each takes in a transaction.
func (s *Store) rehearse(snap *Snapshot, items []applyItem, opts ApplyOptions, c Change, done *Applied) (map[string]int, error) {
	t := new(txn)
	var conflicts []*plimsollv1.Conflict
	refusal := &RefusedError{Now: true}
	writes := make(map[string]int)
	for _, it := range items {
		step, err := it.plan(snap, c, opts)
		var refused *RefusedError
		if errors.As(err, &refused) {
			refusal.add(refused)
			continue
		}
		if err != nil {
			return nil, err
		}
		if step.conflict != nil {
			conflicts = append(conflicts, step.conflict)
		}
		if step.write != nil {
			t.writes = append(t.writes, *step.write)
			old, _ := snap.Object(it.object)
			writes[it.object] = txnSize(*step.write, old)
		}
		done.Objects = append(done.Objects, &plimsollv1.AppliedObject{Object: it.object, Outcome: step.outcome})
	}
	slices.SortFunc(done.Objects, func(a, b *plimsollv1.AppliedObject) int { return strings.Compare(a.GetObject(), b.GetObject()) })
	if refusal.Message != "" {
		return nil, refusal
	}
	if len(conflicts) > 0 {
		return nil, &ConflictError{Conflicts: conflicts}
	}
	t.readBefore(snap)
	return writes, s.admit(snap, t)
}

// batches groups the items that write something, in order.
func batches(items []applyItem, writes map[string]int) [][]applyItem {
	var out [][]applyItem
	var batch []applyItem
	size := 0
	for _, it := range items {
		need, wanted := writes[it.object]
		if !wanted {
			continue
		}
		if len(batch) == maxTxnOps || (len(batch) > 0 && size+need > maxTxnBytes) {
			out = append(out, batch)
			batch, size = nil, 0
		}
		batch = append(batch, it)
		size += need
	}
	if len(batch) > 0 {
		out = append(out, batch)
	}
	return out
}

func (s *Store) batchTxn(snap *Snapshot, batch []applyItem, opts ApplyOptions, c Change) (*txn, error) {
	t := &txn{refs: true}
	var conflicts []*plimsollv1.Conflict
	for _, it := range batch {
		step, err := it.plan(snap, c, opts)
		if err != nil {
			return nil, err
		}
		if step.conflict != nil {
			conflicts = append(conflicts, step.conflict)
		}
		if step.write != nil {
			t.writes = append(t.writes, *step.write)
		}
	}
	if len(conflicts) > 0 {
		return nil, &ConflictError{Conflicts: conflicts}
	}
	return t, nil
}

// applyItems lists what a document asks for: what flags refer to comes first.
func (s *Store) applyItems(doc *flag.Document) []applyItem {
	var items []applyItem
	if doc.HasMetadata {
		items = append(items, s.metadataItem(doc.Metadata))
	}
	for _, object := range rulesInOrder(doc) {
		items = append(items, s.ruleItem(object.name, object.text))
	}
	for _, def := range doc.Flags {
		items = append(items, s.flagItem(def))
	}
	return items
}

// txnSize is what a write takes in a transaction: its value, and in the audit
// record the values before and after.
func txnSize(w write, old Object) int {
	return 2*len(w.value) + len(old.Value) + 2*len(w.name) + 256
}

func (s *Store) metadataItem(text string) applyItem {
	return applyItem{object: objSetMeta, plan: func(snap *Snapshot, _ Change, _ ApplyOptions) (applyStep, error) {
		var old plimsollv1.StoredSetMetadata
		snap.read(objSetMeta, &old)
		if old.GetJson() == text {
			return applyStep{outcome: plimsollv1.AppliedObject_OUTCOME_UNCHANGED}, nil
		}
		return putStep(snap, objSetMeta, &plimsollv1.StoredSetMetadata{Json: text})
	}}
}

func (s *Store) ruleItem(object, text string) applyItem {
	return applyItem{object: object, plan: func(snap *Snapshot, c Change, _ ApplyOptions) (applyStep, error) {
		var old plimsollv1.StoredRule
		snap.read(object, &old)
		if old.GetRule() == text {
			return applyStep{outcome: plimsollv1.AppliedObject_OUTCOME_UNCHANGED}, nil
		}
		return putStep(snap, object, &plimsollv1.StoredRule{
			Rule: text, UpdatedAt: timestamppb.New(s.now()), UpdatedBy: c.Actor, ChangeId: c.ID, Verb: c.Verb, Reason: inBrief(c.Reason),
		})
	}}
}

func putStep(snap *Snapshot, object string, msg proto.Message) (applyStep, error) {
	value, err := proto.Marshal(msg)
	if err != nil {
		return applyStep{}, fmt.Errorf("encode %s: %w", object, err)
	}
	step := applyStep{outcome: plimsollv1.AppliedObject_OUTCOME_CREATED, write: &write{object, present(value)}}
	if _, exists := snap.Object(object); exists {
		step.outcome = plimsollv1.AppliedObject_OUTCOME_UPDATED
	}
	return step, nil
}

func (s *Store) flagItem(def *flag.Definition) applyItem {
	object := kindFlag + def.Key()
	sum := sha256.Sum256([]byte(def.JSON()))
	return applyItem{object: object, plan: func(snap *Snapshot, c Change, opts ApplyOptions) (applyStep, error) {
		old, rev, exists := snap.Flag(def.Key())
		step := applyStep{outcome: plimsollv1.AppliedObject_OUTCOME_CREATED}
		if exists {
			step.outcome = plimsollv1.AppliedObject_OUTCOME_UPDATED
			oldSum := sha256.Sum256([]byte(old.GetDefinition()))
			appliedLast := bytes.Equal(oldSum[:], old.GetAppliedHash())
			switch {
			case old.GetDefinition() == def.JSON() && appliedLast:
				return applyStep{outcome: plimsollv1.AppliedObject_OUTCOME_UNCHANGED}, nil
			case old.GetDefinition() == def.JSON():
				// Somebody brought it by hand to what the file says: from now
				// on the file has it again.
				step.outcome = plimsollv1.AppliedObject_OUTCOME_UNCHANGED
			case !appliedLast && !opts.Force:
				step.conflict = handChange(object, rev, old, def)
				return step, nil
			}
			if err := s.checkReplaces(snap, def, opts.Force); err != nil {
				return applyStep{}, err
			}
		}
		w, err := s.flagWrite(c, def, old, sum[:])
		if err != nil {
			return applyStep{}, err
		}
		step.write = &w
		return step, nil
	}}
}

// handChange is the conflict of a file with what somebody changed by hand.
func handChange(object string, rev int64, old *plimsollv1.StoredFlag, def *flag.Definition) *plimsollv1.Conflict {
	return &plimsollv1.Conflict{
		Object: object, CurrentRevision: rev,
		Actor: old.GetUpdatedBy(), Verb: old.GetVerb(), Reason: old.GetReason(), ChangeId: old.GetChangeId(), Time: old.GetUpdatedAt(),
		CurrentDefinition: old.GetDefinition(), RefusedDefinition: def.JSON(),
	}
}
