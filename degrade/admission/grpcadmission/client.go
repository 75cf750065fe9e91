package grpcadmission

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

// maxHint is the longest hint that is believed.
const maxHint = time.Hour

// UnaryClientInterceptor makes each unary call carry the tier of its context,
// and holds it back while the server refuses this tier. The error of a call that
// is held back has the code RESOURCE_EXHAUSTED, and errors.As finds the
// *admission.ThrottledError in it.
func UnaryClientInterceptor(throttle *admission.Throttle) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		attempt, err := throttle.Begin(ctx, cc.Target())
		if err != nil {
			return heldBack{err}
		}
		err = next(carrying(ctx, throttle), method, req, reply, cc, opts...)
		conclude(attempt, err)
		return err
	}
}

// StreamClientInterceptor does the same for streams.
func StreamClientInterceptor(throttle *admission.Throttle) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		attempt, err := throttle.Begin(ctx, cc.Target())
		if err != nil {
			return nil, heldBack{err}
		}
		stream, err := next(carrying(ctx, throttle), desc, cc, method, opts...)
		if err != nil {
			conclude(attempt, err)
			return nil, err
		}
		return &clientStream{ClientStream: stream, attempt: attempt}, nil
	}
}

// RetryAfter reports whether err is a server's refusal for overload, and how
// long to wait before another attempt. RESOURCE_EXHAUSTED without a
// google.rpc.RetryInfo is none: it also stands for a quota, or for a message that
// is too large.
func RetryAfter(err error) (after time.Duration, refused bool) {
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.ResourceExhausted && s.Code() != codes.Unavailable {
		return 0, false
	}
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return min(max(info.GetRetryDelay().AsDuration(), 0), maxHint), true
		}
	}
	return 0, false
}

// carrying is the context with the tier in the metadata that is sent.
func carrying(ctx context.Context, throttle *admission.Throttle) context.Context {
	md, _ := metadata.FromOutgoingContext(ctx)
	value, ok := throttle.Baggage(ctx, md[baggage])
	if !ok {
		return ctx
	}
	md = md.Copy()
	md.Set(baggage, value)
	return metadata.NewOutgoingContext(ctx, md)
}

// conclude tells the throttle what came of a call.
func conclude(attempt admission.Attempt, err error) {
	after, refused := RetryAfter(err)
	switch {
	case refused:
		attempt.Refused(after)
	case errors.Is(err, io.EOF):
		attempt.Accepted()
	default:
		switch status.Code(err) {
		case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
			// Most likely nobody has answered, which says nothing about overload.
		default:
			attempt.Accepted()
		}
	}
}

// clientStream notes what the first answer of the stream is.
type clientStream struct {
	grpc.ClientStream
	attempt   admission.Attempt
	concluded atomic.Bool
}

func (s *clientStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if s.concluded.CompareAndSwap(false, true) {
		conclude(s.attempt, err)
	}
	return err
}

// heldBack gives a *admission.ThrottledError its status.
type heldBack struct{ error }

func (e heldBack) Unwrap() error { return e.error }

// GRPCStatus is what status.FromError looks for.
func (e heldBack) GRPCStatus() *status.Status { return status.New(codes.ResourceExhausted, e.Error()) }
