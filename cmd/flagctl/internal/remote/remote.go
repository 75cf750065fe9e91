// Package remote talks to a Plimsoll server. It gives every call its deadline
// and the headers that say who calls, and turns what comes back as an error
// into words.
package remote

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

// Target says which server to call, and how.
type Target struct {
	// Server is the server's URL, as CheckURL accepts it.
	Server string
	// Token is sent as a bearer token; empty: none.
	Token string
	// Actor is who the audit log is told that calls.
	Actor string
	// Timeout is the deadline of every unary call.
	Timeout time.Duration
}

// Client holds the clients of a server's services. It is safe for concurrent
// use.
type Client struct {
	Flags plimsollv1connect.FlagServiceClient
	Audit plimsollv1connect.AuditServiceClient
	Admin plimsollv1connect.AdminServiceClient
	Fleet plimsollv1connect.FleetServiceClient

	Degradation plimsollv1connect.DegradationServiceClient

	target Target
	http   *http.Client
	base   string // of all paths
}

// maxAnswer bounds what is read of one message: a whole namespace, exported.
const maxAnswer = 512 << 20

// origin is what the audit log is told of where a change came from.
const origin = "flagctl"

// New makes a client; it does not connect yet.
func New(t Target) *Client {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: t.Timeout}).DialContext,
		TLSHandshakeTimeout:   t.Timeout,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     true,
	}
	httpClient := &http.Client{
		Transport: &identified{target: t, next: transport},
		// A server never redirects a call; following would carry the token on.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	base := strings.TrimSuffix(t.Server, "/")
	opts := []connect.ClientOption{
		connect.WithReadMaxBytes(maxAnswer),
		connect.WithInterceptors(deadline(t.Timeout)),
	}
	return &Client{
		Flags: plimsollv1connect.NewFlagServiceClient(httpClient, base, opts...),
		Audit: plimsollv1connect.NewAuditServiceClient(httpClient, base, opts...),
		Admin: plimsollv1connect.NewAdminServiceClient(httpClient, base, opts...),
		Fleet: plimsollv1connect.NewFleetServiceClient(httpClient, base, opts...),

		Degradation: plimsollv1connect.NewDegradationServiceClient(httpClient, base, opts...),

		target: t, http: httpClient, base: base,
	}
}

// Server is the URL of the server.
func (c *Client) Server() string { return c.target.Server }

// deadline bounds unary calls. Streams are bounded by their reader, who knows
// how long a silence may last.
func deadline(timeout time.Duration) connect.UnaryInterceptorFunc {
	return func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			limited, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			res, err := next(limited, req)
			return res, Broken(ctx, err)
		}
	}
}

// identified adds to every request, of streams too, who makes it.
type identified struct {
	target Target
	next   http.RoundTripper
}

func (i *identified) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Plimsoll-Actor", i.target.Actor)
	req.Header.Set("Plimsoll-Origin", origin)
	if i.target.Token != "" {
		req.Header.Set("Authorization", "Bearer "+i.target.Token)
	}
	var connected atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}))
	res, err := i.next.RoundTrip(req)
	if err != nil && !connected.Load() {
		err = &unsent{err}
	}
	return res, err
}

// unsent is why a request had no connection on which it could have been sent.
type unsent struct{ err error }

func (u *unsent) Error() string { return u.err.Error() }
func (u *unsent) Unwrap() error { return u.err }

// CheckURL says what is wrong with the URL of a server, if anything.
func CheckURL(server string) error {
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Host == "" && !strings.Contains(server, "://"):
		return fmt.Errorf("%q is no URL of a server, such as http://127.0.0.1:8013", server)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%q is no URL of a server: it must begin with http:// or https://", server)
	case u.Host == "" || u.Hostname() == "":
		return fmt.Errorf("%q names no host", server)
	case u.User != nil:
		return fmt.Errorf("the URL of the server must not hold a user or password; use --token-file")
	case u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%q has a query or fragment; the URL of a server has none", server)
	}
	return nil
}
