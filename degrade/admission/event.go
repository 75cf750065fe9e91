package admission

import (
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// EventKind says what happened.
type EventKind int

const (
	// KneeFound is the first batch of evidence for the service time.
	KneeFound EventKind = iota
	// Probe is a moment of a lower limit, to measure the service time.
	Probe
	// Saturated says that requests wait for most of the time now.
	Saturated
	// Relieved says that they no longer do.
	Relieved
	// Jump says that the service time has changed more than twofold.
	Jump
)

// String is the kind as logs name it.
func (k EventKind) String() string {
	names := [...]string{"knee_found", "probe", "saturated", "relieved", "jump"}
	if k < 0 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// An Event is one thing that the controller found out or did.
type Event struct {
	Kind        EventKind
	Time        time.Time
	Limit       float64       // places that are admitted
	Knee        float64       // places that are busy at capacity; 0 while unknown
	ServiceTime time.Duration // uncongested, the mean of all requests
}

// maxEvents is how many events wait for a slow function; more are dropped.
const maxEvents = 64

// An eventQueue holds events until the lock is given back.
type eventQueue struct {
	any     atomic.Bool
	pending []Event // guarded by the controller's lock
	calling sync.Mutex
}

// note is called with the lock held.
func (c *Controller) note(k EventKind) {
	if c.config.events == nil || len(c.events.pending) >= maxEvents {
		return
	}
	c.events.pending = append(c.events.pending, Event{
		Kind: k, Time: time.Now(), Limit: c.law.limit, Knee: c.law.kneeSat, ServiceTime: duration(c.law.mean),
	})
	c.events.any.Store(true)
}

// deliver calls the function for events, unless somebody is at it already, who
// then sees to all of them. So an event from within the function is delivered
// when that returns.
func (c *Controller) deliver() {
	for c.events.any.Load() && c.events.calling.TryLock() {
		c.call()
	}
}

// call calls the function for one event. It may be called on behalf of a request
// that has just got its place, or by the timer, which nobody could recover: so a
// panic ends here, and is reported as net/http reports those of handlers.
func (c *Controller) call() {
	defer c.events.calling.Unlock()
	defer func() {
		if fault := recover(); fault != nil {
			slog.Error("admission: the function for events has panicked; its request goes on, the event is lost",
				"panic", fault, "stack", string(debug.Stack()))
		}
	}()
	c.mu.Lock()
	if len(c.events.pending) == 0 {
		c.mu.Unlock()
		return
	}
	e := c.events.pending[0]
	c.events.pending = c.events.pending[1:]
	c.events.any.Store(len(c.events.pending) > 0)
	c.mu.Unlock()
	c.config.events(e)
}

func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second))
}
