package admission

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// hold runs a request for as long as it says, and returns how it fared.
func (c *Controller) hold(ctx context.Context, tier int, long time.Duration) error {
	p, err := c.Acquire(ctx, Request{Tier: tier})
	if err != nil {
		return err
	}
	time.Sleep(long)
	p.Release(Served)
	return nil
}

// serve runs a request of the last tier, which holds one of the slots for 10 ms.
func (c *Controller) serve(slots chan struct{}) {
	p, err := c.Acquire(context.Background(), Request{Tier: 3})
	if err != nil {
		return
	}
	slots <- struct{}{}
	time.Sleep(10 * time.Millisecond)
	<-slots
	p.Release(Served)
}

// An overload that ends in silence is over: nobody has to ask, and nothing has to
// come, for the status to say so.
func TestTheStatusIsNotFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last atomic.Int64 // requests and the timer tell
		c := newController(t, WithEvents(func(e Event) {
			if e.Kind == Saturated || e.Kind == Relieved {
				last.Store(int64(e.Kind))
			}
		}))
		slots := make(chan struct{}, 2)
		for range 2000 {
			go c.serve(slots)
			time.Sleep(time.Millisecond)
		}
		if s := c.Snapshot(); !s.Saturated || EventKind(last.Load()) != Saturated || s.CutOff > 3 {
			t.Fatalf("not saturated: nothing is tested: %+v", s)
		}
		time.Sleep(20 * time.Second)
		if k := EventKind(last.Load()); k != Relieved {
			t.Errorf("the last event is %v", k)
		}
		s := c.Snapshot()
		if s.Saturated || s.CutOff != 4 || s.Tiers[3].RefusedShare != 0 || s.Tiers[3].P99 != 0 {
			t.Errorf("20 s after the last request: %+v", s)
		}
		if p := c.Pressure(); p.Saturated || p.Arrivals > 0.1 {
			t.Errorf("20 s after the last request: %+v", p)
		}
		synctest.Wait()
		if c.due != math.Inf(1) {
			t.Error("a timer runs though there is nothing to see to")
		}
	})
}

// A process that has few requests, each of which lasts, is not a stopped one.
func TestLongRequestsOfAQuietProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t)
		for range 20 {
			if err := c.hold(t.Context(), 0, time.Minute); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		s := c.Snapshot()
		if s.ServiceTime < 50*time.Second || s.ServiceTime > 70*time.Second {
			t.Errorf("requests of a minute take %s, it says", s.ServiceTime)
		}
		if err := c.hold(t.Context(), 0, time.Minute); err != nil {
			t.Fatal(err)
		}
		if p50 := c.Snapshot().Tiers[0].P50; p50 < 50*time.Second || p50 > 70*time.Second {
			t.Errorf("their median is %s, it says", p50)
		}
	})
}

// Handlers that hang from the start leave nothing to learn from. Nobody waits for
// them without end.
func TestWaitingForTheFirstAnswerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t)
		hang := make(chan struct{})
		for range startLimit {
			go func() {
				p, err := c.Acquire(context.Background(), Request{})
				if err != nil {
					t.Error(err)
				}
				<-hang
				p.Release(Failed)
			}()
		}
		synctest.Wait()
		began := time.Now()
		err := c.hold(context.Background(), 0, 0)
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Reason != Expired {
			t.Errorf("it ended in %v", err)
		}
		if waited := time.Since(began); waited < 10*time.Second || waited > 11*time.Second {
			t.Errorf("it waited %s", waited)
		}
		close(hang)
		synctest.Wait()
	})
}

// The work of who has hung up may have been cut short, and is no evidence then.
func TestWhoHangsUpIsNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t)
		handler := newEdge(t, c).Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-r.Context().Done():
			}
		}))
		ask := func(patience time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		}
		for range 20 {
			ask(time.Second)
		}
		before := c.law.proof.count[2]
		for range 200 {
			ask(time.Millisecond)
		}
		if c.law.proof.count[2] != before {
			t.Errorf("%g of them are evidence", c.law.proof.count[2]-before)
		}
		if s := c.law.proof.service; s < 0.09 || s > 0.11 {
			t.Errorf("the service time is %gs", s)
		}
	})
}

