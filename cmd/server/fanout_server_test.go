package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/config"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/telemetry"
	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

// floor is a bare net/http server of server-sent events: the least that a
// fan-out over net/http costs.
type floor struct {
	head atomic.Pointer[event]
}

type event struct {
	data  []byte
	next  *event // set before ready is closed
	ready chan struct{}
}

func (f *floor) handle(o order) (answer, error) {
	switch o.Op {
	case opServe:
		f.head.Store(&event{ready: make(chan struct{})})
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return answer{}, err
		}
		srv := &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second}
		go func() { _ = srv.Serve(l) }() // ends with the process
		return answer{Addr: l.Addr().String()}, nil
	case opPublish:
		data := append(bytes.Repeat([]byte("."), o.N-len("\n\n")), "\n\n"...)
		copy(data, "data: ")
		it := &event{ready: make(chan struct{})}
		head := f.head.Load()
		head.data, head.next = data, it
		start := time.Now()
		f.head.Store(it)
		close(head.ready)
		return answer{Start: start.UnixNano()}, nil
	}
	return answer{}, fmt.Errorf("unknown order %q", o.Op)
}

func (f *floor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	at := f.head.Load()
	for data := []byte(": hello\n\n"); ; {
		if _, err := w.Write(data); err != nil {
			return
		}
		if out.Flush() != nil {
			return
		}
		select {
		case <-at.ready:
			data, at = at.data, at.next
		case <-r.Context().Done():
			return
		}
	}
}

const (
	// idleNamespace has no streams.
	idleNamespace = "idle"
	// changedFlag is the flag that changes; long enough that a change has 187
	// bytes, as a flag with a short rule would.
	changedFlag = "flag-000001"
	// padding brings the message of a change to about that size.
	padding = `,"metadata":{"owner":"checkout-team"}`
)

// candidate is the server itself.
type candidate struct {
	server *composed
	// writes so far, by what is written.
	writes map[string]int
}

func (c *candidate) handle(o order) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch o.Op {
	case opServe:
		return c.serve(ctx, o.Flags)
	case opChange:
		return c.timed(func() error { return c.change(ctx, store.DefaultNamespace) })
	case opLevel:
		return c.timed(func() error { return c.level(ctx, store.DefaultNamespace) })
	case opWrites:
		for range o.N {
			if err := c.change(ctx, idleNamespace); err != nil {
				return answer{}, err
			}
			time.Sleep(settle) // as between rounds: one by one they cost more
		}
		return answer{}, nil
	}
	return answer{}, fmt.Errorf("unknown order %q", o.Op)
}

func (c *candidate) serve(ctx context.Context, flags int) (answer, error) {
	srv, err := compose(context.Background(), ".")
	if err != nil {
		return answer{}, err
	}
	c.server = srv
	if _, err := srv.store.CreateNamespace(ctx, idleNamespace, nil, store.Change{}); err != nil {
		return answer{}, err
	}
	for _, ns := range []string{store.DefaultNamespace, idleNamespace} {
		if err := applyFlags(ctx, srv.store, ns, flags); err != nil {
			return answer{}, err
		}
	}
	snap, err := srv.store.Snapshot(store.DefaultNamespace)
	if err != nil {
		return answer{}, err
	}
	since, err := proto.Marshal(snap.Position())
	return answer{Addr: srv.addr, Since: since}, err
}

// change makes a change of the same size each time.
func (c *candidate) change(ctx context.Context, ns string) error {
	to := c.variant(ns)
	res, _, err := c.server.store.UpdateFlag(ctx, ns, changedFlag, store.FlagUpdate{DefaultVariant: &to}, store.Change{})
	return changed(res, err)
}

// level fixes the level anew.
func (c *candidate) level(ctx context.Context, ns string) error {
	to := degrade.Level(500_000)
	if c.variant("level of "+ns) == "bb" {
		to = 250_000
	}
	effect, err := c.server.store.SetLevel(ctx, ns, &to, nil, false, store.Change{})
	return changed(effect.Result, err)
}

// variant is the next one to write, of equal length and never the same twice.
func (c *candidate) variant(of string) string {
	c.writes[of]++
	return []string{"bb", "aa"}[c.writes[of]%2]
}

func changed(res store.Result, err error) error {
	if err == nil && !res.Changed {
		err = errors.New("a write has changed nothing")
	}
	return err
}

// timed makes a change and finds out when the server's snapshot had it. What
// waits for that may itself be kept waiting; the first of several is not.
func (c *candidate) timed(change func() error) (answer, error) {
	snap, err := c.server.store.Snapshot(store.DefaultNamespace)
	if err != nil {
		return answer{}, err
	}
	seen := make(chan int64, 4)
	for range cap(seen) {
		go func() {
			<-snap.Superseded()
			seen <- time.Now().UnixNano()
		}()
	}
	call := time.Now().UnixNano()
	if err := change(); err != nil {
		return answer{}, err
	}
	start := time.Now().UnixNano()
	for range cap(seen) {
		start = min(start, <-seen)
	}
	return answer{Call: call, Start: start}, nil
}

// applyFlags brings a namespace to n flags.
func applyFlags(ctx context.Context, s *store.Store, ns string, n int) error {
	var doc strings.Builder
	doc.WriteString(`{"flags":{`)
	for i := range n {
		if i > 0 {
			doc.WriteByte(',')
		}
		fmt.Fprintf(&doc, `"flag-%06d":{"state":"ENABLED","variants":{"aa":true,"bb":false},"defaultVariant":"bb"%s}`, i, padding)
	}
	doc.WriteString(`}}`)
	snap, err := s.Snapshot(ns)
	if err != nil {
		return err
	}
	parsed, faults := flag.ParseDocument([]byte(doc.String()), snap.Env())
	if err := faults.Err(); err != nil {
		return err
	}
	_, err = s.Apply(ctx, ns, parsed, store.ApplyOptions{}, store.Change{})
	return err
}

// composed is the server in this process, put together as run does it, with
// its store at hand.
type composed struct {
	store *store.Store
	addr  string
	close func()
}

func compose(ctx context.Context, dir string) (*composed, error) {
	cfg := config.Config{Listen: "127.0.0.1:0", DataDir: dir, MaxStreams: 50_000}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, err
	}
	b, err := openBackend(ctx, cfg, log)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	metrics := telemetry.New(buildVersion())
	front, err := newFront(cfg, listener.Addr(), b, metrics, log)
	if err != nil {
		b.close(log)
		return nil, errors.Join(err, listener.Close())
	}
	var work sync.WaitGroup
	work.Go(func() { _ = front.http.Serve(listener) })
	<-b.store.Ready()
	return &composed{store: b.store, addr: listener.Addr().String(), close: func() {
		front.shutdown(log)
		front.close()
		work.Wait()
		b.close(log)
	}}, nil
}
