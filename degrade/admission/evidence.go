package admission

import "math"

// Evidence for the service time is taken while few requests run, so that none
// waits for another: the time that requests of a tier ran then, divided by how many
// of them ended. By tier, since who runs in such moments is chosen by tier, and
// tiers may differ in what they cost.
type evidence struct {
	area, count [maxTiers]float64
	known       [maxTiers]float64 // area÷count at the last batch; 0 before
	service     float64           // the same of all tiers
	fresh       int               // completions since the service time last jumped
	batch       batch
}

// A batch of evidence.
type batch struct {
	area     [maxTiers]float64
	expected [maxTiers]float64 // what area would be at the service times known
	counts   [maxTiers]float64
	count    float64
	unknown  float64 // completions while none was known
	start    float64 // law.cleanTime at its beginning
}

// jumped is how many times as long as expected the requests of a batch took.
func (b *batch) jumped() float64 {
	var area, expected float64
	for t := range b.area {
		area += b.area[t]
		expected += b.expected[t]
	}
	return area / expected
}

// grow adds a stretch of d seconds in which these requests ran.
func (e *evidence) grow(ns *[maxTiers]int, d float64) {
	for t, n := range ns {
		if n > 0 {
			e.area[t] += float64(n) * d
			e.batch.area[t] += float64(n) * d
		}
	}
}

// all are the sums over tiers.
func (e *evidence) all() (area, count float64) {
	for t := range e.area {
		area += e.area[t]
		count += e.count[t]
	}
	return area, count
}

// tiers is how many tiers there is evidence for.
func (e *evidence) tiers() (n float64) {
	for _, count := range e.count {
		if count >= leastEvidence {
			n++
		}
	}
	return n
}

// of is the service time of a tier; of all tiers where there is little evidence for
// it alone. service must be known.
func (e *evidence) of(tier int) (mean, count float64) {
	if e.count[tier] >= leastEvidence {
		return e.area[tier] / e.count[tier], e.count[tier]
	}
	area, count := e.all()
	return area / count, count
}

// slowest is the service time of the slowest tier.
func (l *law) slowest() float64 {
	most := l.mean
	for _, known := range l.proof.known {
		most = max(most, known)
	}
	return most
}

// serviceOf is the service time to count for a request that took so long.
func (l *law) serviceOf(tier int, took float64) float64 {
	if l.proof.service == 0 {
		return took
	}
	mean, count := l.proof.of(tier)
	if l.proof.fresh < fewEvidence {
		mean *= 1 + 1/math.Sqrt(count)
	}
	return mean * l.lift.trust
}

// learn counts a completion, before it leaves, if few run.
func (l *law) learn(now float64, tier int) {
	if l.n > l.clean || l.probe.closed || now <= max(l.probe.skip, l.calm) {
		return
	}
	e := &l.proof
	e.count[tier]++
	e.fresh++
	b := &e.batch
	b.count++
	b.counts[tier]++
	switch {
	case e.known[tier] > 0:
		b.expected[tier] += e.known[tier]
	case e.service > 0:
		b.expected[tier] += e.service
	default:
		b.unknown++
		area, count := e.all()
		b.expected[tier] += area / count
	}
	if most := max(16, max(64, 4*float64(l.clean))/e.tiers()); e.count[tier] > most {
		e.area[tier] *= most / e.count[tier]
		e.count[tier] = most
	}
	enough := max(16, 2*float64(l.clean))
	if e.service == 0 {
		enough = max(leastEvidence, 3*float64(l.clean)) // to know little is much better than nothing
	}
	if b.count >= enough {
		l.conclude(now)
	}
}

// conclude ends a batch of evidence.
func (l *law) conclude(now float64) {
	e := &l.proof
	b := &e.batch
	if 2*b.unknown < b.count && e.service > 0 && b.jumped() > 2 {
		for t := range e.known {
			if own := b.area[t] / b.expected[t]; own > 1.5 && e.known[t] > 0 && b.counts[t] >= leastEvidence {
				e.count[t] = min(e.count[t], 16)
				e.area[t] = e.known[t] * own * e.count[t]
			}
		}
		e.fresh = 0
		l.note(Jump)
	}
	if e.service == 0 {
		l.note(KneeFound)
		l.probe.end = now // it has found what it was for
	}
	for t := range e.known {
		if e.count[t] >= leastEvidence {
			e.known[t] = e.area[t] / e.count[t]
		}
	}
	if area, count := e.all(); count >= leastEvidence {
		e.service = area / count
	}
	*b = batch{start: l.cleanTime}
	l.batchLimit = l.limit
	l.probe.evidence = now
}

// forget takes a request's share out of the evidence: it ended without having
// done its work, so the time that it ran says nothing.
func (l *law) forget(s *slot) {
	e := &l.proof
	e.area[s.tier] = max(e.area[s.tier]-(l.cleanTime-s.clean0), e.area[s.tier]/2)
	e.batch.area[s.tier] = max(e.batch.area[s.tier]-(l.cleanTime-max(s.clean0, e.batch.start)), 0)
}