// What was refused without the lock is counted whole, also where one of its two
// counters is read before it has grown.
func TestEarlyRefusalsAreCountedWhole(t *testing.T) {
	c := newController(t)
	c.early[0][3].all.Add(1)
	c.law.fold(0)
	c.early[0][3].unsheddable.Add(1)
	c.law.fold(0)
	if r := c.law.load.report; r.arrivals != 1 || r.refused != 1 || r.unsheddable != 1 {
		t.Errorf("%g came, %g of them without a sheddable flag, %g were refused", r.arrivals, r.unsheddable, r.refused)
	}
}

// A process that was stopped for an hour, while some of its requests ran and
// others waited: it goes on as if nothing had been.
func TestStoppedController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t)
		slots := make(chan struct{}, 2)
		var served, refused atomic.Int64
		for i := range 1500 {
			go func() {
				p, err := c.Acquire(context.Background(), Request{})
				if err != nil {
					refused.Add(1)
					return
				}
				slots <- struct{}{}
				time.Sleep(10 * time.Millisecond)
				<-slots
				p.Release(Served)
				served.Add(1)
			}()
			if i == 1000 {
				before := c.Snapshot()
				c.mu.Lock()
				c.start = c.start.Add(-time.Hour) // it is an hour later, and no timer has fired
				c.mu.Unlock()
				after := c.Snapshot()
				// The stop counts as one beat, in which those who had waited for long
				// would have been refused anyway.
				if before.Waiting < 4 || after.Waiting == 0 {
					t.Errorf("%d waited, and after the stop %d wait", before.Waiting, after.Waiting)
				}
				if r := after.ServiceTime.Seconds() / before.ServiceTime.Seconds(); r < 0.9 || r > 1.1 {
					t.Errorf("the stop moved the service time %g-fold", r)
				}
			}
			time.Sleep(time.Millisecond) // five times as many as are served
		}
		time.Sleep(time.Second)
		if s := c.Snapshot(); s.InFlight != 0 || s.Waiting != 0 || served.Load()+refused.Load() != 1500 {
			t.Errorf("%d served, %d refused, and still %+v", served.Load(), refused.Load(), s)
		}
		if served.Load() < 270 { // 300 at capacity
			t.Errorf("%d were served", served.Load())
		}
	})
}

// A hundred thousand requests wait in a process that is large enough for that.
// Every one is decided about, each at the same small cost.
func TestHundredThousandWait(t *testing.T) {
	l := newLaw(4, 0)
	l.limit, l.kneeSat, l.batchLimit, l.mean, l.proof.service = 30_000, 15_000, 30_000, 1, 1
	for t := range 4 {
		l.proof.area[t], l.proof.count[t] = 16, 16
	}
	const runs, waits, late = 30_000, 90_000, 20_000
	var slots []*slot
	states := map[slotState]int{}
	for i := range runs + waits + late {
		s := &slot{tier: i % 4, prio: i%4*cohorts + i%cohorts, deadline: math.Inf(1)}
		slots = append(slots, s)
		l.arrive(0, s)
	}
	if l.n != runs || l.size != waits {
		t.Fatalf("%d run and %d wait", l.n, l.size)
	}
	now := 0.0
	ended := 0
	for l.n > 0 {
		for _, s := range slots {
			if s.state == running {
				now += 1e-6
				l.done(now, s, whole)
				s.state = free
				ended++
			}
		}
		now += 0.5
		l.tend(now)
	}
	for _, s := range slots {
		states[s.state]++
	}
	if l.size != 0 || states[free] != ended || states[free]+states[refused] != len(slots) {
		t.Errorf("%d still wait, %d ended, by state %v", l.size, ended, states)
	}
	for x := l.settled; x != nil; x = x.next {
		states[waiting]++ // told so
	}
	if told := states[waiting]; told < waits {
		t.Errorf("%d who waited were told", told)
	}
	var all uint64
	for i := range l.tally {
		all += l.tally[i].admitted + l.tally[i].refused
	}
	if all != uint64(len(slots)) {
		t.Errorf("%d of %d were decided about", all, len(slots))
	}
}
