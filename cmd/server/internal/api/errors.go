// Package api serves the Flag, Degradation, Audit and Admin services from a
// store: a message becomes a call of the store, and its errors become RPC errors
// (errors.go). What a change of degradation does to apps is told by effects.go.
package api

import (
	"context"
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

// Error turns an error of the store into the RPC error that callers see. It is
// the only place that does.
func Error(err error) error {
	var (
		rpc      *connect.Error
		notFound *store.NotFoundError
		exists   *store.ExistsError
		invalid  *store.InvalidError
		refused  *store.RefusedError
		limit    *store.LimitError
		conflict *store.ConflictError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &rpc):
		return rpc
	case errors.As(err, &invalid):
		return withDetail(connect.CodeInvalidArgument, err, &plimsollv1.FaultList{Faults: Faults(invalid.Faults)})
	case errors.As(err, &conflict):
		return withDetail(connect.CodeFailedPrecondition, err, &plimsollv1.ConflictList{Conflicts: conflict.Conflicts})
	case errors.As(err, &notFound):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.As(err, &exists):
		return connect.NewError(connect.CodeAlreadyExists, err)
	case errors.As(err, &refused) && refused.Now:
		return connect.NewError(connect.CodeFailedPrecondition, err)
	case errors.As(err, &refused):
		return connect.NewError(connect.CodeInvalidArgument, err)
	case errors.As(err, &limit), errors.Is(err, store.ErrFull), errors.Is(err, store.ErrTooSlow):
		return connect.NewError(connect.CodeResourceExhausted, err)
	case errors.Is(err, store.ErrUnknownOutcome):
		return connect.NewError(connect.CodeUnknown, err)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrReadOnly), errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrReplaced):
		return connect.NewError(connect.CodeUnavailable, err)
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	default:
		return connect.NewError(connect.CodeInternal, err)
	}
}

func withDetail(code connect.Code, err error, detail proto.Message) error {
	out := connect.NewError(code, err)
	if d, err := connect.NewErrorDetail(detail); err == nil {
		out.AddDetail(d)
	}
	return out
}

// Faults are the faults of a definition as the API tells them.
func Faults(fs flag.Faults) []*plimsollv1.Fault {
	out := make([]*plimsollv1.Fault, 0, len(fs))
	for _, f := range fs {
		severity := plimsollv1.Severity_SEVERITY_ERROR
		if f.Severity == flag.Warning {
			severity = plimsollv1.Severity_SEVERITY_WARNING
		}
		out = append(out, &plimsollv1.Fault{
			Severity: severity, Path: f.Path, Line: uint32(max(0, f.Line)), Column: uint32(max(0, f.Column)),
			Message: f.Message, Hint: f.Hint,
		})
	}
	return out
}
