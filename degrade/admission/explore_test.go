package admission

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
)

var exKinds = append([]model{}, models...)

func mean4(m model) float64 { return (m.mean[0] + m.mean[1] + m.mean[2] + m.mean[3]) / 4 }

func TestExploreModels(t *testing.T) {
	if os.Getenv("EXPLORE") == "" {
		t.Skip()
	}
	seeds := 6
	type row struct{ v [9]float64 }
	rows := make([]row, len(models))
	var wg sync.WaitGroup
	sem := make(chan struct{}, 2)
	for i, m := range models {
		wg.Go(func() {
			sem <- struct{}{}
			defer func() { <-sem }()
			S := mean4(m)
			long := 16000 / float64(m.slots) * S
			run := func(x float64, share [4]float64, settle, long float64, seed uint64) (tot, t01, ref0, refAll float64) {
				s := newSim(m, seed)
				s.setLoad(x, share)
				s.run(settle)
				s.reset()
				s.run(settle + long)
				w := long * float64(m.slots) / 100
				offW := 0.0
				for t := range 2 {
					offW += s.off[t] * m.mean[t]
				}
				return sum(s.good) / w, 100 * (s.good[0] + s.good[1]) / offW, 100 * s.ref[0] / max(1, s.off[0]), 100 * sum(s.ref) / sum(s.off)
			}
			for sd := range uint64(seeds) {
				n := float64(seeds)
				_, _, _, r := run(0.8, equal, 400*S, 4*long, sd)
				rows[i].v[0] += r / n
				tot, _, _, _ := run(1, equal, 400*S, long, sd)
				rows[i].v[1] += tot / n
				_, t01, r0, _ := run(2, equal, 400*S, long, sd)
				rows[i].v[2] += t01 / n
				rows[i].v[3] += r0 / n
				tot, _, _, _ = run(5, equal, 400*S, long, sd)
				rows[i].v[4] += tot / n
				tot, _, _, _ = run(10, equal, 400*S, long, sd)
				rows[i].v[5] += tot / n
				tot, _, _, _ = run(10, [4]float64{0, 0, 1, 0}, 400*S, long, sd)
				rows[i].v[6] += tot / n
				tot, _, _, _ = run(10, equal, 0, max(2*long, 2), sd)
				rows[i].v[7] += tot / n
				tot, _, _, _ = run(1.4, equal, 0, max(2*long, 2), sd)
				rows[i].v[8] += tot / n
			}
		})
	}
	wg.Wait()
	fmt.Println("model    0.8ref  1x     2x01   2xr0    5x     10x    lone   cold10 cold1.4")
	for i, m := range models {
		fmt.Printf("%-5s", m.name)
		for _, v := range rows[i].v {
			fmt.Printf(" %6.2f", v)
		}
		fmt.Println()
	}
}

// cold start against something without a limit, or with long service times
func TestExploreCold(t *testing.T) {
	if os.Getenv("EXPLORE") == "" {
		t.Skip()
	}
	type c struct {
		name  string
		m     model
		rate  float64 // per second
		limit float64 // of capacity; informative
		long  float64
	}
	unl := func(d float64) model { return model{name: "unl", slots: 100000, draw: constant(d), mean: all(d)} }
	unle := func(d float64) model { return model{name: "unle", slots: 100000, draw: exponential(d), mean: all(d)} }
	sl := func(n int, d float64) model { return model{name: "s", slots: n, draw: constant(d), mean: all(d)} }
	sle := func(n int, d float64) model { return model{name: "se", slots: n, draw: exponential(d), mean: all(d)} }
	for _, x := range []c{
		{"unl 200ms 500/s", unl(.2), 500, 0, 20},
		{"unl exp 200ms 500/s", unle(.2), 500, 0, 20},
		{"unl 20ms 500/s", unl(.02), 500, 0, 5},
		{"unl 20ms 5000/s", unl(.02), 5000, 0, 5},
		{"unl 1s 100/s", unl(1), 100, 0, 60},
		{"64 slots 200ms 0.8", sl(64, .2), 256, 0, 20},
		{"2 slots 2s 10x", sl(2, 2), 10, 0, 400},
		{"8 slots 2s 10x", sl(8, 2), 40, 0, 400},
		{"2 slots 5s 10x", sl(2, 5), 4, 0, 800},
		{"8 slots 5s 10x", sl(8, 5), 16, 0, 800},
		{"8 slots exp 5s 10x", sle(8, 5), 16, 0, 800},
		{"8 slots 5s 1.4x", sl(8, 5), 2.24, 0, 800},
		{"8 slots exp 2s 1.4x", sle(8, 2), 5.6, 0, 400},
		{"2 slots exp 2s 10x", sle(2, 2), 10, 0, 400},
		{"64 slots 2s 10x", sl(64, 2), 320, 0, 200},
		{"64 slots 2s 10x", sl(64, 2), 320, 0, 200},
	} {
		var b strings.Builder
		for seed := range uint64(2) {
			s := newSim(x.m, seed)
			for i := range 4 {
				s.rate[i] = x.rate / 4
				s.next(i)
			}
			fmt.Fprintf(&b, "  ")
			for k := range 10 {
				s.reset()
				s.run(float64(k+1) * x.long / 10)
				done := sum(s.good) / (x.long / 10)
				fmt.Fprintf(&b, " %.0f%%/%.0f/%.0f", 100*sum(s.ref)/max(1, sum(s.off)), s.l.limit, done)
			}
			fmt.Fprintf(&b, " S=%.3f mean=%.3f K=%.1f\n", s.l.proof.service, s.l.mean, s.l.kneeSat)
		}
		fmt.Printf("%s (refused/limit/done slots, per %.1f s)\n%s", x.name, x.long/10, b.String())
	}
}

