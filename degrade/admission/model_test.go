package admission_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

const ms = time.Millisecond

var quarter = [4]float64{1, 1, 1, 1}

// The eight kinds of servers, and what the law reached on each in simulation, in
// percent of capacity; at 1× no more than a controller that knows the slots can,
// and there and at 2× in percent of what came, which makes up for its noise. All of
// it is work: where tiers differ, as on the four slots, what is refused is that of
// the last tier, which takes ten times as long.
var kinds = []struct {
	kind
	within   float64 // points by which the controller may be worse
	refused8 float64 // 0.8×: share of requests that are refused
	total1   float64 // 1×
	top2     float64 // 2×: the upper two tiers
	refused2 float64 // 2×: share of the first tier that is refused
	first    float64 // 5× and 10×: the first tier
	total    float64 // the same: all of them
	lone     float64 // one tier alone, 10×
	cold     float64 // from the start on, 10×
}{
	{kind{"8 slots of 10ms", 8, false, same(10 * ms), constant}, 2, 0, 97.5, 98.2, 0, 99.5, 99.8, 98.4, 97.6},
	{kind{"8 slots, exponential 10ms", 8, false, same(10 * ms), exponential}, 2, 0.01, 96.4, 95.6, 0.2, 99.1, 99.6, 98.4, 97.6},
	{kind{"64 slots of 2ms", 64, false, same(2 * ms), constant}, 2, 0, 99.1, 99.4, 0, 99.8, 99.8, 98.4, 97.6},
	{kind{"2 slots of 200ms", 2, false, same(200 * ms), constant}, 2, 0.8, 92.5, 93.1, 1.4, 97.2, 97.2, 98.4, 97.6},
	{kind{"2 cores, 5ms", 2, true, same(5 * ms), constant}, 2, 1.3, 93.0, 91.6, 1.4, 97.0, 97.0, 98.4, 97.6},
	{kind{"2 cores, exponential 5ms", 2, true, same(5 * ms), exponential}, 3, 4.1, 88.3, 82.3, 3.8, 88.6, 88.6, 94.4, 97.6},
	{kind{"4 slots of 2, 3, 5 and 10ms", 4, false, [4]time.Duration{2 * ms, 3 * ms, 5 * ms, 10 * ms}, constant}, 3, 0.03, 96.3, 98, 0, 94.4, 99.3, 98.4, 97.6},
	{kind{"8 slots, 2ms or 50ms", 8, false, same(6800 * time.Microsecond), bimodal}, 3, 1.5, 92.2, 87.2, 0.6, 94.7, 94.7, 98.4, 97.6},
}

// times is n mean service times.
func (k kind) times(n int) time.Duration {
	var sum time.Duration
	for _, d := range k.mean {
		sum += d
	}
	return sum / 4 * time.Duration(n)
}

const (
	settling  = 400    // service times before anything is measured
	measuring = 16_000 // requests at capacity that are measured
)

// inBubble runs f in fake time, and waits until all that it began is over.
func inBubble(t *testing.T, k kind, seed uint64, f func(t *testing.T, r *run)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRun(k, seed)
		f(t, r)
		r.working.Wait()
	})
}

func atLeast(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	t.Logf("%s: %.1f %%, simulated %.1f", what, got, want)
	if got < want-within {
		t.Errorf("%s: %.1f %% of capacity, want %.1f at the least, give or take %.0f", what, got, want, within)
	}
}

// atMost is for shares that are refused.
func atMost(t *testing.T, what string, got, want float64) {
	t.Helper()
	t.Logf("%s: %.2f %%, simulated %.2f", what, got, want)
	if got > 1.25*want+0.2 {
		t.Errorf("%s: %.2f %%, want %.2f", what, got, want)
	}
}

