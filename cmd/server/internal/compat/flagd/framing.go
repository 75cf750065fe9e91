package flagd

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
)

// framing is what a protocol puts around the envelopes of a stream, which are the
// same in all of them.
type framing struct {
	// deadline honours the time that a client may set.
	deadline func(*http.Request) (context.Context, context.CancelFunc, error)
	// envelope is a message as the client reads it, and decode reads what it sent.
	envelope func(*message) ([]byte, error)
	decode   func([]byte, proto.Message) error
	// end ends the stream, with the error if any. All ends are HTTP status 200.
	end func(http.ResponseWriter, error)
}

func protoEnvelope(m *message) ([]byte, error) { return m.envelope, nil }

func decodeJSON(data []byte, req proto.Message) error {
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, req)
}

var (
	overGRPC        = &framing{withGRPCTimeout, protoEnvelope, proto.Unmarshal, endGRPC}
	overGRPCWeb     = &framing{withGRPCTimeout, protoEnvelope, proto.Unmarshal, endGRPCWeb}
	overConnect     = &framing{withConnectTimeout, protoEnvelope, proto.Unmarshal, endConnect}
	overConnectJSON = &framing{withConnectTimeout, (*message).jsonEnvelope, decodeJSON, endConnect}
)

// framingOf is the framing that a request wants; nil for what is rare: a request
// that is compressed, or in another encoding.
func framingOf(r *http.Request) *framing {
	plain := func(header string) bool {
		encoding := r.Header.Get(header)
		return encoding == "" || encoding == "identity"
	}
	if r.Method != http.MethodPost {
		return nil
	}
	switch r.Header.Get("Content-Type") {
	case "application/grpc", "application/grpc+proto":
		if r.ProtoMajor == 2 && plain("Grpc-Encoding") {
			return overGRPC
		}
	case "application/grpc-web", "application/grpc-web+proto":
		if plain("Grpc-Encoding") {
			return overGRPCWeb
		}
	case "application/connect+proto":
		if plain("Connect-Content-Encoding") {
			return overConnect
		}
	case "application/connect+json":
		if plain("Connect-Content-Encoding") {
			return overConnectJSON
		}
	}
	return nil
}

// timeoutUnits are the units of the header Grpc-Timeout, as in the document
// "gRPC over HTTP2".
var timeoutUnits = map[byte]time.Duration{
	'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
}

// withGRPCTimeout honours the header Grpc-Timeout.
func withGRPCTimeout(r *http.Request) (context.Context, context.CancelFunc, error) {
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

// withConnectTimeout honours the header Connect-Timeout-Ms.
func withConnectTimeout(r *http.Request) (context.Context, context.CancelFunc, error) {
	text := r.Header.Get("Connect-Timeout-Ms")
	if text == "" {
		return r.Context(), func() {}, nil // it ends with the request
	}
	const digits = 10
	ms, err := strconv.ParseUint(text, 10, 64)
	if err != nil || len(text) > digits {
		return nil, nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("Connect-Timeout-Ms %q is not a number of milliseconds", text))
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(ms)*time.Millisecond)
	return ctx, cancel, nil
}

// errorOf is an error as clients are told of it; nil for none.
func errorOf(cause error) *connect.Error {
	if cause == nil {
		return nil
	}
	var rpc *connect.Error
	if !errors.As(api.Error(cause), &rpc) {
		rpc = connect.NewError(connect.CodeUnknown, cause)
	}
	return rpc
}

// statusOf is the outcome as gRPC has it.
func statusOf(cause error) http.Header {
	status := make(http.Header)
	rpc := errorOf(cause)
	if rpc == nil {
		status.Set("Grpc-Status", "0")
		return status
	}
	for name, values := range rpc.Meta() {
		status[name] = values
	}
	status.Set("Grpc-Status", strconv.Itoa(int(rpc.Code())))
	status.Set("Grpc-Message", percentEncoded(rpc.Message()))
	return status
}

// endGRPC puts the outcome into the trailers.
func endGRPC(w http.ResponseWriter, cause error) {
	for name, values := range statusOf(cause) {
		for _, value := range values {
			w.Header().Add(http.TrailerPrefix+name, value)
		}
	}
}

// The flags of an envelope that is a stream's last.
const (
	flagEndConnect = 0x02
	flagEndWeb     = 0x80
)

// endGRPCWeb writes the trailers as a last envelope, their names in lower case.
func endGRPCWeb(w http.ResponseWriter, cause error) {
	var b bytes.Buffer
	for name, values := range statusOf(cause) {
		for _, value := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", strings.ToLower(name), value)
		}
	}
	writeEnd(w, flagEndWeb, b.Bytes())
}

// endConnect writes the outcome as a last envelope of JSON.
func endConnect(w http.ResponseWriter, cause error) {
	type wireError struct {
		Code    string `json:"code"`
		Message string `json:"message,omitempty"`
	}
	var end struct {
		Error    *wireError  `json:"error,omitempty"`
		Metadata http.Header `json:"metadata,omitempty"`
	}
	if rpc := errorOf(cause); rpc != nil {
		end.Error, end.Metadata = &wireError{rpc.Code().String(), rpc.Message()}, rpc.Meta()
	}
	body, err := json.Marshal(end)
	if err != nil { // it is text
		body = []byte("{}")
	}
	writeEnd(w, flagEndConnect, body)
}

func writeEnd(w http.ResponseWriter, flags byte, body []byte) {
	envelope := binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(body)))
	_, _ = w.Write(append(envelope, body...)) // a client that is gone does not miss it
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
