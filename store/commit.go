package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// Change says who asks for a change, and why.
type Change struct {
	// ID joins the transactions of one request; empty: one is drawn.
	ID string
	// Actor is who asks; nil: the servers themselves.
	Actor *plimsollv1.Actor
	// Verb is what is being done, such as flag.update; the store's methods set
	// it.
	Verb string
	// Reason is why, at most 4 KiB.
	Reason string

	// batch of batches, for a change of several transactions.
	batch, batches int
	// undoes is the change that an undo takes back.
	undoes string
}

func (c Change) normalize(verb string) (Change, error) {
	if len(c.Reason) > maxReason {
		return c, &LimitError{Message: fmt.Sprintf("the reason has %d bytes; the limit is %d", len(c.Reason), maxReason)}
	}
	if c.ID == "" {
		c.ID = NewChangeID()
	}
	if c.Actor == nil {
		c.Actor = systemActor()
	}
	c.Verb = verb
	return c, nil
}

// Result tells what became of a change.
type Result struct {
	// ChangeID is the change's id.
	ChangeID string
	// Position is the namespace's position after it.
	Position *plimsollv1.Position
	// Changed is false where all stood as asked for already.
	Changed bool
}

// write puts one object, or removes it where value is nil.
type write struct {
	name  string
	value []byte
}

// txn is what one transaction of a namespace does.
type txn struct {
	writes []write
	// before are the objects as they stood, in the order of writes; one that
	// did not exist has no ModRevision.
	before []Object
	// prev is the head that the transaction follows, at revision prevRev; 0:
	// the namespace does not exist yet.
	prev    *plimsollv1.StoredHead
	prevRev int64
	// refs: the written definitions refer to the plan, segments and
	// evaluators, which must not have moved.
	refs bool
	// last: the namespace is removed with this transaction.
	last bool
	// dueAt, for what expires: when it was due.
	dueAt time.Time
	// fingerprint is that of the history up to the transaction, once it was sent.
	fingerprint uint64
	// check, if set, refuses what the transaction would lead to.
	check func(before, after *Snapshot) error
	// after is the snapshot as it would be; admit sets it.
	after *Snapshot
}

// planner decides on the newest snapshot what is to be written. It returns
// nil where nothing is. It is called again whenever another writer was faster.
type planner func(*Snapshot) (*txn, error)

const (
	// resolveTimeout bounds the question what became of a transaction.
	resolveTimeout = 2 * time.Second
	// raceTimeout bounds how long a transaction is repeated after losing races
	// for the head. A server that writes many batches in a row tends to win
	// each race against one that has to hear of every result first, so it is a
	// time, not a count.
	raceTimeout = 10 * time.Second
	// A transaction that has lost this often waits a little before the next
	// try, at random up to racePause.
	raceFree  = 3
	racePause = 5 * time.Millisecond
)

// race counts the lost races of one transaction.
type race struct {
	began time.Time
	lost  int
}

// again waits its turn after a lost race; it reports false when it is time to
// give up.
func (r *race) again(ctx context.Context) bool {
	r.lost++
	if r.lost <= raceFree {
		return true
	}
	if time.Since(r.began) > raceTimeout {
		return false
	}
	pause := time.NewTimer(rand.N(racePause))
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-pause.C:
		return true
	}
}

// overtaken is the error of a transaction that gave up.
func (r *race) overtaken(ns string, c Change) error {
	return fmt.Errorf("change %s in namespace %s: %w: other writers were faster %d times in a row; try again", c.ID, ns, ErrUnavailable, r.lost)
}

// writers lets one transaction of a namespace at a time leave this process:
// more could only lose against each other.
type writers struct {
	mu    sync.Mutex
	perNS map[string]chan struct{}
}

func (w *writers) lock(ctx context.Context, ns string) (unlock func(), err error) {
	w.mu.Lock()
	if w.perNS == nil {
		w.perNS = make(map[string]chan struct{})
	}
	turn := w.perNS[ns]
	if turn == nil {
		turn = make(chan struct{}, 1)
		w.perNS[ns] = turn
	}
	w.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for other writers of namespace %s: %w: %w", ns, ErrUnavailable, ctx.Err())
	}
}

// commit makes one change in one transaction: the objects, the audit record
// and the new head, or nothing. When it returns, this server's snapshot shows
// the change.
func (s *Store) commit(ctx context.Context, ns string, c Change, plan planner) (Result, error) {
	if err := s.writable(); err != nil {
		return Result{}, err
	}
	// Before the lock, which is kept for each name that was ever asked for.
	if _, err := s.Snapshot(ns); err != nil {
		return Result{}, err
	}
	unlock, err := s.writers.lock(ctx, ns)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	r := race{began: time.Now()}
	for {
		snap, err := s.Snapshot(ns)
		if err != nil {
			return Result{}, err
		}
		t, err := plan(snap)
		if err != nil {
			return Result{}, err
		}
		if t == nil || len(t.writes) == 0 {
			return Result{ChangeID: c.ID, Position: snap.Position()}, nil
		}
		if err := s.prepare(snap, t); err != nil {
			return Result{}, err
		}
		rev, won, err := s.execute(ctx, ns, c, t)
		if err != nil {
			return Result{}, err
		}
		s.await(ctx, func(view map[string]*Snapshot) bool { return view[ns] == nil || view[ns].Revision() >= rev })
		if won {
			pos := proto.Clone(snap.Position()).(*plimsollv1.Position)
			pos.Revision, pos.Fingerprint = rev, t.fingerprint
			return Result{ChangeID: c.ID, Position: pos, Changed: true}, nil
		}
		if !r.again(ctx) {
			return Result{}, r.overtaken(ns, c)
		}
	}
}

