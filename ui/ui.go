// Package ui is the web console: pages that the server renders with templ, kept
// live by server-sent events.
//
// It knows the server by the interfaces of its public API alone, as every other
// client does, but calls them within the process. How the pieces fit:
//
//   - A room (room.go) follows one namespace that somebody looks at. It holds a
//     View (view.go), which is immutable, and renders what changed into
//     fragments (topic.go), once for all who look.
//   - A page (page.go) is rendered from the View; the script then replaces
//     fragments as events bring them (live.go).
//   - What changes something is an act (act.go): a GET shows what it would do,
//     and a form that was made for one browser and one use (secure.go) does it.
package ui

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"buf.build/go/protovalidate"

	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

// Options are what a console stands on. All but Now and Stopping are needed.
type Options struct {
	Flags       plimsollv1connect.FlagServiceHandler
	Degradation plimsollv1connect.DegradationServiceHandler
	Fleet       plimsollv1connect.FleetServiceHandler
	Audit       plimsollv1connect.AuditServiceHandler
	Admin       plimsollv1connect.AdminServiceHandler
	// Superseded is closed when a namespace has moved on from the state that it
	// has at the time of the call.
	Superseded func(ns string) (<-chan struct{}, error)
	// As is ctx with a person, who has named herself, as the caller of the API.
	As func(ctx context.Context, name string) context.Context
	// Key is the secret that forms are signed with. It should be the same on all
	// servers of a store, and outlive them, so that a form that was begun on one
	// can be sent to another.
	Key func(ctx context.Context) ([]byte, error)
	// Log is where faults of the console go.
	Log *slog.Logger
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Stopping ends the event streams when it is closed; nil: only Close does.
	Stopping <-chan struct{}
}

// Console serves the pages. It is safe for concurrent use.
type Console struct {
	Options
	validator protovalidate.Validator
	assets    *assets
	handler   http.Handler
	used      *usedForms

	ctx    context.Context //nolint:containedctx // the rooms' lifetime, which Close ends
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex
	rooms map[string]*room
}

// New makes a console. The caller mounts it at / and closes it.
func New(opts Options) (*Console, error) {
	if opts.Flags == nil || opts.Degradation == nil || opts.Fleet == nil || opts.Audit == nil || opts.Admin == nil ||
		opts.Superseded == nil || opts.As == nil || opts.Key == nil || opts.Log == nil {
		return nil, errors.New("the console needs every service, Superseded, As, Key and Log")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	validator, err := protovalidate.New()
	if err != nil {
		return nil, err
	}
	files, err := loadAssets()
	if err != nil {
		return nil, err
	}
	c := &Console{Options: opts, validator: validator, assets: files, used: newUsedForms(), rooms: make(map[string]*room)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.handler = c.secured(c.routes())
	return c, nil
}

// Close ends the event streams and waits for the rooms.
func (c *Console) Close() {
	c.cancel()
	c.work.Wait()
}

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// routes are all that the console serves. A page of a namespace is a function
// of a visit; see page.go.
func (c *Console) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, nsURL(defaultNamespace, ""), http.StatusFound)
	})
	mux.HandleFunc("GET /static/{name}", c.assets.serve)
	mux.HandleFunc("POST /you", c.nameYourself)
	mux.HandleFunc("POST /theme", c.chooseTheme)
	mux.HandleFunc("GET /ns/{ns}/{$}", c.page(overviewPage))
	mux.HandleFunc("GET /ns/{ns}/flags", c.page(flagsPage))
	mux.HandleFunc("GET /ns/{ns}/map", c.page(mapPage))
	mux.HandleFunc("GET /ns/{ns}/fleet", c.page(fleetPage))
	mux.HandleFunc("GET /ns/{ns}/flag", c.page(flagPage))
	mux.HandleFunc("GET /ns/{ns}/flag/edit", c.page(editPage))
	mux.HandleFunc("POST /ns/{ns}/flag/edit", c.page(savePage))
	mux.HandleFunc("GET /ns/{ns}/flag/new", c.page(newPage))
	mux.HandleFunc("POST /ns/{ns}/flag/new", c.page(createPage))
	mux.HandleFunc("POST /ns/{ns}/flag/check", c.page(checkPage))
	mux.HandleFunc("POST /ns/{ns}/flag/try", c.page(tryPage))
	mux.HandleFunc("GET /ns/{ns}/help", c.page(helpPage))
	mux.HandleFunc("GET /ns/{ns}/act/{verb}", c.page(askPage))
	mux.HandleFunc("POST /ns/{ns}/act/{verb}", c.page(actPage))
	mux.HandleFunc("GET /ns/{ns}/events", c.events)
	mux.HandleFunc("/", c.notFound)
	return mux
}
