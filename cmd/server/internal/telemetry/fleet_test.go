package telemetry

import (
	"fmt"
	"log/slog"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/fleet"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

func TestReportsAreCountedAndHostileNamesBreakNothing(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	member, err := store.StartEmbedded(t.Context(), store.EmbeddedOptions{Dir: t.TempDir(), Logger: quiet, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = member.Close() }()
	s, err := store.Open(store.Options{
		Connect: func() (*clientv3.Client, error) { return member.Client(), nil }, KeepClient: true, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	select {
	case <-s.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the store is not ready")
	}
	if _, _, err := s.CreateFlag(t.Context(), "default", "ads", `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","degradation":{"tier":"optional"}}`, store.Change{}); err != nil {
		t.Fatal(err)
	}
	m := New("test")
	registry := fleet.NewRegistry(s, m.Fleet())
	defer registry.Close()
	none := func() int { return 0 }
	m.Watch(s, none, none, registry)

	at, err := s.Snapshot("default")
	if err != nil {
		t.Fatal(err)
	}
	report := func(req *plimsollv1.ReportRequest) {
		t.Helper()
		req.Client = &plimsollv1.ClientInfo{InstanceId: "p"}
		if err := registry.Report("default", req); err != nil {
			t.Fatal(err)
		}
	}
	outcome := func(variant, reason string, n uint64) []*plimsollv1.OutcomeCount {
		return []*plimsollv1.OutcomeCount{{Variant: variant, Reason: reason, Count: n}}
	}
	report(&plimsollv1.ReportRequest{Seq: 1, Applied: at.Position(),
		Evaluations: []*plimsollv1.EvaluationCounts{{FlagKey: "ads", Outcomes: outcome("off", "DEGRADED", 7)}, {FlagKey: "nix", Outcomes: outcome("", "ERROR", 2)}},
		Tracked:     []*plimsollv1.TrackedEvent{{Name: "buy", Count: 3, Sum: -1.5}},
	})
	for i := range 2000 {
		name := fmt.Sprintf("\"\n\\{} \u202e%d", i)
		report(&plimsollv1.ReportRequest{Seq: uint64(i + 2),
			Evaluations: []*plimsollv1.EvaluationCounts{{FlagKey: "ads", Outcomes: outcome(name, name, 1)}},
			Tracked:     []*plimsollv1.TrackedEvent{{Name: name, Count: math.MaxUint64, Sum: math.Inf(1)}},
		})
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body := w.Body.String()
	if w.Code != 200 {
		t.Fatalf("%d %.1000s", w.Code, body)
	}
	for _, want := range []string{
		`plimsoll_clients{namespace="default"} 1`, `plimsoll_clients_lagging{namespace="default"} 0`,
		`plimsoll_evaluations_total{namespace="default",reason="DEGRADED",tier="optional"} 7`,
		`plimsoll_evaluations_total{namespace="default",reason="ERROR",tier="none"} 2`,
		`plimsoll_evaluations_total{namespace="default",reason="other",tier="optional"} 2000`,
		`plimsoll_tracked_events_total{event="buy",namespace="default"} 3`,
		`plimsoll_tracked_value_sum{event="buy",namespace="default"} -1.5`,
		`plimsoll_reports_total{result="counted"} 2001`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
	if n := strings.Count(body, "plimsoll_tracked_events_total{"); n != 1000 {
		t.Errorf("%d events are told apart", n)
	}
}
