package admission

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestWhatFailsAtOnceIsNoEvidence: it says nothing about how long requests take.
func TestWhatFailsAtOnceIsNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t)
		e := newEdge(t, c)
		run := func(took time.Duration, failed, detach bool) (evidence float64) {
			before := c.law.proof.count[2]
			_, pass, err := e.Enter(t.Context(), Call{})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(took)
			if detach {
				pass.Detach()
				time.Sleep(time.Hour)
			}
			pass.Done(failed)
			return c.law.proof.count[2] - before
		}
		for i, step := range []struct {
			took           time.Duration
			failed, detach bool
			want           float64
		}{
			{time.Millisecond, true, false, 0}, // nothing is known yet
			{100 * time.Millisecond, false, false, 1},
			{time.Millisecond, true, false, 0},
			{90 * time.Millisecond, true, false, 1}, // it has done its work
			{time.Millisecond, false, true, 0},
			{time.Millisecond, true, false, 0}, // the stream has not changed what is typical
			{90 * time.Millisecond, true, false, 1},
		} {
			if got := run(step.took, step.failed, step.detach); got != step.want {
				t.Errorf("step %d: evidence grew by %v, want %v", i+1, got, step.want)
			}
		}
	})
}

func TestCallerAndClassReachTheController(t *testing.T) {
	c := newController(t)
	asked := 0
	e := newEdge(t, c,
		WithCaller(func(_ context.Context, call Call) string { asked++; return call.Values("X-User-Id")[0] }),
		WithClass(func(context.Context, Call) (int, bool) { asked++; return 1, false }))
	r := http.Header{"X-User-Id": {"alice"}}
	_, pass, err := e.Enter(t.Context(), Call{Values: r.Values})
	if err != nil {
		t.Fatal(err)
	}
	if asked != 2 || pass.permit.slot.class != 1 || pass.permit.slot.prio != 2*cohorts+c.luck.Load().of("alice") {
		t.Errorf("asked %d times, the request has class %d and prio %d", asked, pass.permit.slot.class, pass.permit.slot.prio)
	}
	pass.Done(false)
	pass.Done(false)
	if n := c.Snapshot().InFlight; n != 0 {
		t.Errorf("%d in flight", n)
	}
}
