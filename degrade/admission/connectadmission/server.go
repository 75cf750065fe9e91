// Package connectadmission puts admission in front of Connect handlers, and
// makes Connect clients carry the tier on and hold back what a saturated server
// would refuse. It serves all three protocols: Connect, gRPC and gRPC-Web.
package connectadmission

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

const (
	// metaRetryAfter has whole seconds, as Plimsoll's own server sends it.
	metaRetryAfter = "Plimsoll-Retry-After"
	baggage        = "Baggage"
)

// NewServerInterceptor returns an interceptor for handlers, which serves what
// the edge's controller admits. What is refused gets RESOURCE_EXHAUSTED, with a
// google.rpc.RetryInfo as its detail and the metadata Plimsoll-Retry-After in whole
// seconds. A stream from the server gives its place back with the first message
// it sends; one from the client, in either direction, as soon as the handler
// waits for a message.
//
// Put it first, so that nothing is done for what is refused. It does nothing in
// a client.
func NewServerInterceptor(edge *admission.Edge) connect.Interceptor { return &server{edge} }

type server struct{ edge *admission.Edge }

// WrapUnary implements connect.Interceptor.
func (s *server) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if req.Spec().IsClient {
			return next(ctx, req)
		}
		ctx, pass, err := s.edge.Enter(ctx, call(req.HTTPMethod(), req.Spec(), req.Peer(), req.Header()))
		if err != nil {
			return nil, refusal(err)
		}
		failed := true // unless next returns
		defer func() { pass.Done(failed) }()
		replace(req.Header(), pass)
		response, err := next(ctx, req)
		failed = faulty(err)
		return response, err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (s *server) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (s *server) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		ctx, pass, err := s.edge.Enter(ctx, call(http.MethodPost, conn.Spec(), conn.Peer(), conn.RequestHeader()))
		if err != nil {
			return refusal(err)
		}
		failed := true
		defer func() { pass.Done(failed) }()
		replace(conn.RequestHeader(), pass)
		fromClient := conn.Spec().StreamType&connect.StreamTypeClient != 0
		err = next(ctx, &handlerStream{StreamingHandlerConn: conn, pass: pass, fromClient: fromClient})
		failed = faulty(err)
		return err
	}
}

// handlerStream gives the place back once the stream is one.
type handlerStream struct {
	connect.StreamingHandlerConn
	pass       *admission.Pass
	fromClient bool
}

func (s *handlerStream) Receive(message any) error {
	if s.fromClient {
		s.pass.Detach() // a client that sends nothing must not hold a place
	}
	return s.StreamingHandlerConn.Receive(message)
}

func (s *handlerStream) Send(message any) error {
	s.pass.FirstByte()
	return s.StreamingHandlerConn.Send(message)
}

func call(method string, spec connect.Spec, peer connect.Peer, header http.Header) admission.Call {
	return admission.Call{Method: method, Path: spec.Procedure, Addr: peer.Addr, Values: header.Values}
}

// replace keeps a tier that was claimed but not granted from those who read the
// header later.
func replace(header http.Header, pass *admission.Pass) {
	if value, ok := pass.Baggage(); ok {
		header.Set(baggage, value)
	}
}

// refusal turns an error of the edge into one of Connect.
func refusal(err error) error {
	var refused *admission.RefusedError
	switch {
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	case !errors.As(err, &refused):
		return connect.NewError(connect.CodeInternal, err)
	}
	out := connect.NewError(connect.CodeResourceExhausted, err)
	after := max(refused.RetryAfter, time.Millisecond)
	if detail, err := connect.NewErrorDetail(&errdetails.RetryInfo{RetryDelay: durationpb.New(after)}); err == nil {
		out.AddDetail(detail)
	}
	out.Meta().Set(metaRetryAfter, strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	return out
}

// faulty says that the server is at fault, as a status from 500 on does.
func faulty(err error) bool {
	if err == nil {
		return false
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnknown, connect.CodeInternal, connect.CodeUnavailable, connect.CodeDataLoss,
		connect.CodeUnimplemented, connect.CodeResourceExhausted, connect.CodeCanceled, connect.CodeDeadlineExceeded:
		return true
	default:
		return false
	}
}
