package flagd

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v1/evaluationv1connect"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v2/evaluationv2connect"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/sync/v1/syncv1connect"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

// world is a store and a server of flagd's protocols over it.
type world struct {
	store *store.Store
	// closeEtcd takes away what the store stands on.
	closeEtcd func()
	sets      *effective.Sets
	url       string
	client    *http.Client
}

func newWorld(t testing.TB, opts effective.Options) *world {
	t.Helper()
	w := new(world)
	quiet := slog.New(slog.DiscardHandler)
	member, err := store.StartEmbedded(t.Context(), store.EmbeddedOptions{Dir: t.TempDir(), Logger: quiet, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	w.closeEtcd = sync.OnceFunc(func() { _ = member.Close() })
	t.Cleanup(w.closeEtcd)
	w.store, err = store.Open(store.Options{
		Connect: func() (*clientv3.Client, error) { return member.Client(), nil }, KeepClient: true, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.store.Close)
	within(t, w.store.Ready(), "the store is not ready")
	w.sets = effective.New(w.store, opts)
	t.Cleanup(w.sets.Close)

	mux := http.NewServeMux()
	New(w.sets).Mount(mux)
	both := new(http.Protocols)
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	server := httptest.NewUnstartedServer(authz.Identify(mux))
	server.Config.Protocols = both
	server.Start()
	t.Cleanup(server.Close)
	w.url = server.URL

	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: h2c}
	t.Cleanup(transport.CloseIdleConnections)
	w.client = &http.Client{Transport: transport}
	return w
}

// protocols are the three that every call works over.
var protocols = []struct {
	name string
	opts []connect.ClientOption
}{
	{"connect", nil},
	{"connect-json", []connect.ClientOption{connect.WithProtoJSON()}},
	{"grpc", []connect.ClientOption{connect.WithGRPC()}},
	{"grpc-web", []connect.ClientOption{connect.WithGRPCWeb()}},
}

func (w *world) v1(opts ...connect.ClientOption) evaluationv1connect.ServiceClient {
	return evaluationv1connect.NewServiceClient(w.client, w.url, opts...)
}

func (w *world) v2(opts ...connect.ClientOption) evaluationv2connect.ServiceClient {
	return evaluationv2connect.NewServiceClient(w.client, w.url, opts...)
}

func (w *world) sync(opts ...connect.ClientOption) syncv1connect.FlagSyncServiceClient {
	return syncv1connect.NewFlagSyncServiceClient(w.client, w.url, opts...)
}

// apply writes a flagd document.
func (w *world) apply(t testing.TB, ns, document string) {
	t.Helper()
	doc, faults := flag.ParseDocument([]byte(document), flag.Env{})
	if faults.Err() != nil {
		t.Fatal(faults)
	}
	if _, err := w.store.Apply(context.Background(), ns, doc, store.ApplyOptions{}, store.Change{}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) namespace(t testing.TB, name string, aliases ...string) {
	t.Helper()
	if _, err := w.store.CreateNamespace(context.Background(), name, &plimsollv1.Settings{Aliases: aliases}, store.Change{}); err != nil {
		t.Fatal(err)
	}
}

// shed sets the share of a tier that is shed, in percent.
func (w *world) shed(t testing.TB, tier string, percent uint32) {
	t.Helper()
	if _, err := w.store.Shed(context.Background(), "default", tier, percent*10_000, nil, false, store.Change{}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) kill(t testing.TB, key string, lasts *time.Duration) {
	t.Helper()
	if _, err := w.store.Kill(context.Background(), "default", store.Kill{Keys: []string{key}, Lasts: lasts}, false, store.Change{}); err != nil {
		t.Fatal(err)
	}
}

// within waits for a channel to close.
func within(t testing.TB, c <-chan struct{}, otherwise string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(30 * time.Second):
		t.Fatal(otherwise)
	}
}

// short is a context with a deadline that only a broken server exceeds.
func short(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

var noChange store.Change
