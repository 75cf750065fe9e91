package sdk_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk"
)

// use hands OpenFeature another provider.
func (a *app) use(options ...sdk.Option) {
	a.t.Helper()
	a.provider = a.newProvider(options...)
	a.start()
}

// leave shuts the provider down, as at the end of a process.
func (a *app) leave() {
	a.t.Helper()
	if err := a.api.SetProviderAndWait(context.Background(), openfeature.NoopProvider{}); err != nil {
		a.t.Fatal(err)
	}
	a.after(2 * time.Second)
	a.told()
}

// wrote counts lines of the log that contain a text.
func (a *app) wrote(text string) int {
	return strings.Count(a.logged(), text)
}

func (a *app) logged() string {
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.log.String()
}

func (a *app) wantSource(key string, value bool, source any) {
	a.t.Helper()
	if d := a.bool(key, !value); d.Value != value || d.FlagMetadata["source"] != source {
		a.t.Errorf("%s is %v (%s) with source %v, want %v with %v", key, d.Value, d.Reason, d.FlagMetadata["source"], value, source)
	}
}

func TestStartFromTheCache(t *testing.T) {
	dir := sdk.WithCacheDir(filepath.Join(t.TempDir(), "cache"))
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": off})
		a.start()
		a.server.Put(map[string]string{"f": on, "g": on})
		a.after(10 * time.Millisecond)
		a.leave()

		a.server.Stop()
		began := time.Now()
		a.use(dir)
		if d := time.Since(began); d != 500*time.Millisecond {
			t.Errorf("Init took %s, want 500 ms", d)
		}
		a.wantSource("f", true, "cache")
		a.after(time.Second)
		a.wantState(openfeature.StaleState)
		if kinds, _ := a.told(); len(kinds) < 2 || kinds[0] != openfeature.ProviderReady || kinds[1] != openfeature.ProviderStale {
			t.Errorf("told %v, want READY and then STALE", kinds)
		}

		a.server.Put(map[string]string{"g": off})
		a.server.Start()
		a.after(10 * time.Second)
		a.wantState(openfeature.ReadyState)
		a.wantSource("f", true, nil)
		a.wantSource("g", false, nil)
		_, events := a.told()
		var keys []string
		for _, e := range events {
			keys = append(keys, e.FlagChanges...)
		}
		if !slices.Equal(keys, []string{"g"}) {
			t.Errorf("told changes of %q, want g", keys)
		}
		asked := a.server.Asked()
		if since := asked[len(asked)-1].Since; since.GetStoreId() != "store-1" || since.GetRevision() != 3 {
			t.Errorf("asked for what comes after %v, want revision 3", since)
		}
		a.server.Stop()
		a.after(time.Minute)
		a.wantSource("f", true, "memory")
	}, dir)
}

// With a cache Init waits for a server all the same, but shortly.
func TestInitWithACache(t *testing.T) {
	for _, test := range []struct {
		name    string
		options []sdk.Option
		wait    time.Duration
	}{
		{"unset", nil, 500 * time.Millisecond},
		{"longer", []sdk.Option{sdk.WithInitTimeout(3 * time.Second)}, 3 * time.Second},
		{"not at all", []sdk.Option{sdk.WithInitTimeout(0)}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			options := append([]sdk.Option{sdk.WithCacheDir(t.TempDir())}, test.options...)
			inBubble(t, func(t *testing.T, a *app) {
				a.server.Put(map[string]string{"f": on})
				a.start()
				a.leave()

				a.server.Put(map[string]string{"f": off})
				began := time.Now()
				a.use(append(slices.Clone(options), sdk.WithInitTimeout(time.Second))...)
				if d := time.Since(began); d != 0 {
					t.Errorf("Init took %s though a server answers at once", d)
				}
				a.wantSource("f", false, nil)
				a.leave()

				a.network.Hang("a", true)
				began = time.Now()
				a.use(options...)
				if d := time.Since(began); d != test.wait {
					t.Errorf("Init took %s, want %s", d, test.wait)
				}
				a.wantSource("f", false, "cache")
				// A second domain waits no less and no more.
				began = time.Now()
				if err := a.api.SetProviderAndWait(t.Context(), a.provider, openfeature.WithDomain("x")); err != nil {
					t.Fatal(err)
				}
				if d := time.Since(began); d != test.wait {
					t.Errorf("Init of a second domain took %s, want %s", d, test.wait)
				}
				// Before the client's connections are closed, of which one hangs.
				_ = a.api.Shutdown(t.Context())
			}, options...)
		})
	}
}

