package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

func TestLasting(t *testing.T) {
	tests := map[string]time.Duration{
		"30m": 30 * time.Minute, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour, "0.5d": 12 * time.Hour, "1.5h": 90 * time.Minute,
		"0": 0, "0s": 0, "0d": 0, "-5m": 0, "-1d": 0, "": 0, "soon": 0, "d": 0, "5": 0, "1d-12h": 0, "1d-2d": 0, "NaNd": 0, "1e9d": 0, "--5m": 0, "1d-24h": 0,
	}
	for text, want := range tests {
		var l lasting
		err := l.Set(text)
		switch {
		case want == 0 && (err == nil || l.d != nil):
			t.Errorf("%q is taken as %s", text, l.String())
		case want != 0 && (err != nil || *l.d != want):
			t.Errorf("%q is %s, want %s (%v)", text, l.String(), want, err)
		}
	}
}

func TestParsePercent(t *testing.T) {
	good := map[string]uint32{"0": 0, "100": 1_000_000, "100.0000": 1_000_000, "25": 250_000, "0.5": 5_000, "12.3456": 123_456, "0.0001": 1, "40%": 400_000, "40 %": 400_000, "007": 70_000}
	for text, want := range good {
		if got, err := parsePercent(text); err != nil || got != want {
			t.Errorf("%q is %d, want %d (%v)", text, got, want, err)
		}
	}
	for _, text := range []string{"", "140", "100.0001", "-1", "+1", "1e1", "0.00001", ".5", "5.", "half", "999999999999", "1,5", "%"} {
		if got, err := parsePercent(text); err == nil {
			t.Errorf("%q is taken as %d", text, got)
		}
	}
}

func hold(name string, floor, ceiling *degrade.Level, ends time.Time) *plimsollv1.Hold {
	h := &plimsollv1.Hold{Name: name, FloorMillionths: (*uint32)(floor), CeilingMillionths: (*uint32)(ceiling)}
	if !ends.IsZero() {
		h.ExpiresAt = timestamppb.New(ends)
	}
	return h
}

func degree(text string) *degrade.Level {
	l, err := degrade.ParseLevel(text)
	if err != nil {
		panic(err)
	}
	return &l
}

// TestStanding: what was told once has the right level at every later moment, and
// says which hold it is that of.
func TestStanding(t *testing.T) {
	noon := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	res := &plimsollv1.GetDegradationResponse{
		Now: timestamppb.New(noon), AutoMillionths: 700_000,
		Tiers: []*plimsollv1.TierState{{Name: "a"}, {Name: "b", Rank: 1}, {Name: "c", Rank: 2}},
		Holds: []*plimsollv1.Hold{
			hold("cap", nil, degree("0.2"), noon.Add(40*time.Minute)),
			hold("pin", degree("1.25"), degree("1.25"), noon.Add(10*time.Minute)),
			hold("shed-c", degree("0.4"), nil, noon.Add(30*time.Minute)),
		},
	}
	tests := []struct {
		after          time.Duration
		level, decides string
		pinned         bool
		shed           []uint32
		lapsed         int
	}{
		{0, "1.25", "pin", true, []uint32{0, 250_000, 1_000_000}, 0},
		{10*time.Minute - 1, "1.25", "pin", true, []uint32{0, 250_000, 1_000_000}, 0},
		{10 * time.Minute, "0.4", "shed-c", false, []uint32{0, 0, 400_000}, 1},
		{30 * time.Minute, "0.2", "cap", false, []uint32{0, 0, 200_000}, 2},
		{40 * time.Minute, "0.7", "", false, []uint32{0, 0, 700_000}, 3},
	}
	for _, tt := range tests {
		s := standingAt(res, noon.Add(tt.after))
		if s.level.String() != tt.level || s.pinned != tt.pinned || s.reckon().decides != tt.decides {
			t.Errorf("after %s: level %s, pinned %v, by %q; want %s, %v, %q", tt.after, s.level, s.pinned, s.reckon().decides, tt.level, tt.pinned, tt.decides)
		}
		lapsed := 0
		for _, h := range s.holdsJSON() {
			if h.Lapsed {
				lapsed++
			}
		}
		var shed []uint32
		for _, tier := range s.tiers {
			shed = append(shed, tier.GetShedMillionths())
		}
		if lapsed != tt.lapsed || !slices.Equal(shed, tt.shed) {
			t.Errorf("after %s: %d lapsed, shed %v; want %d, %v", tt.after, lapsed, shed, tt.lapsed, tt.shed)
		}
	}
}

