package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"connectrpc.com/validate"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/flagd"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/manifest"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/ofrep"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/config"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/fleet"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/stream"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/telemetry"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
	"github.com/plimsoll-dev/plimsoll/store"
)

const (
	// unaryTimeout bounds every call that is not a stream.
	unaryTimeout = 60 * time.Second
	// maxMessage bounds a request; a document for Apply is the largest.
	maxMessage = 16 << 20
	maxHeader  = 32 << 10
	// compressFrom is from how many bytes on answers are compressed.
	compressFrom = 1024
)

// newFront builds what serves a backend at an address: one port for every
// protocol. The caller runs the HTTP server, shuts the front down and closes
// it.
func newFront(cfg config.Config, addr net.Addr, b *backend, metrics *telemetry.Metrics, log *slog.Logger) (*front, error) {
	self, err := identify(cfg, addr)
	if err != nil {
		return nil, err
	}
	processes := fleet.NewRegistry(b.store, metrics.Fleet())
	hub, err := stream.NewHub(b.store, stream.Options{MaxStreams: cfg.MaxStreams, Watching: processes.Watching}, metrics.Stream())
	if err != nil {
		processes.Close()
		return nil, err
	}
	sets := effective.New(b.store, effective.Options{
		MaxStreams: cfg.MaxStreams, Context: effective.Context{Values: cfg.ContextValues, FromHeader: cfg.ContextFromHeader},
		Evaluated: processes.Evaluated, Following: processes.Following, Asked: processes.Asked,
	})
	metrics.Watch(b.store, hub.Streams, sets.Streams, processes)
	f := &front{
		backend: b, hub: hub, processes: processes, peers: fleet.NewPeers(processes, self), sets: sets, draining: make(chan struct{}),
	}
	mux := http.NewServeMux()
	services := f.mountRPC(mux, metrics, log)
	f.mountCompat(mux, metrics, log)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", f.ready(b.store))
	mux.Handle("/openfeature/v0/", manifest.Handler(f.sets))
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{}))
	if err := f.mountConsole(mux, services, log); err != nil {
		hub.Close()
		processes.Close()
		return nil, err
	}

	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	names := append(advertised(self), cfg.Hosts...)
	for _, addr := range cfg.MoreListen() {
		if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
			names = append(names, host)
		}
	}
	hosts := authz.NewHosts(cfg.Listen, names)
	f.http = &http.Server{
		Handler:           patient(hosts.Guard(authz.Identify(withOFREP(mux, ofrep.New(ofrep.Options{Sets: f.sets, Origins: cfg.OFREPOrigins}))))),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: writeTimeout},
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return f, nil
}

// withOFREP hands all that is OFREP's to its handler as it is. A key may hold what
// a path must not, such as two slashes in a row, from which http.ServeMux would
// lead away.
func withOFREP(rest, face http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path+"/", ofrep.Prefix) {
			face.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}

// advertised is the name by which other servers address this one.
func advertised(self store.Server) []string {
	u, err := url.Parse(self.Info.GetAddress())
	if err != nil {
		return nil
	}
	return []string{u.Hostname()}
}

// services are the native services that the console calls within the process.
type services struct {
	flags       *api.Flags
	audit       *api.Audit
	admin       *api.Admin
	fleet       *fleet.Service
	degradation *api.Degradation
}

// mountRPC mounts the native services, gRPC health and reflection.
func (f *front) mountRPC(mux *http.ServeMux, metrics *telemetry.Metrics, log *slog.Logger) services {
	now, b := time.Now, f.backend
	unary := []connect.HandlerOption{
		connect.WithInterceptors(metrics.Interceptor(log), validate.NewInterceptor()),
		connect.WithReadMaxBytes(maxMessage),
		connect.WithCompressMinBytes(compressFrom),
		connect.WithRecover(recovered(log)),
	}
	mount := func(path string, h http.Handler) { mux.Handle(path, bounded(h)) }
	fleetService := &fleet.Service{Store: b.store, Registry: f.processes, Peers: f.peers, Draining: f.draining}
	native := services{
		flags: &api.Flags{Store: b.store, Now: now},
		audit: &api.Audit{Store: b.store, Stopping: f.draining},
		admin: &api.Admin{
			Store: b.store, Now: now, Version: buildVersion(), StoreKind: b.kind, StartedAt: f.peers.Self().Info.GetStartedAt().AsTime(), Streams: f.hub.Streams,
			PeerWarnings: f.peers.Warnings, ComposedBytes: f.composedBytes,
		},
		fleet:       fleetService,
		degradation: &api.Degradation{Store: b.store, Now: now, Usage: usageOf(fleetService)},
	}
	mount(plimsollv1connect.NewFlagServiceHandler(native.flags, unary...))
	mount(plimsollv1connect.NewAuditServiceHandler(native.audit, unary...))
	mount(plimsollv1connect.NewAdminServiceHandler(native.admin, unary...))
	mount(plimsollv1connect.NewFleetServiceHandler(native.fleet, unary...))
	mount(plimsollv1connect.NewDegradationServiceHandler(native.degradation, unary...))
	mount(f.peers.Handler(unary...))
	mux.Handle(f.hub.Handler(connect.WithRecover(recovered(log))))
	// The longer path wins over the one of the streams.
	mount(plimsollv1connect.SyncServiceReportProcedure,
		connect.NewUnaryHandler(plimsollv1connect.SyncServiceReportProcedure, fleetService.Report, unary...))

	names := []string{
		plimsollv1connect.FlagServiceName, plimsollv1connect.AuditServiceName,
		plimsollv1connect.AdminServiceName, plimsollv1connect.SyncServiceName, plimsollv1connect.FleetServiceName,
		plimsollv1connect.DegradationServiceName,
	}
	names = append(names, flagd.Services...)
	reflector := grpcreflect.NewStaticReflector(names...)
	// Nobody but servers calls the peers' service, but they may ask whether it
	// is there.
	names = append(names, plimsollv1connect.PeerServiceName)
	mux.Handle(grpchealth.NewHandler(&health{front: f, store: b.store, services: names}))
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
	return native
}

