package admission

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// throttleK is how many requests are sent for each that is accepted: 2 lets
	// a server that recovers be found out soon, and costs it at most one refusal
	// for each request that it serves.
	throttleK = 2
	// throttleWindow is how far back answers count. It is much shorter than the
	// two minutes of the source, since admission follows a load within seconds.
	throttleWindow = 5 * time.Second
	throttleParts  = 10
	// throttleMost is the largest share that is held back by the draw, so that
	// something always finds out that a server has recovered.
	throttleMost = 0.95
	// maxHold bounds how long a server's hint is obeyed by requests other than
	// the refused one.
	maxHold = 10 * time.Second
	// maxHint bounds what is passed on of a hint.
	maxHint = time.Hour
	// maxTargets bounds the memory; the target not used for longest is forgotten.
	maxTargets = 256
)

// A Throttle is the client's side of admission: it passes the tier of a
// context on with each call, and holds calls back that would only be refused.
// For each server and tier it compares the requests of the last 5 s with those
// that were accepted, and holds a new one back with the probability
// max(0, (requests − 2·accepted) / (requests + 1)), 95 % at most: the client-side
// adaptive throttling of the book Site Reliability Engineering, chapter
// Handling Overload. While nothing of a tier is accepted, it is held back wholly
// for as long as the server's retry hint says, jittered, at most 10 s.
//
// A Throttle never sends anything again. What it has held back, and what was
// refused, should not be sent again before the hint, and best not at all.
//
// One Throttle serves all of a process's clients; it is safe for concurrent use.
type Throttle struct {
	names []string
	now   func() time.Time
	draw  func() float64 // in [0, 1)

	mu      sync.Mutex
	start   time.Time // of the first call; windows count from it, on a clock that does not step
	targets map[string]*target
}

// target is a server, and what its answers were by tier; the last element is
// for calls without one.
type target struct {
	used  time.Time
	tiers [maxTiers + 1]history
}

// history is what became of the calls of a window, in parts of it.
type history struct {
	parts [throttleParts]struct{ requests, accepted int }
	part  int64     // number of the newest part, in parts since Throttle.start
	hold  time.Time // nothing is sent before
}

// NewThrottle returns a throttle for these tiers, the most important first; for
// none, for those that New has without options.
func NewThrottle(tiers ...string) (*Throttle, error) {
	c := defaults()
	if len(tiers) > 0 {
		if err := WithTiers(tiers...)(&c); err != nil {
			return nil, fmt.Errorf("admission: throttle: %w", err)
		}
	}
	return &Throttle{names: c.tiers, now: time.Now, draw: rand.Float64, targets: map[string]*target{}}, nil
}

// A ThrottledError says that a call was held back in the client, since the
// server would have refused it. errors.Is finds ErrRefused in it.
type ThrottledError struct {
	Target     string // the server
	TierName   string // empty: the call had no tier
	RetryAfter time.Duration
}

// Error says what was held back, why, and what to do.
func (e *ThrottledError) Error() string {
	which := "requests without a tier"
	if e.TierName != "" {
		which = fmt.Sprintf("requests of tier %q", e.TierName)
	}
	return fmt.Sprintf("not sent: %s is saturated and refuses %s; do without, or retry after %s", e.Target, which, e.RetryAfter)
}

// Unwrap makes errors.Is(err, ErrRefused) true.
func (e *ThrottledError) Unwrap() error { return ErrRefused }

// An Attempt is one call that a Throttle has let through. Exactly one of its
// methods should be called, or none if the server has not answered.
type Attempt struct {
	throttle *Throttle
	target   string
	tier     int
}

