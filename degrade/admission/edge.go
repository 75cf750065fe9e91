package admission

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/baggage"
)

// A Call is what is known of a request before it is admitted.
type Call struct {
	// Method and Path are those of HTTP. A Connect or gRPC call has the
	// procedure, such as "/shop.v1.Cart/Pay", as its path.
	Method, Path string
	// Addr is the other side's address, as the transport knows it.
	Addr string
	// Values returns the values of a header, or of a key of gRPC metadata; the
	// name is in canonical form, such as "X-User-Id". In Enter nil stands for no
	// headers at all; the functions of options never see nil.
	Values func(name string) []string
	// Request is the HTTP request, nil for a Connect or gRPC call.
	Request *http.Request
}

// An Edge stands between a server and its Controller. It finds out which tier a
// request has, gets it a place, and sees to it that the tier travels on in the
// context. [Edge.Handler] is the middleware for net/http; packages
// connectadmission and grpcadmission have the interceptors.
//
// A request's own tier is what the function of [WithTierFunc] says, else the
// most specific of [WithRules], else the default tier. What the caller claims
// in W3C Baggage can always lower it; only callers that [WithTrustedCallers]
// trusts can raise it above the own tier.
//
// An Edge is immutable and safe for concurrent use.
type Edge struct {
	controller *Controller
	edgeConfig
	rules   rules
	names   []string         // of the tiers, by rank
	members []baggage.Member // of OpenTelemetry's baggage, by rank

	// typical is a running mean of the time that requests take to be served, in
	// nanoseconds; 0 before the first one. Only its magnitude matters.
	typical atomic.Int64
}

type edgeConfig struct {
	list     []Rule
	standard string // the default tier's name
	ceiling  string
	tier     func(context.Context, Call) string
	trusted  func(context.Context, Call) bool
	caller   func(context.Context, Call) string
	class    func(context.Context, Call) (int, bool)

	standardRank, ceilingRank int
}

// An EdgeOption configures NewEdge.
type EdgeOption func(*edgeConfig)

// WithRules gives routes their tiers. It may be given several times.
func WithRules(list ...Rule) EdgeOption {
	return func(c *edgeConfig) { c.list = append(c.list, list...) }
}

// WithTierFunc asks f for the name of a request's tier; an empty or unknown
// name leaves it to the rules. It is called for every request, before it is
// admitted, so it should be fast.
func WithTierFunc(f func(context.Context, Call) string) EdgeOption {
	return func(c *edgeConfig) { c.tier = f }
}

// WithDefaultTier names the tier of requests that nothing else gives one:
// without this option it is standard, or the last tier where there is none of
// that name.
func WithDefaultTier(name string) EdgeOption {
	return func(c *edgeConfig) { c.standard = name }
}

// WithTrustedCallers says who may raise a request above its own tier: f returns
// true for them. Without this option nobody may. [Everybody] is for a service
// that only services of the same house can reach.
func WithTrustedCallers(f func(context.Context, Call) bool) EdgeOption {
	return func(c *edgeConfig) { c.trusted = f }
}

// Everybody trusts every caller; see WithTrustedCallers.
func Everybody(context.Context, Call) bool { return true }

// WithCeiling names the best tier that requests of callers who are not trusted
// have by a claim of theirs: they can raise themselves up to it, and no
// further. A better tier which the request has of its own is not touched.
func WithCeiling(name string) EdgeOption {
	return func(c *edgeConfig) { c.ceiling = name }
}

// WithCaller tells whose request it is, such as a user's id. Within a tier that
// is shed for the most part, most callers are then refused wholly and the
// luckiest share what there is, so that more pages are whole; see [Request] for how far that goes.
// Without it, or for an empty answer, each request has its own luck.
func WithCaller(f func(context.Context, Call) string) EdgeOption {
	return func(c *edgeConfig) { c.caller = f }
}

// WithClass tells how many tiers of features are shed for the request's user,
// and whether the request evaluates no sheddable flag at all. It sorts the
// service times that are reported to the fleet.
func WithClass(f func(context.Context, Call) (class int, unsheddable bool)) EdgeOption {
	return func(c *edgeConfig) { c.class = f }
}

