package api

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

// Admin serves plimsoll.v1.AdminService.
type Admin struct {
	Store *store.Store
	Now   func() time.Time
	// Version and StoreKind are what GetStatus tells of this server.
	Version, StoreKind string
	StartedAt          time.Time
	// Streams counts the watch streams that are open.
	Streams func() int
	// ComposedBytes is how large a namespace's set is as plain flagd JSON.
	ComposedBytes func(namespace string) (int, error)
	// PeerWarnings tell of other servers that could not be reached.
	PeerWarnings func() []string
}

// CreateNamespace implements plimsollv1connect.AdminServiceHandler.
func (a *Admin) CreateNamespace(ctx context.Context, req *connect.Request[plimsollv1.CreateNamespaceRequest]) (*connect.Response[plimsollv1.CreateNamespaceResponse], error) {
	res, err := a.Store.CreateNamespace(ctx, req.Msg.GetName(), req.Msg.GetSettings(), change(ctx, req.Msg.GetChange()))
	if err != nil {
		return nil, Error(err)
	}
	out := &plimsollv1.CreateNamespaceResponse{Change: changeResult(res), Namespace: &plimsollv1.Namespace{Name: req.Msg.GetName()}}
	if snap, err := a.Store.Snapshot(req.Msg.GetName()); err == nil {
		out.Namespace = namespace(snap)
	}
	return connect.NewResponse(out), nil
}

// ListNamespaces implements plimsollv1connect.AdminServiceHandler.
func (a *Admin) ListNamespaces(context.Context, *connect.Request[plimsollv1.ListNamespacesRequest]) (*connect.Response[plimsollv1.ListNamespacesResponse], error) {
	out := new(plimsollv1.ListNamespacesResponse)
	for _, name := range a.Store.Namespaces() {
		if snap, err := a.Store.Snapshot(name); err == nil {
			out.Namespaces = append(out.Namespaces, namespace(snap))
		}
	}
	return connect.NewResponse(out), nil
}

func namespace(snap *store.Snapshot) *plimsollv1.Namespace {
	stored := snap.Settings()
	return &plimsollv1.Namespace{
		Name: snap.Namespace(), Settings: stored.GetSettings(), CreatedAt: stored.GetCreatedAt(),
		FlagCount: uint32(snap.FlagCount()), Revision: snap.Revision(),
	}
}

// DeleteNamespace implements plimsollv1connect.AdminServiceHandler.
func (a *Admin) DeleteNamespace(ctx context.Context, req *connect.Request[plimsollv1.DeleteNamespaceRequest]) (*connect.Response[plimsollv1.DeleteNamespaceResponse], error) {
	res, err := a.Store.DeleteNamespace(ctx, req.Msg.GetName(), change(ctx, req.Msg.GetChange()))
	if err != nil {
		return nil, Error(err)
	}
	return connect.NewResponse(&plimsollv1.DeleteNamespaceResponse{Change: changeResult(res)}), nil
}

// GetStatus implements plimsollv1connect.AdminServiceHandler. It answers from
// memory, so it works while etcd does not; only the size of the store is asked
// for, and left out where it cannot be had.
func (a *Admin) GetStatus(ctx context.Context, req *connect.Request[plimsollv1.GetStatusRequest]) (*connect.Response[plimsollv1.GetStatusResponse], error) {
	_, snap, err := open(ctx, a.Store, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	now := a.Now()
	set := snap.Set(now)
	health := a.Store.Health()
	out := &plimsollv1.GetStatusResponse{
		Version: a.Version, StoreKind: a.StoreKind, StartedAt: timestamppb.New(a.StartedAt),
		Position: snap.Position(), Namespace: namespace(snap),
		Streams:         uint32(a.Streams()),
		LevelMillionths: uint32(set.Level()),
		ReadOnly:        health.Stale || health.Trouble != nil || health.NoRoom != nil,
		Warnings:        Warnings(health),
	}
	if health.ConfirmedAge >= 0 {
		out.ConfirmedAge = durationpb.New(health.ConfirmedAge)
	}
	for key := range snap.Overrides() {
		if _, ok := snap.Override(key, now); ok {
			out.OverrideCount++
		}
	}
	out.Warnings = append(out.Warnings, a.PeerWarnings()...)
	for _, p := range set.Problems() {
		out.Warnings = append(out.Warnings, fmt.Sprintf("flag %q cannot be compiled, its last good version is served: %v", p.Key, p.Faults))
	}
	if size, err := a.ComposedBytes(snap.Namespace()); err == nil {
		out.ComposedBytes = int64(size)
		if size >= flag.LargeComposed {
			out.Warnings = append(out.Warnings, fmt.Sprintf("namespace %s has %.1f MiB as flagd JSON, and flagd providers that evaluate in process take 4 MiB by default: raise their limit, or split the namespace",
				snap.Namespace(), float64(size)/(1<<20)))
		}
	}
	sizeCtx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if size, _, err := a.Store.Size(sizeCtx); err == nil {
		out.StoreBytes = size
	}
	if a.StoreKind == "external" {
		if many, err := a.Store.Uncompacted(sizeCtx); err == nil && many {
			out.Warnings = append(out.Warnings, "the etcd cluster keeps all of its old revisions: start it with --auto-compaction-retention, or it will fill up")
		}
	}
	return connect.NewResponse(out), nil
}

// confirmLimit is how old etcd's last confirmation may be before it is worth
// a warning; it is asked every 5 s.
const confirmLimit = 15 * time.Second

// Warnings says in words what is wrong with a store.
func Warnings(h store.Health) []string {
	var out []string
	if h.Stale {
		out = append(out, "serving the last snapshot on disk, read-only: etcd has not answered since this server started")
	}
	if h.Trouble != nil {
		out = append(out, fmt.Sprintf("etcd cannot be followed: %v", h.Trouble))
	}
	if h.NoRoom != nil {
		out = append(out, h.NoRoom.Error())
	}
	if h.ConfirmedAge > confirmLimit {
		out = append(out, fmt.Sprintf("etcd last confirmed this state %s ago", h.ConfirmedAge.Round(time.Second)))
	}
	return out
}
