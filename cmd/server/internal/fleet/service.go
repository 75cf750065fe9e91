package fleet

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

const (
	defaultPage     = 1000
	defaultLaggards = 20
	// arriveWait is how long GetRollout waits for a revision to reach this
	// server.
	arriveWait = time.Second
)

// Service serves plimsoll.v1.FleetService, and SyncService.Report.
type Service struct {
	Store    *store.Store
	Registry *Registry
	// Peers are the other servers.
	Peers *Peers
	// Draining is closed when the server begins to shut down.
	Draining <-chan struct{}
}

// Report implements plimsollv1connect.SyncServiceHandler.
func (s *Service) Report(ctx context.Context, req *connect.Request[plimsollv1.ReportRequest]) (*connect.Response[plimsollv1.ReportResponse], error) {
	select {
	case <-s.Draining:
		return nil, api.Draining()
	default:
	}
	if req.Msg.GetClient().GetInstanceId() == "" {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("client.instance_id is empty: a process draws a random one when it starts"))
	}
	ns, err := authz.CallerFrom(ctx).Namespace(req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	if err := s.Registry.Report(ns, req.Msg); err != nil {
		return nil, err
	}
	return connect.NewResponse(new(plimsollv1.ReportResponse)), nil
}

// ListClients implements plimsollv1connect.FleetServiceHandler.
func (s *Service) ListClients(ctx context.Context, req *connect.Request[plimsollv1.ListClientsRequest]) (*connect.Response[plimsollv1.ListClientsResponse], error) {
	after, err := readPageToken(req.Msg.GetPageToken())
	if err != nil {
		return nil, err
	}
	ns, snap, err := s.open(ctx, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	view, err := s.gather(ctx, &plimsollv1.GetShareRequest{Namespace: ns, Revision: snap.Revision(), Clients: true}, positionOf(snap.Position()))
	if err != nil {
		return nil, err
	}
	out := &plimsollv1.ListClientsResponse{
		Live: uint32(len(view.members)), Lagging: uint32(view.lagging()), Position: snap.Position(), Servers: view.servers,
	}
	members := view.members
	if req.Msg.GetLaggingOnly() {
		members = slices.DeleteFunc(members, func(m member) bool { return !m.lagging })
	}
	slices.SortFunc(members, byName)
	if after != nil {
		from, found := slices.BinarySearchFunc(members, *after, byName)
		if found {
			from++
		}
		members = members[from:]
	}
	size := int(req.Msg.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	if len(members) > size {
		members = members[:size]
		out.NextPageToken = pageToken(members[size-1])
	}
	for i := range members {
		out.Clients = append(out.Clients, members[i].message())
	}
	return connect.NewResponse(out), nil
}

// pageToken tells after which process the next page begins.
func pageToken(m member) string {
	b := binary.AppendUvarint(nil, uint64(len(m.client.GetService())))
	b = append(b, m.client.GetService()...)
	b = append(b, m.client.GetInstanceId()...)
	return base64.RawURLEncoding.EncodeToString(b)
}

func readPageToken(token string) (*member, error) {
	if token == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	n, read := binary.Uvarint(b)
	if err != nil || read <= 0 || n > uint64(len(b)-read) {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("page_token is none that this API gave: leave it empty to begin with the first page"))
	}
	b = b[read:]
	return &member{client: &plimsollv1.ClientInfo{Service: string(b[:n]), InstanceId: string(b[n:])}}, nil
}

// GetRollout implements plimsollv1connect.FleetServiceHandler.
func (s *Service) GetRollout(ctx context.Context, req *connect.Request[plimsollv1.GetRolloutRequest]) (*connect.Response[plimsollv1.GetRolloutResponse], error) {
	ns, snap, err := s.open(ctx, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	target := positionOf(snap.Position())
	if revision := req.Msg.GetRevision(); revision != 0 {
		if snap, err = s.reach(ctx, ns, revision); err != nil {
			return nil, err
		}
		target = positionOf(snap.Position())
		target = target.at(revision)
	}
	view, err := s.gather(ctx, &plimsollv1.GetShareRequest{Namespace: ns, Revision: target.revision, Clients: true}, target)
	if err != nil {
		return nil, err
	}
	out := &plimsollv1.GetRolloutResponse{
		Position: target.message(), Live: uint32(len(view.members)), Applied: uint32(len(view.members) - view.lagging()),
		Unknown: view.unknown, Sent: view.sent(target), Servers: view.servers,
	}
	var took []time.Duration
	var laggards []member
	for _, m := range view.members {
		if m.lagging {
			laggards = append(laggards, m)
		} else if m.appliedAfter >= 0 {
			took = append(took, m.appliedAfter)
		}
	}
	slices.Sort(took)
	out.P50, out.P99, out.Slowest = percentile(took, 50), percentile(took, 99), percentile(took, 100)
	slices.SortFunc(laggards, byLag)
	most := int(req.Msg.GetMaxLaggards())
	if most == 0 {
		most = defaultLaggards
	}
	for i := range laggards[:min(most, len(laggards))] {
		out.Laggards = append(out.Laggards, laggards[i].message())
	}
	return connect.NewResponse(out), nil
}

// percentile is the nearest-rank percentile of sorted durations; nil for none.
func percentile(sorted []time.Duration, percent int) *durationpb.Duration {
	if len(sorted) == 0 {
		return nil
	}
	rank := (len(sorted)*percent + 99) / 100
	return durationpb.New(sorted[max(rank, 1)-1])
}

// reach waits a moment for a revision to reach this server.
func (s *Service) reach(ctx context.Context, ns string, revision int64) (*store.Snapshot, error) {
	timeout := time.NewTimer(arriveWait)
	defer timeout.Stop()
	for {
		snap, err := s.Store.Snapshot(ns)
		if err != nil {
			return nil, api.Error(err)
		}
		if snap.Revision() >= revision {
			return snap, nil
		}
		select {
		case <-snap.Superseded():
		case <-ctx.Done():
			return nil, api.Error(ctx.Err())
		case <-timeout.C:
			return nil, connect.NewError(connect.CodeUnavailable,
				fmt.Errorf("namespace %q is at revision %d on this server, and revision %d has not come within %s; try again", ns, snap.Revision(), revision, arriveWait))
		}
	}
}

// GetUsage implements plimsollv1connect.FleetServiceHandler.
func (s *Service) GetUsage(ctx context.Context, req *connect.Request[plimsollv1.GetUsageRequest]) (*connect.Response[plimsollv1.GetUsageResponse], error) {
	ns, snap, err := s.open(ctx, req.Msg.GetNamespace())
	if err != nil {
		return nil, err
	}
	// The clients as well, as the answer tells how many each server has.
	view, err := s.gather(ctx, &plimsollv1.GetShareRequest{
		Namespace: ns, Revision: snap.Revision(), Clients: true, Usage: true, FlagKeys: req.Msg.GetFlagKeys(),
	}, positionOf(snap.Position()))
	if err != nil {
		return nil, err
	}
	out := view.usage(req.Msg.GetFlagKeys())
	out.Servers = view.servers
	return connect.NewResponse(out), nil
}

// open finds the namespace of a request and its newest snapshot.
func (s *Service) open(ctx context.Context, field string) (string, *store.Snapshot, error) {
	ns, err := authz.CallerFrom(ctx).Namespace(field)
	if err != nil {
		return "", nil, err
	}
	snap, err := s.Store.Snapshot(ns)
	if err != nil {
		return "", nil, api.Error(err)
	}
	return ns, snap, nil
}
