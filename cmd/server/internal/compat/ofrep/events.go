package ofrep

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
)

const (
	queryNamespace = "namespace"
	// queryLast stands for the header of the same meaning, which some libraries
	// cannot send on their first request.
	queryLast  = "lastEventId"
	headerLast = "Last-Event-ID"
	// retryLeast and retrySpread are how long clients wait before they come back
	// to a stream that has ended: each is told another time, so that they do not
	// all come at once.
	retryLeast, retrySpread = time.Second, 3 * time.Second
)

func badRequest(details string) error {
	return connect.NewError(connect.CodeInvalidArgument, errors.New(details))
}

// events is the stream of changes of one namespace. It holds at most the event
// that is being written: a reader that is slow finds the newest state when it is
// done, and the server ends a write that takes too long.
func (h *Handler) events(w http.ResponseWriter, r *http.Request) {
	ns, seen, err := h.sight(r, r.URL.Query().Get(queryNamespace))
	if err != nil {
		refuse(w, "", err)
		return
	}
	defer h.streams.Add(-1)
	if h.streams.Add(1) > int64(h.opts.MaxStreams) {
		unavailable(w, "this server has as many event streams as it takes")
		return
	}
	select {
	case <-h.opts.Draining:
		unavailable(w, "this server is shutting down")
		return
	default:
	}
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("Cache-Control", "no-cache")
	head.Set("X-Accel-Buffering", "no") // a proxy must not hold events back
	s := &eventStream{w: w, out: http.NewResponseController(w), keepAlive: h.opts.KeepAlive}
	last := r.Header.Get(headerLast)
	if last == "" {
		last = r.URL.Query().Get(queryLast)
	}
	retry := retryLeast + rand.N(retrySpread)
	if s.send(fmt.Sprintf("retry: %d\n\n", retry.Milliseconds())) != nil {
		return
	}
	h.follow(r.Context(), ns, seen, last, s)
}

// follow tells of every state that is not the one that the client has seen last. A
// client that has seen none is told at once: it may have asked for its flags
// before the present state.
func (h *Handler) follow(ctx context.Context, ns string, seen sight, last string, s *eventStream) {
	var err error
	for {
		id := seen.version.String()
		switch {
		case id == last:
			if !h.idle(ctx, seen, s) {
				return
			}
		case seen.gentle && last != "" && !h.pause(ctx, rand.N(gradual)):
			return
		case seen.gentle && last != "":
			// What is newest after the pause is told of, without another one.
			if seen, err = h.faces.look(ns, false); err != nil {
				return
			}
			fallthrough
		default:
			if last = seen.version.String(); s.send(event(last, seen.since)) != nil {
				return
			}
		}
		if seen, err = h.faces.look(ns, false); err != nil {
			return
		}
	}
}

// event is the message that tells of a state.
func event(id string, at time.Time) string {
	return "event: message\nid: " + id + "\ndata: {\"type\":\"refetchEvaluation\",\"etag\":\"" + id + "\",\"lastModified\":" + strconv.FormatInt(at.Unix(), 10) + "}\n\n"
}

// idle waits for the next state and keeps the connection alive meanwhile.
func (h *Handler) idle(ctx context.Context, seen sight, s *eventStream) bool {
	for {
		waiting, cancel := context.WithTimeout(ctx, s.keepAlive)
		more := h.wait(waiting, seen)
		cancel()
		switch {
		case more:
			return true
		case ctx.Err() != nil, h.drained():
			return false
		case s.send(": keep-alive\n\n") != nil:
			return false
		}
	}
}

// wait returns true once a sight may be out of date, false once ctx is done or
// the server is about to end.
func (h *Handler) wait(ctx context.Context, seen sight) bool {
	var due <-chan time.Time
	if !seen.until.IsZero() {
		timer := time.NewTimer(max(seen.until.Sub(h.opts.Now()), time.Millisecond))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-seen.superseded:
		return true
	case <-due:
		return true
	case <-ctx.Done():
	case <-h.opts.Draining:
	}
	return false
}

func (h *Handler) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-h.opts.Draining:
	}
	return false
}

func (h *Handler) drained() bool {
	select {
	case <-h.opts.Draining:
		return true
	default:
		return false
	}
}

// eventStream is the client's end.
type eventStream struct {
	w         http.ResponseWriter
	out       *http.ResponseController
	keepAlive time.Duration
}

// send writes at once. The caller's HTTP server bounds how long that may take.
func (s *eventStream) send(text string) error {
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.out.Flush()
}
