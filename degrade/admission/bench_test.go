package admission_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

// BenchmarkAcquireAdmitted is a request that is admitted at once, and its end.
func BenchmarkAcquireAdmitted(b *testing.B) {
	c, err := admission.New()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
		defer cancel()
		for pb.Next() {
			p, err := c.Acquire(ctx, admission.Request{Tier: 1, Caller: "3f0c9a52-user"})
			if err != nil {
				b.Fatal(err)
			}
			p.Release(admission.Served)
		}
	})
}

// BenchmarkAcquireWorking is a request with 2 µs or so of work, the shortest
// that a server may have, to see how far the lock lets two processors scale.
func BenchmarkAcquireWorking(b *testing.B) {
	c, err := admission.New()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		x := uint64(1)
		for pb.Next() {
			p, err := c.Acquire(b.Context(), admission.Request{Tier: 1, Caller: "3f0c9a52-user"})
			if err != nil {
				b.Fatal(err)
			}
			for range 1500 {
				x ^= x << 13
				x ^= x >> 7
			}
			p.Release(admission.Served)
		}
		if x == 0 {
			b.Error("the work was left out")
		}
	})
}

// BenchmarkAcquireRefused is a request that is refused at once, since every
// place is taken and more important requests wait.
func BenchmarkAcquireRefused(b *testing.B) {
	c, end := full(b)
	defer end()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, err := c.Acquire(b.Context(), admission.Request{Tier: 3, Caller: "3f0c9a52-user"})
			if !errors.Is(err, admission.ErrRefused) {
				b.Fatal(err)
			}
		}
	})
}

// full returns a controller without room: its places are taken for as long as
// the test lasts, and requests of tier 0 wait for them.
func full(tb testing.TB) (*admission.Controller, func()) {
	tb.Helper()
	c, err := admission.New(admission.WithLimit(8))
	if err != nil {
		tb.Fatal(err)
	}
	for range 8 {
		if _, err := c.Acquire(context.Background(), admission.Request{}); err != nil {
			tb.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	const waiting = 16
	for range waiting {
		go func() {
			_, err := c.Acquire(ctx, admission.Request{Caller: "somebody"})
			done <- err
		}()
	}
	for c.Snapshot().Waiting < waiting {
		time.Sleep(time.Millisecond)
	}
	return c, func() {
		cancel()
		for range waiting {
			if err := <-done; !errors.Is(err, context.Canceled) {
				tb.Errorf("one that waited was told %v", err)
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	if admission.RaceEnabled {
		t.Skip("the race detector allocates")
	}
	c, err := admission.New()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if n := testing.AllocsPerRun(1000, func() {
		p, err := c.Acquire(ctx, admission.Request{Tier: 1, Caller: "3f0c9a52-user"})
		if err != nil {
			t.Fatal(err)
		}
		p.Release(admission.Served)
	}); n > 0 {
		t.Errorf("%g allocations for an admitted request", n)
	}
	saturated, end := full(t)
	defer end()
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := saturated.Acquire(ctx, admission.Request{Tier: 3, Caller: "3f0c9a52-user"}); err == nil {
			t.Fatal("admitted without a place")
		}
	}); n > 0 {
		t.Errorf("%g allocations for a refused request", n)
	}
}
