package connectadmission

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

// NewClientInterceptor returns an interceptor for clients: each call carries
// the tier of its context, and is held back while the server refuses this tier.
// The error of a call that is held back has the code RESOURCE_EXHAUSTED and wraps
// a *admission.ThrottledError. It does nothing in a handler.
func NewClientInterceptor(throttle *admission.Throttle) connect.Interceptor {
	return &client{throttle}
}

// RetryAfter reports whether err is a server's refusal for overload, and how
// long to wait before another attempt. RESOURCE_EXHAUSTED without such a hint is
// none: it also stands for a quota, or for a message that is too large.
func RetryAfter(err error) (after time.Duration, refused bool) {
	var rpc *connect.Error
	if !errors.As(err, &rpc) || rpc.Code() != connect.CodeResourceExhausted && rpc.Code() != connect.CodeUnavailable {
		return 0, false
	}
	for _, detail := range rpc.Details() {
		if message, err := detail.Value(); err == nil {
			if info, ok := message.(*errdetails.RetryInfo); ok {
				return min(max(info.GetRetryDelay().AsDuration(), 0), maxHint), true
			}
		}
	}
	seconds, err := strconv.ParseFloat(rpc.Meta().Get(metaRetryAfter), 64)
	if err != nil || !(seconds >= 0) { // NaN too
		return 0, false
	}
	return time.Duration(min(seconds, maxHint.Seconds()) * float64(time.Second)), true
}

// maxHint is the longest hint that is believed.
const maxHint = time.Hour

type client struct{ throttle *admission.Throttle }

// WrapUnary implements connect.Interceptor.
func (c *client) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if !req.Spec().IsClient {
			return next(ctx, req)
		}
		attempt, err := c.throttle.Begin(ctx, req.Peer().Addr)
		if err != nil {
			return nil, connect.NewError(connect.CodeResourceExhausted, err)
		}
		if value, ok := c.throttle.Baggage(ctx, req.Header().Values(baggage)); ok {
			req.Header().Set(baggage, value)
		}
		response, err := next(ctx, req)
		conclude(attempt, err)
		return response, err
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (c *client) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// WrapStreamingClient implements connect.Interceptor.
func (c *client) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec) // sends nothing yet
		attempt, err := c.throttle.Begin(ctx, conn.Peer().Addr)
		if err != nil {
			return &heldBack{StreamingClientConn: conn, err: connect.NewError(connect.CodeResourceExhausted, err)}
		}
		if value, ok := c.throttle.Baggage(ctx, conn.RequestHeader().Values(baggage)); ok {
			conn.RequestHeader().Set(baggage, value)
		}
		return &clientStream{StreamingClientConn: conn, attempt: attempt}
	}
}

// conclude tells the throttle what came of a call.
func conclude(attempt admission.Attempt, err error) {
	after, refused := RetryAfter(err)
	switch {
	case refused:
		attempt.Refused(after)
	case err == nil || connect.IsWireError(err) || errors.Is(err, io.EOF):
		attempt.Accepted()
	default: // nobody has answered, which says nothing about overload
	}
}

// clientStream notes what the first answer of the stream is.
type clientStream struct {
	connect.StreamingClientConn
	attempt   admission.Attempt
	concluded atomic.Bool
}

func (s *clientStream) Receive(message any) error {
	err := s.StreamingClientConn.Receive(message)
	if s.concluded.CompareAndSwap(false, true) {
		conclude(s.attempt, err)
	}
	return err
}

// heldBack is a stream that was never opened.
type heldBack struct {
	connect.StreamingClientConn
	err error
}

func (s *heldBack) Send(any) error       { return s.err }
func (s *heldBack) Receive(any) error    { return s.err }
func (s *heldBack) CloseRequest() error  { return nil }
func (s *heldBack) CloseResponse() error { return nil }
