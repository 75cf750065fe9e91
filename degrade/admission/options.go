package admission

import (
	"errors"
	"fmt"
)

// An Option configures New.
type Option func(*config) error

type config struct {
	tiers  []string
	most   int // 0: no hard cap
	events func(Event)
	seed   uint64
}

const (
	maxTiers = 8
	// cohorts is how many groups the callers of a tier are divided into.
	cohorts = 128
)

func defaults() config {
	return config{tiers: []string{"critical", "important", "standard", "optional"}}
}

// WithTiers names the tiers, the most important first: 1 to 8 different names.
// Without it they are critical, important, standard and optional.
func WithTiers(names ...string) Option {
	return func(c *config) error {
		if len(names) == 0 || len(names) > maxTiers {
			return fmt.Errorf("%d tiers: give 1 to %d names, the most important first", len(names), maxTiers)
		}
		seen := map[string]bool{}
		for i, name := range names {
			if name == "" {
				return fmt.Errorf("tier %d has no name", i)
			}
			if seen[name] {
				return fmt.Errorf("tier %q is there twice", name)
			}
			seen[name] = true
		}
		c.tiers = append([]string(nil), names...)
		return nil
	}
}

// WithLimit is a hard cap on the requests in flight, above which the limit is
// never raised. It is needed only where nothing in the process bounds what
// handlers do, such as handlers that only wait for something asynchronous.
func WithLimit(most int) Option {
	return func(c *config) error {
		if most <= 0 {
			return fmt.Errorf("a hard cap of %d places admits nothing: give 1 or more, or leave the option out", most)
		}
		c.most = most
		return nil
	}
}

// WithEvents calls f for what the controller finds out and does, in order,
// one call at a time and outside its lock. Whoever used the controller last waits
// for f, which is some request, the controller's timer, or who asked for a
// Snapshot; so f must be quick and must not call the controller's Acquire. If f
// panics, that is logged by slog's default logger with the stack, and goes no
// further.
func WithEvents(f func(Event)) Option {
	return func(c *config) error {
		if f == nil {
			return errors.New("the function for events is nil: leave the option out")
		}
		c.events = f
		return nil
	}
}

// WithSeed changes which callers are in luck in which hour. Processes with the
// same seed, and those with none, shed the same callers.
func WithSeed(seed uint64) Option {
	return func(c *config) error {
		c.seed = seed
		return nil
	}
}
