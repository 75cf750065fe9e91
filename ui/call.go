package ui

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// callTimeout bounds every call of the API.
const callTimeout = 20 * time.Second

// call calls a method of the API within the process. The rules of the message
// are checked here, as the interceptor that does it for other callers is not in
// between.
func call[Req, Res any](ctx context.Context, c *Console, method func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error), msg *Req) (*Res, error) {
	if m, ok := any(msg).(proto.Message); ok {
		if err := c.validator.Validate(m); err != nil {
			return nil, connect.NewError(connect.CodeInvalidArgument, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := method(ctx, connect.NewRequest(msg))
	if err != nil {
		return nil, err
	}
	return resp.Msg, nil
}

// detail is a detail of an RPC error.
func detail[T proto.Message](err error) (T, bool) {
	var none T
	var rpc *connect.Error
	if !errors.As(err, &rpc) {
		return none, false
	}
	for _, d := range rpc.Details() {
		if v, err := d.Value(); err == nil {
			if out, ok := v.(T); ok {
				return out, true
			}
		}
	}
	return none, false
}

// trouble is an error as a person reads it.
type trouble struct {
	// Message is one sentence.
	Message string
	// Faults are the places of a definition that are wrong.
	Faults []*plimsollv1.Fault
	// Conflicts are what somebody else changed meanwhile.
	Conflicts []*plimsollv1.Conflict
	// Again: trying again later may help.
	Again bool
}

// explain tells what went wrong.
func explain(err error) trouble {
	t := trouble{Message: err.Error()}
	var rpc *connect.Error
	if !errors.As(err, &rpc) {
		return t
	}
	t.Message = rpc.Message()
	switch rpc.Code() {
	case connect.CodeUnavailable, connect.CodeResourceExhausted, connect.CodeDeadlineExceeded:
		t.Again = true
	case connect.CodeUnknown:
		t.Message = fmt.Sprintf("%s: look at the flag or the audit log before you repeat it", t.Message)
	}
	if list, ok := detail[*plimsollv1.FaultList](err); ok {
		t.Faults = list.GetFaults()
	}
	if list, ok := detail[*plimsollv1.ConflictList](err); ok {
		t.Conflicts = list.GetConflicts()
	}
	return t
}

// status is the HTTP status of an error of the API.
func status(err error) int {
	switch connect.CodeOf(err) {
	case connect.CodeNotFound:
		return 404
	case connect.CodeInvalidArgument:
		return 422
	case connect.CodeFailedPrecondition, connect.CodeAlreadyExists, connect.CodeAborted:
		return 409
	case connect.CodePermissionDenied:
		return 403
	case connect.CodeUnauthenticated:
		return 401
	case connect.CodeUnavailable, connect.CodeResourceExhausted, connect.CodeDeadlineExceeded:
		return 503
	default:
		return 500
	}
}
