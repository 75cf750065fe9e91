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

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
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
	ns, err := h.sets.Namespace(r.Context(), r.URL.Query().Get(queryNamespace))
	if err == nil {
		_, err = h.sets.Paced(ns)
	}
	if err != nil {
		refuse(w, "", err)
		return
	}
	stream, err := h.sets.Admit(ns, effective.OFREP)
	if err != nil {
		unavailable(w, "this server takes no more event streams at the moment: "+err.Error())
		return
	}
	defer stream.Leave()
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("Cache-Control", "no-cache")
	head.Set("X-Accel-Buffering", "no") // a proxy must not hold events back
	s := &eventStream{stream: stream, w: w, out: http.NewResponseController(w)}
	last := r.Header.Get(headerLast)
	if last == "" {
		last = r.URL.Query().Get(queryLast)
	}
	retry := retryLeast + rand.N(retrySpread)
	if s.send(fmt.Sprintf("retry: %d\n\n", retry.Milliseconds())) == nil {
		h.follow(r.Context(), ns, last, s)
	}
}

// follow tells of every state that is not the one that the client has seen last. A
// client that has seen none is told at once: it may have asked for its flags
// before the present state. One that has seen a newer state than there is here is
// told of nothing older; if that does not come soon, it has to find another server.
func (h *Handler) follow(ctx context.Context, ns, last string, s *eventStream) {
	ahead := func(*face) bool { return false }
	if seen, ok := parseVersion(last); ok {
		ahead = func(f *face) bool { return f.version.store == seen.store && !f.version.reaches(seen) }
		if _, ok, err := h.await(ctx, ns, func(f *face) bool { return !ahead(f) }); !ok || err != nil {
			return
		}
	}
	var told *face
	var turn *time.Timer // when to tell of automatic moves; nil: of none
	defer func() { stop(turn) }()
	for {
		state, over, err := h.sets.FollowPaced(ns)
		if err != nil {
			return
		}
		shown := faceOf(state)
		id := shown.version.String()
		switch {
		case id == last, ahead(shown), told != nil && shown.servesAs(told):
			if !ahead(shown) {
				told = shown
				s.stream.Sent(state)
			}
			if !h.idle(ctx, over, s) {
				return
			}
		case told != nil && state.AutomaticSince(told.State):
			if turn == nil {
				turn = time.NewTimer(rand.N(h.opts.Spread))
			}
			select {
			case <-over: // what a person does in the meantime does not wait
			case <-turn.C:
				told = nil // then it is told of what is newest
			case <-ctx.Done():
				return
			case <-h.sets.Draining():
				return
			}
		default:
			if s.send(event(id, state.Since)) != nil {
				return
			}
			last, told = id, shown
			s.stream.Sent(state)
			stop(turn)
			turn = nil
		}
	}
}

func stop(timer *time.Timer) {
	if timer != nil {
		timer.Stop()
	}
}

// event is the message that tells of a state.
func event(id string, at time.Time) string {
	return "event: message\nid: " + id + "\ndata: {\"type\":\"refetchEvaluation\",\"etag\":\"" + id + "\",\"lastModified\":" + strconv.FormatInt(at.Unix(), 10) + "}\n\n"
}

// idle waits for the next state and keeps the connection alive meanwhile.
func (h *Handler) idle(ctx context.Context, over <-chan struct{}, s *eventStream) bool {
	beat := time.NewTicker(h.opts.KeepAlive)
	defer beat.Stop()
	for {
		select {
		case <-over:
			return true
		case <-beat.C:
			if s.send(": keep-alive\n\n") != nil {
				return false
			}
		case <-ctx.Done():
			return false
		case <-h.sets.Draining():
			return false
		}
	}
}

// eventStream is the client's end.
type eventStream struct {
	stream *effective.Stream
	w      http.ResponseWriter
	out    *http.ResponseController
}

// send writes at once. The caller's HTTP server bounds how long that may take.
func (s *eventStream) send(text string) error {
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.out.Flush()
}