func TestUntilText(t *testing.T) {
	now := time.Date(2026, 3, 4, 14, 35, 0, 0, time.Local)
	for left, want := range map[time.Duration]string{
		30 * time.Minute: "until 15:05 (in 30 min)",
		90 * time.Second: "until 14:36:30 (in 90 s)",
		72 * time.Hour:   "until 2026-03-07 14:35 (in 3 d)",
		10 * time.Hour:   "until 2026-03-05 00:35 (in 10 h)",
	} {
		if got := untilText(timestamppb.New(now.Add(left)), now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := untilText(nil, now); got != "" {
		t.Errorf("no end is %q", got)
	}
}

// effective answers Shed with effects that no server of a test has.
type effective struct {
	plimsollv1connect.UnimplementedDegradationServiceHandler
	effects *plimsollv1.Effects
}

func (e effective) Shed(_ context.Context, req *connect.Request[plimsollv1.ShedRequest]) (*connect.Response[plimsollv1.ShedResponse], error) {
	return connect.NewResponse(&plimsollv1.ShedResponse{
		Change: &plimsollv1.ChangeResult{ChangeId: req.Msg.GetChange().GetChangeId(), Changed: true, Position: at(4711)}, Effects: e.effects,
		Hold: &plimsollv1.Hold{Name: "shed-" + req.Msg.GetTier(), FloorMillionths: &req.Msg.ShareMillionths},
	}), nil
}

// TestEffects: which share of the traffic it is, and not every flag of many.
func TestEffects(t *testing.T) {
	flags := make([]*plimsollv1.FlagEffect, 1000)
	for i := range flags {
		flags[i] = &plimsollv1.FlagEffect{FlagKey: "f\x1b[31m", Tier: "optional", DegradedAfterMillionths: 400_000, Variant: "off", Evaluations: 48_210, Changed: 5_785}
	}
	tests := []struct {
		name    string
		effects *plimsollv1.Effects
		want    []string
	}{
		{"nothing", &plimsollv1.Effects{}, []string{"optional: 100 % shed\nno flag gets other answers\nundo: flagctl undo "}},
		{"no counts", &plimsollv1.Effects{Flags: flags[:1], FlagCount: 1}, []string{"traffic: no evaluations reported yet\n"}},
		{
			"many", &plimsollv1.Effects{Flags: flags, FlagCount: 50_000, Evaluations: 48_210, Changed: 5_785, Window: durationpb.New(10 * time.Minute)},
			[]string{`f\x1b[31m  optional  0 % → 40 %  off  12 % of 48 210`, "… and 49 988 more: -o json has them all\n", "traffic: about 12 % of the 48 210 evaluations of the last 10 min\n"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.Handle(plimsollv1connect.NewDegradationServiceHandler(effective{effects: tt.effects}))
			r := runFlagctl(t.Context(), t, serve(t, mux), "shed", "optional")
			r.want(t, exitDone)
			for _, want := range tt.want {
				if !strings.Contains(r.stdout, want) {
					t.Errorf("standard output lacks %q:\n%s", want, r.stdout)
				}
			}
		})
	}
}

// TestLostIncident: the answer to a change is lost, so that nobody knows whether
// it was made.
func TestLostIncident(t *testing.T) {
	for _, args := range [][]string{{"kill", "x"}, {"restore", "x"}, {"shed", "optional"}, {"level", "set", "1"}, {"undo"}} {
		url := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		runFlagctl(t.Context(), t, url, args...).want(t, exitUnreachable, "the change may have been made", "`flagctl audit --change ", "tells; it would be change ")
	}
}

// partial is a server whose parts fail, or stand still.
type partial struct {
	plimsollv1connect.AdminServiceClient
	plimsollv1connect.AuditServiceClient
	plimsollv1connect.FleetServiceClient
	plimsollv1connect.DegradationServiceClient
	old bool // it knows nothing of degradation
}

func (p *partial) GetStatus(context.Context, *connect.Request[plimsollv1.GetStatusRequest]) (*connect.Response[plimsollv1.GetStatusResponse], error) {
	return connect.NewResponse(&plimsollv1.GetStatusResponse{
		Version: "0.9", Namespace: &plimsollv1.Namespace{Name: "default"}, LevelMillionths: 400_000, OverrideCount: 2, Warnings: []string{"the disk is nearly full"},
	}), nil
}

func (p *partial) GetDegradation(_ context.Context, _ *connect.Request[plimsollv1.GetDegradationRequest]) (*connect.Response[plimsollv1.GetDegradationResponse], error) {
	if p.old {
		return nil, connect.NewWireError(connect.CodeUnimplemented, errors.New("unknown service"))
	}
	return connect.NewResponse(&plimsollv1.GetDegradationResponse{Now: timestamppb.Now(), LevelMillionths: 400_000, AutoMillionths: 400_000,
		Tiers: []*plimsollv1.TierState{{Name: "vital"}, {Name: "optional", Rank: 1, FlagCount: 7}}}), nil
}

func (p *partial) GetFailureMap(ctx context.Context, _ *connect.Request[plimsollv1.GetFailureMapRequest]) (*connect.Response[plimsollv1.GetFailureMapResponse], error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (p *partial) GetRollout(ctx context.Context, _ *connect.Request[plimsollv1.GetRolloutRequest]) (*connect.Response[plimsollv1.GetRolloutResponse], error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (p *partial) ListRecords(context.Context, *connect.Request[plimsollv1.ListRecordsRequest]) (*connect.Response[plimsollv1.ListRecordsResponse], error) {
	return nil, connect.NewWireError(connect.CodePermissionDenied, errors.New("viewers may not"))
}

// TestPartialStatus: what status shows does not wait for what it cannot have.
func TestPartialStatus(t *testing.T) {
	for _, old := range []bool{false, true} {
		t.Setenv("PLIMSOLL_FLAGCTL_CACHE", t.TempDir())
		synctest.Test(t, func(t *testing.T) {
			var stdout, stderr lockedBuffer
			c := newCLI(strings.NewReader(""), &stdout, &stderr, nil)
			c.client = remote.New(remote.Target{Server: "http://a:8013"})
			p := &partial{old: old}
			c.client.Admin, c.client.Audit, c.client.Fleet, c.client.Degradation = p, p, p, p
			began := time.Now()
			if code := c.run(t.Context(), nil); code != exitDone {
				t.Errorf("exit code %d: %s", code, stderr.String())
			}
			if took := time.Since(began); took != besideTimeout {
				t.Errorf("it took %s, want %s", took, besideTimeout)
			}
			wants := []string{"warning: the disk is nearly full\n", "note: the fleet is not known: no answer within 3s\n", "note: the newest changes are not known: viewers may not\n"}
			if old {
				wants = append(wants, "level 0.4, 2 overrides\n", "note: the level is not known: this server does not know the call")
			} else {
				wants = append(wants, "level 0.4 of 1, automatic 0.4\n", "40 %  7 flags\n")
			}
			for _, want := range wants {
				if !strings.Contains(stdout.String(), want) {
					t.Errorf("it lacks %q:\n%s", want, stdout.String())
				}
			}
		})
	}
}
