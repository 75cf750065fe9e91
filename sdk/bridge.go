package sdk

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/bridge"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/follow"
)

func init() { bridge.New = newTestProvider }

// newTestProvider is a provider with flags from code, there from the start.
func newTestProvider(log *slog.Logger) bridge.Test {
	p := newProvider(&config{log: log, environ: func() []string { return nil }})
	source := &codeSource{observe: p.observe}
	p.local = source
	source.update(flag.Update{})
	return bridge.Test{
		Provider: p,
		Update:   source.update,
		Flag: func(key string) bool {
			_, ok := p.set.Load().Lookup(key)
			return ok
		},
		Counts:  func(each func(flag.Count)) { p.counts.Collect(p.set.Load(), each) },
		Tracked: p.tracked.take,
	}
}

// codeSource has flags that code changes.
type codeSource struct {
	observe func(follow.Change)

	mu    sync.Mutex
	state follow.State
}

func (s *codeSource) look() {}

func (s *codeSource) Run(ctx context.Context) { <-ctx.Done() }

// update changes the flags. They are served when it returns.
func (s *codeSource) update(u flag.Update) []flag.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.state.Set
	if set == nil {
		set = flag.Empty()
	}
	u.Epoch, u.Revision = 1, set.Revision()+1
	next, _ := set.With(u, time.Now())
	c := follow.Change{Old: s.state, New: follow.State{Set: next, Store: "code"}}
	s.state = c.New
	s.observe(c)
	return next.Problems()
}
