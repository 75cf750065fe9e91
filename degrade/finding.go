package degrade

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Finding is one thing that is wrong with a plan, or questionable.
type Finding struct {
	// Warning tells that the plan can be used all the same.
	Warning bool
	// Path leads to the offending value, such as
	// $.dependencies["db"].dependsOn[0] in the plan, or
	// $.flags["new-ui"].degradation.tier in the flags.
	Path string
	// Message says what is wrong.
	Message string
	// Hint says what to do about it; may be empty.
	Hint string
}

const (
	// maxFindings bounds what is reported at once: a plan with more is broken as
	// a whole.
	maxFindings = 1_000
	// maxGathered bounds how many are gathered and sorted to report the first.
	maxGathered = 10 * maxFindings
	// maxHints bounds the names that are compared with all known ones: the work
	// grows with both.
	maxHints = 20
)

// findings gathers what a check finds.
type findings struct {
	list  []Finding
	meant map[string]string // the known names nearest to unknown ones
}

func (f *findings) errorf(path, hint, format string, args ...any) {
	f.list = append(f.list, Finding{Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
}

func (f *findings) warnf(path, hint, format string, args ...any) {
	f.list = append(f.list, Finding{Warning: true, Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// suggest is a hint at what an unknown name may have meant, while there are few
// of them: the nearest of the known names, else otherwise.
func (f *findings) suggest(name string, known func() []string, otherwise string) string {
	near, done := f.meant[name]
	if !done && len(f.meant) < maxHints {
		if f.meant == nil {
			f.meant = make(map[string]string)
		}
		near = Nearest(name, known())
		f.meant[name] = near
	}
	if near == "" {
		return otherwise
	}
	return "did you mean " + quote(near) + "?"
}

// sorted are the findings by path, each once, and no more than are of use.
func (f *findings) sorted() []Finding {
	slices.SortFunc(f.list, func(a, b Finding) int {
		return cmp.Or(naturally(a.Path, b.Path), cmp.Compare(a.Message, b.Message), cmp.Compare(a.Hint, b.Hint))
	})
	list := slices.Compact(f.list)
	if len(list) > maxFindings {
		rest := Finding{Warning: list[0].Warning, Path: "$", Message: fmt.Sprintf("there are more than %d findings: the rest is not listed", maxFindings), Hint: "mend these first"}
		list = append(list[:maxFindings:maxFindings], rest)
	}
	return list
}

// naturally compares texts with the numbers in them by their value, so that [10]
// comes after [9].
func naturally(a, b string) int {
	for a != "" && b != "" {
		x, y := leadingDigits(a), leadingDigits(b)
		if x == "" || y == "" {
			if a[0] != b[0] {
				return cmp.Compare(a[0], b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		if order := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); order != 0 {
			return order
		}
		a, b = a[len(x):], b[len(y):]
	}
	return cmp.Compare(len(a), len(b))
}

func leadingDigits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}

// quote is s as it may stand in a message: quoted, and cut when it is longer than
// any name may be.
func quote(s string) string { return fmt.Sprintf("%.256q", s) }

// aside is a hint in brackets behind an error, "" without one.
func aside(hint string) string {
	if hint == "" {
		return ""
	}
	return " (" + hint + ")"
}
