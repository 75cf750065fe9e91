package follow_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/fakeserver"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/follow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	on  = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}`
	off = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`
	// optional is on unless shed.
	optional = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","degradation":{"tier":"optional"}}`
)

// world is a follower in a bubble, and what it told its observer.
type world struct {
	t        *testing.T
	network  *fakeserver.Network
	follower *follow.Follower
	// draw is the jitter: the longest there may be, unless set.
	draw func(most time.Duration) time.Duration

	mu      sync.Mutex
	state   follow.State
	changes []follow.Change
	log     bytes.Buffer
	stop    func()
}

// inBubble runs a test with fake time.
func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, &world{
			t: t, network: fakeserver.NewNetwork(),
			draw:  func(most time.Duration) time.Duration { return most },
			state: follow.State{Trouble: errors.New("nothing was told yet")},
		})
	})
}

func (w *world) server(host, store string) *fakeserver.Server {
	return fakeserver.New(w.t, w.network, host, store)
}

// follow starts a follower of servers and lets it settle.
func (w *world) follow(servers ...*fakeserver.Server) {
	w.t.Helper()
	w.follower = follow.New(w.config(servers...))
	w.start()
}

// followFrom does the same from a seed.
func (w *world) followFrom(seed follow.Seed, servers ...*fakeserver.Server) {
	w.t.Helper()
	w.follower = follow.New(w.config(servers...))
	w.follower.Seed(seed)
	w.start()
}

func (w *world) start() {
	w.run()
	w.t.Cleanup(func() { w.stop() })
	synctest.Wait()
}

func (w *world) config(servers ...*fakeserver.Server) follow.Config {
	client := w.network.Client(w.t)
	config := follow.Config{
		Namespace: "shop",
		Client:    &plimsollv1.ClientInfo{InstanceId: "i"},
		Log:       slog.New(slog.NewTextHandler(&lockedWriter{w}, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Jitter:    func(most time.Duration) time.Duration { return w.draw(most) },
		Observe:   w.observe,
	}
	for _, s := range servers {
		config.Endpoints = append(config.Endpoints, follow.Endpoint{
			URL: s.URL(), Client: plimsollv1connect.NewSyncServiceClient(client, s.URL()),
		})
	}
	return config
}

// run runs the follower, again after a stop.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.follower.Run(ctx)
	}()
	w.stop = func() {
		cancel()
		<-done
	}
}

func (w *world) observe(c follow.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = c.New
	w.changes = append(w.changes, c)
}

// after lets time pass and everything that is due happen.
func (w *world) after(d time.Duration) {
	w.t.Helper()
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) now() follow.State {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// taken are the changes since the last call.
func (w *world) taken() []follow.Change {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.changes
	w.changes = nil
	return c
}

// serves is what a bool flag serves; def if there is none.
func (w *world) serves(key string, def bool) bool {
	if set := w.now().Set; set != nil {
		return set.Bool(key, def, nil).Value
	}
	return def
}

// logged counts lines of the log that contain a text.
func (w *world) logged(text string) int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Count(w.log.Bytes(), []byte(text))
}

func (w *world) wantLive(want bool) {
	w.t.Helper()
	if s := w.now(); (s.Trouble == nil) != want {
		w.t.Fatalf("live = %v, want %v (trouble: %v)", !want, want, s.Trouble)
	}
}

func (w *world) wantServed(key string, want bool) {
	w.t.Helper()
	if got := w.serves(key, !want); got != want {
		w.t.Fatalf("flag %s serves %v, want %v", key, got, want)
	}
}

func (w *world) wantStore(want string) {
	w.t.Helper()
	if got := w.now().Store; got != want {
		w.t.Fatalf("following store %q, want %q", got, want)
	}
}

type lockedWriter struct{ w *world }

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.log.Write(p)
}
