package effective

import (
	"sync"
	"time"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// Protocol is how a client asks.
type Protocol = plimsollv1.ForeignProtocol

// The protocols whose clients get effective sets.
const (
	FlagdSync       = plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_FLAGD_SYNC
	FlagdEvaluation = plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_FLAGD_EVALUATION
	OFREP           = plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_OFREP
)

// Stream is one that was admitted.
type Stream struct {
	sent  func(*plimsollv1.Position)
	leave func()
}

// Sent notes that the client has been told all of a state.
func (s *Stream) Sent(state *State) { s.sent(state.Position) }

// Leave ends the stream; again, it does nothing.
func (s *Stream) Leave() { s.leave() }

// Admit counts a stream of a namespace in until it leaves, or refuses it: there
// is a bound for all faces together, and none while the server drains.
func (s *Sets) Admit(ns string, protocol Protocol) (*Stream, error) {
	select {
	case <-s.draining:
		return nil, api.Draining()
	default:
	}
	if s.streams.Add(1) > s.max {
		s.streams.Add(-1)
		return nil, api.TooMany("streams", fullRetry)
	}
	sent, left := s.following(ns, protocol)
	return &Stream{sent, sync.OnceFunc(func() {
		s.streams.Add(-1)
		left()
	})}, nil
}

// Streams is how many streams are admitted now.
func (s *Sets) Streams() int { return int(s.streams.Load()) }

// Drain makes Draining fire and Admit refuse.
func (s *Sets) Drain() { s.drained.Do(func() { close(s.draining) }) }

// Draining is closed once streams have to end.
func (s *Sets) Draining() <-chan struct{} { return s.draining }

// askedEvery is how often it is told at most that a protocol is asked by, in
// nanoseconds.
const askedEvery = int64(time.Second)

// Asked notes that a client of a protocol without a stream is answered from the
// state.
func (s *State) Asked(protocol Protocol) {
	e := s.entry
	if e.sets.asked == nil {
		return
	}
	last, now := &e.asked[int(protocol)%len(e.asked)], e.sets.now().UnixNano()
	// Most find that somebody else has just told it, and write nothing.
	if before := last.Load(); now-before >= askedEvery && last.CompareAndSwap(before, now) {
		e.sets.asked(s.Namespace, protocol)
	}
}
