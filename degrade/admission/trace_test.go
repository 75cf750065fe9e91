package admission

import (
	"fmt"
	"os"
	"testing"
)

func TestTrace(t *testing.T) {
	if os.Getenv("TRACE") == "" {
		t.Skip()
	}
	mi, seed := 0, uint64(10)
	fmt.Sscan(os.Getenv("TRACE"), &mi, &seed)
	s := newSim(models[mi], seed)
	probes := 0
	s.l.note = func(k EventKind) {
		if k == Probe {
			probes++
		} else {
			fmt.Println(s.now, k)
		}
	}
	s.setLoad(.4, equal)
	s.run(6)
	s.slow = 4
	for range 50 {
		s.reset()
		s.run(s.now + 1)
		l := s.l
		fmt.Printf("%.1f good %.0f%% L %.1f K %.2f Ks %.2f clean %d S %.1fms area/count %.1f mean %.1f batch %.0f fresh %d probes %d\n", s.now, (s.good[0]+s.good[1]+s.good[2]+s.good[3])/8*400, l.limit, l.knee, l.kneeSat, l.clean, l.service*1e3, l.area/l.count*1e3, l.mean*1e3, l.batch.count, l.fresh, probes)
	}
}
