package sdk

import (
	"context"
	"math"
	"sync"
	"unicode/utf8"

	"github.com/open-feature/go-sdk/openfeature"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	// maxEvents bounds the names of tracked events; the rest is counted
	// together, by otherEvents.
	maxEvents    = 500
	maxEventName = 256
	otherEvents  = "(other)"
)

var _ openfeature.Tracker = (*Provider)(nil)

// Track implements OpenFeature's tracking: it counts events by name and sums up
// their values. Both are sent to the server with the next report and shown in its
// metrics; attributes and the context are not. Names beyond 500, and those of
// more than 256 bytes, are counted together as "(other)". A value that is
// not finite, or would make the sum so, counts as 0.
func (p *Provider) Track(_ context.Context, name string, _ openfeature.EvaluationContext, details openfeature.TrackingEventDetails) {
	p.tracked.add(name, details.Value())
}

// tracked sums up events by name. It is safe for concurrent use.
type tracked struct {
	mu     sync.Mutex
	events map[string]*plimsollv1.TrackedEvent // since they were taken last
}

func (t *tracked) add(name string, value float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if name == "" || len(name) > maxEventName || !utf8.ValidString(name) {
		name = otherEvents
	}
	e := t.events[name]
	if e == nil && len(t.events) >= maxEvents {
		name = otherEvents
		e = t.events[name]
	}
	if e == nil {
		if t.events == nil {
			t.events = map[string]*plimsollv1.TrackedEvent{}
		}
		e = &plimsollv1.TrackedEvent{Name: name}
		t.events[name] = e
	}
	e.Count++
	if sum := e.Sum + value; !math.IsNaN(sum) && !math.IsInf(sum, 0) { // else the others were lost with it
		e.Sum = sum
	}
}

// take is what was tracked since the last call.
func (t *tracked) take() []*plimsollv1.TrackedEvent {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*plimsollv1.TrackedEvent, 0, len(t.events))
	for _, e := range t.events {
		list = append(list, e)
	}
	t.events = nil
	return list
}