// What arrives is on disk soon, so that a crash loses little.
func TestCacheIsWrittenMeanwhile(t *testing.T) {
	dir := sdk.WithCacheDir(t.TempDir())
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": off})
		a.start()
		a.after(time.Second)
		a.server.Put(map[string]string{"f": on})
		a.after(time.Second)
		other := a.newProvider(dir, sdk.WithHTTPClient(a.network.Client(t)), sdk.WithInitTimeout(0))
		a.network.Hang("a", true)
		if err := other.Init(nobody); err != nil {
			t.Fatal(err)
		}
		defer other.Shutdown()
		if d := other.BooleanEvaluation(t.Context(), "f", false, nil); !d.Value || d.FlagMetadata["source"] != "cache" {
			t.Errorf("f is %+v, want it on from the cache", d)
		}
	}, dir)
}

// Two providers of a process share a cache: one writes.
func TestTwoProvidersAndOneCache(t *testing.T) {
	dir := sdk.WithCacheDir(t.TempDir())
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": off})
		a.start()
		second := a.newProvider(dir)
		if err := second.Init(nobody); err != nil {
			t.Fatal(err)
		}
		a.server.Put(map[string]string{"f": on})
		a.after(5 * time.Second)
		if a.wrote("this one reads it and does not write") != 1 {
			t.Errorf("the log does not say that the second does not write:\n%s", a.logged())
		}
		a.leave() // the first
		a.server.Put(map[string]string{"g": on})
		a.after(2 * time.Minute)
		second.Shutdown()
		a.server.Stop()
		a.use(dir)
		a.wantSource("g", true, "cache")
	}, dir)
}

func TestNamespacesHaveCachesOfTheirOwn(t *testing.T) {
	dir := sdk.WithCacheDir(t.TempDir())
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.start()
		a.leave()
		a.server.Stop()
		a.use(dir, sdk.WithNamespace("other"), sdk.WithInitTimeout(0))
		if d := a.bool("f", false); d.Value || d.Reason != openfeature.DefaultReason {
			t.Errorf("f is %+v in another namespace, want the default", d)
		}
		a.leave()
		a.use(dir, sdk.WithNamespace("shop"), sdk.WithInitTimeout(0))
		a.wantSource("f", true, "cache")
	}, dir, sdk.WithNamespace("shop"))
}

// What has expired meanwhile does not count at the start.
func TestCacheWithOverridesThatEnd(t *testing.T) {
	dir := sdk.WithCacheDir(t.TempDir())
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on, "g": on})
		a.server.Change(&plimsollv1.StateChange{Overrides: []*plimsollv1.OverrideState{
			{FlagKey: "f", Variant: "off", ExpiresAt: timestamppb.New(time.Now().Add(time.Hour))},
			{FlagKey: "g", Variant: "off", ExpiresAt: timestamppb.New(time.Now().Add(3 * time.Hour))},
		}})
		a.start()
		a.wantSource("f", false, nil)
		a.leave()
		a.server.Stop()
		a.after(2 * time.Hour)
		a.use(dir)
		a.wantSource("f", true, "cache")
		a.wantSource("g", false, "cache")
		a.after(time.Hour)
		a.wantSource("g", true, "cache")
	}, dir)
}

// A state that was adopted in place of a later one takes its place in the cache
// too.
func TestCacheFollowsAnAdoption(t *testing.T) {
	dir := sdk.WithCacheDir(t.TempDir())
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.server.MoveTo(1, 100)
		a.start()
		a.after(time.Minute)
		a.server.Stop()
		a.server.Put(map[string]string{"f": off})
		a.server.MoveTo(1, 50)
		a.server.Start()
		a.after(time.Minute)
		a.wantSource("f", false, nil)
		a.leave()
		a.server.Stop()
		a.use(dir)
		a.wantSource("f", false, "cache")
		a.leave()

		// And another store's.
		a.server.Wipe("store-2")
		a.server.Put(map[string]string{"f": on})
		a.server.Start()
		a.use(dir)
		a.wantSource("f", false, "cache")
		a.after(29 * time.Second)
		a.wantSource("f", false, "cache")
		a.after(2 * time.Second)
		a.wantSource("f", true, nil)
		a.leave()
		a.server.Stop()
		a.use(dir)
		a.wantSource("f", true, "cache")
	}, dir)
}

func TestCacheThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.start()
		a.wantSource("f", true, nil)
		for range 5 {
			a.server.Put(map[string]string{"g": on})
			a.after(time.Minute)
		}
		if a.wrote("level=WARN") != 1 || a.wrote("going on without it") != 1 {
			t.Errorf("want one warning:\n%s", a.logged())
		}
	}, sdk.WithCacheDir(filepath.Join(file, "cache")))
}

