package flagd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	evaluationv2 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v2"
	syncv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/sync/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// reader hands on what a stream receives.
type reader[T any] struct {
	messages chan *T
	ended    chan error
	cancel   context.CancelFunc
}

// read receives until the stream ends, or cancel is called.
func read[T any](t testing.TB, open func(context.Context) (*connect.ServerStreamForClient[T], error)) *reader[T] {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	r := &reader[T]{messages: make(chan *T, 1000), ended: make(chan error, 1), cancel: cancel}
	go func() {
		stream, err := open(ctx)
		if err != nil {
			r.ended <- err
			return
		}
		defer func() { _ = stream.Close() }()
		for stream.Receive() {
			r.messages <- stream.Msg()
		}
		r.ended <- stream.Err()
	}()
	return r
}

func (r *reader[T]) next(t testing.TB) *T {
	t.Helper()
	select {
	case m := <-r.messages:
		return m
	case err := <-r.ended:
		t.Fatalf("the stream ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("no message within 30 s")
	}
	return nil
}

func (r *reader[T]) end(t testing.TB) error {
	t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the stream does not end")
		return nil
	}
}

func (w *world) syncing(t testing.TB, selector string, opts ...connect.ClientOption) *reader[syncv1.SyncFlagsResponse] {
	t.Helper()
	return read(t, func(ctx context.Context) (*connect.ServerStreamForClient[syncv1.SyncFlagsResponse], error) {
		return w.sync(opts...).SyncFlags(ctx, connect.NewRequest(&syncv1.SyncFlagsRequest{ProviderId: "test", Selector: selector}))
	})
}

// plain is the set that a provider makes of a document.
func plain(t testing.TB, document string) *flag.Set {
	t.Helper()
	doc, faults := flag.ParseDocument([]byte(document), flag.Env{})
	if doc == nil {
		t.Fatalf("%v\n%.2000s", faults, document)
	}
	u := flag.Update{Reset: true, Settings: &flag.Settings{Metadata: doc.Metadata}}
	for _, d := range doc.Flags {
		u.Flags = append(u.Flags, flag.Source{Key: d.Key(), JSON: d.JSON()})
	}
	set, problems := flag.Empty().With(u, time.Now())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

const shedable = `{"flags": {
  "f": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on", "degradation": {"tier": "optional"}, "plimsoll": {"owner": "me"}},
  "g": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"}
}}`

// A stream begins with the whole set, in flagd's own terms, and gets it again at
// each change; over every protocol.
func TestSyncFollows(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			w := newWorld(t, effective.Options{Context: effective.Context{Values: map[string]string{"region": "eu"}}})
			w.apply(t, "default", shedable)
			r := w.syncing(t, "", p.opts...)
			first := r.next(t)
			if got := first.GetSyncContext().GetFields()["region"].GetStringValue(); got != "eu" {
				t.Errorf("sync context %v", first.GetSyncContext())
			}
			if text := first.GetFlagConfiguration(); strings.Contains(text, "degradation") || strings.Contains(text, "plimsoll") {
				t.Errorf("fields that flagd does not know: %s", text)
			}
			set := plain(t, first.GetFlagConfiguration())
			if got := set.Bool("f", false, nil); got.Variant != "on" || set.Len() != 2 {
				t.Errorf("%v of %d flags", got, set.Len())
			}
			w.apply(t, "default", `{"flags": {"g": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off"}}}`)
			if got := plain(t, r.next(t).GetFlagConfiguration()).Bool("g", true, nil); got.Variant != "off" {
				t.Errorf("after a change: %v", got)
			}
			w.kill(t, "f", nil)
			m := r.next(t).GetFlagConfiguration()
			if got := plain(t, m).Bool("f", true, nil); got.Variant != "off" || got.Reason != flag.ReasonStatic {
				t.Errorf("after a kill: %v", got)
			}
			fetched, err := w.sync(p.opts...).FetchAllFlags(short(t), connect.NewRequest(&syncv1.FetchAllFlagsRequest{}))
			if err != nil || fetched.Msg.GetFlagConfiguration() != m {
				t.Errorf("fetched %v, %v", fetched, err)
			}
			meta, err := w.sync(p.opts...).GetMetadata(short(t), connect.NewRequest(&syncv1.GetMetadataRequest{}))
			if err != nil || meta.Msg.GetMetadata().GetFields()["region"].GetStringValue() != "eu" {
				t.Errorf("metadata %v, %v", meta, err)
			}
		})
	}
}

