package api

import (
	"context"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

const (
	defaultRecords = 50
	tailHeartbeat  = 5 * time.Second
)

// Audit serves plimsoll.v1.AuditService from a store.
type Audit struct {
	Store *store.Store
	// Stopping ends the tails when it is closed.
	Stopping <-chan struct{}

	tails atomic.Int64
}

// maxTails bounds the tails that are open at once.
const maxTails = 200

// ListRecords implements plimsollv1connect.AuditServiceHandler. The log of a
// namespace outlives it, so the namespace need not exist.
func (a *Audit) ListRecords(ctx context.Context, req *connect.Request[plimsollv1.ListRecordsRequest]) (*connect.Response[plimsollv1.ListRecordsResponse], error) {
	ns, err := authz.CallerFrom(ctx).Namespace(req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	limit := int(req.Msg.GetLimit())
	if limit == 0 {
		limit = defaultRecords
	}
	recs, next, err := a.Store.Records(ctx, ns, store.RecordQuery{
		Object: req.Msg.GetObject(), ChangeID: req.Msg.GetChangeId(), BeforeSeq: req.Msg.GetBeforeSeq(), Limit: limit,
		Scan: int(req.Msg.GetScanLimit()), MaxBytes: maxPageBytes / 2, // the values are told twice: as stored, and as text
	})
	if err != nil {
		return nil, Error(err)
	}
	if len(recs) == 0 && req.Msg.GetBeforeSeq() == 0 {
		if _, err := a.Store.Snapshot(ns); err != nil {
			return nil, Error(err)
		}
	}
	for _, rec := range recs {
		store.DescribeRecord(rec)
	}
	return connect.NewResponse(&plimsollv1.ListRecordsResponse{Records: recs, NextBeforeSeq: next}), nil
}

// TailRecords implements plimsollv1connect.AuditServiceHandler.
func (a *Audit) TailRecords(ctx context.Context, req *connect.Request[plimsollv1.TailRecordsRequest], stream *connect.ServerStream[plimsollv1.TailRecordsResponse]) error {
	ns, _, err := open(ctx, a.Store, req.Msg.GetNamespace())
	if err != nil {
		return err
	}
	defer a.tails.Add(-1)
	if a.tails.Add(1) > maxTails {
		return TooMany("tails of the audit log", 5*time.Second)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with the context, at the latest when this call does
		select {
		case <-a.Stopping:
			cancel(Draining())
		case <-ctx.Done():
		}
	}()
	// The first message opens the stream for clients that wait for headers.
	if err := stream.Send(&plimsollv1.TailRecordsResponse{}); err != nil {
		return err
	}
	err = a.Store.Tail(ctx, ns, req.Msg.AfterSeq, tailHeartbeat, func(rec *plimsollv1.AuditRecord) error {
		if rec != nil {
			store.DescribeRecord(rec)
		}
		return stream.Send(&plimsollv1.TailRecordsResponse{Record: rec})
	})
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return Error(err)
}

// VerifyChain implements plimsollv1connect.AuditServiceHandler.
func (a *Audit) VerifyChain(ctx context.Context, req *connect.Request[plimsollv1.VerifyChainRequest]) (*connect.Response[plimsollv1.VerifyChainResponse], error) {
	ns, snap, err := open(ctx, a.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	v, err := a.Store.Verify(ctx, ns)
	if err != nil {
		return nil, Error(err)
	}
	return connect.NewResponse(&plimsollv1.VerifyChainResponse{
		Valid: v.BadSeq == 0, Records: v.Records, FirstBadSeq: v.BadSeq, Problem: v.Problem, HeadHash: v.HeadHash, Position: snap.Position(),
	}), nil
}
