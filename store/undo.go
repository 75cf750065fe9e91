package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

const (
	// undoReach is how far back the log is searched for a change, in records of
	// its namespace.
	undoReach = 50_000
	// undoGap is how many records of others may lie between two of one change.
	undoGap = 1000

	verbUndo = "undo"
)

// Undone tells what an undo did, or in a dry run would do.
type Undone struct {
	Effect
	// Record is the first record of the change that was taken back.
	Record *plimsollv1.AuditRecord
	// Objects are those that it had touched, sorted by name.
	Objects []*plimsollv1.UndoneObject
}

// Undo takes back a whole change: every object that it touched stands as before
// again. If one has moved since, nothing is done and the error is a conflict that
// names who moved it; later changes that were taken back themselves are none.
// What the change removed and would have ended by itself meanwhile is not
// revived. The level's seed and its times at 0 are no part of it. An undo is a
// change like others: undoing it is a redo.
//
// With an empty id it is the newest change of the same actor. Undos are passed
// over there, and so are the changes that they have taken back: to undo twice is
// to take back two changes, not to redo. A change that was redone counts again.
//
// What takes more than one transaction is done in batches, the newest batch of
// the change first. If it is interrupted, undoing the change again with the same
// id for the new one finishes it. In a dry run nothing is written.
func (s *Store) Undo(ctx context.Context, ns, id string, dry bool, c Change) (Undone, error) {
	c, err := c.normalize(verbUndo)
	if err != nil {
		return Undone{}, err
	}
	if _, err := s.Snapshot(ns); err != nil {
		return Undone{}, err
	}
	if id == "" {
		if id, err = s.newestOf(ctx, ns, c.Actor.GetName()); err != nil {
			return Undone{}, err
		}
	}
	if id == c.ID {
		return Undone{}, refusef("change %s cannot take itself back: leave the id of the new change out", id)
	}
	recs, begun, now, err := s.changeRecords(ctx, ns, id, c.ID)
	if err != nil {
		return Undone{}, err
	}
	if err := undoable(recs); err != nil {
		return Undone{}, err
	}
	for _, rec := range begun {
		if rec.GetUndoesChangeId() != id {
			return Undone{}, refusef("change %s was made already and is no undo of %s: leave its id out", c.ID, id)
		}
	}
	c.undoes = id
	if c.Reason == "" {
		c.Reason = "undo of " + id
	}
	// The log may be ahead of what this server has seen.
	newest := recs[0].GetRevision()
	if len(begun) > 0 {
		newest = max(newest, begun[0].GetRevision())
	}
	s.await(ctx, func(view map[string]*Snapshot) bool { return view[ns] == nil || view[ns].Revision() >= newest })
	u := newUndo(recs, begun, now, c)
	e, err := s.actInBatches(ctx, ns, c, dry, u.sizes(), u.decide)
	if err != nil {
		return Undone{}, s.withMovers(ctx, ns, recs, err)
	}
	return Undone{Effect: e, Record: recs[len(recs)-1], Objects: u.told(e.At)}, nil
}

// newestOf finds the newest change of an actor that an undo may take back.
func (s *Store) newestOf(ctx context.Context, ns, actor string) (string, error) {
	found, seen := "", 0
	undone := make(map[string]bool)
	err := s.walkBack(ctx, ns, 0, func(rec *plimsollv1.AuditRecord, _ int) bool {
		seen++
		switch id := rec.GetChangeId(); {
		case rec.GetUndoesChangeId() != "":
			if !undone[id] {
				undone[rec.GetUndoesChangeId()] = true
			}
		case rec.GetActor().GetName() == actor && !undone[id] && undoable([]*plimsollv1.AuditRecord{rec}) == nil:
			found = id
		}
		return found == "" && seen < undoReach
	})
	if err == nil && found == "" {
		err = refuseNowf("there is no change of %q to undo among the newest %d of namespace %q", actor, seen, ns)
	}
	return found, err
}

