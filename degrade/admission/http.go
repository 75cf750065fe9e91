package admission

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// refusedHeader marks a 503 as a refusal by admission, with the reason.
	refusedHeader = "Plimsoll-Refused"
	// retryAfterMs is Retry-After in milliseconds, as several APIs send it.
	retryAfterMs = "Retry-After-Ms"
)

// Handler wraps next, so that it serves what the controller admits. What is
// refused is answered with 503, a Retry-After in whole seconds, a finer
// Retry-After-Ms, and a body that says why: text, or a problem document (RFC
// 9457) for who accepts JSON.
//
// A stream gives its place back as soon as it is one: at the first byte of a
// response of type text/event-stream and the like, or on a route whose Rule says
// Stream; when the connection is upgraded or hijacked; at a Flush before the
// end, unless the response has a Content-Length or is one of gRPC, where only a
// second write tells. So a page that is flushed early counts as a stream.
//
// A handler that panics gives its place back, and the panic goes on.
func (e *Edge) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := Call{Method: r.Method, Path: r.URL.Path, Addr: r.RemoteAddr, Values: r.Header.Values, Request: r}
		ctx, pass, err := e.Enter(r.Context(), call)
		switch {
		case err != nil:
			refuse(w, r, err)
			return
		case pass == nil:
			next.ServeHTTP(w, r)
			return
		}
		out := &response{ResponseWriter: w, pass: pass}
		returned := false
		defer func() {
			// Who has hung up may have cut the work short.
			pass.Done(!returned || out.status >= http.StatusInternalServerError || ctx.Err() != nil)
		}()
		next.ServeHTTP(out, carrying(ctx, r, pass))
		returned = true
	})
}

// carrying is the request as the handler sees it.
func carrying(ctx context.Context, r *http.Request, pass *Pass) *http.Request {
	r = r.WithContext(ctx)
	if value, ok := pass.Baggage(); ok {
		r.Header = r.Header.Clone()
		r.Header.Set(baggageHeader, value)
	}
	return r
}

// problem is a document of RFC 9457.
type problem struct {
	Title        string `json:"title"`
	Status       int    `json:"status"`
	Detail       string `json:"detail"`
	Reason       string `json:"reason,omitempty"`
	Tier         string `json:"tier,omitempty"`
	RetryAfterMs int64  `json:"retry_after_ms,omitempty"`
}

func refuse(w http.ResponseWriter, r *http.Request, err error) {
	var refused *RefusedError
	p := problem{Title: "Service Unavailable", Status: http.StatusServiceUnavailable, Detail: err.Error()}
	header := w.Header()
	if errors.As(err, &refused) { // else its context ended while it waited
		after := max(refused.RetryAfter, time.Millisecond)
		p.Reason, p.Tier, p.RetryAfterMs = refused.Reason.String(), refused.TierName, ceil(after, time.Millisecond)
		header.Set(refusedHeader, p.Reason)
		header.Set("Retry-After", strconv.FormatInt(ceil(after, time.Second), 10))
		header.Set(retryAfterMs, strconv.FormatInt(p.RetryAfterMs, 10))
	}
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if strings.Contains(strings.Join(r.Header.Values("Accept"), ","), "json") {
		header.Set("Content-Type", "application/problem+json")
		w.WriteHeader(p.Status)
		_ = json.NewEncoder(w).Encode(p) // who has hung up needs no answer
		return
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(p.Status)
	fmt.Fprintln(w, p.Detail)
}

// ceil is how many units d is, rounded up.
func ceil(d, unit time.Duration) int64 { return int64((d + unit - 1) / unit) }

// response passes everything on, and notices when it becomes a stream. It is
// used by the handler's goroutine, as any ResponseWriter.
type response struct {
	http.ResponseWriter
	pass    *Pass
	status  int // 0 before the header is written
	flushed bool
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	w.begin(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	w.write()
	return w.ResponseWriter.Write(b)
}

// ReadFrom lets io.Copy use sendfile where the server can.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	w.write()
	return io.Copy(w.ResponseWriter, src)
}

func (w *response) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w *response) FlushError() error {
	w.begin(http.StatusOK)
	header := w.Header()
	if header.Get("Content-Length") == "" && !strings.HasPrefix(header.Get("Content-Type"), "application/grpc") {
		w.pass.FirstByte()
	}
	w.flushed = true
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack hands the connection over, as for a WebSocket.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffer, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.pass.Detach()
	}
	return conn, buffer, err
}

func (w *response) write() {
	w.begin(http.StatusOK)
	if w.flushed && w.Header().Get("Content-Length") == "" {
		w.pass.FirstByte()
	}
}

// begin takes note of the header that is being sent.
func (w *response) begin(status int) {
	if w.status != 0 || status < 200 && status != http.StatusSwitchingProtocols {
		return // an informational response is no answer yet
	}
	w.status = status
	if w.pass.Stream() || status == http.StatusSwitchingProtocols || lasting(w.Header().Get("Content-Type")) {
		w.pass.FirstByte()
	}
}

// lasting says that responses of this type are streams.
func lasting(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	switch kind = strings.ToLower(strings.TrimSpace(kind)); kind {
	case "text/event-stream", "multipart/x-mixed-replace", "application/x-ndjson", "application/jsonl", "application/json-seq":
		return true
	}
	return strings.HasPrefix(kind, "application/connect+") // Connect's streams; its unary calls have another type
}
