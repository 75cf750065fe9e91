package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// experiment runs everything and prints the tables. Each load goes to every
// server in turn before the next load.
func experiment(svg string, settle, long time.Duration) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	servers := map[string]*child{}
	for _, name := range controllers {
		s, err := start(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		servers[name] = s
		defer func() { _ = s.stop() }()
	}
	full := loads(servers, settle, long)
	changes(servers[ours], full, settle, long)
	return step(servers, full, svg)
}

// loads measures every load, and returns the capacity, in requests a second: the
// best of the measurements of it before and after each, since what disturbs one
// only lowers it.
func loads(servers map[string]*child, settle, long time.Duration) (full float64) {
	offers := []float64{0.8, 1, 2, 5, 10}
	rows := make([][]result, len(offers))
	for i, times := range offers {
		full = max(full, servers[ours].capacity(time.Second))
		for _, name := range controllers {
			r := measure(servers[name], times*nominal, equal, settle, long)
			rows[i] = append(rows[i], r)
		}
		full = max(full, servers[ours].capacity(time.Second))
	}
	fmt.Printf("8 slots of 10 ms, nominally %d requests a second; the most that was measured: %.0f. Good: answered within 100 ms.\n\n", nominal, full)
	fmt.Println("| offered | " + strings.Join(controllers, " | ") + " | targets |")
	fmt.Println("|" + strings.Repeat(" --- |", len(controllers)+2))
	for i, times := range offers {
		fmt.Printf("| %g× |", times)
		for _, r := range rows[i] {
			fmt.Printf(" %s |", r)
		}
		fmt.Printf(" %s |\n", strings.Join(rows[i][0].targets(times, full), "; "))
	}
	return full
}

// A result is in requests a second, by tier.
type result struct {
	good, offered, refused [tiers]float64
}

func measure(s *child, rate float64, shares [tiers]float64, settle, long time.Duration) result {
	return s.send(1, settle, phase{rate: rate, shares: shares, long: settle + long}).result(long)
}

func (t *tally) result(long time.Duration) (r result) {
	for i := range tiers {
		r.good[i] = float64(t.good[i].Load()) / long.Seconds()
		r.offered[i] = float64(t.offered[i].Load()) / long.Seconds()
		r.refused[i] = float64(t.refused[i].Load()) / long.Seconds()
	}
	return r
}

func (r result) total() float64 { return r.good[0] + r.good[1] + r.good[2] + r.good[3] }

func (r result) String() string {
	return fmt.Sprintf("%.0f %.0f %.0f %.0f = %.0f", r.good[0], r.good[1], r.good[2], r.good[3], r.total())
}

// target says whether a share is met, in percent.
func target(what string, got, want float64) string {
	verdict := "met"
	if got < want {
		verdict = "MISSED"
	}
	return fmt.Sprintf("%s %.1f %% (≥ %g) %s", what, got, want, verdict)
}

func (r result) targets(times, full float64) []string {
	total := target("total", 100*r.total()/full, 97)
	switch {
	case times < 1:
		refused, offered := 0.0, 0.0
		for i := range tiers {
			refused += r.refused[i]
			offered += r.offered[i]
		}
		return []string{target("not refused", 100*(1-refused/offered), 100)}
	case times == 1:
		return []string{total, target("first two tiers", 100*(r.good[0]+r.good[1])/(r.offered[0]+r.offered[1]), 99)}
	case times == 2:
		return []string{
			target("first tier", 100*r.good[0]/r.offered[0], 99),
			target("first two tiers of capacity", 100*(r.good[0]+r.good[1])/full, 97), total,
		}
	}
	return []string{target("first tier of capacity", 100*r.good[0]/full, 97), total}
}

// changes measures ours with one tier alone, and while the capacity changes.
func changes(s *child, full float64, settle, long time.Duration) {
	fmt.Printf("\n| %s | goodput | target |\n| --- | --- | --- |\n", ours)
	r := measure(s, 10*nominal, [tiers]float64{0, 0, 1, 0}, settle, long)
	fmt.Printf("| one tier alone, 10× | %.0f | %s |\n", r.total(), target("of capacity", 100*r.total()/full, 97))
	for _, c := range []struct {
		name        string
		slots, slow uint64
	}{{"half the slots", slots / 2, 100}, {"service twice as long", slots, 200}} {
		const within = 2 * time.Second
		t := s.send(3, settle+within,
			phase{rate: 2 * nominal, shares: equal, long: settle, then: func() { s.set(c.slots, c.slow) }},
			phase{rate: 2 * nominal, shares: equal, long: within + long})
		s.set(slots, 100)
		r := t.result(long)
		fmt.Printf("| %s, from 2 s later on, at 2× | %s | %s |\n", c.name, r,
			target("first tier, which now offers all of the capacity, of it", 100*r.good[0]/(full/2), 90))
		measure(s, nominal/2, equal, settle, 0) // back to what it was
	}
}

const (
	before = 3 * time.Second
	during = 5 * time.Second
	after  = 4 * time.Second
)

// step runs the step from 0.5× to 10× and back with each controller.
func step(servers map[string]*child, full float64, svg string) error {
	fmt.Print("\n| step 0.5× → 10× → 0.5× | first tier lost on the way up | on the way down | target |\n| --- | --- | --- | --- |\n")
	var runs []*tally
	for _, name := range controllers {
		t := servers[name].send(4, 0,
			phase{rate: 0.5 * nominal, shares: equal, long: before},
			phase{rate: 10 * nominal, shares: equal, long: during},
			phase{rate: 0.5 * nominal, shares: equal, long: after})
		runs = append(runs, t)
		up, down := t.lost(before, during, full), t.lost(before+during, after, full)
		verdict := ""
		if name == ours {
			verdict = "≤ 500 ms met"
			if max(up, down) > 500 {
				verdict = "≤ 500 ms MISSED"
			}
		}
		fmt.Printf("| %s | %.0f ms | %.0f ms | %s |\n", name, up, down, verdict)
	}
	if svg == "" {
		return nil
	}
	return os.WriteFile(svg, []byte(chart(controllers, runs, full)), 0o644) //nolint:gosec // a picture for the documents
}

// lost is how much of the first tier's goodput is missing in a stretch of time, in
// milliseconds of what it could have had: all that came, up to the capacity.
func (t *tally) lost(from, long time.Duration, full float64) float64 {
	var good, came float64
	for i := from / bucket; i < (from+long)/bucket; i++ {
		good += float64(t.series[0][i].Load())
		came += float64(t.came[i].Load())
	}
	could := min(came, full*long.Seconds())
	return (could - good) / could * float64(long.Milliseconds())
}
