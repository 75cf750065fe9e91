package sdk_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/plimsoll-dev/plimsoll/sdk"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/fakeserver"
)

var nobody openfeature.EvaluationContext

func TestInitWaitsForTheFirstSet(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		began := time.Now()
		a.start()
		if d := time.Since(began); d != 0 {
			t.Errorf("Init took %s of fake time, want none", d)
		}
		if d := a.bool("f", false); !d.Value || d.Variant != "on" || d.Reason != openfeature.StaticReason {
			t.Errorf("f is %+v", d)
		}
		r := a.server.Asked()[0]
		if c := r.Client; len(c.GetInstanceId()) != 32 || c.GetService() == "" || !strings.HasPrefix(c.GetAgent(), "plimsoll-go/") {
			t.Errorf("client %v", c)
		}
		if r.Namespace != "" {
			t.Errorf("namespace %q, want the server's choice", r.Namespace)
		}
	})
}

func TestWhoAsks(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.start()
		r := a.server.Asked()[0]
		if r.Namespace != "shop" || r.Client.GetService() != "checkout" || r.Client.GetZone() != "eu-1a" {
			t.Errorf("asked with %v", r)
		}
	}, sdk.WithNamespace("shop"), sdk.WithService("checkout"), sdk.WithZone("eu-1a"))
}

// A server that cannot be reached is no error: Init ends in time and callers
// get their own defaults until flags arrive.
func TestInitWithoutServer(t *testing.T) {
	for _, test := range []struct {
		name    string
		broken  func(*app)
		limit   time.Duration
		options []sdk.Option
	}{
		{"refused", func(a *app) { a.server.Stop() }, 5 * time.Second, nil},
		{"hanging", func(a *app) { a.network.Hang("a", true) }, 5 * time.Second, nil},
		{"silent", func(a *app) { a.server.Silence(true) }, 5 * time.Second, nil},
		{"own limit", func(a *app) { a.server.Stop() }, time.Second, []sdk.Option{sdk.WithInitTimeout(time.Second)}},
		{"no waiting", func(a *app) { a.server.Stop() }, 0, []sdk.Option{sdk.WithInitTimeout(0)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, a *app) {
				test.broken(a)
				began := time.Now()
				a.start()
				if d := time.Since(began); d != test.limit {
					t.Errorf("Init took %s, want %s", d, test.limit)
				}
				d := a.bool("f", true)
				if !d.Value || d.Reason != openfeature.DefaultReason || d.ErrorCode != "" || len(d.FlagMetadata) != 0 {
					t.Errorf("f is %+v, want the default for reason DEFAULT", d)
				}
				a.after(20 * time.Second)
				a.wantState(openfeature.StaleState)

				a.server.Put(map[string]string{"f": off})
				a.network.Hang("a", false)
				a.server.Silence(false)
				a.server.Start()
				a.after(30 * time.Second)
				a.wantState(openfeature.ReadyState)
				if d := a.bool("f", true); d.Value || d.Variant != "off" {
					t.Errorf("f is %+v, want the server's", d)
				}
			}, test.options...)
		})
	}
}

func TestInitWithContext(t *testing.T) {
	t.Run("a deadline is a shorter limit", func(t *testing.T) {
		inBubble(t, func(t *testing.T, a *app) {
			a.server.Stop()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := a.provider.InitWithContext(ctx, nobody); err != nil {
				t.Error(err)
			}
			a.provider.Shutdown()
		})
	})
	t.Run("cancellation is an error", func(t *testing.T) {
		inBubble(t, func(t *testing.T, a *app) {
			a.server.Stop()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			if err := a.provider.InitWithContext(ctx, nobody); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want the cancellation", err)
			}
			a.provider.Shutdown()
		})
	})
	t.Run("shutdown meanwhile is an error", func(t *testing.T) {
		inBubble(t, func(t *testing.T, a *app) {
			a.server.Stop()
			time.AfterFunc(time.Second, a.provider.Shutdown)
			if err := a.provider.Init(nobody); err == nil || !strings.Contains(err.Error(), "shut down") {
				t.Errorf("error %v, want it to name the shutdown", err)
			}
		})
	})
}

