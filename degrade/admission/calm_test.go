package admission_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

// A process whose answers are flushed, and so count as streams, is as busy with
// them as with others: without a limit of its own it refuses nothing once the
// limit has found its load.
func TestFlushedAnswersAreWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := admission.New()
		if err != nil {
			t.Fatal(err)
		}
		edge, err := admission.NewEdge(c)
		if err != nil {
			t.Fatal(err)
		}
		handler := edge.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(50 * time.Millisecond)
			_, _ = w.Write([]byte("the beginning"))
			_ = http.NewResponseController(w).Flush()
		}))
		var refused atomic.Int64
		var all sync.WaitGroup
		for second := range 20 {
			if second == 10 {
				refused.Store(0) // from here on it knows
			}
			for range 400 {
				all.Go(func() {
					w := httptest.NewRecorder()
					handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
					if w.Code == http.StatusServiceUnavailable {
						refused.Add(1)
					}
				})
				time.Sleep(time.Second / 400)
			}
		}
		all.Wait()
		if n := refused.Load(); n > 0 {
			t.Errorf("%d of 4000 requests were refused by a process that nothing limits", n)
		}
	})
}

// Bursts with calm between them are no overload, and must not make the service
// time look like nothing.
func TestBurstsAreNoOverload(t *testing.T) {
	const size = 12 // more than the limit begins with
	synctest.Test(t, func(t *testing.T) {
		c, err := admission.New()
		if err != nil {
			t.Fatal(err)
		}
		var refused atomic.Int64
		for round := range 60 {
			if round == 30 {
				refused.Store(0)
			}
			var all sync.WaitGroup
			for range size {
				all.Go(func() {
					p, err := c.Acquire(context.Background(), admission.Request{Tier: 1})
					if err != nil {
						refused.Add(1)
						return
					}
					time.Sleep(10 * time.Millisecond)
					p.Release(admission.Served)
				})
			}
			all.Wait()
			time.Sleep(100 * time.Millisecond)
		}
		if n := refused.Load(); n > 0 {
			t.Errorf("bursts of %d: %d of %d requests were refused", size, n, 30*size)
		}
	})
}

// What OpenTelemetry's parser takes for a claim must not get past an edge that
// does not trust its sender.
func TestAClaimBehindANoBreakSpaceIsCleaned(t *testing.T) {
	c, err := admission.New()
	if err != nil {
		t.Fatal(err)
	}
	edge, err := admission.NewEdge(c)
	if err != nil {
		t.Fatal(err)
	}
	var onward string
	handler := edge.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx := propagation.Baggage{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		onward = baggage.FromContext(ctx).Member(admission.BaggageKey).Value()
	}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Baggage", "\u00a0plimsoll-tier=critical")
	handler.ServeHTTP(httptest.NewRecorder(), r)
	if onward == "critical" {
		t.Error("a stranger's claim travels on")
	}
}
