package api_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/validate"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
	"github.com/plimsoll-dev/plimsoll/store"
)

const day = 24 * time.Hour

// bench serves a store of its own, with a clock that is set by hand and usage as
// the test says.
type bench struct {
	plimsollv1connect.DegradationServiceClient
	store *store.Store
	nanos atomic.Int64
	usage *plimsollv1.GetUsageResponse
	err   error
}

func (b *bench) now() time.Time { return time.Unix(0, b.nanos.Load()) }

func newBench(t *testing.T) *bench {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	member, err := store.StartEmbedded(t.Context(), store.EmbeddedOptions{Dir: t.TempDir(), Logger: quiet, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = member.Close() })
	b := new(bench)
	b.nanos.Store(time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	b.store, err = store.Open(store.Options{
		Connect: func() (*clientv3.Client, error) { return member.Client(), nil }, KeepClient: true, Logger: quiet, Now: b.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.store.Close)
	select {
	case <-b.store.Ready():
	case <-time.After(time.Minute):
		t.Fatal("the store was not ready within a minute")
	}
	service := &api.Degradation{Store: b.store, Now: b.now, Usage: func(_ context.Context, ns string) (*plimsollv1.GetUsageResponse, error) {
		if ns != store.DefaultNamespace {
			return nil, errors.New("another namespace")
		}
		return b.usage, b.err
	}}
	_, handler := plimsollv1connect.NewDegradationServiceHandler(service, connect.WithInterceptors(validate.NewInterceptor()))
	server := httptest.NewServer(authz.Identify(handler))
	t.Cleanup(server.Close)
	b.DegradationServiceClient = plimsollv1connect.NewDegradationServiceClient(server.Client(), server.URL, connect.WithInterceptors(
		connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
			return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
				req.Header().Set(authz.HeaderActor, "ann")
				req.Header().Set(authz.HeaderOrigin, "test")
				return next(ctx, req)
			}
		})))
	for key, definition := range map[string]string{
		"banner":   `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`,
		"checkout": shopFlag("critical", ""),
		"search":   shopFlag("standard", ""),
		"recs":     shopFlag("optional", `,"targeting":{"if":[{"==":[{"var":"a"},1]},"less",null]}`),
		"reviews":  strings.Replace(shopFlag("optional", ""), "ENABLED", "DISABLED", 1),
	} {
		if _, _, err := b.store.CreateFlag(t.Context(), store.DefaultNamespace, key, definition, store.Change{Actor: &plimsollv1.Actor{Name: "eve"}}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func shopFlag(tier, more string) string {
	return `{"state":"ENABLED","variants":{"full":1,"less":0.5},"defaultVariant":"full"` + more +
		`,"degradation":{"tier":"` + tier + `","degradedVariant":"less","dependsOn":["db"]},"plimsoll":{"owner":"team-` + tier + `"}}`
}

// used is what one flag served: variant/reason=count.
func used(key string, outcomes ...string) *plimsollv1.FlagUsage {
	u := &plimsollv1.FlagUsage{FlagKey: key}
	for _, text := range outcomes {
		o := new(plimsollv1.OutcomeCount)
		what, count, _ := strings.Cut(text, "=")
		o.Variant, o.Reason, _ = strings.Cut(what, "/")
		if _, err := fmt.Sscan(count, &o.Count); err != nil {
			panic(err)
		}
		u.Outcomes = append(u.Outcomes, o)
	}
	return u
}

// told is effects in short.
func told(e *plimsollv1.Effects) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d", e.GetChanged(), e.GetEvaluations())
	for _, f := range e.GetFlags() {
		fmt.Fprintf(&b, "; %s(%s) %d>%d %s %d/%d", f.GetFlagKey(), f.GetTier(), f.GetDegradedBeforeMillionths()/10_000, f.GetDegradedAfterMillionths()/10_000,
			f.GetVariant(), f.GetChanged(), f.GetEvaluations())
	}
	return b.String()
}

// TestEffects makes changes one after the other; each is rehearsed before, and
// must say the same then.
func TestEffects(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	plain := &plimsollv1.GetUsageResponse{Window: durationpb.New(10 * time.Minute), Flags: []*plimsollv1.FlagUsage{
		used("banner", "off/STATIC=50", "/ERROR=2"),
		used("checkout", "full/STATIC=100"),
		used("recs", "full/TARGETING_MATCH=0", "full/DEFAULT=80", "less/TARGETING_MATCH=20"),
		used("search", "full/STATIC=200"),
	}}
	dimmed := func(flags ...*plimsollv1.FlagUsage) *plimsollv1.GetUsageResponse {
		return &plimsollv1.GetUsageResponse{Window: plain.GetWindow(), Flags: flags}
	}
	type effects interface{ GetEffects() *plimsollv1.Effects }
	kill := func(variant string, keys ...string) func(dry bool) (effects, *plimsollv1.ChangeResult, error) {
		return func(dry bool) (effects, *plimsollv1.ChangeResult, error) {
			r, err := b.Kill(ctx, connect.NewRequest(&plimsollv1.KillRequest{FlagKeys: keys, Variant: variant, DryRun: dry}))
			if err != nil {
				return nil, nil, err
			}
			return r.Msg, r.Msg.GetChange(), nil
		}
	}
	shed := func(tier string, share uint32) func(dry bool) (effects, *plimsollv1.ChangeResult, error) {
		return func(dry bool) (effects, *plimsollv1.ChangeResult, error) {
			r, err := b.Shed(ctx, connect.NewRequest(&plimsollv1.ShedRequest{Tier: tier, ShareMillionths: share, DryRun: dry}))
			if err != nil {
				return nil, nil, err
			}
			return r.Msg, r.Msg.GetChange(), nil
		}
	}
	restore := func(keys ...string) func(dry bool) (effects, *plimsollv1.ChangeResult, error) {
		return func(dry bool) (effects, *plimsollv1.ChangeResult, error) {
			r, err := b.Restore(ctx, connect.NewRequest(&plimsollv1.RestoreRequest{FlagKeys: keys, DryRun: dry}))
			if err != nil {
				return nil, nil, err
			}
			return r.Msg, r.Msg.GetChange(), nil
		}
	}
	undo := func(dry bool) (effects, *plimsollv1.ChangeResult, error) {
		r, err := b.Undo(ctx, connect.NewRequest(&plimsollv1.UndoRequest{DryRun: dry}))
		if err != nil {
			return nil, nil, err
		}
		return r.Msg, r.Msg.GetChange(), nil
	}
	on := "on"
	for _, step := range []struct {
		name  string
		usage *plimsollv1.GetUsageResponse
		err   error
		do    func(dry bool) (effects, *plimsollv1.ChangeResult, error)
		want  string
		same  bool // nothing changes
	}{
		{name: "kill", usage: plain, do: kill("", "recs", "search"),
			want: "280 of 452; recs(optional) 0>100 less 80/100; search(standard) 0>100 less 200/200"},
		{name: "again", usage: dimmed(used("recs", "less/OVERRIDE=10")), do: kill("", "recs"), want: "0 of 10"},
		{name: "to another variant", usage: dimmed(used("recs", "less/OVERRIDE=10")), do: kill("full", "recs"), want: "10 of 10; recs(optional) 100>100 full 10/10"},
		{name: "undone", usage: dimmed(used("recs", "less/OVERRIDE=10", "full/OVERRIDE=5")), do: undo, want: "5 of 15; recs(optional) 100>100 less 5/15"},
		{name: "restore one", usage: dimmed(used("search", "less/OVERRIDE=10", "full/STATIC=7")), do: restore("search"), want: "10 of 17; search(standard) 100>0 less 10/17"},
		{name: "nothing to restore", usage: plain, do: restore("search"), want: "0 of 452", same: true},
		{name: "kill of no tier", usage: plain, do: kill("on", "banner"), want: "52 of 452; banner() 0>100 on 52/52"},
		{name: "kill of a disabled one", usage: dimmed(used("reviews", "/DISABLED=9")), do: kill("", "reviews"), want: "9 of 9; reviews(optional) 0>100 less 9/9"},
		{name: "restore all", usage: dimmed(used("banner", "on/OVERRIDE=3"), used("recs", "less/OVERRIDE=4")), do: restore(),
			want: "7 of 7; recs(optional) 100>0 less 4/4; reviews(optional) 100>0 less 0/0; banner() 100>0 on 3/3"},
		// The disabled flag is not shed; who is targeted to the degraded variant
		// keeps it.
		{name: "shed half", usage: plain, do: shed("optional", 500_000), want: "40 of 452; recs(optional) 0>50 less 40/100"},
		{name: "shed all of it and some of the next", usage: dimmed(used("recs", "less/DEGRADED=50", "full/DEFAULT=50"), used("search", "full/STATIC=40")), do: shed("standard", 250_000),
			want: "60 of 140; recs(optional) 50>100 less 50/100; search(standard) 0>25 less 10/40"},
		{name: "less of the next", usage: dimmed(used("search", "less/DEGRADED=30", "full/DEFAULT=90")), do: shed("standard", 100_000), want: "18 of 120; search(standard) 25>10 less 18/120"},
		{name: "no counts", err: errors.New("the fleet cannot be asked"), do: kill("", "recs"), want: "0 of 0"},
		{name: "undo of all", usage: plain, do: restore(), want: "0 of 452; recs(optional) 100>0 less 0/100; search(standard) 10>0 less 0/200"},
	} {
		b.usage, b.err = step.usage, step.err
		dry, result, err := step.do(true)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if result.GetChanged() {
			t.Errorf("%s: the dry run has changed something", step.name)
		}
		done, result, err := step.do(false)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if result.GetChanged() == step.same {
			t.Errorf("%s: changed %v", step.name, result.GetChanged())
		}
		if got := told(done.GetEffects()); got != step.want {
			t.Errorf("%s:\n%s\nwant\n%s", step.name, got, step.want)
		}
		if !proto.Equal(dry.GetEffects(), done.GetEffects()) {
			t.Errorf("%s: the dry run says\n%s\nand then it is\n%s", step.name, told(dry.GetEffects()), told(done.GetEffects()))
		}
		if (done.GetEffects().GetWindow() == nil) != (done.GetEffects().GetEvaluations() == 0) {
			t.Errorf("%s: the window is %v", step.name, done.GetEffects().GetWindow())
		}
	}
	// A change of a definition, taken back.
	b.usage, b.err = dimmed(used("banner", "on/STATIC=6", "off/STATIC=1")), nil
	if _, _, err := b.store.UpdateFlag(ctx, store.DefaultNamespace, "banner", store.FlagUpdate{DefaultVariant: &on}, store.Change{Actor: &plimsollv1.Actor{Name: "ann"}}); err != nil {
		t.Fatal(err)
	}
	e, _, err := undo(false)
	if err != nil || told(e.GetEffects()) != "6 of 7; banner() 0>0  6/7" {
		t.Errorf("undone: %s, %v", told(e.GetEffects()), err)
	}
}

func TestDegradationService(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	state := func() *plimsollv1.GetDegradationResponse {
		t.Helper()
		r, err := b.GetDegradation(ctx, connect.NewRequest(&plimsollv1.GetDegradationRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		return r.Msg
	}
	s := state()
	if s.GetLevelMillionths() != 0 || s.GetPinned() || len(s.GetTiers()) != 4 || s.GetTiers()[3].GetFlagCount() != 2 || s.GetTiers()[1].GetFlagCount() != 0 || !s.GetNow().AsTime().Equal(b.now()) {
		t.Errorf("at the beginning: %v", s)
	}
	hour := durationpb.New(time.Hour)
	killed, err := b.Kill(ctx, connect.NewRequest(&plimsollv1.KillRequest{FlagKeys: []string{"search"}, Duration: hour, Change: &plimsollv1.ChangeInfo{ChangeId: "the-kill", Reason: "it burns"}}))
	if err != nil {
		t.Fatal(err)
	}
	ov := killed.Msg.GetOverrides()[0]
	if ov.GetFlagKey() != "search" || ov.GetVariant() != "less" || ov.GetActor().GetName() != "ann" || ov.GetReason() != "it burns" || ov.GetChangeId() != "the-kill" || !ov.GetExpiresAt().AsTime().Equal(b.now().Add(time.Hour)) {
		t.Errorf("the override is %v", ov)
	}
	shed, err := b.Shed(ctx, connect.NewRequest(&plimsollv1.ShedRequest{Tier: "optional", ShareMillionths: 400_000, Duration: hour}))
	if err != nil || shed.Msg.GetHold().GetName() != "shed-optional" || shed.Msg.GetEffects().GetLevelAfterMillionths() != 400_000 || shed.Msg.GetEffects().GetWindow() != nil {
		t.Fatal(shed, err)
	}
	level := uint32(1_250_000)
	pinned, err := b.SetLevel(ctx, connect.NewRequest(&plimsollv1.SetLevelRequest{LevelMillionths: &level}))
	if err != nil || pinned.Msg.GetHold().GetName() != "pin" || len(pinned.Msg.GetRemoved()) != 1 || pinned.Msg.GetEffects().GetLevelBeforeMillionths() != 400_000 {
		t.Fatal(pinned, err)
	}
	s = state()
	if !s.GetPinned() || s.GetLevelMillionths() != level || len(s.GetHolds()) != 1 || len(s.GetOverrides()) != 1 ||
		s.GetTiers()[3].GetShedMillionths() != 1_000_000 || s.GetTiers()[2].GetShedMillionths() != 250_000 || s.GetTiers()[0].GetShedMillionths() != 0 {
		t.Errorf("pinned: %v", s)
	}
	u, err := b.Undo(ctx, connect.NewRequest(&plimsollv1.UndoRequest{}))
	if err != nil || u.Msg.GetUndoneVerb() != "level.set" || u.Msg.GetUndoneChangeId() != pinned.Msg.GetChange().GetChangeId() || u.Msg.GetUndoneActor().GetName() != "ann" || u.Msg.GetUndoneTime() == nil || len(u.Msg.GetObjects()) != 2 {
		t.Fatal(u, err)
	}
	if s := state(); s.GetLevelMillionths() != 400_000 || s.GetPinned() {
		t.Errorf("undone: %v", s)
	}
	restored, err := b.Restore(ctx, connect.NewRequest(&plimsollv1.RestoreRequest{}))
	if err != nil || len(restored.Msg.GetOverrides()) != 1 || len(restored.Msg.GetHolds()) != 1 {
		t.Fatal(restored, err)
	}
	auto, err := b.SetLevel(ctx, connect.NewRequest(&plimsollv1.SetLevelRequest{}))
	if err != nil || auto.Msg.GetChange().GetChanged() || auto.Msg.GetHold() != nil {
		t.Fatal(auto, err)
	}

	plan, err := b.GetPlan(ctx, connect.NewRequest(&plimsollv1.GetPlanRequest{}))
	if err != nil || len(plan.Msg.GetPlan().GetTiers()) != 4 || len(plan.Msg.GetFindings()) == 0 { // nobody knows db
		t.Fatal(plan, err)
	}
	next := proto.Clone(plan.Msg.GetPlan()).(*plimsollv1.Plan)
	next.Dependencies = []*plimsollv1.Dependency{{Name: "db"}}
	applied, err := b.ApplyPlan(ctx, connect.NewRequest(&plimsollv1.ApplyPlanRequest{Plan: next, BaseRevision: plan.Msg.GetInfo().GetRevision()}))
	if err != nil || !applied.Msg.GetChange().GetChanged() || !proto.Equal(applied.Msg.GetBefore(), plan.Msg.GetPlan()) {
		t.Fatal(applied, err)
	}
	for _, f := range applied.Msg.GetFindings() {
		if strings.Contains(f.GetMessage(), "db") && f.GetSeverity() != plimsollv1.Severity_SEVERITY_WARNING {
			t.Errorf("finding %v", f)
		}
	}
	m, err := b.GetFailureMap(ctx, connect.NewRequest(&plimsollv1.GetFailureMapRequest{}))
	if err != nil || len(m.Msg.GetFeatures()) != 4 || !proto.Equal(m.Msg.GetPlan(), next) {
		t.Fatal(m, err)
	}
	want := &plimsollv1.Feature{
		FlagKey: "recs", Tier: "optional", Rank: 3, DegradedVariant: "less", DefaultVariant: "full", Targeted: true, Enabled: true, DependsOn: []string{"db"}, Owner: "team-optional",
	}
	if got := m.Msg.GetFeatures()[1]; !proto.Equal(got, want) {
		t.Errorf("feature %v, want %v", got, want)
	}
}

func TestDegradationErrors(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	kill := func(req *plimsollv1.KillRequest) func() error {
		return func() error { _, err := b.Kill(ctx, connect.NewRequest(req)); return err }
	}
	shed := func(req *plimsollv1.ShedRequest) func() error {
		return func() error { _, err := b.Shed(ctx, connect.NewRequest(req)); return err }
	}
	plan := func(req *plimsollv1.ApplyPlanRequest) func() error {
		return func() error { _, err := b.ApplyPlan(ctx, connect.NewRequest(req)); return err }
	}
	deep := uint32(3_000_001)
	circle := &plimsollv1.Plan{Tiers: []*plimsollv1.Tier{{Name: "a"}, {Name: "b"}}, Dependencies: []*plimsollv1.Dependency{{Name: "x", DependsOn: []string{"y"}}, {Name: "y", DependsOn: []string{"x"}}}}
	for _, tc := range []struct {
		name   string
		do     func() error
		code   connect.Code
		want   string
		detail string
	}{
		{"an unknown flag", kill(&plimsollv1.KillRequest{FlagKeys: []string{"rec"}}), connect.CodeNotFound, `did you mean "recs"`, ""},
		{"an unknown namespace", kill(&plimsollv1.KillRequest{Namespace: "shop", FlagKeys: []string{"recs"}}), connect.CodeNotFound, "namespace", ""},
		{"no degraded variant", kill(&plimsollv1.KillRequest{FlagKeys: []string{"banner"}}), connect.CodeFailedPrecondition, "name the variant", ""},
		{"nothing named", kill(&plimsollv1.KillRequest{}), connect.CodeInvalidArgument, "name flags", ""},
		{"no time", kill(&plimsollv1.KillRequest{FlagKeys: []string{"recs"}, Duration: new(durationpb.Duration)}), connect.CodeInvalidArgument, "in the past", ""},
		{"all time", kill(&plimsollv1.KillRequest{FlagKeys: []string{"recs"}, Duration: &durationpb.Duration{Seconds: 1 << 60}}), connect.CodeInvalidArgument, "longer than a year", ""},
		{"a year and a day", shed(&plimsollv1.ShedRequest{Tier: "optional", ShareMillionths: 1, Duration: durationpb.New(366 * day)}), connect.CodeInvalidArgument, "longer than a year", ""},
		{"an unknown tier", shed(&plimsollv1.ShedRequest{Tier: "optionl", ShareMillionths: 1}), connect.CodeNotFound, `did you mean "optional"`, ""},
		{"rank 0", shed(&plimsollv1.ShedRequest{Tier: "critical", ShareMillionths: 1}), connect.CodeInvalidArgument, "never shed", ""},
		{"more than all", shed(&plimsollv1.ShedRequest{Tier: "optional", ShareMillionths: 1_000_001}), connect.CodeInvalidArgument, "share_millionths", ""},
		{"too deep", func() error {
			_, err := b.SetLevel(ctx, connect.NewRequest(&plimsollv1.SetLevelRequest{LevelMillionths: &deep}))
			return err
		}, connect.CodeInvalidArgument, "too deep", ""},
		{"an unknown change", func() error {
			_, err := b.Undo(ctx, connect.NewRequest(&plimsollv1.UndoRequest{ChangeId: "nope"}))
			return err
		}, connect.CodeNotFound, "nope", ""},
		{"nothing to undo", func() error {
			_, err := b.Undo(ctx, connect.NewRequest(&plimsollv1.UndoRequest{}))
			return err
		}, connect.CodeFailedPrecondition, `no change of "ann"`, ""},
		{"a circle", plan(&plimsollv1.ApplyPlanRequest{Plan: circle}), connect.CodeInvalidArgument, "x → y → x", "FaultList"},
		{"another base", plan(&plimsollv1.ApplyPlanRequest{BaseRevision: 1, Plan: &plimsollv1.Plan{Tiers: circle.GetTiers()}}), connect.CodeFailedPrecondition, "not 1 as this change assumed", "ConflictList"},
		{"tiers in use", plan(&plimsollv1.ApplyPlanRequest{Plan: &plimsollv1.Plan{Tiers: circle.GetTiers()}}), connect.CodeFailedPrecondition, `named by flag "checkout"`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.do()
			if connect.CodeOf(err) != tc.code || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v\nwant %s with %q", err, tc.code, tc.want)
			}
			var rpc *connect.Error
			if tc.detail != "" && (!errors.As(err, &rpc) || len(rpc.Details()) != 1 || !strings.HasSuffix(rpc.Details()[0].Type(), tc.detail)) {
				t.Errorf("no %s in it", tc.detail)
			}
		})
	}
}