// writable refuses writes that cannot succeed, before anything is sent.
func (s *Store) writable() error {
	if s.stale.Load() {
		return ErrReadOnly
	}
	client := s.client.Load()
	if client == nil {
		return ErrUnavailable
	}
	if err := s.trouble.Load(); err != nil {
		return fmt.Errorf("nothing was written: %w", wrapEtcd("follow etcd", *err))
	}
	// A client within this process has no connection that could be down.
	if conn := client.ActiveConnection(); conn != nil && conn.GetState() == connectivity.TransientFailure {
		return fmt.Errorf("nothing was written: %w: no member of the cluster answers", ErrUnavailable)
	}
	if s.room != nil {
		return s.room()
	}
	return nil
}

// prepare completes a transaction that follows a snapshot, or refuses it.
func (s *Store) prepare(snap *Snapshot, t *txn) error {
	if err := s.settle(snap, t); err != nil {
		return err
	}
	t.prev, t.prevRev = snap.head, snap.headRev
	t.readBefore(snap)
	return s.admit(snap, t)
}

func (t *txn) readBefore(snap *Snapshot) {
	t.before = make([]Object, len(t.writes))
	for i, w := range t.writes {
		t.before[i], _ = snap.Object(w.name)
	}
}

// admit refuses what passes a limit or does not compile together with the
// rest of the namespace.
func (s *Store) admit(snap *Snapshot, t *txn) error {
	flags, bytes := 0, int64(0)
	for i, w := range t.writes {
		bytes += int64(len(w.value) - len(t.before[i].Value))
		if kind, _ := cutKind(w.name); kind == kindFlag {
			switch existed := t.before[i].ModRevision != 0; {
			case !existed && w.value != nil:
				flags++
			case existed && w.value == nil:
				flags--
			}
		}
	}
	if err := s.checkRoom(snap, flags, bytes); err != nil {
		return err
	}
	if t.last {
		return nil
	}
	after, problems := snap.rehearse(t.writes, s.now())
	t.after = after
	if t.check != nil {
		if err := t.check(snap, after); err != nil {
			return err
		}
	}
	return t.problemError(problems)
}

// problemError is the error of what a transaction would break; nil if nothing.
func (t *txn) problemError(problems []flag.Problem) error {
	var faults flag.Faults
	for _, p := range problems {
		for _, f := range p.Faults {
			if len(t.writes) > 1 || t.writes[0].name != kindFlag+p.Key {
				// The position is in another text than the caller's.
				f.Path, f.Line, f.Column = fmt.Sprintf("%s of %q", f.Path, p.Key), 0, 0
			}
			faults = append(faults, f)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return &InvalidError{Faults: faults}
}

// execute sends the transaction. It returns the revision it made, or, where
// another writer was faster, a revision to catch up with first.
func (s *Store) execute(ctx context.Context, ns string, c Change, t *txn) (rev int64, won bool, err error) {
	rec, ops, err := s.compose(ns, c, t, t.prev)
	if err != nil {
		return 0, false, err
	}
	t.fingerprint = fingerprintOf(rec.GetHash())
	head := objectKey(ns, objHead)
	reqCtx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := s.client.Load().Txn(reqCtx).
		If(t.compares(ns, rec.GetSeq())...).
		Then(ops...).
		Else(clientv3.OpGet(head)).
		Commit()
	if err != nil {
		return s.resolve(ns, rec, err)
	}
	s.full.Store(nil)
	if resp.Succeeded {
		return resp.Header.Revision, true, nil
	}
	rev = resp.Header.Revision
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 {
		rev = kvs[0].ModRevision
	}
	return rev, false, nil
}

// compares are the conditions of a transaction. The head alone would do among
// servers, since each of their transactions rewrites it; the objects and what
// they refer to are compared as well, so that a write to etcd past the servers
// cannot be overwritten unseen.
func (t *txn) compares(ns string, seq uint64) []clientv3.Cmp {
	head := objectKey(ns, objHead)
	cmps := make([]clientv3.Cmp, 0, len(t.writes)+5)
	if t.prevRev == 0 {
		cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(head), "=", 0))
	} else {
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(head), "=", t.prevRev))
	}
	cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(auditKey(ns, seq)), "=", 0))
	for i, w := range t.writes {
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(objectKey(ns, w.name)), "=", t.before[i].ModRevision))
	}
	if t.refs {
		cmps = append(cmps,
			clientv3.Compare(clientv3.ModRevision(objectKey(ns, objPlan)), "<", t.prevRev+1),
			clientv3.Compare(clientv3.ModRevision(objectKey(ns, kindSegment)), "<", t.prevRev+1).WithPrefix(),
			clientv3.Compare(clientv3.ModRevision(objectKey(ns, kindEvaluator)), "<", t.prevRev+1).WithPrefix())
	}
	return cmps
}

