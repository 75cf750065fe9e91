package sdk

import (
	"context"
	"maps"
	"sync/atomic"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// handle is a flag of a provider for evaluations without the OpenFeature client.
type handle[T any] struct {
	provider *Provider
	key      string
	fallback T
	// found is where the flag was last looked up.
	found atomic.Pointer[found]
}

// found is a look-up and the set that it was made in.
type found struct {
	in    *flag.Set
	place flag.Place
}

// at is where the flag is in a set that comes from base.
func (h *handle[T]) at(set, base *flag.Set) flag.Place {
	f := h.found.Load()
	if f == nil || f.in != base {
		return h.find(set, base)
	}
	return f.place
}

// find looks the flag up, and keeps that for the provider's newest set alone: old
// ones, of pinned contexts, would take turns.
func (h *handle[T]) find(set, base *flag.Set) flag.Place {
	place := set.Find(h.key)
	if h.provider.set.Load() == base {
		h.found.Store(&found{base, place})
	}
	return place
}

// given is the provider of a handle. A nil one is a mistake that is best found
// where it was made.
func given(p *Provider) *Provider {
	if p == nil {
		panic("sdk: a handle needs a provider, and was given nil")
	}
	return p
}

// Attributes is a user as handles take it: OpenFeature's evaluation context,
// flattened. A targeting key of "" is none. The map of attributes is copied.
func Attributes(targetingKey string, attributes map[string]any) openfeature.FlattenedContext {
	flat := make(openfeature.FlattenedContext, len(attributes)+1)
	maps.Copy(flat, attributes)
	if targetingKey != "" {
		flat[openfeature.TargetingKey] = targetingKey
	}
	return flat
}

// BoolFlag evaluates one bool flag for hot paths: it gives the answers that the
// OpenFeature client gives, counts and is pinned like them, but takes no detour
// through contexts that are merged and hooks that are called: what is set on the
// API, the client or the transaction does not count, only the attributes given
// with the call. It is safe for concurrent use; make it once and keep it.
type BoolFlag struct{ handle[bool] }

// Bool makes a handle for a bool flag; fallback is the value where there is no
// other: no flags yet, no such flag, one of another type, or a disabled one.
func Bool(p *Provider, key string, fallback bool) *BoolFlag {
	return &BoolFlag{handle[bool]{provider: given(p), key: key, fallback: fallback}}
}

// Value evaluates the flag for a user; nil is nobody in particular.
func (f *BoolFlag) Value(ctx context.Context, user openfeature.FlattenedContext) bool {
	set, base := f.provider.view(ctx)
	if set == nil {
		return f.fallback
	}
	return set.BoolAt(f.at(set, base), f.fallback, user)
}

// Details evaluates the flag and says how the answer came about.
func (f *BoolFlag) Details(ctx context.Context, user openfeature.FlattenedContext) openfeature.BoolResolutionDetail {
	return f.provider.BooleanEvaluation(ctx, f.key, f.fallback, user)
}

// StringFlag is to string flags what [BoolFlag] is to bool flags.
type StringFlag struct{ handle[string] }

// String makes a handle for a string flag; see [Bool].
func String(p *Provider, key string, fallback string) *StringFlag {
	return &StringFlag{handle[string]{provider: given(p), key: key, fallback: fallback}}
}

// Value evaluates the flag for a user; nil is nobody in particular.
func (f *StringFlag) Value(ctx context.Context, user openfeature.FlattenedContext) string {
	set, base := f.provider.view(ctx)
	if set == nil {
		return f.fallback
	}
	return set.StringAt(f.at(set, base), f.fallback, user)
}

// Details evaluates the flag and says how the answer came about.
func (f *StringFlag) Details(ctx context.Context, user openfeature.FlattenedContext) openfeature.StringResolutionDetail {
	return f.provider.StringEvaluation(ctx, f.key, f.fallback, user)
}

// FloatFlag is to number flags what [BoolFlag] is to bool flags.
type FloatFlag struct{ handle[float64] }

// Float makes a handle for a number flag; see [Bool].
func Float(p *Provider, key string, fallback float64) *FloatFlag {
	return &FloatFlag{handle[float64]{provider: given(p), key: key, fallback: fallback}}
}

// Value evaluates the flag for a user; nil is nobody in particular.
func (f *FloatFlag) Value(ctx context.Context, user openfeature.FlattenedContext) float64 {
	set, base := f.provider.view(ctx)
	if set == nil {
		return f.fallback
	}
	return set.FloatAt(f.at(set, base), f.fallback, user)
}

// Details evaluates the flag and says how the answer came about.
func (f *FloatFlag) Details(ctx context.Context, user openfeature.FlattenedContext) openfeature.FloatResolutionDetail {
	return f.provider.FloatEvaluation(ctx, f.key, f.fallback, user)
}

// IntFlag is to number flags what [BoolFlag] is to bool flags; a fraction is cut
// off.
type IntFlag struct{ handle[int64] }

// Int makes a handle for a number flag; see [Bool].
func Int(p *Provider, key string, fallback int64) *IntFlag {
	return &IntFlag{handle[int64]{provider: given(p), key: key, fallback: fallback}}
}

// Value evaluates the flag for a user; nil is nobody in particular.
func (f *IntFlag) Value(ctx context.Context, user openfeature.FlattenedContext) int64 {
	set, base := f.provider.view(ctx)
	if set == nil {
		return f.fallback
	}
	return set.IntAt(f.at(set, base), f.fallback, user)
}

// Details evaluates the flag and says how the answer came about.
func (f *IntFlag) Details(ctx context.Context, user openfeature.FlattenedContext) openfeature.IntResolutionDetail {
	return f.provider.IntEvaluation(ctx, f.key, f.fallback, user)
}

// ObjectFlag is to object flags what [BoolFlag] is to bool flags. Its values are
// shared by all callers and must not be changed.
type ObjectFlag struct{ handle[any] }

// Object makes a handle for an object flag; see [Bool].
func Object(p *Provider, key string, fallback any) *ObjectFlag {
	return &ObjectFlag{handle[any]{provider: given(p), key: key, fallback: fallback}}
}

// Value evaluates the flag for a user; nil is nobody in particular.
func (f *ObjectFlag) Value(ctx context.Context, user openfeature.FlattenedContext) any {
	set, base := f.provider.view(ctx)
	if set == nil {
		return f.fallback
	}
	return set.ObjectAt(f.at(set, base), f.fallback, user)
}

// Details evaluates the flag and says how the answer came about.
func (f *ObjectFlag) Details(ctx context.Context, user openfeature.FlattenedContext) openfeature.InterfaceResolutionDetail {
	return f.provider.ObjectEvaluation(ctx, f.key, f.fallback, user)
}
