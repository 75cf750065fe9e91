package admission

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A queue agrees with a plain slice in arrival order.
func TestQueueAgreesWithASlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var naive []*slot
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				tier := rapid.IntRange(0, maxTiers-1).Draw(t, "tier")
				// Few cohorts, so that several requests share one.
				s := &slot{tier: tier, prio: tier*cohorts + rapid.SampledFrom([]int{0, 1, 63, 64, 127}).Draw(t, "cohort")}
				q.push(s)
				naive = append(naive, s)
			},
			"remove": func(t *rapid.T) {
				if len(naive) == 0 {
					t.Skip("empty")
				}
				i := rapid.IntRange(0, len(naive)-1).Draw(t, "which")
				q.remove(naive[i])
				naive = slices.Delete(naive, i, i+1)
			},
			"": func(t *rapid.T) { compare(t, &q, naive) },
		})
	})
}

func compare(t *rapid.T, q *queue, naive []*slot) {
	best, worst := -1, -1
	var counts [maxTiers]int
	for _, s := range naive {
		counts[s.tier]++
		if best < 0 || s.prio < best {
			best = s.prio
		}
		worst = max(worst, s.prio)
	}
	if q.size != len(naive) || q.counts != counts {
		t.Fatalf("size %d %v, want %d %v", q.size, q.counts, len(naive), counts)
	}
	if q.best() != best || q.worst() != worst {
		t.Fatalf("best %d and worst %d, want %d and %d", q.best(), q.worst(), best, worst)
	}
	for tier := range maxTiers {
		var want, got []*slot
		for _, s := range naive {
			if s.tier == tier {
				want = append(want, s)
			}
		}
		for s := q.tiers[tier].oldest; s != nil; s = s.tierNext {
			got = append(got, s)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("tier %d is out of order", tier)
		}
	}
	for prio := range q.prios {
		var want, got []*slot
		for _, s := range naive {
			if s.prio == prio {
				want = append(want, s)
			}
		}
		for s := q.prios[prio].newest; s != nil; s = s.prioPrev {
			got = append(got, s)
		}
		slices.Reverse(got)
		if !slices.Equal(got, want) {
			t.Fatalf("prio %d is out of order", prio)
		}
	}
}

// Whatever comes and goes: nobody runs beyond the places, nobody is lost, and
// who waits is not less important than who was refused in the same moment.
func TestLawKeepsCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLaw(4, rapid.SampledFrom([]int{0, 1, 3, 20}).Draw(t, "cap"))
		now := 0.0
		var inside, runs []*slot // that wait or run; that run
		settle := func() {
			for s := l.settled; s != nil; s = s.next {
				if s.state == running {
					runs = append(runs, s)
				}
			}
			l.settled = nil
			inside = slices.DeleteFunc(inside, func(s *slot) bool { return s.state == refused })
		}
		pass := func(t *rapid.T) {
			now = l.clock(now + l.stall.total + rapid.Float64Range(0, 0.02).Draw(t, "pass"))
		}
		t.Repeat(map[string]func(*rapid.T){
			"arrive": func(t *rapid.T) {
				pass(t)
				tier := rapid.IntRange(0, 3).Draw(t, "tier")
				s := &slot{tier: tier, prio: tier*cohorts + rapid.IntRange(0, cohorts-1).Draw(t, "cohort"),
					deadline: now + l.stall.total + rapid.Float64Range(0, 1).Draw(t, "deadline")}
				full := l.size >= l.room()
				l.arrive(now, s)
				if s.state == refused && s.reason == QueueFull {
					if !full {
						t.Fatal("refused for want of room that there was")
					}
					if w := l.worst(); w > s.prio {
						t.Fatalf("prio %d was refused while %d waits", s.prio, w)
					}
				}
				if s.state == running {
					runs = append(runs, s)
				}
				inside = append(inside, s)
				settle()
			},
			"done": func(t *rapid.T) {
				if len(runs) == 0 {
					t.Skip("nobody runs")
				}
				pass(t)
				i := rapid.IntRange(0, len(runs)-1).Draw(t, "which")
				s := runs[i]
				runs = slices.Delete(runs, i, i+1)
				inside = slices.DeleteFunc(inside, func(x *slot) bool { return x == s })
				s.state = free
				l.done(now, s, rapid.SampledFrom([]ending{whole, early, detached}).Draw(t, "ending"))
				settle()
			},
			"leave": func(t *rapid.T) {
				for i, s := range inside {
					if s.state == waiting {
						pass(t)
						inside = slices.Delete(inside, i, i+1)
						l.leave(now, s)
						settle()
						return
					}
				}
				t.Skip("nobody waits")
			},
			"tend": func(t *rapid.T) {
				pass(t)
				l.tend(now)
				settle()
			},
			"": func(t *rapid.T) {
				if l.n != len(runs) || l.n+l.size != len(inside) {
					t.Fatalf("%d run and %d wait, want %d, and %d in all", l.n, l.size, len(runs), len(inside))
				}
				if l.most > 0 && l.n > l.most {
					t.Fatalf("%d run, above the cap of %d", l.n, l.most)
				}
				if l.size > 0 && l.n < l.places() {
					t.Fatalf("%d wait though only %d of %d places are taken", l.size, l.n, l.places())
				}
				if !(l.proof.batch.area[0] >= 0 && l.proof.batch.count >= 0 && l.limit >= minLimit && l.mean >= 0 && l.kneeSat >= 0) {
					t.Fatalf("not sane: %+v", l)
				}
			},
		})
	})
}
