package output

import (
	"slices"
	"strings"

	"github.com/charmbracelet/colorprofile"
)

// Bar is a share, in millionths, as a bar of that many characters. A share that
// is not nothing fills at least one, and one that is not all leaves at least one
// empty. Where the stream has no colours, or the locale is not UTF-8, it is made
// of # and -.
func (p *Printer) Bar(millionths uint32, width int) string {
	const whole = 1_000_000
	full := int((uint64(millionths)*uint64(width) + whole/2) / whole)
	switch {
	case millionths > 0 && full == 0:
		full = 1
	case millionths < whole && full >= width:
		full = width - 1
	}
	full = min(max(full, 0), width)
	shed, rest := "#", "-"
	if p.blocks {
		shed, rest = "▓", "░"
	}
	return Warn(strings.Repeat(shed, full)) + Faint(strings.Repeat(rest, width-full))
}

// Width is how wide lines may be, in characters; 0: as wide as they like.
func (p *Printer) Width() int { return p.width }

// drawsBlocks tells whether what is not ASCII can be relied upon to be drawn.
func drawsBlocks(profile colorprofile.Profile, environ []string) bool {
	if profile <= colorprofile.ASCII {
		return false
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} { // the first that is set decides
		i := slices.IndexFunc(environ, func(e string) bool { return strings.HasPrefix(e, name+"=") && len(e) > len(name)+1 })
		if i < 0 {
			continue
		}
		charset := strings.ToLower(environ[i])
		return strings.Contains(charset, "utf-8") || strings.Contains(charset, "utf8")
	}
	return false
}
