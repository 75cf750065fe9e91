package admission

import "math"

// A lift doubles the limit of a saturated process for a while, to find out whether
// the service time is under-estimated. Where it is by more than half, the limit is
// below the places, all that is admitted is busy, and yet it looks as if half of it
// waited: such an estimate agrees with itself, and may come from evidence that is
// taken while few requests run, if few run just when the short ones do. With twice
// the places, requests take twice as long in a process at capacity, and no longer
// than before in one that is not.
type lift struct {
	on   bool
	next float64 // when one is due
	gap  float64 // to the one after that, in service times
	from float64 // when it began
	hits int     // lifts in a row that have found something
	// base are saturated windows before it, high those of it.
	base, high stretch
	// trust is by how much the service time is more than the evidence says. Only the
	// limit follows it: how many wait, and for how long, does not.
	trust float64
}

// byTier sums how long requests took, by tier.
type byTier struct{ time, count [maxTiers]float64 }

func (t *byTier) add(tier int, seconds float64) {
	t.time[tier] += seconds
	t.count[tier]++
}

// A stretch sums windows.
type stretch struct {
	area, time, count float64
	took              byTier
}

const (
	// liftLook is how many completions it takes to compare.
	liftLook = 64.0
	// liftFirst, liftGap and liftMost are the gaps between lifts: after one that has
	// found something, and after those that have not, doubling.
	liftFirst = 10.0
	liftGap   = 100.0
	liftMost  = 1600.0
	// liftSettle is how long a lift lasts before it counts, liftLong at most.
	liftSettle = 4.0
	liftLong   = 200.0
	// A lift tells something if so many times as many ran, about tiers of which so
	// many ended. It has found something if they took hardly longer: where they
	// wait for each other it is as many times as ran, a little less while more and
	// more run.
	liftRan    = 1.5
	liftFew    = 8.0
	liftLonger = 1.2
	// trustMost bounds what lifts may find.
	trustMost = 8.0
)

func newLift() lift { return lift{gap: liftGap, trust: 1} }

// raised is the limit outside of probes.
func (l *law) raised() float64 {
	if l.lift.on {
		return 2 * l.limit
	}
	return l.limit
}

func (s *stretch) add(w *window, t float64) {
	s.area, s.time, s.count = s.area+w.area, s.time+t, s.count+w.count
	for i := range s.took.count {
		s.took.time[i] += w.took.time[i]
		s.took.count[i] += w.took.count[i]
	}
}

// half forgets half of it.
func (s *stretch) half() {
	s.area, s.time, s.count = s.area/2, s.time/2, s.count/2
	for i := range s.took.count {
		s.took.time[i] /= 2
		s.took.count[i] /= 2
	}
}

// longer is how many times as long as in another stretch requests took. Tiers are
// compared one by one: another mix is no slowness.
func (s *stretch) longer(base *stretch) float64 {
	var time, expected float64
	for i, n := range s.took.count {
		if n >= liftFew && base.took.count[i] >= liftFew {
			time += s.took.time[i]
			expected += n * base.took.time[i] / base.took.count[i]
		}
	}
	return time / expected
}

// look takes a window of length t into account, begins lifts and ends them.
func (l *law) look(now, t float64, saturated bool) {
	f := &l.lift
	switch {
	case f.on:
		if now-f.from > liftSettle*l.mean {
			f.high.add(&l.window, t)
		}
		if f.high.count >= liftLook || now-f.from > liftLong*l.mean {
			l.judge(now)
		}
	case saturated && l.proof.service > 0:
		if f.base.count >= 2*liftLook {
			f.base.half()
		}
		f.base.add(&l.window, t)
		if f.base.count >= liftLook && now >= f.next && l.proof.fresh >= fewEvidence {
			f.on, f.from, f.high = true, now, stretch{}
		}
	}
}

// judge ends a lift.
func (l *law) judge(now float64) {
	f := &l.lift
	f.on = false
	ran := f.high.area / f.high.time / (f.base.area / f.base.time)
	longer := f.high.longer(&f.base)
	var factor float64
	switch {
	case f.high.time == 0 || !(ran > liftRan) || math.IsNaN(longer):
		f.next = now + f.gap*l.mean
		f.base = stretch{}
		return
	case longer < liftLonger:
		factor = 1
		if f.hits++; f.hits > 1 { // one may be chance
			factor = min(ran, 2, trustMost/f.trust)
		}
		f.gap = liftGap
		f.next = now + liftFirst*l.mean
	default:
		f.hits = 0
		factor = max(1/f.trust, 0.5)
		f.next = now + f.gap*l.mean
		f.gap = min(2*f.gap, liftMost)
	}
	f.trust *= factor
	f.base = stretch{}
	l.kneeSat *= factor
	if factor < 1 { // what a lift has raised wrongly needs no other evidence to fall
		l.limit = max(minLimit, min(l.limit, admitted*l.kneeSat))
	}
}
