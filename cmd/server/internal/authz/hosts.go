package authz

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Hosts are the names by which a server may be addressed. A browser on the
// same machine is not to be trusted for being local: a page of another site
// can make it send requests here, under a name that resolves to this machine
// (DNS rebinding) or straight across origins.
type Hosts struct{ names map[string]bool }

// NewHosts knows the loopback names, the host of the listening address, and
// more names as configured.
func NewHosts(listen string, more []string) Hosts {
	h := Hosts{names: map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true}}
	if host, _, err := net.SplitHostPort(listen); err == nil && host != "" {
		h.names[strings.ToLower(host)] = true
	}
	for _, name := range more {
		h.names[strings.ToLower(strings.TrimSuffix(name, "."))] = true
	}
	return h
}

func (h Hosts) knows(hostport string) bool {
	host := hostport
	if name, _, err := net.SplitHostPort(hostport); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	return h.names[strings.ToLower(host)]
}

// Guard refuses requests for names that are not this server's, and changing
// requests from pages of another origin. Health checks are exempt: they come
// by address. Pages may ask where the handler has an allow list of origins.
func (h Hosts) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/livez" || r.URL.Path == "/readyz" {
			next.ServeHTTP(w, r)
			return
		}
		if !h.knows(r.Host) {
			refuse(w, r, http.StatusMisdirectedRequest, fmt.Sprintf("this server is not called %q; if it should be, start it with --host", r.Host))
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" && changes(r.Method) && !sameOrigin(origin, r.Host) && !listed(r.URL.Path) {
			refuse(w, r, http.StatusForbidden, fmt.Sprintf("a changing request from a page of %q is refused", origin))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuse answers in the terms of the route's protocol.
func refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	if !listed(r.URL.Path) {
		http.Error(w, why, status)
		return
	}
	body, err := json.Marshal(map[string]string{"errorDetails": why})
	if err != nil { // it is text
		body = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone does not miss it
}

// listed tells whether the handler of a route has an allow list of its own.
func listed(path string) bool { return strings.HasPrefix(path+"/", "/ofrep/v1/") }

func changes(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}

// sameOrigin compares the page's host and port with those of the request. The
// scheme is not compared: a proxy in front may speak TLS.
func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}
