package admission

import (
	"math"
	"testing"
)

// A process that was stopped for an hour has kept nobody waiting, and its
// service time has not changed.
func TestStoppedProcess(t *testing.T) {
	for _, load := range []float64{0.5, 2, 10} {
		s := newSim(models[0], 30)
		s.setLoad(load, equal)
		s.run(5)
		before := *s.l
		if load > 1 && s.l.size == 0 {
			t.Fatal("nobody waits: nothing is tested")
		}
		// Everything that was to happen happens an hour later.
		const stop = 3600
		for i := range s.ev {
			s.ev[i].at += stop
		}
		s.now += stop
		s.beat += stop
		s.reset()
		s.l.tend(s.l.clock(s.now))
		s.settle()
		if 2*s.l.size < before.size {
			t.Errorf("load %g: %d of %d who waited were refused for the stop", load, before.size-s.l.size, before.size)
		}
		s.run(s.now + 0.5)
		if r := s.l.mean / before.mean; r < 0.8 || r > 1.25 {
			t.Errorf("load %g: the stop moved the service time %g-fold", load, r)
		}
		if r := s.l.limit / before.limit; r < 0.7 || r > 1.4 {
			t.Errorf("load %g: the stop moved the limit from %g to %g", load, before.limit, s.l.limit)
		}
		if lost := math.Abs(s.l.stall.total - stop); lost > 2 {
			t.Errorf("load %g: the law's clock stood still for %g s, want %d", load, s.l.stall.total, stop)
		}
		if done := s.good[0] + s.good[1] + s.good[2] + s.good[3]; load > 1 && done < 0.9*0.5*8 {
			t.Errorf("load %g: %.0f %% of capacity after the stop", load, done/4*100)
		}
	}
}
