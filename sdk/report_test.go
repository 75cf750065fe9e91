package sdk_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/open-feature/go-sdk/openfeature"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/fakeserver"
)

// counted is the sum of the counts of reports, by "key/variant/reason"; a report
// that was sent again counts once.
func counted(reports []*plimsollv1.ReportRequest) map[string]uint64 {
	sum, seen := map[string]uint64{}, map[uint64]bool{}
	for _, r := range reports {
		if seen[r.Seq] {
			continue
		}
		seen[r.Seq] = true
		for _, e := range r.Evaluations {
			for _, o := range e.Outcomes {
				sum[e.FlagKey+"/"+o.Variant+"/"+o.Reason] += o.Count
			}
		}
	}
	return sum
}

func last(t *testing.T, s *fakeserver.Server) *plimsollv1.ReportRequest {
	t.Helper()
	reports := s.Reports()
	if len(reports) == 0 {
		t.Fatal("nothing was reported")
	}
	return reports[len(reports)-1]
}

func TestProcessReportsWhatItHasApplied(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.start()
		a.after(300 * time.Millisecond)
		r := last(t, a.server)
		if r.Seq != 1 || r.Applied.GetRevision() != 2 || r.Applied.GetStoreId() != "store-1" || r.Source != plimsollv1.FlagSource_FLAG_SOURCE_STREAM {
			t.Errorf("first report %v", r)
		}
		if c := r.Client; c.GetInstanceId() != a.server.Asked()[0].Client.GetInstanceId() || c.GetService() != "checkout" {
			t.Errorf("client %v", c)
		}
		if age := r.AppliedAge.AsDuration(); age < 0 || age > 300*time.Millisecond {
			t.Errorf("applied %s ago", age)
		}

		// A change by hand is acknowledged within 300 ms.
		a.after(3 * time.Second)
		before := len(a.server.Reports())
		a.server.Put(map[string]string{"f": off})
		a.after(300 * time.Millisecond)
		if r := last(t, a.server); len(a.server.Reports()) != before+1 || r.Applied.GetRevision() != 3 {
			t.Errorf("%d reports after a change, the last %v", len(a.server.Reports())-before, r)
		}

		// Many changes are acknowledged together.
		before = len(a.server.Reports())
		for range 100 {
			a.server.Put(map[string]string{"f": on})
			a.after(time.Millisecond)
		}
		a.after(300 * time.Millisecond)
		if n := len(a.server.Reports()) - before; n > 10 || last(t, a.server).Applied.GetRevision() != 103 {
			t.Errorf("%d reports of 100 changes, the last %v", n, last(t, a.server))
		}
	}, sdk.WithService("checkout"))
}

// A live process is heard of every 10 s at the latest, whether or not anything
// happens.
func TestProcessReportsRegularly(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.start()
		a.after(time.Second)
		for range 20 {
			before := len(a.server.Reports())
			a.after(10*time.Second + time.Millisecond)
			if n := len(a.server.Reports()) - before; n < 1 || n > 2 {
				t.Fatalf("%d reports in 10 s", n)
			}
		}
	})
}

// Automatic moves of the level ride on the next report; holds are by hand.
func TestLevelIsAcknowledged(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.start()
		a.after(10 * time.Second)
		seed := "5eed5eed5eed5eed"
		quiet := func(what string, l *plimsollv1.LevelState, want bool) {
			t.Helper()
			// From right after a regular report on, so that there is none by the way.
			for before := len(a.server.Reports()); len(a.server.Reports()) == before; {
				a.after(10 * time.Millisecond)
			}
			before := len(a.server.Reports())
			a.server.SetLevel(l)
			a.after(time.Second)
			if got := len(a.server.Reports()) > before; got != want {
				t.Errorf("%s: acknowledged at once: %v, want %v", what, got, want)
			}
		}
		floor := uint32(400_000)
		hold := &plimsollv1.HoldState{Name: "shed-optional", FloorMillionths: &floor}
		quiet("automatic", &plimsollv1.LevelState{AutoMillionths: 100_000, Seed: seed}, false)
		quiet("hold", &plimsollv1.LevelState{AutoMillionths: 100_000, Seed: seed, Holds: []*plimsollv1.HoldState{hold}}, true)
		quiet("automatic under a hold", &plimsollv1.LevelState{AutoMillionths: 200_000, Seed: seed, Holds: []*plimsollv1.HoldState{hold}}, false)
		quiet("hold lifted", &plimsollv1.LevelState{AutoMillionths: 200_000, Seed: seed}, true)
	})
}

