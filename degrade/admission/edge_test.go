package admission

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/baggage"
)

// TestWhatFailsAtOnceIsNoEvidence: it says nothing about how long requests take.
func TestWhatFailsAtOnceIsNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t)
		e := newEdge(t, c)
		run := func(took time.Duration, failed, detach bool) (evidence float64) {
			before := c.law.proof.count[2]
			_, pass, err := e.Enter(t.Context(), Call{})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(took)
			if detach {
				pass.Detach()
				time.Sleep(time.Hour)
			}
			pass.Done(failed)
			return c.law.proof.count[2] - before
		}
		for i, step := range []struct {
			took           time.Duration
			failed, detach bool
			want           float64
		}{
			{time.Millisecond, true, false, 0}, // nothing is known yet
			{100 * time.Millisecond, false, false, 1},
			{time.Millisecond, true, false, 0},
			{90 * time.Millisecond, true, false, 1}, // it has done its work
			{time.Millisecond, false, true, 0},
			{time.Millisecond, true, false, 0}, // the stream has not changed what is typical
			{90 * time.Millisecond, true, false, 1},
		} {
			if got := run(step.took, step.failed, step.detach); got != step.want {
				t.Errorf("step %d: evidence grew by %v, want %v", i+1, got, step.want)
			}
		}
	})
}

func TestCallerAndClassReachTheController(t *testing.T) {
	c := newController(t)
	asked := 0
	e := newEdge(t, c,
		WithCaller(func(_ context.Context, call Call) string { asked++; return call.Values("X-User-Id")[0] }),
		WithClass(func(context.Context, Call) (int, bool) { asked++; return 1, false }))
	r := http.Header{"X-User-Id": {"alice"}}
	_, pass, err := e.Enter(t.Context(), Call{Values: r.Values})
	if err != nil {
		t.Fatal(err)
	}
	if asked != 2 || pass.permit.slot.class != 1 || pass.permit.slot.prio != 2*cohorts+c.luck.Load().of("alice") {
		t.Errorf("asked %d times, the request has class %d and prio %d", asked, pass.permit.slot.class, pass.permit.slot.prio)
	}
	pass.Done(false)
	pass.Done(false)
	if n := c.Snapshot().InFlight; n != 0 {
		t.Errorf("%d in flight", n)
	}
}

// An exempt route is no way for a claim around this edge.
func TestExemptCallsCarryNoStrangersClaim(t *testing.T) {
	trusted := WithTrustedCallers(func(_ context.Context, c Call) bool { return c.Values("X-House") != nil })
	var header string
	var set baggage.Baggage
	c := newController(t)
	handler := newEdge(t, c, trusted, WithRules(Rule{Pattern: "/proxy/", Exempt: true})).Handler(
		http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			header, set = r.Header.Get(baggageHeader), baggage.FromContext(r.Context())
		}))
	for _, tc := range []struct{ name, baggage, house, want string }{
		{"no claim", "user=1", "", "user=1"},
		{"a better tier", "user=1,plimsoll-tier=critical", "", "plimsoll-tier=standard,user=1"},
		{"a worse tier", "plimsoll-tier=optional,user=1", "", "plimsoll-tier=optional,user=1"},
		{"an unknown tier", "plimsoll-tier=x", "", "plimsoll-tier=x"},
		{"two tiers", "plimsoll-tier=critical,plimsoll-tier=optional", "", "plimsoll-tier=optional"},
		{"a better tier, from a friend", "plimsoll-tier=critical,user=1", "yes", "plimsoll-tier=critical,user=1"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/proxy/x", nil)
		r.Header.Set(baggageHeader, tc.baggage)
		if tc.house != "" {
			r.Header.Set("X-House", tc.house)
		}
		claims, err := baggage.Parse(tc.baggage)
		if err != nil {
			t.Fatal(err)
		}
		r = r.WithContext(baggage.ContextWithBaggage(r.Context(), claims))
		handler.ServeHTTP(httptest.NewRecorder(), r)
		if header != tc.want {
			t.Errorf("%s: the handler reads %q, want %q", tc.name, header, tc.want)
		}
		if want, err := baggage.Parse(tc.want); err != nil || want.Member(BaggageKey).Value() != set.Member(BaggageKey).Value() {
			t.Errorf("%s: OpenTelemetry carries %q, want %q, %v", tc.name, set, tc.want, err)
		}
	}
	if s := c.Snapshot(); s.InFlight != 0 || s.Tiers[2].Arrivals != 0 {
		t.Errorf("an exempt call took a place: %+v", s)
	}
}
