package admission_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

// A server of net/http: a controller, an edge that knows the routes, and a
// wrapper around the handler.
func ExampleEdge_Handler() {
	controller, err := admission.New()
	if err != nil {
		log.Fatal(err)
	}
	edge, err := admission.NewEdge(controller, admission.WithRules(
		admission.Rule{Pattern: "POST /checkout", Tier: "critical"},
		admission.Rule{Pattern: "GET /items/{id}/reviews", Tier: "optional"},
		admission.Rule{Pattern: "GET /changes", LongPoll: true},
		admission.Rule{Pattern: "/livez", Exempt: true},
	))
	if err != nil {
		log.Fatal(err) // names every rule that is wrong, and why
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		rank, _ := admission.TierFromContext(r.Context())
		fmt.Fprintf(w, "%s has tier %s", r.URL.Path, controller.Tiers()[rank])
	})
	handler := edge.Handler(mux) // for an http.Server, which should have a ReadTimeout

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/items/7/reviews", nil))
	fmt.Println(w.Body)
	// Output: /items/7/reviews has tier optional
}

// Services of one house trust each other with the tier of a call; what comes
// from outside can lower itself, and raise itself up to a ceiling.
func ExampleWithTrustedCallers() {
	controller, err := admission.New()
	if err != nil {
		log.Fatal(err)
	}
	_, err = admission.NewEdge(controller,
		admission.WithTrustedCallers(func(_ context.Context, call admission.Call) bool {
			return call.Request != nil && call.Request.TLS != nil && len(call.Request.TLS.VerifiedChains) > 0
		}),
		admission.WithCeiling("important"),
		admission.WithCaller(func(_ context.Context, call admission.Call) string {
			if ids := call.Values("X-User-Id"); len(ids) > 0 {
				return ids[0] // one user's requests have the same luck
			}
			return ""
		}),
	)
	fmt.Println(err)
	// Output: <nil>
}

// A client carries the tier of its context on, and does not send what would be
// refused.
func ExampleThrottle_Transport() {
	throttle, err := admission.NewThrottle()
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("baggage:", r.Header.Get("Baggage"))
	}))
	defer server.Close()
	client := &http.Client{Transport: throttle.Transport(nil), Timeout: 5 * time.Second}

	ctx := admission.ContextWithTier(context.Background(), 0) // the middleware does this in a handler
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	if err != nil {
		log.Fatal(err)
	}
	response, err := client.Do(r)
	if errors.Is(err, admission.ErrRefused) {
		return // held back; serve without it
	} else if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	if after, refused := admission.RefusedResponse(response); refused {
		log.Print("refused; not to be sent again within ", after)
	}
	// Output: baggage: plimsoll-tier=critical
}

// Work that is no request of a known protocol asks the controller itself.
func ExampleController_Acquire() {
	controller, err := admission.New(admission.WithTiers("interactive", "batch"))
	if err != nil {
		log.Fatal(err)
	}
	permit, err := controller.Acquire(context.Background(), admission.Request{Tier: 1, Caller: "report-42"})
	var refused *admission.RefusedError
	if errors.As(err, &refused) {
		fmt.Println("come back in", refused.RetryAfter)
		return
	} else if err != nil {
		log.Fatal(err)
	}
	defer permit.Release(admission.Served)
	fmt.Println("at work")
	// Output: at work
}
