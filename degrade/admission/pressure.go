package admission

import "time"

// ClassTime is the service time of one class of requests, measured on those
// that started while few ran.
type ClassTime struct {
	Mean  time.Duration
	Count float64       // requests behind it; fades, at most 200
	Age   time.Duration // since the last of them
}

// Pressure is what a process reports to the fleet about its load; see
// Controller.Pressure.
type Pressure struct {
	// Sequence grows by one with each call of Pressure.
	Sequence uint64
	Time     time.Time
	// Arrivals is the rate of requests, refused ones included, per second.
	Arrivals float64
	// Unsheddable is the service time of requests that evaluate no flag that is
	// ever shed, and UnsheddableShare their share in all requests, 0 to 1.
	Unsheddable      ClassTime
	UnsheddableShare float64
	// Places is how many requests are busy at capacity; 0 while unknown.
	Places float64
	// Classes[j] is the service time with j tiers of features shed for the user.
	Classes [maxTiers]ClassTime
	// Waiting is the share of the time in which requests waited, and Refused the
	// share of requests that were refused, or given up while they waited, both
	// since the last call, 0 to 1.
	Waiting, Refused float64
	// Saturated says that requests wait for most of the time.
	Saturated bool
	// Alarms counts the jumps in the rate of arrivals so far.
	Alarms uint64
}

const (
	// alarmApart and saturatedApart are how long after the last report, in
	// seconds, the next one is due at once.
	alarmApart     = 0.45
	saturatedApart = 0.95
)

// Pressure returns what to report to the fleet now, and begins the next report:
// one caller should ask, every few seconds and when Alarm says so.
func (c *Controller) Pressure() Pressure {
	now := c.lock()
	defer c.unlock()
	clock := now + c.law.stall.total
	l := c.law
	l.tend(now)
	l.fold(now)
	l.load.sample(clock)
	r := &l.load.report
	p := Pressure{
		Sequence:         r.sequence + 1,
		Time:             time.Now(),
		Arrivals:         l.load.rate,
		Unsheddable:      l.load.classTime(unsheddable, now),
		UnsheddableShare: share(r.unsheddable, r.arrivals),
		Waiting:          share(r.waited+l.window.waited-r.counted, now-r.at),
		Refused:          share(r.refused, r.arrivals),
		Saturated:        l.busy,
		Alarms:           l.load.alarms,
	}
	for i := range p.Classes {
		p.Classes[i] = l.load.classTime(i, now)
	}
	if clock > placesYoung && l.load.satTime >= placesEvidence*l.mean {
		p.Places = l.load.places
	}
	l.load.raised = false
	*r = report{sequence: p.Sequence, at: now, real: clock, counted: l.window.waited}
	return p
}

// Alarm receives when a report should be made at once: the load has jumped, or
// requests wait. The channel is never closed, and holds one signal.
func (c *Controller) Alarm() <-chan struct{} { return c.alarm }

// signal asks for a report if one is due. The lock is held.
func (c *Controller) signal() {
	l := &c.law.load
	since := c.law.last + c.law.stall.total - l.report.real
	if l.report.signalled || since < alarmApart || !l.raised && since < saturatedApart {
		return
	}
	l.report.signalled = true
	select {
	case c.alarm <- struct{}{}:
	default: // the last signal has not been taken yet
	}
}

func (l *load) classTime(i int, now float64) ClassTime {
	c := &l.classes[i]
	if c.count == 0 {
		return ClassTime{}
	}
	return ClassTime{Mean: duration(c.mean), Count: c.weight(now), Age: duration(now - c.at)}
}

func share(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return min(max(part/whole, 0), 1)
}
