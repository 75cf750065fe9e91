package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a server as small as the console needs it, whose answers a test
// decides.
type world struct {
	plimsollv1connect.UnimplementedFlagServiceHandler
	plimsollv1connect.UnimplementedDegradationServiceHandler
	plimsollv1connect.UnimplementedFleetServiceHandler
	plimsollv1connect.UnimplementedAuditServiceHandler
	plimsollv1connect.UnimplementedAdminServiceHandler

	mu         sync.Mutex
	flags      map[string]*plimsollv1.Flag
	records    []*plimsollv1.AuditRecord // oldest first
	shed       uint32                    // of tier optional
	revision   int64
	superseded chan struct{}
	broken     error // what every read fails with
	applied    uint32
	asked      int // calls of GetRollout
	lists      int // calls of ListFlags
	clients    []*plimsollv1.FleetClient
	plan       *plimsollv1.Plan
	features   []*plimsollv1.Feature
	mapped     int // calls of GetFailureMap
}

func newWorld(keys ...string) *world {
	w := &world{flags: make(map[string]*plimsollv1.Flag), superseded: make(chan struct{}), applied: 3}
	for _, key := range keys {
		w.put(key, onOff)
	}
	return w
}

const onOff = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","degradation":{"tier":"optional"}}`

// put writes a flag as a change of its own; "" deletes it.
func (w *world) put(key, definition string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.change("flags/" + key)
	if definition == "" {
		delete(w.flags, key)
		return
	}
	w.flags[key] = &plimsollv1.Flag{Key: key, Definition: definition, Revision: w.revision, UpdatedAt: timestamppb.Now()}
}

func (w *world) change(objects ...string) {
	w.revision++
	rec := &plimsollv1.AuditRecord{
		Seq: uint64(len(w.records) + 1), Revision: w.revision, Time: timestamppb.Now(), ChangeId: fmt.Sprint("c", w.revision),
		Actor: &plimsollv1.Actor{Name: "ada"}, Verb: "flag.update",
	}
	for _, o := range objects {
		rec.Objects = append(rec.Objects, &plimsollv1.AuditObject{Object: o, Before: []byte("before"), AfterJson: "{}"})
	}
	w.records = append(w.records, rec)
	close(w.superseded)
	w.superseded = make(chan struct{})
}

func (w *world) shedTo(millionths uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shed = millionths
	w.change("holds/shed-optional", "level")
}

func (w *world) breakWith(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = err
	close(w.superseded)
	w.superseded = make(chan struct{})
}

// questions counts those for how far a change has got, listed those for all flags.
func (w *world) questions() int { w.mu.Lock(); defer w.mu.Unlock(); return w.asked }
func (w *world) listed() int    { w.mu.Lock(); defer w.mu.Unlock(); return w.lists }

func (w *world) position() *plimsollv1.Position {
	return &plimsollv1.Position{StoreId: "s", Revision: w.revision}
}

func (w *world) GetDegradation(_ context.Context, req *connect.Request[plimsollv1.GetDegradationRequest]) (*connect.Response[plimsollv1.GetDegradationResponse], error) {
	if req.Msg.GetNamespace() != "default" {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("there is no such namespace"))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return nil, w.broken
	}
	return connect.NewResponse(&plimsollv1.GetDegradationResponse{
		Position: w.position(), Now: timestamppb.Now(), LevelMillionths: w.shed,
		Tiers: []*plimsollv1.TierState{{Name: "critical"}, {Name: "optional", Rank: 1, ShedMillionths: w.shed, FlagCount: uint32(len(w.flags))}},
	}), nil
}

func (w *world) GetStatus(context.Context, *connect.Request[plimsollv1.GetStatusRequest]) (*connect.Response[plimsollv1.GetStatusResponse], error) {
	return connect.NewResponse(&plimsollv1.GetStatusResponse{Version: "test"}), nil
}

func (w *world) ListFlags(context.Context, *connect.Request[plimsollv1.ListFlagsRequest]) (*connect.Response[plimsollv1.ListFlagsResponse], error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lists++
	out := new(plimsollv1.ListFlagsResponse)
	for _, f := range w.flags {
		out.Flags = append(out.Flags, f)
	}
	slices.SortFunc(out.GetFlags(), func(a, b *plimsollv1.Flag) int { return strings.Compare(a.GetKey(), b.GetKey()) })
	return connect.NewResponse(out), nil
}

func (w *world) GetFlag(_ context.Context, req *connect.Request[plimsollv1.GetFlagRequest]) (*connect.Response[plimsollv1.GetFlagResponse], error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f, ok := w.flags[req.Msg.GetKey()]
	if !ok {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("there is no such flag"))
	}
	return connect.NewResponse(&plimsollv1.GetFlagResponse{Flag: f, Position: w.position()}), nil
}

func (w *world) ListRecords(_ context.Context, req *connect.Request[plimsollv1.ListRecordsRequest]) (*connect.Response[plimsollv1.ListRecordsResponse], error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := new(plimsollv1.ListRecordsResponse)
	for _, rec := range slices.Backward(w.records) {
		if before := req.Msg.GetBeforeSeq(); before != 0 && rec.GetSeq() >= before {
			continue
		}
		if uint32(len(out.GetRecords())) == req.Msg.GetLimit() {
			out.NextBeforeSeq = rec.GetSeq() + 1
			break
		}
		out.Records = append(out.Records, rec)
	}
	return connect.NewResponse(out), nil
}

func (w *world) GetRollout(context.Context, *connect.Request[plimsollv1.GetRolloutRequest]) (*connect.Response[plimsollv1.GetRolloutResponse], error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	return connect.NewResponse(&plimsollv1.GetRolloutResponse{Position: w.position(), Live: 3, Applied: w.applied}), nil
}

func (w *world) GetUsage(context.Context, *connect.Request[plimsollv1.GetUsageRequest]) (*connect.Response[plimsollv1.GetUsageResponse], error) {
	return connect.NewResponse(&plimsollv1.GetUsageResponse{Window: durationpb.New(time.Minute), Flags: []*plimsollv1.FlagUsage{
		{FlagKey: "b", Outcomes: []*plimsollv1.OutcomeCount{{Variant: "on", Count: 12}, {Variant: "off", Count: 30}}},
	}}), nil
}

func (w *world) ListNamespaces(context.Context, *connect.Request[plimsollv1.ListNamespacesRequest]) (*connect.Response[plimsollv1.ListNamespacesResponse], error) {
	return connect.NewResponse(&plimsollv1.ListNamespacesResponse{Namespaces: []*plimsollv1.Namespace{{Name: "default"}}}), nil
}

// console is a console of the world, which the test closes.
func (w *world) console(t testing.TB) *Console {
	t.Helper()
	c, err := New(Options{
		Flags: w, Degradation: w, Fleet: w, Audit: w, Admin: w,
		Superseded: func(ns string) (<-chan struct{}, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if ns != "default" {
				return nil, connect.NewError(connect.CodeNotFound, errors.New("there is no such namespace"))
			}
			return w.superseded, nil
		},
		As:  func(ctx context.Context, _ string) context.Context { return ctx },
		Key: func(context.Context) ([]byte, error) { return []byte("a key of the tests"), nil },
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var _ http.Handler = (*Console)(nil)