// bursts on something without a limit, and on 8 slots
func TestExploreBursts(t *testing.T) {
	if os.Getenv("EXPLORE") == "" {
		t.Skip()
	}
	for _, size := range []int{12, 20, 30, 60, 100} {
		for _, jitter := range []float64{0, 0.1, 0.3} {
			for _, every := range []float64{0.1, 1} {
				for _, slots := range []int{100000, 8} {
					m := model{slots: slots, draw: constant(.01), mean: all(.01)}
					s := newSim(m, 3)
					d := .01
					s.m.draw = func(*rand.Rand, int) float64 { return d * (1 + jitter*(2*s.r.Float64()-1)) }
					out := ""
					for round := range 60 {
						if round%20 == 0 {
							s.reset()
						}
						for range size {
							s.arriveNow(1)
						}
						s.run(s.now + every)
						if round%20 == 19 {
							out += fmt.Sprintf(" %.0f%% L=%.0f S=%.4f", 100*s.ref[1]/s.off[1], s.l.limit, s.l.proof.service)
						}
					}
					fmt.Printf("burst %d jitter %.1f every %.1f slots %d: %s\n", size, jitter, every, slots, out)
				}
			}
		}
	}
}

func TestExploreStuck(t *testing.T) {
	if os.Getenv("EXPLORE") == "" {
		t.Skip()
	}
	fails, all, when := map[string]int{}, 0, 0.0
	for _, m := range []model{models[0], models[1], models[7]} {
		for _, load := range []float64{0.3, 0.4, 0.5, 0.6, 0.9} {
			for seed := range uint64(60) {
				s := newSim(m, 100+seed)
				s.setLoad(load, equal)
				s.run(6)
				s.slow = 4
				all++
				start := s.now
				for s.share(1)/min(0.25, load) < 0.9 {
					if s.now > start+25 {
						fails[fmt.Sprint(m.name, load)]++
						break
					}
				}
				when += s.now - start
			}
		}
	}
	fmt.Println("stuck:", fails, "of", all/15, "each; mean", when/float64(all))
}

func TestExploreBi(t *testing.T) {
	if os.Getenv("EXPLORE") == "" {
		t.Skip()
	}
	for _, x := range []struct {
		slots int
		short float64
		long  float64
		load  float64
	}{{16, .001, .2, .5}, {16, .001, .1, .5}, {16, .002, .05, .5}, {16, .005, .1, .5}, {16, .01, .2, .5}, {8, .001, .2, .5}, {64, .001, .2, .5}, {16, .001, .2, .3}, {16, .005, .1, .8}, {1e6, .001, .2, 8e-6}, {1e6, .001, .2, 30e-6}, {1e6, .005, .1, 8e-6}, {16, .002, .1, 2}, {16, .005, .1, 2}, {16, .01, .1, 2}, {64, .002, .1, 2}} {
		mean := [4]float64{x.short, x.short, x.short, x.long}
		out := ""
		for seed := range uint64(4) {
			s := newSim(model{slots: x.slots, draw: func(_ *rand.Rand, t int) float64 { return mean[t] }, mean: mean}, seed)
			s.setLoad(x.load, equal)
			s.run(50)
			s.reset()
			s.run(100)
			out += fmt.Sprintf("  %.1f%%(t0 %.1f) L=%.0f tr=%.1f", 100*sum(s.ref)/sum(s.off), 100*s.ref[0]/s.off[0], s.l.limit, s.l.lift.trust)
		}
		fmt.Printf("%d slots %g/%g %g×:%s\n", x.slots, x.short, x.long, x.load, out)
	}
	for _, x := range []struct{ p, a, b, busy float64 }{{.01, .001, 1, 5}, {.01, .002, .5, 5}, {.01, .002, 2, 2}, {.002, .005, 5, 5}, {.05, .005, 60, 30}} {
		out := ""
		for seed := range uint64(4) {
			d := x.p*x.b + (1-x.p)*x.a
			s := newSim(model{slots: 1e6, draw: func(r *rand.Rand, _ int) float64 {
				if r.Float64() < x.p {
					return x.b
				}
				return x.a
			}, mean: all(d)}, seed)
			s.offer(x.busy / d)
			long := max(50, 30*x.b)
			s.run(long)
			s.reset()
			s.run(3 * long)
			out += fmt.Sprintf("  %.1f%% L=%.0f tr=%.1f", 100*sum(s.ref)/sum(s.off), s.l.limit, s.l.lift.trust)
		}
		fmt.Printf("tail %g of %g among %g, busy %g:%s\n", x.p, x.b, x.a, x.busy, out)
	}
	for _, x := range []struct{ p, a, b, load float64 }{{.01, .001, 1, 2}, {.01, .002, .5, 10}, {.01, .002, .5, .8}} {
		out := ""
		for seed := range uint64(4) {
			d := x.p*x.b + (1-x.p)*x.a
			s := newSim(model{slots: 8, draw: func(r *rand.Rand, _ int) float64 {
				if r.Float64() < x.p {
					return x.b
				}
				return x.a
			}, mean: all(d)}, seed)
			s.offer(x.load * 8 / d)
			s.run(50)
			s.reset()
			s.run(150)
			out += fmt.Sprintf("  %.1f%% done %.2f L=%.0f tr=%.1f", 100*sum(s.ref)/sum(s.off), sum(s.good)/100/8, s.l.limit, s.l.lift.trust)
		}
		fmt.Printf("tail on 8 slots %g of %g among %g, %g×:%s\n", x.p, x.b, x.a, x.load, out)
	}
}