// All domains that a provider is bound to share one stream.
func TestManyDomainsOneStream(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.start()
		for _, domain := range []string{"x", "y", "z"} {
			if err := a.api.SetProviderAndWait(t.Context(), a.provider, openfeature.WithDomain(domain)); err != nil {
				t.Fatal(err)
			}
			client := a.api.NewClient(openfeature.WithDomain(domain))
			if !client.Boolean(t.Context(), "f", false, nobody) {
				t.Errorf("domain %s does not see the flag", domain)
			}
		}
		if n := a.server.Streams(); n != 1 || len(a.server.Asked()) != 1 {
			t.Errorf("%d streams after %d requests, want one", n, len(a.server.Asked()))
		}
	})
}

func TestShutdown(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.provider.Shutdown() // before any Init
		a.server.Put(map[string]string{"f": on})
		a.start()
		for range 3 {
			a.provider.Shutdown()
		}
		a.after(time.Second)
		if n := a.server.Streams(); n != 0 {
			t.Errorf("%d streams after the shutdown", n)
		}
		d := a.provider.BooleanEvaluation(t.Context(), "f", false, nil)
		if !d.Value || d.FlagMetadata["source"] != "memory" {
			t.Errorf("f is %+v after the shutdown, want the value last seen, from memory", d)
		}
	})
}

