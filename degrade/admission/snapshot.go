package admission

import "time"

// TierStatus is how one tier fares.
type TierStatus struct {
	Name string
	// Since the start. Refused are also those whose caller gave up waiting.
	Arrivals, Admitted, Refused uint64
	// RefusedShare is the share of recent requests (some 10 s) that were
	// refused, or given up while they waited, 0 to 1.
	RefusedShare float64
	// QueueDelay is how long recently admitted requests waited, on average.
	QueueDelay time.Duration
	// P50 and P99 are of the time from admission to release, recently.
	P50, P99 time.Duration
	Waiting  int
}

// Snapshot is a controller at one moment, for a status page.
type Snapshot struct {
	Limit    int     // places that are admitted now
	InFlight int     // requests that run
	Waiting  int     // requests that wait for a place
	Knee     float64 // places that are busy at capacity; 0 while unknown
	// ServiceTime is the uncongested mean of all requests; 0 while unknown.
	ServiceTime time.Duration
	// Utilisation is InFlight ÷ Limit, 1 at most, and during a probe, which lowers
	// that for a moment, InFlight ÷ what it is otherwise.
	Utilisation float64
	Saturated   bool
	Probing     bool
	// CutOff is the rank of the most important tier of which more than a
	// hundredth was refused recently, and CutOffShare the share of its requests
	// that were not. Without one they are the number of tiers, and 0.
	CutOff      int
	CutOffShare float64
	Tiers       []TierStatus // by rank
}

const cutOffShare = 0.01

// Snapshot returns the controller as it is now.
func (c *Controller) Snapshot() Snapshot {
	now := c.lock()
	defer c.unlock()
	l := c.law
	l.tend(now)
	l.fold(now)
	s := Snapshot{
		Limit:       l.places(),
		InFlight:    l.n,
		Waiting:     l.size,
		Knee:        l.kneeSat,
		ServiceTime: duration(l.mean),
		Utilisation: min(1, float64(l.n)/float64(l.usualPlaces())),
		Saturated:   l.busy,
		Probing:     l.probe.on,
		CutOff:      len(c.config.tiers),
		Tiers:       make([]TierStatus, len(c.config.tiers)),
	}
	for i, name := range c.config.tiers {
		s.Tiers[i] = l.tally[i].status(name, l.counts[i])
		if s.CutOff > i && s.Tiers[i].RefusedShare > cutOffShare {
			s.CutOff, s.CutOffShare = i, 1-s.Tiers[i].RefusedShare
		}
	}
	return s
}

func (t *tally) status(name string, waiting int) TierStatus {
	arrivals := t.recent.arrivals + t.before.arrivals
	return TierStatus{
		Name:         name,
		Arrivals:     t.arrivals,
		Admitted:     t.admitted,
		Refused:      t.refused,
		RefusedShare: share(float64(t.recent.refused+t.before.refused), float64(arrivals)),
		QueueDelay:   duration((t.recent.delay + t.before.delay) / float64(max(t.recent.admitted+t.before.admitted, 1))),
		P50:          duration(t.quantile(0.50)),
		P99:          duration(t.quantile(0.99)),
		Waiting:      waiting,
	}
}
