package main

import (
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// readTimeout bounds how long a request's body may take to arrive.
	readTimeout = 30 * time.Second
	// writeTimeout bounds how long a client may take for one write of an
	// answer or of a stream: it sheds readers that are stuck.
	writeTimeout = 10 * time.Second
)

// patient bounds how long a client may keep the server waiting, on every route
// and over every protocol: for its request as a whole, and for each write of
// the answer. http.Server's own timeouts would end long streams.
func patient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &patientWriter{ResponseWriter: w, control: http.NewResponseController(w)}
		// Errors of setting deadlines only say that the transport has none.
		_ = out.control.SetReadDeadline(time.Now().Add(readTimeout))
		if r.Body != nil {
			r.Body = &patientBody{ReadCloser: r.Body, done: out.requestRead}
		}
		next.ServeHTTP(out, r)
	})
}

// patientWriter gives every write a deadline of its own.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	read    bool // the request has been read, as far as anybody wants it
}

// Unwrap is for http.ResponseController.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write implements io.Writer.
func (w *patientWriter) Write(p []byte) (int, error) {
	w.extend()
	return w.ResponseWriter.Write(p)
}

// Flush implements http.Flusher, which connect-go asks for.
func (w *patientWriter) Flush() { _ = w.FlushError() }

// FlushError is for http.ResponseController.
func (w *patientWriter) FlushError() error {
	w.extend()
	return w.control.Flush()
}

func (w *patientWriter) extend() {
	w.requestRead()
	_ = w.control.SetWriteDeadline(time.Now().Add(writeTimeout))
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
	done func()
}

// Read implements io.Reader.
func (b *patientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.done()
	}
	return n, err
}
