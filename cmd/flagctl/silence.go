package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
)

// silence ends a stream on which nothing is heard for too long. A stream has no
// deadline, since nobody knows how long it will be; it may only not stand still.
type silence struct {
	limit time.Duration
	timer *time.Timer
	end   context.CancelCauseFunc
}

// listen is the context for a stream that may say nothing for up to limit.
func listen(ctx context.Context, limit time.Duration) (context.Context, *silence) {
	ctx, end := context.WithCancelCause(ctx)
	s := &silence{limit: limit, end: end}
	s.timer = time.AfterFunc(limit, func() { end(fmt.Errorf("nothing was heard for %s", limit)) })
	return ctx, s
}

// heard starts the wait anew.
func (s *silence) heard() { s.timer.Reset(s.limit) }

// stop ends the stream.
func (s *silence) stop() {
	s.timer.Stop()
	s.end(nil)
}

// whyEnded is the error of a stream with that context, or the silence that
// ended it.
func whyEnded(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		return connect.NewError(connect.CodeUnavailable, cause)
	}
	return remote.Broken(ctx, err)
}
