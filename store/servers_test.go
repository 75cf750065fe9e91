package store_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

// register keeps a server registered until leave is called, which returns when
// it has signed off.
func register(t testing.TB, s *store.Store, id, address string, started time.Time) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		s.Register(ctx, store.Server{ID: id, Info: &plimsollv1.StoredServer{Address: address, StartedAt: timestamppb.New(started)}}, func() {})
	})
	leave = func() { cancel(); done.Wait() }
	t.Cleanup(leave)
	return leave
}

func servers(s *store.Store) string {
	var ids []string
	for _, server := range s.Servers() {
		ids = append(ids, server.ID+"@"+server.Info.GetAddress())
	}
	return fmt.Sprint(ids)
}

func seesServers(t testing.TB, s *store.Store, want string) {
	t.Helper()
	eventually(t, s, "the servers are "+want, func() bool { return servers(s) == want })
}

func TestServersKnowEachOther(t *testing.T) {
	t.Parallel()
	member := startMember(t, t.TempDir())
	a, b := openOn(t, member), openOn(t, member)
	register(t, a, "a", "http://a", time.Now())
	leave := register(t, b, "b", "http://b", time.Now())
	seesServers(t, a, "[a@http://a b@http://b]")
	seesServers(t, b, "[a@http://a b@http://b]")
	seesServers(t, openOn(t, member), "[a@http://a b@http://b]") // from its listing
	leave()
	if resp, err := member.Client().Get(t.Context(), store.Prefix+"servers/b"); err != nil || len(resp.Kvs) != 0 {
		t.Errorf("b has not signed off: %v, %v", resp, err)
	}
	seesServers(t, a, "[a@http://a]")
	if lost := a.LostServers(); len(lost) != 0 {
		t.Errorf("b has signed off, and is lost: %v", lost)
	}
}

func TestAServerWhoseEntryEndsIsLost(t *testing.T) {
	t.Parallel()
	member := startMember(t, t.TempDir())
	a := openOn(t, member)
	if !a.Created() || openOn(t, member).Created() {
		t.Error("the first one has created the store, not the second")
	}
	entry := func(id, address string) {
		value, err := proto.Marshal(&plimsollv1.StoredServer{Address: address})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := member.Client().Put(t.Context(), store.Prefix+"servers/"+id, string(value)); err != nil {
			t.Fatal(err)
		}
	}
	entry("b", "http://b")
	seesServers(t, a, "[b@http://b]")
	if _, err := member.Client().Delete(t.Context(), store.Prefix+"servers/b"); err != nil {
		t.Fatal(err)
	}
	seesServers(t, a, "[]")
	if lost := a.LostServers(); len(lost) != 1 || lost[0].ID != "b" || lost[0].Info.GetAddress() != "http://b" {
		t.Errorf("lost %v", lost)
	}
	entry("successor", "http://b")
	seesServers(t, a, "[successor@http://b]")
	if lost := a.LostServers(); len(lost) != 0 {
		t.Errorf("one with a successor is lost: %v", lost)
	}
}

func TestALostRegistrationIsRenewed(t *testing.T) {
	t.Parallel()
	member := startMember(t, t.TempDir())
	s := openOn(t, member)
	register(t, s, "a", "http://a", time.Now())
	entered := func(after int64) (at int64) {
		eventually(t, s, "a is registered anew", func() bool {
			resp, err := member.Client().Get(t.Context(), store.Prefix+"servers/a")
			if err != nil {
				t.Fatal(err)
			}
			if len(resp.Kvs) == 1 {
				at = resp.Kvs[0].CreateRevision
			}
			return at > after
		})
		return at
	}
	first := entered(0)
	if _, err := member.Client().Delete(t.Context(), store.Prefix+"servers/a"); err != nil {
		t.Fatal(err)
	}
	second := entered(first)
	leases, err := member.Client().Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases.Leases {
		_, _ = member.Client().Revoke(t.Context(), l.ID)
	}
	entered(second)
	seesServers(t, s, "[a@http://a]")
}

