package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

// replay rebuilds a namespace from its audit log alone and compares it with
// the store, and verifies the chain.
func replay(t testing.TB, s *store.Store, ns string) {
	t.Helper()
	verifyChain(t, s, ns)
	state := make(map[string][]byte)
	for rec := range allRecords(t, s, ns) {
		applyRecord(t, state, rec)
	}
	snap, err := s.Snapshot(ns)
	if err != nil {
		t.Fatal(err)
	}
	stored := make(map[string][]byte)
	for o := range snap.Objects() {
		stored[o.Name] = o.Value
	}
	sameState(t, stored, state)
}

func applyRecord(t testing.TB, state map[string][]byte, rec *plimsollv1.AuditRecord) {
	t.Helper()
	for _, o := range rec.GetObjects() {
		if old, had := state[o.GetObject()]; had != (o.Before != nil) || !bytes.Equal(old, o.GetBefore()) {
			t.Errorf("record %d says that %s was something else before", rec.GetSeq(), o.GetObject())
		}
		if o.After == nil {
			delete(state, o.GetObject())
		} else {
			state[o.GetObject()] = o.GetAfter()
		}
	}
}

func sameState(t testing.TB, stored, replayed map[string][]byte) {
	t.Helper()
	if len(stored) != len(replayed) {
		t.Errorf("the store has %d objects, the log %d", len(stored), len(replayed))
	}
	for name, value := range stored {
		if got, ok := replayed[name]; !ok || !bytes.Equal(value, got) {
			t.Errorf("%s differs between store and log", name)
		}
	}
}

// allRecords yields a namespace's records, oldest first.
func allRecords(t testing.TB, s *store.Store, ns string) func(func(*plimsollv1.AuditRecord) bool) {
	t.Helper()
	var all []*plimsollv1.AuditRecord
	q := store.RecordQuery{Limit: 100}
	for {
		recs, next, err := s.Records(context.Background(), ns, q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, recs...)
		if next == 0 {
			break
		}
		q.BeforeSeq = next
	}
	return func(yield func(*plimsollv1.AuditRecord) bool) {
		for i := len(all) - 1; i >= 0; i-- {
			if !yield(all[i]) {
				return
			}
		}
	}
}

func TestStateAndLogAgreeAtEveryRevision(t *testing.T) {
	member := startMember(t, t.TempDir())
	s := openOn(t, member)
	churn(t, s, 40)
	state := make(map[string][]byte)
	for rec := range allRecords(t, s, "default") {
		applyRecord(t, state, rec)
		prefix := store.Prefix + "ns/default/"
		resp, err := member.Client().Get(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithRev(rec.GetRevision()))
		if err != nil {
			t.Fatal(err)
		}
		stored := make(map[string][]byte)
		for _, kv := range resp.Kvs {
			if name := string(kv.Key[len(prefix):]); name != "head" {
				stored[name] = kv.Value
			} else if kv.ModRevision != rec.GetRevision() {
				t.Errorf("record %d is at revision %d, the head at %d", rec.GetSeq(), rec.GetRevision(), kv.ModRevision)
			}
		}
		sameState(t, stored, state)
	}
}

// churn makes n changes of several kinds.
func churn(t testing.TB, s *store.Store, n int) {
	t.Helper()
	ctx := t.Context()
	on, no := "on", false
	for i := range n {
		key := fmt.Sprintf("f%d", i%7)
		var err error
		switch snap := snapshot(t, s); {
		case i%11 == 10:
			_, err = apply(t, s, fmt.Sprintf(`{"flags":{"applied":%s},"metadata":{"n":%d}}`, boolFlag, i), store.ApplyOptions{Force: true}, "ann")
		case !exists(snap, key):
			_, _, err = s.CreateFlag(ctx, "default", key, boolFlag, by("ann"))
		case i%5 == 0:
			_, err = s.Kill(ctx, "default", store.Kill{Keys: []string{key}, Variant: "on", Lasts: lasts(time.Hour)}, false, by("bob"))
		case i%5 == 1:
			_, err = s.Restore(ctx, "default", []string{key}, false, by("bob"))
		case i%5 == 2:
			_, _, err = s.UpdateFlag(ctx, "default", key, store.FlagUpdate{Enabled: &no}, by("eve"))
		case i%5 == 3:
			_, _, err = s.UpdateFlag(ctx, "default", key, store.FlagUpdate{DefaultVariant: &on}, by("eve"))
		default:
			if _, err = s.Restore(ctx, "default", []string{key}, false, by("bob")); err == nil {
				_, err = s.DeleteFlag(ctx, "default", key, 0, by("bob"))
			}
		}
		if err != nil {
			t.Fatalf("change %d of %s: %v", i, key, err)
		}
	}
}

func exists(snap *store.Snapshot, key string) bool {
	_, ok := snap.FlagObject(key)
	return ok
}