// What changes nothing that is served is not sent.
func TestSyncIsSilentWhereTheDocumentStays(t *testing.T) {
	w := newWorld(t, effective.Options{})
	w.apply(t, "default", shedable)
	r := w.syncing(t, "", connect.WithGRPC())
	before := r.next(t).GetFlagConfiguration()
	w.apply(t, "default", strings.Replace(shedable, `"owner": "me"`, `"owner": "you"`, 1))
	w.apply(t, "default", strings.Replace(shedable, `"variants": {"on": true, "off": false}, "defaultVariant": "on"}`, `"variants": {"on": true, "off": false}, "defaultVariant": "off"}`, 1))
	if next := r.next(t).GetFlagConfiguration(); next == before || plain(t, next).Bool("g", true, nil).Variant != "off" {
		t.Errorf("the next document is not that of the next change: %s", next)
	}
}

// Of 10 000 keys exactly those are shed that Plimsoll's own evaluation sheds: by
// what sync sends, and by RPC.
func TestTheSameKeysAreShedEverywhere(t *testing.T) {
	w := newWorld(t, effective.Options{})
	w.apply(t, "default", shedable)
	r := w.syncing(t, "", connect.WithGRPC())
	r.next(t)
	w.shed(t, "optional", 40)
	composed := plain(t, r.next(t).GetFlagConfiguration())
	snap, err := w.store.Snapshot("default")
	if err != nil {
		t.Fatal(err)
	}
	native := snap.Set(time.Now())
	const keys = 10_000
	shed := 0
	rpc := w.v2(connect.WithGRPC())
	for i := range keys {
		ctx := map[string]any{"targetingKey": fmt.Sprintf("user-%d@example.org", i)}
		want := native.Bool("f", true, ctx)
		if want.Reason == flag.ReasonDegraded {
			shed++
		}
		if got := composed.Bool("f", true, ctx); got.Variant != want.Variant {
			t.Fatalf("%v: %s by sync, %s natively", ctx, got.Variant, want.Variant)
		}
		values, err := structpb.NewStruct(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got, err := rpc.ResolveBoolean(short(t), connect.NewRequest(&evaluationv2.ResolveBooleanRequest{FlagKey: "f", Context: values}))
		if err != nil || got.Msg.GetVariant() != want.Variant {
			t.Fatalf("%v: %v %v by RPC, %s natively", ctx, got, err, want.Variant)
		}
	}
	if shed < keys*38/100 || shed > keys*42/100 {
		t.Errorf("%d of %d keys are shed, at 40 %%", shed, keys)
	}
}

// An override ends at its time for streams too, with no etcd to say so.
func TestAnOverrideEndsWithoutAWriter(t *testing.T) {
	w := newWorld(t, effective.Options{})
	w.apply(t, "default", shedable)
	stream := w.syncing(t, "", connect.WithGRPC())
	events := w.events(t, connect.WithGRPC())
	stream.next(t)
	if e := events.next(t); e.GetType() != "provider_ready" {
		t.Fatalf("%v", e)
	}
	lasts := 2 * time.Second
	w.kill(t, "f", &lasts)
	w.closeEtcd() // nobody deletes the override
	if got := plain(t, stream.next(t).GetFlagConfiguration()).Bool("f", true, nil); got.Variant != "off" {
		t.Errorf("killed: %v", got)
	}
	if got := plain(t, stream.next(t).GetFlagConfiguration()).Bool("f", false, nil); got.Variant != "on" {
		t.Errorf("after the end: %v", got)
	}
	for range 2 {
		if e := events.next(t); fmt.Sprint(e.GetData().AsMap()) != "map[flags:map[f:map[type:update]]]" {
			t.Errorf("%v", e)
		}
	}
}

func TestSyncSelector(t *testing.T) {
	w := newWorld(t, effective.Options{})
	w.namespace(t, "shop", "flags/shop.json")
	w.namespace(t, "other")
	for _, ns := range []string{"default", "shop", "other"} {
		w.apply(t, ns, `{"flags": {"`+ns+`": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}}}`)
	}
	for _, tc := range []struct{ name, field, header, want string }{
		{"nothing", "", "", "default"},
		{"a name in the field", "shop", "", "shop"},
		{"flagSetId in the field", "flagSetId=shop", "", "shop"},
		{"an alias in the field", "source=flags/shop.json", "", "shop"},
		{"the header", "", "flagSetId=other", "other"},
		{"the header wins", "shop", "flagSetId=other", "other"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, p := range protocols {
				r := read(t, func(ctx context.Context) (*connect.ServerStreamForClient[syncv1.SyncFlagsResponse], error) {
					req := connect.NewRequest(&syncv1.SyncFlagsRequest{Selector: tc.field})
					if tc.header != "" {
						req.Header().Set(authz.HeaderSelector, tc.header)
					}
					return w.sync(p.opts...).SyncFlags(ctx, req)
				})
				if _, ok := plain(t, r.next(t).GetFlagConfiguration()).Lookup(tc.want); !ok {
					t.Errorf("over %s: not the set of %s", p.name, tc.want)
				}
				r.cancel()
			}
		})
	}
	t.Run("two names at once", func(t *testing.T) {
		_, err := w.sync(connect.WithGRPC()).FetchAllFlags(short(t), connect.NewRequest(&syncv1.FetchAllFlagsRequest{Selector: "flagSetId=shop,source=other"}))
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "a selector has one name") {
			t.Errorf("%v", err)
		}
	})
	t.Run("our own header contradicts the field", func(t *testing.T) {
		r := read(t, func(ctx context.Context) (*connect.ServerStreamForClient[syncv1.SyncFlagsResponse], error) {
			req := connect.NewRequest(&syncv1.SyncFlagsRequest{Selector: "shop"})
			req.Header().Set(authz.HeaderNamespace, "other")
			return w.sync(connect.WithGRPC()).SyncFlags(ctx, req)
		})
		if err := r.end(t); connect.CodeOf(err) != connect.CodePermissionDenied || !strings.Contains(err.Error(), `"other"`) {
			t.Errorf("ended with %v", err)
		}
	})
}

