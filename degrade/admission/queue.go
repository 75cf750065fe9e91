package admission

import "math/bits"

type slotState uint8

const (
	free slotState = iota
	waiting
	running
	refused
)

// A slot is one request that waits or runs. Slots are used again, so whoever
// keeps one also keeps its gen, which moves on when the request is over.
type slot struct {
	owner *Controller
	gen   uint64
	state slotState
	tier  int
	prio  int // tier·cohorts + the caller's luck; lower is better
	class int // index of its service time in Pressure
	// Set where the request was refused.
	reason Reason

	arrived  float64 // law's clock
	deadline float64 // real clock; +Inf without one
	started  float64
	clean0   float64 // law.cleanTime when it started
	clean    bool    // few ran when it started
	present  bool    // its caller has not begun to wait yet

	// Linked while it waits: among its tier's, and among those of its prio.
	tierNext, tierPrev *slot
	prioNext, prioPrev *slot
	// Linked after that, until whoever waits has been told.
	next  *slot
	ready chan struct{} // holds one signal; made when the slot first waits
}

// share is 1 for a request without any sheddable flag.
func (s *slot) share() float64 {
	if s.class == unsheddable {
		return 1
	}
	return 0
}

// A queue holds the requests that wait: by tier and by prio, oldest first.
// Every operation but expire takes constant time. The zero queue is empty.
type queue struct {
	size   int
	tiers  [maxTiers]struct{ oldest, newest *slot }
	counts [maxTiers]int
	prios  [maxTiers * cohorts]struct{ oldest, newest *slot }
	// A bit for each prio with somebody, and one for each word of those.
	some  [maxTiers * cohorts / 64]uint64
	words uint16
}

func (q *queue) push(s *slot) {
	t := &q.tiers[s.tier]
	s.tierPrev, s.tierNext = t.newest, nil
	if t.newest != nil {
		t.newest.tierNext = s
	} else {
		t.oldest = s
	}
	t.newest = s

	p := &q.prios[s.prio]
	s.prioPrev, s.prioNext = p.newest, nil
	if p.newest != nil {
		p.newest.prioNext = s
	} else {
		p.oldest = s
		q.some[s.prio/64] |= 1 << (s.prio % 64)
		q.words |= 1 << (s.prio / 64)
	}
	p.newest = s

	q.size++
	q.counts[s.tier]++
}

func (q *queue) remove(s *slot) {
	t := &q.tiers[s.tier]
	if s.tierPrev != nil {
		s.tierPrev.tierNext = s.tierNext
	} else {
		t.oldest = s.tierNext
	}
	if s.tierNext != nil {
		s.tierNext.tierPrev = s.tierPrev
	} else {
		t.newest = s.tierPrev
	}

	p := &q.prios[s.prio]
	if s.prioPrev != nil {
		s.prioPrev.prioNext = s.prioNext
	} else {
		p.oldest = s.prioNext
	}
	if s.prioNext != nil {
		s.prioNext.prioPrev = s.prioPrev
	} else {
		p.newest = s.prioPrev
	}
	if p.oldest == nil {
		w := s.prio / 64
		q.some[w] &^= 1 << (s.prio % 64)
		if q.some[w] == 0 {
			q.words &^= 1 << w
		}
	}

	s.tierNext, s.tierPrev, s.prioNext, s.prioPrev = nil, nil, nil, nil
	q.size--
	q.counts[s.tier]--
}

// best is the best prio that waits, and -1 if nobody does. Its tier is the best
// tier, and it is the best of that tier.
func (q *queue) best() int {
	if q.words == 0 {
		return -1
	}
	w := bits.TrailingZeros16(q.words)
	return w*64 + bits.TrailingZeros64(q.some[w])
}

// worst is the worst prio that waits, and -1 if nobody does.
func (q *queue) worst() int {
	if q.words == 0 {
		return -1
	}
	w := bits.Len16(q.words) - 1
	return w*64 + bits.Len64(q.some[w]) - 1
}
