// Package telemetry counts what the server does, for Prometheus.
package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/fleet"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/stream"
	"github.com/plimsoll-dev/plimsoll/store"
)

// Metrics are the server's counters; Registry serves them.
type Metrics struct {
	Registry *prometheus.Registry

	rpcs      *prometheus.HistogramVec
	began     *prometheus.CounterVec
	collapsed prometheus.Counter
	refused   prometheus.Counter
	reports   *prometheus.CounterVec
	applied   prometheus.Histogram
}

// New registers the server's metrics.
func New(version string) *Metrics {
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		rpcs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "plimsoll_rpc_duration_seconds", Help: "How long unary calls took, by procedure and code.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"procedure", "code"}),
		began: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "plimsoll_stream_begins_total", Help: "Watch streams begun, by what the client was sent first: current, delta or snapshot.",
		}, []string{"with"}),
		collapsed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "plimsoll_stream_collapses_total", Help: "Times a slow reader skipped to the newest state.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "plimsoll_stream_refusals_total", Help: "Streams refused for lack of capacity.",
		}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "plimsoll_reports_total", Help: "Reports of processes, by what became of them: counted, repeated, left or refused.",
		}, []string{"result"}),
		applied: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "plimsoll_apply_seconds", Help: "How long after its arrival at this server a process had applied a revision, by each report that newly tells of one.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "plimsoll_build_info", Help: "Always 1; the label names the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	m.Registry.MustRegister(m.rpcs, m.began, m.collapsed, m.refused, m.reports, m.applied, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Stream is what the hub is to tell.
func (m *Metrics) Stream() stream.Metrics {
	return stream.Metrics{
		Began:     func(how string) { m.began.WithLabelValues(how).Inc() },
		Collapsed: m.collapsed.Inc,
		Refused:   m.refused.Inc,
	}
}

// Fleet is what the registry of processes is to tell.
func (m *Metrics) Fleet() fleet.Metrics {
	return fleet.Metrics{
		Reported: func(result string) { m.reports.WithLabelValues(result).Inc() },
		Applied:  func(after time.Duration) { m.applied.Observe(after.Seconds()) },
	}
}

// Interceptor times unary calls, and logs those that failed by a fault of the
// server: what a caller did wrong is the caller's to know.
func (m *Metrics) Interceptor(log *slog.Logger) connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			start := time.Now()
			resp, err := next(ctx, req)
			code := "ok"
			if err != nil {
				code = connect.CodeOf(err).String()
				if errors.Is(err, context.Canceled) {
					code = connect.CodeCanceled.String()
				}
			}
			switch connect.CodeOf(err) {
			case connect.CodeInternal, connect.CodeUnknown, connect.CodeDataLoss:
				if err != nil {
					log.Error("a call failed", "procedure", req.Spec().Procedure, "error", err)
				}
			}
			m.rpcs.WithLabelValues(req.Spec().Procedure, code).Observe(time.Since(start).Seconds())
			return resp, err
		}
	})
}

// Watch adds what can be read from the store, the hub and the registry of
// processes at any time.
func (m *Metrics) Watch(s *store.Store, streams, foreign func() int, processes *fleet.Registry) {
	m.Registry.MustRegister(&state{store: s, streams: streams, foreign: foreign}, &processState{processes})
}

// state reads gauges when they are asked for.
type state struct {
	store            *store.Store
	streams, foreign func() int
}

var (
	descStreams   = prometheus.NewDesc("plimsoll_streams", "Watch streams that are open.", nil, nil)
	descForeign   = prometheus.NewDesc("plimsoll_foreign_streams", "Streams of flagd's and OFREP's clients that are open.", nil, nil)
	descConfirmed = prometheus.NewDesc("plimsoll_store_confirmed_age_seconds", "How long ago etcd last confirmed this server's state.", nil, nil)
	descWritable  = prometheus.NewDesc("plimsoll_store_writable", "1 while changes can be made, 0 while they are refused.", nil, nil)
	descRevision  = prometheus.NewDesc("plimsoll_namespace_revision", "Revision of a namespace on this server.", []string{"namespace"}, nil)
	descFlags     = prometheus.NewDesc("plimsoll_namespace_flags", "Flags in a namespace.", []string{"namespace"}, nil)
	descLevel     = prometheus.NewDesc("plimsoll_level", "Level of a namespace: 0 sheds nothing.", []string{"namespace"}, nil)
)

func (s *state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descStreams, descForeign, descConfirmed, descWritable, descRevision, descFlags, descLevel} {
		ch <- d
	}
}

func (s *state) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	health := s.store.Health()
	gauge(descStreams, float64(s.streams()))
	gauge(descForeign, float64(s.foreign()))
	if health.ConfirmedAge >= 0 {
		gauge(descConfirmed, health.ConfirmedAge.Seconds())
	}
	writable := 1.0
	if health.Stale || health.Trouble != nil || health.NoRoom != nil {
		writable = 0
	}
	gauge(descWritable, writable)
	for _, ns := range s.store.Namespaces() {
		snap, err := s.store.Snapshot(ns)
		if err != nil {
			continue // deleted meanwhile
		}
		gauge(descRevision, float64(snap.Revision()), ns)
		gauge(descFlags, float64(snap.FlagCount()), ns)
		gauge(descLevel, float64(snap.Set(time.Now()).Level())/1e6, ns)
	}
}
