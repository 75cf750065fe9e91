// Package diff compares two texts line by line, for showing them side by side.
package diff

import (
	"errors"
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// Limits of what is compared.
const (
	// MaxBytes is the largest text, in bytes.
	MaxBytes = 512 << 10
	// maxLines bounds the lines of a text, and with them the time it takes.
	maxLines = 20_000
)

// ErrTooLarge is returned for a text that is too large to be compared.
var ErrTooLarge = errors.New("it is too large to be compared line by line")

// Kind says what became of a line.
type Kind int

// The kinds.
const (
	// Same stands on both sides.
	Same Kind = iota
	// Changed has other text on the right.
	Changed
	// Removed stands on the left only, Added on the right only.
	Removed
	// Added is described with Removed.
	Added
	// Skipped stands for lines that are the same and are left out.
	Skipped
)

// Row is a line of both texts next to each other.
type Row struct {
	Kind Kind
	// Left and Right are the line's text without its end; LeftLine and RightLine
	// its number from 1, 0 where a side has no line here.
	Left, Right         string
	LeftLine, RightLine int
	// Count is how many lines are left out, of a Skipped row.
	Count int
}

// SideBySide compares two texts. Around what differs, context lines that are the
// same are kept; fewer than 0: all are. Texts that are equal have no rows.
func SideBySide(before, after string, context int) ([]Row, error) {
	if len(before) > MaxBytes || len(after) > MaxBytes || strings.Count(before, "\n") > maxLines || strings.Count(after, "\n") > maxLines {
		return nil, ErrTooLarge
	}
	before, after = ended(before), ended(after)
	if before == after {
		return nil, nil
	}
	rows, at := []Row(nil), place{}
	offset := 0
	for _, e := range udiff.Lines(before, after) {
		rows = at.same(rows, before[offset:e.Start])
		rows = at.replaced(rows, linesOf(before[e.Start:e.End]), linesOf(e.New))
		offset = e.End
	}
	rows = at.same(rows, before[offset:])
	if context < 0 {
		return rows, nil
	}
	return folded(rows, context), nil
}

// ended gives the last line an end, so that it is no change whether it has one.
func ended(s string) string {
	if s == "" || strings.HasSuffix(s, "\n") {
		return s
	}
	return s + "\n"
}

func linesOf(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}

// place counts the lines of both sides.
type place struct{ left, right int }

func (p *place) same(rows []Row, text string) []Row {
	for _, line := range linesOf(text) {
		p.left++
		p.right++
		rows = append(rows, Row{Kind: Same, Left: line, Right: line, LeftLine: p.left, RightLine: p.right})
	}
	return rows
}

// replaced puts the lines that went next to those that came.
func (p *place) replaced(rows []Row, went, came []string) []Row {
	for i := range max(len(went), len(came)) {
		r := Row{Kind: Changed}
		if i < len(went) {
			p.left++
			r.Left, r.LeftLine = went[i], p.left
		} else {
			r.Kind = Added
		}
		if i < len(came) {
			p.right++
			r.Right, r.RightLine = came[i], p.right
		} else {
			r.Kind = Removed
		}
		rows = append(rows, r)
	}
	return rows
}

// folded leaves out what is the same and not within context lines of a change.
func folded(rows []Row, context int) []Row {
	var out []Row
	for i := 0; i < len(rows); {
		if rows[i].Kind != Same {
			out = append(out, rows[i])
			i++
			continue
		}
		end := i
		for end < len(rows) && rows[end].Kind == Same {
			end++
		}
		head, tail := context, context
		if i == 0 {
			head = 0
		}
		if end == len(rows) {
			tail = 0
		}
		// One line is not worth a row that says that a line is left out.
		if end-i > head+tail+1 {
			out = append(out, rows[i:i+head]...)
			out = append(out, Row{Kind: Skipped, Count: end - i - head - tail})
			out = append(out, rows[end-tail:end]...)
		} else {
			out = append(out, rows[i:end]...)
		}
		i = end
	}
	return out
}
