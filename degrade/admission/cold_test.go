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
		{unlimited(exponential(.2), .2), 500, 10},
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
					// A probe may fall into a burst.
					most := max(0.01, (jitter-.3)/15)
					if share := s.ref[1] / s.off[1]; share > most {
						t.Errorf("bursts of %d ±%g every %gs, seed %d: %.1f %% refused, the limit is %.0f and the service time %.4fs", size, jitter, every, seed, 100*share, s.l.limit, s.l.proof.service)
					}
				}
			}
		}
	}
}

// Tiers differ in what they cost, so that those who run while few do, and those who
// are served at all when not all are, are another mix than those who come. A process
// below its capacity serves them all the same, and one without any limit as well.
func TestTiersOfDifferentCost(t *testing.T) {
	NotUnderRace(t)
	for _, x := range []struct {
		slots             int
		short, long, busy float64
	}{
		{16, .001, .2, .5}, {16, .001, .1, .5}, {16, .002, .05, .5}, {16, .005, .1, .5}, {16, .01, .2, .5}, {8, .001, .2, .5},
		{64, .001, .2, .5}, {16, .001, .2, .3}, {16, .005, .1, .8}, {1e6, .001, .2, 8e-6}, {1e6, .001, .2, 30e-6}, {1e6, .005, .1, 8e-6},
	} {
		mean := [4]float64{x.short, x.short, x.short, x.long}
		for seed := range uint64(4) {
			s := newSim(model{slots: x.slots, draw: func(_ *rand.Rand, t int) float64 { return mean[t] }, mean: mean}, seed)
			s.setLoad(x.busy, equal)
			s.run(100)
			s.reset()
			s.run(200)
			if share := sum(s.ref) / sum(s.off); share > 0.005 {
				t.Errorf("%d slots at %g×, three tiers of %gs and one of %gs, seed %d: %.1f %% refused, the limit is %.0f",
					x.slots, x.busy, x.short, x.long, seed, 100*share, s.l.limit)
			}
		}
	}
}

// Handlers that fail from the start, in whatever time, teach nothing: the limit does
// not run away on them, and once they work it takes a moment to be of use.
func TestFailingFromTheStart(t *testing.T) {
	for _, times := range []float64{2, 10} {
		s := newSim(models[0], 3)
		s.failing = true
		s.setLoad(times, equal)
		s.run(20)
		if s.l.limit > 2*startLimit {
			t.Errorf("%g×: the limit is %.0f on 8 slots after 20 s of failures", times, s.l.limit)
		}
		s.failing = false
		s.run(s.now + 1)
		if got := s.share(5); got < 0.95 || s.l.limit > 32 {
			t.Errorf("%g×: from a second after it %.0f %% of capacity, the limit is %.0f", times, 100*got, s.l.limit)
		}
	}
}

func sum(a [4]float64) float64 { return a[0] + a[1] + a[2] + a[3] }
