package admission

import "math"

const (
	// The window is two service times, in seconds within these bounds.
	windowLength  = 2.0
	windowMin     = 0.005
	windowMax     = 10.0
	windowUnknown = 0.010
	// windowIdle is how long one without a completion lasts at most, in seconds.
	windowIdle = 1.0

	// How fast the mean service time and the knee are followed.
	meanMemory = 5.0
	kneeMemory = 10.0
	// fall is the share of the limit that is left after one batch of evidence
	// for a lower one, at the least.
	fall = 0.75
	// uncrowded is up to how many times the service time requests take while they
	// do not wait for each other.
	uncrowded = 1.3
	// growLook is how many completions it takes to say so.
	growLook = 16.0
	// fewEvidence is how many clean completions leave much to learn.
	fewEvidence = 16
	// mostUnknown bounds the limit while no service time is known.
	mostUnknown = 2.0 * startLimit
	// leastEvidence is how many there have to be to know anything.
	leastEvidence = 4.0
	// shrink is how slowly an unsaturated limit follows the load down, for each
	// service time.
	shrink = 0.001

	// A probe lowers the limit, waits probeSettle after it took effect, and
	// counts for probeLength.
	probeSettle = 0.1
	probeLength = 2.0
	// Between two probes: while nothing is known, while little is, and then.
	gapUnknown = 5.0
	gapYoung   = 20.0
	gapSettled = 100.0
	// While the limit has wanted to fall for so long, and lacks the evidence, what
	// is known is wrong. The gap is gapUnknown then.
	starving = 30.0
	// youngEvidence is how many clean completions make the evidence settled.
	youngEvidence = 128
	// A probe is given up if it has not taken effect for so long, since
	// some handlers hang. Each in a row doubles the gap, up to so many times.
	probePatience = 20.0
	maxGiveUps    = 4
)

// A window sums what happened since it started.
type window struct {
	start  float64
	waited float64 // time that somebody waited
	work   float64 // service time of what was completed
	count  float64
	area   float64 // time that requests ran
	peak   int
	probed bool // the last window ended in a probe
	took   byTier
	paused float64 // time that the law's clock left out, though the process was not stopped
}

// lean sums saturated windows, to see whether all that runs is busy.
type lean struct {
	work, area, time, count float64
	looks                   int // in a row at which it was
}

// A probe is a short dip of the limit, to measure the service time.
type probe struct {
	on       bool
	counting bool // few run, so that it counts
	closed   bool // it ended at this reading of the clock
	skip     float64
	end      float64
	start    float64 // of the last probe; 0 before the first
	evidence float64 // when the last batch was concluded, or a probe ended
	giveUps  int
	least    int     // the fewest that ran since it started
	progress float64 // when that was
}

func (l *law) endProbe(now float64) {
	l.probe.on, l.probe.counting, l.probe.closed = false, false, true
	l.probe.evidence = now
	l.probe.giveUps = 0
}

// span is how long a window lasts.
func (l *law) span() float64 {
	if l.mean == 0 {
		return windowUnknown
	}
	return min(max(windowLength*l.mean, windowMin), windowMax)
}

func (l *law) tickIfOver(now float64) {
	if age := now - l.window.start; age >= l.span() && (l.window.count > 0 || age >= windowIdle) {
		l.tick(now, age)
	}
}

// tick ends a window of length t.
func (l *law) tick(now, t float64) {
	l.fold(now)
	l.load.sample(now + l.stall.total)
	w := &l.window
	known := l.mean > 0
	l.ended += w.count
	if w.count > 0 {
		if !known {
			l.mean = w.work / w.count
		} else {
			l.mean += min(1, t/(meanMemory*l.mean)) * (w.work/w.count - l.mean)
		}
	}
	busy := w.work / t
	gain := min(1, t/(kneeMemory*l.slowest()))
	saturated := w.waited > t/2
	probed := l.probe.on || w.probed
	if !probed && known {
		l.age += t
		l.knee += max(gain, t/l.age) * (busy/math.Sqrt(l.lift.trust) - l.knee)
		share := cleanShare
		if l.proof.fresh < fewEvidence {
			share = cleanYoung
		}
		l.clean = max(1, int(share*l.knee))
	}
	if saturated && !l.probe.on && known {
		switch {
		case l.kneeSat == 0:
			l.kneeSat = min(busy, float64(w.peak))
		case !probed && !l.lift.on:
			l.kneeSat += gain * (busy - l.kneeSat)
			l.grow(t)
		}
		l.steer(now)
	}
	if !saturated {
		l.relax(t)
	}
	if !probed && known {
		l.look(now, t, saturated)
	}
	l.expire(now)
	l.load.window(t+w.paused, l.crowd(), w, saturated, probed)
	if saturated {
		l.observe(now, t)
	} else {
		l.observe(now, 0)
	}
	l.hook()
	*w = window{start: now, peak: l.n, probed: l.probe.on}
}

