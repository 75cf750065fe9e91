package flagd

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"connectrpc.com/connect"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	evaluationv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v1"
	evaluationv2 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v2"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

func (w *world) events(t testing.TB, opts ...connect.ClientOption) *reader[evaluationv2.EventStreamResponse] {
	t.Helper()
	return read(t, func(ctx context.Context) (*connect.ServerStreamForClient[evaluationv2.EventStreamResponse], error) {
		return w.v2(opts...).EventStream(ctx, connect.NewRequest(&evaluationv2.EventStreamRequest{}))
	})
}

// The first event says that the provider is ready; then each change names the
// flags that it touches, those included whose tier is shed to another degree.
func TestEvents(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			w := newWorld(t, effective.Options{})
			w.apply(t, "default", shedable)
			v2 := w.events(t, p.opts...)
			v1 := read(t, func(ctx context.Context) (*connect.ServerStreamForClient[evaluationv1.EventStreamResponse], error) {
				return w.v1(p.opts...).EventStream(ctx, connect.NewRequest(&evaluationv1.EventStreamRequest{}))
			})
			expect := func(kind, data string) {
				t.Helper()
				if e := v2.next(t); e.GetType() != kind || fmt.Sprint(e.GetData().AsMap()) != data {
					t.Errorf("v2: %v", e)
				}
				if e := v1.next(t); e.GetType() != kind || fmt.Sprint(e.GetData().AsMap()) != data {
					t.Errorf("v1: %v", e)
				}
			}
			expect("provider_ready", "map[]")
			w.apply(t, "default", `{"flags": {"h": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}}}`)
			expect("configuration_change", "map[flags:map[h:map[type:write]]]")
			w.apply(t, "default", `{"flags": {"h": {"state": "DISABLED", "variants": {"on": true}, "defaultVariant": "on"}}}`)
			expect("configuration_change", "map[flags:map[h:map[type:update]]]")
			w.shed(t, "optional", 10)
			expect("configuration_change", "map[flags:map[f:map[type:update]]]")
			w.kill(t, "f", nil)
			expect("configuration_change", "map[flags:map[f:map[type:update]]]")
			if _, err := w.store.DeleteFlag(context.Background(), "default", "h", 0, noChange); err != nil {
				t.Fatal(err)
			}
			expect("configuration_change", "map[flags:map[h:map[type:delete]]]")
		})
	}
}

// What is encoded for streams goes with the state that it is of: neither a
// namespace that is gone nor one that changes often leaves anything behind.
func TestNothingEncodedOutlivesItsState(t *testing.T) {
	w := newWorld(t, effective.Options{})
	w.namespace(t, "gone")
	sent := func() (list []weak.Pointer[message]) {
		var before *effective.State
		for i := range 3 {
			w.apply(t, "gone", fmt.Sprintf(`{"flags": {"f": {"state": "ENABLED", "variants": {"v": %d}, "defaultVariant": "v"}}}`, i))
			state, err := w.sets.Newest("gone")
			if err != nil {
				t.Fatal(err)
			}
			m, err := New(w.sets).encoded(state.Document())
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, weak.Make(m))
			if before != nil {
				if _, err := between(before, state); err != nil {
					t.Fatal(err)
				}
			}
			before = state
		}
		return list
	}()
	if _, err := w.store.DeleteFlag(t.Context(), "gone", "f", 0, noChange); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.DeleteNamespace(t.Context(), "gone", noChange); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); slices.ContainsFunc(sent, func(p weak.Pointer[message]) bool { return p.Value() != nil }); runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("a message stays in memory")
		}
	}
}

// A change of very many flags comes in several events, none of which is too
// large for a gRPC client.
func TestAChangeOfManyFlagsComesInSeveralEvents(t *testing.T) {
	u := flag.Update{Reset: true}
	for i := range 3000 {
		u.Flags = append(u.Flags, flag.Source{
			Key:  fmt.Sprintf("%s-%d", strings.Repeat("k", 240), i),
			JSON: `{"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}`,
		})
	}
	set, _ := flag.Empty().With(u, time.Now())
	list, err := tell(flag.Empty(), set)
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, m := range list {
		named += len(m.msg.(*evaluationv2.EventStreamResponse).GetData().GetFields()["flags"].GetStructValue().GetFields())
		if len(m.envelope) > 2<<20 {
			t.Errorf("an event has %d bytes", len(m.envelope))
		}
	}
	if named != 3000 || len(list) < 2 {
		t.Errorf("%d events name %d flags", len(list), named)
	}
}

// A client that keeps STATIC answers must be told of a flag that has changed and
// changed back while its stream was behind: it may have asked in between.
func TestAChangeAndItsReversalAreTold(t *testing.T) {
	w := newWorld(t, effective.Options{})
	f := New(w.sets)
	w.apply(t, "default", shedable)
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	sending, release := make(chan *message), make(chan struct{})
	work.Go(func() {
		_ = f.eventStream(ctx, func(m *message) error {
			select {
			case sending <- m:
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	<-sending // that it is ready; it is stuck from here on
	set := func(variant string) {
		w.apply(t, "default", `{"flags": {"g": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "`+variant+`"}}}`)
		if state, err := w.sets.Newest("default"); err != nil || state.Flags.Bool("g", true, nil).Variant != variant {
			t.Fatalf("%v", err)
		}
	}
	set("off")
	set("on")
	release <- struct{}{}
	select {
	case m := <-sending:
		event := m.msg.(*evaluationv2.EventStreamResponse)
		if got := fmt.Sprint(event.GetData().AsMap()); event.GetType() != eventChange || got != "map[flags:map[g:map[type:update]]]" {
			t.Errorf("%s %s", event.GetType(), got)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("nothing is told")
	}
}
