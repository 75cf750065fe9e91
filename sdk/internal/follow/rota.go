package follow

import (
	"context"
	"slices"
	"time"

	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

const (
	// backoffBase and backoffCap bound the pause before the n-th attempt in a
	// row: a random time up to base·2ⁿ, at most the cap ("full jitter"; Marc
	// Brooker, Exponential Backoff And Jitter, 2015). The cap is small enough
	// that an app follows a restored store within 45 s of its restart.
	backoffBase = 200 * time.Millisecond
	backoffCap  = 8 * time.Second
	// troubleMemory is how long an endpoint that failed, or that offered what
	// could not be used, is passed over while there are others.
	troubleMemory = 15 * time.Second
	// maxRetryAfter bounds how long a server may ask to be left alone.
	maxRetryAfter = time.Minute
)

// Endpoint is a server that can be watched.
type Endpoint struct {
	// URL names the server in logs.
	URL string
	// Client watches it.
	Client plimsollv1connect.SyncServiceClient
	// Rank is how far it is; the lowest is preferred.
	Rank int
	// Ready asks whether the server can take a stream, when one of a worse rank is
	// followed. The context has a deadline. Nil: it cannot be asked, and is gone back
	// to only when a stream ends.
	Ready func(ctx context.Context) error
}

// endpoint is what is remembered of a server.
type endpoint struct {
	Endpoint
	// tried is when it was last connected to.
	tried time.Time
	// troubled is when it last failed, or offered what could not be used.
	troubled time.Time
	// barred is until when it asked to be left alone.
	barred time.Time
	// unconfirmed is whether it last said that etcd has not confirmed its
	// state for too long.
	unconfirmed bool
}

func (e *endpoint) inTrouble(now time.Time) bool {
	return !e.troubled.IsZero() && now.Sub(e.troubled) < troubleMemory
}

// rota decides whom to try next. Endpoints of the best rank are tried first; of
// the same rank, in turn, in the order in which they were given.
type rota struct {
	endpoints []*endpoint
	// jitter draws a time from [0, most).
	jitter func(most time.Duration) time.Duration
	// current is the index of the endpoint tried last; -1 before the first.
	current int
	// failures counts attempts since the last healthy stream.
	failures int
	// chosen is the endpoint to try next whatever else holds; nil: none.
	chosen *endpoint
	// askEvery is how long to wait before a nearer endpoint is asked.
	askEvery time.Duration
}

func newRota(endpoints []Endpoint, jitter func(time.Duration) time.Duration) *rota {
	r := &rota{jitter: jitter, current: -1, askEvery: askBase}
	for _, e := range endpoints {
		r.endpoints = append(r.endpoints, &endpoint{Endpoint: e})
	}
	return r
}

// next is the endpoint to try and how long to wait before, which is not at all
// for one that was never tried: the nearest that had no trouble of late, of
// several the first after the current one; else simply the next; else, when all
// asked to be left alone, the one whose time is over first.
func (r *rota) next(now time.Time) (*endpoint, time.Duration) {
	if e := r.chosen; e != nil {
		r.chosen, r.current = nil, slices.Index(r.endpoints, e)
		return e, 0
	}
	var pause time.Duration
	if r.current >= 0 {
		pause = r.jitter(min(backoffCap, backoffBase<<min(r.failures, 10)))
	}
	best := -1
	for i := range r.endpoints {
		i = (r.current + 1 + i) % len(r.endpoints)
		if best < 0 || r.better(i, best, now) {
			best = i
		}
	}
	r.current = best
	e := r.endpoints[best]
	if e.tried.IsZero() {
		pause = 0 // nothing is known against it
	}
	if wait := e.barred.Sub(now); wait > 0 {
		pause = max(pause, wait+r.jitter(wait/2))
	}
	return e, pause
}

// better tells whether endpoint i is to be preferred over j, which comes
// before it in turn.
func (r *rota) better(i, j int, now time.Time) bool {
	a, b := r.endpoints[i], r.endpoints[j]
	aBarred, bBarred := a.barred.After(now), b.barred.After(now)
	switch {
	case aBarred != bBarred:
		return bBarred
	case aBarred:
		return a.barred.Before(b.barred)
	case a.inTrouble(now): // rank does not count then, so that all get a turn
		return false
	default:
		return b.inTrouble(now) || a.Rank < b.Rank
	}
}

// nearer are the endpoints of a better rank than e that can be asked.
func (r *rota) nearer(e *endpoint) []*endpoint {
	var list []*endpoint
	for _, other := range r.endpoints {
		if other.Rank < e.Rank && other.Ready != nil {
			list = append(list, other)
		}
	}
	slices.SortStableFunc(list, func(a, b *endpoint) int { return a.Rank - b.Rank })
	return list
}

// arrived takes note of a healthy stream.
func (r *rota) arrived(e *endpoint) {
	if len(r.nearer(e)) == 0 {
		r.askEvery = askBase
	}
}

// hasAlternative tells whether an endpoint other than e is worth a try.
func (r *rota) hasAlternative(e *endpoint, now time.Time) bool {
	for _, other := range r.endpoints {
		if other != e && !other.inTrouble(now) && !other.barred.After(now) {
			return true
		}
	}
	return false
}

// allTriedSince tells whether every endpoint was connected to after t.
func (r *rota) allTriedSince(t time.Time) bool {
	for _, e := range r.endpoints {
		if e.tried.Before(t) {
			return false
		}
	}
	return true
}