// grow raises the knee at once where all that ran, in a saturated window of
// length t and those before it, was busy: so the limit doubles with each look. It
// takes two looks in a row, each at enough requests to tell.
func (l *law) grow(t float64) {
	w, s := &l.window, &l.lean
	s.work, s.area, s.time, s.count = s.work+w.work, s.area+w.area, s.time+t, s.count+w.count
	if s.count < growLook {
		return
	}
	s.looks++
	if l.proof.service == 0 || s.area > uncrowded*s.work {
		s.looks = 0
	}
	if s.looks > 1 {
		l.kneeSat = max(l.kneeSat, s.work/s.time)
	}
	*s = lean{looks: s.looks}
}

// steer moves the limit of a saturated process towards twice the knee, down
// only on evidence, and sees to it that there is evidence.
func (l *law) steer(now float64) {
	want := admitted * l.kneeSat
	if want >= fall*l.batchLimit {
		l.fed = now
	}
	if l.proof.service == 0 {
		want = min(want, mostUnknown) // the limit must not run away
	}
	if want < l.limit {
		want = max(want, min(l.limit, fall*l.batchLimit))
	}
	l.limit = max(minLimit, want)
	l.batchLimit = max(l.batchLimit, l.limit)
	if l.ended < startLimit || l.lift.on || l.probe.on || l.probe.start > 0 && now-l.probe.start <= gapUnknown*l.mean {
		return
	}
	if l.probe.start == 0 && l.proof.service == 0 || now-max(l.probe.evidence, l.probe.start) > l.gap()*l.mean {
		l.probe.on, l.probe.counting = true, false
		l.probe.start, l.probe.progress, l.probe.least = now, now, l.n
		l.note(Probe)
	}
}

// gap is the time between probes.
func (l *law) gap() float64 {
	gap := gapSettled
	switch {
	case l.proof.fresh < fewEvidence || l.limit > 4*l.kneeSat || l.last-l.fed > starving*l.mean:
		gap = gapUnknown
	case l.proof.fresh < youngEvidence:
		gap = gapYoung
	}
	return gap * math.Exp2(float64(l.probe.giveUps))
}

// relax moves the limit of an unsaturated process slowly towards twice what it
// needed, never to its present load.
func (l *law) relax(t float64) {
	goal := max(startLimit, admitted*float64(l.window.peak))
	if goal < l.limit {
		l.limit += min(1, shrink*t/max(l.mean, windowMin/windowLength)) * (goal - l.limit)
		l.batchLimit = l.limit
		l.kneeSat = max(l.kneeSat, l.limit/2)
	}
}

// probeLength is how long a probe counts, in mean service times: the first until
// there is a batch of evidence, if that comes at all.
func (l *law) probeLength() float64 {
	if l.proof.service == 0 {
		return 4 * probeLength
	}
	return probeLength
}

// giveUpProbe ends a probe that does not take effect: what runs does not end.
func (l *law) giveUpProbe(now float64) {
	p := &l.probe
	if !p.on || p.counting {
		return
	}
	if l.n < p.least {
		p.least, p.progress = l.n, now
	}
	if now-p.progress > probePatience*l.mean {
		p.on = false
		p.evidence = now
		p.giveUps = min(p.giveUps+1, maxGiveUps)
	}
}

// expire refuses those who have waited too long.
func (l *law) expire(now float64) {
	patience := l.patience()
	for t := range l.tiers {
		for o := l.queue.tiers[t].oldest; o != nil && now-o.arrived > patience; o = l.queue.tiers[t].oldest {
			l.expel(o, Expired)
		}
	}
}

// turnTallies begins a new period, or several.
func (l *law) turnTallies(now float64) {
	for ; now >= l.turn; l.turn = max(l.turn+periodLength, now-periodLength) {
		for i := range l.tiers {
			l.tally[i].turn()
		}
	}
}

const (
	// busyMemory is how many seconds, or service times, it takes to call a
	// process saturated or relieved. That is for people; the law is faster.
	busyMemory     = 1.0
	busyMemoryMean = 20.0
)

// observe keeps what only people look at, of the time since it was called last:
// busy seconds of it were saturated.
func (l *law) observe(now, busy float64) {
	t := now - l.observed
	l.observed = now
	if t > 0 {
		l.busyFor += min(1, t/max(busyMemory, busyMemoryMean*l.mean)) * (busy/t - l.busyFor)
	}
	switch {
	case !l.busy && l.busyFor > 0.5:
		l.busy = true
		l.note(Saturated)
	case l.busy && l.busyFor < 0.1:
		l.busy = false
		l.note(Relieved)
	}
}
