package ofrep

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// anyOrigin in the allow list stands for all of them.
const anyOrigin = "*"

// CheckOrigin says what is wrong with an entry of the allow list: it is "*", or
// an origin such as https://shop.example without a path.
func CheckOrigin(origin string) error {
	if origin == anyOrigin {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || origin != u.Scheme+"://"+u.Host || strings.Contains(u.Host, "*") {
		return fmt.Errorf("%q is not an origin such as https://shop.example, without a path, or *", origin)
	}
	return nil
}

// The headers that a page may send and read beyond those that are always
// allowed, and for how long a browser may remember it, in seconds.
const (
	corsAllowed = "Authorization, Content-Type, Flagd-Selector, If-None-Match, Last-Event-ID, Plimsoll-Namespace, X-API-Key"
	corsExposed = "ETag, Retry-After"
	corsMaxAge  = "7200"
)

// cors is the allow list of cross-origin requests (the CORS protocol of the Fetch
// standard).
type cors struct {
	origins []string
	headers string // that a page may send
}

func newCORS(origins []string, fromHeader map[string]string) cors {
	names := append([]string{corsAllowed}, slices.Sorted(maps.Keys(fromHeader))...)
	return cors{origins, strings.Join(names, ", ")}
}

// admits tells whether a page of an origin may ask a host, and what to say of it.
func (c cors) admits(origin, host string) (allow string, ok bool) {
	switch {
	case slices.Contains(c.origins, origin):
		return origin, true
	case slices.Contains(c.origins, anyOrigin):
		return anyOrigin, true
	default:
		u, err := url.Parse(origin)
		return "", err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
	}
}

// screen answers preflights and pages that are not allowed, and reports whether
// the request has been dealt with by that.
func (c cors) screen(w http.ResponseWriter, r *http.Request) (done bool) {
	head := w.Header()
	if len(c.origins) > 0 {
		head.Add("Vary", "Origin")
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	allow, ok := c.admits(origin, r.Host)
	if !ok {
		fail(w, http.StatusForbidden, problem{details: fmt.Sprintf("pages of %q may not ask this server; allow them with --ofrep-cors-origin", origin)})
		return true
	}
	if allow != "" {
		head.Set("Access-Control-Allow-Origin", allow)
		head.Set("Access-Control-Expose-Headers", corsExposed)
	}
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	if allow != "" {
		head.Set("Access-Control-Allow-Methods", "GET, POST")
		head.Set("Access-Control-Allow-Headers", c.headers)
		head.Set("Access-Control-Max-Age", corsMaxAge)
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
