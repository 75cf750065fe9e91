package admission

// A process that was stopped, by a debugger, a snapshot of its machine or a
// signal, has not kept anybody waiting and has not worked: when it goes on, the
// time in between must not count. So the law's clock stands still then.
//
// A stop shows as a gap between two readings of the clock that is longer than
// there should be: while requests wait a timer reads it every beat; while
// requests only run, one of them should have ended.
type stall struct {
	total float64 // by how much the law's clock is behind the real one, seconds
}

const (
	beatMin = 0.010 // seconds
	beatMax = 0.250
	// quietTime is for how many mean service times nothing happens at most while
	// requests run, and quietMin the same in seconds.
	quietTime = 20.0
	quietMin  = 1.0
)

// beat is how often the clock is read while requests wait, in seconds.
func (l *law) beat() float64 {
	return min(max(l.patience()/4, beatMin), beatMax)
}

// clock turns a reading of the real clock, in seconds, into one of the law's.
func (l *law) clock(seconds float64) float64 {
	now := seconds - l.stall.total
	if now <= l.last {
		return l.last
	}
	switch gap := now - l.last; {
	case l.size > 0:
		if beat := l.beat(); gap > 2*beat {
			l.stall.total += gap - beat
		}
	case l.n > 0:
		if most := max(quietTime*l.mean, quietMin); gap > most {
			l.stall.total += gap - most
		}
	}
	return seconds - l.stall.total
}

// tend sees to those who wait when neither an arrival nor an end does.
func (l *law) tend(now float64) {
	l.read(now)
	l.tickIfOver(now)
	l.expire(now)
	l.drain(now)
}
