package api

import (
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

const defaultPage = 500

// Flags serves plimsoll.v1.FlagService from a store.
type Flags struct {
	Store *store.Store
	// Now is the clock; it decides whether an override is in force.
	Now func() time.Time
}

// open finds the namespace of a request and its newest snapshot.
func open(ctx context.Context, s *store.Store, field string) (string, *store.Snapshot, error) {
	ns, err := authz.CallerFrom(ctx).Namespace(field)
	if err != nil {
		return "", nil, err
	}
	snap, err := s.Snapshot(ns)
	if err != nil {
		return "", nil, Error(err)
	}
	return ns, snap, nil
}

// change is who changes what and why, as the store wants it.
func change(ctx context.Context, info *plimsollv1.ChangeInfo) store.Change {
	return store.Change{ID: info.GetChangeId(), Actor: authz.CallerFrom(ctx).Actor, Reason: info.GetReason()}
}

func changeResult(r store.Result) *plimsollv1.ChangeResult {
	return &plimsollv1.ChangeResult{ChangeId: r.ChangeID, Position: r.Position, Changed: r.Changed}
}

// GetFlag implements plimsollv1connect.FlagServiceHandler.
func (f *Flags) GetFlag(ctx context.Context, req *connect.Request[plimsollv1.GetFlagRequest]) (*connect.Response[plimsollv1.GetFlagResponse], error) {
	_, snap, err := open(ctx, f.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	one, err := f.flag(snap, req.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&plimsollv1.GetFlagResponse{Flag: one, Position: snap.Position()}), nil
}

// flag is one flag of a snapshot as the API tells it.
func (f *Flags) flag(snap *store.Snapshot, key string) (*plimsollv1.Flag, error) {
	o, ok := snap.FlagObject(key)
	if !ok {
		return nil, Error(snap.NoFlag(key))
	}
	now := f.Now()
	one, err := describe(snap, key, o, now)
	if err == nil {
		one.Problem = problemsByKey(snap.Set(now))[key]
	}
	return one, err
}

func describe(snap *store.Snapshot, key string, o store.Object, now time.Time) (*plimsollv1.Flag, error) {
	stored := new(plimsollv1.StoredFlag)
	if err := proto.Unmarshal(o.Value, stored); err != nil {
		return nil, connect.NewError(connect.CodeDataLoss, err)
	}
	out := &plimsollv1.Flag{
		Key: key, Definition: stored.GetDefinition(), Revision: o.ModRevision,
		CreatedAt: stored.GetCreatedAt(), UpdatedAt: stored.GetUpdatedAt(), UpdatedBy: stored.GetUpdatedBy(),
	}
	if ov, ok := snap.Override(key, now); ok {
		out.Override = ov
	}
	return out, nil
}

// written is the flag after a change that this server has already seen; a
// flag that somebody else has removed meanwhile is told by its key alone.
func (f *Flags) written(ns, key string) *plimsollv1.Flag {
	snap, err := f.Store.Snapshot(ns)
	if err != nil {
		return &plimsollv1.Flag{Key: key}
	}
	one, err := f.flag(snap, key)
	if err != nil {
		return &plimsollv1.Flag{Key: key}
	}
	return one
}

// ListFlags implements plimsollv1connect.FlagServiceHandler.
func (f *Flags) ListFlags(ctx context.Context, req *connect.Request[plimsollv1.ListFlagsRequest]) (*connect.Response[plimsollv1.ListFlagsResponse], error) {
	_, snap, err := open(ctx, f.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	size := int(req.Msg.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	now := f.Now()
	set := snap.Set(now)
	problems := problemsByKey(set)
	out := &plimsollv1.ListFlagsResponse{Position: snap.Position()}
	bytes := 0
	for key, o := range snap.Flags(req.Msg.GetPageToken(), req.Msg.GetKeyPrefix()) {
		if !matches(set, key, req.Msg) {
			continue
		}
		if len(out.Flags) == size || bytes > maxPageBytes {
			out.NextPageToken = key
			break
		}
		if req.Msg.GetKeysOnly() {
			out.Flags = append(out.Flags, &plimsollv1.Flag{Key: key, Revision: o.ModRevision, Problem: problems[key]})
			bytes += len(key)
			continue
		}
		one, err := describe(snap, key, o, now)
		if err != nil {
			return nil, err
		}
		one.Problem = problems[key]
		out.Flags = append(out.Flags, one)
		bytes += len(o.Value)
	}
	return connect.NewResponse(out), nil
}

// maxPageBytes keeps a page of large flags below gRPC clients' 4 MiB.
const maxPageBytes = 2 << 20

func problemsByKey(set *flag.Set) map[string]string {
	all := set.Problems()
	if len(all) == 0 {
		return nil
	}
	out := make(map[string]string, len(all))
	for _, p := range all {
		out[p.Key] = p.Faults.Error()
	}
	return out
}

func matches(set *flag.Set, key string, req *plimsollv1.ListFlagsRequest) bool {
	if req.GetTier() == "" && len(req.GetLabels()) == 0 {
		return true
	}
	def, ok := set.Lookup(key)
	if !ok {
		return false
	}
	if req.GetTier() != "" && (def.Degradation() == nil || def.Degradation().Tier != req.GetTier()) {
		return false
	}
	labels := def.Info().Labels
	for k, v := range req.GetLabels() {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// CreateFlag implements plimsollv1connect.FlagServiceHandler.
func (f *Flags) CreateFlag(ctx context.Context, req *connect.Request[plimsollv1.CreateFlagRequest]) (*connect.Response[plimsollv1.CreateFlagResponse], error) {
	ns, _, err := open(ctx, f.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	res, warnings, err := f.Store.CreateFlag(ctx, ns, req.Msg.GetKey(), req.Msg.GetDefinition(), change(ctx, req.Msg.GetChange()))
	if err != nil {
		return nil, Error(err)
	}
	return connect.NewResponse(&plimsollv1.CreateFlagResponse{
		Flag: f.written(ns, req.Msg.GetKey()), Change: changeResult(res), Warnings: Faults(warnings),
	}), nil
}

// UpdateFlag implements plimsollv1connect.FlagServiceHandler.
func (f *Flags) UpdateFlag(ctx context.Context, req *connect.Request[plimsollv1.UpdateFlagRequest]) (*connect.Response[plimsollv1.UpdateFlagResponse], error) {
	ns, _, err := open(ctx, f.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	u := store.FlagUpdate{BaseRevision: req.Msg.GetBaseRevision(), Force: req.Msg.GetForce()}
	switch what := req.Msg.GetUpdate().(type) {
	case *plimsollv1.UpdateFlagRequest_Definition:
		u.Definition = &what.Definition
	case *plimsollv1.UpdateFlagRequest_State:
		enabled := what.State == plimsollv1.FlagState_FLAG_STATE_ENABLED
		u.Enabled = &enabled
	case *plimsollv1.UpdateFlagRequest_DefaultVariant:
		u.DefaultVariant = &what.DefaultVariant
	default:
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("the request says nothing to change"))
	}
	res, warnings, err := f.Store.UpdateFlag(ctx, ns, req.Msg.GetKey(), u, change(ctx, req.Msg.GetChange()))
	if err != nil {
		return nil, Error(err)
	}
	return connect.NewResponse(&plimsollv1.UpdateFlagResponse{
		Flag: f.written(ns, req.Msg.GetKey()), Change: changeResult(res), Warnings: Faults(warnings),
	}), nil
}

// DeleteFlag implements plimsollv1connect.FlagServiceHandler.
func (f *Flags) DeleteFlag(ctx context.Context, req *connect.Request[plimsollv1.DeleteFlagRequest]) (*connect.Response[plimsollv1.DeleteFlagResponse], error) {
	ns, _, err := open(ctx, f.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	res, err := f.Store.DeleteFlag(ctx, ns, req.Msg.GetKey(), req.Msg.GetBaseRevision(), change(ctx, req.Msg.GetChange()))
	if err != nil {
		return nil, Error(err)
	}
	return connect.NewResponse(&plimsollv1.DeleteFlagResponse{Change: changeResult(res)}), nil
}

// DeleteRule implements plimsollv1connect.FlagServiceHandler.
func (f *Flags) DeleteRule(ctx context.Context, req *connect.Request[plimsollv1.DeleteRuleRequest]) (*connect.Response[plimsollv1.DeleteRuleResponse], error) {
	ns, _, err := open(ctx, f.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	remove := f.Store.DeleteSegment
	if req.Msg.GetKind() == plimsollv1.RuleKind_RULE_KIND_EVALUATOR {
		remove = f.Store.DeleteEvaluator
	}
	res, err := remove(ctx, ns, req.Msg.GetName(), change(ctx, req.Msg.GetChange()))
	if err != nil {
		return nil, Error(err)
	}
	return connect.NewResponse(&plimsollv1.DeleteRuleResponse{Change: changeResult(res)}), nil
}

// Apply implements plimsollv1connect.FlagServiceHandler.
func (f *Flags) Apply(ctx context.Context, req *connect.Request[plimsollv1.ApplyRequest]) (*connect.Response[plimsollv1.ApplyResponse], error) {
	ns, snap, err := open(ctx, f.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	doc, faults := flag.ParseDocument([]byte(req.Msg.GetDocument()), snap.Env())
	if faults.Err() != nil {
		return nil, Error(&store.InvalidError{Faults: faults})
	}
	done, err := f.Store.Apply(ctx, ns, doc, store.ApplyOptions{Force: req.Msg.GetForce(), DryRun: req.Msg.GetDryRun()}, change(ctx, req.Msg.GetChange()))
	if err != nil {
		return nil, Error(err)
	}
	return connect.NewResponse(&plimsollv1.ApplyResponse{
		Change: changeResult(done.Result), Objects: done.Objects, Batches: uint32(done.Batches), Warnings: Faults(faults.Warnings()),
	}), nil
}

// exportPart is how much of a document one message carries.
const exportPart = 256 << 10

// Export implements plimsollv1connect.FlagServiceHandler.
func (f *Flags) Export(ctx context.Context, req *connect.Request[plimsollv1.ExportRequest], stream *connect.ServerStream[plimsollv1.ExportResponse]) error {
	_, snap, err := open(ctx, f.Store, req.Msg.GetNamespace())
	if err != nil {
		return err
	}
	doc, err := snap.Document()
	if err != nil {
		return Error(err)
	}
	for len(doc) > 0 {
		n := min(len(doc), exportPart)
		for n < len(doc) && !utf8.RuneStart(doc[n]) {
			n-- // no character is cut in two
		}
		if err := stream.Send(&plimsollv1.ExportResponse{DocumentPart: doc[:n], Position: snap.Position()}); err != nil {
			return err
		}
		doc = doc[n:]
	}
	return nil
}
