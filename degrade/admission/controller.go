package admission

import (
	"context"
	"fmt"
	"slices"
)

// A Controller admits requests. It is safe for concurrent use, and needs no
// closing: it has no goroutine, and a timer only while requests wait.
type Controller struct {
	config config
}

// New returns a controller. Without options it has the tiers critical,
// important, standard and optional. The error says which option is wrong.
func New(opts ...Option) (*Controller, error) {
	c := &Controller{config: defaults()}
	for _, opt := range opts {
		if err := opt(&c.config); err != nil {
			return nil, fmt.Errorf("admission: %w", err)
		}
	}
	return c, nil
}

// Acquire asks for a place, and waits for one if it is worth it, no longer than
// ctx allows. The error is a *RefusedError if the request should not be served,
// or wraps ctx's error if that ended first. A request that is admitted at once
// costs no allocation.
func (c *Controller) Acquire(ctx context.Context, r Request) (Permit, error) {
	return Permit{}, ctx.Err()
}

// A Permit is a place, to be released when the request's work is done. The zero
// Permit is none; to release it does nothing. Its methods may be called from
// any goroutine.
type Permit struct {
	gen uint64
}

// Release gives the place back. Only the first call counts.
func (p Permit) Release(o Outcome) { _, _ = p.gen, o }

// Detach gives the place back now, though the request goes on: for a stream or
// a long poll, which lasts but needs little. Its duration counts as no service
// time. Release does nothing afterwards.
func (p Permit) Detach() {}

// Tiers returns the names of the tiers, the most important first.
func (c *Controller) Tiers() []string { return slices.Clone(c.config.tiers) }

// Rank returns the rank of the tier of that name, and whether there is one.
func (c *Controller) Rank(name string) (int, bool) {
	i := slices.Index(c.config.tiers, name)
	return i, i >= 0
}

// Snapshot returns the controller as it is now.
func (c *Controller) Snapshot() Snapshot { return Snapshot{} }

// Pressure returns what to report to the fleet now.
func (c *Controller) Pressure() Pressure { return Pressure{} }

// Alarm receives when a report should be made at once: the load has jumped, or
// requests wait. The channel is never closed, and holds one signal.
func (c *Controller) Alarm() <-chan struct{} { return nil }
