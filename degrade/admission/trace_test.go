package admission

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
)

func (s *sim) trace(tag string) {
	s.l.hook = func() {
		l := s.l
		fmt.Printf("%s t=%.3f L=%.1f n=%d wait=%d clean=%d knee=%.2f Ks=%.2f S=%.4f mean=%.4f probe=%v/%v bc=%.0f w.count=%.0f w.work=%.3f area=%.3f waited=%.3f len=%.3f stall=%.2f\n", tag, s.now, l.limit, l.n, l.size, l.clean, l.knee, l.kneeSat, l.proof.service, l.mean, l.probe.on, l.probe.counting, l.proof.batch.count, l.window.count, l.window.work, l.window.area, l.window.waited, s.now-l.window.start, l.stall.total)
	}
}

func TestTrace(t *testing.T) {
	if os.Getenv("EXPLORE") == "" {
		t.Skip()
	}
	switch os.Getenv("EXPLORE") {
	case "A":
		s := newSim(unlimited(func(r *rand.Rand, _ int) float64 { return .01 * (1 + .6*(2*r.Float64()-1)) }, .01), 5)
		s.trace("A")
		ev := map[EventKind]int{}
		s.l.note = func(k EventKind) { ev[k]++; fmt.Println(s.now, k) }
		for range 80 {
			for range 100 {
				s.arriveNow(1)
			}
			s.run(s.now + .1)
		}
		fmt.Println(ev)
	case "B":
		s := newSim(unlimited(exponential(.2), .2), 6)
		s.trace("B")
		s.l.note = func(k EventKind) { fmt.Println(s.now, k) }
		s.offer(500)
		s.run(26)
	case "C":
		s := newSim(model{slots: 8, draw: exponential(5), mean: all(5)}, 1)
		s.trace("C")
		s.l.note = func(k EventKind) { fmt.Println(s.now, k) }
		s.offer(1.4 * 8 / 5)
		s.run(500)
	case "E":
		mean := [4]float64{.002, .002, .002, .1}
		s := newSim(model{slots: 64, draw: func(_ *rand.Rand, t int) float64 { return mean[t] }, mean: mean}, 2)
		s.l.note = func(k EventKind) {
			if k == Jump || k == KneeFound {
				fmt.Printf("%.2f %v\n", s.now, k)
			}
		}
		n := 0
		s.l.hook = func() {
			l := s.l
			if n++; n%10 == 0 && l.window.count > 0 {
				s3, c3 := l.proof.of(3)
				s0, c0 := l.proof.of(0)
				fmt.Printf("t=%.2f L=%.0f n=%d ns=%v wait=%d clean=%d Ks=%.1f mean=%.4f S0=%.4f(%.0f) S3=%.4f(%.0f) trust=%.1f lift=%v probe=%v/%v work/t=%.1f\n", s.now, l.limit, l.n, l.ns[:4], l.size, l.clean, l.kneeSat, l.mean, s0, c0, s3, c3, l.lift.trust, l.lift.on, l.probe.on, l.probe.counting, l.window.work/(s.now-l.window.start))
			}
		}
		s.setLoad(2, equal)
		s.run(60)
	case "D":
		s := newSim(model{slots: 64, draw: exponential(2), mean: all(2)}, 1)
		s.trace("D")
		s.l.note = func(k EventKind) { fmt.Println(s.now, k) }
		s.offer(1.4 * 64 / 2)
		s.run(160)
	}
}
