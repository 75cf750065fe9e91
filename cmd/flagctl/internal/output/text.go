package output

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"
)

// The styles, by what they mean.
var (
	bold    = lipgloss.NewStyle().Bold(true)
	faint   = lipgloss.NewStyle().Faint(true)
	good    = lipgloss.NewStyle().Foreground(lipgloss.Green)
	warn    = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	bad     = lipgloss.NewStyle().Foreground(lipgloss.Red)
	noSpace = strings.NewReplacer("\t", `\t`)
)

// Bold is for what matters in its line.
func Bold(s string) string { return style(bold, s) }

// Faint is for what is beside the point.
func Faint(s string) string { return style(faint, s) }

// Good is for what is as it should be, or was added.
func Good(s string) string { return style(good, s) }

// Warn is for what needs attention.
func Warn(s string) string { return style(warn, s) }

// Bad is for what is wrong, or was removed.
func Bad(s string) string { return style(bad, s) }

func style(st lipgloss.Style, s string) string {
	if s == "" {
		return ""
	}
	return st.Render(noSpace.Replace(s))
}

// Clean is s fit for a terminal and for one line: what does not print (line
// ends, escape sequences, marks that turn the direction of writing) is shown as
// an escape.
func Clean(s string) string {
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func hidden(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }

// Age is how long before now t was, in its largest unit: 5s, 3m, 7h, 12d.
func Age(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return ""
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// Time is an instant in the local time zone, with its offset.
func Time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05 -07:00")
}

// Count is a number with its noun: 1 flag, 2 flags.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// Number is a count with its thousands apart: 996, 1 003.
func Number(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}

// Span is a length of time as people say it: 41 ms, 1.2 s, 12 s, 3 min, 7 h, 12 d.
// What is shorter than a millisecond counts as one.
func Span(d time.Duration) string {
	switch {
	case d < 999500*time.Microsecond:
		return fmt.Sprintf("%d ms", max(1, d.Round(time.Millisecond).Milliseconds()))
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 119500*time.Millisecond:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 119*time.Minute+30*time.Second:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 47*time.Hour+30*time.Minute:
		return fmt.Sprintf("%.0f h", d.Hours())
	default:
		return fmt.Sprintf("%.0f d", d.Hours()/24)
	}
}

// Percent is a number of millionths as a percentage, exactly: 40 %, 0.0001 %.
func Percent(millionths uint32) string {
	digits := fmt.Sprintf("%d.%04d", millionths/10_000, millionths%10_000)
	return strings.TrimSuffix(strings.TrimRight(digits, "0"), ".") + " %"
}

// Part is how much part is of whole, rounded as people would: 12 %, 0.3 %. What
// is not nothing is never told as nothing, nor is what is not all told as all.
func Part(part, whole uint64) string {
	if whole == 0 || part == 0 {
		return "0 %"
	}
	switch percent := 100 * float64(part) / float64(whole); {
	case part >= whole:
		return "100 %"
	case percent < 0.1:
		return "less than 0.1 %"
	case percent < 9.95:
		return strings.TrimSuffix(strconv.FormatFloat(percent, 'f', 1, 64), ".0") + " %"
	case percent >= 99.5:
		return "over 99 %"
	default:
		return fmt.Sprintf("%.0f %%", percent)
	}
}

// Cut is s in one line of at most n characters; where it is longer, it ends
// with "…".
func Cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:max(0, n-1)]) + "…"
	}
	return s
}
