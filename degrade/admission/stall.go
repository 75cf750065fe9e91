package admission

// A process that was stopped, by a debugger, a snapshot of its machine or a
// signal, has not kept anybody waiting and has not worked: when it goes on, the
// time in between must not count. So the law's clock stands still then.
//
// A stop shows as a gap between two readings of the clock that is longer than
// there should be: while requests wait or run a timer reads it every beat.
type stall struct {
	total float64 // by how much the law's clock is behind the real one, seconds
}

const (
	// beatMin and beatMax bound how often the clock is read, in seconds.
	beatMin = 0.010
	beatMax = 0.250
	// stopMin is from how many seconds on a gap is a stop of the process. Shorter
	// ones, such as those of a container that has used up its share of the
	// processors, are a part of what it can do.
	stopMin = 1.0
)

// beat is how often the clock has to be read at the least, in seconds; 0: there is
// no need.
func (l *law) beat() float64 {
	switch {
	case l.size > 0:
		return min(max(l.patience()/4, beatMin), beatMax)
	case l.n > 0, l.busy:
		return beatMax
	}
	return 0
}

// clock turns a reading of the real clock, in seconds, into one of the law's.
func (l *law) clock(seconds float64) float64 {
	now := seconds - l.stall.total
	if now <= l.last {
		return l.last
	}
	if gap, beat := now-l.last, l.beat(); gap > 2*beat && l.n+l.size > 0 {
		l.stall.total += gap - beat
		if gap < stopMin {
			l.window.paused += gap - beat
		}
	}
	return seconds - l.stall.total
}

// tend does what is due when neither an arrival nor an end does it.
func (l *law) tend(now float64) {
	l.read(now)
	l.tickIfOver(now)
	if l.n == 0 && l.size == 0 {
		l.observe(now, 0)
	}
	l.expire(now)
	l.drain(now)
}
