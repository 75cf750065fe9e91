package admission

import (
	"math"
	"testing"
)

// Who could not be served in time behind those who wait is refused at once, for that
// reason; who need not wait for them is not.
func TestWhoWaitsAheadCountsForADeadline(t *testing.T) {
	for _, c := range []struct {
		tier   int
		within float64
		want   slotState
	}{{3, 0.06, refused}, {3, 0.5, waiting}, {0, 0.06, waiting}} {
		l := newLaw(4, 0)
		l.limit, l.kneeSat, l.batchLimit, l.mean, l.proof.service = 16, 8, 16, .01, .01
		slot := func(tier int, deadline float64) *slot {
			return &slot{tier: tier, prio: tier * cohorts, deadline: deadline}
		}
		for range 16 + 40 { // 40 wait, for 50 ms of work
			l.arrive(0, slot(1, math.Inf(1)))
		}
		if l.n != 16 || l.size != 40 {
			t.Fatalf("%d run and %d wait", l.n, l.size)
		}
		s := slot(c.tier, c.within)
		if l.arrive(0, s); s.state != c.want || s.state == refused && s.reason != Deadline {
			t.Errorf("tier %d within %gs: state %d, reason %s", c.tier, c.within, s.state, s.reason)
		}
	}
}

// A process that is paused for half of the time, as a container whose share of the
// processors is used up, has half of the places: its work is on the real clock.
func TestPausesCostPlaces(t *testing.T) {
	s := newSim(models[0], 5)
	s.setLoad(2, equal)
	for range 200 {
		s.run(s.now + .05)
		for i := range s.ev { // everything happens 50 ms later
			s.ev[i].at += .05
		}
		s.now += .05
		s.beat += .05
	}
	if p := s.l.load.places; p < 2.5 || p > 6 {
		t.Errorf("%.1f places, want about 4 of 8", p)
	}
	if s.l.stall.total < 1 {
		t.Error("no pause was noticed: nothing is tested")
	}
}
