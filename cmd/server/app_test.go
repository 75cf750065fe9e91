package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/open-feature/go-sdk/openfeature"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk"
)

// app is an application that reads its flags through OpenFeature.
type app struct {
	client *openfeature.Client
	events chan openfeature.EventType // what the provider told, in order
	log    *syncBuffer
}

func startApp(t testing.TB, endpoints ...string) *app {
	t.Helper()
	a := &app{events: make(chan openfeature.EventType, 1000), log: new(syncBuffer)}
	provider, err := sdk.NewProvider(sdk.WithEndpoints(endpoints...), sdk.WithLogger(slog.New(slog.NewTextHandler(a.log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	domain := t.Name()
	for _, kind := range []openfeature.EventType{openfeature.ProviderReady, openfeature.ProviderStale, openfeature.ProviderConfigChange} {
		handler := func(openfeature.EventDetails) { a.events <- kind }
		a.client = openfeature.NewClient(domain)
		a.client.AddHandler(kind, &handler)
	}
	if err := openfeature.SetNamedProviderAndWait(domain, provider); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(provider.Shutdown)
	return a
}

// see waits until the app is served the variant.
func (a *app) see(t testing.TB, key, variant string, within time.Duration) openfeature.StringEvaluationDetails {
	t.Helper()
	deadline := time.After(within)
	for {
		got, err := a.client.StringValueDetails(context.Background(), key, "the default", openfeature.EvaluationContext{})
		if err != nil {
			t.Fatalf("evaluate %s: %v", key, err)
		}
		if got.Variant == variant {
			return got
		}
		select {
		case <-a.events:
		case <-deadline:
			t.Fatalf("after %s the app is served %q of %s, not %q\n%s", within, got.Variant, key, variant, a.log)
		}
	}
}

func setDefault(t testing.TB, p *process, key, variant string) {
	t.Helper()
	setDefaultOf(t, p, "", key, variant)
}

func setDefaultOf(t testing.TB, p *process, ns, key, variant string) {
	t.Helper()
	_, err := p.flags().UpdateFlag(short(t), connect.NewRequest(&plimsollv1.UpdateFlagRequest{
		Namespace: ns, Key: key, Update: &plimsollv1.UpdateFlagRequest_DefaultVariant{DefaultVariant: variant},
	}))
	if err != nil {
		t.Fatal(err)
	}
}

// respawn starts the server on the address that another one had.
func respawn(t testing.TB, dataDir, url string, args ...string) *process {
	t.Helper()
	return spawn(t, dataDir, append(args, "--listen", strings.TrimPrefix(url, "http://"))...)
}

func TestAChangeReachesARunningAppWhichOutlivesTheServer(t *testing.T) {
	dir := t.TempDir()
	p := spawn(t, dir, "--demo")
	a := startApp(t, p.url)
	if got := a.see(t, "welcome-banner", "plain", 10*time.Second); got.Reason != openfeature.StaticReason || got.FlagMetadata["source"] != nil {
		t.Errorf("first answer: %+v", got)
	}
	setDefault(t, p, "welcome-banner", "sale")
	a.see(t, "welcome-banner", "sale", 10*time.Second)

	p.kill()
	got := a.see(t, "welcome-banner", "sale", time.Second)
	for got.FlagMetadata["source"] == nil {
		select {
		case <-a.events:
		case <-time.After(30 * time.Second):
			t.Fatalf("the answers do not say that the server is gone: %+v", got)
		}
		got = a.see(t, "welcome-banner", "sale", time.Second)
	}

	p = respawn(t, dir, p.url)
	setDefault(t, p, "welcome-banner", "storm")
	if got := a.see(t, "welcome-banner", "storm", 30*time.Second); got.FlagMetadata["source"] != nil {
		t.Errorf("after the server's return: %+v", got)
	}
}

func TestAnAppFollowsAStoreThatWasWiped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := spawn(t, dir, "--demo")
	a := startApp(t, p.url)
	setDefault(t, p, "welcome-banner", "sale")
	a.see(t, "welcome-banner", "sale", 10*time.Second)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	restarted := time.Now()
	p = respawn(t, dir, p.url, "--demo")
	setDefault(t, p, "welcome-banner", "storm")
	a.see(t, "welcome-banner", "storm", 45*time.Second-time.Since(restarted))
	if !strings.Contains(a.log.String(), "level=WARN") || !strings.Contains(a.log.String(), "adopting another store") {
		t.Errorf("the app was not warned:\n%s", a.log)
	}
}

// A data directory that was put back to an older copy, and written to since, has
// the numbers of the history that it lost. An app that had followed that one gets
// the whole state.
func TestAnAppFollowsADataDirectoryThatWasPutBack(t *testing.T) {
	t.Parallel()
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	p := spawn(t, dir, "--demo")
	url := p.url
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	p = respawn(t, dir, url)
	a := startApp(t, url)
	setDefault(t, p, "welcome-banner", "sale") // in the history that is lost
	a.see(t, "welcome-banner", "sale", 10*time.Second)
	setDefault(t, p, "image-quality", "lean")
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}

	// Written to before the app gets hold of it.
	p = spawn(t, copied)
	for i := range 20 {
		setDefault(t, p, "search-ranking", []string{"popular", "personal"}[i%2])
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	p = respawn(t, copied, url)
	a.see(t, "welcome-banner", "plain", 30*time.Second)
	setDefault(t, p, "welcome-banner", "storm")
	a.see(t, "welcome-banner", "storm", 30*time.Second)
}
