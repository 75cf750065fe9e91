package flagd

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	evaluationv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v1"
	evaluationv2 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v2"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// v1 is flagd.evaluation.v1.Service.
type v1 struct{ *Face }

// ResolveBoolean implements evaluationv1connect.ServiceHandler.
func (s *v1) ResolveBoolean(ctx context.Context, req *connect.Request[evaluationv1.ResolveBooleanRequest]) (*connect.Response[evaluationv1.ResolveBooleanResponse], error) {
	value, a, served, err := resolve(ctx, s.Face, req.Header(), req.Msg, asBool)
	if err != nil {
		return nil, err
	}
	if !served {
		return nil, unsaid(a)
	}
	return connect.NewResponse(&evaluationv1.ResolveBooleanResponse{Value: value, Reason: a.reason, Variant: a.variant, Metadata: a.metadata}), nil
}

// ResolveString implements evaluationv1connect.ServiceHandler.
func (s *v1) ResolveString(ctx context.Context, req *connect.Request[evaluationv1.ResolveStringRequest]) (*connect.Response[evaluationv1.ResolveStringResponse], error) {
	value, a, served, err := resolve(ctx, s.Face, req.Header(), req.Msg, asString)
	if err != nil {
		return nil, err
	}
	if !served {
		return nil, unsaid(a)
	}
	return connect.NewResponse(&evaluationv1.ResolveStringResponse{Value: value, Reason: a.reason, Variant: a.variant, Metadata: a.metadata}), nil
}

// ResolveFloat implements evaluationv1connect.ServiceHandler.
func (s *v1) ResolveFloat(ctx context.Context, req *connect.Request[evaluationv1.ResolveFloatRequest]) (*connect.Response[evaluationv1.ResolveFloatResponse], error) {
	value, a, served, err := resolve(ctx, s.Face, req.Header(), req.Msg, asFloat)
	if err != nil {
		return nil, err
	}
	if !served {
		return nil, unsaid(a)
	}
	return connect.NewResponse(&evaluationv1.ResolveFloatResponse{Value: value, Reason: a.reason, Variant: a.variant, Metadata: a.metadata}), nil
}

// ResolveInt implements evaluationv1connect.ServiceHandler.
func (s *v1) ResolveInt(ctx context.Context, req *connect.Request[evaluationv1.ResolveIntRequest]) (*connect.Response[evaluationv1.ResolveIntResponse], error) {
	value, a, served, err := resolve(ctx, s.Face, req.Header(), req.Msg, asInt)
	if err != nil {
		return nil, err
	}
	if !served {
		return nil, unsaid(a)
	}
	return connect.NewResponse(&evaluationv1.ResolveIntResponse{Value: value, Reason: a.reason, Variant: a.variant, Metadata: a.metadata}), nil
}

// ResolveObject implements evaluationv1connect.ServiceHandler.
func (s *v1) ResolveObject(ctx context.Context, req *connect.Request[evaluationv1.ResolveObjectRequest]) (*connect.Response[evaluationv1.ResolveObjectResponse], error) {
	value, a, served, err := resolve(ctx, s.Face, req.Header(), req.Msg, asObject)
	if err != nil {
		return nil, err
	}
	if !served {
		return nil, unsaid(a)
	}
	object, err := objectOf(value)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&evaluationv1.ResolveObjectResponse{Value: object, Reason: a.reason, Variant: a.variant, Metadata: a.metadata}), nil
}

// ResolveAll implements evaluationv1connect.ServiceHandler. A flag that fails to
// evaluate is left out, since there is no way to say so; one that serves no
// variant stands without a value.
func (s *v1) ResolveAll(ctx context.Context, req *connect.Request[evaluationv1.ResolveAllRequest]) (*connect.Response[evaluationv1.ResolveAllResponse], error) {
	state, err := s.newest(ctx)
	if err != nil {
		return nil, err
	}
	turn := s.sets.Turn(ctx)
	defer turn.End()
	values, flags := s.contextOf(req.Msg.GetContext(), req.Header()), state.Flags.ForRequest()
	out := &evaluationv1.ResolveAllResponse{Flags: make(map[string]*evaluationv1.AnyFlag, flags.Len())}
	for key := range flags.Keys() {
		if err := turn.Next(flags.Taken()); err != nil {
			return nil, err
		}
		r := flags.Any(key, values)
		if flags.Spent() && r.ErrorCode == flag.ParseError {
			return nil, connect.NewError(connect.CodeResourceExhausted, errors.New(r.Message))
		}
		if r.ErrorCode != "" {
			continue
		}
		one, err := anyFlag(r)
		if err != nil {
			return nil, err
		}
		out.Flags[key] = one
	}
	if out.Metadata, err = structOf(state.Flags.Metadata()); err != nil {
		return nil, err
	}
	return connect.NewResponse(out), nil
}

func anyFlag(r flag.Result[any]) (*evaluationv1.AnyFlag, error) {
	metadata, err := structOf(r.Metadata)
	if err != nil {
		return nil, err
	}
	out := &evaluationv1.AnyFlag{Reason: string(r.Reason), Variant: r.Variant, Metadata: metadata}
	switch v := r.Value.(type) {
	case bool:
		out.Value = &evaluationv1.AnyFlag_BoolValue{BoolValue: v}
	case string:
		out.Value = &evaluationv1.AnyFlag_StringValue{StringValue: v}
	case float64:
		out.Value = &evaluationv1.AnyFlag_DoubleValue{DoubleValue: v}
	case map[string]any:
		object, err := objectOf(v)
		if err != nil {
			return nil, err
		}
		out.Value = &evaluationv1.AnyFlag_ObjectValue{ObjectValue: object}
	}
	return out, nil
}

// EventStream implements evaluationv1connect.ServiceHandler.
func (s *v1) EventStream(ctx context.Context, _ *connect.Request[evaluationv1.EventStreamRequest], stream *connect.ServerStream[evaluationv1.EventStreamResponse]) error {
	return s.eventStream(ctx, func(m *message) error {
		event := m.msg.(*evaluationv2.EventStreamResponse)
		return stream.Send(&evaluationv1.EventStreamResponse{Type: event.GetType(), Data: event.GetData()})
	})
}
