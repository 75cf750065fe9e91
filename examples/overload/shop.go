package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

const (
	slots    = 8
	pageTime = 40 * time.Millisecond
	// capacity is how many pages a shop can serve, in pages a second.
	capacity = float64(slots) / 0.040
	// patience is how long a visitor waits.
	patience = 500 * time.Millisecond
)

// pages are what visitors ask for, each as often as any other.
var pages = [...]struct{ path, tier string }{
	{"/checkout", "critical"}, {"/cart", "important"}, {"/search", "standard"}, {"/tips", "optional"},
}

// page serves any page: it waits for one of a few slots, as for a connection to
// a database, and takes its time.
func page() http.Handler {
	free := make(chan struct{}, slots)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case free <- struct{}{}:
		case <-r.Context().Done(): // the visitor has left
			http.Error(w, "nobody waits for this page", http.StatusServiceUnavailable)
			return
		}
		defer func() { <-free }()
		time.Sleep(pageTime)
		fmt.Fprintln(w, "a page")
	})
}

// withAdmission is all that a server has to do.
func withAdmission(shop http.Handler) (*admission.Controller, http.Handler, error) {
	controller, err := admission.New()
	if err != nil {
		return nil, nil, err
	}
	var rules []admission.Rule
	for _, p := range pages {
		rules = append(rules, admission.Rule{Pattern: p.path, Tier: p.tier})
	}
	edge, err := admission.NewEdge(controller, admission.WithRules(rules...))
	if err != nil {
		return nil, nil, err
	}
	return controller, edge.Handler(shop), nil
}

// shop is a server on a port of its own, and a client of it. They speak HTTP/2,
// so that thousands of visitors need one connection.
type shop struct {
	server *http.Server
	client *http.Client
	url    string
	closed chan struct{}
}

func open(handler http.Handler) (*shop, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	s := &shop{
		server: &http.Server{
			Handler: handler, Protocols: protocols, ReadHeaderTimeout: time.Second,
			HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 2 * maxVisitors},
		},
		client: &http.Client{Transport: &http.Transport{Protocols: protocols}},
		url:    "http://" + listener.Addr().String(),
		closed: make(chan struct{}),
	}
	go func() {
		defer close(s.closed)
		_ = s.server.Serve(listener) // ends by close
	}()
	return s, nil
}

func (s *shop) close() {
	s.client.CloseIdleConnections()
	_ = s.server.Close() // nobody is there any more
	<-s.closed
}

// ask asks for a page as long as ctx allows.
func (s *shop) ask(ctx context.Context, path string) answer {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return late
	}
	response, err := s.client.Do(r)
	if err != nil {
		return late
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return late
	}
	if response.StatusCode != http.StatusOK {
		return refused
	}
	return good
}
