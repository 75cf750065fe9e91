package follow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

const (
	// silence is after how long without a message a stream is dead, or was
	// never alive: three heartbeats.
	silence = 15 * time.Second
	// healthyAfter is how long a stream must have lived for its end not to
	// count as another failure in a row: one heartbeat.
	healthyAfter = 5 * time.Second
)

var (
	errSilent = fmt.Errorf("nothing was heard from the server for %s", silence)
	errEnded  = errors.New("the server ended the stream")
	// errElsewhere ends a stream that works because another server may have
	// more to offer.
	errElsewhere = errors.New("looking for a better server")
	// errNearer is an errElsewhere of a server that is as good as before.
	errNearer = fmt.Errorf("a nearer server can be reached: %w", errElsewhere)
)

// session is one stream.
type session struct {
	*endpoint
	opened time.Time
	// takeLower is whether a position lower than the one applied is to be
	// adopted from this stream.
	takeLower bool
	// store is whose state the stream carries; empty before the first message.
	store string
	// foreign is whether that is another store than the one followed.
	foreign bool
	// current is whether the stream has brought the followed state up to date.
	current bool
	// told is whether Config.Serving was told of the stream.
	told bool
	// candidate is the whole state of a foreign store, once it is complete.
	candidate *flag.Set
	assembly  assembly
}

// stream reads messages until the server or the context ends it.
type stream struct {
	// messages is unbuffered, and closed by the reader at the end of the stream.
	messages chan *plimsollv1.WatchResponse
	// err is why the stream ended; set before messages is closed.
	err error
}

func (s *stream) read(ctx context.Context, e *endpoint, request *plimsollv1.WatchRequest) {
	defer close(s.messages)
	responses, err := e.Client.Watch(ctx, connect.NewRequest(request))
	if err != nil {
		s.err = err
		return
	}
	defer func() { _ = responses.Close() }()
	for responses.Receive() {
		select {
		case s.messages <- responses.Msg():
		case <-ctx.Done():
			s.err = context.Cause(ctx)
			return
		}
	}
	if s.err = responses.Err(); s.err == nil {
		s.err = errEnded
	}
}

// serve watches one endpoint until the stream is of no more use, and says why.
// The reader has ended when it returns.
func (f *Follower) serve(ctx context.Context, s *session) error {
	ctx, cancel := context.WithCancel(ctx)
	messages := &stream{messages: make(chan *plimsollv1.WatchResponse)}
	request := f.request(s.takeLower)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		messages.read(ctx, s.endpoint, request)
	}()
	defer func() {
		cancel()
		<-ended
	}()

	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	adoption := time.NewTimer(0)
	defer adoption.Stop()
	search := f.rota.search(s.endpoint)
	defer search.stop()
	for {
		adoption.Stop()
		if s.candidate != nil {
			adoption.Reset(time.Until(f.offer.due()))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case m, ok := <-messages.messages:
			if !ok {
				return messages.err
			}
			if err := f.receive(s, m); err != nil {
				return err
			}
			if m.GetHeartbeat() == nil || s.current || s.candidate != nil {
				quiet.Reset(silence) // heartbeats alone do not make a state
			}
		case <-quiet.C:
			return errSilent
		case <-f.expiry.C:
			f.expire()
		case <-f.missed.C:
			f.miss()
		case <-adoption.C:
			f.adopt(s)
		case <-search.due:
			search.ask(ctx)
		case err := <-search.answer:
			if found := search.heard(err); found != nil {
				f.diary.nearer(s, found)
				return errNearer
			}
		}
	}
}

// request asks for what comes after the state that was applied last, or for
// everything.
func (f *Follower) request(everything bool) *plimsollv1.WatchRequest {
	r := &plimsollv1.WatchRequest{Namespace: f.config.Namespace, Client: f.config.Client}
	if set := f.state.Set; f.state.Store != "" && !everything {
		r.Since = &plimsollv1.Position{
			StoreId: f.state.Store, Epoch: set.Epoch(), Revision: set.Revision(), Fingerprint: set.Fingerprint(),
		}
	}
	return r
}