// Begin asks whether a call to target may be sent. The error is a
// *ThrottledError. It is for clients of other protocols; those of net/http,
// Connect and gRPC are wrapped instead.
func (t *Throttle) Begin(ctx context.Context, target string) (Attempt, error) {
	tier := t.tier(ctx)
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	h := &t.at(target, now).tiers[tier]
	h.advance(t.sinceStart(now))
	if wait := h.hold.Sub(now); wait > 0 {
		h.count(false)
		return Attempt{}, t.throttled(target, tier, wait)
	}
	if p := h.pressure(); p > 0 && t.draw() < p {
		h.count(false)
		return Attempt{}, t.throttled(target, tier, throttleWindow/throttleParts)
	}
	return Attempt{throttle: t, target: target, tier: tier}, nil
}

// Baggage is the baggage header to send with a call instead of the given ones.
// ok is false if they can stay, as the context has no tier.
func (t *Throttle) Baggage(ctx context.Context, headers []string) (value string, ok bool) {
	tier := t.tier(ctx)
	if tier == maxTiers {
		return "", false
	}
	return withTier(headers, t.names[tier]), true
}

// Accepted notes that the server took the call on, whatever came of it.
func (a Attempt) Accepted() { a.end(true, 0) }

// Refused notes that the server refused the call for overload, with its hint
// when to come back; 0 if it gave none.
func (a Attempt) Refused(after time.Duration) { a.end(false, after) }

func (a Attempt) end(accepted bool, after time.Duration) {
	t := a.throttle
	if t == nil {
		return
	}
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	h := &t.at(a.target, now).tiers[a.tier]
	h.advance(t.sinceStart(now))
	h.count(accepted)
	if accepted {
		h.hold = time.Time{}
		return
	}
	if _, ok := h.sums(); ok == 0 && after > 0 {
		after = min(after, maxHold)
		// Drawn once for all that were refused together, so that clients do not
		// come back together.
		if now.Add(after).After(h.hold) {
			h.hold = now.Add(after + time.Duration(t.draw()*float64(after)/2))
		}
	}
}

func (t *Throttle) tier(ctx context.Context) int {
	rank, ok := TierFromContext(ctx)
	if !ok {
		return maxTiers
	}
	return min(rank, len(t.names)-1)
}

func (t *Throttle) throttled(target string, tier int, wait time.Duration) error {
	e := &ThrottledError{Target: target, RetryAfter: wait.Round(time.Millisecond)}
	if tier < len(t.names) {
		e.TierName = t.names[tier]
	}
	return e
}

// at returns the target of that name, under the lock.
func (t *Throttle) at(name string, now time.Time) *target {
	found := t.targets[name]
	if found == nil {
		if len(t.targets) >= maxTargets {
			t.forget()
		}
		found = new(target)
		t.targets[name] = found
	}
	found.used = now
	return found
}

func (t *Throttle) forget() {
	var oldest string
	for name, target := range t.targets {
		if oldest == "" || target.used.Before(t.targets[oldest].used) {
			oldest = name
		}
	}
	delete(t.targets, oldest)
}

// sinceStart is the time since the first call. The lock is held.
func (t *Throttle) sinceStart(now time.Time) time.Duration {
	if t.start.IsZero() {
		t.start = now
	}
	return max(0, now.Sub(t.start))
}

// advance empties the parts that have become too old.
func (h *history) advance(age time.Duration) {
	part := int64(age / (throttleWindow / throttleParts))
	for ; h.part < part; h.part++ {
		if part-h.part > throttleParts {
			h.part = part - throttleParts
		}
		h.parts[(h.part+1)%throttleParts] = struct{ requests, accepted int }{}
	}
}

func (h *history) count(accepted bool) {
	p := &h.parts[h.part%throttleParts]
	p.requests++
	if accepted {
		p.accepted++
	}
}

func (h *history) sums() (requests, accepted int) {
	for _, p := range h.parts {
		requests += p.requests
		accepted += p.accepted
	}
	return requests, accepted
}

// pressure is the probability with which the next call is held back.
func (h *history) pressure() float64 {
	requests, accepted := h.sums()
	return min(throttleMost, float64(requests-throttleK*accepted)/float64(requests+1))
}
