package flagd

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// question is what the requests for one flag have in common, in both versions.
type question interface {
	GetFlagKey() string
	GetContext() *structpb.Struct
}

// answer is a flag's answer without a value, in the terms of the protocol.
type answer struct {
	reason, variant string
	metadata        *structpb.Struct
}

// resolve evaluates a flag. served is false where the client's own default is
// meant.
func resolve[T any](ctx context.Context, f *Face, header http.Header, q question, as func(*flag.Set, string, map[string]any) flag.Result[T]) (value T, a answer, served bool, err error) {
	state, err := f.newest(ctx)
	if err != nil {
		return value, a, false, err
	}
	r := as(state.Flags, q.GetFlagKey(), f.contextOf(q.GetContext(), header))
	if r.ErrorCode != "" {
		return value, a, false, failed(r.ErrorCode, r.Message)
	}
	metadata, err := structOf(r.Metadata)
	if err != nil {
		return value, a, false, err
	}
	return r.Value, answer{string(r.Reason), r.Variant, metadata}, r.HasValue, nil
}

func (f *Face) newest(ctx context.Context) (*effective.State, error) {
	ns, err := f.sets.Namespace(ctx, "")
	if err != nil {
		return nil, misaddressed(err)
	}
	state, err := f.sets.Newest(ns)
	if err != nil {
		return nil, misaddressed(err)
	}
	state.Asked(effective.FlagdEvaluation)
	return state, nil
}

// misaddressed is an error of finding the namespace, to clients that take some
// codes for an outcome of the evaluation: NOT_FOUND for a flag that is not there,
// INVALID_ARGUMENT for one of another type.
func misaddressed(err error) error {
	switch connect.CodeOf(err) {
	case connect.CodeNotFound, connect.CodeInvalidArgument:
		var rpc *connect.Error
		if errors.As(err, &rpc) {
			return connect.NewError(connect.CodeFailedPrecondition, errors.New(rpc.Message()))
		}
	}
	return err
}

func (f *Face) contextOf(client *structpb.Struct, header http.Header) map[string]any {
	var m map[string]any
	if client != nil {
		m = client.AsMap()
	}
	return f.sets.Context().Merge(m, header)
}

// The five ways of asking.
func asBool(s *flag.Set, key string, ctx map[string]any) flag.Result[bool] {
	return s.Bool(key, false, ctx)
}

func asString(s *flag.Set, key string, ctx map[string]any) flag.Result[string] {
	return s.String(key, "", ctx)
}

func asFloat(s *flag.Set, key string, ctx map[string]any) flag.Result[float64] {
	return s.Float(key, 0, ctx)
}

func asInt(s *flag.Set, key string, ctx map[string]any) flag.Result[int64] {
	return s.Int(key, 0, ctx)
}

func asObject(s *flag.Set, key string, ctx map[string]any) flag.Result[any] {
	return s.Object(key, nil, ctx)
}

// failed is an evaluation's error as flagd's clients know it: by its code.
func failed(code flag.ErrorCode, message string) error {
	status := connect.CodeUnknown
	switch code {
	case flag.FlagNotFound:
		status = connect.CodeNotFound
	case flag.TypeMismatch:
		status = connect.CodeInvalidArgument
	case flag.ParseError:
		status = connect.CodeDataLoss
	}
	return connect.NewError(status, fmt.Errorf("%s: %s", code, message))
}

// unsaid is what version 1 says where the client's own default is meant: it
// cannot leave out a value, and its clients fall back on this error alone.
func unsaid(a answer) error {
	if a.reason == string(flag.ReasonDisabled) {
		return failed(flag.FlagNotFound, "the flag is disabled: the caller's default counts")
	}
	return failed(flag.FlagNotFound, "the flag has no default variant: the caller's default counts")
}

// structOf is a map of JSON values as a message; nil for an empty one.
func structOf(m map[string]any) (*structpb.Struct, error) {
	if len(m) == 0 {
		return nil, nil
	}
	s, err := structpb.NewStruct(m)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("encode the answer: %w", err))
	}
	return s, nil
}

// objectOf is the value of an object flag as a message.
func objectOf(value any) (*structpb.Struct, error) {
	m, ok := value.(map[string]any)
	if !ok {
		return nil, connect.NewError(connect.CodeInternal, errors.New("the value of an object flag is no object"))
	}
	s, err := structpb.NewStruct(m)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("encode the value: %w", err))
	}
	return s, nil
}
