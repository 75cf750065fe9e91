package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

const (
	frame = 250 * time.Millisecond
	// span is over how many frames rates are averaged.
	span = 4
	bar  = 18 // columns
)

// reading is what the boards say at one moment.
type reading struct {
	offered [len(pages)]int64
	good    [2][len(pages)]int64
}

func (v *visitors) read() (r reading) {
	for p := range pages {
		r.offered[p] = v.boards[0].offered[p].Load()
		for side := range v.boards {
			r.good[side][p] = v.boards[side].got[p][good].Load()
		}
	}
	return r
}

// show draws until the context ends: a picture that is drawn over the one
// before, or a line a second.
func show(ctx context.Context, out io.Writer, v *visitors, c *admission.Controller, s settings) {
	ticker := time.NewTicker(frame)
	defer ticker.Stop()
	began := time.Now()
	var past [span]reading
	drawn := 0
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := v.read()
		before := past[i%span]
		past[i%span] = now
		at := time.Since(began)
		switch {
		case s.plain && i%span == span-1:
			fmt.Fprint(out, line(v, at, before, now))
		case !s.plain:
			picture := picture(v, at, before, now, c.Snapshot())
			if drawn > 0 {
				fmt.Fprintf(out, "\x1b[%dA\x1b[J", drawn) // up, and clear what is below
			}
			drawn = strings.Count(picture, "\n")
			fmt.Fprint(out, picture)
		}
	}
}

// rate is how many a second there were between two readings.
func rate(before, now int64) float64 {
	return float64(now-before) / (span * frame.Seconds())
}

func line(v *visitors, at time.Duration, before, now reading) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%5.1fs  load %4.1f×", at.Seconds(), v.load(at))
	for side, name := range []string{"with", "without"} {
		fmt.Fprintf(&b, "  | %s:", name)
		for p := range pages {
			fmt.Fprintf(&b, " %s %.0f", pages[p].tier, rate(before.good[side][p], now.good[side][p]))
		}
	}
	b.WriteString(" pages/s\n")
	return b.String()
}

func picture(v *visitors, at time.Duration, before, now reading, s admission.Snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.1f s of %.0f s, load %.1f times the %.0f/s that fit; pages within %d ms:\n\n",
		at.Seconds(), v.length.Seconds(), v.load(at), capacity, patience.Milliseconds())
	fmt.Fprintf(&b, "%-10s %9s   %-*s   %s\n", "", "offered", bar+7, "with admission", "without")
	var offered float64
	var total [2]float64
	for p := range pages {
		o := rate(before.offered[p], now.offered[p])
		offered += o
		fmt.Fprintf(&b, "%-10s %7.0f/s", pages[p].tier, o)
		for side := range total {
			g := rate(before.good[side][p], now.good[side][p])
			total[side] += g
			fmt.Fprintf(&b, "   %5.0f/s %-*s", g, bar-1, strings.Repeat("█", columns(g)))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%-10s %7.0f/s   %5.0f/s %-*s   %5.0f/s\n\n", "all", offered, total[0], bar-1, "", total[1])
	cut := "refuses nothing"
	if s.CutOff < len(s.Tiers) {
		cut = "refuses from " + s.Tiers[s.CutOff].Name + " on"
	}
	fmt.Fprintf(&b, "admission: %d of %d places taken, %d wait,\n  %.1f busy at capacity; %s\n", s.InFlight, s.Limit, s.Waiting, s.Knee, cut)
	return b.String()
}

// columns is how long the bar of a rate is; a full one is the capacity.
func columns(rate float64) int {
	return min(bar-1, max(0, int(rate/capacity*float64(bar-1)+0.5)))
}

// summary is printed at the end: what visitors got at the height of the load.
func summary(out io.Writer, v *visitors) {
	if v.peak[0].offered[0].Load() == 0 {
		fmt.Fprintln(out, "\nended before the load had been high for a second: nothing to sum up")
		return
	}
	fmt.Fprintf(out, "\nat %.1f times the capacity, from a second after the rise, of each tier's pages came in time:\n", v.height)
	fmt.Fprintf(out, "%-10s %9s %16s %12s\n", "", "offered", "with admission", "without")
	var offered int64
	var served [2]int64
	for p := range pages {
		o := v.peak[0].offered[p].Load()
		offered += o
		fmt.Fprintf(out, "%-10s %9d", pages[p].tier, o)
		for side, width := range []int{16, 12} {
			g := v.peak[side].got[p][good].Load()
			served[side] += g
			fmt.Fprintf(out, " %*s", width, percent(g, o))
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "%-10s %9d %16s %12s\n", "all", offered, percent(served[0], offered), percent(served[1], offered))
	if v.height > 1 {
		fmt.Fprintf(out, "the shop can serve %.1f %% of them\n", 100/v.height)
	}
}

func percent(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}
