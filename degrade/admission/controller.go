package admission

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Controller admits requests. It is safe for concurrent use, and needs no
// closing: it has no goroutine, and a timer only while there are requests and
// until it says so when a saturation is over.
type Controller struct {
	config config
	start  time.Time

	// What a refusal needs, without the lock: the prio from which on nobody gets
	// to wait, the callers' luck in this hour, and the errors to return.
	cutOff   atomic.Int64
	luck     atomic.Pointer[luck]
	refusals atomic.Pointer[refusals]
	early    [stripes][maxTiers]earlyCount

	mu     sync.Mutex
	law    *law
	spare  *slot // linked by next; at most maxSpare
	spares int
	timer  *time.Timer
	due    float64 // when the timer fires, in seconds since start; +Inf while it is not set
	hour   int64   // of luck
	// Until when luck need not be looked at, in seconds since start.
	luckUntil float64
	retry     time.Duration

	events eventQueue
	alarm  chan struct{}
}

// earlyCount has a cache line of its own, and there are several for each tier:
// processors that refuse requests seldom wait for each other.
type earlyCount struct {
	all, unsheddable atomic.Uint64
	_                [48]byte
}

type refusals [maxTiers][reasons]*RefusedError

const (
	reasons  = int(Deadline) + 1
	maxSpare = 1024
	stripes  = 8
	// nobody is a prio that none is as bad as.
	nobody = maxTiers * cohorts
	// retryTime is the hint for another attempt, in service times, and its
	// bounds. By then the tiers that are served have had time to change.
	retryTime  = 100.0
	retryLeast = 250 * time.Millisecond
	retryMost  = 5 * time.Second
)

// New returns a controller. Without options it has the tiers critical,
// important, standard and optional. The error says which option is wrong.
func New(opts ...Option) (*Controller, error) {
	c := &Controller{config: defaults(), start: time.Now(), due: math.Inf(1), alarm: make(chan struct{}, 1)}
	for _, opt := range opts {
		if err := opt(&c.config); err != nil {
			return nil, fmt.Errorf("admission: %w", err)
		}
	}
	c.law = newLaw(len(c.config.tiers), c.config.most)
	c.law.note = c.note
	c.law.early = c.earlyRefusals()
	c.law.hook = func() {
		c.setLuck()
		c.setRetry()
	}
	c.cutOff.Store(nobody)
	c.setLuck()
	c.setRetry()
	return c, nil
}

// Acquire asks for a place, and waits for one if it is worth it, no longer than
// ctx allows. The error is a *RefusedError if the request should not be served,
// or wraps ctx's error if that ended first. A request that is admitted at once
// or refused at once costs no allocation.
func (c *Controller) Acquire(ctx context.Context, r Request) (Permit, error) {
	tier := min(max(r.Tier, 0), len(c.config.tiers)-1)
	prio := tier*cohorts + c.luck.Load().of(r.Caller)
	if int64(prio) >= c.cutOff.Load() {
		early := &c.early[rand.Uint32()%stripes][tier]
		early.all.Add(1)
		if r.Unsheddable {
			early.unsheddable.Add(1)
		}
		return Permit{}, c.refusals.Load()[tier][QueueFull]
	}
	if err := ctx.Err(); err != nil {
		return Permit{}, fmt.Errorf("admission: asked for a place in vain: %w", err)
	}
	deadline := math.Inf(1)
	if at, ok := ctx.Deadline(); ok {
		deadline = c.reading(at)
	}

	now := c.lock()
	if now+c.law.stall.total >= c.luckUntil && c.setLuck() {
		prio = tier*cohorts + c.luck.Load().of(r.Caller)
	}
	s := c.take()
	s.tier, s.prio, s.deadline = tier, prio, deadline
	s.class = min(max(r.Class, 0), maxTiers-1)
	if r.Unsheddable {
		s.class = unsheddable
	}
	c.law.arrive(now, s)
	gen, state, reason := s.gen, s.state, s.reason
	if state == refused {
		c.put(s)
	}
	if state == waiting && s.ready == nil {
		s.ready = make(chan struct{}, 1)
	}
	c.unlock()

	switch state {
	case running:
		return Permit{s, gen}, nil
	case refused:
		return Permit{}, c.refusals.Load()[tier][reason]
	default:
		return c.wait(ctx, s)
	}
}

// wait waits until it has been decided about a request that was queued.
func (c *Controller) wait(ctx context.Context, s *slot) (Permit, error) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return Permit{}, c.abandon(ctx, s)
	}
	if s.state == running {
		return Permit{s, s.gen}, nil
	}
	tier, reason := s.tier, s.reason
	c.mu.Lock()
	c.put(s)
	c.mu.Unlock()
	return Permit{}, c.refusals.Load()[tier][reason]
}

