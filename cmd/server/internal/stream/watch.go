package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

// sink is where a stream's messages go.
type sink func(*message) error

// watch serves one stream until its client leaves, its namespace is deleted or
// the server drains.
func (h *Hub) watch(ctx context.Context, req *plimsollv1.WatchRequest, send sink) error {
	if err := h.validator.Validate(req); err != nil {
		return connect.NewError(connect.CodeInvalidArgument, err)
	}
	ns, err := authz.CallerFrom(ctx).Namespace(req.GetNamespace())
	if err != nil {
		return err
	}
	leave, err := h.admit()
	if err != nil {
		return err
	}
	defer leave()
	f, done, err := h.join(ns)
	if err != nil {
		return err
	}
	defer done()
	left := h.watching(ns, req.GetClient(), req.GetSince())
	defer left()
	at, err := h.begin(ctx, f, req.GetSince(), send)
	if err != nil {
		return err
	}
	return h.walk(ctx, f, at, send)
}

// begin sends what the client lacks and returns the item that it has reached.
func (h *Hub) begin(ctx context.Context, f *feed, since *plimsollv1.Position, send sink) (*item, error) {
	at, err := h.reach(ctx, f, since)
	if err != nil {
		return nil, err
	}
	names, ok := changes(since, at.snap)
	how := "snapshot"
	switch {
	case !ok:
		err = h.sendWhole(ctx, f, at.snap, send)
	case len(names) == 0:
		how = "current"
		err = f.sendDelta(since, at.snap, names, send)
	default:
		how = "delta"
		err = f.sendDelta(since, at.snap, names, send)
	}
	if err == nil {
		h.metrics.Began(how)
	}
	return at, err
}

// reach returns the feed's newest item, not before the position that the
// client has seen already. A server that is behind it waits a moment for etcd.
func (h *Hub) reach(ctx context.Context, f *feed, since *plimsollv1.Position) (*item, error) {
	timeout := time.NewTimer(catchUpWait)
	defer timeout.Stop()
	for {
		at := f.head.Load()
		pos := at.snap.Position()
		if since.GetStoreId() != pos.GetStoreId() || !before(pos, since) {
			return at, nil
		}
		select {
		case <-at.followed:
			if at.next.Load() == nil {
				return nil, f.ending(at)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-h.draining:
			return nil, api.Draining()
		case <-timeout.C:
			return nil, h.behind(pos, since)
		}
	}
}

// before is the order of positions of one store.
func before(a, b *plimsollv1.Position) bool {
	if a.GetEpoch() != b.GetEpoch() {
		return a.GetEpoch() < b.GetEpoch()
	}
	return a.GetRevision() < b.GetRevision()
}

// behind sends a client elsewhere that has seen a newer state than this
// server. Where etcd itself confirms the older one, it says so: if all servers
// do, the newer state is lost.
func (h *Hub) behind(pos, since *plimsollv1.Position) error {
	err := connect.NewError(connect.CodeUnavailable, fmt.Errorf("this server is at %d/%d, behind %d/%d",
		pos.GetEpoch(), pos.GetRevision(), since.GetEpoch(), since.GetRevision()))
	err.Meta().Set(api.MetaReconnect, "elsewhere")
	if health := h.Store.Health(); !health.Stale && health.ConfirmedAge >= 0 && health.ConfirmedAge < 3*defaultHeartbeat {
		err.Meta().Set(api.MetaBehind, fmt.Sprintf("%d/%d", pos.GetEpoch(), pos.GetRevision()))
	}
	return err
}

// walk sends what happens from at on.
func (h *Hub) walk(ctx context.Context, f *feed, at *item, send sink) error {
	var err error
	for {
		select {
		case <-at.followed:
		case <-ctx.Done():
			return ctx.Err()
		case <-h.draining:
			return api.Draining()
		}
		next := at.next.Load()
		if next == nil {
			return f.ending(at)
		}
		if next.message == nil { // too much has changed, or everything
			if at, err = h.skip(ctx, f, at.snap.Position(), send); err != nil {
				return err
			}
			continue
		}
		if at, err = h.step(ctx, f, next, send); err != nil {
			return err
		}
	}
}

// step sends an item's message. Meanwhile it holds neither the item nor what
// follows: a reader that is stuck would keep them all. One that comes back too
// late to find its item skips to the newest state.
func (h *Hub) step(ctx context.Context, f *feed, next *item, send sink) (*item, error) {
	msg, pos, ref := next.message, next.snap.Position(), next.self
	if err := send(msg); err != nil {
		return nil, err
	}
	if it := ref.Value(); it != nil && f.head.Load().seq-it.seq <= maxLag {
		return it, nil
	}
	h.metrics.Collapsed()
	return h.skip(ctx, f, pos, send)
}

// skip takes a reader from a position to the newest state.
func (h *Hub) skip(ctx context.Context, f *feed, from *plimsollv1.Position, send sink) (*item, error) {
	head := f.head.Load()
	pos := head.snap.Position()
	if from.GetStoreId() == pos.GetStoreId() && before(pos, from) {
		return nil, h.behind(pos, from)
	}
	if names, ok := changes(from, head.snap); ok {
		return head, f.sendDelta(from, head.snap, names, send)
	}
	return head, h.sendWhole(ctx, f, head.snap, send)
}

func (f *feed) sendDelta(since *plimsollv1.Position, snap *store.Snapshot, names []string, send sink) error {
	m, err := f.delta(since.GetRevision(), snap, names)
	if err != nil {
		return err
	}
	return send(m)
}

// sendWhole sends a snapshot in chunks, and what has changed since it was
// encoded.
func (h *Hub) sendWhole(ctx context.Context, f *feed, snap *store.Snapshot, send sink) error {
	done, err := h.sendingSnapshot(ctx)
	if err != nil {
		return err
	}
	defer done()
	whole, err := f.wholeFor(snap)
	if err != nil {
		return err
	}
	over := h.now().Add(snapshotTimeout)
	for _, m := range whole.chunks {
		if err := send(m); err != nil {
			return err
		}
		if h.now().After(over) {
			return connect.NewError(connect.CodeDeadlineExceeded, fmt.Errorf("the whole state was not taken within %s", snapshotTimeout))
		}
	}
	since := whole.snap.Position()
	names, ok := changes(since, snap)
	if !ok || len(names) == 0 {
		return nil
	}
	return f.sendDelta(since, snap, names, send)
}

// ending is why a feed has no more items.
func (f *feed) ending(last *item) error {
	if errors.Is(last.err, context.Canceled) {
		return api.Draining()
	}
	return api.Error(last.err)
}
