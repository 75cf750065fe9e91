package flagd

import (
	"context"

	"connectrpc.com/connect"

	evaluationv2 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v2"
)

// v2 is flagd.evaluation.v2.Service.
type v2 struct{ *Face }

// ResolveBoolean implements evaluationv2connect.ServiceHandler.
func (s *v2) ResolveBoolean(ctx context.Context, req *connect.Request[evaluationv2.ResolveBooleanRequest]) (*connect.Response[evaluationv2.ResolveBooleanResponse], error) {
	value, a, served, err := resolve(ctx, s.Face, req.Header(), req.Msg, asBool)
	if err != nil {
		return nil, err
	}
	out := &evaluationv2.ResolveBooleanResponse{Reason: a.reason, Metadata: a.metadata}
	if served {
		out.Value, out.Variant = &value, &a.variant
	}
	return connect.NewResponse(out), nil
}

// ResolveString implements evaluationv2connect.ServiceHandler.
func (s *v2) ResolveString(ctx context.Context, req *connect.Request[evaluationv2.ResolveStringRequest]) (*connect.Response[evaluationv2.ResolveStringResponse], error) {
	value, a, served, err := resolve(ctx, s.Face, req.Header(), req.Msg, asString)
	if err != nil {
		return nil, err
	}
	out := &evaluationv2.ResolveStringResponse{Reason: a.reason, Metadata: a.metadata}
	if served {
		out.Value, out.Variant = &value, &a.variant
	}
	return connect.NewResponse(out), nil
}

// ResolveFloat implements evaluationv2connect.ServiceHandler.
func (s *v2) ResolveFloat(ctx context.Context, req *connect.Request[evaluationv2.ResolveFloatRequest]) (*connect.Response[evaluationv2.ResolveFloatResponse], error) {
	value, a, served, err := resolve(ctx, s.Face, req.Header(), req.Msg, asFloat)
	if err != nil {
		return nil, err
	}
	out := &evaluationv2.ResolveFloatResponse{Reason: a.reason, Metadata: a.metadata}
	if served {
		out.Value, out.Variant = &value, &a.variant
	}
	return connect.NewResponse(out), nil
}

// ResolveInt implements evaluationv2connect.ServiceHandler.
func (s *v2) ResolveInt(ctx context.Context, req *connect.Request[evaluationv2.ResolveIntRequest]) (*connect.Response[evaluationv2.ResolveIntResponse], error) {
	value, a, served, err := resolve(ctx, s.Face, req.Header(), req.Msg, asInt)
	if err != nil {
		return nil, err
	}
	out := &evaluationv2.ResolveIntResponse{Reason: a.reason, Metadata: a.metadata}
	if served {
		out.Value, out.Variant = &value, &a.variant
	}
	return connect.NewResponse(out), nil
}

// ResolveObject implements evaluationv2connect.ServiceHandler.
func (s *v2) ResolveObject(ctx context.Context, req *connect.Request[evaluationv2.ResolveObjectRequest]) (*connect.Response[evaluationv2.ResolveObjectResponse], error) {
	value, a, served, err := resolve(ctx, s.Face, req.Header(), req.Msg, asObject)
	if err != nil {
		return nil, err
	}
	out := &evaluationv2.ResolveObjectResponse{Reason: a.reason, Metadata: a.metadata}
	if served {
		out.Variant = &a.variant
		if out.Value, err = objectOf(value); err != nil {
			return nil, err
		}
	}
	return connect.NewResponse(out), nil
}

// EventStream implements evaluationv2connect.ServiceHandler.
func (s *v2) EventStream(ctx context.Context, _ *connect.Request[evaluationv2.EventStreamRequest], stream *connect.ServerStream[evaluationv2.EventStreamResponse]) error {
	return s.eventStream(ctx, func(m *message) error {
		event := m.msg.(*evaluationv2.EventStreamResponse)
		return stream.Send(event)
	})
}
