package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	// maxSilence is how long a stream may say nothing before it counts as
	// dead; the server sends a heartbeat every 5 s.
	maxSilence = 15 * time.Second
	// Between attempts to reconnect it waits up to firstPause, and twice as
	// long each time, up to longestPause.
	firstPause   = 250 * time.Millisecond
	longestPause = 5 * time.Second
)

func newWatch(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "watch",
		Short: "Show changes as they happen",
		Long: `Show every change of the namespace as it happens, one line each: when, who, what,
which objects, why. It reconnects by itself and misses nothing; Ctrl-C ends it.
With -o json each change is one JSON document in a line.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.watch(cmd.Context())
		},
	}
}

// watcher follows the audit log of one namespace.
type watcher struct {
	*cli
	// seen is the sequence of the last record that was shown, or that was the
	// newest when watching began.
	seen  uint64
	store positionJSON // which store that was; zero before watching began
}

func (c *cli) watch(ctx context.Context) error {
	if err := c.connect(); err != nil {
		return err
	}
	w := &watcher{cli: c}
	pause := firstPause
	for {
		before := w.seen
		err := w.follow(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // Ctrl-C is how watching ends
		}
		if err := c.print.Flush(); err != nil {
			return err // nobody reads any more
		}
		e := c.client.Explain(err)
		if w.store == (positionJSON{}) || !worthRetrying(e) {
			return c.failed("watch", e)
		}
		if w.seen != before {
			pause = firstPause
		}
		c.print.Notef("%s", output.Faint(output.Clean(fmt.Sprintf("lost the server (%s); reconnecting", e.Message))))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rand.N(pause)):
		}
		pause = min(2*pause, longestPause)
	}
}

// worthRetrying tells whether the same call may succeed later.
func worthRetrying(e *remote.Error) bool {
	switch e.Code() {
	case connect.CodeNotFound, connect.CodePermissionDenied, connect.CodeUnauthenticated, connect.CodeInvalidArgument, connect.CodeUnimplemented:
		return e.Outcome == remote.Unreachable
	default:
		return true
	}
}

// follow shows records until the stream ends, and says why it did.
func (w *watcher) follow(ctx context.Context) error {
	if err := w.begin(ctx); err != nil {
		return err
	}
	ctx, wait := listen(ctx, w.silence)
	defer wait.stop()
	stream, err := w.client.Audit.TailRecords(ctx, connect.NewRequest(&plimsollv1.TailRecordsRequest{Namespace: w.namespace(), AfterSeq: &w.seen}))
	if err != nil {
		return whyEnded(ctx, err)
	}
	defer func() { _ = stream.Close() }() // the error that ended it is stream.Err
	for stream.Receive() {
		wait.heard()
		if r := stream.Msg().GetRecord(); r != nil {
			if err := w.show(r); err != nil {
				return err
			}
			w.seen = r.GetSeq()
		}
	}
	return whyEnded(ctx, errors.Join(stream.Err(), errEnded))
}

// errEnded stands for a stream that ended without an error.
var errEnded = connect.NewError(connect.CodeUnavailable, errors.New("the server ended the stream"))

// begin decides after which record to go on. Watching begins after the newest
// one; after a reconnect it goes on after the last one that was seen, unless
// the server has another store now.
func (w *watcher) begin(ctx context.Context) error {
	status, err := w.client.Admin.GetStatus(ctx, connect.NewRequest(&plimsollv1.GetStatusRequest{Namespace: w.namespace()}))
	if err != nil {
		return err
	}
	before, now := w.store, positionOf(status.Msg.GetPosition())
	now.Revision = 0 // the store alone
	switch {
	case now == before:
		return nil
	case before != (positionJSON{}) && now.StoreID != before.StoreID:
		w.print.Notef("%s the server has another store now; its whole log follows", output.Warn("note:"))
		w.seen, w.store = 0, now
		return nil
	}
	newest, err := w.newest(ctx)
	if err != nil {
		return err
	}
	if before == (positionJSON{}) {
		w.print.Notef("%s", output.Faint(fmt.Sprintf("watching namespace %s at %s; Ctrl-C ends it", w.namespaceName(), w.client.Server())))
	} else {
		w.print.Notef("%s the server's store was restored from a backup; what is written from now on follows", output.Warn("note:"))
	}
	w.seen, w.store = newest, now
	return nil
}

// newest is the sequence of the newest record; 0 if there is none.
func (w *watcher) newest(ctx context.Context) (uint64, error) {
	res, err := w.client.Audit.ListRecords(ctx, connect.NewRequest(&plimsollv1.ListRecordsRequest{Namespace: w.namespace(), Limit: 1}))
	if err != nil || len(res.Msg.GetRecords()) == 0 {
		return 0, err
	}
	return res.Msg.GetRecords()[0].GetSeq(), nil
}

func (w *watcher) show(r *plimsollv1.AuditRecord) error {
	if !w.print.People() {
		if err := w.print.Line(recordToJSON(r)); err != nil {
			return err
		}
		return w.print.Flush()
	}
	line := fmt.Sprintf("%s  %s  %s  %s", output.Faint(output.Time(r.GetTime().AsTime())), actorText(r.GetActor()),
		output.Bold(output.Clean(r.GetVerb())), objectText(r.GetObjects()))
	if r.GetReason() != "" {
		line += "  " + output.Clean(r.GetReason())
	}
	w.print.Printf("%s\n", line)
	return w.print.Flush()
}
