package follow

import (
	"context"
	"slices"
	"time"
)

const (
	// askBase is how long a server of a worse rank is followed before a nearer one
	// is asked, and asked again, give or take half of it; it doubles with each
	// answer that is none, up to askCap.
	askBase = 30 * time.Second
	askCap  = 10 * time.Minute
	// askAgain is how long after its first good answer a server is asked for
	// the second, which is believed.
	askAgain = 5 * time.Second
	// askTimeout bounds the wait for an answer.
	askTimeout = 2 * time.Second
)

// search looks for a nearer endpoint while a session follows one that is not of
// the best rank. It belongs to the loop of the session; only the question
// itself is a goroutine, of which there is one at a time.
type search struct {
	rota   *rota
	nearer []*endpoint // the nearest first; none: there is nothing to look for
	timer  *time.Timer
	// due fires when somebody is to be asked; nil: never.
	due <-chan time.Time
	// asked is who was asked last, and good whether its answer was.
	asked *endpoint
	good  bool
	// answer has room for one.
	answer chan error
	cancel context.CancelFunc // of the question that is asked; nil: none is
	ended  chan struct{}      // closed when it has ended
}

// search begins to look for an endpoint nearer than e.
func (r *rota) search(e *endpoint) *search {
	s := &search{rota: r, nearer: r.nearer(e), answer: make(chan error, 1)}
	if len(s.nearer) > 0 {
		s.timer = time.NewTimer(s.pause())
		s.due = s.timer.C
	}
	return s
}

func (s *search) pause() time.Duration {
	return s.rota.askEvery/2 + s.rota.jitter(s.rota.askEvery)
}

// stop waits for a question that is asked.
func (s *search) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.finish()
}

func (s *search) finish() {
	if s.cancel != nil {
		s.cancel()
		<-s.ended
		s.cancel = nil
	}
}

// ask asks the next in turn, or the same again after a good answer.
func (s *search) ask(ctx context.Context) {
	if !s.good {
		s.asked = s.next(time.Now())
	}
	if s.asked == nil {
		s.timer.Reset(s.pause())
		return
	}
	ctx, s.cancel = context.WithTimeout(ctx, askTimeout)
	ended, e := make(chan struct{}), s.asked
	s.ended = ended
	go func() {
		defer close(ended)
		s.answer <- e.Ready(ctx)
	}()
}

// next is whom to ask: in turn, but nobody who asked to be left alone.
func (s *search) next(now time.Time) *endpoint {
	first := slices.Index(s.nearer, s.asked) + 1
	for i := range s.nearer {
		if e := s.nearer[(first+i)%len(s.nearer)]; !e.barred.After(now) {
			return e
		}
	}
	return nil
}

// heard takes an answer; it returns the endpoint to go over to, if it is the
// second good one. The rota then has it as its next.
func (s *search) heard(err error) *endpoint {
	s.finish()
	switch {
	case err != nil:
		s.good = false
		s.slower()
		s.timer.Reset(s.pause())
	case !s.good:
		s.good = true
		s.timer.Reset(askAgain)
	default:
		// Until a stream of its has lasted it is not known to be any better.
		s.slower()
		s.rota.chosen = s.asked
		return s.asked
	}
	return nil
}

func (s *search) slower() { s.rota.askEvery = min(2*s.rota.askEvery, askCap) }
