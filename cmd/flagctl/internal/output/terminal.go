package output

import (
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/term"
)

// eraseLine makes a terminal clear the rest of the line.
const eraseLine = "\x1b[K"

// Progress shows a line beside the result until the next line takes its place,
// or anything else is printed; an empty one removes it. Where standard error is
// no terminal, nothing is shown.
func (p *Printer) Progress(line string) {
	if !p.live {
		return
	}
	p.note(p.out.Flush())
	p.erase()
	if line == "" {
		return
	}
	line = Clean(line)
	if w := columns(p.stderr, nil); w > 1 {
		line = lipgloss.NewStyle().MaxWidth(w - 1).Render(line) // a full line would wrap, and stay
	}
	_, _ = p.err.WriteString(line)
	_ = p.err.Flush()
	p.shown = true
}

// erase removes the line of progress, if there is one.
func (p *Printer) erase() {
	if !p.shown {
		return
	}
	p.shown = false
	_, _ = p.err.WriteString("\r" + eraseLine)
	_ = p.err.Flush()
}

// terminal is the terminal that w writes to; nil if it is none.
func terminal(w io.Writer) *os.File {
	if f, ok := w.(*os.File); ok && term.IsTerminal(f.Fd()) {
		return f
	}
	return nil
}

// redraws tells whether w is a terminal that can write over a line.
func redraws(w io.Writer, environ []string) bool {
	return terminal(w) != nil && !slices.Contains(environ, "TERM=dumb")
}

// columns is how wide lines to w may be: what COLUMNS says, or else the width of
// the terminal; 0: as wide as they like.
func columns(w io.Writer, environ []string) int {
	for _, e := range environ {
		value, ok := strings.CutPrefix(e, "COLUMNS=")
		if n, err := strconv.Atoi(value); ok && err == nil && n > 0 {
			return n
		}
	}
	f := terminal(w)
	if f == nil {
		return 0
	}
	width, _, err := term.GetSize(f.Fd())
	if err != nil {
		return 0
	}
	return width
}
