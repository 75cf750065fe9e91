package admission

import "math"

// The law's constants. All times are in mean service times, unless they say
// otherwise; they were found by simulation of eight kinds of servers.
const (
	startLimit = 8
	minLimit   = 2
	// admitted is how many times the knee is admitted.
	admitted = 2.0
	// cleanShare of the knee runs without waiting for each other, with certainty,
	// and cleanYoung while little is known.
	cleanShare = 0.75
	cleanYoung = 0.375
	// house is how many service times of work are admitted or wait at most.
	house = 8.0
	// minQueue and minWait hold while the limit is far above the knee.
	minQueue = 16
	minWait  = 2.0
	// waitUnknown is how many seconds a request waits while no other has ended yet.
	waitUnknown = 10.0
	// luckTime is for how long after a displacement its tier is served by luck.
	luckTime = 50.0
)

// A law is the state of the controller: which requests run, which wait, and
// what is known about the service time. It has a clock of its own, in seconds,
// that stands still while the process is stopped. It is not safe for concurrent
// use; Controller has the lock.
type law struct {
	queue
	tiers int
	most  int // hard cap of places, 0 without one

	n     int           // requests that run
	ns    [maxTiers]int // the same, by tier
	limit float64       // places
	clean int           // up to so many, requests do not wait for each other

	knee    float64 // busy places, over all windows
	kneeSat float64 // the same, over saturated ones
	lean    lean
	ended   float64 // completions so far
	age     float64 // seconds in which the knee has been watched

	proof      evidence // of the service time
	mean       float64  // service time of the mix
	batchLimit float64  // the limit at the last batch, and the highest since
	fed        float64  // when the limit last did not need evidence to fall
	lift       lift
	// cleanTime is the time with few running, the integral behind area; it counts
	// from calm on.
	cleanTime float64
	// calm is since when few run: since the first arrival after a crowd. +Inf
	// before that.
	calm float64

	probe  probe
	stall  stall
	window window

	last      float64 // when the clock was read
	displaced [maxTiers]float64

	// settled are requests that waited, and now run or are refused.
	settled *slot

	load  load
	tally [maxTiers]tally
	turn  float64 // when the tallies' period ends

	busy     bool    // saturated, for most of the last windows
	busyFor  float64 // share of the last seconds that were saturated
	observed float64 // until when that is known

	note  func(EventKind)
	hook  func()                         // at the end of each window
	early func() [maxTiers]earlyRefusals // those that took no lock, since the last call
}

func newLaw(tiers, most int) *law {
	l := &law{tiers: tiers, most: most, knee: 1, clean: 1, limit: startLimit, batchLimit: startLimit, lift: newLift()}
	for t := range l.displaced {
		l.displaced[t] = math.Inf(-1)
	}
	l.note = func(EventKind) {}
	l.hook = func() {}
	l.early = func() (none [maxTiers]earlyRefusals) { return none }
	return l
}

// places is how many requests may run now.
func (l *law) places() int {
	p := l.usualPlaces()
	if l.probe.on {
		p = min(p, l.clean)
	}
	return p
}

// usualPlaces is places outside of probes.
func (l *law) usualPlaces() int {
	p := max(1, int(l.raised()+0.5))
	if l.most > 0 {
		p = min(p, l.most)
	}
	return p
}

// crowd is the limit in multiples of the knee.
func (l *law) crowd() float64 {
	if l.kneeSat <= 0 {
		return admitted
	}
	return l.raised() / l.kneeSat
}

// room is how many requests may wait: the whole house holds no more than
// `house` service times of work.
func (l *law) room() int {
	return max(minQueue, int(house*l.kneeSat/l.lift.trust-l.raised()))
}

// patience is how long a request may wait.
func (l *law) patience() float64 {
	if l.mean == 0 {
		return waitUnknown
	}
	return l.mean / l.lift.trust * max(minWait, house-l.crowd())
}

// read moves the clock to now.
func (l *law) read(now float64) {
	dt := now - l.last
	if now >= l.turn {
		l.turnTallies(now)
	}
	if l.n == 0 && l.size == 0 { // windows count the time in which there is work
		l.window.start += dt
		l.last = now
		return
	}
	if l.size > 0 {
		l.window.waited += dt
	}
	l.window.area += dt * float64(l.n)
	until := now
	l.probe.closed = false
	if l.probe.on && l.probe.counting && now >= l.probe.end {
		until = l.probe.end
		l.endProbe(now)
	}
	if l.n > l.clean {
		l.calm = math.Inf(1)
	}
	if d := until - max(l.last, l.probe.skip, l.calm); d > 0 && l.n > 0 && l.n <= l.clean {
		l.proof.grow(&l.ns, d)
		l.cleanTime += d
	}
	l.giveUpProbe(now)
	l.last = now
}

