package store_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/plimsoll-dev/plimsoll/store"
)

// listeningMember is a member that etcd clients can reach.
func listeningMember(t testing.TB, dir, url string) *store.Embedded {
	t.Helper()
	member, err := store.StartEmbedded(t.Context(), store.EmbeddedOptions{Dir: dir, ClientURL: url, Logger: quiet(), MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	return member
}

func freeURL(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return "http://" + l.Addr().String()
}

func openExternal(t testing.TB, url, cacheDir string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{
		Connect: func() (*clientv3.Client, error) {
			return store.NewExternalClient(store.ExternalOptions{Endpoints: []string{url}, Logger: quiet()})
		},
		Logger: quiet(), CacheDir: cacheDir, ConfirmEvery: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// proxied puts a proxy in front of a member, to cut the connection.
func proxied(t testing.TB, url string) (*toxiproxy.Proxy, string) {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, "etcd", "127.0.0.1:0", url[len("http://"):])
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	return proxy, "http://" + proxy.Listen
}

func TestAStoreThatWasCutOffCatchesUp(t *testing.T) {
	for _, tc := range []struct {
		name    string
		compact bool
	}{{"the history is still there", false}, {"the history was compacted", true}} {
		t.Run(tc.name, func(t *testing.T) {
			url := freeURL(t)
			member := listeningMember(t, t.TempDir(), url)
			t.Cleanup(func() { _ = member.Close() })
			near := openOn(t, member)
			proxy, through := proxied(t, url)
			far := openExternal(t, through, "")
			t.Cleanup(far.Close)
			await(t, far.Ready(), "the far store")
			mustCreate(t, near, "stays", boolFlag)
			mustCreate(t, near, "goes", boolFlag)
			eventually(t, far, "the far store has both", func() bool { return snapshot(t, far).FlagCount() == 2 })
			cut := snapshot(t, far)
			seen := cut.Revision()

			proxy.Stop()
			if _, err := near.DeleteFlag(t.Context(), "default", "goes", 0, by("ann")); err != nil {
				t.Fatal(err)
			}
			res := mustCreate(t, near, "comes", boolFlag)
			if tc.compact {
				if _, err := member.Client().Compact(t.Context(), res.Position.GetRevision()); err != nil {
					t.Fatal(err)
				}
			}
			if got := snapshot(t, far); got.Revision() != seen {
				t.Fatalf("the far store is at %d although it is cut off", got.Revision())
			}
			if err := proxy.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, far, "the far store has caught up", func() bool {
				return snapshot(t, far).Revision() == res.Position.GetRevision()
			})
			names, ok := snapshot(t, far).ChangedSince(cut.Position())
			if want := "[flags/comes flags/goes]"; !ok || fmt.Sprint(names) != want {
				t.Errorf("changed since the cut: %v (known: %v), want %s", names, ok, want)
			}
			if far.Health().Trouble != nil {
				t.Errorf("still in trouble: %v", far.Health().Trouble)
			}
			if _, _, err := far.CreateFlag(t.Context(), "default", "written-far", boolFlag, by("bob")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAReplicaStartsFromItsLastSnapshot(t *testing.T) {
	url, dir, cache := freeURL(t), t.TempDir(), t.TempDir()
	member := listeningMember(t, dir, url)
	s := openExternal(t, url, cache)
	await(t, s.Ready(), "the store")
	res := mustCreate(t, s, "f", boolFlag)
	if _, err := s.CreateNamespace(t.Context(), "shop", nil, by("ann")); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := member.Close(); err != nil {
		t.Fatal(err)
	}

	s = openExternal(t, url, cache)
	await(t, s.Ready(), "the store to start from disk")
	t.Cleanup(s.Close)
	if h := s.Health(); !h.Stale || h.ConfirmedAge < 0 {
		t.Errorf("health %+v, want stale", h)
	}
	if snap := snapshot(t, s); snap.Revision() != res.Position.GetRevision() || !exists(snap, "f") {
		t.Errorf("started with %v", snap)
	}
	if _, _, err := s.CreateFlag(t.Context(), "default", "g", boolFlag, by("ann")); err == nil {
		t.Error("a write was taken without etcd")
	}

	member = listeningMember(t, dir, url)
	t.Cleanup(func() { _ = member.Close() })
	near := openOn(t, member)
	mustCreate(t, near, "g", boolFlag)
	eventually(t, s, "the replica follows etcd", func() bool { return exists(snapshot(t, s), "g") })
	if s.Health().Stale {
		t.Error("still stale")
	}
	if names, ok := snapshot(t, s).ChangedSince(res.Position); !ok || len(names) != 1 {
		t.Errorf("changed since the snapshot on disk: %v, %v", names, ok)
	}
}

func TestAWipedClusterIsFollowed(t *testing.T) {
	url := freeURL(t)
	member := listeningMember(t, t.TempDir(), url)
	s := openExternal(t, url, "")
	t.Cleanup(s.Close)
	await(t, s.Ready(), "the store")
	mustCreate(t, s, "old", boolFlag)
	id, _ := s.Identity()
	if err := member.Close(); err != nil {
		t.Fatal(err)
	}
	member = listeningMember(t, t.TempDir(), url)
	t.Cleanup(func() { _ = member.Close() })
	near := openOn(t, member)
	mustCreate(t, near, "new", boolFlag)
	eventually(t, s, "the store follows the new one", func() bool {
		snap, err := s.Snapshot("default")
		return err == nil && exists(snap, "new")
	})
	if now, _ := s.Identity(); now == id || snapshot(t, s).Position().GetStoreId() != now || exists(snapshot(t, s), "old") {
		t.Errorf("identity %s (before %s), snapshot %v", now, id, snapshot(t, s).Position())
	}
}

func TestOnlyOneServerUsesADataDirectory(t *testing.T) {
	dir := t.TempDir()
	startMember(t, dir)
	if _, err := store.StartEmbedded(context.Background(), store.EmbeddedOptions{Dir: dir, Logger: quiet()}); err == nil {
		t.Error("a second member started in the same directory")
	}
	cache := t.TempDir()
	s := openExternal(t, freeURL(t), cache)
	t.Cleanup(s.Close)
	if _, err := store.Open(store.Options{
		Connect: func() (*clientv3.Client, error) { return nil, context.Canceled }, Logger: quiet(), CacheDir: cache,
	}); err == nil {
		t.Error("a second replica opened the same snapshot folder")
	}
}