// document writes a flagd document to a file.
func document(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flags.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStartFromABootstrapFile(t *testing.T) {
	path := document(t, `{"flags":{"f":`+on+`},"metadata":{"team":"a"}}`)
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": off})
		a.server.Stop()
		began := time.Now()
		a.start()
		if d := time.Since(began); d != 500*time.Millisecond {
			t.Errorf("Init took %s, want 500 ms", d)
		}
		a.wantSource("f", true, "bootstrap")
		if d := a.bool("f", false); d.FlagMetadata["team"] != "a" {
			t.Errorf("f is %+v, want the set's metadata", d)
		}
		a.server.Start()
		a.after(10 * time.Second) // and not 30 s: it is of no store
		a.wantSource("f", false, nil)
		for _, r := range a.server.Asked() {
			if r.Since != nil {
				t.Errorf("asked for what comes after %v", r.Since)
			}
		}
	}, sdk.WithBootstrapFile(path))
}

// What a server confirms goes to the cache, even if it is what the process began
// with.
func TestBootstrapFileThatIsCurrent(t *testing.T) {
	path := document(t, `{"metadata":{"plimsoll.store":"store-1","plimsoll.epoch":1,"plimsoll.revision":2},"flags":{"f":`+on+`}}`)
	dir := sdk.WithCacheDir(t.TempDir())
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.start()
		a.wantSource("f", true, nil)
		if since := a.server.Asked()[0].Since; since.GetRevision() != 2 || since.GetStoreId() != "store-1" {
			t.Errorf("asked for what comes after %v, want revision 2", since)
		}
		a.leave()
		a.server.Stop()
		a.use(dir)
		a.wantSource("f", true, "cache")
	}, dir, sdk.WithBootstrapFile(path))
}

func TestCacheOrBootstrapFile(t *testing.T) {
	const (
		cached = 2 // the revision that is in the cache
		flags  = `"flags":{"f":` + on + `}}`
	)
	for _, test := range []struct {
		name, text, source string
		value              bool
	}{
		{"a later one of the same store", `{"metadata":{"plimsoll.store":"store-1","plimsoll.epoch":1,"plimsoll.revision":3},` + flags, "bootstrap", true},
		{"a later epoch", `{"metadata":{"plimsoll.store":"store-1","plimsoll.epoch":2,"plimsoll.revision":1},` + flags, "bootstrap", true},
		{"an earlier one", `{"metadata":{"plimsoll.store":"store-1","plimsoll.epoch":1,"plimsoll.revision":1},` + flags, "cache", false},
		{"of another store", `{"metadata":{"plimsoll.store":"store-2","plimsoll.epoch":9,"plimsoll.revision":9},` + flags, "cache", false},
		{"of no store", `{` + flags, "cache", false},
		{"a broken one", `{"flags":{"f":{"state":"ON"},"g":{}}}`, "cache", false},
		{"one that is not there", "", "cache", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := sdk.WithCacheDir(t.TempDir())
			path := filepath.Join(t.TempDir(), "none")
			if test.text != "" {
				path = document(t, test.text)
			}
			inBubble(t, func(t *testing.T, a *app) {
				a.server.Put(map[string]string{"f": off})
				if r := a.server.Position().Revision; r != cached {
					t.Fatalf("the server is at %d", r)
				}
				a.start()
				a.leave()
				a.server.Stop()
				a.use(dir, sdk.WithBootstrapFile(path))
				a.wantSource("f", test.value, test.source)
			}, dir)
		})
	}
}

// A file that is broken, or not there, never stops an app.
func TestBootstrapFileThatCannotBeUsed(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"faults", `{"flags":{"f":{"state":"ON"},"g":{"state":"OFF"}}}`, []string{`[\"f\"].state`, `[\"g\"].state`}},
		{"YAML", "flags: {}\n", []string{"flagctl export -o json"}},
		{"not there", "", []string{"no such file"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "none")
			if test.text != "" {
				path = document(t, test.text)
			}
			inBubble(t, func(t *testing.T, a *app) {
				a.server.Put(map[string]string{"f": on})
				a.start()
				a.wantSource("f", true, nil)
				if a.wrote("level=ERROR") != 1 || a.wrote("the bootstrap file cannot be used") != 1 {
					t.Errorf("want one error:\n%s", a.logged())
				}
				for _, want := range test.want {
					if a.wrote(want) != 1 {
						t.Errorf("the log does not say %s:\n%s", want, a.logged())
					}
				}
			}, sdk.WithBootstrapFile(path))
		})
	}
}
