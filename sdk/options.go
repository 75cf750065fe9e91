package sdk

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// How long Init waits for flags from a server, when it has none at all and when
// it has some from the cache or the bootstrap file.
const (
	defaultInitTimeout = 5 * time.Second
	seededInitTimeout  = 500 * time.Millisecond
)

// Longest names that servers take, in characters.
const (
	maxService = 256
	maxZone    = 128
)

var namespaceName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// An Option configures a Provider. Options are checked by [NewProvider].
type Option func(*config)

type config struct {
	endpoints []endpoint
	namespace string
	service   string
	zone      string
	// initTimeout is nil unless it is set.
	initTimeout *time.Duration
	log         *slog.Logger
	client      *http.Client
	tls         *tls.Config
	cacheDir    string
	bootstrap   string
	file        string
	// environ is os.Environ, and shuffle the order of endpoints of one rank; but in
	// tests.
	environ func() []string
	shuffle func(n int, swap func(i, j int))
	faults  []error
}

// endpoint is a server and the zone that it is in; empty: not known.
type endpoint struct {
	url  *url.URL
	zone string
}

func newConfig(options []Option) (*config, error) {
	c := &config{service: filepath.Base(os.Args[0]), environ: os.Environ, shuffle: mathrand.Shuffle}
	for i, option := range options {
		if option == nil {
			c.fault("option %d is nil: leave it out", i+1)
			continue
		}
		option(c)
	}
	if len(c.endpoints)+len(c.faults) == 0 && c.file == "" {
		c.fault("no endpoint: name the servers with WithEndpoints(\"https://flags.example.com:8013\"), or a file with WithFile")
	}
	if c.file != "" && (len(c.endpoints) > 0 || c.cacheDir != "" || c.bootstrap != "") {
		c.fault("WithFile takes the place of servers: it excludes WithEndpoints, WithZoneEndpoints, WithCacheDir and WithBootstrapFile")
	}
	if c.tls != nil && c.client != nil {
		c.fault("WithTLSConfig and WithHTTPClient exclude each other: put the TLS configuration into the client's transport")
	}
	if c.tls != nil && !slices.ContainsFunc(c.endpoints, func(e endpoint) bool { return e.url.Scheme == "https" }) {
		c.fault("WithTLSConfig has no effect without an https endpoint")
	}
	c.log = cmp.Or(c.log, slog.Default())
	return c, errors.Join(c.faults...)
}

func (c *config) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("sdk: "+format, args...))
}

// WithEndpoints names the servers by their http or https URLs. One is needed; with
// several the provider moves on to another when one fails, drains, is behind or has
// lost touch with its store. They are of the same preference: the order in which
// they are tried is chosen at random, so that a fleet spreads over them. A URL may
// have a path, for servers behind a proxy.
func WithEndpoints(urls ...string) Option {
	return func(c *config) { c.addEndpoints("", urls) }
}

// WithZoneEndpoints names servers as WithEndpoints does, and the zone that they are
// in. Servers of the provider's own zone (see [WithZone]) are preferred to servers
// without a zone, and these to servers of other zones. While the provider follows a
// server that is not of the best kind it asks a better one for its /readyz now and
// then, and goes back once that is well.
func WithZoneEndpoints(zone string, urls ...string) Option {
	return func(c *config) {
		if zone == "" {
			c.fault("WithZoneEndpoints without a zone: name servers that are in none with WithEndpoints")
		}
		c.checkZone(zone)
		c.addEndpoints(zone, urls)
	}
}

func (c *config) addEndpoints(zone string, urls []string) {
	for _, text := range urls {
		u, err := parseEndpoint(text)
		if err != nil {
			c.faults = append(c.faults, err)
			continue
		}
		i := slices.IndexFunc(c.endpoints, func(e endpoint) bool { return e.url.String() == u.String() })
		switch {
		case i < 0:
			c.endpoints = append(c.endpoints, endpoint{u, zone})
		case c.endpoints[i].zone != zone:
			c.fault("endpoint %q is named in %s and in %s: it can be in one of them only", u, zoneText(c.endpoints[i].zone), zoneText(zone))
		}
	}
}

func zoneText(zone string) string {
	if zone == "" {
		return "no zone"
	}
	return fmt.Sprintf("zone %q", zone)
}

// ranked are the endpoints in the order in which they are tried, and how far each
// is: in the own zone, in none, in another.
func (c *config) ranked() (list []endpoint, ranks []int) {
	list = slices.Clone(c.endpoints)
	c.shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(a, b endpoint) int { return c.rank(a) - c.rank(b) })
	for _, e := range list {
		ranks = append(ranks, c.rank(e))
	}
	return list, ranks
}

func (c *config) rank(e endpoint) int {
	switch e.zone {
	case "":
		return 1
	case c.zone:
		return 0
	default:
		return 2
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
	case u.Port() != "" && !isPort(u.Port()):
		return nil, fmt.Errorf("sdk: endpoint %q: a port is 1 to 65535", text)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("sdk: endpoint %q: a query or fragment has no meaning here", text)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, nil
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
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

// WithInitTimeout sets how long Init waits for flags from a server before it lets
// the app go on with those of the cache or the bootstrap file, or without any. With
// 0 it does not wait. Unless set that is 500 ms if there are any, else 5 s. Reading
// the files is not part of it.
func WithInitTimeout(d time.Duration) Option {
	return func(c *config) {
		if d < 0 {
			c.fault("init timeout %s is negative", d)
		}
		c.initTimeout = &d
	}
}

// WithCacheDir keeps the newest flags in files of a folder, so that a process can
// start with them when no server answers. The folder is made if need be (mode 0700;
// the files have 0600), and may be shared: one provider for each namespace writes,
// the others read and take over when it is gone. A folder that cannot be used is no
// error: the log says so, and the provider works without.
func WithCacheDir(dir string) Option {
	return func(c *config) {
		if dir == "" {
			c.fault("the path of the cache folder is empty: leave WithCacheDir out to have no cache")
		}
		c.cacheDir = dir
	}
}

// WithBootstrapFile names a file with flags to start with when no server answers:
// a flagd document in JSON, as flagctl export writes it, or a file of a cache (see
// [WithCacheDir]), shipped with the app. Where there is a cache too, the later state
// of the same store counts, and the cache if they are of different stores.
//
// A document can say which state it is, by the members plimsoll.store,
// plimsoll.epoch and plimsoll.revision of its metadata, which answers do not show.
// A file that cannot be read or has faults is no error: the log has all of them, and
// the provider works without.
func WithBootstrapFile(path string) Option {
	return func(c *config) {
		if path == "" {
			c.fault("the path of the bootstrap file is empty: leave WithBootstrapFile out to have none")
		}
		c.bootstrap = path
	}
}

// WithFile takes the flags from a file, a flagd document in JSON, instead of
// servers: for a developer's machine. The file is looked at every second. A version
// of it that has faults is logged with all of them, and the last good one stays. A
// file that is not there at the start is no error: callers get their own defaults
// until it is.
func WithFile(path string) Option {
	return func(c *config) {
		if path == "" {
			c.fault("the path given to WithFile is empty")
		}
		c.file = path
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

// WithZone says in which zone the process runs. It is shown to operators, and
// decides which servers are preferred: see [WithZoneEndpoints].
func WithZone(zone string) Option {
	return func(c *config) {
		c.checkZone(zone)
		c.zone = zone
	}
}

func (c *config) checkZone(zone string) {
	if n := utf8.RuneCountInString(zone); n > maxZone || !utf8.ValidString(zone) {
		c.fault("zone of %d characters: it must be UTF-8 of at most %d", n, maxZone)
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
