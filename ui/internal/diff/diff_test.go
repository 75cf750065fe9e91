package diff_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/plimsoll-dev/plimsoll/ui/internal/diff"
)

func text(rows []diff.Row) string {
	var b strings.Builder
	for _, r := range rows {
		switch r.Kind {
		case diff.Skipped:
			fmt.Fprintf(&b, "… %d\n", r.Count)
		default:
			fmt.Fprintf(&b, "%d %s%c%s %d\n", r.LeftLine, r.Left, " ~-+"[r.Kind], r.Right, r.RightLine)
		}
	}
	return b.String()
}

func TestSideBySide(t *testing.T) {
	for name, c := range map[string]struct{ before, after, want string }{
		"equal":          {"a\nb", "a\nb\n", ""},
		"from nothing":   {"", "a\nb", "0 +a 1\n0 +b 2\n"},
		"to nothing":     {"a", "", "1 a- 0\n"},
		"changed":        {"a\nb\nc", "a\nB\nc", "1 a a 1\n2 b~B 2\n3 c c 3\n"},
		"longer":         {"a\nb\nc", "a\nB\nX\nc", "1 a a 1\n2 b~B 2\n0 +X 3\n3 c c 4\n"},
		"folded":         {"1\n2\n3\n4\n5\n6\n7\nx", "1\n2\n3\n4\n5\n6\n7\ny", "… 6\n7 7 7 7\n8 x~y 8\n"},
		"folded between": {"x\n1\n2\n3\n4\n5\ny", "X\n1\n2\n3\n4\n5\nY", "1 x~X 1\n2 1 1 2\n… 3\n6 5 5 6\n7 y~Y 7\n"},
		"one line stays": {"x\n1\n2\n3\ny", "X\n1\n2\n3\nY", "1 x~X 1\n2 1 1 2\n3 2 2 3\n4 3 3 4\n5 y~Y 5\n"},
	} {
		rows, err := diff.SideBySide(c.before, c.after, 1)
		if got := text(rows); got != c.want || err != nil {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, c.want)
		}
	}
}

// The left sides are the text before, the right sides the one after.
func TestBothSidesAreWhole(t *testing.T) {
	lines := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "", "ü"}), 1, 30)
	rapid.Check(t, func(t *rapid.T) {
		before := strings.Join(lines.Draw(t, "before"), "\n") + "\n"
		after := strings.Join(lines.Draw(t, "after"), "\n") + "\n"
		rows, err := diff.SideBySide(before, after, -1)
		if err != nil {
			t.Fatal(err)
		}
		if before == after {
			return
		}
		var left, right string
		for _, r := range rows {
			if r.LeftLine > 0 {
				left += r.Left + "\n"
			}
			if r.RightLine > 0 {
				right += r.Right + "\n"
			}
		}
		if left != before || right != after {
			t.Fatalf("%q and %q became %q and %q", before, after, left, right)
		}
	})
}

func TestTooLarge(t *testing.T) {
	for _, s := range []string{strings.Repeat("x", diff.MaxBytes+1), strings.Repeat("\n", 30_000)} {
		if _, err := diff.SideBySide(s, "", 3); !errors.Is(err, diff.ErrTooLarge) {
			t.Error(err)
		}
	}
}
