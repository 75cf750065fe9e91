package api

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

// Degradation serves plimsoll.v1.DegradationService from a store.
type Degradation struct {
	Store *store.Store
	// Now is the clock; it decides which overrides and holds are in force.
	Now func() time.Time
	// Usage tells what the flags of a namespace served in the last minutes; nil:
	// nobody knows, and effects have no counts.
	Usage func(ctx context.Context, ns string) (*plimsollv1.GetUsageResponse, error)
}

// GetDegradation implements plimsollv1connect.DegradationServiceHandler.
func (d *Degradation) GetDegradation(ctx context.Context, req *connect.Request[plimsollv1.GetDegradationRequest]) (*connect.Response[plimsollv1.GetDegradationResponse], error) {
	_, snap, err := open(ctx, d.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	now := d.Now()
	set := snap.Set(now)
	state := set.LevelState()
	out := &plimsollv1.GetDegradationResponse{
		Position: snap.Position(), Now: timestamppb.New(now),
		LevelMillionths: uint32(set.Level()), AutoMillionths: uint32(state.Auto), Pinned: state.Pinned(now),
		Holds: snap.LiveHolds(now), Overrides: snap.LiveOverrides(now),
	}
	flags := make(map[string]uint32)
	for _, f := range snap.Features() {
		flags[f.Tier]++
	}
	tiers := snap.Tiers()
	for rank, name := range tiers {
		out.Tiers = append(out.Tiers, &plimsollv1.TierState{
			Name: name, Rank: uint32(rank), ShedMillionths: degrade.ShedFraction(set.Level(), rank, tiers.Sheddable()), FlagCount: flags[name],
		})
	}
	return connect.NewResponse(out), nil
}

// Kill implements plimsollv1connect.DegradationServiceHandler.
func (d *Degradation) Kill(ctx context.Context, req *connect.Request[plimsollv1.KillRequest]) (*connect.Response[plimsollv1.KillResponse], error) {
	ns, _, err := open(ctx, d.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	e, err := d.Store.Kill(ctx, ns, store.Kill{
		Keys: req.Msg.GetFlagKeys(), Labels: req.Msg.GetLabels(), Variant: req.Msg.GetVariant(), Lasts: lasts(req.Msg.GetDuration()),
	}, req.Msg.GetDryRun(), change(ctx, req.Msg.GetChange()))
	if err != nil {
		return nil, Error(err)
	}
	out := &plimsollv1.KillResponse{Change: changeResult(e.Result), Effects: d.effects(ctx, ns, e)}
	for _, key := range e.Flags() {
		if ov, ok := e.After.Override(key, e.At); ok {
			out.Overrides = append(out.Overrides, ov)
		}
	}
	return connect.NewResponse(out), nil
}

// Restore implements plimsollv1connect.DegradationServiceHandler.
func (d *Degradation) Restore(ctx context.Context, req *connect.Request[plimsollv1.RestoreRequest]) (*connect.Response[plimsollv1.RestoreResponse], error) {
	ns, _, err := open(ctx, d.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	e, err := d.Store.Restore(ctx, ns, req.Msg.GetFlagKeys(), req.Msg.GetDryRun(), change(ctx, req.Msg.GetChange()))
	if err != nil {
		return nil, Error(err)
	}
	out := &plimsollv1.RestoreResponse{Change: changeResult(e.Result), Effects: d.effects(ctx, ns, e), Holds: removedHolds(e)}
	for _, ov := range e.Before.LiveOverrides(e.At) {
		if _, still := e.After.Override(ov.GetFlagKey(), e.At); !still {
			out.Overrides = append(out.Overrides, ov)
		}
	}
	return connect.NewResponse(out), nil
}

// removedHolds are the holds that a change has ended.
func removedHolds(e store.Effect) []*plimsollv1.Hold {
	return slices.DeleteFunc(e.Before.LiveHolds(e.At), func(h *plimsollv1.Hold) bool {
		_, still := e.After.Hold(h.GetName(), e.At)
		return still
	})
}

// Shed implements plimsollv1connect.DegradationServiceHandler.
func (d *Degradation) Shed(ctx context.Context, req *connect.Request[plimsollv1.ShedRequest]) (*connect.Response[plimsollv1.ShedResponse], error) {
	ns, _, err := open(ctx, d.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	tier := req.Msg.GetTier()
	e, err := d.Store.Shed(ctx, ns, tier, req.Msg.GetShareMillionths(), lasts(req.Msg.GetDuration()), req.Msg.GetDryRun(), change(ctx, req.Msg.GetChange()))
	if err != nil {
		return nil, Error(err)
	}
	out := &plimsollv1.ShedResponse{Change: changeResult(e.Result), Effects: d.effects(ctx, ns, e)}
	if h, ok := e.After.Hold(degrade.ShedHoldName(tier), e.At); ok {
		out.Hold = h
	}
	return connect.NewResponse(out), nil
}

// SetLevel implements plimsollv1connect.DegradationServiceHandler.
func (d *Degradation) SetLevel(ctx context.Context, req *connect.Request[plimsollv1.SetLevelRequest]) (*connect.Response[plimsollv1.SetLevelResponse], error) {
	ns, _, err := open(ctx, d.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	e, err := d.Store.SetLevel(ctx, ns, (*degrade.Level)(req.Msg.LevelMillionths), lasts(req.Msg.GetDuration()), req.Msg.GetDryRun(), change(ctx, req.Msg.GetChange()))
	if err != nil {
		return nil, Error(err)
	}
	out := &plimsollv1.SetLevelResponse{Change: changeResult(e.Result), Effects: d.effects(ctx, ns, e), Removed: removedHolds(e)}
	if h, ok := e.After.Hold(degrade.Pin, e.At); ok {
		out.Hold = h
	}
	return connect.NewResponse(out), nil
}

// Undo implements plimsollv1connect.DegradationServiceHandler.
func (d *Degradation) Undo(ctx context.Context, req *connect.Request[plimsollv1.UndoRequest]) (*connect.Response[plimsollv1.UndoResponse], error) {
	ns, _, err := open(ctx, d.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	u, err := d.Store.Undo(ctx, ns, req.Msg.GetChangeId(), req.Msg.GetDryRun(), change(ctx, req.Msg.GetChange()))
	if err != nil {
		return nil, Error(err)
	}
	return connect.NewResponse(&plimsollv1.UndoResponse{
		Change: changeResult(u.Result), Effects: d.effects(ctx, ns, u.Effect), Objects: u.Objects,
		UndoneChangeId: u.Record.GetChangeId(), UndoneVerb: u.Record.GetVerb(), UndoneTime: u.Record.GetTime(),
		UndoneActor: u.Record.GetActor(), UndoneReason: u.Record.GetReason(),
	}), nil
}

// GetPlan implements plimsollv1connect.DegradationServiceHandler.
func (d *Degradation) GetPlan(ctx context.Context, req *connect.Request[plimsollv1.GetPlanRequest]) (*connect.Response[plimsollv1.GetPlanResponse], error) {
	_, snap, err := open(ctx, d.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	plan, info := snap.Plan()
	return connect.NewResponse(&plimsollv1.GetPlanResponse{Plan: plan, Info: info, Findings: Faults(snap.PlanFindings())}), nil
}

// ApplyPlan implements plimsollv1connect.DegradationServiceHandler.
func (d *Degradation) ApplyPlan(ctx context.Context, req *connect.Request[plimsollv1.ApplyPlanRequest]) (*connect.Response[plimsollv1.ApplyPlanResponse], error) {
	ns, _, err := open(ctx, d.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	e, err := d.Store.SetPlan(ctx, ns, req.Msg.GetPlan(), req.Msg.GetBaseRevision(), req.Msg.GetDryRun(), change(ctx, req.Msg.GetChange()))
	if err != nil {
		return nil, Error(err)
	}
	before, _ := e.Before.Plan()
	return connect.NewResponse(&plimsollv1.ApplyPlanResponse{
		Change: changeResult(e.Result), Findings: Faults(e.After.PlanFindings()), Before: before,
	}), nil
}

// GetFailureMap implements plimsollv1connect.DegradationServiceHandler.
func (d *Degradation) GetFailureMap(ctx context.Context, req *connect.Request[plimsollv1.GetFailureMapRequest]) (*connect.Response[plimsollv1.GetFailureMapResponse], error) {
	_, snap, err := open(ctx, d.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	plan, _ := snap.Plan()
	out := &plimsollv1.GetFailureMapResponse{Position: snap.Position(), Plan: plan}
	tiers := snap.Tiers()
	for _, f := range snap.Features() {
		rank, known := tiers.Rank(f.Tier)
		if !known {
			rank = -1
		}
		out.Features = append(out.Features, &plimsollv1.Feature{
			FlagKey: f.Key, Tier: f.Tier, Rank: int32(rank), DegradedVariant: f.Degraded, DefaultVariant: f.Default,
			Targeted: f.Targeted, Enabled: f.Enabled, DependsOn: f.DependsOn, Guard: f.Guard, Owner: f.Owner,
		})
	}
	return connect.NewResponse(out), nil
}

// lasts is how long something is asked to last; nil: it has no end.
func lasts(d *durationpb.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	out := d.AsDuration()
	return &out
}
