package admission_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

// whole fails unless the server, after whatever was done to it, is at work as if
// nothing had been.
func (r *run) whole(t *testing.T) {
	t.Helper()
	r.load(2, quarter, r.times(600))
	f := r.measure(2, quarter, r.times(600))
	if f.total < 90 || f.tierRefused[0] > 3 {
		t.Errorf("afterwards: %.0f %% of capacity, %.1f %% of the first tier refused", f.total, f.tierRefused[0])
	}
	r.working.Wait()
	if s := r.Snapshot(); s.InFlight != 0 || s.Waiting != 0 {
		t.Errorf("%d places and %d turns were lost", s.InFlight, s.Waiting)
	}
}

var plain = kinds[0].kind // 8 slots of 10 ms

func TestCancelledCallers(t *testing.T) {
	inBubble(t, plain, 1, func(t *testing.T, r *run) {
		var cancelled, late atomic.Int64
		for i := range 4000 {
			r.working.Go(func() {
				// Some end while they wait, some before, some while they run.
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%40)*time.Millisecond)
				defer cancel()
				permit, err := r.Acquire(ctx, admission.Request{Tier: i % 4})
				switch {
				case err == nil:
					r.serve(10 * ms)
					permit.Release(admission.Served)
				case errors.Is(err, context.DeadlineExceeded):
					cancelled.Add(1)
				case errors.Is(err, admission.ErrRefused):
					late.Add(1)
				default:
					t.Errorf("unexpected: %v", err)
				}
			})
			time.Sleep(500 * time.Microsecond)
		}
		r.working.Wait()
		if cancelled.Load() == 0 || late.Load() == 0 {
			t.Errorf("%d were cancelled and %d refused: nothing was tested", cancelled.Load(), late.Load())
		}
		r.whole(t)
	})
}

func TestHangingHandlers(t *testing.T) {
	inBubble(t, plain, 2, func(t *testing.T, r *run) {
		r.load(2, quarter, time.Second)
		hang := make(chan struct{})
		var hung atomic.Int64
		for range 200 { // some get a place, and keep it
			r.working.Go(func() {
				permit, err := r.Acquire(context.Background(), admission.Request{})
				if err != nil {
					return
				}
				hung.Add(1)
				<-hang
				permit.Release(admission.Failed)
			})
		}
		r.load(2, quarter, 10*time.Second)
		if hung.Load() < 7 {
			t.Fatalf("%d handlers hang: nothing was tested", hung.Load())
		}
		if s := r.Snapshot(); s.Waiting > 200 {
			t.Errorf("%d wait", s.Waiting)
		}
		close(hang)
		r.whole(t)
	})
}

// A few handlers hang, more than run in a probe, which therefore cannot take
// effect. What places are left go on serving.
func TestProbesWithHungHandlers(t *testing.T) {
	inBubble(t, plain, 3, func(t *testing.T, r *run) {
		r.load(2, quarter, 3*time.Second)
		hang := make(chan struct{})
		var hung atomic.Int64
		for hung.Load() < 8 {
			r.working.Go(func() {
				if permit, err := r.Acquire(context.Background(), admission.Request{}); err == nil {
					hung.Add(1)
					<-hang
					permit.Release(admission.Failed)
				}
			})
			r.load(2, quarter, 20*ms)
		}
		// How many places are left is the limit of that moment less 8: 2 to 10.
		if f := r.measure(2, quarter, 20*time.Second); f.total < 15 {
			t.Errorf("%.0f %% of capacity while 8 handlers hang that need nothing", f.total)
		}
		close(hang)
		r.whole(t)
	})
}

func TestPanickingHandlers(t *testing.T) {
	inBubble(t, plain, 4, func(t *testing.T, r *run) {
		for i := range 5000 {
			r.working.Go(func() {
				defer func() { _ = recover() }()
				permit, err := r.Acquire(context.Background(), admission.Request{Tier: i % 4})
				if err != nil {
					return
				}
				defer permit.Release(admission.Failed)
				panic("a handler's fault")
			})
			time.Sleep(300 * time.Microsecond)
		}
		r.whole(t)
	})
}

