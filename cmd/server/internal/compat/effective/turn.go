package effective

import (
	"context"
	"runtime"
	"time"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
)

const (
	// turnsPerCore is how many requests evaluate at once that take long, by core:
	// it is work for the processor alone.
	turnsPerCore = 2
	// freeSteps is how much a request may take without a turn: far more than
	// honest sets and contexts need.
	freeSteps = 1 << 16
	// turnWait is how long a request waits for its turn before it is refused.
	turnWait = time.Second
	// lookEvery is after how many flags a request looks whether its client is
	// still there.
	lookEvery = 16
)

func defaultTurns() int { return turnsPerCore * runtime.GOMAXPROCS(0) }

// Turn is what a request needs that evaluates a whole set: what takes long is done
// by a few at a time, and only as long as the client is there. It belongs to one
// goroutine.
type Turn struct {
	turns   chan struct{}
	request context.Context //nolint:containedctx // a turn lives as long as its request
	held    bool
	begun   bool // the answer has
	flags   int
	looked  int // at how many steps
}

// Turn begins. End must be called.
func (s *Sets) Turn(request context.Context) *Turn { return &Turn{turns: s.turns, request: request} }

// Next is called before each flag, with the steps taken so far. It returns an error
// once the client is gone, or if the request would have to wait for long and its
// answer has not begun.
func (t *Turn) Next(taken int) error {
	if t.flags++; t.flags%lookEvery != 0 && taken-t.looked < freeSteps {
		return nil
	}
	t.looked = taken
	if err := t.request.Err(); err != nil {
		return err
	}
	if taken < freeSteps || t.held {
		return nil
	}
	return t.take()
}

func (t *Turn) take() error {
	var long <-chan time.Time
	if !t.begun {
		wait := time.NewTimer(turnWait)
		defer wait.Stop()
		long = wait.C
	}
	select {
	case t.turns <- struct{}{}:
		t.held = true
		return nil
	case <-t.request.Done():
		return t.request.Err()
	case <-long:
		return api.TooMany("long evaluations", turnWait)
	}
}

// Begun is called before a part of the answer is written, which is waiting: the
// turn is given back.
func (t *Turn) Begun() {
	t.begun = true
	t.End()
}

// End gives the turn back; more than once does no harm.
func (t *Turn) End() {
	if t.held {
		t.held = false
		<-t.turns
	}
}