func TestEvaluationsAreReported(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on, "g": optional})
		a.start()
		for range 3 {
			a.bool("f", false)
		}
		sdk.Bool(a.provider, "f", false).Value(t.Context(), nil)
		_, _ = a.client.BooleanValue(t.Context(), "nowhere", true, openfeature.EvaluationContext{})
		a.after(12 * time.Second)
		a.bool("g", false)
		a.after(12 * time.Second)
		want := map[string]uint64{"f/on/STATIC": 4, "//ERROR": 1, "g/on/STATIC": 1}
		if got := counted(a.server.Reports()); !maps.Equal(got, want) {
			t.Errorf("reported %v, want %v", got, want)
		}
		for _, r := range a.server.Reports() {
			if len(r.Evaluations) > 0 && (r.Interval.AsDuration() < 8*time.Second || r.Interval.AsDuration() > 10*time.Second) {
				t.Errorf("counts over %s", r.Interval.AsDuration())
			}
		}
	})
}

// Whatever becomes of reports, each evaluation is counted once, as long as the
// server is the same.
func TestReportsThatFail(t *testing.T) {
	for name, taken := range map[string]bool{"refused": false, "answer lost": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, a *app) {
				a.server.Put(map[string]string{"f": on})
				a.start()
				a.after(time.Second)
				a.server.RefuseReports(connect.NewError(connect.CodeUnavailable, errors.New("busy")), taken)
				for range 5 {
					a.bool("f", false)
					a.after(10 * time.Second)
				}
				a.server.RefuseReports(nil, false)
				a.after(2 * time.Second)
				if n := counted(a.server.Reports())["f/on/STATIC"]; n == 0 {
					t.Error("nothing was reported within 2 s of the server's recovery")
				}
				a.after(20 * time.Second)
				want := map[string]uint64{"f/on/STATIC": 5}
				if got := counted(a.server.Reports()); !maps.Equal(got, want) {
					t.Errorf("reported %v, want %v", got, want)
				}
			})
		})
	}
}

// A report that is refused for what it says is not sent for ever.
func TestReportThatIsWrong(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.start()
		a.after(time.Second)
		a.server.RefuseReports(connect.NewError(connect.CodeInvalidArgument, errors.New("nonsense")), false)
		a.bool("f", false)
		a.after(30 * time.Second)
		a.server.RefuseReports(nil, false)
		a.after(12 * time.Second)
		if got := counted(a.server.Reports()); len(got) != 0 {
			t.Errorf("reported %v, which was refused", got)
		}
		if n := strings.Count(a.log.String(), "a report to the server failed"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, &a.log)
		}
	})
}

// Reports go to the server that is watched.
func TestReportsFollowTheStream(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		b := fakeserver.New(t, a.network, "b", "store-1")
		a.provider = a.newProvider(sdk.WithEndpoints(b.URL()))
		a.start()
		a.after(time.Second)
		from, to := a.server, b
		if len(b.Reports()) > 0 {
			from, to = b, a.server
		}
		if len(from.Reports()) == 0 || len(to.Reports()) > 0 {
			t.Fatalf("%d and %d reports", len(from.Reports()), len(to.Reports()))
		}
		from.Stop()
		a.after(2 * time.Second)
		if len(to.Reports()) == 0 {
			t.Error("nothing was reported to the server that took over")
		}
		n := len(to.Reports())
		to.Stop()
		a.after(30 * time.Second)
		to.Start()
		a.after(30 * time.Second) // the other one is tried in between
		if len(to.Reports()) <= n {
			t.Error("nothing was reported to the server that came back")
		}
	})
}

