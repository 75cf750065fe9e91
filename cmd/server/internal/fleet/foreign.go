package fleet

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// foreign are a namespace's clients of other protocols, which do not report: the
// streams that are open, and when somebody last asked without one.
type foreign struct {
	streams map[*foreignStream]struct{}
	asked   map[plimsollv1.ForeignProtocol]time.Time
}

// foreignStream is an open stream, and what it has been sent. A stream notes that
// without the namespace's lock: at a change, all of them do at once.
type foreignStream struct {
	protocol plimsollv1.ForeignProtocol
	sent     atomic.Pointer[plimsollv1.Position]
}

func newForeign() foreign {
	return foreign{make(map[*foreignStream]struct{}), make(map[plimsollv1.ForeignProtocol]time.Time)}
}

// Following tells that a stream of another protocol's client has begun. The
// caller calls sent with each position that the client has been told of, and left
// when the stream has ended.
func (r *Registry) Following(ns string, protocol plimsollv1.ForeignProtocol) (sent func(*plimsollv1.Position), left func()) {
	s := &foreignStream{protocol: protocol}
	n, err := r.namespace(ns)
	if err != nil {
		return s.sent.Store, func() {} // deleted meanwhile
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.foreign.streams[s] = struct{}{}
	return s.sent.Store, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.foreign.streams, s)
	}
}

// Asked tells that a client of another protocol has just asked for flags, other
// than by a stream.
func (r *Registry) Asked(ns string, protocol plimsollv1.ForeignProtocol) {
	n, err := r.namespace(ns)
	if err != nil {
		return // deleted meanwhile
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.foreign.asked[protocol] = r.now()
}

// clients sums up by protocol, with regard to a target.
func (f *foreign) clients(target position, now time.Time) []*plimsollv1.ForeignClients {
	by := make(map[plimsollv1.ForeignProtocol]*plimsollv1.ForeignClients)
	var out []*plimsollv1.ForeignClients
	of := func(p plimsollv1.ForeignProtocol) *plimsollv1.ForeignClients {
		c := by[p]
		if c == nil {
			c = &plimsollv1.ForeignClients{Protocol: p}
			by[p], out = c, append(out, c)
		}
		return c
	}
	for s := range f.streams {
		c := of(s.protocol)
		c.Streams++
		if positionOf(s.sent.Load()).reaches(target) {
			c.Sent++
		}
	}
	for p, at := range f.asked {
		of(p).LastAskedAge = durationpb.New(max(0, now.Sub(at)))
	}
	slices.SortFunc(out, func(a, b *plimsollv1.ForeignClients) int { return cmp.Compare(a.GetProtocol(), b.GetProtocol()) })
	return out
}

// foreignStreams are the open streams of other protocols, and how many of them
// were sent the target.
func (s *share) foreignStreams() (open, sent int) {
	for _, c := range s.foreign {
		open += int(c.GetStreams())
		sent += int(min(c.GetSent(), c.GetStreams()))
	}
	return open, sent
}

// allSilent counts the open streams of all who do not report.
func (s *share) allSilent() uint32 {
	open, _ := s.foreignStreams()
	return uint32(s.silent + open)
}
