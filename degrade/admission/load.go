package admission

import "math"

// The load of a process, as the fleet's law wants to know it: the rate of
// arrivals with its jumps, the service time by class of request, and the places
// that are busy at capacity. All of it uses one kind of service time, so that
// its errors cancel in rate·time÷places.
type load struct {
	rate    float64 // arrivals per second
	rateAge float64 // seconds since it last jumped
	came    float64 // arrivals in the present interval
	since   float64 // its start, on the real clock
	alarms  uint64
	raised  bool // an alarm that nobody has been told

	classes [maxTiers + 1]class // the last one is of unsheddable requests
	places  float64
	satTime float64 // seconds of saturation that places was measured in
	wide    sums
	calm    sums

	report report
}

// What happened since the last report.
type report struct {
	sequence                       uint64
	at                             float64 // on the law's clock
	real                           float64
	waited                         float64 // in windows that have ended
	counted                        float64 // of this window, in the report before
	arrivals, refused, unsheddable float64
	signalled                      bool
}

type sums struct{ work, area, time float64 }

const (
	// rateInterval is how long arrivals are counted for one sample of the rate,
	// in seconds, and rateMemory how many seconds it averages over at most.
	rateInterval = 0.5
	rateMemory   = 5.0
	// A sample so many standard deviations away from the rate is a jump.
	rateJump = 4.0
	// classMemory is in how many seconds the weight of a duration fades, and
	// classMost how many count at most.
	classMemory = 10.0
	classMost   = 200.0
	// unsheddable is the class of requests without any sheddable flag.
	unsheddable = maxTiers
	// placesMemory is how far back the number of places looks, in seconds of
	// saturation; without it, windows of wideSpan seconds may raise it, and
	// calmSpan of much work without waiting does.
	placesMemory = 1.0
	wideSpan     = 2.0
	wideMemory   = 5.0
	calmSpan     = 1.0
	calmStep     = 1.02
	// The places are unknown for so many seconds after the start, and until
	// there were so many service times of saturation.
	placesYoung    = 10.0
	placesEvidence = 10.0
)

// A class of requests, by how many tiers are shed for their user.
type class struct {
	mean, count float64
	at          float64 // of the last one
	completed   float64 // in this window
}

func (c *class) weight(now float64) float64 {
	return c.count * math.Exp(-(now-c.at)/classMemory)
}

func (c *class) add(now, took float64) {
	c.count = min(c.weight(now)+1, classMost)
	c.mean += (took - c.mean) / c.count
	c.at = now
}

// due says that an interval has ended.
func (l *load) due(clock float64) bool { return clock-l.since >= rateInterval }

// sample brings the rate up to the real clock.
func (l *load) sample(clock float64) {
	for i := 0; clock-l.since >= rateInterval; i++ {
		if i == 64 { // nothing came for half a minute
			l.rate, l.rateAge, l.since = 0, rateMemory, clock
			return
		}
		l.interval()
		l.since += rateInterval
	}
}

// interval ends an interval: the rate is averaged, unless it has jumped.
func (l *load) interval() {
	x := l.came / rateInterval
	l.came = 0
	if math.Abs(x-l.rate)*rateInterval > rateJump*math.Sqrt(l.rate*rateInterval+1) {
		l.rate, l.rateAge = x, rateInterval
		l.alarms++
		l.raised = true
		return
	}
	l.rateAge += rateInterval
	l.rate += rateInterval / min(l.rateAge, rateMemory) * (x - l.rate)
}

func (l *load) arrived(count, unsheddable, refused float64) {
	l.came += count
	l.report.arrivals += count
	l.report.unsheddable += unsheddable
	l.report.refused += refused
}

// done counts a request that ended. Its duration is a service time if few ran
// when it started.
func (l *load) done(now float64, s *slot, e ending, took float64) {
	c := &l.classes[s.class]
	if e == whole && s.clean {
		c.add(now, took)
	}
	if e != detached {
		c.completed++
	}
}

// window ends an admission window of t seconds. crowd is the limit in
// multiples of the knee.
func (l *load) window(t, crowd float64, w *window, saturated, probed bool) {
	work := 0.0
	for i := range l.classes {
		work += l.classes[i].completed * l.classes[i].mean
		l.classes[i].completed = 0
	}
	l.report.waited += w.waited
	if probed {
		return
	}
	l.wide = sums{l.wide.work + work, l.wide.area + w.area, l.wide.time + t}
	if saturated && crowd > 0.7*admitted {
		l.satTime += t
		l.places += min(1, t/min(l.satTime, placesMemory)) * (work/t - l.places)
	} else if l.wide.time >= wideSpan {
		if k := l.wide.work / l.wide.time; k > l.places {
			l.places += l.wide.time / max(l.wide.time, wideMemory) * (k - l.places)
		}
	}
	if l.wide.time >= wideSpan {
		l.wide = sums{}
	}
	if w.waited > 0 {
		l.calm = sums{}
		return
	}
	l.calm = sums{l.calm.work + work, l.calm.area + w.area, l.calm.time + t}
	l.creep()
}

// creep raises a number of places that was measured just after the service time
// had jumped, and so is too low: much is done, nobody waits, and nothing takes
// longer than it should.
func (l *load) creep() {
	if l.calm.time < calmSpan {
		return
	}
	if l.calm.work > 0.8*l.places*l.calm.time && l.calm.area < 1.03*l.calm.work {
		l.places *= calmStep
	}
	l.calm = sums{}
}
