package admission_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

func near(t *testing.T, what string, got, want, share float64) {
	t.Helper()
	if math.Abs(got-want) > share*want {
		t.Errorf("%s: %g, want %g", what, got, want)
	}
}

func TestPressure(t *testing.T) {
	inBubble(t, plain, 30, func(t *testing.T, r *run) {
		r.load(0.5, quarter, 9*time.Second)
		p := r.Pressure()
		near(t, "arrivals at 0.5×", p.Arrivals, 400, 0.1)
		near(t, "service time", p.Classes[0].Mean.Seconds(), 0.010, 0.05)
		if p.Places != 0 || p.Refused != 0 || p.Saturated || p.Sequence != 1 {
			t.Errorf("at 0.5×: %+v", p)
		}
		r.load(3, quarter, 10*time.Second)
		p = r.Pressure()
		near(t, "arrivals at 3×", p.Arrivals, 2400, 0.1)
		near(t, "places", p.Places, 8, 0.1)
		near(t, "refused", p.Refused, 0.66, 0.1)
		if p.Waiting < 0.9 || !p.Saturated || p.Sequence != 2 || p.Alarms == 0 {
			t.Errorf("at 3×: %+v", p)
		}
		// Demand over capacity, as the fleet's law has it.
		near(t, "pressure", p.Arrivals*p.Classes[0].Mean.Seconds()/p.Places, 3, 0.1)
		time.Sleep(time.Minute)
		if p = r.Pressure(); p.Arrivals != 0 || p.Waiting > 0.01 {
			t.Errorf("after a minute without requests: %+v", p)
		}
	})
}

func TestAlarm(t *testing.T) {
	inBubble(t, plain, 31, func(t *testing.T, r *run) {
		r.load(0.4, quarter, 10*time.Second)
		r.Pressure()
		select {
		case <-r.Alarm():
		default:
		}
		r.Pressure()
		start := time.Now()
		r.working.Go(func() { r.load(0.4, quarter, 5*time.Second) })
		select {
		case <-r.Alarm():
			t.Errorf("an alarm after %v of the same load", time.Since(start))
		case <-time.After(4 * time.Second):
		}
		r.working.Wait()
		r.Pressure()
		start = time.Now()
		r.working.Go(func() { r.load(4, quarter, 3*time.Second) })
		var alarms int
		for {
			select {
			case <-r.Alarm():
				if alarms == 0 && time.Since(start) > time.Second {
					t.Errorf("an alarm only after %v", time.Since(start))
				}
				alarms++
				r.Pressure()
			case <-time.After(3 * time.Second):
				// At once, then about every second while requests wait.
				if alarms < 2 || alarms > 8 {
					t.Errorf("%d alarms in 3 s of overload", alarms)
				}
				return
			}
		}
	})
}

func TestClasses(t *testing.T) {
	inBubble(t, plain, 32, func(t *testing.T, r *run) {
		for i := range 900 {
			request := admission.Request{Class: i % 3, Unsheddable: i%9 == 0}
			cost := []time.Duration{12 * ms, 6 * ms, 2 * ms}[i%3]
			if request.Unsheddable {
				cost = 1 * ms
			}
			r.working.Go(func() {
				p, err := r.Acquire(context.Background(), request)
				if err != nil {
					t.Error(err)
					return
				}
				r.serve(cost)
				p.Release(admission.Served)
			})
			time.Sleep(10 * ms)
		}
		r.working.Wait()
		p := r.Pressure()
		near(t, "class 0", p.Classes[0].Mean.Seconds(), 0.012, 0.01)
		near(t, "class 1", p.Classes[1].Mean.Seconds(), 0.006, 0.01)
		near(t, "class 2", p.Classes[2].Mean.Seconds(), 0.002, 0.01)
		near(t, "unsheddable", p.Unsheddable.Mean.Seconds(), 0.001, 0.01)
		near(t, "share of unsheddable", p.UnsheddableShare, 1./9, 0.01)
		if n := p.Classes[1].Count; n < 30 || n > 200 {
			t.Errorf("%g requests of class 1 count", n)
		}
		if p.Classes[3].Count != 0 {
			t.Error("a class without requests has some")
		}
	})
}
