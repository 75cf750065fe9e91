package admission

import (
	"math/rand/v2"
	"testing"
)

// unlimited is a server that nothing limits.
func unlimited(draw func(*rand.Rand, int) float64, d float64) model {
	return model{name: "without a limit", slots: 1e6, draw: draw, mean: all(d)}
}

// offer begins to offer requests at a rate in all, in equal shares.
func (s *sim) offer(rate float64) {
	for t := range s.rate {
		s.rate[t] = rate / 4
		s.next(t)
	}
}

// A process that nothing limits meets a load far above the limit that it starts
// with: it has found out in a few seconds, whatever the service times, and
// refuses nothing from then on.
func TestColdStartUnderOrdinaryLoad(t *testing.T) {
	NotUnderRace(t)
	for _, x := range []struct {
		model
		rate, within float64
	}{
		{unlimited(constant(.2), .2), 500, 5},
		{unlimited(exponential(.2), .2), 500, 8},
		{unlimited(constant(.02), .02), 5000, 1},
		{unlimited(exponential(.02), .02), 5000, 1},
		{unlimited(constant(1), 1), 100, 30},
	} {
		for seed := range uint64(10) {
			s := newSim(x.model, seed)
			s.offer(x.rate)
			s.run(x.within)
			s.reset()
			s.run(2*x.within + 10)
			if n := sum(s.ref); n > 0 {
				t.Errorf("%g/s of %gs, seed %d: %.0f of %.0f refused after %g s, the limit is %.0f", x.rate, x.mean[0], seed, n, sum(s.off), x.within, s.l.limit)
			}
		}
	}
}

// A cold start straight into an overload of slow requests: neither the limit nor
// the service time runs away, and the places are all busy.
func TestColdStartWithSlowRequests(t *testing.T) {
	NotUnderRace(t)
	for _, slots := range []int{2, 8, 64} {
		for _, d := range []float64{2, 5} {
			for _, draw := range []func(*rand.Rand, int) float64{constant(d), exponential(d)} {
				for _, times := range []float64{1.4, 10} {
					for seed := range uint64(6) {
						s := newSim(model{slots: slots, draw: draw, mean: all(d)}, seed)
						s.offer(times * float64(slots) / d)
						s.run(60 * d)
						if s.l.limit > 8*float64(slots) || s.l.mean > 3*d {
							t.Errorf("%d slots of %gs at %g×, seed %d: the limit is %.0f, the service time %.1fs", slots, d, times, seed, s.l.limit, s.l.mean)
						}
						if got := s.share(40 * d); got < 0.85 {
							t.Errorf("%d slots of %gs at %g×, seed %d: %.0f %% of capacity", slots, d, times, seed, 100*got)
						}
					}
				}
			}
		}
	}
}

// Bursts with calm between them are no overload for a process that nothing
// limits. What is left of a burst is all about to end, which must not make the
// service time look like nothing.
func TestBurstsInCalm(t *testing.T) {
	NotUnderRace(t)
	const d = .01
	for _, size := range []int{12, 20, 30, 60, 100} {
		for _, jitter := range []float64{0, .1, .3, .6} {
			for _, every := range []float64{.1, 1} {
				for seed := range uint64(6) {
					s := newSim(unlimited(func(r *rand.Rand, _ int) float64 { return d * (1 + jitter*(2*r.Float64()-1)) }, d), seed)
					for round := range 80 {
						if round == 30 {
							s.reset() // from here on it knows
						}
						for range size {
							s.arriveNow(1)
						}
						s.run(s.now + every)
					}
					// Where durations differ much, a probe may fall into a burst.
					most := max(0.001, (jitter-.3)/15)
					if share := s.ref[1] / s.off[1]; share > most {
						t.Errorf("bursts of %d ±%g every %gs, seed %d: %.1f %% refused, the limit is %.0f and the service time %.4fs", size, jitter, every, seed, 100*share, s.l.limit, s.l.proof.service)
					}
				}
			}
		}
	}
}

func sum(a [4]float64) float64 { return a[0] + a[1] + a[2] + a[3] }
