package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/fleet"
)

// processState reads what processes have reported when it is asked for. The
// names in it come from them; the registry bounds how many there are.
type processState struct{ registry *fleet.Registry }

var (
	descClients = prometheus.NewDesc("plimsoll_clients",
		"Live processes that report to this server.", []string{"namespace"}, nil)
	descLagging = prometheus.NewDesc("plimsoll_clients_lagging",
		"How many of these have not applied the newest revision.", []string{"namespace"}, nil)
	descEvaluations = prometheus.NewDesc("plimsoll_evaluations_total",
		"Evaluations reported, by the flag's tier (none: never shed) and the reason of the answer.", []string{"namespace", "tier", "reason"}, nil)
	descTracked = prometheus.NewDesc("plimsoll_tracked_events_total",
		"Tracked events reported, by name.", []string{"namespace", "event"}, nil)
	descTrackedValue = prometheus.NewDesc("plimsoll_tracked_value_sum",
		"Sum of the values that came with tracked events, by name.", []string{"namespace", "event"}, nil)
)

func (s *processState) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descClients, descLagging, descEvaluations, descTracked, descTrackedValue} {
		ch <- d
	}
}

func (s *processState) Collect(ch chan<- prometheus.Metric) {
	tell := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for _, ns := range s.registry.Stats() {
		tell(descClients, prometheus.GaugeValue, float64(ns.Live), ns.Namespace)
		tell(descLagging, prometheus.GaugeValue, float64(ns.Lagging), ns.Namespace)
		for _, e := range ns.Evaluations {
			tell(descEvaluations, prometheus.CounterValue, float64(e.Count), ns.Namespace, e.Tier, e.Reason)
		}
		for _, e := range ns.Events {
			tell(descTracked, prometheus.CounterValue, float64(e.Count), ns.Namespace, e.Name)
			// Values may be negative, so their sum is no counter.
			tell(descTrackedValue, prometheus.GaugeValue, e.Sum, ns.Namespace, e.Name)
		}
	}
}
