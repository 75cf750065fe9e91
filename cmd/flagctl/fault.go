package main

import (
	"fmt"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/manifest"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// faultOf is a fault that a server told. Its line and column are those of the
// request, which nobody sees, and are left out.
func faultOf(f *plimsollv1.Fault) manifest.Fault {
	out := manifest.Fault{Fault: flag.Fault{Path: f.GetPath(), Message: f.GetMessage(), Hint: f.GetHint()}}
	if f.GetSeverity() == plimsollv1.Severity_SEVERITY_WARNING {
		out.Severity = flag.Warning
	}
	return out
}

// faultLine is a fault in one line, with colours:
// file:line:column: $.path: message (hint).
func faultLine(f manifest.Fault) string {
	line := ""
	if f.File != "" {
		line = output.Clean(f.File) + ":"
		if f.Line > 0 {
			line += fmt.Sprintf("%d:%d:", f.Line, f.Column)
		}
		line = output.Bold(line) + " "
	}
	if f.Severity == flag.Warning {
		line += output.Warn("warning:") + " "
	}
	if f.Path != "" {
		line += output.Clean(f.Path) + ": "
	}
	line += output.Clean(f.Message)
	if f.Hint != "" {
		line += output.Faint(" (" + output.Clean(f.Hint) + ")")
	}
	return line
}

// warn prints the warnings that came with an answer.
func (c *cli) warn(faults []*plimsollv1.Fault) {
	for _, f := range faults {
		c.print.Notef("%s", faultLine(faultOf(f)))
	}
}
