package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// Outcome is what came of a call that failed.
type Outcome int

// The outcomes.
const (
	// Refused: the server answered, and did not do it.
	Refused Outcome = iota
	// Unreachable: no Plimsoll server answered.
	Unreachable
	// Conflict: what the call was based on has moved, or what it was to create
	// is there.
	Conflict
	// Interrupted: the caller gave up.
	Interrupted
)

// Error is a failed call in words.
type Error struct {
	Outcome Outcome
	// Message says in one line what went wrong.
	Message string
	// Hint says what to do; may be empty.
	Hint string
	// Conflicts and Faults are the details that the server gave.
	Conflicts []*plimsollv1.Conflict
	Faults    []*plimsollv1.Fault
	// Unsent tells that the call was never sent, Unknown that nobody knows
	// whether it was carried out: its answer was lost, or says no more.
	Unsent, Unknown bool

	err error
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

// Unwrap is the error of the call.
func (e *Error) Unwrap() error { return e.err }

// Code is the code that the server answered with.
func (e *Error) Code() connect.Code { return connect.CodeOf(e.err) }

// NoNamespace tells whether the server refused the call because it has no
// namespace of that name.
func (e *Error) NoNamespace(name string) bool {
	return connect.IsWireError(e.err) && e.Code() == connect.CodeNotFound &&
		strings.HasPrefix(e.Message, fmt.Sprintf("there is no namespace %q", name))
}

// Explain puts the error of a call to this server into words.
func (c *Client) Explain(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	e := &Error{Message: oneLine(err.Error()), err: err}
	var rpc *connect.Error
	if errors.As(err, &rpc) {
		e.Message = oneLine(rpc.Message())
		e.details(rpc)
	}
	e.fate()
	switch code := connect.CodeOf(err); {
	case connect.IsWireError(err):
		e.answered(rpc)
	case code == connect.CodeCanceled:
		e.Outcome, e.Message = Interrupted, "interrupted"
	default:
		c.unanswered(e, code)
	}
	return e
}

// fate tells what may have become of the call. A server that names its own
// deadline or a cause that it does not know may still have done it.
func (e *Error) fate() {
	if !connect.IsWireError(e.err) {
		var never *unsent
		e.Unsent = errors.As(e.err, &never)
		e.Unknown = !e.Unsent
		return
	}
	switch e.Code() {
	case connect.CodeUnknown, connect.CodeDeadlineExceeded, connect.CodeCanceled:
		e.Unknown = true
	}
}

// Broken tells a call that its caller gave up, whose context that is, from one
// whose connection broke: net/http calls both cancelled, depending on what it
// was just doing.
func Broken(ctx context.Context, err error) error {
	if ctx.Err() != nil || connect.CodeOf(err) != connect.CodeCanceled || connect.IsWireError(err) {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, errors.New("the connection broke"))
}

// unanswered explains an error that no server sent.
func (c *Client) unanswered(e *Error, code connect.Code) {
	e.Outcome = Unreachable
	var dns *net.DNSError
	var notTLS tls.RecordHeaderError
	status := proxyStatus.FindStringSubmatch(e.Message)
	switch {
	case errors.As(e.err, &dns):
		e.Message = fmt.Sprintf("cannot reach %s: there is no host %q", c.target.Server, dns.Name)
		e.Hint = "check --server, PLIMSOLL_SERVER or the context in use"
	case errors.Is(e.err, context.DeadlineExceeded) || code == connect.CodeDeadlineExceeded:
		e.Message = fmt.Sprintf("no answer from %s within %s", c.target.Server, c.target.Timeout)
		e.Hint = "is the server up? --timeout gives it longer"
	case errors.As(e.err, &notTLS) && string(notTLS.RecordHeader[:]) == "HTTP/":
		e.Message = fmt.Sprintf("what answers at %s does not speak TLS", c.target.Server)
		e.Hint = "use http:// in its URL"
	case status != nil:
		e.Message = fmt.Sprintf("a proxy at %s answered %s", c.target.Server, status[1])
		e.Hint = "is the server behind it running? try again in a moment"
	case isNetwork(e.err) && !strings.Contains(e.Message, "malformed HTTP"):
		e.Message = fmt.Sprintf("cannot reach %s: %s", c.target.Server, innermost(e.err))
		e.Hint = "is the server running there? another one is chosen by --server, PLIMSOLL_SERVER or `flagctl context use`"
	default:
		e.Message = fmt.Sprintf("what answers at %s is no Plimsoll server: %s", c.target.Server, innermost(e.err))
		e.Hint = "check --server, PLIMSOLL_SERVER or the context in use"
	}
}

// proxyStatus is the HTTP status of an answer that a proxy gave in the place of
// a server.
var proxyStatus = regexp.MustCompile(`^(?:HTTP status )?((?:429|502|503|504)\b.*)$`)

func isNetwork(err error) bool {
	var op *net.OpError
	var timeout net.Error
	return errors.As(err, &op) || errors.As(err, &timeout) || connect.CodeOf(err) == connect.CodeUnavailable
}

// innermost is the root of an error, such as "connection refused".
func innermost(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return oneLine(err.Error())
		}
		err = inner
	}
}

// answered explains an error that the server sent.
func (e *Error) answered(rpc *connect.Error) {
	switch rpc.Code() {
	case connect.CodeAlreadyExists:
		e.Outcome = Conflict
	case connect.CodeFailedPrecondition:
		if len(e.Conflicts) > 0 {
			e.Outcome = Conflict
		}
	case connect.CodeUnauthenticated:
		e.Hint = "give a token with --token-file or PLIMSOLL_TOKEN"
	case connect.CodeUnimplemented:
		e.Message = "this server does not know the call: " + e.Message
		e.Hint = "it is older than this flagctl; compare `flagctl version` and `flagctl status`"
	case connect.CodeUnavailable:
		e.Hint = "try again in a moment; `flagctl status` tells how the server is"
	case connect.CodeResourceExhausted:
		if after := rpc.Meta().Get("Plimsoll-Retry-After"); after != "" {
			e.Hint = "try again in " + seconds(after)
		}
	}
}

func seconds(s string) string {
	if d, err := time.ParseDuration(s + "s"); err == nil {
		return d.String()
	}
	return "a moment"
}

func (e *Error) details(rpc *connect.Error) {
	for _, d := range rpc.Details() {
		msg, err := d.Value()
		if err != nil {
			continue // a detail that this version does not know
		}
		switch msg := msg.(type) {
		case *plimsollv1.ConflictList:
			e.Conflicts = append(e.Conflicts, msg.GetConflicts()...)
		case *plimsollv1.FaultList:
			e.Faults = append(e.Faults, msg.GetFaults()...)
		}
	}
}

// oneLine makes one line of a message.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
