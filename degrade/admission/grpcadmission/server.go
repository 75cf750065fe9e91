// Package grpcadmission puts admission in front of servers of
// google.golang.org/grpc, and makes their clients carry the tier on and hold
// back what a saturated server would refuse.
package grpcadmission

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

const (
	// metaRetryAfter has whole seconds, as Plimsoll's own server sends it.
	metaRetryAfter = "plimsoll-retry-after"
	baggage        = "baggage"
	// metaPushback tells a client's retry policy that a call must not be sent
	// again, whatever its service config says (gRFC A6).
	metaPushback = "grpc-retry-pushback-ms"
)

// UnaryServerInterceptor serves the unary calls that the edge's controller
// admits. What is refused gets RESOURCE_EXHAUSTED with a google.rpc.RetryInfo as
// its detail, and in its trailer Plimsoll-Retry-After in whole seconds and
// the order not to retry by itself. Put it first.
func UnaryServerInterceptor(edge *admission.Edge) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		ctx, pass, err := enter(ctx, edge, info.FullMethod)
		if err != nil {
			trailer, refused := refusal(err)
			_ = grpc.SetTrailer(ctx, trailer) // fails only outside of a server
			return nil, refused
		}
		failed := true // unless next returns
		defer func() { pass.Done(failed) }()
		response, err := next(ctx, req)
		failed = faulty(err)
		return response, err
	}
}

// StreamServerInterceptor does the same for streams. A stream from the server
// gives its place back with the first message it sends; one from the client, in
// either direction, as soon as the handler waits for a message.
func StreamServerInterceptor(edge *admission.Edge) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		ctx, pass, err := enter(stream.Context(), edge, info.FullMethod)
		if err != nil {
			trailer, refused := refusal(err)
			stream.SetTrailer(trailer)
			return refused
		}
		failed := true
		defer func() { pass.Done(failed) }()
		err = next(srv, &serverStream{ServerStream: stream, ctx: ctx, pass: pass, fromClient: info.IsClientStream})
		failed = faulty(err)
		return err
	}
}

// enter asks the edge, and returns the context for the handler.
func enter(ctx context.Context, edge *admission.Edge, procedure string) (context.Context, *admission.Pass, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	call := admission.Call{
		Method: http.MethodPost, Path: procedure,
		Values: func(name string) []string { return md[strings.ToLower(name)] },
	}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		call.Addr = p.Addr.String()
	}
	ctx, pass, err := edge.Enter(ctx, call)
	if value, ok := pass.Baggage(); ok {
		md = md.Copy()
		md.Set(baggage, value)
		ctx = metadata.NewIncomingContext(ctx, md)
	}
	return ctx, pass, err
}

// serverStream gives the place back once the stream is one.
type serverStream struct {
	grpc.ServerStream
	ctx        context.Context //nolint:containedctx // the interface wants a stream to have its context
	pass       *admission.Pass
	fromClient bool
}

func (s *serverStream) Context() context.Context { return s.ctx }

func (s *serverStream) RecvMsg(message any) error {
	if s.fromClient {
		s.pass.Detach() // a client that sends nothing must not hold a place
	}
	return s.ServerStream.RecvMsg(message)
}

func (s *serverStream) SendMsg(message any) error {
	s.pass.FirstByte()
	return s.ServerStream.SendMsg(message)
}

// refusal turns an error of the edge into a status, and a trailer.
func refusal(err error) (metadata.MD, error) {
	var refused *admission.RefusedError
	if !errors.As(err, &refused) {
		return nil, status.FromContextError(rootOf(err)).Err()
	}
	after := max(refused.RetryAfter, time.Millisecond)
	seconds := strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10)
	s := status.New(codes.ResourceExhausted, err.Error())
	if detailed, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(after)}); err == nil {
		s = detailed
	}
	return metadata.Pairs(metaRetryAfter, seconds, metaPushback, "-1"), s.Err()
}

// rootOf is the context's error that err wraps.
func rootOf(err error) error {
	for _, root := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, root) {
			return root
		}
	}
	return err
}

// faulty says that the server is at fault, as a status from 500 on does.
func faulty(err error) bool {
	switch status.Code(err) {
	case codes.Unknown, codes.Internal, codes.Unavailable, codes.DataLoss, codes.Unimplemented, codes.ResourceExhausted,
		codes.Canceled, codes.DeadlineExceeded:
		return true
	default:
		return false
	}
}
