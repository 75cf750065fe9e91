package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

func newStore(t testing.TB) *store.Store {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	member, err := store.StartEmbedded(t.Context(), store.EmbeddedOptions{Dir: t.TempDir(), Logger: quiet, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = member.Close() })
	s, err := store.Open(store.Options{
		Connect: func() (*clientv3.Client, error) { return member.Client(), nil }, KeepClient: true, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	select {
	case <-s.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the store is not ready")
	}
	return s
}

func newHub(t testing.TB, s *store.Store, opts Options) *Hub {
	t.Helper()
	h, err := NewHub(s, opts, Metrics{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// client applies what a stream sends, as any client would.
type client struct {
	messages chan *plimsollv1.WatchResponse // everything that was sent
	ended    chan error
	cancel   context.CancelFunc
	// release, if set, must be received from before each message is taken.
	release chan struct{}
}

func watch(t testing.TB, h *Hub, req *plimsollv1.WatchRequest, release chan struct{}) *client {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &client{messages: make(chan *plimsollv1.WatchResponse, 10_000), ended: make(chan error, 1), cancel: cancel, release: release}
	go func() {
		c.ended <- h.watch(ctx, req, func(m *message) error {
			if c.release != nil {
				select {
				case <-c.release:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			got := new(plimsollv1.WatchResponse)
			if err := proto.Unmarshal(m.payload(), got); err != nil {
				return err
			}
			c.messages <- got
			return nil
		})
	}()
	t.Cleanup(cancel)
	return c
}

func (c *client) next(t testing.TB) *plimsollv1.WatchResponse {
	t.Helper()
	select {
	case m := <-c.messages:
		return m
	case err := <-c.ended:
		t.Fatalf("the stream ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("no message within 30 s")
	}
	return nil
}

func (c *client) end(t testing.TB) error {
	t.Helper()
	select {
	case err := <-c.ended:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the stream does not end")
		return nil
	}
}

// state is what a client holds: definitions by key.
type state map[string]string

func (s state) apply(m *plimsollv1.WatchResponse) {
	change := m.GetDelta()
	if chunk := m.GetSnapshot(); chunk != nil {
		if chunk.GetIndex() == 0 {
			clear(s)
		}
		change = chunk.GetObjects()
	}
	for _, f := range change.GetFlags() {
		s[f.GetKey()] = f.GetDefinition()
	}
	for _, key := range change.GetRemovedFlags() {
		delete(s, key)
	}
}

// follow applies messages until the position is reached.
func (c *client) follow(t testing.TB, s state, until *plimsollv1.Position) (messages int) {
	t.Helper()
	for {
		m := c.next(t)
		messages++
		s.apply(m)
		done := m.GetSnapshot() == nil || m.GetSnapshot().GetLast()
		if done && m.GetPosition().GetRevision() >= until.GetRevision() {
			return messages
		}
	}
}

func (s state) same(t testing.TB, snap *store.Snapshot) {
	t.Helper()
	if len(s) != snap.FlagCount() {
		t.Errorf("the client has %d flags, the store %d", len(s), snap.FlagCount())
	}
	for key := range snap.Flags("", "") {
		f, _, _ := snap.Flag(key)
		if s[key] != f.GetDefinition() {
			t.Errorf("%s is %s at the client and %s in the store", key, s[key], f.GetDefinition())
		}
	}
}

func apply(t testing.TB, s *store.Store, flags map[string]int) *plimsollv1.Position {
	t.Helper()
	var b strings.Builder
	for key, n := range flags {
		fmt.Fprintf(&b, `,%q:{"state":"ENABLED","variants":{"n":%d},"defaultVariant":"n"}`, key, n)
	}
	doc, faults := flag.ParseDocument([]byte(`{"flags":{`+strings.TrimPrefix(b.String(), ",")+`}}`), flag.Env{})
	if faults.Err() != nil {
		t.Fatal(faults)
	}
	done, err := s.Apply(context.Background(), "default", doc, store.ApplyOptions{}, store.Change{})
	if err != nil {
		t.Fatal(err)
	}
	return done.Position
}

func many(n int) map[string]int {
	out := make(map[string]int, n)
	for i := range n {
		out[fmt.Sprintf("flag-%05d", i)] = i
	}
	return out
}

func snapshot(t testing.TB, s *store.Store) *store.Snapshot {
	t.Helper()
	snap, err := s.Snapshot("default")
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func TestTheFirstMessageIsWhatTheClientLacks(t *testing.T) {
	s := newStore(t)
	h := newHub(t, s, Options{})
	before := apply(t, s, map[string]int{"a": 1, "b": 1})
	now := apply(t, s, map[string]int{"a": 2})
	elsewhere := proto.Clone(now).(*plimsollv1.Position)
	elsewhere.StoreId = strings.Repeat("0", 32)
	older := proto.Clone(now).(*plimsollv1.Position)
	older.Epoch = 0
	for _, tc := range []struct {
		name  string
		since *plimsollv1.Position
		check func(*plimsollv1.WatchResponse) bool
	}{
		{"nothing yet", nil, func(m *plimsollv1.WatchResponse) bool { return len(m.GetSnapshot().GetObjects().GetFlags()) == 2 }},
		{"current", now, func(m *plimsollv1.WatchResponse) bool { return m.GetDelta() != nil && proto.Size(m.GetDelta()) == 0 }},
		{"a little behind", before, func(m *plimsollv1.WatchResponse) bool { return len(m.GetDelta().GetFlags()) == 1 }},
		{"another store", elsewhere, func(m *plimsollv1.WatchResponse) bool { return m.GetSnapshot().GetLast() }},
		{"an older epoch", older, func(m *plimsollv1.WatchResponse) bool { return m.GetSnapshot().GetLast() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := watch(t, h, &plimsollv1.WatchRequest{Since: tc.since}, nil).next(t)
			if !tc.check(m) || !proto.Equal(m.GetPosition(), now) {
				t.Errorf("the stream begins with %v", m)
			}
		})
	}
	m := watch(t, h, &plimsollv1.WatchRequest{}, nil).next(t)
	objects := m.GetSnapshot().GetObjects()
	if objects.GetLevel().GetSeed() == "" || len(objects.GetSettings().GetTiers()) != 4 {
		t.Errorf("the snapshot has no level or settings: %v", objects)
	}
}

func TestAServerThatIsBehindSaysSo(t *testing.T) {
	s := newStore(t)
	h := newHub(t, s, Options{})
	ahead := proto.Clone(apply(t, s, map[string]int{"a": 1})).(*plimsollv1.Position)
	ahead.Revision += 1000
	err := watch(t, h, &plimsollv1.WatchRequest{Since: ahead}, nil).end(t)
	var rpc *connect.Error
	if !errors.As(err, &rpc) || rpc.Code() != connect.CodeUnavailable {
		t.Fatalf("ended with %v", err)
	}
	want := fmt.Sprintf("%d/%d", ahead.GetEpoch(), ahead.GetRevision()-1000)
	if rpc.Meta().Get("Plimsoll-Reconnect") != "elsewhere" || rpc.Meta().Get("Plimsoll-Behind") != want {
		t.Errorf("metadata %v, want behind %s", rpc.Meta(), want)
	}
	// One that catches up in time is as good as any. It has another history than
	// the client, which therefore gets the whole state.
	ahead.Revision -= 999
	c := watch(t, h, &plimsollv1.WatchRequest{Since: ahead}, nil)
	apply(t, s, map[string]int{"a": 2})
	if m := c.next(t); m.GetSnapshot() == nil || m.GetPosition().GetRevision() < ahead.GetRevision() {
		t.Errorf("the stream begins with %v", m)
	}
}

func TestALargeSetComesInChunksAndThenInSteps(t *testing.T) {
	s := newStore(t)
	h := newHub(t, s, Options{})
	pos := apply(t, s, many(5000))
	c := watch(t, h, &plimsollv1.WatchRequest{}, nil)
	have := make(state)
	if n := c.follow(t, have, pos); n < 2 {
		t.Errorf("%d chunks", n)
	}
	have.same(t, snapshot(t, s))
	pos = apply(t, s, map[string]int{"flag-00007": -7})
	m := c.next(t)
	have.apply(m)
	if !proto.Equal(m.GetPosition(), pos) || proto.Size(m) > 300 {
		t.Errorf("a change of one flag in 5000 is a message of %d bytes at %v, want one at %v", proto.Size(m), m.GetPosition(), pos)
	}
	have.same(t, snapshot(t, s))
}

func TestASlowReaderSkipsToTheNewestState(t *testing.T) {
	s := newStore(t)
	h := newHub(t, s, Options{})
	collapsed := make(chan struct{}, 10)
	h.metrics.Collapsed = func() { collapsed <- struct{}{} }
	pos := apply(t, s, many(100))
	release := make(chan struct{})
	slow := watch(t, h, &plimsollv1.WatchRequest{}, release)
	quick := watch(t, h, &plimsollv1.WatchRequest{}, nil)
	release <- struct{}{}
	have, haveQuick := make(state), make(state)
	slow.follow(t, have, pos)
	const changes = 10 * maxLag
	for i := range changes {
		pos = apply(t, s, map[string]int{fmt.Sprintf("flag-%05d", i%100): -1 - i})
	}
	if n := quick.follow(t, haveQuick, pos); n < maxLag {
		t.Errorf("the quick reader got only %d messages", n)
	}
	close(release)
	if n := slow.follow(t, have, pos); n > 2*maxLag {
		t.Errorf("the slow reader got %d messages for %d changes", n, changes)
	}
	if len(collapsed) == 0 {
		t.Error("nothing was collapsed")
	}
	have.same(t, snapshot(t, s))
	haveQuick.same(t, snapshot(t, s))
}

func TestHeartbeatsTellHowOldTheStateIs(t *testing.T) {
	s := newStore(t)
	h := newHub(t, s, Options{Heartbeat: 20 * time.Millisecond})
	c := watch(t, h, &plimsollv1.WatchRequest{}, nil)
	c.next(t)
	if m := c.next(t); m.GetHeartbeat() == nil || m.GetHeartbeat().GetConfirmedAge().AsDuration() > time.Minute {
		t.Errorf("%v, want a heartbeat", m)
	}
}

func TestALevelChangeIsOneSmallMessage(t *testing.T) {
	s := newStore(t)
	apply(t, s, many(1000))
	m := change(1, snapshot(t, s), []string{"holds/pin", "level"})
	if m.GetLevel().GetSeed() == "" || proto.Size(m) > 200 {
		t.Errorf("%v", m)
	}
	if m := change(1, snapshot(t, s), []string{"flags/flag-00001", "level"}); m.GetDelta().GetLevel() == nil || len(m.GetDelta().GetFlags()) != 1 {
		t.Errorf("%v", m)
	}
}

func TestCapacityIsBounded(t *testing.T) {
	s := newStore(t)
	h := newHub(t, s, Options{MaxStreams: 1, MaxSnapshots: 1})
	release := make(chan struct{})
	first := watch(t, h, &plimsollv1.WatchRequest{}, release)
	release <- struct{}{}
	first.next(t)
	refused := func(err error) {
		t.Helper()
		var rpc *connect.Error
		if !errors.As(err, &rpc) || rpc.Code() != connect.CodeResourceExhausted || rpc.Meta().Get("Plimsoll-Retry-After") == "" {
			t.Errorf("ended with %v", err)
		}
	}
	refused(watch(t, h, &plimsollv1.WatchRequest{}, nil).end(t))
	first.cancel()
	_ = first.end(t)
	h.max = 10
	sending := watch(t, h, &plimsollv1.WatchRequest{}, release) // stuck in its snapshot
	for len(h.snapshots) == 0 {
		select {
		case err := <-sending.ended:
			t.Fatal(err)
		default:
			runtime.Gosched()
		}
	}
	refused(watch(t, h, &plimsollv1.WatchRequest{}, nil).end(t))
	// One that needs only the end of the history is served all the same.
	if m := watch(t, h, &plimsollv1.WatchRequest{Since: snapshot(t, s).Position()}, nil).next(t); m.GetDelta() == nil {
		t.Errorf("%v", m)
	}
}

func TestEndsOfAStream(t *testing.T) {
	s := newStore(t)
	h := newHub(t, s, Options{})
	if _, err := s.CreateNamespace(t.Context(), "shop", nil, store.Change{}); err != nil {
		t.Fatal(err)
	}
	c := watch(t, h, &plimsollv1.WatchRequest{Namespace: "shop"}, nil)
	c.next(t)
	if _, err := s.DeleteNamespace(t.Context(), "shop", store.Change{}); err != nil {
		t.Fatal(err)
	}
	if err := c.end(t); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("the namespace was deleted: %v", err)
	}
	if err := watch(t, h, &plimsollv1.WatchRequest{Namespace: strings.Repeat("x", 100)}, nil).end(t); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a long name: %v", err)
	}
	c = watch(t, h, &plimsollv1.WatchRequest{}, nil)
	c.next(t)
	h.Drain()
	var rpc *connect.Error
	if err := c.end(t); !errors.As(err, &rpc) || rpc.Meta().Get("Plimsoll-Reconnect") != "elsewhere" {
		t.Errorf("drained: %v", err)
	}
	if err := watch(t, h, &plimsollv1.WatchRequest{}, nil).end(t); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("a stream after the drain: %v", err)
	}
	if n := h.Streams(); n != 0 {
		t.Errorf("%d streams are counted", n)
	}
}

func TestAChangeThatIsTooLargeForADeltaComesAsASnapshot(t *testing.T) {
	s := newStore(t)
	h := newHub(t, s, Options{})
	before := apply(t, s, map[string]int{"a": 1})
	live := watch(t, h, &plimsollv1.WatchRequest{}, nil)
	have := make(state)
	live.follow(t, have, before)
	flags := many(3 * maxDeltaObjects)
	pos := apply(t, s, flags)
	m := watch(t, h, &plimsollv1.WatchRequest{Since: before}, nil).next(t)
	if m.GetSnapshot() == nil || proto.Size(m) > 2*chunkBytes {
		t.Errorf("a client that lacks %d flags is sent %d bytes of %T", len(flags), proto.Size(m), m.GetEvent())
	}
	// One that was there all along has everything as well.
	live.follow(t, have, pos)
	have.same(t, snapshot(t, s))
}

func TestMessagesSayWhatTheyBuildOn(t *testing.T) {
	s := newStore(t)
	h := newHub(t, s, Options{Heartbeat: time.Hour})
	first := apply(t, s, map[string]int{"a": 1})
	c := watch(t, h, &plimsollv1.WatchRequest{Since: first}, nil)
	c.next(t)
	at := first.GetRevision()
	for i := range 5 {
		apply(t, s, map[string]int{"a": 10 + i})
		m := c.next(t)
		if m.GetBaseRevision() != at || m.GetPosition().GetRevision() <= at {
			t.Fatalf("message %d leads from %d to %d; the client is at %d", i, m.GetBaseRevision(), m.GetPosition().GetRevision(), at)
		}
		at = m.GetPosition().GetRevision()
	}
}

func TestPlacesForSnapshotsAreGivenBack(t *testing.T) {
	s := newStore(t)
	h := newHub(t, s, Options{MaxSnapshots: 1})
	apply(t, s, many(10))
	for range 5 {
		c := watch(t, h, &plimsollv1.WatchRequest{}, nil)
		if c.next(t).GetSnapshot() == nil {
			t.Fatal("no snapshot")
		}
		c.cancel()
		_ = c.end(t)
	}
}
