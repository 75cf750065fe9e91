package sdk

import (
	"context"
	"math/rand/v2"
	"sync/atomic"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// Pin returns a context with which every evaluation sees the flags as they are
// at the first one: a request that evaluates several flags, or one flag several
// times, gets answers that fit together, whatever changes meanwhile. Contexts
// made from it share the view, also across goroutines; so does a context that is
// pinned again. Before the first flags arrive there is nothing to pin, and the
// first evaluation after that decides.
//
// A user without a targeting key is shed or not by one draw for the whole of the
// pinned context.
//
// The view is kept as long as the context is: pin what is short, such as a
// request, and not the life of a worker.
func Pin(ctx context.Context) context.Context {
	if pinOf(ctx) != nil {
		return ctx
	}
	return context.WithValue(ctx, pinKey{}, &pin{draw: drawKeyless()})
}

type pinKey struct{}

// pin is the view of the evaluations that share a context.
type pin struct {
	// draw is what contexts without a targeting key are shed by.
	draw uint32
	// views has one for every provider that has evaluated; it only grows.
	views atomic.Pointer[pinnedView]
}

// pinnedView is what one provider serves to a pinned context.
type pinnedView struct {
	provider *Provider
	set      *flag.Set
	// base is the provider's own set that it comes from.
	base *flag.Set
	next *pinnedView
}

func pinOf(ctx context.Context) *pin {
	if ctx == nil {
		return nil
	}
	p, _ := ctx.Value(pinKey{}).(*pin)
	return p
}

// drawKeyless draws for a context without a targeting key.
func drawKeyless() uint32 { return rand.Uint32N(uint32(degrade.One)) }

// view is the set that a context sees, and the one of the provider that it comes
// from; nil before there are flags.
func (p *Provider) view(ctx context.Context) (set, base *flag.Set) {
	pinned := pinOf(ctx)
	if pinned == nil {
		set = p.set.Load()
		return set, set
	}
	return pinned.view(p)
}

func (n *pin) view(p *Provider) (set, base *flag.Set) {
	for {
		first := n.views.Load()
		for v := first; v != nil; v = v.next {
			if v.provider == p {
				return v.set, v.base
			}
		}
		base = p.set.Load()
		if base == nil {
			return nil, nil
		}
		draw := n.draw
		v := &pinnedView{
			provider: p, base: base, next: first,
			set: base.WithKeylessDraw(func() uint32 { return draw }),
		}
		if n.views.CompareAndSwap(first, v) {
			return v.set, v.base
		}
	}
}
