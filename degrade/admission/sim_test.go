package admission

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"testing"
)

// A model of what handlers compete for. The law alone is run against it, event
// by event, which is a hundred times as fast as the controller in fake time.
type model struct {
	name  string
	slots int
	ps    bool // the slots are cores that all requests share, instead of a FIFO
	draw  func(r *rand.Rand, tier int) float64
	mean  [4]float64 // service time by tier
}

func constant(d float64) func(*rand.Rand, int) float64 {
	return func(*rand.Rand, int) float64 { return d }
}

func exponential(d float64) func(*rand.Rand, int) float64 {
	return func(r *rand.Rand, _ int) float64 { return d * r.ExpFloat64() }
}

func all(d float64) [4]float64 { return [4]float64{d, d, d, d} }

var models = []model{
	{name: "a", slots: 8, draw: constant(.010), mean: all(.010)},
	{name: "b", slots: 8, draw: exponential(.010), mean: all(.010)},
	{name: "c", slots: 64, draw: constant(.002), mean: all(.002)},
	{name: "d", slots: 2, draw: constant(.200), mean: all(.200)},
	{name: "e", slots: 2, ps: true, draw: constant(.005), mean: all(.005)},
	{name: "e'", slots: 2, ps: true, draw: exponential(.005), mean: all(.005)},
	{name: "f", slots: 4, draw: func(_ *rand.Rand, t int) float64 { return [4]float64{.002, .003, .005, .010}[t] }, mean: [4]float64{.002, .003, .005, .010}},
	{name: "h", slots: 8, draw: func(r *rand.Rand, _ int) float64 {
		if r.IntN(10) == 0 {
			return .050
		}
		return .002
	}, mean: all(.0068)},
}

type simEvent struct {
	at   float64
	kind int // 0 arrival, 1 completion, 2 beat, 3 change
	s    *slot
	v    uint64
	f    func()
}
type simHeap []simEvent

func (h simHeap) Len() int           { return len(h) }
func (h simHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h simHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *simHeap) Push(x any)        { *h = append(*h, x.(simEvent)) }
func (h *simHeap) Pop() any          { o := *h; x := o[len(o)-1]; *h = o[:len(o)-1]; return x }

type job struct {
	need float64
	left float64
}

type sim struct {
	m      model
	l      *law
	r      *rand.Rand
	now    float64
	ev     simHeap
	jobs   map[*slot]*job
	fifo   []*slot
	busy   int
	slots  float64
	slow   float64
	psLast float64
	psVer  uint64
	beat   float64    // when the timer is due
	rate   [4]float64 // arrivals per second by tier
	good   [4]float64 // work done by tier, in service seconds at slow 1
	off    [4]float64
	ref    [4]float64
	seq    uint64

	failing  bool
	patience float64 // how long callers wait, by their deadlines; 0: they do not say
}

func newSim(m model, seed uint64) *sim {
	s := &sim{m: m, l: newLaw(4, 0), r: rand.New(rand.NewPCG(seed, 7)), jobs: map[*slot]*job{}, slots: float64(m.slots), slow: 1, beat: math.Inf(1)}

	return s
}

func (s *sim) setLoad(x float64, share [4]float64) {
	cost := 0.0
	for t := range 4 {
		cost += share[t] * s.m.mean[t]
	}
	for t := range 4 {
		was := s.rate[t]
		s.rate[t] = x * float64(s.m.slots) / cost * share[t]
		if was == 0 && s.rate[t] > 0 {
			s.next(t)
		}
	}
}

func (s *sim) next(t int) {
	if s.rate[t] > 0 {
		heap.Push(&s.ev, simEvent{at: s.now + s.r.ExpFloat64()/s.rate[t], kind: 0, v: uint64(t)})
	}
}

func (s *sim) settle() {
	for x := s.l.settled; x != nil; {
		n := x.next
		if x.state == running {
			s.start(x)
		} else {
			s.ref[x.tier]++
		}
		x = n
	}
	s.l.settled = nil
	if beat := s.l.beat(); beat > 0 && s.beat > s.now+beat {
		s.beat = s.now + beat
		heap.Push(&s.ev, simEvent{at: s.beat, kind: 2})
	}
}

func (s *sim) psAdvance() {
	k := float64(len(s.jobs))
	if k > 0 {
		d := (s.now - s.psLast) * min(1, s.slots/k)
		for _, j := range s.jobs {
			j.left -= d
		}
	}
	s.psLast = s.now
}

func (s *sim) psPlan() {
	s.psVer++
	var b *slot
	for x, j := range s.jobs {
		if b == nil || j.left < s.jobs[b].left || j.left == s.jobs[b].left && x.gen < b.gen {
			b = x
		}
	}
	if b != nil {
		k := float64(len(s.jobs))
		heap.Push(&s.ev, simEvent{at: s.now + max(0, s.jobs[b].left)/min(1, s.slots/k), kind: 1, s: b, v: s.psVer})
	}
}

func (s *sim) start(x *slot) {
	d := s.m.draw(s.r, x.tier)
	if s.m.ps {
		s.psAdvance()
		s.jobs[x] = &job{d, d * s.slow}
		s.psPlan()
		return
	}
	s.jobs[x] = &job{d, 0}
	s.fifo = append(s.fifo, x)
	s.serve()
}

func (s *sim) serve() {
	for len(s.fifo) > 0 && float64(s.busy) < s.slots {
		x := s.fifo[0]
		s.fifo = s.fifo[1:]
		s.busy++
		heap.Push(&s.ev, simEvent{at: s.now + s.jobs[x].need*s.slow, kind: 1, s: x})
	}
}

func (s *sim) arriveNow(t int) {
	s.seq++
	x := &slot{tier: t, prio: t*cohorts + s.r.IntN(cohorts), deadline: math.Inf(1), gen: s.seq}
	if s.patience > 0 {
		x.deadline = s.now + s.patience
	}
	s.off[t]++
	s.l.arrive(s.l.clock(s.now), x)
	switch x.state {
	case running:
		s.start(x)
	case refused:
		s.ref[t]++
	}
	s.settle()
}

func (s *sim) run(until float64) {
	for len(s.ev) > 0 && s.ev[0].at <= until {
		e := heap.Pop(&s.ev).(simEvent)
		s.now = e.at
		switch e.kind {
		case 0:
			t := int(e.v)
			if s.rate[t] == 0 {
				continue
			}
			s.next(t)
			s.arriveNow(t)
		case 1:
			if s.m.ps {
				if e.v != s.psVer {
					continue
				}
				s.psAdvance()
			} else {
				s.busy--
			}
			s.good[e.s.tier] += s.jobs[e.s].need
			delete(s.jobs, e.s)
			how := whole
			if s.failing {
				how = early
			}
			s.l.done(s.l.clock(s.now), e.s, how)
			if s.m.ps {
				s.psPlan()
			} else {
				s.serve()
			}
			s.settle()
		case 2:
			if e.at != s.beat {
				continue // set again since
			}
			s.beat = math.Inf(1)
			s.l.tend(s.l.clock(s.now))
			s.settle()
		case 3:
			e.f()
		}
	}
	s.now = until
}

func (s *sim) reset() {
	s.good, s.off, s.ref = [4]float64{}, [4]float64{}, [4]float64{}
}

var equal = [4]float64{.25, .25, .25, .25}

// NotUnderRace leaves out what simulates for minutes under the race detector to
// assert figures; the tests with enemies are for that.
func NotUnderRace(t *testing.T) {
	t.Helper()
	if RaceEnabled {
		t.Skip("figures of a simulation, which takes minutes under the race detector")
	}
}
