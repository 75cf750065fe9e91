package main

import (
	"fmt"
	"strings"
)

var tierNames = [tiers]string{"critical", "important", "standard", "optional"}

// chart draws the goodput of each tier over time, a panel for each controller.
func chart(names []string, runs []*tally, full float64) string {
	const width, panel, left, top, plot = 760, 190, 56, 64, 140
	var b strings.Builder
	height := top + panel*len(names) + 10
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="title desc">
<title id="title">Goodput by tier while the load steps from half the capacity to ten times as much, and back</title>
<desc id="desc">One panel for each controller. Under ten times the load, Plimsoll gives all of the capacity to the critical tier; failsafe-go's prioritizer, by default and tuned by hand, gives it a part of it and the other tiers the rest, or serves less.</desc>
<style>
svg { font: 13px system-ui, sans-serif; background: #fff; color: #222 }
text { fill: currentColor } .axis { stroke: currentColor; opacity: .35 } .dash { stroke-dasharray: 4 4 }
path { fill: none; stroke-width: 2 }
.t0 { stroke: #b3261e } .t1 { stroke: #b06000 } .t2 { stroke: #1967d2 } .t3 { stroke: #188038 }
@media (prefers-color-scheme: dark) {
svg { background: #16181c; color: #e6e6e6 }
.t0 { stroke: #ff8a80 } .t1 { stroke: #ffc061 } .t2 { stroke: #8ab4f8 } .t3 { stroke: #81c995 }
}
</style>
`, width, height)
	for i, name := range tierNames {
		x := left + i*140
		fmt.Fprintf(&b, `<path class="t%d" d="M%d 24h24"/><text x="%d" y="28">%s</text>`+"\n", i, x, x+30, name)
	}
	fmt.Fprintf(&b, `<text x="%d" y="28">good answers per second</text>`+"\n", left+4*140)
	end := (before + during + after).Seconds()
	x := func(seconds float64) float64 { return left + seconds/end*(width-left-16) }
	for p, t := range runs {
		base := float64(top + panel*p + plot)
		y := func(rate float64) float64 { return base - rate/full*plot/1.15 }
		fmt.Fprintf(&b, `<text x="%d" y="%.0f" font-weight="600">%s</text>`+"\n", left, base-plot-6, names[p])
		fmt.Fprintf(&b, `<path class="axis" d="M%d %.0fH%d"/><path class="axis dash" d="M%d %.1fH%d"/>`+"\n", left, base, width-16, left, y(full), width-16)
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%.0f</text><text x="%d" y="%.0f" text-anchor="end">0</text>`+"\n", left-6, y(full)+4, full, left-6, base+4)
		for s := 0.0; s <= end; s++ {
			fmt.Fprintf(&b, `<text x="%.1f" y="%.0f" text-anchor="middle">%g s</text>`, x(s), base+18, s)
		}
		for _, s := range []float64{before.Seconds(), (before + during).Seconds()} {
			fmt.Fprintf(&b, `<path class="axis" d="M%.1f %.0fv-%d"/>`, x(s), base, plot)
		}
		b.WriteByte('\n')
		for tier := tiers - 1; tier >= 0; tier-- {
			fmt.Fprintf(&b, `<path class="t%d" d="%s"/>`+"\n", tier, line(t, tier, end, x, y))
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// line is the mean of two buckets at a time.
func line(t *tally, tier int, end float64, x, y func(float64) float64) string {
	var b strings.Builder
	width := 2 * bucket.Seconds()
	for i := 0; float64(i+1)*width <= end+1e-9; i++ {
		rate := float64(t.series[tier][2*i].Load()+t.series[tier][2*i+1].Load()) / width
		op := 'L'
		if i == 0 {
			op = 'M'
		}
		fmt.Fprintf(&b, "%c%.1f %.1f", op, x((float64(i)+0.5)*width), y(rate))
	}
	return b.String()
}
