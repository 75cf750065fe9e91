package admission

import "testing"

// A service time that is under-estimated by more than twice while the limit is
// below the places agrees with itself. It comes about where the service time
// quadruples under a moderate load, and must not last: the limit then lacks the
// evidence to fall further, and this is reason enough to seek some.
func TestStuckLow(t *testing.T) {
	NotUnderRace(t)
	for _, m := range []model{models[0], models[1], models[7]} {
		for _, load := range []float64{0.3, 0.4, 0.5, 0.6, 0.9} {
			for seed := range uint64(20) {
				s := newSim(m, 10+seed)
				s.setLoad(load, equal)
				s.run(6)
				s.slow = 4
				for start := s.now; s.share(1)/min(0.25, load) < 0.9; {
					if s.now > start+25 {
						t.Errorf("server %s at %g×, seed %d: not back at 90 %% after 25 s", m.name, load, seed)
						break
					}
				}
			}
		}
	}
}

// On two slots of 200 ms a half minute after the service time has quadrupled is few
// requests, so that single runs tell little: it is the mean that is back.
func TestFourfoldOnTwoSlots(t *testing.T) {
	NotUnderRace(t)
	const seeds = 40
	for _, load := range []float64{0.4, 0.9} {
		got := 0.0
		for seed := range uint64(seeds) {
			s := newSim(models[3], seed)
			s.setLoad(load, equal)
			s.run(80)
			s.slow = 4
			s.run(s.now + 14)
			got += s.share(16) / 0.25 / seeds
		}
		if got < 0.9 {
			t.Errorf("at %g×: %.0f %% of capacity from 14 to 30 s after it", load, 100*got)
		}
	}
}

// share runs for a number of seconds, and returns how much was done meanwhile, of
// the capacity.
func (s *sim) share(seconds float64) float64 {
	s.good = [4]float64{}
	s.run(s.now + seconds)
	return (s.good[0] + s.good[1] + s.good[2] + s.good[3]) / seconds / float64(s.m.slots)
}