// compose builds the operations of a transaction: its objects, its audit
// record, and the head that both follow from.
func (s *Store) compose(ns string, c Change, t *txn, prev *plimsollv1.StoredHead) (*plimsollv1.AuditRecord, []clientv3.Op, error) {
	rec := &plimsollv1.AuditRecord{
		Seq:      prev.GetAuditSeq() + 1,
		PrevHash: prev.GetAuditHash(),
		Time:     timestamppb.New(s.now()),
		Actor:    c.Actor,
		Verb:     c.Verb,
		Reason:   c.Reason,
		ChangeId: c.ID,
		Batch:    uint32(c.batch),
		Batches:  uint32(c.batches),

		UndoesChangeId: c.undoes,
	}
	if !t.dueAt.IsZero() {
		rec.DueAt = timestamppb.New(t.dueAt)
	}
	ops := make([]clientv3.Op, 0, len(t.writes)+2)
	for i, w := range t.writes {
		obj := &plimsollv1.AuditObject{Object: w.name, After: w.value}
		if t.before[i].ModRevision != 0 {
			obj.Before, obj.BeforeRevision = t.before[i].Value, t.before[i].ModRevision
		}
		rec.Objects = append(rec.Objects, obj)
		if w.value == nil {
			ops = append(ops, clientv3.OpDelete(objectKey(ns, w.name)))
		} else {
			ops = append(ops, clientv3.OpPut(objectKey(ns, w.name), string(w.value)))
		}
	}
	stored, err := sealRecord(rec)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the audit record: %w", err)
	}
	if len(stored) > maxTxnBytes+maxTxnBytes/4 {
		return nil, nil, &LimitError{Message: fmt.Sprintf("change %s takes %d bytes in one transaction; the limit is %d", c.ID, len(stored), maxTxnBytes)}
	}
	ops = append(ops, clientv3.OpPut(auditKey(ns, rec.GetSeq()), string(stored)))
	head := objectKey(ns, objHead)
	if t.last {
		return rec, append(ops, clientv3.OpDelete(head)), nil
	}
	value, err := proto.Marshal(&plimsollv1.StoredHead{AuditSeq: rec.GetSeq(), AuditHash: rec.GetHash()})
	if err != nil {
		return nil, nil, fmt.Errorf("encode the head: %w", err)
	}
	return rec, append(ops, clientv3.OpPut(head, string(value))), nil
}

// sealRecord encodes a record and sets its hash.
func sealRecord(rec *plimsollv1.AuditRecord) ([]byte, error) {
	body, err := proto.Marshal(rec)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(body)
	rec.Hash = hash[:]
	return proto.Marshal(&plimsollv1.StoredAuditRecord{Record: body, Hash: rec.GetHash()})
}

// resolve finds out what became of a transaction that etcd did not answer:
// its audit record is there, or another with its sequence is, or neither.
func (s *Store) resolve(ns string, rec *plimsollv1.AuditRecord, cause error) (rev int64, won bool, err error) {
	wrapped := wrapEtcd("write to etcd", cause)
	if errors.Is(wrapped, ErrFull) {
		s.full.Store(&wrapped)
		return 0, false, wrapped
	}
	// The caller may be gone; its question still has an answer. A transaction
	// that is only delayed cannot be told from one that was lost, so the
	// absence of the record does not prove that it will not appear.
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	resp, err := s.client.Load().Get(ctx, auditKey(ns, rec.GetSeq()))
	if err != nil || len(resp.Kvs) == 0 {
		return 0, false, fmt.Errorf("change %s: %w: %w; look for it in the audit log before trying again", rec.GetChangeId(), ErrUnknownOutcome, cause)
	}
	got, err := decodeRecord(resp.Kvs[0])
	if err == nil && string(got.GetHash()) == string(rec.GetHash()) {
		return resp.Kvs[0].ModRevision, true, nil
	}
	return resp.Kvs[0].ModRevision, false, nil
}

// await blocks until the view is as asked for, so that whoever was told of a
// change also sees it on this server. The change is made either way: a view
// that is late is not an error.
func (s *Store) await(ctx context.Context, reached func(map[string]*Snapshot) bool) {
	timeout := time.NewTimer(time.Second)
	defer timeout.Stop()
	for {
		changed := *s.viewChanged.Load()
		if reached(*s.view.Load()) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-timeout.C:
			return
		}
	}
}
