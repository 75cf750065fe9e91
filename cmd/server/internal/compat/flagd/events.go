package flagd

import (
	"context"
	"sync"
	"time"
	"weak"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	evaluationv2 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v2"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

const (
	eventReady  = "provider_ready"
	eventChange = "configuration_change"
	eventAlive  = "keep_alive"

	// keepAlive is how often an event stream says that it lives.
	keepAlive = 20 * time.Second
	// maxEventKeys is how many bytes of keys an event names; more flags go into
	// further events, as gRPC clients take 4 MiB a message by default.
	maxEventKeys = 512 << 10
)

// eventStream tells a client of every change, level moves included: it may have
// kept answers, and those of a flag whose tier is shed from now on are stale. A
// client that takes long is told of several changes at once.
func (f *Face) eventStream(ctx context.Context, send sink) error {
	ns, err := f.sets.Namespace(ctx, "")
	if err != nil {
		return err
	}
	stream, err := f.sets.Admit(ns, effective.FlagdEvaluation)
	if err != nil {
		return err
	}
	defer stream.Leave()
	// What changes from here on is told; what is asked from here on is newer.
	state, over, err := f.sets.FollowNewest(ns)
	if err != nil {
		return err
	}
	if err := send(ready); err != nil {
		return err
	}
	stream.Sent(state)
	beat := time.NewTicker(keepAlive)
	defer beat.Stop()
	for {
		select {
		case <-over:
			before := state
			if state, over, err = f.sets.FollowNewest(ns); err != nil {
				return err
			}
			list, err := between(before, state)
			if err != nil {
				return err
			}
			for _, m := range list {
				if err := send(m); err != nil {
					return err
				}
			}
			stream.Sent(state)
		case <-beat.C:
			if err := send(alive); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-f.sets.Draining():
			return api.Draining()
		}
	}
}

// The two events that are always the same. Both versions of the protocol have
// the same encoding.
var (
	ready = mustEncode(&evaluationv2.EventStreamResponse{Type: eventReady})
	alive = mustEncode(&evaluationv2.EventStreamResponse{Type: eventAlive})
)

// changesKey is that of the changes that lead to a state.
type changesKey struct{}

// changes are the events that lead to a state, encoded once for all streams that
// come from the same one before. It does not keep those in memory.
type changes struct {
	mu   sync.Mutex
	from map[weak.Pointer[effective.State]][]*message
}

// maxPasts bounds for how many states before the newest one events are kept.
const maxPasts = 8

// between are the events that tell of all that was done between two states of a
// namespace.
func between(from, to *effective.State) ([]*message, error) {
	c := to.Memo(changesKey{}, func(*effective.State) any {
		return &changes{from: make(map[weak.Pointer[effective.State]][]*message)}
	}).(*changes)
	c.mu.Lock()
	defer c.mu.Unlock()
	if list, ok := c.from[weak.Make(from)]; ok {
		return list, nil
	}
	list, err := tell(from.Flags, to.Flags)
	if err != nil {
		return nil, err
	}
	if len(c.from) < maxPasts {
		c.from[weak.Make(from)] = list
	}
	return list, nil
}

// tell makes the events between two sets; none where every flag serves the same,
// and has all the time. What changed and changed back is told: in between a client
// may have asked, and kept the answer.
func tell(from, to *flag.Set) ([]*message, error) {
	var list []*message
	flags, size := make(map[string]*structpb.Value), 0
	flush := func() error {
		if len(flags) == 0 {
			return nil
		}
		m, err := encode(&evaluationv2.EventStreamResponse{Type: eventChange, Data: &structpb.Struct{
			Fields: map[string]*structpb.Value{"flags": structpb.NewStructValue(&structpb.Struct{Fields: flags})},
		}})
		list, flags, size = append(list, m), make(map[string]*structpb.Value), 0
		return err
	}
	for _, key := range to.TouchedKeys(from) {
		flags[key] = change(from, to, key)
		if size += len(key); size > maxEventKeys {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	if err := flush(); err != nil {
		return nil, err
	}
	return list, nil
}

// change is what became of a flag.
func change(from, to *flag.Set, key string) *structpb.Value {
	_, was := from.Lookup(key)
	_, is := to.Lookup(key)
	kind := "update"
	switch {
	case !is:
		kind = "delete"
	case !was:
		kind = "write"
	}
	return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"type": structpb.NewStringValue(kind)}})
}
