package admission

import (
	"math/rand/v2"
	"testing"
)

func TestZZBimodalPersist(t *testing.T) {
	for _, x := range []struct {
		slots int
		short float64
		long  float64
		load  float64
	}{{16, .001, .2, .5}, {16, .001, .1, .5}, {16, .002, .05, .5}, {16, .002, .1, .5}, {16, .005, .1, .5}, {16, .01, .2, .5}, {8, .001, .2, .5}, {64, .001, .2, .5}, {16, .001, .2, .3}, {1e6, .001, .2, 8e-6}, {1e6, .001, .2, 30e-6},{1e6, .002, .1, 8e-6}, {16, .002, .1, 2}, {16, .005, .1, 2}, {16,.01,.1,2},{64,.002,.1,2}} {
		mean := [4]float64{x.short, x.short, x.short, x.long}
		worst, first, mn := 0.0, 0.0, 1000.0
		for seed := range uint64(3) {
			s := newSim(model{slots: x.slots, draw: func(_ *rand.Rand, t int) float64 { return mean[t] }, mean: mean}, seed)
			s.setLoad(x.load, equal)
			s.run(100)
			s.reset()
			s.run(200)
			worst = max(worst, 100*sum(s.ref)/sum(s.off))
			first = max(first, 100*s.ref[0]/s.off[0])
			mn = min(mn, s.l.limit)
		}
		t.Logf("%d slots, tiers 0-2 %g, tier 3 %g, %g×: from 100 to 200 s refused %.1f %% (t0 %.1f), worst of 3 seeds; least limit %.1f", x.slots, x.short, x.long, x.load, worst, first, mn)
	}
}
