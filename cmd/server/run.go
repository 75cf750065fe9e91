package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/config"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/demo"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/fleet"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/stream"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/telemetry"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
	"github.com/plimsoll-dev/plimsoll/ui"
)

const (
	// shutdownTimeout bounds how long running requests may take to end.
	shutdownTimeout = 10 * time.Second
	demoTimeout     = 30 * time.Second
	// joinTimeout bounds how long a start waits until other servers know of it.
	joinTimeout = 2 * time.Second
)

// run starts the parts of the server and waits for ctx to end or for one of
// them to fail.
func run(ctx context.Context, cfg config.Config, stdout, stderr io.Writer) error {
	log, err := logger(cfg, stderr)
	if err != nil {
		return err
	}
	// Taking the port first means that a port in use is found before the store
	// is touched.
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w; is another server running? choose another address with --listen", cfg.Listen, err)
	}
	defer func() { _ = listener.Close() }() // a second time after the HTTP server
	more, err := listenMore(cfg)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range more {
			_ = l.Close()
		}
	}()
	backend, err := openBackend(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer backend.close(log)
	var work sync.WaitGroup
	defer work.Wait()
	metrics := telemetry.New(buildVersion())
	front, err := newFront(cfg, listener.Addr(), backend, metrics, log)
	if err != nil {
		return err
	}
	defer front.close()
	failed := make(chan error, 2+len(more))
	for _, l := range append([]net.Listener{listener}, more...) {
		work.Go(func() { failed <- front.http.Serve(l) })
	}
	front.peers.Join()
	defer front.shutdown(log)
	if cfg.AdminListen != "" {
		admin, err := listenAdmin(cfg.AdminListen, metrics)
		if err != nil {
			return err
		}
		work.Go(func() { failed <- admin.serve() })
		defer admin.close()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work.Go(func() { announce(ctx, cfg, front, listener.Addr(), stdout, log) })
	select {
	case <-ctx.Done():
		log.Info("shutting down")
		return nil
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case err := <-backend.failed:
		return fmt.Errorf("the embedded store ended: %w", err)
	}
}

// listenMore takes the addresses that are served besides the main one.
func listenMore(cfg config.Config) (more []net.Listener, err error) {
	for flag, addr := range cfg.MoreListen() {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			for _, l := range more {
				_ = l.Close()
			}
			return nil, fmt.Errorf("listen on %s for --%s: %w; choose another address, or leave it out", addr, flag, err)
		}
		more = append(more, l)
	}
	return more, nil
}

// identify is what this server says of itself to the others.
func identify(cfg config.Config, addr net.Addr) (store.Server, error) {
	address, err := cfg.AdvertiseURL(addr)
	if err != nil {
		return store.Server{}, err
	}
	return store.Server{ID: store.NewServerID(), Info: &plimsollv1.StoredServer{
		Address: address, Zone: cfg.Zone, Version: buildVersion(), StartedAt: timestamppb.Now(),
	}}, nil
}

// announce prints where the server is once it can be used.
func announce(ctx context.Context, cfg config.Config, f *front, addr net.Addr, stdout io.Writer, log *slog.Logger) {
	s := f.backend.store
	select {
	case <-ctx.Done():
		return
	case <-s.Ready():
	}
	// Other servers know of this one, then, when it says that it is ready. It
	// can do without them.
	select {
	case <-ctx.Done():
		return
	case <-f.peers.Joined():
	case <-time.After(joinTimeout):
	}
	if cfg.Demo {
		loadCtx, cancel := context.WithTimeout(ctx, demoTimeout)
		defer cancel()
		switch loaded, err := demo.Load(loadCtx, s); {
		case err != nil && ctx.Err() == nil:
			log.Warn("the demo flags could not be loaded", "error", err)
		case loaded > 0:
			log.Info("demo flags loaded", "namespace", store.DefaultNamespace, "flags", loaded)
		}
	}
	fmt.Fprintf(stdout, "ready http://%s\n", addr)
	// Loading a large set leaves behind as much garbage as it is large.
	debug.FreeOSMemory()
	if cfg.Demo {
		fmt.Fprintf(stdout, "\n  open the console http://%s\n  see the flags    go run ./cmd/flagctl list\n  run an app       go run ./examples/hello\n  change a flag    go run ./cmd/flagctl set welcome-banner sale\n\n", addr)
	}
}

// backend is the store and what it stands on.
type backend struct {
	store    *store.Store
	kind     string
	embedded *store.Embedded
	failed   <-chan error
}

func openBackend(ctx context.Context, cfg config.Config, log *slog.Logger) (*backend, error) {
	if len(cfg.Etcd) > 0 {
		return openExternal(cfg, log)
	}
	member, err := store.StartEmbedded(ctx, store.EmbeddedOptions{
		Dir: cfg.DataDir, ClientURL: cfg.EtcdListenClient, PeerURL: cfg.EtcdListenPeer, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	s, err := store.Open(store.Options{
		Connect:    func() (*clientv3.Client, error) { return member.Client(), nil },
		KeepClient: true, Logger: log, Room: member.Room,
	})
	if err != nil {
		return nil, errors.Join(err, member.Close())
	}
	return &backend{store: s, kind: "embedded", embedded: member, failed: member.Failed()}, nil
}

func openExternal(cfg config.Config, log *slog.Logger) (*backend, error) {
	opts := store.ExternalOptions{
		Endpoints: cfg.Etcd, CAFile: cfg.EtcdCA, CertFile: cfg.EtcdCert, KeyFile: cfg.EtcdKey, User: cfg.EtcdUser, Logger: log,
	}
	if cfg.EtcdPasswordFile != "" {
		password, err := os.ReadFile(cfg.EtcdPasswordFile)
		if err != nil {
			return nil, fmt.Errorf("read the password for etcd: %w", err)
		}
		opts.Password = strings.TrimRight(string(password), "\r\n")
	}
	if err := opts.Check(); err != nil {
		return nil, err
	}
	s, err := store.Open(store.Options{
		Connect: func() (*clientv3.Client, error) { return store.NewExternalClient(opts) },
		Logger:  log, CacheDir: filepath.Join(cfg.DataDir, "snapshots"),
	})
	if err != nil {
		return nil, err
	}
	return &backend{store: s, kind: "external"}, nil
}

func (b *backend) close(log *slog.Logger) {
	b.store.Close()
	if b.embedded == nil {
		return
	}
	if err := b.embedded.Close(); err != nil {
		log.Warn("close the embedded store", "error", err)
	}
}

func logger(cfg config.Config, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		return nil, fmt.Errorf("--log-level %q: debug, info, warn or error", cfg.LogLevel)
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return slog.New(slog.NewTextHandler(w, opts)), nil
}

// front is the HTTP server, what it serves, and what it must tell before it
// goes.
type front struct {
	http      *http.Server
	backend   *backend
	hub       *stream.Hub
	processes *fleet.Registry
	peers     *fleet.Peers
	console   *ui.Console
	sets      *effective.Sets
	draining  chan struct{}
}

// close ends what the front serves, once it has been shut down.
func (f *front) close() {
	f.console.Close()
	f.peers.Close()
	f.hub.Close()
	f.sets.Close()
	f.processes.Close()
}

// shutdown tells the other servers and then the streams to go elsewhere, and
// waits for requests.
func (f *front) shutdown(log *slog.Logger) {
	f.peers.Leave()
	close(f.draining)
	f.hub.Drain()
	f.sets.Drain()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := f.http.Shutdown(ctx); err != nil {
		log.Warn("some requests did not end in time", "error", err)
		_ = f.http.Close()
	}
}
