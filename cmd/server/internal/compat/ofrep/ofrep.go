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
	// MaxRequests bounds the evaluations under way; default 2 048.
	MaxRequests int
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
	opts     Options
	sets     *effective.Sets
	faces    faces
	cors     cors
	scratch  sync.Pool // of *scratch
	requests atomic.Int64
}

// New makes a handler for everything below Prefix.
func New(opts Options) *Handler {
	if opts.MaxRequests == 0 {
		opts.MaxRequests = 2_048
	}
	if opts.KeepAlive == 0 {
		opts.KeepAlive = 15 * time.Second
	}
	if opts.Spread == 0 {
		opts.Spread = 5 * time.Second
	}
	return &Handler{
		opts: opts, sets: opts.Sets, faces: faces{by: make(map[string]*face)}, cors: newCORS(opts.Origins, opts.Sets.Context().FromHeader),
		scratch: sync.Pool{New: func() any { return &scratch{out: make([]byte, 0, flushFrom+4096)} }},
	}
}

// scratch is what a request works with.
type scratch struct{ body, out []byte }

// maxKept is how large a buffer may be to be used again.
const maxKept = 256 << 10

func (h *Handler) release(s *scratch) {
	if cap(s.body) <= maxKept && cap(s.out) <= maxKept {
		h.scratch.Put(s)
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
	case one && key != "":
		h.evaluating(w, r, func(s *scratch) { h.single(w, r, key, s) })
	case path == routeFlags, path == routeFlag:
		h.evaluating(w, r, func(s *scratch) { h.bulk(w, r, s) })
	case path == routeEvents:
		if allowed(w, r, http.MethodGet) {
			h.events(w, r)
		}
	default:
		fail(w, http.StatusNotFound, problem{details: fmt.Sprintf("there is nothing at %s; the protocol has %s, %s{key} and %s", path, routeFlags, routeFlag, routeEvents)})
	}
}

// evaluating admits an evaluation, if there is room for one more.
func (h *Handler) evaluating(w http.ResponseWriter, r *http.Request, serve func(*scratch)) {
	if !allowed(w, r, http.MethodPost) {
		return
	}
	defer h.requests.Add(-1)
	if h.requests.Add(1) > int64(h.opts.MaxRequests) {
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusTooManyRequests, problem{details: "too many evaluations are under way; try again in a second"})
		return
	}
	s := h.scratch.Get().(*scratch)
	defer h.release(s)
	serve(s)
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
		h.faces.drop(ns)
		return nil, err
	}
	state.Asked(effective.OFREP)
	return h.faces.of(state), nil
}

// refuse answers a request whose namespace cannot be served.
func refuse(w http.ResponseWriter, key string, err error) {
	var rpc *connect.Error
	if !errors.As(api.Error(err), &rpc) {
		rpc = connect.NewError(connect.CodeInternal, err)
	}
	switch rpc.Code() {
	case connect.CodeInvalidArgument, connect.CodeNotFound:
		failKey(w, http.StatusBadRequest, key, problem{codeGeneral, rpc.Message()})
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
