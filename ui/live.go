package ui

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	// beat is how often an idle event stream says that it lives. The script
	// takes it for dead after three.
	beat = 4 * time.Second
)

// events streams what changes on a page.
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	ctx := c.As(r.Context(), nameOf(r))
	ns := r.PathValue("ns")
	// Whether the caller may see it is for the API to say.
	if _, err := call(ctx, c, c.Degradation.GetDegradation, &plimsollv1.GetDegradationRequest{Namespace: ns}); err != nil {
		http.Error(w, explain(err).Message, status(err))
		return
	}
	_, rm, err := c.current(ctx, ns)
	if err != nil {
		http.Error(w, explain(err).Message, status(err))
		return
	}
	name, arg := splitTopic(r.URL.Query().Get("topic"))
	if _, ok := topics[name]; !ok {
		http.Error(w, "There is no such topic.", http.StatusNotFound)
		return
	}
	rm.mu.Lock()
	full := len(rm.visitors) >= maxVisitors
	rm.mu.Unlock()
	if full {
		w.Header().Set("Retry-After", "30")
		http.Error(w, errTooManyVisitors.Error(), http.StatusServiceUnavailable)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	s := &eventStream{c: c, w: w, control: http.NewResponseController(w), rm: rm}
	s.visitor = rm.visit(name, arg)
	defer rm.leave(s.visitor)
	from := r.Header.Get("Last-Event-ID")
	if from == "" {
		from = r.URL.Query().Get("v")
	}
	s.run(r, from)
}

type eventStream struct {
	c       *Console
	w       http.ResponseWriter
	control *http.ResponseController
	rm      *room
	visitor *visitor
}

// run sends events until the visitor goes, or the room or the server ends.
func (s *eventStream) run(r *http.Request, from string) {
	boot, number, _ := strings.Cut(from, ".")
	seen, err := strconv.ParseUint(number, 10, 64)
	if err != nil || boot != s.rm.boot || seen > s.rm.view.Load().Version {
		// What this page shows is another server's, or another time's.
		seen = s.rm.view.Load().Version
		if !s.send(fmt.Appendf(nil, "event: patch\nid: %s.%d\ndata: {\"reload\":true}\n\n", s.rm.boot, seen)) {
			return
		}
	} else if !s.send([]byte("event: hello\ndata: {}\n\n")) {
		return
	}
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		event, version := s.rm.message(s.visitor, seen)
		if event != nil {
			if !s.send(event) {
				return
			}
		}
		seen = version
		select {
		case <-s.visitor.wake:
		case <-ticker.C:
			if s.rm.rejoin(s.visitor) && !s.send([]byte("event: patch\ndata: {\"reload\":true}\n\n")) {
				return
			}
			age := time.Duration(s.rm.confirmed.Load())
			if !s.send(fmt.Appendf(nil, "event: beat\ndata: {\"now\":%d,\"confirmed\":%d,\"still\":%t}\n\n", s.c.Now().UnixMilli(), age.Milliseconds(), s.visitor.still())) {
				return
			}
		case <-s.visitor.gone:
			return
		case <-s.c.Stopping:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// send writes an event. A reader that does not take it within the server's
// deadline is let go: it comes back and says what it has seen.
func (s *eventStream) send(event []byte) bool {
	if _, err := s.w.Write(event); err != nil {
		return false
	}
	return s.control.Flush() == nil
}
