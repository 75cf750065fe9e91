package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
)

// The exit codes. Scripts rely on them.
const (
	exitDone        = 0
	exitFailed      = 1 // refused or failed
	exitUsage       = 2 // the command line is wrong
	exitUnreachable = 3 // no Plimsoll server answered
	exitConflict    = 4 // it has changed meanwhile, or exists already
	exitUnconfirmed = 5 // it was done, but not every process is known to have applied it
)

// failure is why a command did not do what it was asked to.
type failure struct {
	code  int
	doing string // what failed, such as "set new-ui"; may be empty
	why   error
	hint  string // what to do about it; may be empty
	told  bool   // the result has said it all
}

func (f *failure) Error() string {
	if f.doing == "" {
		return f.why.Error()
	}
	return f.doing + ": " + f.why.Error()
}

func (f *failure) Unwrap() error { return f.why }

// failed puts the error of a call to the server into a failure. What the
// server found in detail is printed when it is reported.
func (c *cli) failed(doing string, err error) error {
	var known *failure
	if errors.As(err, &known) {
		return known
	}
	return c.failure(doing, c.client.Explain(err))
}

// failedChange is failed for a call that was to change something: where its
// answer was lost, the command line look tells whether it was made.
func (c *cli) failedChange(doing string, err error, changeID, look string) error {
	failed := c.failed(doing, err)
	var f *failure
	var e *remote.Error
	if !errors.As(failed, &f) || !errors.As(failed, &e) {
		return failed
	}
	switch {
	case e.Unsent:
		f.why = fmt.Errorf("%w; nothing was sent", e)
	case e.Unknown:
		f.why = fmt.Errorf("%w; the change may have been made", e)
		f.hint = fmt.Sprintf("`%s` tells; it would be change %s", look, changeID)
	}
	return failed
}

// failure is a failed call with its exit code.
func (c *cli) failure(doing string, e *remote.Error) *failure {
	f := &failure{code: exitFailed, doing: doing, why: e, hint: e.Hint}
	if name := c.namespaceName(); e.NoNamespace(name) {
		f.hint = c.noNamespaceHint(e, name) + fmt.Sprintf(", `%s` creates it", c.againAnywhere([]string{"namespace", "create"}, name))
	}
	switch e.Outcome {
	case remote.Unreachable:
		f.code = exitUnreachable
	case remote.Conflict:
		f.code = exitConflict
		f.hint = c.conflictHint(e)
	case remote.Refused, remote.Interrupted:
	}
	return f
}

// report prints why a command failed and returns its exit code.
func (c *cli) report(err error) int {
	f := &failure{code: exitFailed, why: err}
	if !c.running {
		f.code = exitUsage
	}
	errors.As(err, &f)
	if f.told {
		return f.code
	}
	var e *remote.Error
	if errors.As(err, &e) {
		c.reportConflicts(e)
		c.reportFaults(e)
	}
	c.print.Notef("%s %s", output.Bad("flagctl:"), output.Clean(strings.TrimSpace(f.Error())))
	if f.hint != "" {
		c.print.Notef("%s %s", output.Faint("hint:"), output.Clean(f.hint))
	}
	return f.code
}

// reportConflicts prints who was quicker; of many conflicts, the first ones.
func (c *cli) reportConflicts(e *remote.Error) {
	if n := len(e.Conflicts); n > 0 {
		c.printConflicts(e.Conflicts[:min(n, mostShown)], nil)
		if n > mostShown {
			c.print.Notef("%s", output.Faint(fmt.Sprintf("… and %s", output.Count(n-mostShown, "more conflict"))))
		}
		e.Message = "it has changed meanwhile; nothing was changed"
	}
}

// reportFaults prints what a server found wrong with a definition.
func (c *cli) reportFaults(e *remote.Error) {
	if len(e.Faults) == 0 {
		return
	}
	for _, f := range e.Faults {
		c.print.Notef("%s", faultLine(faultOf(f)))
	}
	e.Message = output.Count(len(e.Faults), "fault") + " in the definition; nothing was changed"
}
