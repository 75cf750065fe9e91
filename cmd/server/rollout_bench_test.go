package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/open-feature/go-sdk/openfeature"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
	"github.com/plimsoll-dev/plimsoll/sdk"
)

// BenchmarkRollout is a change by hand until the server knows that 1 000
// processes have applied it, as `flagctl --wait` sees it: from the call of the
// change on, asked every 20 ms. All processes are providers of this one, each
// with connections of its own.
func BenchmarkRollout(b *testing.B) {
	const processes = 1000
	p := spawn(b, b.TempDir())
	ctx := b.Context()
	load(b, p, 100)
	quiet := slog.New(slog.DiscardHandler)
	var started sync.WaitGroup
	for range processes {
		provider, err := sdk.NewProvider(sdk.WithEndpoints(p.url), sdk.WithLogger(quiet))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(provider.Shutdown)
		started.Go(func() { _ = provider.Init(openfeature.EvaluationContext{}) })
	}
	started.Wait()
	fleet := plimsollv1connect.NewFleetServiceClient(http.DefaultClient, p.url)
	rollout := func(revision int64) *plimsollv1.GetRolloutResponse {
		r, err := fleet.GetRollout(ctx, connect.NewRequest(&plimsollv1.GetRolloutRequest{Revision: revision}))
		if err != nil {
			b.Fatal(err)
		}
		return r.Msg
	}
	for rollout(0).GetApplied() != processes {
		time.Sleep(50 * time.Millisecond)
	}
	variants := []string{"on", "off"}
	var took, slowest []time.Duration
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		res, err := p.flags().UpdateFlag(ctx, connect.NewRequest(&plimsollv1.UpdateFlagRequest{
			Key: "flag-000000", Update: &plimsollv1.UpdateFlagRequest_DefaultVariant{DefaultVariant: variants[i%2]},
			Change: &plimsollv1.ChangeInfo{Reason: fmt.Sprint("round ", i)},
		}))
		if err != nil {
			b.Fatal(err)
		}
		revision := res.Msg.GetChange().GetPosition().GetRevision()
		for {
			if r := rollout(revision); r.GetApplied() == processes {
				took = append(took, time.Since(began))
				slowest = append(slowest, r.GetSlowest().AsDuration())
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	slices.Sort(took)
	slices.Sort(slowest)
	b.ReportMetric(0, "ns/op") // the figures below are what counts
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "p99-ms")
	b.ReportMetric(float64(slowest[len(slowest)*99/100].Milliseconds()), "p99-of-slowest-apply-ms")
}
