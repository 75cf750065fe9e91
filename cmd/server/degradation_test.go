package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/open-feature/go-sdk/openfeature"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
	"github.com/plimsoll-dev/plimsoll/sdk"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

func (p *process) degradation() plimsollv1connect.DegradationServiceClient {
	return plimsollv1connect.NewDegradationServiceClient(http.DefaultClient, p.url)
}

// provider is a provider of a server's default namespace.
func provider(t testing.TB, url string, options ...sdk.Option) *sdk.Provider {
	t.Helper()
	p, err := sdk.NewProvider(append(options, sdk.WithEndpoints(url), sdk.WithLogger(slog.New(slog.DiscardHandler)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Shutdown)
	if err := p.Init(openfeature.EvaluationContext{}); err != nil {
		t.Fatal(err)
	}
	return p
}

// settled waits until a provider has applied a position.
func settled(t testing.TB, p *process, at *plimsollv1.Position, processes uint32) {
	t.Helper()
	fleet := plimsollv1connect.NewFleetServiceClient(http.DefaultClient, p.url)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		r, err := fleet.GetRollout(short(t), connect.NewRequest(&plimsollv1.GetRolloutRequest{Revision: at.GetRevision()}))
		if err == nil && r.Msg.GetApplied() == processes {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not applied within 30 s: %v, %v", r, err)
		}
	}
}

// composedSet is a namespace at a position as plain flagd flags, by way of what the
// server sends to every process.
func composedSet(t testing.TB, p *process, at *plimsollv1.Position) *flag.Set {
	t.Helper()
	ctx, cancel := context.WithCancel(short(t))
	defer cancel()
	stream, err := p.sync().Watch(ctx, connect.NewRequest(&plimsollv1.WatchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	u := flag.Update{Reset: true}
	for stream.Receive() {
		m := stream.Msg()
		objects, level := m.GetSnapshot().GetObjects(), m.GetLevel()
		for _, f := range objects.GetFlags() {
			u.Flags = append(u.Flags, flag.Source{Key: f.GetKey(), JSON: f.GetDefinition()})
		}
		for _, s := range objects.GetSegments() {
			u.Segments = append(u.Segments, flag.Source{Key: s.GetName(), JSON: s.GetRule()})
		}
		if l := objects.GetLevel(); l != nil {
			level = l
		}
		if level != nil {
			u.Level = &degrade.LevelState{Auto: degrade.Level(level.GetAutoMillionths()), Seed: level.GetSeed()}
			for _, h := range level.GetHolds() {
				u.Level.Holds = append(u.Level.Holds, degrade.Hold{Name: h.GetName(), Floor: (*degrade.Level)(h.FloorMillionths), Ceiling: (*degrade.Level)(h.CeilingMillionths)})
			}
		}
		// The whole state may be an older one, which a change follows.
		if m.GetPosition().GetRevision() >= at.GetRevision() && (m.GetSnapshot() == nil || m.GetSnapshot().GetLast()) {
			break
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	set, problems := flag.Empty().With(u, time.Now())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	doc, faults := flag.ParseDocument([]byte(set.ComposeAll()), flag.Env{})
	if faults.Err() != nil {
		t.Fatal(faults)
	}
	plain := flag.Update{Reset: true}
	for _, def := range doc.Flags {
		plain.Flags = append(plain.Flags, flag.Source{Key: def.Key(), JSON: def.JSON()})
	}
	set, problems = flag.Empty().With(plain, time.Now())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

// A tier that is shed at 40 % is shed for the same 40 % of users in the provider,
// by the server's own evaluation, and as plain flagd flags; the flags of other
// tiers, and those of none, are not touched.
func TestTheSameUsersAreShedEverywhere(t *testing.T) {
	t.Parallel()
	p := spawn(t, t.TempDir(), "--demo")
	app := provider(t, p.url)
	res, err := p.degradation().Shed(short(t), connect.NewRequest(&plimsollv1.ShedRequest{Tier: "optional", ShareMillionths: 400_000}))
	if err != nil {
		t.Fatal(err)
	}
	settled(t, p, res.Msg.GetChange().GetPosition(), 1)
	plain := composedSet(t, p, res.Msg.GetChange().GetPosition())
	recommendations := sdk.Bool(app, "recommendations", true)
	const users = 10_000
	shed := 0
	for i := range users {
		key := fmt.Sprint("user-", i)
		native := recommendations.Details(t.Context(), sdk.Attributes(key, nil))
		if native.Reason == "DEGRADED" {
			shed++
		}
		if flagd := plain.Bool("recommendations", true, map[string]any{"targetingKey": key}); flagd.Value != native.Value || flagd.Variant != native.Variant {
			t.Fatalf("%s: the provider serves %v (%s), the composed flag %v (%s)", key, native.Value, native.Variant, flagd.Value, flagd.Variant)
		}
		if i%20 == 0 {
			user, err := structpb.NewStruct(map[string]any{"targetingKey": key})
			if err != nil {
				t.Fatal(err)
			}
			own, err := p.flags().Explain(short(t), connect.NewRequest(&plimsollv1.ExplainRequest{Key: "recommendations", Context: user}))
			if err != nil {
				t.Fatal(err)
			}
			if own.Msg.GetVariant() != native.Variant || own.Msg.GetReason() != string(native.Reason) {
				t.Fatalf("%s: the provider serves %s, the server %s", key, native.Variant, own.Msg.GetVariant())
			}
		}
	}
	if share := float64(shed) / users; share < 0.385 || share > 0.415 {
		t.Errorf("%.3f of the users are shed, want 0.4", share)
	}
	for key, want := range map[string]openfeature.Reason{"checkout": "STATIC", "welcome-banner": "ERROR", "theme": "ERROR"} {
		if d := app.BooleanEvaluation(t.Context(), key, false, openfeature.FlattenedContext{"targetingKey": "u"}); d.Reason != want {
			t.Errorf("%s answers %s, want %s", key, d.Reason, want)
		}
	}

	zero := uint32(0)
	set, err := p.degradation().SetLevel(short(t), connect.NewRequest(&plimsollv1.SetLevelRequest{LevelMillionths: &zero}))
	if err != nil {
		t.Fatal(err)
	}
	settled(t, p, set.Msg.GetChange().GetPosition(), 1)
	for i := range users {
		if !recommendations.Value(t.Context(), sdk.Attributes(fmt.Sprint("user-", i), nil)) {
			t.Fatalf("user-%d is still shed", i)
		}
	}
	state, err := p.degradation().GetDegradation(short(t), connect.NewRequest(&plimsollv1.GetDegradationRequest{}))
	if err != nil || !state.Msg.GetPinned() {
		t.Errorf("the level is fixed, and that is not told: %v, %v", state, err)
	}
}

// What was killed for a time comes back on time with every server dead: in an app
// that runs, and in one that is started meanwhile and has it from the cache alone.
// A server that returns records when it was due.
func TestAKillEndsOnTimeWithoutServers(t *testing.T) {
	t.Parallel()
	dir, cache := t.TempDir(), t.TempDir()
	p := spawn(t, dir, "--demo")
	running, saver := provider(t, p.url), provider(t, p.url, sdk.WithCacheDir(cache))
	const lasts = 15 * time.Second
	killed, err := p.degradation().Kill(short(t), connect.NewRequest(&plimsollv1.KillRequest{
		FlagKeys: []string{"checkout"}, Duration: durationpb.New(lasts), Change: &plimsollv1.ChangeInfo{Reason: "payments are down"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	due := killed.Msg.GetOverrides()[0].GetExpiresAt().AsTime()
	settled(t, p, killed.Msg.GetChange().GetPosition(), 2)
	saver.Shutdown() // the cache has it from then on
	p.kill()

	served := func(app *sdk.Provider) bool {
		return app.BooleanEvaluation(context.Background(), "checkout", true, openfeature.FlattenedContext{"targetingKey": "u"}).Value
	}
	started := provider(t, p.url, sdk.WithCacheDir(cache))
	if time.Now().After(due) {
		t.Fatalf("this machine took longer than the %s that the kill lasts", lasts)
	}
	if served(running) || served(started) {
		t.Fatal("the kill is not served without a server")
	}
	for _, app := range []*sdk.Provider{running, started} {
		for !served(app) {
			if time.Since(due) > 10*time.Second {
				t.Fatal("the kill did not end by itself")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if now := time.Now(); now.Before(due) {
			t.Errorf("the kill ended %s early", due.Sub(now))
		}
	}

	p = respawn(t, dir, p.url)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		log, err := p.audit().ListRecords(short(t), connect.NewRequest(&plimsollv1.ListRecordsRequest{Object: "overrides/checkout"}))
		if err == nil && log.Msg.GetRecords()[0].GetVerb() == "expire" {
			if at := log.Msg.GetRecords()[0].GetDueAt().AsTime(); !at.Equal(due) {
				t.Errorf("the record says that it was due at %s, not %s", at, due)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no record of the end: %v, %v", log, err)
		}
	}
}
