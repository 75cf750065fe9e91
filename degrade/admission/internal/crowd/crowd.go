// Package crowd fills a controller with important requests, so that tests of
// the middleware see it refuse others without any load or timing.
package crowd

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

// Places is the limit of a controller that Controller returns.
const Places = 4

// patience bounds the wait for what should happen at once.
const patience = 30 * time.Second

// Controller returns a controller of four places.
func Controller(t testing.TB) *admission.Controller {
	t.Helper()
	c, err := admission.New(admission.WithLimit(Places))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Fill takes every place of a new controller, and every place to wait, by
// requests of rank 0. Requests of other ranks are refused until leave is called,
// which may be done twice and is done at the end of the test.
func Fill(t testing.TB, c *admission.Controller) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for full := false; !full; full = refuses(c) {
		before := c.Snapshot()
		wg.Go(func() {
			permit, err := c.Acquire(ctx, admission.Request{Caller: "crowd"})
			if err == nil {
				<-ctx.Done()
				permit.Release(admission.Served)
			}
		})
		Wait(t, "the crowd to grow", func() bool {
			now := c.Snapshot()
			return now.InFlight+now.Waiting > before.InFlight+before.Waiting
		})
	}
	leave = func() { cancel(); wg.Wait() }
	t.Cleanup(leave)
	return leave
}

// refuses says whether the least important request is refused at once. It does
// not wait for a place, as its caller has gone already.
func refuses(c *admission.Controller) bool {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.Acquire(gone, admission.Request{Tier: len(c.Tiers()) - 1})
	return errors.Is(err, admission.ErrRefused)
}

// Wait waits until something is so.
func Wait(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}