// arrive decides about a new request: s runs, waits, or is refused.
func (l *law) arrive(now float64, s *slot) {
	l.read(now)
	l.tickIfOver(now)
	s.arrived = now
	if l.load.due(now + l.stall.total) {
		l.fold(now)
	}
	l.load.sample(now + l.stall.total)
	l.load.arrived(1, s.share(), 0)
	l.tally[s.tier].arrive(1)
	switch {
	case l.size == 0 && l.n < l.places():
		l.run(now, s)
		return
	case l.hopeless(now+l.ahead(s), s):
		l.refuse(s, Deadline)
	case l.size >= l.room():
		if w := l.worst(); s.prio >= w {
			l.displaced[s.tier] = now
			l.refuse(s, QueueFull)
		} else {
			l.displace(now, l.prios[w].oldest)
			l.wait(s)
		}
	default:
		l.wait(s)
	}
	s.present = true
	l.drain(now)
	s.present = false
}

func (l *law) wait(s *slot) {
	s.state = waiting
	l.push(s)
}

func (l *law) displace(now float64, s *slot) {
	l.displaced[s.tier] = now
	l.expel(s, Displaced)
}

// hopeless says that a request could not be answered before its deadline.
func (l *law) hopeless(now float64, s *slot) bool {
	// What lifts have found is left out: nobody is refused for a guess.
	return now+l.stall.total > s.deadline-l.mean/l.lift.trust*l.crowd()
}

// ahead is how long those take who wait already and are served before s: the more
// important ones, and those of its tier unless that is served by luck.
func (l *law) ahead(s *slot) float64 {
	if l.kneeSat == 0 {
		return 0
	}
	n := 0
	for t := range s.tier {
		n += l.counts[t]
	}
	if l.last-l.displaced[s.tier] >= luckTime*l.mean {
		n += l.counts[s.tier]
	}
	return float64(n) * l.mean / l.kneeSat
}

// drain lets those in who wait, while there are places.
func (l *law) drain(now float64) {
	for l.size > 0 && l.n < l.places() {
		best := l.best()
		t := best / cohorts
		o := l.queue.tiers[t].oldest
		if now-o.arrived > l.patience() {
			l.expel(o, Expired)
			continue
		}
		if now-l.displaced[t] < luckTime*l.mean {
			o = l.prios[best].newest
		}
		if l.hopeless(now, o) {
			l.expel(o, Deadline)
			continue
		}
		l.remove(o)
		l.settle(o)
		l.run(now, o)
	}
}

func (l *law) run(now float64, s *slot) {
	l.n++
	l.ns[s.tier]++
	if l.n <= l.clean {
		l.calm = min(l.calm, now)
	}
	l.window.peak = max(l.window.peak, l.n)
	s.state = running
	s.started = now
	s.clean0 = l.cleanTime
	s.clean = l.n <= l.clean
	l.tally[s.tier].admit(now - s.arrived)
}

// expel refuses a request that waits.
func (l *law) expel(s *slot, r Reason) {
	l.remove(s)
	l.settle(s)
	l.refuse(s, r)
}

func (l *law) refuse(s *slot, r Reason) {
	s.state, s.reason = refused, r
	l.tally[s.tier].refuse(1)
	l.load.arrived(0, 0, 1)
}

// settle has the one who waits for s told, unless that is who calls.
func (l *law) settle(s *slot) {
	if s.present {
		return
	}
	s.next, l.settled = l.settled, s
}

// earlyRefusals are requests of one tier that were refused without the lock.
type earlyRefusals struct{ all, unsheddable uint64 }

// fold counts the requests that were refused without the lock.
func (l *law) fold(now float64) {
	for t, e := range l.early() {
		if e.all > 0 {
			l.displaced[t] = now
		}
		l.tally[t].arrive(e.all)
		l.tally[t].refuse(e.all)
		l.load.arrived(float64(e.all), float64(e.unsheddable), float64(e.all))
	}
}

// leave takes out a request that gave up waiting.
func (l *law) leave(now float64, s *slot) {
	l.read(now)
	l.remove(s)
	l.tickIfOver(now)
	l.drain(now)
}

// An ending says what the end of a request is worth as evidence.
type ending uint8

const (
	whole    ending = iota // its duration is its service time
	early                  // it did less work than that
	detached               // its duration says nothing
)

// done ends a request that runs.
func (l *law) done(now float64, s *slot, e ending) {
	l.read(now)
	took := now - s.started
	if e == whole && l.proof.service == 0 && l.n <= l.clean && 2*(l.cleanTime-s.clean0) < took {
		// It ends in calm, but ran for the most part in a crowd: at the end of a
		// burst, before anything is known, it would look much too fast.
		l.forget(s)
	} else if e == whole {
		l.learn(now, s.tier)
	} else {
		l.forget(s)
	}
	l.n--
	l.ns[s.tier]--
	if l.probe.on && !l.probe.counting && l.n <= l.clean {
		l.probe.counting = true
		l.calm = now
		l.probe.skip = now + probeSettle*l.mean
		l.probe.end = l.probe.skip + l.probeLength()*l.mean
	}
	service := l.serviceOf(s.tier, took)
	switch {
	case e == whole:
		l.window.work += service
		l.window.count++
		l.window.took.add(s.tier, took)
	case e == early && l.proof.service > 0:
		l.window.work += min(service, took)
		l.window.count++
	}
	if e != detached {
		l.tally[s.tier].took(took)
	}
	l.load.done(now, s, e, took)
	l.tickIfOver(now)
	l.drain(now)
}
