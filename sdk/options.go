package sdk

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// defaultInitTimeout is how long Init waits for a first set of flags.
const defaultInitTimeout = 5 * time.Second

// Longest names that servers take, in characters.
const (
	maxService = 256
	maxZone    = 128
)

var namespaceName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// An Option configures a Provider. Options are checked by [NewProvider].
type Option func(*config)

type config struct {
	endpoints   []*url.URL
	namespace   string
	service     string
	zone        string
	initTimeout time.Duration
	log         *slog.Logger
	client      *http.Client
	tls         *tls.Config
	faults      []error
}

func newConfig(options []Option) (*config, error) {
	c := &config{initTimeout: defaultInitTimeout, service: filepath.Base(os.Args[0])}
	for _, option := range options {
		option(c)
	}
	if len(c.endpoints)+len(c.faults) == 0 {
		c.fault("no endpoint: name the servers with WithEndpoints(\"https://flags.example.com:8013\")")
	}
	if c.tls != nil && c.client != nil {
		c.fault("WithTLSConfig and WithHTTPClient exclude each other: put the TLS configuration into the client's transport")
	}
	if c.tls != nil && !slices.ContainsFunc(c.endpoints, func(u *url.URL) bool { return u.Scheme == "https" }) {
		c.fault("WithTLSConfig has no effect without an https endpoint")
	}
	c.log = cmp.Or(c.log, slog.Default())
	return c, errors.Join(c.faults...)
}

func (c *config) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("sdk: "+format, args...))
}

// WithEndpoints names the servers by their http or https URLs, in the order in
// which they are tried. One is needed; with several the provider moves on to
// the next when one fails, drains, is behind or has lost touch with its store. A
// URL may have a path, for servers behind a proxy.
func WithEndpoints(urls ...string) Option {
	return func(c *config) {
		for _, text := range urls {
			u, err := parseEndpoint(text)
			if err != nil {
				c.faults = append(c.faults, err)
				continue
			}
			if !slices.ContainsFunc(c.endpoints, func(v *url.URL) bool { return v.String() == u.String() }) {
				c.endpoints = append(c.endpoints, u)
			}
		}
	}
}

func parseEndpoint(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		return nil, fmt.Errorf("sdk: endpoint %q has no scheme: write http://%s or https://%s", text, text, text)
	}
	u, err := url.Parse(text)
	if err != nil {
		// The error of the url package repeats the text, which may have a
		// password in it.
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return nil, fmt.Errorf("sdk: an endpoint is not a URL: %w", err)
	}
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("sdk: endpoint %q: credentials in a URL are not supported", u.Redacted())
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("sdk: endpoint %q: scheme %q is not supported, only http and https are", text, u.Scheme)
	case u.Hostname() == "":
		return nil, fmt.Errorf("sdk: endpoint %q names no host", text)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("sdk: endpoint %q: a query or fragment has no meaning here", text)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, nil
}

// WithNamespace chooses the namespace to follow. Without it the server
// chooses, by default the namespace named default.
func WithNamespace(name string) Option {
	return func(c *config) {
		if !namespaceName.MatchString(name) {
			c.fault("namespace %q: a name is 1 to 63 of a-z, 0-9 and -", name)
		}
		c.namespace = name
	}
}

// WithInitTimeout sets how long Init waits for a first set of flags before it
// lets the app go on with its own defaults; 5 s unless set. With 0 it does not
// wait.
func WithInitTimeout(d time.Duration) Option {
	return func(c *config) {
		if d < 0 {
			c.fault("init timeout %s is negative", d)
		}
		c.initTimeout = d
	}
}

// WithLogger sets where the provider logs: transitions (connected, stale,
// another store adopted) and flags that do not compile, none of them twice in
// a row. Unless set that is slog.Default().
func WithLogger(log *slog.Logger) Option {
	return func(c *config) { c.log = log }
}

// WithService names the service that the process belongs to, as it is shown to
// operators. Unless set that is the name of the executable.
func WithService(name string) Option {
	return func(c *config) {
		if n := utf8.RuneCountInString(name); n > maxService || !utf8.ValidString(name) {
			c.fault("service name of %d characters: it must be UTF-8 of at most %d", n, maxService)
		}
		c.service = name
	}
}

// WithZone says in which zone the process runs.
func WithZone(zone string) Option {
	return func(c *config) {
		if n := utf8.RuneCountInString(zone); n > maxZone || !utf8.ValidString(zone) {
			c.fault("zone of %d characters: it must be UTF-8 of at most %d", n, maxZone)
		}
		c.zone = zone
	}
}

// WithTLSConfig sets how https endpoints are verified, and which certificate is
// shown to them. Unless set they are verified by the roots of the system. The
// configuration is copied.
func WithTLSConfig(t *tls.Config) Option {
	return func(c *config) {
		if t == nil {
			c.fault("the TLS configuration is nil: leave WithTLSConfig out for the system's defaults")
			return
		}
		c.tls = t.Clone()
	}
}

// WithHTTPClient sets the client that streams run over, for a proxy, HTTP/2 or
// credentials of one's own. It must have no Timeout, since a stream has no end.
// The caller keeps it, and closes its idle connections.
//
// Unless set, the provider has a client of its own that speaks HTTP/1.1, which
// costs a server least for a stream, and takes a proxy from the environment.
func WithHTTPClient(client *http.Client) Option {
	return func(c *config) {
		switch {
		case client == nil:
			c.fault("the HTTP client is nil: leave WithHTTPClient out for the default")
		case client.Timeout != 0:
			c.fault("the HTTP client has a Timeout of %s, which would end every stream: set it to 0 (a dead stream is found by its silence)", client.Timeout)
		}
		c.client = client
	}
}