// abandon takes a request out whose caller has gone. It may have been decided
// about in the meantime, and then a signal is on its way.
func (c *Controller) abandon(ctx context.Context, s *slot) error {
	now := c.lock()
	switch s.state {
	case waiting:
		c.law.leave(now, s)
		c.countGivenUp(s)
		c.put(s)
		c.unlock()
	default:
		c.unlock()
		<-s.ready
		now = c.lock()
		if s.state == running {
			c.law.done(now, s, detached)
		}
		c.put(s)
		c.unlock()
	}
	return fmt.Errorf("admission: gave up waiting for a place: %w", ctx.Err())
}

// countGivenUp counts a request whose caller has waited in vain as refused, in
// what is reported: it was not served for want of a place. The law takes no notice.
func (c *Controller) countGivenUp(s *slot) {
	c.law.tally[s.tier].refuse(1)
	c.law.load.arrived(0, 0, 1)
}

// A Permit is a place, to be released when the request's work is done. The zero
// Permit is none; to release it does nothing. Its methods may be called from
// any goroutine.
type Permit struct {
	slot *slot
	gen  uint64
}

// Release gives the place back. Only the first call counts, also among copies.
func (p Permit) Release(o Outcome) {
	e := whole
	if o != Served {
		e = early
	}
	p.end(e)
}

// Detach gives the place back now, though the request goes on: for a stream or
// a long poll, which lasts but needs little. Its duration counts as no service
// time. Release does nothing afterwards.
func (p Permit) Detach() { p.end(detached) }

func (p Permit) end(e ending) {
	if p.slot == nil {
		return
	}
	c := p.slot.owner
	now := c.lock()
	if p.slot.gen == p.gen {
		c.law.done(now, p.slot, e)
		c.put(p.slot)
	}
	c.unlock()
}

// lock takes the lock and returns the law's time.
func (c *Controller) lock() float64 {
	c.mu.Lock()
	return c.law.clock(c.sinceStart())
}

// sinceStart is the real, monotonic clock, in seconds.
func (c *Controller) sinceStart() float64 { return time.Since(c.start).Seconds() }

// reading is what sinceStart will be at a time to come.
func (c *Controller) reading(at time.Time) float64 {
	// With a monotonic reading the clock need not be read.
	if at != at.Round(0) { //nolint:revive // Equal does not tell whether it has one
		return at.Sub(c.start).Seconds()
	}
	// By way of now, as the wall clock may have been set since the start.
	now := time.Now()
	return at.Sub(now).Seconds() + now.Sub(c.start).Seconds()
}

// unlock publishes what has changed, gives the lock back, and tells those about
// whom it has been decided.
func (c *Controller) unlock() {
	l := c.law
	cut := int64(nobody)
	if l.size > 0 && l.size >= l.room() {
		cut = int64(l.worst())
	}
	if cut != c.cutOff.Load() {
		c.cutOff.Store(cut)
	}
	if beat := l.beat(); beat > 0 {
		c.arm(l.last+l.stall.total, beat)
	}
	if l.load.raised || l.busy {
		c.signal()
	}
	settled := l.settled
	l.settled = nil
	noted := c.events.any.Load()
	c.mu.Unlock()

	for s := settled; s != nil; {
		next := s.next // its owner may use it again as soon as it is told
		s.ready <- struct{}{}
		s = next
	}
	if noted {
		c.deliver()
	}
}

// arm sees to it that the timer fires within a beat from now. The lock is held.
func (c *Controller) arm(now, beat float64) {
	if c.due <= now+beat {
		return
	}
	c.due = now + beat
	in := time.Duration(beat * float64(time.Second))
	if c.timer == nil {
		c.timer = time.AfterFunc(in, c.tend)
		return
	}
	c.timer.Reset(in)
}

// tend is what the timer does.
func (c *Controller) tend() {
	now := c.lock()
	c.due = math.Inf(1)
	c.law.tend(now)
	c.unlock()
}

// take returns an unused slot. The lock is held.
func (c *Controller) take() *slot {
	s := c.spare
	if s == nil {
		return &slot{owner: c}
	}
	c.spare = s.next
	c.spares--
	s.next = nil
	return s
}

// put makes a slot unused, and the permits for it void. The lock is held.
func (c *Controller) put(s *slot) {
	s.gen++
	s.state = free
	if c.spares < maxSpare {
		s.next, c.spare = c.spare, s
		c.spares++
	}
}

// Tiers returns the names of the tiers, the most important first.
func (c *Controller) Tiers() []string { return slices.Clone(c.config.tiers) }

// Rank returns the rank of the tier of that name, and whether there is one.
func (c *Controller) Rank(name string) (int, bool) {
	i := slices.Index(c.config.tiers, name)
	return i, i >= 0
}
