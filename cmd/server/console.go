package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"log/slog"
	"net/http"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	"github.com/plimsoll-dev/plimsoll/ui"
)

// mountConsole mounts the web console at /.
func (f *front) mountConsole(mux *http.ServeMux, native services, log *slog.Logger) error {
	s := f.backend.store
	console, err := ui.New(ui.Options{
		Flags: native.flags, Degradation: native.degradation, Fleet: native.fleet, Audit: native.audit, Admin: native.admin,
		Superseded: func(ns string) (<-chan struct{}, error) {
			snap, err := s.Snapshot(ns)
			if err != nil {
				return nil, api.Error(err)
			}
			return snap.Superseded(), nil
		},
		As: authz.AsVisitor, Key: f.formKey, Log: log, Stopping: f.draining,
	})
	if err != nil {
		return err
	}
	f.console = console
	for _, path := range []string{"/ns/", "/static/", "/you", "/theme"} {
		mux.Handle(path, console)
	}
	// What is not mounted is for the console to answer if it is a browser that
	// asks. For an RPC it is just not there.
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.NotFound(w, r)
			return
		}
		console.ServeHTTP(w, r)
	})
	return nil
}

// formKey is the key of the console's forms. All servers of a store have it.
func (f *front) formKey(ctx context.Context) ([]byte, error) {
	key, err := f.backend.store.PeerKey(ctx)
	if err != nil {
		return nil, api.Error(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("console forms"))
	return mac.Sum(nil), nil
}
