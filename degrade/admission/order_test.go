package admission

import (
	"math"
	"slices"
	"testing"
)

// A turn is a law of one place, which is taken, and knows that requests take
// 10 ms.
type turn struct {
	*law
	now  float64
	runs *slot
}

func newTurn() *turn {
	x := &turn{law: newLaw(4, 1)}
	for range 50 {
		x.runs = x.arrival(0, 0)
		x.pass(0.010)
		x.done(x.now, x.runs, whole)
	}
	x.runs = x.arrival(0, 0)
	return x
}

func (x *turn) pass(seconds float64) { x.now = x.clock(x.now + x.stall.total + seconds) }

func (x *turn) arrival(tier, cohort int) *slot {
	s := &slot{tier: tier, prio: tier*cohorts + cohort, deadline: math.Inf(1)}
	x.arrive(x.now, s)
	x.settled = nil
	return s
}

// fill lets requests of tier 2 wait until there is no room for more: first those
// of the given cohorts, which it returns, then others of another cohort.
func (x *turn) fill(t *testing.T, others int, given ...int) (first []*slot) {
	t.Helper()
	for x.size < x.room() {
		cohort := others
		if len(first) < len(given) {
			cohort = given[len(first)]
		}
		s := x.arrival(2, cohort)
		if s.state != waiting {
			t.Fatalf("a request is in state %d though there is room to wait", s.state)
		}
		if len(first) < len(given) {
			first = append(first, s)
		}
		x.pass(0.0001)
	}
	return first
}

// next ends the request that runs and says which of those who waited runs then.
func (x *turn) next(t *testing.T, waited ...*slot) int {
	t.Helper()
	x.pass(0.001)
	x.done(x.now, x.runs, whole)
	x.runs.state = free
	x.settled = nil
	for i, s := range waited {
		if s.state == running {
			x.runs = s
			return i
		}
	}
	t.Fatal("none of those runs who should")
	return 0
}

// Of those of the least important tier and the unluckiest cohort, the one that has
// waited longest makes room: it is the first that would have waited in vain.
func TestTheOldestOfTheWorstIsDisplaced(t *testing.T) {
	x := newTurn()
	first := x.fill(t, 0, 100, 90, 100, 100)
	var order []int
	for range first {
		x.arrival(1, 0)
		for i, s := range first {
			if s.state == refused && !slices.Contains(order, i) {
				order = append(order, i)
				if s.reason != Displaced {
					t.Errorf("request %d was refused since %s", i, s.reason)
				}
			}
		}
	}
	if want := []int{0, 2, 3, 1}; !slices.Equal(order, want) {
		t.Errorf("displaced in the order %v, want %v", order, want)
	}
}

// While requests of a tier are displaced, its luckiest callers are served, and of
// their requests the last that came: it can still be answered soon. Else who has
// waited longest is.
func TestByLuckWhileDisplacing(t *testing.T) {
	x := newTurn()
	calm := []*slot{x.arrival(2, 7), x.arrival(2, 3), x.arrival(2, 3)}
	for want := range calm {
		if got := x.next(t, calm...); got != want {
			t.Errorf("in calm request %d is served, want %d", got, want)
		}
	}
	crowd := x.fill(t, 120, 7, 3, 3, 3)
	better := x.arrival(1, 50)
	crowd = append(crowd, better)
	for _, want := range []int{4, 3, 2, 1, 0} {
		if got := x.next(t, crowd...); got != want {
			t.Errorf("while others are displaced request %d is served, want %d", got, want)
		}
	}
}
