package ofrep

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// bench serves a store of its own, by a clock that is set by hand.
type bench struct {
	t       *testing.T
	store   *store.Store
	client  *clientv3.Client
	sets    *effective.Sets
	handler *Handler
	url     string
	nanos   atomic.Int64
}

func (b *bench) now() time.Time { return time.Unix(0, b.nanos.Load()) }

func (b *bench) pass(d time.Duration) { b.nanos.Add(int64(d)) }

// flags are of every type and every way to be answered.
var flags = map[string]string{
	"switch":   `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","metadata":{"team":"web","weight":2.5,"beta":true}}`,
	"theme":    `{"state":"ENABLED","variants":{"dark":"#000 \"é\"","light":"#fff"},"defaultVariant":"light","targeting":{"if":[{"==":[{"var":"country"},"DE"]},"dark"]}}`,
	"count":    `{"state":"ENABLED","variants":{"many":12,"few":3},"defaultVariant":"many","degradation":{"tier":"optional","degradedVariant":"few"}}`,
	"ratio":    `{"state":"ENABLED","variants":{"a":0.25},"defaultVariant":"a"}`,
	"palette":  `{"state":"ENABLED","variants":{"a":{"x":[1,null,"y"]}},"defaultVariant":"a"}`,
	"disabled": `{"state":"DISABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}`,
	"open":     `{"state":"ENABLED","variants":{"on":true,"off":false}}`,
	"odd":      `{"state":"ENABLED","variants":{"a":"x","b":"y"},"defaultVariant":"a","targeting":{"var":"variant"}}`,
	"a/b c":    `{"state":"ENABLED","variants":{"a":"slash"},"defaultVariant":"a"}`,
}

func newBench(t *testing.T, change func(*Options, *effective.Options)) *bench {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	member, err := store.StartEmbedded(t.Context(), store.EmbeddedOptions{Dir: t.TempDir(), Logger: quiet, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = member.Close() })
	b := &bench{t: t, client: member.Client()}
	b.nanos.Store(time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	b.store, err = store.Open(store.Options{
		Connect: func() (*clientv3.Client, error) { return member.Client(), nil }, KeepClient: true, Logger: quiet, Now: b.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.store.Close)
	select {
	case <-b.store.Ready():
	case <-time.After(patience):
		t.Fatal("the store was not ready in time")
	}
	for key, definition := range flags {
		b.create(key, definition)
	}
	opts, sets := Options{Spread: time.Nanosecond}, effective.Options{Now: b.now}
	if change != nil {
		change(&opts, &sets)
	}
	b.handler, b.sets, b.url = b.serve(opts, sets)
	return b
}

// serve starts one more server of the same store.
func (b *bench) serve(opts Options, so effective.Options) (*Handler, *effective.Sets, string) {
	b.t.Helper()
	sets := effective.New(b.store, so)
	opts.Sets = sets
	h := New(opts)
	server := httptest.NewServer(authz.NewHosts("127.0.0.1:0", nil).Guard(authz.Identify(h)))
	b.t.Cleanup(func() {
		sets.Drain()
		server.Close()
		sets.Close()
	})
	return h, sets, server.URL
}

func (b *bench) create(key, definition string) {
	b.t.Helper()
	if _, _, err := b.store.CreateFlag(b.t.Context(), store.DefaultNamespace, key, definition, store.Change{}); err != nil {
		b.t.Fatal(err)
	}
}

// apply brings flags and metadata to what a document says.
func (b *bench) apply(text string) {
	b.t.Helper()
	doc, faults := flag.ParseDocument([]byte(text), flag.Env{})
	if doc == nil {
		b.t.Fatal(faults)
	}
	if _, err := b.store.Apply(b.t.Context(), store.DefaultNamespace, doc, store.ApplyOptions{}, store.Change{}); err != nil {
		b.t.Fatal(err)
	}
}

// kill overrides a flag, for ever or as long as said.
func (b *bench) kill(key, variant string, lasts ...time.Duration) {
	b.t.Helper()
	k := store.Kill{Keys: []string{key}, Variant: variant}
	if len(lasts) > 0 {
		k.Lasts = &lasts[0]
	}
	if _, err := b.store.Kill(b.t.Context(), store.DefaultNamespace, k, false, store.Change{}); err != nil {
		b.t.Fatal(err)
	}
}

// moveLevel does what a policy would: it writes the level and nothing else.
func (b *bench) moveLevel(millionths uint32) {
	b.t.Helper()
	const ns = store.Prefix + "ns/default/"
	level := new(plimsollv1.StoredLevel)
	read := func(name string) []byte {
		got, err := b.client.Get(b.t.Context(), ns+name)
		if err != nil {
			b.t.Fatal(err)
		}
		if len(got.Kvs) == 0 {
			return nil
		}
		return got.Kvs[0].Value
	}
	if err := proto.Unmarshal(read("level"), level); err != nil {
		b.t.Fatal(err)
	}
	level.AutoMillionths = millionths
	value, err := proto.Marshal(level)
	if err != nil {
		b.t.Fatal(err)
	}
	done, err := b.client.Txn(b.t.Context()).Then(
		clientv3.OpPut(ns+"level", string(value)), clientv3.OpPut(ns+"head", string(read("head")))).Commit()
	if err != nil {
		b.t.Fatal(err)
	}
	b.reach(done.Header.Revision)
}

// reach waits until the store has a revision.
func (b *bench) reach(revision int64) {
	b.t.Helper()
	for deadline := time.After(patience); ; {
		changed := b.store.Changed()
		snap, err := b.store.Snapshot(store.DefaultNamespace)
		if err != nil {
			b.t.Fatal(err)
		}
		if snap.Revision() >= revision {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			b.t.Fatalf("revision %d was not reached in time", revision)
		}
	}
}

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	body   string
}

// json is the body as JSON.
func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Fatalf("the body is no JSON object: %v\n%s", err, r.body)
	}
	return v
}

// flag is the answer of one flag in a bulk answer.
func (r reply) flag(t *testing.T, key string) map[string]any {
	t.Helper()
	list, _ := r.json(t)["flags"].([]any)
	for _, one := range list {
		if f, _ := one.(map[string]any); f["key"] == key {
			return f
		}
	}
	t.Fatalf("no flag %q in %s", key, r.body)
	return nil
}

func (b *bench) do(method, url, body string, headers ...string) reply {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", contentJSON)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(text)}
}

func (b *bench) one(key, body string, headers ...string) reply {
	b.t.Helper()
	return b.do(http.MethodPost, b.url+"/ofrep/v1/evaluate/flags/"+key, body, headers...)
}

func (b *bench) all(body string, headers ...string) reply {
	b.t.Helper()
	return b.do(http.MethodPost, b.url+"/ofrep/v1/evaluate/flags", body, headers...)
}