// composedBytes is how large a namespace's set is as plain flagd JSON.
func (f *front) composedBytes(ns string) (int, error) {
	state, err := f.sets.Paced(ns)
	if err != nil {
		return 0, err
	}
	return len(state.Document().JSON), nil
}

// mountCompat mounts the faces of other protocols. Their calls wait for nothing,
// so they have no deadline; and what their clients do wrong fills no log.
func (f *front) mountCompat(mux *http.ServeMux, metrics *telemetry.Metrics, log *slog.Logger) {
	flagd.New(f.sets).Mount(mux,
		connect.WithInterceptors(metrics.Interceptor(slog.New(slog.DiscardHandler))),
		connect.WithRecover(recovered(log)))
}

// usageOf is what the fleet's processes have reported of a namespace.
func usageOf(s *fleet.Service) func(context.Context, string) (*plimsollv1.GetUsageResponse, error) {
	return func(ctx context.Context, ns string) (*plimsollv1.GetUsageResponse, error) {
		resp, err := s.GetUsage(ctx, connect.NewRequest(&plimsollv1.GetUsageRequest{Namespace: ns}))
		if err != nil {
			return nil, err
		}
		return resp.Msg, nil
	}
}

// recovered keeps a panic from ending more than its call.
func recovered(log *slog.Logger) func(context.Context, connect.Spec, http.Header, any) error {
	return func(_ context.Context, spec connect.Spec, _ http.Header, cause any) error {
		log.Error("a call panicked", "procedure", spec.Procedure, "panic", cause, "stack", string(debug.Stack()))
		return connect.NewError(connect.CodeInternal, errors.New("the server has a fault; its log says more"))
	}
}

// bounded gives unary calls their deadline. A stream ends when its client, or
// this server, leaves.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == plimsollv1connect.AuditServiceTailRecordsProcedure {
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), unaryTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// ready answers 200 once there is a set to serve, with any trouble named in
// the body: losing etcd must not empty every load balancer at once.
func (f *front) ready(s *store.Store) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := f.notReady(s); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		warnings := api.Warnings(s.Health())
		if len(warnings) == 0 {
			fmt.Fprintln(w, "ok")
			return
		}
		fmt.Fprintln(w, "ok, but:")
		fmt.Fprintln(w, strings.Join(warnings, "\n"))
	}
}

func (f *front) notReady(s *store.Store) error {
	select {
	case <-f.draining:
		return fmt.Errorf("draining: this server is shutting down")
	default:
	}
	select {
	case <-s.Ready():
		return nil
	default:
		return fmt.Errorf("no set of flags has been loaded yet: waiting for etcd")
	}
}

// health answers gRPC health checks as /readyz does.
type health struct {
	front    *front
	store    *store.Store
	services []string
}

// Check implements grpchealth.Checker.
func (h *health) Check(_ context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	known := req.Service == ""
	for _, name := range h.services {
		known = known || name == req.Service
	}
	if !known {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("unknown service %q", req.Service))
	}
	if h.front.notReady(h.store) != nil {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}

// admin serves profiles and metrics on an address of their own.
type admin struct {
	http     *http.Server
	listener net.Listener
}

func listenAdmin(addr string, metrics *telemetry.Metrics) (*admin, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{}))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s for --admin-listen: %w", addr, err)
	}
	srv := &http.Server{Handler: authz.NewHosts(addr, nil).Guard(mux), ReadHeaderTimeout: 10 * time.Second}
	return &admin{srv, l}, nil
}

func (a *admin) serve() error { return a.http.Serve(a.listener) }

func (a *admin) close() { _ = a.http.Close() }
