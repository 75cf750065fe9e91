package admission

import (
	"fmt"
	"os"
	"testing"
)

func TestStuck(t *testing.T) {
	if os.Getenv("SWEEP") == "" {
		t.Skip()
	}
	for _, mi := range []int{0, 1, 3, 7} {
		m := models[mi]
		line := m.name
		for _, load := range []float64{.3, .4, .5, .6, .9} {
			var recs []float64
			for seed := range uint64(20) {
				s := newSim(m, 10+seed)
				s.setLoad(load, equal)
				s.run(max(5, 600*m.mean[2]))
				s.slow = 4
				rec := 99.0
				base := s.now
				step := max(1, 40*m.mean[2])
				for s.now < base+60 {
					s.reset()
					s.run(s.now + step)
					if (s.good[0]+s.good[1]+s.good[2]+s.good[3])/step > .9*min(.25, load)*float64(m.slots) {
						rec = s.now - base
						break
					}
				}
				recs = append(recs, rec)
			}
			mx, sum := 0.0, 0.0
			for _, r := range recs {
				mx = max(mx, r)
				sum += r
			}
			line += fmt.Sprintf(" | %.1f: mean %.0f max %.0f", load, sum/20, mx)
		}
		fmt.Println(line)
	}
}

func TestOne(t *testing.T) {
	if os.Getenv("SWEEP") == "" {
		t.Skip()
	}
	for _, m := range models {
		line := m.name
		for _, x := range []float64{.8, 1, 2} {
			sum, off, top, topoff, ref, n := 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
			for seed := range uint64(5) {
				s := newSim(m, 20+seed)
				s.setLoad(x, equal)
				s.run(10)
				s.reset()
				s.run(10 + max(20, 1000*m.mean[0]))
				for t := range 4 {
					sum += s.good[t]
					off += s.off[t] * m.mean[t]
					ref += s.ref[t]
					n += s.off[t]
				}
				top += s.good[0] + s.good[1]
				topoff += s.off[0]*m.mean[0] + s.off[1]*m.mean[1]
			}
			line += fmt.Sprintf(" | %g: %.2f top2 %.2f ref %.2f", x, sum/off*100, top/topoff*100, ref/n*100)
		}
		fmt.Println(line)
	}
}
