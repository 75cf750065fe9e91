package admission

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// Who waits until its own time is over has not been served, and the numbers say
// so.
func TestGivingUpIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t, WithLimit(1))
		go func() { _ = c.hold(context.Background(), 0, 8*time.Second) }()
		synctest.Wait()
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := c.hold(ctx, 1, 0); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrRefused) {
				t.Errorf("it ended in %v", err)
			}
			cancel()
		}
		s := c.Snapshot()
		if s.Utilisation != 1 {
			t.Errorf("the only place is taken, and the utilisation is %g", s.Utilisation)
		}
		if tier := s.Tiers[1]; tier.Arrivals != 3 || tier.Refused != 3 || tier.RefusedShare != 1 || s.CutOff != 1 {
			t.Errorf("cut off at %d, tier 1 %+v", s.CutOff, tier)
		}
		if p := c.Pressure(); p.Refused != 0.75 {
			t.Errorf("%g of all were refused, says the report, want 3 of 4", p.Refused)
		}
		time.Sleep(10 * time.Second)
	})
}

// Who gives up at the very moment at which it gets its place gives it back, and
// has done no work.
func TestGivingUpAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t, WithLimit(1))
		first, err := c.Acquire(t.Context(), Request{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		now := c.lock()
		s := c.take()
		s.tier, s.prio, s.deadline, s.ready = 3, 3*cohorts, now+3600, make(chan struct{}, 1)
		c.law.arrive(now, s)
		c.unlock()
		time.Sleep(50 * time.Millisecond)
		first.Release(Served)
		if s.state != running {
			t.Fatalf("it is in state %d", s.state)
		}
		cancel()
		time.Sleep(50 * time.Millisecond)
		if err := c.abandon(ctx, s); !errors.Is(err, context.Canceled) {
			t.Errorf("it ended in %v", err)
		}
		if s := c.Snapshot(); s.InFlight != 0 || s.Waiting != 0 || s.Tiers[3].P99 != 0 || s.Tiers[0].P99 == 0 {
			t.Errorf("%d in flight, %d wait, tiers 0 and 3 took %s and %s", s.InFlight, s.Waiting, s.Tiers[0].P99, s.Tiers[3].P99)
		}
	})
}

// A probe lowers the limit, not what the process is used for.
func TestUtilisationDuringAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t)
		slots := make(chan struct{}, 8)
		probed, most := 0, 0.0 // looks at a probe that has taken effect
		for range 20_000 {     // 2.5 times as many as are served
			go c.serve(slots)
			time.Sleep(500 * time.Microsecond)
			if s := c.Snapshot(); s.Probing && s.InFlight <= s.Limit {
				probed++
				most = max(most, s.Utilisation)
			}
		}
		if probed == 0 || most > 0.75 {
			t.Errorf("the utilisation is up to %g, in %d looks at a probe", most, probed)
		}
		time.Sleep(10 * time.Second)
	})
}

// The hint for another attempt follows the service time, up and down.
func TestTheHintFollowsTheServiceTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t, WithLimit(1))
		hint := func() time.Duration { return c.refusals.Load()[2][QueueFull].RetryAfter }
		for _, step := range []struct{ service, least, most time.Duration }{
			{0, retryLeast, retryLeast},
			{20 * time.Millisecond, time.Second, 4 * time.Second}, // 100 service times, within a factor of 2
			{time.Second, 2500 * time.Millisecond, retryMost},
			{time.Millisecond, retryLeast, 500 * time.Millisecond},
		} {
			for end := time.Now().Add(100 * time.Second); step.service > 0 && time.Now().Before(end); {
				if err := c.hold(t.Context(), 0, step.service); err != nil {
					t.Fatal(err)
				}
			}
			if h := hint(); h < step.least || h > step.most {
				t.Errorf("at %s the hint is %s, want %s to %s", step.service, h, step.least, step.most)
			}
		}
	})
}

// However the load jumps, a report is not asked for right after another.
func TestAlarmsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t)
		random := rand.New(rand.NewPCG(40, 0))
		alarms := 0
		burst := 0
		reported := time.Now()
		for range 20_000 {
			if random.IntN(40) == 0 {
				burst = 20 - burst
			}
			for range burst {
				p, err := c.Acquire(t.Context(), Request{})
				if err != nil {
					t.Fatal(err)
				}
				p.Detach()
			}
			select {
			case <-c.Alarm():
				alarms++
				if since := time.Since(reported); since < 450*time.Millisecond {
					t.Fatalf("an alarm %s after a report", since)
				}
				c.Pressure()
				reported = time.Now()
			default:
			}
			if random.IntN(100) == 0 {
				c.Pressure()
				select {
				case <-c.Alarm():
				default:
				}
				reported = time.Now()
			}
			time.Sleep(10 * time.Millisecond)
		}
		if alarms < 20 {
			t.Errorf("%d alarms in 200 s: nothing is tested", alarms)
		}
	})
}

// After a crowd, as many slots are kept as an ordinary load needs, and no more.
func TestFewSlotsAreKept(t *testing.T) {
	c := newController(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	for range 3 * maxSpare {
		c.put(&slot{owner: c})
	}
	kept := 0
	for s := c.spare; s != nil; s = s.next {
		kept++
	}
	if kept != maxSpare {
		t.Errorf("%d slots are kept, want %d", kept, maxSpare)
	}
	for range kept {
		c.take()
	}
	if c.spare != nil || c.spares != 0 {
		t.Errorf("%d slots are left", c.spares)
	}
}
