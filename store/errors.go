package store

import (
	"errors"
	"fmt"
	"strings"
	"time"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

var (
	// ErrUnavailable means that etcd could not be reached or did not answer in
	// time. Nothing was written.
	ErrUnavailable = errors.New("the store cannot be reached")
	// ErrUnknownOutcome means that etcd did not answer and that it could not be
	// found out whether the change was made.
	ErrUnknownOutcome = errors.New("the store did not answer: the change may or may not have been made")
	// ErrFull means that the store's disk or backend has no room. Reads go on.
	ErrFull = errors.New("the store is full")
	// ErrReadOnly means that this server works from its last snapshot on disk.
	ErrReadOnly = errors.New("read-only: serving the last snapshot on disk until etcd can be reached")
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrReplaced ends a tail because etcd holds another store than before.
	ErrReplaced = errors.New("etcd holds another store than before: start from the beginning")
	// ErrTooSlow ends a tail whose reader did not keep up.
	ErrTooSlow = errors.New("the reader is too slow: resume after the last sequence seen")
)

// NotFoundError says that an object does not exist.
type NotFoundError struct {
	// Kind is what was looked for, such as flag or namespace.
	Kind string
	// Name is the name it does not have.
	Name string
	// Nearest is an existing name that is close to it; may be empty.
	Nearest string
}

func (e *NotFoundError) Error() string {
	msg := fmt.Sprintf("there is no %s %q", e.Kind, e.Name)
	if e.Nearest != "" {
		msg += fmt.Sprintf("; did you mean %q?", e.Nearest)
	}
	return msg
}

// ExistsError says that an object exists already.
type ExistsError struct{ Kind, Name string }

func (e *ExistsError) Error() string { return fmt.Sprintf("%s %q exists already", e.Kind, e.Name) }

// InvalidError carries everything that is wrong with a definition.
type InvalidError struct{ Faults flag.Faults }

func (e *InvalidError) Error() string { return e.Faults.Error() }

// RefusedError says that a change would break a rule, and how to go on.
type RefusedError struct {
	Message string
	// Now is set where the state as it is forbids the change: it may be allowed
	// once something else has been done.
	Now bool
}

func (e *RefusedError) Error() string { return e.Message }

// add joins another refusal to this one.
func (e *RefusedError) add(other *RefusedError) {
	if e.Message != "" {
		e.Message += "\n"
	}
	e.Message += other.Message
	e.Now = e.Now && other.Now
}

func refusef(format string, args ...any) error {
	return &RefusedError{Message: fmt.Sprintf(format, args...)}
}

// refuseNowf refuses what the state as it is forbids.
func refuseNowf(format string, args ...any) error {
	return &RefusedError{Message: fmt.Sprintf(format, args...), Now: true}
}

// LimitError says that something is larger than it may be.
type LimitError struct{ Message string }

func (e *LimitError) Error() string { return e.Message }

// ConflictError says that a write was based on a state that has moved since.
type ConflictError struct{ Conflicts []*plimsollv1.Conflict }

func (e *ConflictError) Error() string {
	var b strings.Builder
	for i, c := range e.Conflicts {
		if i == 3 {
			fmt.Fprintf(&b, "; and %d more", len(e.Conflicts)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(conflictText(c))
	}
	return b.String()
}

func conflictText(c *plimsollv1.Conflict) string {
	what := fmt.Sprintf("%s was changed", c.GetObject())
	if c.GetCurrentRevision() == 0 {
		what = fmt.Sprintf("%s was deleted", c.GetObject())
	}
	if name := c.GetActor().GetName(); name != "" {
		what += " by " + name
	}
	if c.GetVerb() != "" {
		what += fmt.Sprintf(" (%s)", c.GetVerb())
	}
	if c.GetTime() != nil {
		what += " at " + c.GetTime().AsTime().UTC().Format(time.RFC3339)
	}
	if c.GetCurrentRevision() != 0 {
		what += fmt.Sprintf(" and is at revision %d", c.GetCurrentRevision())
	}
	if c.GetBaseRevision() != 0 {
		what += fmt.Sprintf(", not %d as this change assumed", c.GetBaseRevision())
	}
	return what
}
