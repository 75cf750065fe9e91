// Package chart draws the console's figures as SVG, on the server. Colours and
// strokes come from classes of the console's style sheet; nothing has a style of
// its own, as the pages' Content Security Policy allows none.
package chart

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

// A Step is a level from a moment on.
type Step struct {
	At    time.Time
	Level degrade.Level
	// Why is what put it there; may be empty.
	Why string
}

// num is a coordinate, with a tenth of a unit.
func num(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }

// The dial is a half circle around (dialX, dialY).
const (
	dialX, dialY = 100.0, 100.0
	dialRadius   = 80.0
)

// polar is a point of the dial: part 0 is at the left end, 1 at the right one.
func polar(part, radius float64) (x, y float64) {
	a := math.Pi * (1 - part)
	return dialX + radius*math.Cos(a), dialY - radius*math.Sin(a)
}

// arc is the path along the dial between two parts of it.
func arc(from, to float64) string {
	x1, y1 := polar(from, dialRadius)
	x2, y2 := polar(to, dialRadius)
	return fmt.Sprintf("M%s %sA%s %s 0 0 1 %s %s", num(x1), num(y1), num(dialRadius), num(dialRadius), num(x2), num(y2))
}

// tick is a mark across the dial.
func tick(part float64) string {
	x1, y1 := polar(part, dialRadius-11)
	x2, y2 := polar(part, dialRadius+11)
	return fmt.Sprintf("M%s %sL%s %s", num(x1), num(y1), num(x2), num(y2))
}

// part is a level as a part of the most that there is.
func part(l degrade.Level, most int) float64 {
	if most < 1 {
		return 0
	}
	return min(1, float64(l)/float64(degrade.One)/float64(most))
}

// The chart of steps, within its margins.
const (
	stepsWidth, stepsHeight = 960.0, 190.0
	left, right             = 34.0, 8.0
	top, bottom             = 10.0, 26.0
)

// A plot places steps in a chart.
type plot struct {
	steps    []Step
	from, to time.Time
	most     int
}

func (p plot) x(t time.Time) float64 {
	span := p.to.Sub(p.from)
	if span <= 0 {
		return left
	}
	return left + (stepsWidth-left-right)*min(1, max(0, float64(t.Sub(p.from))/float64(span)))
}

func (p plot) y(l degrade.Level) float64 {
	return stepsHeight - bottom - (stepsHeight-top-bottom)*part(l, p.most)
}

// line is the path of the steps; closed, it goes down to the axis at both ends.
func (p plot) line(closed bool) string {
	if len(p.steps) == 0 {
		return ""
	}
	var b strings.Builder
	first := p.steps[0]
	if closed {
		fmt.Fprintf(&b, "M%s %sL%s %s", num(p.x(first.At)), num(p.y(0)), num(p.x(first.At)), num(p.y(first.Level)))
	} else {
		fmt.Fprintf(&b, "M%s %s", num(p.x(first.At)), num(p.y(first.Level)))
	}
	for _, s := range p.steps[1:] {
		fmt.Fprintf(&b, "H%sV%s", num(p.x(s.At)), num(p.y(s.Level)))
	}
	fmt.Fprintf(&b, "H%s", num(p.x(p.to)))
	if closed {
		fmt.Fprintf(&b, "V%sZ", num(p.y(0)))
	}
	return b.String()
}

// end is when a step is over.
func (p plot) end(i int) time.Time {
	if i+1 < len(p.steps) {
		return p.steps[i+1].At
	}
	return p.to
}

// ticks are whole stretches of ten minutes, for the axis.
func (p plot) ticks() (out []time.Time) {
	for t := p.from.Truncate(10 * time.Minute).Add(10 * time.Minute); t.Before(p.to); t = t.Add(10 * time.Minute) {
		out = append(out, t)
	}
	return out
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05") }

// tell is a step in words.
func (p plot) tell(i int) string {
	s := p.steps[i]
	text := fmt.Sprintf("level %s from %s to %s UTC", s.Level, clock(s.At), clock(p.end(i)))
	if s.Why != "" {
		text += ": " + s.Why
	}
	return text
}
