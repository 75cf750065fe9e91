package sdk

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/open-feature/go-sdk/openfeature"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/follow"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/shelf"
)

const (
	// providerName is what the provider calls itself to OpenFeature.
	providerName = "plimsoll"
	// agent is what it calls itself to servers.
	agent = "plimsoll-go/0.1.0"
	// maxMessage bounds one message of a stream, in bytes.
	maxMessage = 64 << 20
)

var errShutDown = errors.New("sdk: the provider was shut down while it was initializing")

var (
	_ openfeature.FeatureProvider          = (*Provider)(nil)
	_ openfeature.ContextAwareStateHandler = (*Provider)(nil)
	_ openfeature.EventHandler             = (*Provider)(nil)
)

// Provider evaluates the flags of one namespace inside the process, from a copy
// that a stream from the server keeps up to date. All methods are safe for
// concurrent use. Create it with [NewProvider] and hand it to OpenFeature,
// which calls the rest.
type Provider struct {
	// initTimeout is nil unless it is set.
	initTimeout *time.Duration
	log         *slog.Logger
	// follower follows servers; nil if there is a local source.
	follower *follow.Follower
	local    localSource
	// shelf is the cache; nil without. bootstrap is the path of a file; empty: none.
	shelf     *shelf.Shelf
	bootstrap string
	overrides *localOverrides
	transport *http.Transport // nil: the HTTP client is the caller's
	events    *mailbox
	counts    *flag.Counts
	tracked   tracked
	reporter  *reporter

	// set is what is evaluated; nil until there is one.
	set atomic.Pointer[flag.Set]
	// first is closed when there are live flags for the first time.
	first chan struct{}
	// settled is closed when what there is on disk has been read.
	settled chan struct{}
	// wasLive is whether first is closed. It belongs to observe.
	wasLive bool

	mu  sync.Mutex
	run *run // the newest one; nil before the first Init
}

// localSource is a source of flags within the machine: a file, or code.
type localSource interface {
	// look takes over what there is.
	look()
	// Run goes on taking over what changes until the context ends.
	Run(context.Context)
}

// run is the time between an Init and the Shutdown that follows.
type run struct {
	number int // from 1 on
	stop   context.CancelFunc
	// stopped is whether stop was called; guarded by Provider.mu.
	stopped bool
	// done is closed when all goroutines of the run have ended.
	done chan struct{}
}

// NewProvider makes a provider, which connects when OpenFeature initializes it.
// The error names every option that is wrong.
func NewProvider(options ...Option) (*Provider, error) {
	c, err := newConfig(options)
	if err != nil {
		return nil, err
	}
	p := newProvider(c)
	if c.file != "" {
		p.local = newFileFollower(c.file, c.log, p.observe)
		p.counts = nil // there is nobody to tell
		return p, nil
	}
	p.bootstrap = c.bootstrap
	if c.cacheDir != "" {
		p.shelf = shelf.New(c.cacheDir, c.namespace, c.log)
	}
	p.connectTo(c)
	return p, nil
}

// newProvider is a provider without a source of flags.
func newProvider(c *config) *Provider {
	p := &Provider{
		initTimeout: c.initTimeout,
		log:         c.log,
		events:      newMailbox(),
		counts:      flag.NewCounts(),
		first:       make(chan struct{}),
		settled:     make(chan struct{}),
		overrides:   newLocalOverrides(c.environ(), c.log),
	}
	p.reporter = &reporter{
		namespace: c.namespace, log: c.log, jitter: jitter,
		client: &plimsollv1.ClientInfo{InstanceId: instanceID(), Service: c.service, Agent: agent, Zone: c.zone},
		counts: p.counts, tracked: &p.tracked, newest: p.set.Load, overrides: func() int { return int(p.overrides.active.Load()) },
		wake: make(chan struct{}, 1),
	}
	return p
}