// Streams end when their namespace goes, when the server drains, at their
// deadline, and are refused where there is no room.
func TestEndsOfStreams(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) { endsOfStreams(t, p.opts...) })
	}
}

func endsOfStreams(t *testing.T, opts ...connect.ClientOption) {
	t.Helper()
	w := newWorld(t, effective.Options{MaxStreams: 2})
	w.namespace(t, "shop")
	first := w.syncing(t, "shop", opts...)
	first.next(t)
	second := w.events(t, opts...)
	second.next(t)
	if err := w.syncing(t, "", opts...).end(t); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("a third stream: %v", err)
	}
	if _, err := w.store.DeleteNamespace(context.Background(), "shop", noChange); err != nil {
		t.Fatal(err)
	}
	if err := first.end(t); connect.CodeOf(err) != connect.CodeNotFound || !strings.Contains(err.Error(), "shop") {
		t.Errorf("after its namespace was deleted: %v", err)
	}
	timed := read(t, func(ctx context.Context) (*connect.ServerStreamForClient[syncv1.SyncFlagsResponse], error) {
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		context.AfterFunc(ctx, cancel)
		return w.sync(opts...).SyncFlags(ctx, connect.NewRequest(&syncv1.SyncFlagsRequest{}))
	})
	if err := timed.end(t); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("past its deadline: %v", err)
	}
	w.sets.Drain()
	if err := second.end(t); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("when the server drains: %v", err)
	}
	if err := w.syncing(t, "", opts...).end(t); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("a stream while the server drains: %v", err)
	}
}

// The deadline that a client names counts at the server too.
func TestTimeoutHeader(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"10S": 10 * time.Second, "1H": time.Hour, "5m": 5 * time.Millisecond, "99999999n": 99_999_999, "": -1, "99999999H": -1,
	} {
		r := &http.Request{Header: http.Header{"Grpc-Timeout": {text}}}
		if text == "" {
			r.Header = http.Header{}
		}
		ctx, cancel, err := withGRPCTimeout(r)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		until, ok := ctx.Deadline()
		if left := time.Until(until); ok != (want >= 0) || (ok && left > want) {
			t.Errorf("%q: %v, want %v", text, left, want)
		}
		cancel()
	}
	for _, text := range []string{"S", "10", "10X", "-1S", "999999999S", "1.5S"} {
		_, _, err := withGRPCTimeout(&http.Request{Header: http.Header{"Grpc-Timeout": {text}}})
		if rpc := new(connect.Error); !errors.As(err, &rpc) || rpc.Code() != connect.CodeInvalidArgument {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A client that does not read delays nobody, and gets what is newest when it
// does: not one message for each change.
func TestASlowReaderSkipsToTheNewestState(t *testing.T) {
	w := newWorld(t, effective.Options{})
	f := New(w.sets)
	w.apply(t, "default", shedable)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	type stream struct{ sending, release chan *message }
	slow := stream{make(chan *message), make(chan *message)}
	work.Go(func() {
		_ = f.syncFlags(ctx, "", func(m *message) error {
			for _, step := range []chan *message{slow.sending, slow.release} {
				select {
				case step <- m:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	})
	first := <-slow.sending // it is stuck from here on
	quick := w.syncing(t, "", connect.WithGRPC())
	quick.next(t)
	const changes = 20
	last := ""
	for i := range changes {
		w.apply(t, "default", fmt.Sprintf(`{"flags": {"h": {"state": "ENABLED", "variants": {"v": %d}, "defaultVariant": "v"}}}`, i))
		last = quick.next(t).GetFlagConfiguration()
	}
	if m := <-slow.release; m != first {
		t.Error("another message than the one that was stuck")
	}
	if m := <-slow.sending; m.msg.(*syncv1.SyncFlagsResponse).GetFlagConfiguration() != last {
		t.Errorf("the next message is not the newest state: %v", m.msg)
	}
}