// Handlers that fail at once must not make the process look fast.
func TestFailingHandlers(t *testing.T) {
	inBubble(t, plain, 5, func(t *testing.T, r *run) {
		r.load(2, quarter, 5*time.Second)
		before := r.Snapshot()
		end := time.Now().Add(5 * time.Second)
		r.working.Go(func() {
			for time.Now().Before(end) { // 5 000 a second
				if permit, err := r.Acquire(context.Background(), admission.Request{}); err == nil {
					permit.Release(admission.Failed)
				}
				time.Sleep(200 * time.Microsecond)
			}
		})
		f := r.measure(2, quarter, 5*time.Second)
		if after := r.Snapshot(); after.Knee > 2*before.Knee || float64(after.Limit) > 4*before.Knee {
			t.Errorf("failures moved the knee from %.1f to %.1f, the limit to %d", before.Knee, after.Knee, after.Limit)
		}
		if f.total < 80 {
			t.Errorf("%.0f %% of capacity beside the failures", f.total)
		}
		r.whole(t)
	})
}

func TestHundredThousandCallers(t *testing.T) {
	inBubble(t, plain, 6, func(t *testing.T, r *run) {
		var answered atomic.Int64
		for i := range 100_000 {
			r.working.Go(func() {
				permit, err := r.Acquire(context.Background(), admission.Request{Tier: i % 4})
				answered.Add(1)
				if err == nil {
					r.serve(10 * ms)
					permit.Release(admission.Served)
				}
			})
		}
		synctest.Wait()
		if s := r.Snapshot(); s.Waiting > 100 || s.InFlight > 100 {
			t.Errorf("%d wait and %d run", s.Waiting, s.InFlight)
		}
		r.working.Wait()
		if n := answered.Load(); n != 100_000 {
			t.Errorf("%d were answered", n)
		}
		r.whole(t)
	})
}

// Streams give their places back, and are not taken for slow requests.
func TestStreams(t *testing.T) {
	inBubble(t, plain, 7, func(t *testing.T, r *run) {
		end := make(chan struct{})
		var streams atomic.Int64
		for range 100 {
			r.working.Go(func() {
				permit, err := r.Acquire(context.Background(), admission.Request{})
				if err != nil {
					return
				}
				r.serve(10 * ms)
				permit.Detach()
				streams.Add(1)
				<-end
				permit.Release(admission.Served)
			})
			r.load(1.5, quarter, 20*ms)
		}
		if streams.Load() < 50 {
			t.Fatalf("%d streams: nothing was tested", streams.Load())
		}
		f := r.measure(2, quarter, 10*time.Second)
		if f.total < 95 {
			t.Errorf("%.0f %% of capacity beside %d streams", f.total, streams.Load())
		}
		if s := r.Snapshot(); s.ServiceTime > 15*ms {
			t.Errorf("service time %v", s.ServiceTime)
		}
		close(end)
		r.whole(t)
	})
}

// Permits count once, however often and by however many they are released.
func TestReleasedTwice(t *testing.T) {
	inBubble(t, plain, 8, func(t *testing.T, r *run) {
		for range 200 {
			permit, err := r.Acquire(context.Background(), admission.Request{})
			if err != nil {
				t.Fatal(err)
			}
			var both sync.WaitGroup
			both.Go(func() { permit.Release(admission.Served) })
			both.Go(permit.Detach)
			both.Wait()
			// The place is another's now, and stays that.
			other, err := r.Acquire(context.Background(), admission.Request{})
			if err != nil {
				t.Fatal(err)
			}
			permit.Release(admission.Served)
			if n := r.Snapshot().InFlight; n != 1 {
				t.Fatalf("%d in flight, want 1", n)
			}
			other.Release(admission.Served)
		}
		admission.Permit{}.Release(admission.Served)
		r.whole(t)
	})
}