// connectTo makes servers the source of flags.
func (p *Provider) connectTo(c *config) {
	client := c.client
	if client == nil {
		p.transport = newTransport(c.tls)
		client = &http.Client{Transport: p.transport}
	}
	var endpoints []follow.Endpoint
	ordered, ranks := c.ranked()
	for i, e := range ordered {
		url := e.url.String()
		endpoints = append(endpoints, follow.Endpoint{
			URL:    url,
			Client: plimsollv1connect.NewSyncServiceClient(client, url, connect.WithReadMaxBytes(maxMessage)),
			Rank:   ranks[i],
			Ready:  func(ctx context.Context) error { return ready(ctx, client, url) },
		})
	}
	p.follower = follow.New(follow.Config{
		Endpoints: endpoints,
		Namespace: c.namespace,
		Client:    p.reporter.client,
		Log:       c.log,
		Jitter:    jitter,
		Observe:   p.observe,
		Serving:   p.reporter.watches,
	})
}

// instanceID is new for every provider: to servers each is a process.
func instanceID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

func jitter(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return mathrand.N(most)
}

// Metadata is the provider's name.
func (p *Provider) Metadata() openfeature.Metadata {
	return openfeature.Metadata{Name: providerName}
}

// Hooks are none.
func (p *Provider) Hooks() []openfeature.Hook { return nil }

// EventChannel carries what OpenFeature tells event handlers.
func (p *Provider) EventChannel() <-chan openfeature.Event { return p.events.out }

// Init is InitWithContext without a context.
func (p *Provider) Init(c openfeature.EvaluationContext) error {
	return p.InitWithContext(context.Background(), c)
}

// InitWithContext connects and waits for flags from a server, for the init timeout
// or until the context's deadline. A server that does not answer is no error:
// callers get what the cache or the bootstrap file has, or else their own defaults,
// until it does. The error says that the context was canceled, or that the provider
// was shut down meanwhile.
//
// OpenFeature calls it once for every domain that the provider is bound to;
// all share one stream. It may be called again after a shutdown.
func (p *Provider) InitWithContext(ctx context.Context, _ openfeature.EvaluationContext) error {
	r := p.start()
	defer p.events.open(r.number)
	if err := p.await(ctx, r); err != nil {
		return err
	}
	p.mu.Lock()
	stopped := r.stopped
	p.mu.Unlock()
	if stopped {
		return errShutDown
	}
	if p.set.Load() == nil && p.local == nil {
		p.log.Warn("no flags yet: callers get their own defaults until a server answers")
	}
	return nil
}

func canceled(ctx context.Context) error {
	return fmt.Errorf("sdk: waiting for the first flags: %w", ctx.Err())
}

// await waits for what is on disk, and then for live flags as long as Init does.
func (p *Provider) await(ctx context.Context, r *run) error {
	select {
	case <-p.settled:
		return p.awaitLive(ctx, r)
	case <-r.done:
	case <-ctx.Done():
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return canceled(ctx)
		}
	}
	return nil
}

// awaitLive waits for live flags, or the end of the run.
func (p *Provider) awaitLive(ctx context.Context, r *run) error {
	wait := defaultInitTimeout
	switch {
	case p.local != nil:
		wait = 0
	case p.initTimeout != nil:
		wait = *p.initTimeout
	case p.set.Load() != nil:
		wait = seededInitTimeout
	}
	limit := time.NewTimer(wait)
	defer limit.Stop()
	select {
	case <-p.first:
	case <-r.done:
	case <-ctx.Done():
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return canceled(ctx)
		}
	case <-limit.C:
	}
	return nil
}

// start begins a run unless one is going on.
func (p *Provider) start() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != nil && !p.run.stopped {
		return p.run
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &run{number: 1, stop: stop, done: make(chan struct{})}
	if p.run != nil {
		r.number = p.run.number + 1
	}
	go p.work(ctx, r, p.run)
	p.run = r
	return r
}

