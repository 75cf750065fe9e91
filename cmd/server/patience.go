package main

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// readTimeout bounds how long a request's body may take to arrive.
	readTimeout = 30 * time.Second
	// writeTimeout bounds how long a client may take for one write of an
	// answer or of a stream: it sheds readers that are stuck.
	writeTimeout = 10 * time.Second
	// maxPiece is how much is one write to that end. A large set on a slow line
	// takes longer as a whole.
	maxPiece = 64 << 10
	// maxUnread is how much of a request that its handler does not want is taken
	// in, so that the client gets to reading the answer.
	maxUnread = maxMessage
)

// patient bounds how long a client may keep the server waiting, on every route
// and over every protocol: for its request as a whole, and for each write of
// the answer. http.Server's own timeouts would end long streams.
func patient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &patientWriter{ResponseWriter: w, control: http.NewResponseController(w)}
		// Errors of setting deadlines only say that the transport has none.
		_ = out.control.SetReadDeadline(time.Now().Add(readTimeout))
		if r.Body == nil || r.Body == http.NoBody {
			out.requestRead()
		} else {
			expects := r.Header.Get("Expect") != ""
			body := &patientBody{ReadCloser: r.Body, done: out.requestRead, wanted: !expects}
			if expects {
				// net/http looks at its own request for whether the client was told.
				r = r.WithContext(r.Context())
			}
			r.Body = body
			if r.ProtoMajor == 1 {
				out.unread = body
			}
		}
		defer out.finish()
		next.ServeHTTP(out, r)
		out.takeIn() // if it wrote nothing, the answer begins now
	})
}

// patientWriter bounds how long every write may take. Its timer is not set anew
// for each: it looks, when it fires, whether a write is overdue. A deadline set
// before each write costs a stream over HTTP/2 as much as the write itself, as
// it goes through the connection's goroutine, and it would end a stream that
// has had nothing to write since.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	read    bool         // the request has been read, as far as anybody wants it
	begun   bool         // the answer has
	unread  *patientBody // what to take in of the request before that; nil: nothing

	mu    sync.Mutex
	due   time.Time // when the write under way must be over; zero: there is none
	armed bool      // the timer runs
	timer *time.Timer
}

// Unwrap is for http.ResponseController.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write implements io.Writer.
func (w *patientWriter) Write(p []byte) (int, error) {
	written := 0
	for {
		piece := p[written:min(written+maxPiece, len(p))]
		n, err := w.writePiece(piece)
		if written += n; err != nil || written == len(p) {
			return written, err
		}
	}
}

func (w *patientWriter) writePiece(p []byte) (int, error) {
	w.begin()
	defer w.end()
	return w.ResponseWriter.Write(p)
}

// Flush implements http.Flusher, which connect-go asks for.
func (w *patientWriter) Flush() { _ = w.FlushError() }

// FlushError is for http.ResponseController.
func (w *patientWriter) FlushError() error {
	w.begin()
	defer w.end()
	return w.control.Flush()
}

func (w *patientWriter) begin() {
	w.takeIn()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due = time.Now().Add(writeTimeout)
	if w.armed {
		return
	}
	w.armed = true
	if w.timer == nil {
		w.timer = time.AfterFunc(writeTimeout, w.check)
	} else {
		w.timer.Reset(writeTimeout)
	}
}

func (w *patientWriter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due = time.Time{}
}

// check fails the write under way if it is overdue. Meanwhile end waits, so
// that the answer cannot be over before.
func (w *patientWriter) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	switch {
	case w.due.IsZero():
		w.armed = false
	case now.Before(w.due):
		w.timer.Reset(w.due.Sub(now))
	default:
		// A moment in the past fails it at once.
		_ = w.control.SetWriteDeadline(now.Add(-time.Second))
	}
}

// finish is called once the handler writes nothing more, and leaves a deadline
// for what net/http still holds. A timer that runs on would keep the request in
// memory.
func (w *patientWriter) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	_ = w.control.SetWriteDeadline(time.Now().Add(writeTimeout))
}

// takeIn reads what is left of the request before the answer begins. Over
// HTTP/1.1 net/http would do so otherwise, for a little at least; but here the
// time for the request as a whole holds. Without it, a body that does not come
// would hold the answer and the connection for ever. Over HTTP/2 neither waits
// for the other. A body that the client was never told to send is not waited for.
func (w *patientWriter) takeIn() {
	if w.read || w.begun {
		return
	}
	w.begun = true
	switch {
	case w.unread == nil:
		w.requestRead()
	case w.unread.wanted:
		_, _ = io.CopyN(io.Discard, w.unread, maxUnread) // at its end it tells requestRead
	}
}

// requestRead ends the wait for the request. The connection's read side is
// then only watched for the client's leaving, which may take for ever.
func (w *patientWriter) requestRead() {
	if !w.read {
		w.read = true
		_ = w.control.SetReadDeadline(time.Time{})
	}
}

// patientBody tells when it has been read to its end.
type patientBody struct {
	io.ReadCloser
	done   func()
	wanted bool // the client sends it, or was told to by the first read
}

// Read implements io.Reader.
func (b *patientBody) Read(p []byte) (int, error) {
	b.wanted = true
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.done()
	}
	return n, err
}
