package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const onOff = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}`

func newInternal(t *testing.T) (*Embedded, *Store) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	m, err := StartEmbedded(t.Context(), EmbeddedOptions{Dir: t.TempDir(), Logger: log, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	s, err := Open(Options{
		Connect: func() (*clientv3.Client, error) { return m.Client(), nil }, KeepClient: true, Logger: log,
		ConfirmEvery: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	<-s.Ready()
	return m, s
}

func create(t *testing.T, s *Store, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, _, err := s.CreateFlag(t.Context(), DefaultNamespace, key, onOff, Change{}); err != nil {
			t.Fatal(err)
		}
	}
}

// until waits for a condition, woken by changes of the view.
func until(t *testing.T, s *Store, what string, cond func(*Snapshot) bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		changed := s.Changed()
		if snap, err := s.Snapshot(DefaultNamespace); err == nil && cond(snap) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waited 30 s until %s", what)
		}
	}
}

// put writes to etcd past the servers.
func put(t *testing.T, m *Embedded, object string, msg proto.Message) {
	t.Helper()
	value, err := proto.Marshal(msg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Client().Put(t.Context(), objectKey(DefaultNamespace, object), string(value)); err != nil {
		t.Fatal(err)
	}
}

// TestAWatchThatIsCutWhileItCatchesUpLosesNothing: a watch that begins far in
// the past brings its events in parts, whose headers are ahead of them.
func TestAWatchThatIsCutWhileItCatchesUpLosesNothing(t *testing.T) {
	_, s := newInternal(t)
	created := s.lastRevision(t)
	for i := range 1200 {
		create(t, s, fmt.Sprintf("f%04d", i))
	}
	late := &Store{log: s.log, now: s.now, limits: s.limits, confirm: s.confirm, tails: tails{byNS: make(map[string]map[*tail]struct{})}}
	late.client.Store(s.client.Load())
	late.identity.Store(s.identity.Load())
	late.view.Store(&map[string]*Snapshot{})
	changed := make(chan struct{})
	late.viewChanged.Store(&changed)
	f := follower{Store: late, strayed: make(map[string]bool), applied: created}
	for reconnects := 0; f.applied < s.lastRevision(t); reconnects++ {
		ctx, cancel := context.WithCancel(t.Context())
		watch := s.client.Load().Watch(ctx, Prefix, clientv3.WithPrefix(), clientv3.WithRev(f.applied+1))
		if err := f.receive(<-watch); err != nil {
			t.Fatal(err)
		}
		cancel() // cut after its first response
		if reconnects == 0 && f.applied >= s.lastRevision(t) {
			t.Fatal("the first response had everything: nothing was tested")
		}
	}
	got, want := (*late.view.Load())[DefaultNamespace], (*s.view.Load())[DefaultNamespace]
	if got.FlagCount() != want.FlagCount() || got.Revision() != want.Revision() {
		t.Errorf("%d flags at %d, etcd has %d at %d", got.FlagCount(), got.Revision(), want.FlagCount(), want.Revision())
	}
}

func (s *Store) lastRevision(t *testing.T) int64 {
	t.Helper()
	snap, err := s.Snapshot(DefaultNamespace)
	if err != nil {
		t.Fatal(err)
	}
	return snap.Revision()
}

func TestAGapInTheHistoryIsListedAnew(t *testing.T) {
	_, s := newInternal(t)
	create(t, s, "a")
	old, err := s.Snapshot(DefaultNamespace)
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "missed", "seen")
	f := follower{Store: s, strayed: make(map[string]bool)}
	view := map[string]*Snapshot{DefaultNamespace: old}
	watch := s.client.Load().Watch(t.Context(), Prefix, clientv3.WithPrefix(), clientv3.WithRev(s.lastRevision(t)))
	resp := <-watch
	if _, err := f.foldRevision(view, resp.Events[0].Kv.ModRevision, resp.Events); !errors.Is(err, errRelist) {
		t.Errorf("folding a change whose predecessor was missed: %v", err)
	}
	if view[DefaultNamespace] != old {
		t.Error("the view was changed all the same")
	}
}

func TestAWriteToEtcdPastTheServersIsHeldBackUntilTheNextChange(t *testing.T) {
	m, s := newInternal(t)
	create(t, s, "a")
	before, err := s.Snapshot(DefaultNamespace)
	if err != nil {
		t.Fatal(err)
	}
	put(t, m, "flags/past", &plimsollv1.StoredFlag{Definition: onOff})
	create(t, s, "b")
	until(t, s, "both are there", func(snap *Snapshot) bool { return snap.FlagCount() == 3 })
	after, err := s.Snapshot(DefaultNamespace)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := after.ChangedSince(before.Position()); ok {
		t.Error("a delta would leave out what was written past the servers")
	}
	create(t, s, "c")
	after2, err := s.Snapshot(DefaultNamespace)
	if err != nil {
		t.Fatal(err)
	}
	if names, ok := after2.ChangedSince(after.Position()); !ok || !slices.Equal(names, []string{"flags/c"}) {
		t.Errorf("afterwards: %v, %v", names, ok)
	}
}

func TestAWritePastTheServersIsNotOverwrittenUnseen(t *testing.T) {
	m, s := newInternal(t)
	create(t, s, "a")
	put(t, m, "flags/a", &plimsollv1.StoredFlag{Definition: `{"state":"DISABLED","variants":{"on":true},"defaultVariant":"on"}`})
	off := false
	if _, _, err := s.UpdateFlag(t.Context(), DefaultNamespace, "a", FlagUpdate{Enabled: &off}, Change{}); err == nil {
		// Disabling what is disabled already changes nothing; writing the old
		// definition over the new one would.
		resp, err := m.Client().Get(t.Context(), objectKey(DefaultNamespace, "flags/a"))
		if err != nil {
			t.Fatal(err)
		}
		stored := new(plimsollv1.StoredFlag)
		if err := proto.Unmarshal(resp.Kvs[0].Value, stored); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(stored.GetDefinition(), `"off"`) {
			t.Errorf("the old definition was written over it: %s", stored.GetDefinition())
		}
	}
}

// TestAReplacedStoreIsNoticed replaces everything in etcd under a running
// watch, with more revisions than before, as a wiped and busy cluster would.
func TestAReplacedStoreIsNoticed(t *testing.T) {
	m, s := newInternal(t)
	create(t, s, "old")
	id, _ := s.Identity()
	tailed := make(chan error, 1)
	go func() {
		tailed <- s.Tail(t.Context(), DefaultNamespace, nil, time.Hour, func(*plimsollv1.AuditRecord) error { return nil })
	}()
	if _, err := m.Client().Delete(t.Context(), Prefix, clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	other, err := Open(Options{Connect: func() (*clientv3.Client, error) { return m.Client(), nil }, KeepClient: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	<-other.Ready()
	create(t, other, "new", "newer")
	until(t, s, "the new store is followed", func(snap *Snapshot) bool {
		_, ok := snap.FlagObject("newer")
		return ok
	})
	now, _ := s.Identity()
	snap, err := s.Snapshot(DefaultNamespace)
	if err != nil {
		t.Fatal(err)
	}
	if _, mixed := snap.FlagObject("old"); mixed || now == id || snap.Position().GetStoreId() != now {
		t.Errorf("identity %s (before %s), position %v, old flag there: %v", now, id, snap.Position(), mixed)
	}
	select {
	case err := <-tailed:
		if err == nil {
			t.Error("the tail of the old store ended without saying why")
		}
	case <-time.After(30 * time.Second):
		t.Error("the tail of the old store goes on")
	}
}

func TestALostAnswerIsResolvedFromTheLog(t *testing.T) {
	_, s := newInternal(t)
	create(t, s, "a")
	recs, _, err := s.Records(t.Context(), DefaultNamespace, RecordQuery{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	mine := recs[0]
	lost := context.DeadlineExceeded
	if rev, won, err := s.resolve(DefaultNamespace, mine, lost); err != nil || !won || rev != mine.GetRevision() {
		t.Errorf("the record is there: revision %d, won %v, %v", rev, won, err)
	}
	theirs := proto.Clone(mine).(*plimsollv1.AuditRecord)
	theirs.Hash = []byte("another")
	if _, won, err := s.resolve(DefaultNamespace, theirs, lost); err != nil || won {
		t.Errorf("another record has its sequence: won %v, %v", won, err)
	}
	theirs.Seq += 10
	if _, _, err := s.resolve(DefaultNamespace, theirs, lost); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("no record has its sequence: %v", err)
	}
}

func TestSettingTheClockDoesNotAgeTheState(t *testing.T) {
	_, s := newInternal(t)
	wall := time.Now().Add(10 * time.Minute).Round(0) // without its monotonic part
	s.confirmedAt.Store(&wall)
	if age := s.Health().ConfirmedAge; age != 0 {
		t.Fatalf("a wall clock that was set back: age %s", age)
	}
	s.confirmed()
	if age := s.Health().ConfirmedAge; age > time.Minute {
		t.Errorf("age %s right after a confirmation", age)
	}
	if !strings.Contains(s.confirmedAt.Load().String(), "m=") {
		t.Error("the time of the confirmation has no monotonic part")
	}
}

func TestWritesAreRefusedAtOnceWhileEtcdIsAway(t *testing.T) {
	_, s := newInternal(t)
	s.setTrouble(errors.New("cut off"))
	_, _, err := s.CreateFlag(t.Context(), DefaultNamespace, "a", onOff, Change{})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "nothing was written") {
		t.Errorf("error %v", err)
	}
}
