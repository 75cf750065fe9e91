package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	of "github.com/open-feature/go-sdk/openfeature"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
	"github.com/plimsoll-dev/plimsoll/sdk"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// contestDefinitions is the contest in Plimsoll's format, which is flagd's.
var contestDefinitions = []flag.Source{
	{Key: staticFlag, JSON: `{"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"}`},
	{Key: ruleFlag, JSON: `{"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
		"targeting": {"if": [{"==": [{"var": "plan"}, "team"]}, "on"]}}`},
	{Key: conditionsFlag, JSON: `{"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
		"targeting": {"if": [{"and": [
			{"in": [{"var": "plan"}, ["pro", "team"]]},
			{"!=": [{"var": "country"}, "US"]}]}, "on"]}}`},
	{Key: rolloutFlag, JSON: `{"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
		"targeting": {"fractional": [["on", 50], ["off", 50]]}}`},
}

// plimsoll is the contest in Plimsoll's provider, as an app has it: it got the
// flags over a stream, and the stream stands.
func plimsoll(tb testing.TB) of.FeatureProvider {
	_, handler := plimsollv1connect.NewSyncServiceHandler(&oneSnapshot{flags: contestDefinitions})
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	provider, err := sdk.NewProvider(sdk.WithEndpoints(server.URL), sdk.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	defer cancel()
	if err := provider.InitWithContext(ctx, of.EvaluationContext{}); err != nil {
		tb.Fatalf("start the provider: %v", err)
	}
	tb.Cleanup(provider.Shutdown)
	if got := provider.BooleanEvaluation(ctx, staticFlag, false, customer()); !got.Value {
		tb.Fatalf("the provider got no flags: %s %v", got.Reason, got.Error())
	}
	return provider
}

// oneSnapshot is a SyncService that sends one state and then nothing.
type oneSnapshot struct {
	plimsollv1connect.UnimplementedSyncServiceHandler // of Report
	flags                                             []flag.Source
}

// Watch implements plimsollv1connect.SyncServiceHandler.
func (s *oneSnapshot) Watch(ctx context.Context, _ *connect.Request[plimsollv1.WatchRequest], stream *connect.ServerStream[plimsollv1.WatchResponse]) error {
	objects := &plimsollv1.StateChange{}
	for _, f := range s.flags {
		objects.Flags = append(objects.Flags, &plimsollv1.FlagDefinition{Key: f.Key, Definition: f.JSON})
	}
	if err := stream.Send(&plimsollv1.WatchResponse{
		Position: &plimsollv1.Position{StoreId: "00112233445566778899aabbccddeeff", Epoch: 1, Revision: 1},
		Event:    &plimsollv1.WatchResponse_Snapshot{Snapshot: &plimsollv1.SnapshotChunk{Last: true, Objects: objects}},
	}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// manyFlagSources are n flags of one kind in Plimsoll's format.
func manyFlagSources(kind string, n int) []flag.Source {
	sources := make([]flag.Source, n)
	for i := range sources {
		variant := "on"
		if i%2 == 1 {
			variant = "off"
		}
		targeting := ""
		if kind == "rule" {
			targeting = fmt.Sprintf(`,"targeting":{"if":[{"==":[{"var":"plan"},"plan-%d"]},"on"]}`, i%100)
		}
		sources[i] = flag.Source{
			Key:  fmt.Sprintf("flag-%06d", i),
			JSON: fmt.Sprintf(`{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":%q%s}`, variant, targeting),
		}
	}
	return sources
}

// loadSources makes a set of a copy of the sources, so that what the set keeps
// of their text counts as its own.
func loadSources(tb testing.TB, sources []flag.Source) *flag.Set {
	tb.Helper()
	own := make([]flag.Source, len(sources))
	for i, s := range sources {
		own[i] = flag.Source{Key: string(slices.Clone([]byte(s.Key))), JSON: string(slices.Clone([]byte(s.JSON)))}
	}
	set, problems := flag.Empty().With(flag.Update{Reset: true, Flags: own, Epoch: 1, Revision: 1}, time.Now())
	if len(problems) > 0 {
		tb.Fatalf("%s: %v", problems[0].Key, problems[0].Faults)
	}
	return set
}
