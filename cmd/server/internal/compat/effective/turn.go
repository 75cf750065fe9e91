package effective

import (
	"context"
	"runtime"
	"time"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
)

const (
	// turnsPerCore is how many requests evaluate whole sets at once, by core: it
	// is work for the processor alone.
	turnsPerCore = 2
	// turnWait is how long a request waits for that before it is refused.
	turnWait = time.Second
	// lookEvery is after how many flags a request looks whether its client is
	// still there.
	lookEvery = 16
)

func defaultTurns() int { return turnsPerCore * runtime.GOMAXPROCS(0) }

// Turn is the right of a request to evaluate a whole set, of which there are a
// few. It belongs to one goroutine.
type Turn struct {
	turns   chan struct{}
	held    bool
	flags   int
	request context.Context //nolint:containedctx // a turn lives as long as its request
}

// Turn waits for a turn, and refuses after a second. End must be called.
func (s *Sets) Turn(request context.Context) (*Turn, error) {
	t := &Turn{turns: s.turns, request: request}
	select {
	case t.turns <- struct{}{}:
		t.held = true
		return t, nil
	default:
	}
	wait := time.NewTimer(turnWait)
	defer wait.Stop()
	select {
	case t.turns <- struct{}{}:
		t.held = true
		return t, nil
	case <-request.Done():
		return nil, api.Error(request.Err())
	case <-wait.C:
		return nil, api.TooMany("evaluations of whole sets", turnWait)
	}
}

// Next is called before each flag. It returns an error once the client is gone.
func (t *Turn) Next() error {
	if t.flags++; t.flags%lookEvery != 0 {
		return nil
	}
	return t.request.Err()
}

// Away does something that waits for others, such as the client, without the
// turn. It returns an error if that does, or if the client is gone.
func (t *Turn) Away(wait func() error) error {
	t.End()
	if err := wait(); err != nil {
		return err
	}
	select {
	case t.turns <- struct{}{}:
		t.held = true
		return nil
	case <-t.request.Done():
		return t.request.Err()
	}
}

// End gives the turn back; more than once does no harm.
func (t *Turn) End() {
	if t.held {
		t.held = false
		<-t.turns
	}
}
