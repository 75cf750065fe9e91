package main

import (
	"context"
	"fmt"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/priority"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

const (
	ours        = "plimsoll"
	untold      = "plimsoll, not told how long callers wait"
	byDefault   = "failsafe-go, default"
	tunedByHand = "failsafe-go, tuned"
)

// controllers are all of them, ours first.
var controllers = []string{ours, untold, byDefault, tunedByHand}

// A controller lets a request in, and returns what to call at its end, or says
// why not.
type controller func(ctx context.Context, tier int, caller string) (end func(), err error)

func newController(name string) (controller, error) {
	switch name {
	case ours, untold:
		c, err := admission.New()
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, tier int, caller string) (func(), error) {
			if name == untold {
				ctx = context.Background()
			}
			permit, err := c.Acquire(ctx, admission.Request{Tier: tier, Caller: caller})
			if err != nil {
				return nil, err
			}
			return func() { permit.Release(admission.Served) }, nil
		}, nil
	case byDefault:
		return prioritized(adaptivelimiter.NewBuilder[any](), time.Second), nil
	case tunedByHand:
		// The limits are those of a server whose slots are known, the windows fit
		// its service time, and the queue holds what is answered in time.
		return prioritized(adaptivelimiter.NewBuilder[any]().
			WithLimits(4, 2*slots, slots).
			WithRecentWindow(100*time.Millisecond, time.Second, 20).
			WithQueueing(1, 3).
			WithMaxWaitTime(60*time.Millisecond), 100*time.Millisecond), nil
	}
	return nil, fmt.Errorf("no controller is called %q", name)
}

func prioritized(builder adaptivelimiter.Builder[any], calibrate time.Duration) controller {
	prioritizer := adaptivelimiter.NewPrioritizer()
	limiter := builder.BuildPrioritized(prioritizer)
	prioritizer.ScheduleCalibrations(context.Background(), calibrate) // for as long as the process lasts
	ranks := [tiers]priority.Priority{priority.VeryHigh, priority.High, priority.Medium, priority.Low}
	return func(ctx context.Context, tier int, _ string) (func(), error) {
		permit, err := limiter.AcquirePermitWithPriority(ctx, ranks[tier])
		if err != nil {
			return nil, err
		}
		return permit.Record, nil
	}
}