// changeRecords are the records of a change, of which there is at least one, and
// those of a later one, which may have none; newest first. now tells of objects
// that stand again as the change left them, at which revision.
func (s *Store) changeRecords(ctx context.Context, ns, id, later string) (recs, laters []*plimsollv1.AuditRecord, now map[string]int64, err error) {
	seen, gap := 0, 0
	above := make(lineage)
	now = make(map[string]int64)
	err = s.walkBack(ctx, ns, 0, func(rec *plimsollv1.AuditRecord, _ int) bool {
		seen++
		gap++
		switch rec.GetChangeId() {
		case id:
			recs, gap = append(recs, rec), 0
			above.reach(rec, now)
		case later:
			laters = append(laters, rec)
		default:
			above.add(rec)
		}
		return seen < undoReach && (len(recs) == 0 || gap < undoGap)
	})
	if err == nil && len(recs) == 0 {
		err = &NotFoundError{Kind: fmt.Sprintf("change (among the newest %d of namespace %q) with the id", seen, ns), Name: id}
	}
	return recs, laters, now, err
}

// lineage follows objects back through the log, over the changes that were taken
// back.
type lineage map[string]*descent

// descent is where the walk back from an object's newest revision has come to.
type descent struct {
	newest int64
	as     int64  // the revision that the newest one is the same as
	undone string // the change that was taken back at that one; "": none
}

// add takes the next older record: where an undo left an object, it is as it was
// before the change that was undone.
func (l lineage) add(rec *plimsollv1.AuditRecord) {
	for _, o := range rec.GetObjects() {
		left := leftAt(rec, o)
		d := l[o.GetObject()]
		if d == nil {
			d = &descent{newest: left, as: left}
			l[o.GetObject()] = d
		}
		switch {
		case d.undone != "" && d.undone == rec.GetChangeId():
			d.as = o.GetBeforeRevision()
		case d.as == left:
			d.undone = rec.GetUndoesChangeId()
		}
	}
}

// reach notes, at a record, which of its objects stand as it left them.
func (l lineage) reach(rec *plimsollv1.AuditRecord, now map[string]int64) {
	for _, o := range rec.GetObjects() {
		if d := l[o.GetObject()]; d != nil && d.newest != 0 && d.as == leftAt(rec, o) {
			now[o.GetObject()] = d.newest
		}
		delete(l, o.GetObject())
	}
}

// undoable refuses changes that nobody may take back.
func undoable(recs []*plimsollv1.AuditRecord) error {
	for _, rec := range recs {
		id := rec.GetChangeId()
		switch actor := rec.GetActor(); {
		case rec.GetVerb() == "namespace.create":
			return refusef("change %s created the namespace, which cannot be undone: delete the namespace instead", id)
		case rec.GetVerb() == "namespace.delete":
			return refusef("change %s deleted the namespace, which cannot be undone: create it again instead", id)
		case actor.GetVerified() && actor.GetName() == systemActor().GetName():
			return refusef("change %s (%s) was made by the servers themselves, and cannot be undone: override a flag, or set the level, instead", id, rec.GetVerb())
		}
	}
	return nil
}

// undo is a change that is being taken back.
type undo struct {
	change Change
	// objects in the order in which they are written: the last one that the
	// change wrote first.
	objects []*undoObject
	byName  map[string]*undoObject
	// done is what an interrupted try has taken back already, at the revision at
	// which it left it; 0: it is gone.
	done map[string]int64
}

// undoObject is an object of the change, as it stood before and as the change
// left it.
type undoObject struct {
	name   string
	before []byte // nil: it did not exist
	// left is the revision at which the change left it; 0: it is gone.
	left int64
	// now is the revision at which it stands so: that one, or a later one that
	// brought it there again.
	now int64
	// firstRev is the revision before the oldest record read so far.
	firstRev int64
	// broken: others moved it between two transactions of the change.
	broken bool
	size   int
}

// newUndo takes a change's records, and those of an interrupted try to take it
// back, newest first.
func newUndo(recs, begun []*plimsollv1.AuditRecord, now map[string]int64, c Change) *undo {
	u := &undo{change: c, byName: make(map[string]*undoObject), done: make(map[string]int64)}
	for _, rec := range begun {
		for _, o := range rec.GetObjects() {
			if _, newer := u.done[o.GetObject()]; !newer {
				u.done[o.GetObject()] = leftAt(rec, o)
			}
		}
	}
	for _, rec := range recs {
		for _, o := range slices.Backward(rec.GetObjects()) {
			if o.GetObject() == objLevel {
				continue
			}
			left := leftAt(rec, o)
			obj := u.byName[o.GetObject()]
			if obj == nil {
				obj = &undoObject{name: o.GetObject(), left: left, now: left, firstRev: left}
				if at, again := now[obj.name]; again {
					obj.now = at
				}
				u.byName[obj.name] = obj
				u.objects = append(u.objects, obj)
			}
			obj.broken = obj.broken || obj.firstRev != left
			obj.before, obj.firstRev = o.Before, o.GetBeforeRevision()
			obj.size = 2*len(o.Before) + len(o.After) + 2*len(obj.name) + 256
		}
	}
	return u
}

