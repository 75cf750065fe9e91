package flag

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Severity says whether a fault keeps a definition from being used.
type Severity int

// The severities.
const (
	// Error keeps the definition from being used.
	Error Severity = iota
	// Warning does not.
	Warning
)

// String is "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Fault is one thing that is wrong with a text.
type Fault struct {
	Severity Severity
	// Path leads to the offending value, such as $.flags["new-ui"].variants.
	Path string
	// Line and Column are where it stands in the text, both from 1; columns
	// count characters. Both are 0 when there is no place to name.
	Line, Column int
	// Message says what is wrong.
	Message string
	// Hint says what to do about it; may be empty.
	Hint string
}

// Error is the fault in one line: place, path, message and hint.
func (f Fault) Error() string {
	var b strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&b, "%d:%d: ", f.Line, f.Column)
	}
	if f.Severity == Warning {
		b.WriteString("warning: ")
	}
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.Message)
	if f.Hint != "" {
		b.WriteString(" (" + f.Hint + ")")
	}
	return b.String()
}

// Faults is everything that is wrong with a text, in the order of the text.
type Faults []Fault

// Error is one fault a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Errors are the faults that keep the text from being used.
func (fs Faults) Errors() Faults { return fs.of(Error) }

// Warnings are the faults that do not.
func (fs Faults) Warnings() Faults { return fs.of(Warning) }

// Err is nil without errors, else the errors alone.
func (fs Faults) Err() error {
	if errs := fs.Errors(); len(errs) > 0 {
		return errs
	}
	return nil
}

func (fs Faults) of(s Severity) Faults {
	var out Faults
	for _, f := range fs {
		if f.Severity == s {
			out = append(out, f)
		}
	}
	return out
}

// maxFaults bounds how many faults of one text are reported: a text with more
// is broken as a whole.
const maxFaults = 1000

// maxQuoted is how much of a foreign string a message repeats.
const maxQuoted = 80

// quote is s as it may stand in a message: quoted, and cut when long.
func quote(s string) string {
	if len(s) > maxQuoted {
		cut := maxQuoted
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		return fmt.Sprintf("%q…", s[:cut])
	}
	return fmt.Sprintf("%q", s)
}
