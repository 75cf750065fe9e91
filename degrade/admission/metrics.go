package admission

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// scope names this package in OpenTelemetry.
const scope = "github.com/plimsoll-dev/plimsoll/degrade/admission"

// RegisterMetrics makes the controller's state observable by OpenTelemetry: what
// Snapshot returns, under plimsoll.admission. Times are in seconds. It lasts
// until stop is called.
func RegisterMetrics(provider metric.MeterProvider, c *Controller) (stop func() error, err error) {
	m := instruments{meter: provider.Meter(scope)}
	limit := m.gauge("limit", "{request}", "Requests that may be in flight.")
	inFlight := m.gauge("in_flight", "{request}", "Requests in flight.")
	knee := m.gauge("knee", "{request}", "Requests that are busy at capacity; 0 while unknown.")
	utilisation := m.gauge("utilisation", "1", "Requests in flight, of the limit.")
	service := m.gauge("service_time", "s", "Mean service time without congestion; 0 while unknown.")
	saturated := m.gauge("saturated", "1", "1 while requests wait for most of the time.")
	cutOff := m.gauge("cut_off", "1", "Rank from which on requests are refused; its fraction is the share of that tier that is not.")
	waiting := m.gauge("waiting", "{request}", "Requests that wait, by tier.")
	delay := m.gauge("queue_delay", "s", "Recent mean wait of admitted requests, by tier.")
	p50 := m.gauge("duration_p50", "s", "Recent median time from admission to release, by tier.")
	p99 := m.gauge("duration_p99", "s", "The 99th percentile of the same.")
	admitted := m.counter("admitted", "Requests admitted, by tier.")
	refused := m.counter("refused", "Requests refused, by tier.")
	if m.err != nil {
		return nil, m.err
	}
	tiers := make([]metric.MeasurementOption, len(c.config.tiers))
	for i, name := range c.config.tiers {
		tiers[i] = metric.WithAttributeSet(attribute.NewSet(attribute.String("tier", name)))
	}
	registration, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := c.Snapshot()
		o.ObserveFloat64(limit, float64(s.Limit))
		o.ObserveFloat64(inFlight, float64(s.InFlight))
		o.ObserveFloat64(knee, s.Knee)
		o.ObserveFloat64(utilisation, s.Utilisation)
		o.ObserveFloat64(service, s.ServiceTime.Seconds())
		o.ObserveFloat64(saturated, map[bool]float64{true: 1}[s.Saturated])
		o.ObserveFloat64(cutOff, float64(s.CutOff)+s.CutOffShare)
		for i, t := range s.Tiers {
			o.ObserveFloat64(waiting, float64(t.Waiting), tiers[i])
			o.ObserveFloat64(delay, t.QueueDelay.Seconds(), tiers[i])
			o.ObserveFloat64(p50, t.P50.Seconds(), tiers[i])
			o.ObserveFloat64(p99, t.P99.Seconds(), tiers[i])
			o.ObserveInt64(admitted, int64(t.Admitted), tiers[i])
			o.ObserveInt64(refused, int64(t.Refused), tiers[i])
		}
		return nil
	}, m.all...)
	if err != nil {
		return nil, err
	}
	return registration.Unregister, nil
}

// instruments makes them, and keeps the first error.
type instruments struct {
	meter metric.Meter
	all   []metric.Observable
	err   error
}

func (m *instruments) gauge(name, unit, what string) metric.Float64ObservableGauge {
	g, err := m.meter.Float64ObservableGauge("plimsoll.admission."+name, metric.WithUnit(unit), metric.WithDescription(what))
	m.keep(g, err)
	return g
}

func (m *instruments) counter(name, what string) metric.Int64ObservableCounter {
	c, err := m.meter.Int64ObservableCounter("plimsoll.admission."+name, metric.WithUnit("{request}"), metric.WithDescription(what))
	m.keep(c, err)
	return c
}

func (m *instruments) keep(o metric.Observable, err error) {
	if m.err == nil {
		m.err = err
	}
	m.all = append(m.all, o)
}