// leftAt is the revision at which a record left an object; 0: it is gone.
func leftAt(rec *plimsollv1.AuditRecord, o *plimsollv1.AuditObject) int64 {
	if o.After == nil {
		return 0
	}
	return rec.GetRevision()
}

func (u *undo) sizes() []sized {
	out := make([]sized, len(u.objects))
	for i, o := range u.objects {
		out[i] = sized{o.name, o.size}
	}
	return out
}

// decide takes back the change of some objects.
func (u *undo) decide(snap *Snapshot, now time.Time, names []string) (*txn, error) {
	t := &txn{refs: true, check: func(before, after *Snapshot) error { return u.check(before, after, now, names) }}
	var moved []*plimsollv1.Conflict
	for _, name := range names {
		o := u.byName[name]
		is, exists := snap.Object(name)
		if at, ok := u.done[name]; ok && is.ModRevision == at {
			continue
		}
		if o.broken || is.ModRevision != o.now {
			moved = append(moved, &plimsollv1.Conflict{Object: name, BaseRevision: o.left, CurrentRevision: is.ModRevision})
			continue
		}
		value, err := u.value(o, now)
		if err != nil {
			return nil, err
		}
		if value != nil || exists {
			t.writes = append(t.writes, write{name, value})
		}
	}
	if len(moved) > 0 {
		slices.SortFunc(moved, func(a, b *plimsollv1.Conflict) int { return strings.Compare(a.GetObject(), b.GetObject()) })
		return nil, &ConflictError{Conflicts: moved}
	}
	return t, nil
}

// value is what an object is to hold again; nil: nothing. Definitions tell who
// brought them back; an override or a hold is the one that it was.
func (u *undo) value(o *undoObject, now time.Time) ([]byte, error) {
	if o.before == nil || o.lapsed(now) {
		return nil, nil
	}
	var msg proto.Message
	at, c := timestamppb.New(now), u.change
	kind, name := cutKind(o.name)
	switch {
	case kind == kindFlag:
		v := new(plimsollv1.StoredFlag)
		if err := proto.Unmarshal(o.before, v); err != nil {
			return nil, fmt.Errorf("what %s held before cannot be read: %w", o.name, err)
		}
		v.UpdatedAt, v.UpdatedBy, v.ChangeId, v.Verb, v.Reason = at, c.Actor, c.ID, c.Verb, inBrief(c.Reason)
		msg = v
	case kind == kindSegment || kind == kindEvaluator:
		v := new(plimsollv1.StoredRule)
		if err := proto.Unmarshal(o.before, v); err != nil {
			return nil, fmt.Errorf("what %s held before cannot be read: %w", o.name, err)
		}
		v.UpdatedAt, v.UpdatedBy, v.ChangeId, v.Verb, v.Reason = at, c.Actor, c.ID, c.Verb, inBrief(c.Reason)
		msg = v
	case name == objPlan:
		v := new(plimsollv1.StoredPlan)
		if err := proto.Unmarshal(o.before, v); err != nil {
			return nil, fmt.Errorf("what %s held before cannot be read: %w", o.name, err)
		}
		v.UpdatedAt, v.UpdatedBy, v.ChangeId = at, c.Actor, c.ID
		msg = v
	default:
		return present(o.before), nil
	}
	value, err := proto.Marshal(msg)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.name, err)
	}
	return present(value), nil
}

// lapsed tells whether what the object held before has ended by itself.
func (o *undoObject) lapsed(now time.Time) bool {
	switch kind, _ := cutKind(o.name); kind {
	case kindOverride:
		v := new(plimsollv1.Override)
		return o.before != nil && proto.Unmarshal(o.before, v) == nil && lapsed(v.GetExpiresAt(), now)
	case kindHold:
		v := new(plimsollv1.Hold)
		return o.before != nil && proto.Unmarshal(o.before, v) == nil && lapsed(v.GetExpiresAt(), now)
	default:
		return false
	}
}

