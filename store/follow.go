package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

const (
	// A watch that brings nothing, not even an answer to the progress requests,
	// for this many confirmation intervals is given up and opened anew.
	silentIntervals = 3
	// listPage is how many keys a listing asks for at a time.
	listPage = 1000

	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// errRelist ends a watch whose view must be listed anew.
var errRelist = errors.New("the view must be listed anew")

// follow keeps the view current until ctx ends. It is the only writer of the
// view.
func (s *Store) follow(ctx context.Context) {
	f := follower{Store: s, strayed: make(map[string]bool)}
	backoff := minBackoff
	for {
		began := time.Now()
		err := f.run(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errRelist) {
			f.applied = 0
		} else {
			s.setTrouble(err)
			s.log.Warn("etcd cannot be followed; reads go on from memory", "error", err)
		}
		if time.Since(began) > maxBackoff {
			backoff = minBackoff
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(rand.N(backoff) + backoff/2):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// follower is what the following goroutine remembers between connections.
type follower struct {
	*Store
	// applied is the etcd revision up to which the view is complete; 0: the
	// view must be listed.
	applied int64
	// strayed are the namespaces whose objects were written past the servers,
	// without the head. Such a write is held back until the head moves, as one
	// position must not have two states.
	strayed map[string]bool
}

// run lists if that is needed and then follows one watch to its end.
func (f *follower) run(ctx context.Context) error {
	if f.client.Load() == nil {
		client, err := f.connect()
		if err != nil {
			return wrapEtcd("connect to etcd", err)
		}
		f.client.Store(client)
	}
	if err := f.checkIdentity(ctx); err != nil {
		return err
	}
	if f.applied == 0 {
		if err := f.list(ctx); err != nil {
			return err
		}
	}
	f.setTrouble(nil)
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	ch := f.client.Load().Watch(ctx, Prefix, clientv3.WithPrefix(), clientv3.WithRev(f.applied+1))
	tick := time.NewTicker(f.confirm)
	defer tick.Stop()
	silent := 0
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if silent++; silent > silentIntervals {
				return fmt.Errorf("watch %s: etcd was silent for %s", Prefix, time.Duration(silent)*f.confirm)
			}
			if err := f.stillTheSame(ctx); err != nil {
				return err
			}
			if err := f.requestProgress(ctx); err != nil {
				return fmt.Errorf("ask etcd for progress: %w", err)
			}
		case resp, open := <-ch:
			if !open {
				return errors.New("the watch was closed by etcd")
			}
			silent = 0
			if err := f.receive(resp); err != nil {
				return err
			}
		}
	}
}

func (f *follower) requestProgress(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return f.client.Load().RequestProgress(ctx)
}

// stillTheSame notices that etcd was replaced under a watch, which the client
// resumes by itself.
func (f *follower) stillTheSame(ctx context.Context) error {
	resp, err := f.get(ctx, keyIdentity)
	if err != nil {
		return wrapEtcd("read the store's identity", err)
	}
	id := new(plimsollv1.StoredIdentity)
	if len(resp.Kvs) == 1 {
		_ = proto.Unmarshal(resp.Kvs[0].Value, id) // garbage is another identity
	}
	if was := f.identity.Load(); id.GetId() != was.GetId() || id.GetEpoch() != was.GetEpoch() {
		return errRelist
	}
	if resp.Header.Revision <= f.applied {
		// A quorum has no more than the view shows.
		f.confirmed()
	}
	return nil
}

// checkIdentity creates the store on first use, and notices when etcd holds
// another store than before (a wiped or restored cluster).
func (f *follower) checkIdentity(ctx context.Context) error {
	id, err := f.ensureIdentity(ctx)
	if err != nil {
		return err
	}
	old := f.identity.Load()
	if old.GetId() == id.GetId() && old.GetEpoch() == id.GetEpoch() {
		return nil
	}
	if old.GetId() != "" {
		f.log.Warn("etcd holds another store than before; following it",
			"old_store", old.GetId(), "old_epoch", old.GetEpoch(), "store", id.GetId(), "epoch", id.GetEpoch())
		f.tails.close(ErrReplaced)
	}
	f.identity.Store(id)
	f.applied = 0
	return nil
}

// list reads everything at one revision and brings the view to it.
func (f *follower) list(ctx context.Context) error {
	listed := make(map[string]map[string]Object)
	rev, err := f.scan(ctx, prefixNS, 0, func(kv *mvccpb.KeyValue) {
		ns, name, ok := splitNS(string(kv.Key))
		if !ok || beside(name) {
			return
		}
		if listed[ns] == nil {
			listed[ns] = make(map[string]Object)
		}
		listed[ns][name] = Object{Name: name, Value: present(kv.Value), ModRevision: kv.ModRevision}
	})
	if err != nil {
		return wrapEtcd("list the store", err)
	}
	servers := make(map[string]*plimsollv1.StoredServer)
	if _, err := f.scan(ctx, prefixServers, rev, func(kv *mvccpb.KeyValue) { putServer(servers, kv) }); err != nil {
		return wrapEtcd("list the servers", err)
	}
	f.servers.Store(f.servers.Load().listed(servers, f.now()))
	view := make(map[string]*Snapshot, len(listed))
	for ns, objects := range listed {
		if _, alive := objects[objHead]; alive {
			view[ns] = f.listed(ns, objects)
		}
	}
	f.publish(view)
	for ns, snap := range view {
		seq, _ := snap.AuditSeq()
		f.tails.send([]tailed{{ns: ns, seq: seq}})
	}
	f.applied = rev
	f.stale.Store(false)
	f.confirmed()
	f.readyOnce.Do(func() { close(f.ready) })
	return nil
}

// listed turns a listing of one namespace into its next snapshot. Where the
// view has the namespace already, only what differs is touched, so that
// clients connected all the while get a delta.
func (f *follower) listed(ns string, objects map[string]Object) *Snapshot {
	snap := (*f.view.Load())[ns]
	id := f.identity.Load()
	head := decodeHead(objects[objHead].Value)
	headRev := objects[objHead].ModRevision
	delete(objects, objHead)
	if snap == nil || snap.position.GetStoreId() != id.GetId() || snap.position.GetEpoch() != id.GetEpoch() || snap.Revision() > headRev {
		snap = newSnapshot(ns, id)
	}
	muts := make([]mutation, 0, len(objects))
	for old := range snap.Objects() {
		if _, still := objects[old.Name]; !still {
			muts = append(muts, mutation{Object{Name: old.Name, ModRevision: headRev}})
		}
	}
	for name, o := range objects {
		// A store that was put back may have another value at the same revision.
		if old, had := snap.Object(name); !had || old.ModRevision != o.ModRevision || !bytes.Equal(old.Value, o.Value) {
			muts = append(muts, mutation{o})
		}
	}
	same := bytes.Equal(snap.head.GetAuditHash(), head.GetAuditHash())
	if snap.headRev == headRev && same {
		if len(muts) > 0 {
			f.stray(ns, headRev)
		}
		return snap
	}
	whole := snap.Revision() == 0 || snap.headRev == headRev || f.strayed[ns]
	delete(f.strayed, ns)
	next, problems := snap.next(muts, head, headRev, f.now())
	if whole {
		next.history = history{from: next.point()}
	}
	f.report(next, problems)
	return next
}

// receive folds one watch response into the view.
func (f *follower) receive(resp clientv3.WatchResponse) error {
	if resp.CompactRevision != 0 {
		f.log.Info("etcd has compacted what was to be watched; listing anew", "compacted", resp.CompactRevision)
		return errRelist
	}
	if err := resp.Err(); err != nil {
		return fmt.Errorf("watch %s: %w", Prefix, err)
	}
	if resp.IsProgressNotify() && resp.Header.Revision < f.applied {
		f.log.Warn("etcd has gone back; listing anew", "revision", resp.Header.Revision, "applied", f.applied)
		return errRelist
	}
	if len(resp.Events) > 0 {
		if err := f.fold(resp.Events); err != nil {
			return err
		}
		// Not the header's revision: while a watch catches up, that is ahead of
		// the events it has sent.
		f.applied = resp.Events[len(resp.Events)-1].Kv.ModRevision
	}
	if resp.IsProgressNotify() {
		f.applied = max(f.applied, resp.Header.Revision)
	}
	f.confirmed()
	return nil
}

// fold applies events, which come in the order of their revisions; those of
// one revision stand together.
func (f *follower) fold(events []*clientv3.Event) error {
	view := maps.Clone(*f.view.Load())
	var records []tailed
	for len(events) > 0 {
		rev := events[0].Kv.ModRevision
		n := 1
		for n < len(events) && events[n].Kv.ModRevision == rev {
			n++
		}
		recs, err := f.foldRevision(view, rev, events[:n])
		if err != nil {
			return err
		}
		records = append(records, recs...)
		events = events[n:]
	}
	f.publish(view)
	f.tails.send(records)
	return nil
}

// changes of one namespace in one revision.
type nsChanges struct {
	muts    []mutation
	head    *plimsollv1.StoredHead
	deleted bool
	record  *mvccpb.KeyValue // the audit record, if there is one
}

// follows says whether the changes are the next ones after a head: a head that
// names the same record, or the record whose predecessor the old one names.
// Anything else means that something was missed, or that this is another
// store's history.
func (c *nsChanges) follows(head *plimsollv1.StoredHead) bool {
	if c.head.GetAuditSeq() == head.GetAuditSeq() {
		return bytes.Equal(c.head.GetAuditHash(), head.GetAuditHash())
	}
	if c.record == nil || c.head.GetAuditSeq() != head.GetAuditSeq()+1 {
		return false
	}
	rec, err := decodeRecord(c.record)
	return err == nil && bytes.Equal(rec.GetPrevHash(), head.GetAuditHash())
}

func (f *follower) foldRevision(view map[string]*Snapshot, rev int64, events []*clientv3.Event) ([]tailed, error) {
	byNS := make(map[string]*nsChanges, 1)
	of := func(ns string) *nsChanges {
		if byNS[ns] == nil {
			byNS[ns] = new(nsChanges)
		}
		return byNS[ns]
	}
	var records []tailed
	for _, ev := range events {
		key := string(ev.Kv.Key)
		if key == keyIdentity {
			return nil, errRelist
		}
		if id, ok := splitServer(key); ok {
			f.foldServer(id, ev)
			continue
		}
		if ns, seq, ok := splitAudit(key); ok {
			if ev.Type == clientv3.EventTypePut {
				records = append(records, tailed{ns, seq, ev.Kv})
				of(ns).record = ev.Kv
			}
			continue
		}
		ns, name, ok := splitNS(key)
		if !ok || beside(name) {
			continue
		}
		c := of(ns)
		deleted := ev.Type == clientv3.EventTypeDelete
		if name == objHead {
			c.deleted = deleted
			c.head = decodeHead(ev.Kv.Value)
			continue
		}
		o := Object{Name: name, ModRevision: rev}
		if !deleted {
			// An empty message encodes to nothing, which is not its removal.
			o.Value = present(ev.Kv.Value)
		}
		c.muts = append(c.muts, mutation{o})
	}
	for ns, c := range byNS {
		if err := f.foldNamespace(view, ns, rev, c); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// foldServer notes that a server has come, or gone. It is no state, so that it
// need not wait for the rest of the revision.
func (f *follower) foldServer(id string, ev *clientv3.Event) {
	was := f.servers.Load()
	servers := maps.Clone(was.live)
	delete(servers, id)
	if ev.Type == clientv3.EventTypePut {
		if putServer(servers, ev.Kv); servers[id] == nil { // it signs off
			was = &roster{live: servers, lost: was.lost}
		}
	}
	f.servers.Store(was.listed(servers, f.now()))
}

func (f *follower) foldNamespace(view map[string]*Snapshot, ns string, rev int64, c *nsChanges) error {
	if c.deleted {
		delete(view, ns)
		delete(f.strayed, ns)
		return nil
	}
	snap := view[ns]
	first := snap == nil
	switch {
	case c.head == nil:
		if !first && len(c.muts) > 0 {
			f.stray(ns, rev)
		}
		return nil
	case first:
		snap = newSnapshot(ns, f.identity.Load())
	case f.strayed[ns]:
		return errRelist
	case !c.follows(snap.head):
		f.log.Warn("a change does not follow the one before; listing anew", "namespace", ns, "revision", rev)
		return errRelist
	}
	next, problems := snap.next(c.muts, c.head, rev, f.now())
	if first {
		next.history = history{from: next.point()}
	}
	f.report(next, problems)
	view[ns] = next
	return nil
}

// beside says whether an object is kept beside the namespace's state: its
// writes touch neither head nor audit log.
func beside(name string) bool {
	return strings.HasPrefix(name, "usage/") || strings.HasPrefix(name, "series/")
}

// stray notes a write past the servers.
func (f *follower) stray(ns string, rev int64) {
	if !f.strayed[ns] {
		f.strayed[ns] = true
		f.log.Error("objects were written to etcd past Plimsoll, without an audit record; they count from the namespace's next change on",
			"namespace", ns, "revision", rev)
	}
}

// publish makes view the newest, and wakes those who wait on what it replaces.
func (f *follower) publish(view map[string]*Snapshot) {
	old := *f.view.Swap(&view)
	for ns, snap := range old {
		if view[ns] != snap {
			close(snap.superseded)
		}
	}
	changed := make(chan struct{})
	close(*f.viewChanged.Swap(&changed))
}

// report logs definitions that cannot be compiled.
func (s *Store) report(snap *Snapshot, problems []flag.Problem) {
	for _, p := range problems {
		s.log.Error("a stored definition cannot be compiled; its last good version is served",
			"namespace", snap.namespace, "revision", snap.Revision(), "flag", p.Key, "error", p.Faults)
	}
}

// scan calls each for every key below prefix, page by page, all at one
// revision (rev, or the newest for 0), which it returns.
func (s *Store) scan(ctx context.Context, prefix string, rev int64, each func(*mvccpb.KeyValue)) (int64, error) {
	end := clientv3.GetPrefixRangeEnd(prefix)
	from := prefix
	for {
		resp, err := s.get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(listPage), clientv3.WithRev(rev))
		if err != nil {
			return 0, err
		}
		for _, kv := range resp.Kvs {
			each(kv)
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return rev, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

func (s *Store) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	client := s.client.Load()
	if client == nil {
		return nil, ErrUnavailable
	}
	return client.Get(ctx, key, opts...)
}

// wrapEtcd says what was being done and maps etcd's errors to the store's.
func wrapEtcd(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrNoSpace) || strings.Contains(err.Error(), "database space exceeded"):
		return fmt.Errorf("%s: %w: etcd's backend is at its quota; compact and defragment it, or raise the quota", doing, ErrFull)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", doing, err)
	default:
		return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err)
	}
}

func decodeHead(value []byte) *plimsollv1.StoredHead {
	head := new(plimsollv1.StoredHead)
	_ = proto.Unmarshal(value, head)
	return head
}

// present makes an empty value distinct from none.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}
