package admission_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
	"github.com/plimsoll-dev/plimsoll/degrade/admission/internal/crowd"
)

// nowhere is a ResponseWriter that costs nothing.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

// BenchmarkHandler is what the middleware costs, the handler and the server not
// counted.
func BenchmarkHandler(b *testing.B) {
	run := func(b *testing.B, c *admission.Controller, opts ...admission.EdgeOption) {
		e, err := admission.NewEdge(c, opts...)
		if err != nil {
			b.Fatal(err)
		}
		h := e.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		r := httptest.NewRequest("GET", "/items/7/reviews", nil)
		r.Header.Set("Baggage", "userid=alice,plimsoll-tier=optional")
		w := nowhere{http.Header{}}
		b.ReportAllocs()
		for b.Loop() {
			h.ServeHTTP(w, r)
		}
	}
	rules := admission.WithRules(admission.Rule{Pattern: "GET /items/{id}", Tier: "important"}, admission.Rule{Pattern: "GET /items/{id}/reviews", Tier: "optional"})
	for _, bench := range []struct {
		name string
		full bool
		opts []admission.EdgeOption
	}{{"admitted", false, nil}, {"admitted/rules", false, []admission.EdgeOption{rules}}, {"refused", true, nil}, {"refused/rules", true, []admission.EdgeOption{rules}}} {
		b.Run(bench.name, func(b *testing.B) {
			c := crowd.Controller(b)
			if bench.full {
				crowd.Fill(b, c)
			}
			run(b, c, bench.opts...)
		})
	}
}
