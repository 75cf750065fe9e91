package sdk_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/isolated"
	"go.uber.org/goleak"

	"github.com/plimsoll-dev/plimsoll/sdk"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/fakeserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	on  = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}`
	off = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`
	// optional is on unless shed.
	optional = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","degradation":{"tier":"optional"}}`
)

// app is an app in a bubble: an OpenFeature API of its own with the provider,
// and a server that it follows.
type app struct {
	t        *testing.T
	network  *fakeserver.Network
	server   *fakeserver.Server
	provider *sdk.Provider
	api      *openfeature.EvaluationAPI
	client   *openfeature.Client

	mu     sync.Mutex
	events []openfeature.EventDetails
	kinds  []openfeature.EventType
	log    bytes.Buffer
}

// inBubble runs a test with fake time. The provider is not yet set.
func inBubble(t *testing.T, test func(t *testing.T, a *app), options ...sdk.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &app{t: t, network: fakeserver.NewNetwork(), api: isolated.NewAPI()}
		a.server = fakeserver.New(t, a.network, "a", "store-1")
		a.provider = a.newProvider(options...)
		a.client = a.api.NewClient()
		for _, kind := range []openfeature.EventType{
			openfeature.ProviderReady, openfeature.ProviderStale, openfeature.ProviderError, openfeature.ProviderConfigChange,
		} {
			handler := func(e openfeature.EventDetails) {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.kinds = append(a.kinds, kind)
				a.events = append(a.events, e)
			}
			a.api.AddHandler(kind, &handler)
		}
		t.Cleanup(func() { _ = a.api.Shutdown(context.Background()) })
		test(t, a)
	})
}

func (a *app) newProvider(options ...sdk.Option) *sdk.Provider {
	p, err := sdk.NewProvider(append([]sdk.Option{
		sdk.WithEndpoints(a.server.URL()),
		sdk.WithHTTPClient(a.network.Client(a.t)),
		sdk.WithLogger(slog.New(slog.NewTextHandler(&lockedWriter{a}, nil))),
	}, options...)...)
	if err != nil {
		a.t.Fatal(err)
	}
	return p
}

// start hands the provider to OpenFeature and waits for Init.
func (a *app) start() {
	a.t.Helper()
	if err := a.api.SetProviderAndWait(context.Background(), a.provider); err != nil {
		a.t.Fatal(err)
	}
	synctest.Wait()
}

// after lets time pass and everything that is due happen.
func (a *app) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// bool is the answer for a bool flag.
func (a *app) bool(key string, def bool) openfeature.BooleanEvaluationDetails {
	a.t.Helper()
	d, err := a.client.BooleanValueDetails(context.Background(), key, def, openfeature.EvaluationContext{})
	if err != nil {
		a.t.Errorf("evaluation of %s: %v", key, err)
	}
	return d
}

// told are the kinds of events since the last call, and the events themselves.
func (a *app) told() ([]openfeature.EventType, []openfeature.EventDetails) {
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	kinds, events := a.kinds, a.events
	a.kinds, a.events = nil, nil
	return kinds, events
}

func (a *app) wantState(want openfeature.State) {
	a.t.Helper()
	synctest.Wait()
	if got := a.client.State(); got != want {
		a.t.Errorf("state %s, want %s", got, want)
	}
}

type lockedWriter struct{ a *app }

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	return l.a.log.Write(p)
}