// told is what became of the objects, sorted by name.
func (u *undo) told(now time.Time) []*plimsollv1.UndoneObject {
	out := make([]*plimsollv1.UndoneObject, 0, len(u.objects))
	for _, o := range u.objects {
		lapsed := o.lapsed(now)
		out = append(out, &plimsollv1.UndoneObject{Object: o.name, Removed: o.before == nil || lapsed, Lapsed: lapsed})
	}
	slices.SortFunc(out, func(a, b *plimsollv1.UndoneObject) int { return strings.Compare(a.GetObject(), b.GetObject()) })
	return out
}

// check refuses what the other verbs would not have let happen either.
func (u *undo) check(before, after *Snapshot, now time.Time, names []string) error {
	if err := checkTiers(before, after, now); err != nil {
		return err
	}
	refusal := &RefusedError{Now: true}
	var faults flag.Faults
	for _, object := range names {
		var err error
		switch kind, name := cutKind(object); kind {
		case kindFlag:
			if err = checkDefinition(after, name); err == nil {
				err = checkPinned(after, name, now)
			}
		case kindOverride:
			err = checkPinned(after, name, now)
		case kindSegment:
			err = checkUnused(after, object, "segment", name, after.set.SegmentUsers)
		case kindEvaluator:
			err = checkUnused(after, object, "evaluator", name, after.set.EvaluatorUsers)
		}
		var refused *RefusedError
		var invalid *InvalidError
		switch {
		case err == nil:
		case errors.As(err, &refused):
			refusal.add(refused)
		case errors.As(err, &invalid):
			faults = append(faults, invalid.Faults...)
		default:
			return err
		}
	}
	if refusal.Message != "" {
		return refusal
	}
	if len(faults) > 0 {
		return &InvalidError{Faults: faults}
	}
	return nil
}

// checkDefinition refuses a flag that refers to what there is no more.
func checkDefinition(after *Snapshot, key string) error {
	stored, _, ok := after.Flag(key)
	if !ok {
		return nil
	}
	_, faults := flag.Parse(key, []byte(stored.GetDefinition()), after.Env())
	errs := faults.Errors()
	for i := range errs {
		errs[i].Path, errs[i].Line, errs[i].Column = fmt.Sprintf("%s of %q", errs[i].Path, key), 0, 0
	}
	if len(errs) > 0 {
		return &InvalidError{Faults: errs}
	}
	return nil
}

// checkPinned refuses an override without its flag or variant.
func checkPinned(after *Snapshot, key string, now time.Time) error {
	ov, ok := after.Override(key, now)
	if !ok {
		return nil
	}
	def, ok := after.set.Lookup(key)
	if !ok {
		return refuseNowf("flag %q is overridden to variant %q by %s and would be gone; restore it first", key, ov.GetVariant(), ov.GetActor().GetName())
	}
	if _, has := def.Variant(ov.GetVariant()); !has {
		return refuseNowf("flag %q is overridden to variant %q by %s, which it would not have; restore the flag first", key, ov.GetVariant(), ov.GetActor().GetName())
	}
	return nil
}

func checkUnused(after *Snapshot, object, what, name string, users func(string) []string) error {
	if _, ok := after.Object(object); ok {
		return nil
	}
	if by := users(name); len(by) > 0 {
		return refuseNowf("%s %q would be gone, and is used by %s; change these first", what, name, listed(by))
	}
	return nil
}

// withMovers completes a conflict: only the log knows who moved what since the
// change with these records, newest first.
func (s *Store) withMovers(ctx context.Context, ns string, recs []*plimsollv1.AuditRecord, err error) error {
	var conflict *ConflictError
	if !errors.As(err, &conflict) {
		return err
	}
	missing := make(map[string]*plimsollv1.Conflict, len(conflict.Conflicts))
	for _, c := range conflict.Conflicts {
		missing[c.GetObject()] = c
	}
	first := recs[len(recs)-1]
	// Who moved it is a courtesy: the conflict stands without.
	_ = s.walkBack(ctx, ns, 0, func(rec *plimsollv1.AuditRecord, _ int) bool {
		if rec.GetChangeId() == first.GetChangeId() {
			return rec.GetSeq() > first.GetSeq()
		}
		for _, o := range rec.GetObjects() {
			if c := missing[o.GetObject()]; c != nil {
				c.Actor, c.Verb, c.Reason, c.ChangeId, c.Time = rec.GetActor(), rec.GetVerb(), rec.GetReason(), rec.GetChangeId(), rec.GetTime()
				delete(missing, o.GetObject())
			}
		}
		return len(missing) > 0 && rec.GetSeq() > first.GetSeq()
	})
	return err
}
