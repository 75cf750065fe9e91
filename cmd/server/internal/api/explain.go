package api

import (
	"context"
	"encoding/json"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// Explain implements plimsollv1connect.FlagServiceHandler.
func (f *Flags) Explain(ctx context.Context, req *connect.Request[plimsollv1.ExplainRequest]) (*connect.Response[plimsollv1.ExplainResponse], error) {
	_, snap, err := open(ctx, f.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	trace := snap.Set(f.Now()).WithClock(f.Now).Explain(req.Msg.GetKey(), req.Msg.GetContext().AsMap())
	result := trace.Result
	out := &plimsollv1.ExplainResponse{
		Variant: result.Variant, Reason: string(result.Reason),
		ErrorCode: string(result.ErrorCode), ErrorMessage: result.Message,
		TraceText: trace.Text(), Position: snap.Position(),
	}
	traceJSON, err := json.Marshal(trace)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("encode the trace: %w", err))
	}
	out.TraceJson = string(traceJSON)
	if result.HasValue {
		value, err := json.Marshal(result.Value)
		if err != nil {
			return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("encode the value: %w", err))
		}
		out.Value = string(value)
	}
	if out.Metadata, err = structpb.NewStruct(result.Metadata); err != nil {
		return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("encode the metadata: %w", err))
	}
	return connect.NewResponse(out), nil
}
