package admission

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// setBack makes it look as if the wall clock had been set back since t was read:
// t's wall reading is in the future, its monotonic one is not.
func setBack(t *testing.T, at *time.Time, hours uint64) {
	t.Helper()
	before := *at
	*(*uint64)(unsafe.Pointer(at)) += hours * 3600 << 30 // time.Time's seconds, with a monotonic reading
	if at.Sub(before) != 0 || at.Round(0).Sub(before.Round(0)) != time.Duration(hours)*time.Hour {
		t.Fatal("time.Time is laid out in another way: nothing is tested")
	}
}

// A deadline that was in a header has no monotonic reading. It means what it says
// by the clock of now.
func TestDeadlinesAfterTheWallClockWasSet(t *testing.T) {
	c := newController(t, WithLimit(1))
	setBack(t, &c.start, 1)
	first, err := c.Acquire(t.Context(), Request{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Round(0).Add(30*time.Minute))
	defer cancel()
	answer := make(chan error)
	go func() {
		p, err := c.Acquire(ctx, Request{})
		p.Release(Served)
		answer <- err
	}()
	for waits := false; !waits; {
		select {
		case err := <-answer:
			t.Fatalf("with half an hour to wait: %v", err)
		case <-time.After(time.Millisecond):
			waits = c.Snapshot().Waiting == 1
		}
	}
	first.Release(Served)
	if err := <-answer; err != nil {
		t.Errorf("with half an hour to wait, and a place: %v", err)
	}
}

// The hour of luck is that of everybody else, though this process began with
// another one.
func TestLuckAfterTheWallClockWasSet(t *testing.T) {
	c := newController(t)
	setBack(t, &c.start, 7)
	before := time.Now().Unix() / 3600
	c.mu.Lock()
	c.law.hook()
	got := c.hour
	c.mu.Unlock()
	if after := time.Now().Unix() / 3600; got < before || got > after {
		t.Errorf("the luck is of hour %d, and it is %d", got, after)
	}
}

// The hour is that of the wall clock now, also for the first who come after
// hours without any, and while all that there is hangs.
func TestLuckIsOfThisHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t)
		hour := func() int64 { return time.Now().Unix() / 3600 }
		arrive := func() Permit {
			p, err := c.Acquire(t.Context(), Request{Tier: 1, Caller: "alice"})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		rightly := func(when string, p Permit) {
			t.Helper()
			if luck := newLuck(0, hour()).of("alice"); p.slot.prio != cohorts+luck {
				t.Errorf("%s the luck is %d, want %d", when, p.slot.prio-cohorts, luck)
			}
		}
		first := arrive()
		rightly("at first", first)
		first.Release(Served)
		time.Sleep(5 * time.Hour)
		rightly("after 5 idle hours", arrive()) // which hangs, as those after it
		time.Sleep(2*time.Hour + 2*time.Second)
		if *c.luck.Load() != *newLuck(0, hour()) {
			t.Error("the luck is not of this hour while all that there is hangs")
		}
		// The very end of an hour.
		time.Sleep(time.Until(time.Unix((hour()+1)*3600, 0)) - time.Millisecond)
		rightly("just before the hour is over", arrive())
		time.Sleep(time.Millisecond)
		rightly("just after", arrive())
	})
}