// NewEdge returns an edge of the controller. The error names everything that is
// wrong with the options: a tier that the controller does not have, a rule that
// is malformed, says nothing, can match nothing or is there twice.
func NewEdge(controller *Controller, opts ...EdgeOption) (*Edge, error) {
	if controller == nil {
		return nil, errors.New("admission: an edge needs a controller: make one with New")
	}
	e := &Edge{controller: controller, names: controller.Tiers()}
	for _, opt := range opts {
		opt(&e.edgeConfig)
	}
	rank := func(name string) (int, error) {
		if r, ok := controller.Rank(name); ok {
			return r, nil
		}
		return 0, fmt.Errorf("there is no tier %q: the tiers are %q", name, e.names)
	}
	var faults []error
	e.standardRank, e.ceilingRank = len(e.names)-1, len(e.names) // of no effect
	if e.standard != "" {
		r, err := rank(e.standard)
		e.standardRank, faults = r, append(faults, wrap("default tier", err))
	} else if r, ok := controller.Rank("standard"); ok {
		e.standardRank = r
	}
	if e.ceiling != "" {
		r, err := rank(e.ceiling)
		e.ceilingRank, faults = r, append(faults, wrap("ceiling", err))
	}
	var err error
	e.rules, err = compileRules(e.list, rank)
	faults = append(faults, err)
	for _, name := range e.names {
		m, err := baggage.NewMemberRaw(BaggageKey, name)
		e.members, faults = append(e.members, m), append(faults, wrap("tier "+name, err))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("admission: %w", err)
	}
	return e, nil
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Enter gets a call its place, and waits for it if need be. The context that it
// returns carries the tier, and the Pass, which may be nil for an exempt call,
// must be ended by Done. The error is a *RefusedError, or wraps ctx's.
//
// It is for servers of other protocols; handlers of net/http, Connect and gRPC
// are wrapped instead.
func (e *Edge) Enter(ctx context.Context, call Call) (context.Context, *Pass, error) {
	rule := e.rules.of(&call)
	if call.Values == nil {
		call.Values = http.Header(nil).Values
	}
	headers := call.Values(baggageHeader)
	claim, claims := claimed(headers)
	if rule.exempt && claims == 0 {
		return ctx, nil, nil
	}
	rank := e.rank(ctx, call, rule, claim)
	if rule.exempt {
		ctx, pass := e.letBy(ctx, headers, rank)
		return ctx, pass, nil
	}
	request := Request{Tier: rank}
	if e.caller != nil {
		request.Caller = e.caller(ctx, call)
	}
	if e.class != nil {
		request.Class, request.Unsheddable = e.class(ctx, call)
	}
	permit, err := e.controller.Acquire(ctx, request)
	if err != nil {
		return ctx, nil, err
	}
	pass := &Pass{edge: e, permit: permit, began: time.Now(), stream: rule.stream}
	if rule.longPoll {
		pass.Detach()
	}
	if claims > 1 || claims == 1 && claim != e.names[rank] {
		pass.baggage = withTier(headers, e.names[rank])
	}
	return withOTelTier(ContextWithTier(ctx, rank), e.members[rank]), pass, nil
}

// letBy lets an exempt call go by that claims a tier, and would have the given one.
// A claim to a better one does not travel on.
func (e *Edge) letBy(ctx context.Context, headers []string, rank int) (context.Context, *Pass) {
	claim, claims := claimed(headers)
	if better, known := e.controller.Rank(claim); claims == 1 && (!known || better >= rank) {
		return ctx, nil
	}
	pass := &Pass{edge: e, baggage: withTier(headers, e.names[rank])}
	pass.detached.Store(true) // it has no place to give back
	return withOTelTier(ctx, e.members[rank]), pass
}

// rank is the tier that a call has, considering who claims what.
func (e *Edge) rank(ctx context.Context, call Call, rule *compiled, claim string) int {
	own := e.standardRank
	if rule.redirect {
		own = max(own, rule.rank)
	} else if rule.rank >= 0 {
		own = rule.rank
	}
	if e.tier != nil {
		if r, ok := e.controller.Rank(e.tier(ctx, call)); ok {
			own = r
		}
	}
	claimed, ok := e.controller.Rank(claim)
	if !ok {
		return own
	}
	if claimed < own && (e.trusted == nil || !e.trusted(ctx, call)) {
		return max(claimed, min(own, e.ceilingRank))
	}
	return claimed
}

// A Pass is the stay of a call that an Edge has let in. That of an exempt call
// is nil, or holds no place. Its methods may be called from any goroutine.
type Pass struct {
	edge     *Edge
	permit   Permit
	began    time.Time
	baggage  string
	stream   bool
	detached atomic.Bool
}

// Stream says that the route is marked as a stream: Detach at the first byte.
func (p *Pass) Stream() bool { return p != nil && p.stream }

// Baggage is what the call's baggage header should be replaced by before anybody
// else reads it: the caller claimed another tier than the call was given. ok is
// false if it can stay.
func (p *Pass) Baggage() (value string, ok bool) {
	if p == nil {
		return "", false
	}
	return p.baggage, p.baggage != ""
}

// Detach gives the place back though the call goes on; see [Permit.Detach].
func (p *Pass) Detach() {
	if p != nil && p.detached.CompareAndSwap(false, true) {
		p.permit.Detach()
	}
}

// FirstByte gives the place back since the answer has begun to flow and may go on
// for long: the time until then is what the call took to be served.
func (p *Pass) FirstByte() {
	if p != nil && p.detached.CompareAndSwap(false, true) {
		p.permit.Release(Served)
	}
}

// Done ends the stay. failed says that the call ended early: by a fault of the
// server's, or as the caller has hung up. If that was much sooner than calls are
// served it is kept out of the evidence for how long they take; one that failed
// late has done its work.
func (p *Pass) Done(failed bool) {
	if p == nil || p.detached.Load() {
		return
	}
	took, typical := time.Since(p.began), time.Duration(p.edge.typical.Load())
	switch {
	case failed && took <= typical/2, failed && typical == 0:
		p.permit.Release(Failed)
		return
	case typical == 0:
		typical = took
	case !failed:
		typical += (took - typical) / 16
	}
	// Two at once may lose one of the updates, which does no harm.
	p.edge.typical.Store(int64(max(1, typical)))
	p.permit.Release(Served)
}