func TestLeavingIsReported(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.start()
		a.after(time.Second)
		a.bool("f", false)
		a.provider.Track(t.Context(), "order", nobody, openfeature.NewTrackingEventDetails(9.5))
		a.provider.Shutdown()
		r := last(t, a.server)
		if !r.Leaving || len(r.Evaluations) != 1 || len(r.Tracked) != 1 {
			t.Errorf("the last report is %v", r)
		}
	})
}

func TestLeavingDoesNotWaitForAServer(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.start()
		a.after(time.Second)
		a.network.Hang("a", true)
		began := time.Now()
		a.provider.Shutdown()
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("Shutdown took %s", d)
		}
	})
}

func TestTracking(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.start()
		user := openfeature.NewEvaluationContext("u", nil)
		a.client.Track(t.Context(), "order", user, openfeature.NewTrackingEventDetails(10))
		a.client.Track(t.Context(), "order", user, openfeature.NewTrackingEventDetails(2.5))
		a.client.Track(t.Context(), "visit", user, openfeature.TrackingEventDetails{})
		a.provider.Track(t.Context(), strings.Repeat("x", 300), user, openfeature.NewTrackingEventDetails(1))
		for i := range 1000 {
			a.provider.Track(t.Context(), "many-"+strings.Repeat("i", i%600), user, openfeature.NewTrackingEventDetails(1))
		}
		a.after(12 * time.Second)
		var count uint64
		var sum float64
		names := map[string]float64{}
		for _, r := range a.server.Reports() {
			for _, e := range r.Tracked {
				count, sum = count+e.Count, sum+e.Sum
				names[e.Name] += e.Sum
			}
		}
		if count != 1004 || sum != 1013.5 || names["order"] != 12.5 || names["(other)"] < 1 || len(names) > 501 {
			t.Errorf("%d events of %d names, sum %v, %v of orders", count, len(names), sum, names["order"])
		}
		n := len(a.server.Reports())
		a.after(12 * time.Second)
		for _, r := range a.server.Reports()[n:] {
			if len(r.Tracked) > 0 {
				t.Errorf("reported again: %v", r.Tracked)
			}
		}
	})
}

// What ends by itself moves no position and needs no acknowledgement.
func TestExpiryIsNotAcknowledged(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.server.Change(&plimsollv1.StateChange{Overrides: []*plimsollv1.OverrideState{
			{FlagKey: "f", Variant: "off", ExpiresAt: timestamppb.New(time.Now().Add(5 * time.Second))},
		}})
		a.start()
		a.after(4 * time.Second)
		n := len(a.server.Reports())
		if a.bool("f", false).Value {
			t.Fatal("the override is not served")
		}
		a.after(2 * time.Second)
		if !a.bool("f", false).Value {
			t.Fatal("the override did not end")
		}
		if got := len(a.server.Reports()); got != n {
			t.Errorf("%d reports of an expiry", got-n)
		}
	})
}

// Counts that a server does not take cost no more than themselves.
func TestCountsThatAreRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.RefuseCounts()
		a.server.Put(map[string]string{"f": on})
		a.start()
		for range 6 {
			a.bool("f", false)
			before := len(a.server.Reports())
			a.after(11 * time.Second)
			if len(a.server.Reports()) == before {
				t.Fatal("a process was not heard of for 11 s because of its counts")
			}
		}
		if got := counted(a.server.Reports()); len(got) > 0 {
			t.Errorf("counted %v", got)
		}
	})
}

