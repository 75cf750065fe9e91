// Package ofrep serves the OpenFeature Remote Evaluation Protocol, version 0.3.0:
// the evaluation of one flag or of all of them over plain HTTP and JSON, and a
// stream of server-sent events that tells when it is worth asking again.
//
// What a namespace shows here is its paced state (package effective): the newest
// one of the store, but for automatic moves of the level, which wait their turn.
// An entity tag (etag.go) is a function of state and context, so that a client
// whose tag still matches costs no evaluation. Bulk answers (bulk.go) are appended
// from what was encoded before and leave in pieces. The event stream (events.go)
// holds nothing for its readers: each looks at the newest state when it is woken.
// Pages of other sites may ask if they are on the allow list (cors.go).
package ofrep

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
)

// Prefix is below which all routes of the protocol lie.
const Prefix = "/ofrep/v1/"

const (
	routeFlags  = Prefix + "evaluate/flags"
	routeFlag   = routeFlags + "/"
	routeEvents = Prefix + "events"
)

// Options say how a handler serves.
type Options struct {
	// Sets are what is served. They must be open as long as the handler is used,
	// and bound its event streams.
	Sets *effective.Sets
	// Origins are the origins whose pages may ask, or "*" for all; CheckOrigin
	// says what an entry may be. The server's own need not be among them.
	Origins []string
	// MaxRequests bounds the requests under way, most of which wait for their
	// client, and of which a half may wait for a newer state; default 16 384.
	MaxRequests int
	// MaxEvaluations bounds the single evaluations under way; default 2 048.
	MaxEvaluations int
	// KeepAlive is how often an idle event stream shows that it lives; default
	// 15 s.
	KeepAlive time.Duration
	// Spread is over how long clients are told of an automatic move of the level;
	// default 5 s.
	Spread time.Duration
}

// Handler serves the protocol. It is safe for concurrent use and keeps no
// goroutine of its own.
type Handler struct {
	opts   Options
	sets   *effective.Sets
	cors   cors
	bodies sync.Pool // of *[]byte
	outs   sync.Pool // of *[]byte

	requests, waiting, evaluations limit
}

// limit counts what is under way, up to a bound.
type limit struct {
	n   atomic.Int64
	max int64
}

func (l *limit) enter() bool {
	if l.n.Add(1) > l.max {
		l.n.Add(-1)
		return false
	}
	return true
}

func (l *limit) leave() { l.n.Add(-1) }

// New makes a handler for everything below Prefix.
func New(opts Options) *Handler {
	if opts.MaxRequests == 0 {
		opts.MaxRequests = 16_384
	}
	if opts.MaxEvaluations == 0 {
		opts.MaxEvaluations = 2_048
	}
	if opts.KeepAlive == 0 {
		opts.KeepAlive = 15 * time.Second
	}
	if opts.Spread == 0 {
		opts.Spread = 5 * time.Second
	}
	h := &Handler{
		opts: opts, sets: opts.Sets, cors: newCORS(opts.Origins, opts.Sets.Context().FromHeader),
		bodies: sync.Pool{New: func() any { return new([]byte) }},
		outs:   sync.Pool{New: func() any { b := make([]byte, 0, flushFrom+4096); return &b }},
	}
	h.requests.max = int64(opts.MaxRequests)
	h.waiting.max = int64(opts.MaxRequests+1) / 2
	h.evaluations.max = int64(opts.MaxEvaluations)
	return h
}

// maxKept is how large a buffer may be to be used again.
const maxKept = 256 << 10

func release(pool *sync.Pool, b *[]byte) {
	if cap(*b) <= maxKept {
		pool.Put(b)
	}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.cors.screen(w, r) {
		return
	}
	path := r.URL.Path
	key, one := strings.CutPrefix(path, routeFlag)
	switch {
	case one:
		h.evaluating(w, r, key, func(q *question) { h.single(w, r, key, q) })
	case path == routeFlags:
		h.evaluating(w, r, "", func(q *question) { h.bulk(w, r, q) })
	case path == routeEvents:
		if allowed(w, r, http.MethodGet) {
			h.events(w, r)
		}
	default:
		fail(w, http.StatusNotFound, problem{details: fmt.Sprintf("there is nothing at %s; the protocol has %s, %s{key} and %s", path, routeFlags, routeFlag, routeEvents)})
	}
}

// question is a request that has arrived whole.
type question struct {
	context map[string]any
	// scratch held the body, and may be used for something else.
	scratch []byte
	// out is where the answer goes.
	out *[]byte
}

// evaluating takes in a request, which may take as long as its client does: what
// it has a place for by then is waiting, and only afterwards evaluating.
func (h *Handler) evaluating(w http.ResponseWriter, r *http.Request, key string, serve func(*question)) {
	if !allowed(w, r, http.MethodPost) {
		return
	}
	if !h.requests.enter() {
		tooMany(w, "requests")
		return
	}
	defer h.requests.leave()
	buf := h.bodies.Get().(*[]byte)
	defer release(&h.bodies, buf)
	ctx, body, wrong := readContext(r, *buf)
	*buf = body
	if wrong != nil {
		failKey(w, wrong.statusCode(), key, *wrong)
		return
	}
	out := h.outs.Get().(*[]byte)
	defer release(&h.outs, out)
	serve(&question{ctx, body, out})
}

// tooMany asks the client to come back.
func tooMany(w http.ResponseWriter, what string) {
	w.Header().Set("Retry-After", "1")
	fail(w, http.StatusTooManyRequests, problem{details: "too many " + what + " are under way; try again in a second"})
}

func allowed(w http.ResponseWriter, r *http.Request, method string) bool {
	if r.Method == method {
		return true
	}
	w.Header().Set("Allow", method)
	fail(w, http.StatusMethodNotAllowed, problem{details: fmt.Sprintf("%s takes %s, not %s", r.URL.Path, method, r.Method)})
	return false
}

// face is what the namespace of a request shows.
func (h *Handler) face(r *http.Request) (*face, error) {
	ns, err := h.sets.Namespace(r.Context(), "")
	if err != nil {
		return nil, err
	}
	state, err := h.sets.Paced(ns)
	if err != nil {
		return nil, err
	}
	state.Asked(effective.OFREP)
	return faceOf(state), nil
}

// refuse answers a request whose namespace cannot be served.
func refuse(w http.ResponseWriter, key string, err error) {
	var rpc *connect.Error
	if !errors.As(api.Error(err), &rpc) {
		rpc = connect.NewError(connect.CodeInternal, err)
	}
	switch rpc.Code() {
	case connect.CodeInvalidArgument, connect.CodeNotFound:
		failKey(w, http.StatusBadRequest, key, problem{code: codeGeneral, details: rpc.Message()})
	case connect.CodeUnauthenticated:
		fail(w, http.StatusUnauthorized, problem{details: rpc.Message()})
	case connect.CodePermissionDenied:
		fail(w, http.StatusForbidden, problem{details: rpc.Message()})
	case connect.CodeResourceExhausted:
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusTooManyRequests, problem{details: rpc.Message()})
	case connect.CodeUnavailable:
		unavailable(w, rpc.Message())
	default:
		fail(w, http.StatusInternalServerError, problem{details: rpc.Message()})
	}
}

// unavailable asks the client to come back, here or at another server.
func unavailable(w http.ResponseWriter, details string) {
	w.Header().Set("Retry-After", "1")
	fail(w, http.StatusServiceUnavailable, problem{details: details})
}
