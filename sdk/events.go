package sdk

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
)

const (
	// maxPendingKeys bounds the keys that wait to be told. Beyond, an event
	// without keys says that any flag may have changed.
	maxPendingKeys = 10_000
	// initSettles is how long after Init OpenFeature has surely fired its own
	// READY, which would hide a STALE sent before it.
	initSettles = 100 * time.Millisecond
	// shutDown is the message of the last event of a run.
	shutDown = "the provider was shut down"
	// metadataLevel is the event metadata that holds a new level.
	metadataLevel = "level"
)

// mailbox holds events until OpenFeature takes them. Putting one in never
// blocks: what waits is merged, so that nothing is lost and memory stays
// bounded when nobody listens. Nothing is told before Init has returned.
type mailbox struct {
	// out is what OpenFeature reads. It has room for one, so that the last word of
	// a run stays there for whoever listens. It is never closed, since a provider
	// may be initialized again.
	out chan openfeature.Event

	mu sync.Mutex
	// opened is the newest run of which an Init has returned, and closed the newest
	// that is over: the mailbox is open while the first is higher.
	opened, closed int
	// trouble is why the state is not live; nil if it is.
	trouble error
	// toldStale is whether STALE was the last that was told of the state.
	toldStale bool
	// What waits to be told.
	statusWaits bool
	keys        map[string]struct{}
	keysOverrun bool
	level       *float64
	// wake has room for one: something waits. remind: an Init has returned.
	wake, remind chan struct{}
}

func newMailbox() *mailbox {
	return &mailbox{
		out:     make(chan openfeature.Event, 1),
		trouble: errors.New("no server has answered yet"),
		wake:    make(chan struct{}, 1),
		remind:  make(chan struct{}, 1),
	}
}

// signal fills a channel with room for one, if it is not full already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// open lets the events of a run out. OpenFeature fires READY itself after an Init;
// if the state is not live then, STALE follows.
func (m *mailbox) open(run int) {
	m.mu.Lock()
	m.opened = max(m.opened, run)
	m.mu.Unlock()
	signal(m.remind)
}

// isOpen tells whether events are let out; m.mu is held.
func (m *mailbox) isOpen() bool { return m.opened > m.closed }

// close ends a run, whose deliver has returned. Unless a later one is open already
// it forgets what waits, and leaves the last word for whoever listens: that of a
// provider that still is bound, nothing will come any more.
func (m *mailbox) close(run int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wasOpen := m.isOpen()
	m.closed = run
	if m.isOpen() {
		return
	}
	m.statusWaits = false
	m.keys, m.keysOverrun, m.level = nil, false, nil
	if !wasOpen {
		return
	}
	select {
	case <-m.out: // nobody listened
	default:
	}
	m.toldStale = true
	m.out <- openfeature.Event{
		ProviderName: providerName, EventType: openfeature.ProviderStale,
		ProviderEventDetails: openfeature.ProviderEventDetails{Message: shutDown},
	}
}

// status says that the state is live (nil), or why it is not.
func (m *mailbox) status(trouble error) {
	m.mu.Lock()
	m.trouble = trouble
	m.statusWaits = m.isOpen()
	m.mu.Unlock()
	signal(m.wake)
}

// changed says which flags changed and, unless nil, that the level moved.
func (m *mailbox) changed(keys []string, level *float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.isOpen() {
		return
	}
	if level != nil {
		m.level = level
	}
	switch {
	case m.keysOverrun:
	case len(m.keys)+len(keys) > maxPendingKeys:
		m.keys, m.keysOverrun = nil, true
	case len(keys) > 0:
		if m.keys == nil {
			m.keys = make(map[string]struct{}, len(keys))
		}
		for _, k := range keys {
			m.keys[k] = struct{}{}
		}
	}
	signal(m.wake)
}

// deliver hands events to OpenFeature until the context ends.
func (m *mailbox) deliver(ctx context.Context) {
	settled := time.NewTimer(initSettles)
	settled.Stop()
	defer settled.Stop()
	var next openfeature.Event
	waits := false
	for {
		if !waits {
			next, waits = m.take()
		}
		var out chan<- openfeature.Event // nil: never ready
		if waits {
			out = m.out
		}
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-m.remind:
			settled.Reset(initSettles)
		case <-settled.C:
			m.repeatStatus()
		case out <- next:
			waits = false
		}
	}
}

// repeatStatus lets STALE follow the READY that OpenFeature fired by itself, or
// READY a STALE of the run before that was heard only now.
func (m *mailbox) repeatStatus() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.statusWaits = m.statusWaits || m.trouble != nil || m.toldStale
}

// take is the next event to tell, if there is one: first whether the state is
// live, then changed flags, then the level.
func (m *mailbox) take() (e openfeature.Event, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e = openfeature.Event{ProviderName: providerName, EventType: openfeature.ProviderConfigChange}
	switch {
	case m.statusWaits:
		m.statusWaits, m.toldStale = false, m.trouble != nil
		if m.trouble == nil {
			e.EventType, e.Message = openfeature.ProviderReady, "the flags are live"
		} else {
			e.EventType, e.Message = openfeature.ProviderStale, m.trouble.Error()
		}
	case len(m.keys) > 0:
		e.Message, e.FlagChanges = "flags have changed", slices.Sorted(maps.Keys(m.keys))
		m.keys = nil
	case m.keysOverrun:
		e.Message = "many flags have changed"
		m.keysOverrun = false
	case m.level != nil:
		e.Message = "the level has changed"
		e.EventMetadata = map[string]any{metadataLevel: *m.level}
		m.level = nil
	default:
		return openfeature.Event{}, false
	}
	return e, true
}
