package admission

// A lift doubles the limit of a saturated process for a while, to find out whether
// the service time is under-estimated. Where it is by more than half, the limit is
// below the places, all that is admitted is busy, and yet it looks as if half of it
// waited: such an estimate agrees with itself, and may come from evidence that is
// taken while few requests run, if few run just when the short ones do. With twice
// the places, a process at capacity does as much as before, and one that is not
// does twice as much.
type lift struct {
	on   bool
	next float64 // when one is due
	gap  float64 // to the one after that, in service times
	from float64 // when it began
	// base are saturated windows before it, high those of it.
	base, high stretch
	// trust is by how much the service time is more than the evidence says.
	trust float64
}

// A stretch sums windows.
type stretch struct{ work, area, time, count float64 }

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
	// A lift tells something if so many times as many ran. It has found something
	// if that did more than so much of as many times the work.
	liftRan  = 1.3
	liftGain = 0.75
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
	s.work, s.area, s.time, s.count = s.work+w.work, s.area+w.area, s.time+t, s.count+w.count
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
			f.base = stretch{f.base.work / 2, f.base.area / 2, f.base.time / 2, f.base.count / 2}
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
	did := f.high.work / f.high.time / (f.base.work / f.base.time)
	factor := 1.0
	switch {
	case f.high.time == 0 || !(ran > liftRan):
		f.next = now + f.gap*l.mean
		f.base = stretch{}
		return
	case did > liftGain*ran:
		factor = min(did, 2, trustMost/f.trust)
		f.gap = liftGap
		f.next = now + liftFirst*l.mean
	default:
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