func TestModels(t *testing.T) {
	admission.NotUnderRace(t)
	for i, k := range kinds {
		seed := uint64(i)
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			// So that as much is counted, whatever the number of slots.
			long, settle := k.times(measuring/k.slots), k.times(settling)
			inBubble(t, k.kind, seed, func(t *testing.T, r *run) {
				r.load(0.8, quarter, settle)
				atMost(t, "0.8×, refused", r.measure(0.8, quarter, 4*long).refused, k.refused8)
			})
			inBubble(t, k.kind, seed, func(t *testing.T, r *run) {
				r.load(1, quarter, settle)
				f := r.measure(1, quarter, 4*long)
				atLeast(t, "1×, total", f.ofOffered(0, 1, 2, 3), k.total1, k.within)
			})
			inBubble(t, k.kind, seed, func(t *testing.T, r *run) {
				r.load(2, quarter, settle)
				f := r.measure(2, quarter, long)
				atLeast(t, "2×, first two tiers", f.ofOffered(0, 1), k.top2, k.within)
				atMost(t, "2×, refused of the first tier", f.tierRefused[0], k.refused2)
			})
			for _, x := range []float64{5, 10} {
				inBubble(t, k.kind, seed, func(t *testing.T, r *run) {
					r.load(x, quarter, settle)
					f := r.measure(x, quarter, long)
					if offered := x * k.mean[0].Seconds() * k.capacity(quarter) / 4 / float64(k.slots); offered > 0.99 {
						atLeast(t, "5× or 10×, first tier", f.tier[0], k.first, k.within)
					}
					atLeast(t, "5× or 10×, total", f.total, k.total, k.within)
				})
			}
			inBubble(t, k.kind, seed, func(t *testing.T, r *run) {
				r.load(10, [4]float64{0, 0, 1, 0}, settle)
				f := r.measure(10, [4]float64{0, 0, 1, 0}, long)
				atLeast(t, "one tier alone at 10×", f.total, k.lone, k.within)
			})
			inBubble(t, k.kind, seed, func(t *testing.T, r *run) {
				shares := [4]float64{0.3, 0, 0, 10}
				r.load(10.3, shares, settle)
				f := r.measure(10.3, shares, long)
				atLeast(t, "flood of the last tier, first tier", 100-f.tierRefused[0], 100, k.within)
			})
			inBubble(t, k.kind, seed, func(t *testing.T, r *run) {
				f := r.measure(10, quarter, max(2*long, 2*time.Second))
				atLeast(t, "cold start at 10×", f.total, k.cold, k.within)
			})
			inBubble(t, k.kind, seed, func(t *testing.T, r *run) {
				f := r.measure(1.4, quarter, max(2*long, 2*time.Second))
				atLeast(t, "cold start at 1.4×", f.total, min(k.cold, k.total1), k.within)
			})
		})
	}
}

// A step from half the capacity to ten times as much, and back.
func TestStep(t *testing.T) {
	admission.NotUnderRace(t)
	for i, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, k.kind, uint64(i), func(t *testing.T, r *run) {
				long := max(k.times(200), time.Second)
				// What was admitted before the step, which may be a service time for
				// each place of the start limit, and what is lost in any case.
				most := max(500*ms, k.times(25)) + time.Duration(float64(long)*(100-k.first+k.within)/100)
				r.load(0.5, quarter, k.times(settling))
				up := r.measure(10, quarter, long)
				could := min(100, 10*r.mean[0].Seconds()*r.capacity(quarter)/4/float64(r.kind.slots)*100)
				if lost := time.Duration((could - up.tier[0]) / 100 * float64(long)); lost > most {
					t.Errorf("the step up cost the first tier %v of work, want %v at most", lost, most)
				}
				r.load(0.5, quarter, k.times(40)) // those who waited
				if down := r.measure(0.5, quarter, long); down.tierRefused[0] > 0.5 {
					t.Errorf("after the step down %.1f %% of the first tier were refused", down.tierRefused[0])
				}
			})
		})
	}
}

// fourfold is the bound after a fourfold service time, for all kinds but the
// one with 200 ms, where 200 service times of then take longer.
const fourfold = 30 * time.Second

// The capacity changes. It is followed within 200 service times, or 2 s.
func TestCapacityChanges(t *testing.T) {
	admission.NotUnderRace(t)
	for _, change := range []struct {
		name     string
		load     float64
		slow     int64   // percent of the usual service time, from then on
		slots    float64 // slots, from then on, of what there were
		within   time.Duration
		capacity float64
	}{
		{"half the slots", 2, 100, 0.5, 2 * time.Second, 0.5},
		{"twice the slots", 5, 100, 2, 2 * time.Second, 2},
		{"service twice as long", 2, 200, 1, 2 * time.Second, 0.5},
		{"service twice as fast", 5, 50, 1, 2 * time.Second, 2},
		// From a moderate load the service time is under-estimated at first by so
		// much that the limit falls, and with it what there is to learn from.
		{"service four times as long", 0.4, 400, 1, fourfold, 0.25},
		{"service four times as long under load", 0.9, 400, 1, fourfold, 0.25},
	} {
		for i, k := range kinds {
			t.Run(change.name+"/"+k.name, func(t *testing.T) {
				t.Parallel()
				// Whatever the bound, 700 service times are enough, and 200 allowed.
				one := k.times(1) * time.Duration(change.slow) / 100
				within := max(min(change.within, 700*one), 200*one)
				for seed := range uint64(max(1, 24/k.slots)) {
					inBubble(t, k.kind, seed*8+uint64(i), func(t *testing.T, r *run) {
						r.load(change.load, quarter, k.times(settling))
						r.slow.Store(change.slow)
						r.add(int(float64(k.slots)*change.slots) - k.slots)
						r.load(change.load, quarter, within)
						f := r.measure(change.load, quarter, max(k.times(4800/k.slots), ms*500))
						could := min(change.capacity, change.load)
						got := f.total / could
						if got < 90 {
							t.Errorf("seed %d: %.0f %% of capacity %v after the change, want 90", seed, got, within)
						}
					})
				}
			})
		}
	}
}
