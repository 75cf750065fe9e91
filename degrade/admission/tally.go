package admission

import "math/bits"

// A tally counts how a tier fares: since the start, and in the last two
// periods of five seconds, of which the older one is dropped in turn.
type tally struct {
	arrivals, admitted, refused uint64
	recent, before              period
}

const periodLength = 5.0 // seconds

type period struct {
	arrivals, admitted, refused uint64
	delay                       float64 // seconds waited, of all admitted
	took                        [durations]uint32
}

func (t *tally) admit(delay float64) {
	t.admitted++
	t.recent.admitted++
	t.recent.delay += delay
}

func (t *tally) arrive(n uint64) {
	t.arrivals += n
	t.recent.arrivals += n
}

func (t *tally) refuse(n uint64) {
	t.refused += n
	t.recent.refused += n
}

func (t *tally) took(seconds float64) { t.recent.took[durationIndex(seconds)]++ }

func (t *tally) turn() {
	t.before = t.recent
	t.recent = period{}
}

// Durations are counted in classes whose width is a quarter of the power of two
// below them, from a microsecond to an hour.
const durations = 4 * 32

func durationIndex(seconds float64) int {
	us := uint64(max(seconds, 0) * 1e6)
	if us < 4 {
		return int(us)
	}
	e := bits.Len64(us) - 3 // the three leading bits tell the class
	return min(4*(e+1)+int(us>>e)-4, durations-1)
}

// durationOf is the middle of a class, in seconds.
func durationOf(i int) float64 {
	if i < 4 {
		return float64(i) * 1e-6
	}
	e := i/4 - 1
	return (float64(4+i%4) + 0.5) * float64(uint64(1)<<e) * 1e-6
}

// quantile of the recent durations, in seconds; 0 without any.
func (t *tally) quantile(q float64) float64 {
	var all uint64
	for i := range durations {
		all += uint64(t.recent.took[i]) + uint64(t.before.took[i])
	}
	if all == 0 {
		return 0
	}
	rank := uint64(q * float64(all-1))
	for i := range durations {
		n := uint64(t.recent.took[i]) + uint64(t.before.took[i])
		if rank < n {
			return durationOf(i)
		}
		rank -= n
	}
	return durationOf(durations - 1)
}
