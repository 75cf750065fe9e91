// Package textdiff compares two JSON values as people read them: indented,
// line by line.
package textdiff

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Op says what became of a line.
type Op byte

// The operations, as a diff shows them.
const (
	Same    Op = ' '
	Removed Op = '-'
	Added   Op = '+'
	// Skipped stands for any number of lines that are the same.
	Skipped Op = '~'
)

// Line is a line of a diff.
type Line struct {
	Op   Op
	Text string
}

// around is how many unchanged lines are shown beside a changed one.
const around = 2

// maxCells bounds the table of the comparison (4 bytes a cell). Texts that
// differ in more lines than that are shown as wholly removed and added.
const maxCells = 4 << 20

// JSON compares two JSON texts; "" stands for none. It is empty when both are
// the same but for white space.
func JSON(before, after string) []Line {
	return fold(compare(lines(before), lines(after)))
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	var out bytes.Buffer
	if json.Indent(&out, []byte(text), "", "  ") != nil {
		return strings.Split(text, "\n") // no JSON: as it is
	}
	return strings.Split(out.String(), "\n")
}

// compare finds a shortest edit by the table of longest common subsequences,
// after what both have in common at the start and at the end.
func compare(a, b []string) []Line {
	var head, tail []Line
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head = append(head, Line{Same, a[0]})
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail = append(tail, Line{Same, a[len(a)-1]})
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	out := head
	if (len(a)+1)*(len(b)+1) <= maxCells {
		out = append(out, edit(a, b)...)
	} else {
		out = append(append(out, all(Removed, a)...), all(Added, b)...)
	}
	for i := len(tail) - 1; i >= 0; i-- {
		out = append(out, tail[i])
	}
	return out
}

func all(op Op, texts []string) []Line {
	out := make([]Line, len(texts))
	for i, t := range texts {
		out[i] = Line{op, t}
	}
	return out
}

func edit(a, b []string) []Line {
	width := len(b) + 1
	common := make([]int32, (len(a)+1)*width) // of a[i:] and b[j:]
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i*width+j] = common[(i+1)*width+j+1] + 1
			} else {
				common[i*width+j] = max(common[(i+1)*width+j], common[i*width+j+1])
			}
		}
	}
	var out []Line
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			out = append(out, Line{Same, a[i]})
			i, j = i+1, j+1
		case common[(i+1)*width+j] >= common[i*width+j+1]:
			out = append(out, Line{Removed, a[i]})
			i++
		default:
			out = append(out, Line{Added, b[j]})
			j++
		}
	}
	return append(append(out, all(Removed, a[i:])...), all(Added, b[j:])...)
}

// fold leaves out what is far from every change.
func fold(in []Line) []Line {
	near := make([]bool, len(in))
	changed := false
	for i, l := range in {
		if l.Op == Same {
			continue
		}
		changed = true
		for k := max(0, i-around); k <= min(len(in)-1, i+around); k++ {
			near[k] = true
		}
	}
	if !changed {
		return nil
	}
	var out []Line
	for i, l := range in {
		switch {
		case near[i]:
			out = append(out, l)
		case len(out) == 0 || out[len(out)-1].Op != Skipped:
			out = append(out, Line{Skipped, "…"})
		}
	}
	return out
}