func TestWritersOnSeveralServersLoseNothing(t *testing.T) {
	member := startMember(t, t.TempDir())
	servers := []*store.Store{openOn(t, member), openOn(t, member), openOn(t, member)}
	const each = 15
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() {
			for n := range each {
				key := fmt.Sprintf("server-%d-flag-%d", i, n)
				if _, _, err := s.CreateFlag(t.Context(), "default", key, boolFlag, by("ann")); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
	wg.Wait()
	for i, s := range servers {
		eventually(t, s, "all flags are there", func() bool { return snapshot(t, s).FlagCount() == each*len(servers) })
		if a, b := snapshot(t, s).Revision(), snapshot(t, servers[0]).Revision(); a != b {
			t.Errorf("server %d is at revision %d, server 0 at %d", i, a, b)
		}
	}
	if v := verifyChain(t, servers[0], "default"); v.Records != each*3+1 {
		t.Errorf("%d records, want %d", v.Records, each*3+1)
	}
	replay(t, servers[1], "default")
}

func TestVerifyFindsTampering(t *testing.T) {
	auditKey := func(seq int) string { return fmt.Sprintf("%saudit/default/%020d", store.Prefix, seq) }
	for _, tc := range []struct {
		name   string
		tamper func(ctx context.Context, c *clientv3.Client) error
		bad    uint64
	}{
		{"a record that was removed", func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.Delete(ctx, auditKey(3))
			return err
		}, 3},
		{"a record that was altered", func(ctx context.Context, c *clientv3.Client) error {
			resp, err := c.Get(ctx, auditKey(2))
			if err != nil {
				return err
			}
			altered := bytes.Replace(resp.Kvs[0].Value, []byte("because ann"), []byte("because bob"), 1)
			_, err = c.Put(ctx, auditKey(2), string(altered))
			return err
		}, 2},
		{"a record that was replaced by another", func(ctx context.Context, c *clientv3.Client) error {
			resp, err := c.Get(ctx, auditKey(4))
			if err != nil {
				return err
			}
			_, err = c.Put(ctx, auditKey(3), string(resp.Kvs[0].Value))
			return err
		}, 3},
		{"an end that was cut off", func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.Delete(ctx, auditKey(5))
			return err
		}, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			member := startMember(t, t.TempDir())
			s := openOn(t, member)
			for _, key := range []string{"a", "b", "c", "d"} {
				mustCreate(t, s, key, boolFlag)
			}
			verifyChain(t, s, "default")
			if err := tc.tamper(t.Context(), member.Client()); err != nil {
				t.Fatal(err)
			}
			v, err := s.Verify(t.Context(), "default")
			if err != nil {
				t.Fatal(err)
			}
			if v.BadSeq != tc.bad || v.Problem == "" {
				t.Errorf("verdict %+v, want record %d to be bad", v, tc.bad)
			}
		})
	}
}

func TestRecordsArePagedAndFiltered(t *testing.T) {
	s := newStore(t)
	for i := range 5 {
		mustCreate(t, s, fmt.Sprintf("f%d", i), boolFlag)
	}
	page, next, err := s.Records(t.Context(), "default", store.RecordQuery{Limit: 4})
	if err != nil || len(page) != 4 || page[0].GetSeq() != 6 || next != 3 {
		t.Fatalf("first page: %d records, next before %d, %v", len(page), next, err)
	}
	page, next, err = s.Records(t.Context(), "default", store.RecordQuery{Limit: 4, BeforeSeq: next})
	if err != nil || len(page) != 2 || page[1].GetSeq() != 1 || next != 0 {
		t.Fatalf("second page: %d records, next before %d, %v", len(page), next, err)
	}
	page, _, err = s.Records(t.Context(), "default", store.RecordQuery{Limit: 4, Object: "flags/f2"})
	if err != nil || len(page) != 1 || page[0].GetVerb() != "flag.create" || page[0].GetReason() != "because ann says so" {
		t.Fatalf("records of f2: %v, %v", page, err)
	}
}

func TestATailMissesNothing(t *testing.T) {
	s := newStore(t)
	mustCreate(t, s, "before", boolFlag)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	zero := uint64(0)
	var got []uint64
	ended := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		ended <- s.Tail(ctx, "default", &zero, time.Hour, func(rec *plimsollv1.AuditRecord) error {
			got = append(got, rec.GetSeq())
			if rec.GetSeq() == 2 {
				close(started)
			}
			if rec.GetSeq() == 22 {
				cancel()
			}
			return nil
		})
	}()
	await(t, started, "the first records")
	for i := range 20 {
		mustCreate(t, s, fmt.Sprintf("f%d", i), boolFlag)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for i, seq := range got {
		if seq != uint64(i+1) {
			t.Fatalf("sequences %v", got)
		}
	}
}

func TestATailThatDoesNotReadIsCutOff(t *testing.T) {
	s := newStore(t)
	reading, stuck := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	zero := uint64(0)
	go func() {
		first := true
		ended <- s.Tail(t.Context(), "default", &zero, time.Hour, func(*plimsollv1.AuditRecord) error {
			if first {
				first = false
				close(reading)
				<-stuck
			}
			return nil
		})
	}()
	await(t, reading, "the tail to read")
	doc := document(t, 400, numbered)
	for i := range 400 {
		one := *doc
		one.Flags = doc.Flags[i : i+1]
		if _, err := s.Apply(t.Context(), "default", &one, store.ApplyOptions{}, by("ann")); err != nil {
			t.Fatal(err)
		}
	}
	close(stuck)
	select {
	case err := <-ended:
		if !errors.Is(err, store.ErrTooSlow) {
			t.Errorf("the tail ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the tail was not cut off")
	}
}
