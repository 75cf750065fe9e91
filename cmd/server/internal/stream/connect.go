package stream

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	connectProto = "application/connect+proto"
	// maxRequest bounds the one message that a client sends.
	maxRequest = 64 << 10
	// flagEnd marks the last envelope of a Connect stream, which holds its end
	// as JSON.
	flagEnd = 2
)

// isPlainConnect says whether a request is one that serveConnect takes: the
// Connect protocol with protobuf and without compression of the request.
func isPlainConnect(r *http.Request) bool {
	encoding := r.Header.Get("Connect-Content-Encoding")
	return r.Method == http.MethodPost && r.Header.Get("Content-Type") == connectProto &&
		(encoding == "" || encoding == "identity")
}

// serveConnect serves a Watch in the Connect protocol without connect-go: it
// writes envelopes that are ready, which is the cheapest way there is to serve
// thousands of streams.
func (h *Hub) serveConnect(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", connectProto)
	ctx, cancel, err := withTimeoutHeader(r)
	if err != nil {
		endConnect(w, out, err)
		return
	}
	defer cancel()
	req, err := readRequest(r.Body)
	if err != nil {
		endConnect(w, out, err)
		return
	}
	err = h.watch(ctx, req, func(m *message) error { return write(w, out, m.envelope) })
	if r.Context().Err() == nil {
		endConnect(w, out, err)
	}
}

// write sends an envelope at once. The caller's HTTP server bounds how long
// that may take.
func write(w io.Writer, out *http.ResponseController, envelope []byte) error {
	if _, err := w.Write(envelope); err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	return nil
}

// readRequest reads the single message of a request to its end.
func readRequest(body io.Reader) (*plimsollv1.WatchRequest, error) {
	data, err := io.ReadAll(io.LimitReader(body, envelopeHeader+maxRequest+1))
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("read the request: %w", err))
	}
	if len(data) < envelopeHeader {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("the request holds no message"))
	}
	size := int64(binary.BigEndian.Uint32(data[1:envelopeHeader]))
	switch {
	case size > maxRequest:
		return nil, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("the request has %d bytes; the limit is %d", size, maxRequest))
	case data[0] != 0:
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the request's envelope has unknown flags %#x", data[0]))
	case int64(len(data)-envelopeHeader) != size:
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the request's envelope promises %d bytes and holds %d", size, len(data)-envelopeHeader))
	}
	req := new(plimsollv1.WatchRequest)
	if err := proto.Unmarshal(data[envelopeHeader:], req); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("decode the request: %w", err))
	}
	return req, nil
}

// withTimeoutHeader honours the deadline that a client may set.
func withTimeoutHeader(r *http.Request) (context.Context, context.CancelFunc, error) {
	text := r.Header.Get("Connect-Timeout-Ms")
	if text == "" {
		return r.Context(), func() {}, nil // it ends with the request
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms < 0 || len(text) > 10 {
		return nil, nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("Connect-Timeout-Ms %q is not a number of milliseconds", text))
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(ms)*time.Millisecond)
	return ctx, cancel, nil
}

// endConnect ends a stream as the protocol wants it, with the error if any.
func endConnect(w io.Writer, out *http.ResponseController, cause error) {
	type wireError struct {
		Code    string `json:"code"`
		Message string `json:"message,omitempty"`
	}
	var end struct {
		Error    *wireError          `json:"error,omitempty"`
		Metadata map[string][]string `json:"metadata,omitempty"`
	}
	if cause != nil {
		var rpc *connect.Error
		if errors.As(api.Error(cause), &rpc) {
			end.Error = &wireError{Code: rpc.Code().String(), Message: rpc.Message()}
			end.Metadata = rpc.Meta()
		}
	}
	body, err := json.Marshal(end)
	if err != nil {
		return
	}
	envelope := binary.BigEndian.AppendUint32([]byte{flagEnd}, uint32(len(body)))
	// The client may be gone; then nobody misses the end.
	_ = write(w, out, append(envelope, body...))
}
