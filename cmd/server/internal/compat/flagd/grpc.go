package flagd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
)

const (
	// envelopeHeader is the length of what precedes each message: a byte of
	// flags and a big-endian uint32.
	envelopeHeader = 5
	// maxWrite is how much is written at once. Each write has a deadline of its
	// own, which a large set on a slow line would miss as a whole.
	maxWrite = 64 << 10
)

// message is encoded once and written to any number of streams. It is
// immutable.
type message struct {
	msg proto.Message
	// envelope is the header followed by the protobuf encoding.
	envelope []byte
}

func encode(msg proto.Message) (*message, error) {
	buf, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, envelopeHeader, envelopeHeader+proto.Size(msg)), msg)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("encode a message of a stream: %w", err))
	}
	binary.BigEndian.PutUint32(buf[1:], uint32(len(buf)-envelopeHeader))
	return &message{msg, buf}, nil
}

// mustEncode is encode for messages that are known to encode.
func mustEncode(msg proto.Message) *message {
	m, err := encode(msg)
	if err != nil {
		panic(err)
	}
	return m
}

// sink is where a stream's messages go.
type sink func(*message) error

// grpcStream serves a server stream over gRPC from ready envelopes, and leaves
// the other protocols to connect-go: that copies every message for every
// stream, and a sync's is a whole set.
type grpcStream struct {
	request func() proto.Message
	serve   func(context.Context, proto.Message, sink) error
	rest    http.Handler
}

// ServeHTTP implements http.Handler.
func (s *grpcStream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !isPlainGRPC(r) {
		s.rest.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	ctx, cancel, err := withTimeoutHeader(r)
	if err == nil {
		defer cancel()
		err = s.stream(ctx, w, r)
	}
	endGRPC(w, err)
}

func (s *grpcStream) stream(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	req := s.request()
	if err := readRequest(r.Body, req); err != nil {
		return err
	}
	out := http.NewResponseController(w)
	return s.serve(ctx, req, func(m *message) error {
		for rest := m.envelope; len(rest) > 0; {
			n := min(len(rest), maxWrite)
			if _, err := w.Write(rest[:n]); err != nil {
				return fmt.Errorf("write to the client: %w", err)
			}
			rest = rest[n:]
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("write to the client: %w", err)
		}
		return nil
	})
}

// isPlainGRPC says whether a request is one over gRPC with protobuf that is not
// compressed.
func isPlainGRPC(r *http.Request) bool {
	kind, encoding := r.Header.Get("Content-Type"), r.Header.Get("Grpc-Encoding")
	return r.ProtoMajor == 2 && r.Method == http.MethodPost && (kind == "application/grpc" || kind == "application/grpc+proto") &&
		(encoding == "" || encoding == "identity")
}

// readRequest reads the single message of a request.
func readRequest(body io.Reader, req proto.Message) error {
	var header [envelopeHeader]byte
	if _, err := io.ReadFull(body, header[:]); err != nil {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the request holds no message: %w", err))
	}
	size := int64(binary.BigEndian.Uint32(header[1:]))
	switch {
	case size > maxRequest:
		return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("the request has %d bytes; the limit is %d", size, maxRequest))
	case header[0] != 0:
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the request's envelope has unknown flags %#x", header[0]))
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(body, data); err != nil {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("read the request: %w", err))
	}
	if n, err := io.CopyN(io.Discard, body, 1); n > 0 || !errors.Is(err, io.EOF) {
		return connect.NewError(connect.CodeInvalidArgument, errors.New("the request holds more than one message"))
	}
	if err := proto.Unmarshal(data, req); err != nil {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("decode the request: %w", err))
	}
	return nil
}

// timeoutUnits are the units of the header Grpc-Timeout, as in the document
// "gRPC over HTTP2".
var timeoutUnits = map[byte]time.Duration{
	'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
}

// withTimeoutHeader honours the deadline that a client may set.
func withTimeoutHeader(r *http.Request) (context.Context, context.CancelFunc, error) {
	text := r.Header.Get("Grpc-Timeout")
	if text == "" {
		return r.Context(), func() {}, nil // it ends with the request
	}
	unit, known := timeoutUnits[text[len(text)-1]]
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 64)
	const digits = 8
	if !known || err != nil || len(text) > digits+1 {
		return nil, nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("Grpc-Timeout %q is not a time such as 10S", text))
	}
	if n > uint64(maxTimeout/unit) {
		return r.Context(), func() {}, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(n)*unit)
	return ctx, cancel, nil
}

// maxTimeout is from when on a deadline is as good as none.
const maxTimeout = 10 * 365 * 24 * time.Hour

// endGRPC ends the stream with its status. All of a gRPC stream's ends are HTTP
// status 200 with the outcome in the trailers.
func endGRPC(w http.ResponseWriter, cause error) {
	trailer := func(name, value string) { w.Header().Add(http.TrailerPrefix+name, value) }
	if cause == nil {
		trailer("Grpc-Status", "0")
		return
	}
	var rpc *connect.Error
	if !errors.As(api.Error(cause), &rpc) {
		rpc = connect.NewError(connect.CodeUnknown, cause)
	}
	trailer("Grpc-Status", strconv.Itoa(int(rpc.Code())))
	trailer("Grpc-Message", percentEncoded(rpc.Message()))
	for name, values := range rpc.Meta() {
		for _, value := range values {
			trailer(name, value)
		}
	}
}

// percentEncoded is a status message as "gRPC over HTTP2" wants it in a header.
func percentEncoded(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
