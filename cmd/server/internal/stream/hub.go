// Package stream serves plimsoll.v1.SyncService's Watch: it carries the state of a
// namespace to every process that evaluates it.
//
// A [Hub] runs one feed a namespace (feed.go), which encodes every change once
// and links it into a chain that all streams of the namespace walk. A stream
// (watch.go) begins with what its client lacks, then walks; one that falls
// behind skips to the newest state. The bytes leave through a plain HTTP
// handler for Connect clients (connect.go), which is the fast path, or through
// connect-go for gRPC, gRPC-Web and JSON (service.go).
package stream

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"buf.build/go/protovalidate"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

const (
	defaultHeartbeat = 5 * time.Second
	// catchUpWait is how long a server that is behind a client waits for etcd.
	catchUpWait = time.Second
	// maxLag is how many messages a reader may be behind before it skips to
	// the newest state.
	maxLag = 32
	// snapshotTimeout bounds how long one client may take for a whole snapshot,
	// since it holds one of a few places meanwhile.
	snapshotTimeout = time.Minute
)

// Options bound a hub.
type Options struct {
	// MaxStreams at once; default 20 000.
	MaxStreams int
	// MaxSnapshots sent at once; default 256.
	MaxSnapshots int
	// Heartbeat is how often an idle stream says that it lives; default 5 s.
	Heartbeat time.Duration
	// Watching, if set, is called when a stream of a client begins that has
	// applied since; what it returns is called when it has ended.
	Watching func(ns string, client *plimsollv1.ClientInfo, since *plimsollv1.Position) (left func())
}

// Hub serves the watch streams of all namespaces. It is safe for concurrent
// use.
type Hub struct {
	Store *store.Store

	validator protovalidate.Validator
	heartbeat time.Duration
	watching  func(ns string, client *plimsollv1.ClientInfo, since *plimsollv1.Position) (left func())
	now       func() time.Time
	max       int64
	snapshots chan struct{} // holds a token for each snapshot being sent
	metrics   Metrics

	mu    sync.Mutex
	feeds map[string]*feed

	streams  atomic.Int64
	draining chan struct{}
	drained  sync.Once
}

// Metrics are told what a hub does; nil functions are not called.
type Metrics struct {
	// Began is called when a stream begins, with how: current, delta or
	// snapshot.
	Began func(how string)
	// Collapsed is called when a slow reader skips to the newest state.
	Collapsed func()
	// Refused is called when a stream is refused for lack of capacity.
	Refused func()
}

// NewHub makes a hub over a store. Drain ends its streams; Close its feeds.
func NewHub(s *store.Store, opts Options, m Metrics) (*Hub, error) {
	v, err := protovalidate.New()
	if err != nil {
		return nil, err
	}
	if opts.MaxStreams == 0 {
		opts.MaxStreams = 20_000
	}
	if opts.MaxSnapshots == 0 {
		opts.MaxSnapshots = 256
	}
	if opts.Heartbeat == 0 {
		opts.Heartbeat = defaultHeartbeat
	}
	if opts.Watching == nil {
		opts.Watching = func(string, *plimsollv1.ClientInfo, *plimsollv1.Position) func() { return func() {} }
	}
	if m.Began == nil {
		m.Began = func(string) {}
	}
	if m.Collapsed == nil {
		m.Collapsed = func() {}
	}
	if m.Refused == nil {
		m.Refused = func() {}
	}
	return &Hub{
		Store: s, validator: v, heartbeat: opts.Heartbeat, watching: opts.Watching, now: time.Now, max: int64(opts.MaxStreams),
		snapshots: make(chan struct{}, opts.MaxSnapshots), metrics: m,
		feeds: make(map[string]*feed), draining: make(chan struct{}),
	}, nil
}

// Streams is how many streams are open.
func (h *Hub) Streams() int { return int(h.streams.Load()) }

// Drain ends all streams, and refuses new ones, with a hint to go elsewhere.
func (h *Hub) Drain() { h.drained.Do(func() { close(h.draining) }) }

// Close stops all feeds. Streams that still run end.
func (h *Hub) Close() {
	h.Drain()
	h.mu.Lock()
	feeds := h.feeds
	h.feeds = nil
	h.mu.Unlock()
	for _, f := range feeds {
		f.stop()
		<-f.done
	}
}

// join returns the feed of a namespace, and what to call when done with it.
func (h *Hub) join(ns string) (*feed, func(), error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.feeds == nil {
		return nil, nil, api.Draining()
	}
	f := h.feeds[ns]
	if f != nil && f.over.Load() {
		f = nil
	}
	if f == nil {
		snap, err := h.Store.Snapshot(ns)
		if err != nil {
			return nil, nil, api.Error(err)
		}
		f = newFeed(h, snap)
		h.feeds[ns] = f
	}
	f.readers++
	return f, func() { h.leave(f) }, nil
}

// leave stops a feed with its last reader.
func (h *Hub) leave(f *feed) {
	h.mu.Lock()
	f.readers--
	last := f.readers == 0
	if last && h.feeds[f.ns] == f {
		delete(h.feeds, f.ns)
	}
	h.mu.Unlock()
	if last {
		f.stop()
		<-f.done
	}
}

// admit counts a stream in, or refuses it.
func (h *Hub) admit() (leave func(), err error) {
	select {
	case <-h.draining:
		return nil, api.Draining()
	default:
	}
	if h.streams.Add(1) > h.max {
		h.streams.Add(-1)
		h.metrics.Refused()
		return nil, api.TooMany("watch streams", 5*time.Second)
	}
	return func() { h.streams.Add(-1) }, nil
}

// sendingSnapshot bounds how many snapshots are under way at once.
func (h *Hub) sendingSnapshot(ctx context.Context) (done func(), err error) {
	select {
	case h.snapshots <- struct{}{}:
		return func() { <-h.snapshots }, nil
	default:
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	h.metrics.Refused()
	return nil, api.TooMany("clients that need the whole state", time.Second)
}