// A report holds what a server takes, whatever flags are like.
func TestReportsAreWithinLimits(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		var variants strings.Builder
		for i := range 1200 {
			fmt.Fprintf(&variants, `"v%d":%d,`, i, i)
		}
		long := strings.Repeat("x", 1100)
		a.server.Put(map[string]string{
			"many": `{"state":"ENABLED","variants":{` + variants.String() + `"last":-1},"defaultVariant":"last","targeting":{"var":"v"}}`,
			"long": `{"state":"ENABLED","variants":{"` + long + `":true},"defaultVariant":"` + long + `"}`,
		})
		a.start()
		many := sdk.Int(a.provider, "many", 0)
		for i := range 1200 {
			many.Value(t.Context(), sdk.Attributes("u", map[string]any{"v": fmt.Sprint("v", i)}))
		}
		a.bool("long", false)
		a.after(11 * time.Second)
		sum, others := map[string]uint64{}, map[string]uint64{}
		for _, r := range a.server.Reports() {
			for _, e := range r.Evaluations {
				if len(e.Outcomes) > 1000 {
					t.Errorf("%d outcomes of %s", len(e.Outcomes), e.FlagKey)
				}
				for _, o := range e.Outcomes {
					if len(o.Variant) > 1024 {
						t.Errorf("a variant of %d bytes", len(o.Variant))
					}
					sum[e.FlagKey] += o.Count
					if o.Variant == "(other)" {
						others[e.FlagKey] += o.Count
					}
				}
			}
		}
		if sum["many"] != 1200 || sum["long"] != 1 || others["many"] < 200 || others["long"] != 1 {
			t.Errorf("counted %v, of others %v", sum, others)
		}
	})
}

// A full server that asks to be left alone is.
func TestReportsHeedTheRetryDelay(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		full := connect.NewError(connect.CodeResourceExhausted, errors.New("full"))
		full.Meta().Set("Plimsoll-Retry-After", "15")
		a.server.RefuseReports(full, true)
		a.start()
		a.after(time.Second)
		before := len(a.server.Reports())
		for range 60 {
			a.server.Put(map[string]string{"f": on})
			a.after(time.Second)
		}
		if n := len(a.server.Reports()) - before; n > 4 {
			t.Errorf("%d reports in a minute to a server that asked for 15 s of peace", n)
		}
		a.server.RefuseReports(nil, false)
		n := len(a.server.Reports())
		a.after(23 * time.Second)
		if len(a.server.Reports()) == n {
			t.Error("it is left alone for longer than it asked")
		}
	})
}

// What one server asks for does not concern another.
func TestTheRetryDelayIsOfOneServer(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		b := fakeserver.New(t, a.network, "b", "store-1")
		full := connect.NewError(connect.CodeResourceExhausted, errors.New("full"))
		full.Meta().Set("Plimsoll-Retry-After", "30")
		a.server.RefuseReports(full, true)
		b.Stop()
		a.provider = a.newProvider(sdk.WithEndpoints(b.URL()))
		a.start()
		a.after(12 * time.Second) // after the next regular report is due
		if len(a.server.Reports()) != 1 {
			t.Fatalf("%d reports", len(a.server.Reports()))
		}
		b.Start()
		a.server.Stop()
		a.after(3 * time.Second)
		if b.Streams() != 1 || len(b.Reports()) == 0 {
			t.Errorf("%d streams and %d reports at the other server", b.Streams(), len(b.Reports()))
		}
	})
}

func TestNoNumberSpoilsASum(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.start()
		for _, v := range []float64{100, math.NaN(), math.Inf(1), 50} {
			a.provider.Track(t.Context(), "buy", nobody, openfeature.NewTrackingEventDetails(v))
		}
		for range 2 {
			a.provider.Track(t.Context(), "sell", nobody, openfeature.NewTrackingEventDetails(math.MaxFloat64))
		}
		a.after(11 * time.Second)
		tracked := map[string]*plimsollv1.TrackedEvent{}
		for _, r := range a.server.Reports() {
			for _, e := range r.Tracked {
				tracked[e.Name] = e
			}
		}
		if e := tracked["buy"]; e.GetCount() != 4 || e.GetSum() != 150 {
			t.Errorf("tracked %v", e)
		}
		if e := tracked["sell"]; e.GetCount() != 2 || e.GetSum() != math.MaxFloat64 {
			t.Errorf("tracked %v", e)
		}
	})
}