func TestAPredecessorIsRemoved(t *testing.T) {
	t.Parallel()
	member := startMember(t, t.TempDir())
	s := openOn(t, member)
	started := time.Now()
	killed := register(t, s, "killed", "http://a", started)
	register(t, s, "other", "http://b", started)
	seesServers(t, s, "[killed@http://a other@http://b]")
	register(t, s, "new", "http://a", started.Add(time.Second))
	seesServers(t, s, "[new@http://a other@http://b]")
	killed()
	seesServers(t, s, "[new@http://a other@http://b]")
}

func TestTwoServersUnderOneAddressDoNotTakeTurns(t *testing.T) {
	t.Parallel()
	member := startMember(t, t.TempDir())
	log := &lines{ch: make(chan string, 100)}
	s := openOn(t, member, func(o *store.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	started := time.Now()
	register(t, s, "a", "http://same", started)
	seesServers(t, s, "[a@http://same]")
	leave := register(t, openOn(t, member), "b", "http://same", started.Add(time.Second))
	seesServers(t, s, "[b@http://same]")
	log.await(t, "another server has registered under the same address")
	if got := servers(s); got != "[b@http://same]" {
		t.Errorf("the servers are %s", got)
	}
	leave()
	seesServers(t, s, "[a@http://same]")
	log.await(t, "registered now")
}

// lines hands on what is logged, line by line.
type lines struct{ ch chan string }

func (l *lines) Write(p []byte) (int, error) {
	l.ch <- string(p)
	return len(p), nil
}

func (l *lines) await(t testing.TB, text string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case line := <-l.ch:
			if bytes.Contains([]byte(line), []byte(text)) {
				return
			}
		case <-deadline:
			t.Fatalf("%q was not logged within 30 s", text)
		}
	}
}

func TestServersAreRememberedWhileEtcdIsAway(t *testing.T) {
	t.Parallel()
	url := freeURL(t)
	member := listeningMember(t, t.TempDir(), url)
	log := &lines{ch: make(chan string, 1000)}
	s, err := store.Open(store.Options{
		Connect: func() (*clientv3.Client, error) {
			return store.NewExternalClient(store.ExternalOptions{Endpoints: []string{url}, Logger: quiet()})
		},
		Logger: slog.New(slog.NewTextHandler(log, nil)), ConfirmEvery: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	await(t, s.Ready(), "the store")
	entry, err := proto.Marshal(&plimsollv1.StoredServer{Address: "http://x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := member.Client().Put(t.Context(), store.Prefix+"servers/x", string(entry)); err != nil {
		t.Fatal(err)
	}
	seesServers(t, s, "[x@http://x]")
	if err := member.Close(); err != nil {
		t.Fatal(err)
	}
	log.await(t, "etcd cannot be followed")
	if got := servers(s); got != "[x@http://x]" {
		t.Errorf("the servers are %s", got)
	}
}

func TestServersShareAKey(t *testing.T) {
	t.Parallel()
	member := startMember(t, t.TempDir())
	keys := make(chan []byte, 2)
	for range 2 {
		s := openOn(t, member)
		go func() {
			key, err := s.PeerKey(context.Background())
			if err != nil {
				t.Error(err)
			}
			keys <- key
		}()
	}
	a, b := <-keys, <-keys
	if len(a) != 32 || !slices.Equal(a, b) || bytes.Equal(a, make([]byte, 32)) {
		t.Errorf("keys of %d and %d bytes; equal: %v", len(a), len(b), slices.Equal(a, b))
	}
	if _, err := member.Client().Put(t.Context(), store.Prefix+"secrets/peers", "rubbish"); err != nil {
		t.Fatal(err)
	}
	if _, err := openOn(t, member).PeerKey(t.Context()); err == nil || bytes.Contains([]byte(err.Error()), []byte("rubbish")) {
		t.Errorf("a broken key: %v", err)
	}
}

func TestAServerThatCannotRegisterYetDoesSoLater(t *testing.T) {
	t.Parallel()
	url := freeURL(t)
	s, err := store.Open(store.Options{
		Connect: func() (*clientv3.Client, error) {
			return store.NewExternalClient(store.ExternalOptions{Endpoints: []string{url}, Logger: quiet()})
		},
		Logger: quiet(), ConfirmEvery: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	register(t, s, "a", "http://a", time.Now())
	member := listeningMember(t, t.TempDir(), url)
	t.Cleanup(func() { _ = member.Close() })
	seesServers(t, s, "[a@http://a]")
}
