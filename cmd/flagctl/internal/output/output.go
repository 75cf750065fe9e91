// Package output writes what flagctl has to say: tables and lines for people,
// with colours where the terminal has them, and JSON or YAML for programs.
package output

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/charmbracelet/colorprofile"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/yamldoc"
)

// Format is how results are written. It is a pflag.Value.
type Format string

// The formats.
const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// Formats are the names of the formats.
var Formats = []string{string(Table), string(JSON), string(YAML)}

// Set takes the name of a format.
func (f *Format) Set(s string) error {
	if !slices.Contains(Formats, s) {
		return fmt.Errorf("the formats are %s", strings.Join(Formats, ", "))
	}
	*f = Format(s)
	return nil
}

// String is the format's name.
func (f *Format) String() string { return string(*f) }

// Type is the word for a format in help texts.
func (f *Format) Type() string { return "format" }

// Printer writes results to one stream and everything else to another. It is
// for one goroutine.
type Printer struct {
	// Format is the format of results.
	Format Format

	out, err         *bufio.Writer
	outTerm, errTerm *colorprofile.Writer
	failed           error

	width  int       // of the lines of tables; 0: any
	blocks bool      // out can draw more than ASCII
	stderr io.Writer // what err writes to
	live   bool      // a line on it can be written over
	shown  bool      // such a line stands there
}

// New makes a printer. Colours follow what the streams are and environ, the
// environment: none for what is no terminal, with NO_COLOR, or TERM=dumb. Tables
// are fitted to the width of the terminal, or to COLUMNS.
func New(stdout, stderr io.Writer, environ []string) *Printer {
	p := &Printer{
		Format: Table, out: bufio.NewWriterSize(stdout, 64<<10), err: bufio.NewWriter(stderr),
		width: columns(stdout, environ), stderr: stderr, live: redraws(stderr, environ),
	}
	p.outTerm = &colorprofile.Writer{Forward: p.out, Profile: profile(stdout, environ)}
	p.blocks = drawsBlocks(p.outTerm.Profile, environ)
	p.errTerm = &colorprofile.Writer{Forward: p.err, Profile: profile(stderr, environ)}
	return p
}

// profile is what colours a stream has. Without colour there is no bold
// either: plain means plain.
func profile(w io.Writer, environ []string) colorprofile.Profile {
	forbidden := slices.ContainsFunc(environ, func(e string) bool {
		value, ok := strings.CutPrefix(e, "NO_COLOR=")
		return ok && value != ""
	})
	p := colorprofile.Detect(w, environ)
	if forbidden || p <= colorprofile.ASCII {
		return colorprofile.NoTTY
	}
	return p
}

// People is whether results are for people, and not for programs.
func (p *Printer) People() bool { return p.Format == Table }

// Printf writes a part of the result for people; it may hold styles.
func (p *Printer) Printf(format string, args ...any) {
	p.erase()
	_, err := fmt.Fprintf(p.outTerm, format, args...)
	p.note(err)
}

// Notef writes a line beside the result: progress, warnings, hints. What was
// printed before comes out before it.
func (p *Printer) Notef(format string, args ...any) {
	p.erase()
	p.note(p.out.Flush())
	// What cannot be written to standard error cannot be told to anybody.
	_, _ = fmt.Fprintf(p.errTerm, format+"\n", args...)
	_ = p.err.Flush()
}

// Raw writes a result exactly as it is.
func (p *Printer) Raw(text []byte) {
	p.erase()
	_, err := p.out.Write(text)
	p.note(err)
}

// Value writes v as one JSON document, or as YAML if that is the format.
func (p *Printer) Value(v any) error {
	text, err := encode(v)
	if err != nil {
		return err
	}
	if p.Format == YAML {
		if text, err = yamldoc.FromJSON(text); err != nil {
			return err
		}
	}
	p.Raw(text)
	return nil
}

// Line writes v as JSON in one line, or as a YAML document of a stream.
func (p *Printer) Line(v any) error {
	if p.Format == YAML {
		p.Raw([]byte("---\n"))
		return p.Value(v)
	}
	text, err := encode(v)
	if err != nil {
		return err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	p.Raw(append(line.Bytes(), '\n'))
	return nil
}

func encode(v any) ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("write the result: %w", err)
	}
	return text.Bytes(), nil
}

// Flush writes out what is buffered. It tells the first failure to write a
// result.
func (p *Printer) Flush() error {
	p.note(p.out.Flush())
	return p.failed
}

func (p *Printer) note(err error) {
	if err != nil && p.failed == nil {
		p.failed = fmt.Errorf("write the result: %w", unwrapPath(err))
	}
}

// unwrapPath leaves out of an error which file it was: it was standard output.
func unwrapPath(err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}