func TestShutdownWithContext(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.start()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		// The context ended before, so that either answer may be true; but the
		// shutdown was begun, and is waited for by the next.
		if err := a.provider.ShutdownWithContext(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := a.provider.ShutdownWithContext(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A provider that was shut down can be bound again, and does not go back in
// time meanwhile.
func TestInitAfterShutdown(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": off})
		a.start()
		if err := a.api.SetProviderAndWait(t.Context(), openfeature.NoopProvider{}); err != nil {
			t.Fatal(err)
		}
		a.after(time.Second)
		if n := a.server.Streams(); n != 0 {
			t.Fatalf("%d streams of a provider that was replaced", n)
		}
		a.server.Put(map[string]string{"f": on})
		a.start()
		a.after(time.Second)
		if d := a.bool("f", false); !d.Value || d.FlagMetadata["source"] != nil {
			t.Errorf("f is %+v, want the newest, live", d)
		}
		if since := a.server.Asked()[1].Since; since.GetRevision() != 2 {
			t.Errorf("asked for what comes after %v, want revision 2", since)
		}
		a.wantState(openfeature.ReadyState)
	})
}

func TestInitAndShutdownAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		var calls sync.WaitGroup
		for range 50 {
			calls.Go(func() { _ = a.provider.Init(nobody) })
			calls.Go(func() { a.provider.Shutdown() })
			calls.Go(func() { a.provider.BooleanEvaluation(t.Context(), "f", false, nil) })
		}
		calls.Wait()
		a.provider.Shutdown()
		a.after(time.Second)
		if n := a.server.Streams(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

// The bubble itself fails a test that leaves a goroutine.
func TestManyLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &app{t: t, network: fakeserver.NewNetwork()}
		a.server = fakeserver.New(t, a.network, "a", "store-1")
		a.server.Put(map[string]string{"f": on})
		client := a.network.Client(t)
		for range 200 {
			p := a.newProvider(sdk.WithHTTPClient(client))
			if err := p.Init(nobody); err != nil {
				t.Fatal(err)
			}
			p.Shutdown()
		}
		a.after(time.Second)
		if n := a.server.Streams(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

// A thousand lifetimes over real sockets, with a cache: goroutines, open files
// and the files of the folder are in the end what they were at the start.
func TestLifetimesLeaveNothing(t *testing.T) {
	server := fakeserver.NewHandler("store-1")
	server.Put(map[string]string{"f": on})
	address, _ := serve(t, "127.0.0.1:0", server)
	dir := t.TempDir()
	life := func() {
		t.Helper()
		p, err := sdk.NewProvider(sdk.WithEndpoints("http://"+address), sdk.WithCacheDir(dir), sdk.WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Init(nobody); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if d := p.BooleanEvaluation(t.Context(), "f", false, nil); !d.Value {
				t.Fatalf("f is %+v", d)
			}
		}
		p.Shutdown()
	}
	life()
	life()
	goroutines, files, descriptors := runtime.NumGoroutine(), entries(t, dir), openFiles(t)
	for i := range 1000 {
		if i%50 == 0 {
			server.Put(map[string]string{"g": []string{on, off}[i/50%2]}) // so that the cache is written
		}
		life()
	}
	eventually(t, func() bool { return server.Streams() == 0 && runtime.NumGoroutine() <= goroutines })
	eventually(t, func() bool { return openFiles(t) <= descriptors })
	if got := entries(t, dir); len(got) != 3 || len(files) > 3 {
		t.Errorf("files %q after %q, want the cache, the generation before and the lock", got, files)
	}
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// openFiles is how many file descriptors the process has; 0 where that cannot be
// told.
func openFiles(t *testing.T) int {
	t.Helper()
	const fds = "/proc/self/fd"
	if _, err := os.Stat(fds); err != nil {
		return 0
	}
	return len(entries(t, fds))
}

// The end of a run that comes late does not silence the next one.
func TestEventsAfterAQuickRestart(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.start()
		a.after(time.Second)
		a.server.DelayReports(900 * time.Millisecond) // the last one included
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			a.provider.Shutdown()
		}()
		synctest.Wait()
		if err := a.provider.Init(nobody); err != nil {
			t.Fatal(err)
		}
		a.server.DelayReports(0)
		<-ended
		a.after(30 * time.Second)
		a.told()
		a.server.Put(map[string]string{"f": off})
		a.after(time.Second)
		if kinds, _ := a.told(); len(kinds) == 0 {
			t.Error("a change was told to nobody")
		}
		a.server.Stop()
		a.after(time.Minute)
		if kinds, _ := a.told(); len(kinds) == 0 || kinds[0] != openfeature.ProviderStale {
			t.Errorf("told %v of an outage", kinds)
		}
		a.provider.Shutdown()
	})
}

// The last word of a run that is heard only in the next one does not stand.
func TestReadyAgainAfterTheLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "flags.json")
		if err := os.WriteFile(path, []byte(`{"flags":{"f":`+on+`}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := sdk.NewProvider(sdk.WithFile(path), sdk.WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := p.Init(nobody); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			p.Shutdown()
		}
		told := func() (e openfeature.Event) {
			select {
			case e = <-p.EventChannel():
			case <-time.After(time.Second):
			}
			return e
		}
		if e := told(); e.EventType != openfeature.ProviderStale || e.Message != "the provider was shut down" {
			t.Errorf("told %+v, want the last word", e)
		}
		if err := p.Init(nobody); err != nil {
			t.Fatal(err)
		}
		defer p.Shutdown()
		if e := told(); e.EventType != openfeature.ProviderReady {
			t.Errorf("told %+v, want READY", e)
		}
	})
}

// OpenFeature shuts a replaced provider down in a goroutine, which may come after
// the provider is bound again. That it stands still is not hidden then.
func TestShutdownOfAProviderThatIsBound(t *testing.T) {
	for name, do := range map[string]func(a *app){
		"replaced and bound again": func(a *app) {
			_ = a.api.SetProviderAndWait(context.Background(), openfeature.NoopProvider{})
			// Whether that shutdown comes within this Init or after it is open.
			_ = a.api.SetProviderAndWait(context.Background(), a.provider)
		},
		"right after an Init": func(a *app) {
			a.server.Stop()
			_ = a.api.SetProviderAndWait(context.Background(), a.provider, openfeature.WithDomain("x"))
			a.provider.Shutdown()
		},
		"later": func(a *app) {
			a.after(time.Minute)
			a.provider.Shutdown()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, a *app) {
				a.server.Put(map[string]string{"f": on})
				a.start()
				a.after(time.Second)
				do(a)
				a.after(time.Minute)
				if a.server.Streams() > 0 {
					a.wantState(openfeature.ReadyState) // the shutdown came before the Init
					return
				}
				kinds, events := a.told()
				told := false // in whatever order, as OpenFeature calls each handler in a goroutine
				for i, kind := range kinds {
					told = told || kind == openfeature.ProviderStale && events[i].Message == "the provider was shut down"
				}
				if s := a.client.State(); s != openfeature.StaleState || !told {
					t.Errorf("state %s, told %v %+v", s, kinds, events)
				}
				a.mu.Lock()
				defer a.mu.Unlock()
				if n := strings.Count(a.log.String(), "the provider was shut down"); n != 1 {
					t.Errorf("logged %d times:\n%s", n, &a.log)
				}
			})
		})
	}
}