// work is a run. The follower is handed on from the run before.
func (p *Provider) work(ctx context.Context, r, before *run) {
	defer close(r.done)
	if before != nil {
		<-before.done
	}
	var beside sync.WaitGroup
	beside.Go(func() { p.events.deliver(ctx) })
	if p.local == nil { // else there is nobody to report to
		beside.Go(func() { p.reporter.run(ctx) })
	}
	p.follow(ctx)
	beside.Wait()
	p.events.close(r.number)
	if p.transport != nil {
		p.transport.CloseIdleConnections()
	}
}

// follow follows servers, or a file, until the context ends. What is on disk comes
// first, once for all runs.
func (p *Provider) follow(ctx context.Context) {
	first := false
	select {
	case <-p.settled:
	default:
		first = true
	}
	if p.local != nil {
		p.local.look()
	} else if first {
		p.seed()
	}
	if first {
		close(p.settled)
	}
	if p.local != nil {
		p.local.Run(ctx)
		return
	}
	stop := func() {}
	if p.shelf != nil {
		saving, cancel := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			p.shelf.Run(saving)
		}()
		stop = func() { cancel(); <-ended }
	}
	p.follower.Run(ctx)
	stop() // only now, so that the newest state is saved
}

// Shutdown is ShutdownWithContext without a context.
func (p *Provider) Shutdown() { _ = p.ShutdownWithContext(context.Background()) }

// ShutdownWithContext ends the stream and everything else that runs for the
// provider, and waits for that; an error says that the context ended before.
// Evaluation goes on with the flags seen last, and OpenFeature's state is STALE if
// it still listens. It may be called any number of times, and before Init.
//
// OpenFeature shuts a provider that was replaced down at some time after that. So
// do not bind a replaced provider again: make a new one.
func (p *Provider) ShutdownWithContext(ctx context.Context) error {
	p.mu.Lock()
	r := p.run
	if r != nil {
		if !r.stopped {
			p.log.Info(shutDown + ": it serves what it has seen last")
		}
		r.stopped = true
		r.stop()
	}
	p.mu.Unlock()
	if r == nil {
		return nil
	}
	select {
	case <-r.done:
		return nil
	default:
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("sdk: waiting for the stream to end: %w", ctx.Err())
	}
}

// observe takes over what the follower knows. The follower calls it, one change
// at a time.
func (p *Provider) observe(c follow.Change) {
	live := c.New.Trouble == nil
	if set := c.New.Set; set != nil {
		set = p.overrides.apply(set)
		if c.New.Source != "" {
			set = set.Tagged(c.New.Source)
		}
		// Anew for each set, as it may come from anywhere.
		set = set.Counted(p.counts).WithKeylessDraw(drawKeyless)
		p.set.Store(set)
		if !p.wasLive && (live || c.New.Source == follow.Memory) {
			p.wasLive = true
			// Last, so that the first set is no change to an Init that waits
			// for it.
			defer close(p.first)
		}
	}
	if p.shelf != nil && live && (c.New.Set != c.Old.Set || c.Old.Trouble != nil) {
		p.shelf.Put(c.New.Set, c.New.Store, c.Lowered)
	}
	p.reporter.observe(c)
	if c.Failed || live != (c.Old.Trouble == nil) {
		p.events.status(c.New.Trouble)
	}
	if c.New.Set != c.Old.Set {
		p.announce(c)
	}
}

// announce tells which flags changed. A move of the level alone has no keys,
// for those may be most there are.
func (p *Provider) announce(c follow.Change) {
	before := c.Old.Set
	if before == nil {
		before = flag.Empty()
	}
	var keys []string
	if !c.LevelOnly {
		keys = c.New.Set.ChangedKeys(before)
	}
	var level *float64
	if l := c.New.Set.Level(); l != before.Level() {
		f := fraction(l)
		level = &f
	}
	p.events.changed(keys, level)
}
