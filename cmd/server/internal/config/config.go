// Package config reads the server's configuration: command line flags, then
// the environment, then a YAML file, then defaults. Every flag has all four:
// --data-dir is PLIMSOLL_DATA_DIR, and data-dir in the file.
package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"
	"golang.org/x/net/http/httpguts"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/ofrep"
)

// Config is what a server is started with.
type Config struct {
	// Listen is the address of the one listener for everybody.
	Listen string
	// AdminListen is the address of the listener for profiles; empty: none.
	AdminListen string
	// DataDir keeps the embedded store, or a replica's last snapshots.
	DataDir string
	// Etcd are the URLs of an external cluster; empty: an embedded member.
	Etcd []string
	// EtcdCA, EtcdCert and EtcdKey are PEM files for an external cluster.
	EtcdCA, EtcdCert, EtcdKey string
	// EtcdUser, and the file that holds its password.
	EtcdUser, EtcdPasswordFile string
	// EtcdListenClient and EtcdListenPeer open the embedded member's own
	// listeners; empty: they stay closed.
	EtcdListenClient, EtcdListenPeer string
	// Demo loads a shop's flags into the default namespace if it is empty.
	Demo bool
	// Insecure allows a listener that is not on loopback.
	Insecure bool
	// Hosts are further names by which this server may be addressed.
	Hosts []string
	// Advertise is the URL at which other servers reach this one; empty: see
	// AdvertiseURL.
	Advertise string
	// Zone is where this server runs; may be empty.
	Zone string
	// LogFormat is text or json; LogLevel debug, info, warn or error.
	LogFormat, LogLevel string
	// MaxStreams bounds the watch streams, and as many of other protocols.
	MaxStreams int
	// FlagdSyncListen and OFREPListen are further addresses of the same
	// listener, for clients that use their protocol's own port; empty: none.
	FlagdSyncListen, OFREPListen string
	// ContextValues are added to every evaluation context of flagd and OFREP
	// clients.
	ContextValues map[string]string
	// ContextFromHeader are the names in that context of request headers.
	ContextFromHeader map[string]string
	// OFREPOrigins are the origins whose pages may ask for evaluations over OFREP.
	OFREPOrigins []string
}

const fileFlag = "config"

// maxZone bounds the zone's name, in bytes.
const maxZone = 128

// Bind declares the flags on fs.
func (c *Config) Bind(fs *pflag.FlagSet) {
	fs.StringVar(&c.Listen, "listen", "127.0.0.1:8013", "address to serve on, for apps, operators and browsers")
	fs.StringVar(&c.AdminListen, "admin-listen", "", "address to serve /debug/pprof and /metrics on; empty: nowhere")
	fs.StringVar(&c.DataDir, "data-dir", "./plimsoll-data", "folder of the embedded store, or of a replica's last snapshots")
	fs.StringSliceVar(&c.Etcd, "etcd", nil, "`URLs` of an external etcd cluster; empty: an embedded member")
	fs.StringVar(&c.EtcdCA, "etcd-cacert", "", "PEM `file` of the authority that signed the cluster's certificates; empty: the system's")
	fs.StringVar(&c.EtcdCert, "etcd-cert", "", "PEM `file` of the certificate to show to the cluster")
	fs.StringVar(&c.EtcdKey, "etcd-key", "", "PEM `file` of that certificate's key")
	fs.StringVar(&c.EtcdUser, "etcd-user", "", "user name in the cluster")
	fs.StringVar(&c.EtcdPasswordFile, "etcd-password-file", "", "`file` with the user's password")
	fs.StringVar(&c.EtcdListenClient, "etcd-listen-client", "", "`URL` on which the embedded member serves etcd clients; empty: closed")
	fs.StringVar(&c.EtcdListenPeer, "etcd-listen-peer", "", "`URL` on which the embedded member hears other members; empty: closed")
	fs.BoolVar(&c.Demo, "demo", false, "load a shop's flags if the default namespace is empty")
	fs.BoolVar(&c.Insecure, "insecure", false, "serve on an address that is not loopback, without authentication or TLS")
	fs.StringSliceVar(&c.Hosts, "host", nil, "further `names` by which this server may be addressed")
	fs.StringVar(&c.Advertise, "advertise", "", "`URL` at which the other servers of an etcd cluster reach this one; empty: made from --listen")
	fs.StringVar(&c.Zone, "zone", "", "zone in which this server runs, as told to operators")
	fs.StringVar(&c.LogFormat, "log-format", "text", "text or json")
	fs.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
	fs.IntVar(&c.MaxStreams, "max-streams", 20_000, "watch streams at once, and as many streams of flagd's and OFREP's clients")
	fs.StringVar(&c.FlagdSyncListen, "flagd-sync-listen", "", "further `address` to serve on, such as 127.0.0.1:8015, for flagd providers that evaluate in process; empty: none")
	fs.StringVar(&c.OFREPListen, "ofrep-listen", "", "further `address` to serve on, such as 127.0.0.1:8016, for OFREP clients; empty: none")
	fs.StringToStringVar(&c.ContextValues, "context-value", nil, "`key=value` to add to the evaluation context of every flagd and OFREP client; one with a comma in quotation marks: '\"list=a,b\"'")
	fs.StringToStringVar(&c.ContextFromHeader, "context-from-header", nil, "`Header=key`: add a request header to the context of flagd and OFREP clients")
	fs.StringSliceVar(&c.OFREPOrigins, "ofrep-cors-origin", nil, "`origins` whose pages may evaluate flags over OFREP, such as https://shop.example; * for all; empty: none but this server's own")
	fs.String(fileFlag, "", "YAML `file` with any of these settings")
}

// EnvName is the environment variable of a flag.
func EnvName(flag string) string {
	return "PLIMSOLL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Complete fills in, on a parsed fs that Bind was called on, what the command
// line left out: from the environment, then from the file. All that is wrong
// is reported at once.
func (c *Config) Complete(fs *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var errs []error
	set := func(f *pflag.Flag, value, from string) {
		if err := fs.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %q is not a value of --%s: %w", from, value, f.Name, err))
		}
	}
	fs.VisitAll(func(f *pflag.Flag) {
		if value, ok := lookup(EnvName(f.Name)); ok && !f.Changed {
			set(f, value, EnvName(f.Name))
		}
	})
	path, err := fs.GetString(fileFlag)
	if err != nil {
		return err
	}
	if path != "" {
		values, err := readFile(path)
		if err != nil {
			return err
		}
		for name, value := range values {
			f := fs.Lookup(name)
			switch {
			case f == nil || name == fileFlag:
				errs = append(errs, fmt.Errorf("%s: there is no setting %q; settings are named like the server's flags", path, name))
			case !f.Changed:
				set(f, value, path)
			}
		}
	}
	errs = append(errs, c.check())
	return errors.Join(errs...)
}

// readFile reads a flat YAML mapping of settings; lists are joined by commas.
func readFile(path string) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	var raw map[string]any
	if err := yaml.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, true))
	}
	out := make(map[string]string, len(raw))
	for name, value := range raw {
		switch v := value.(type) {
		case []any:
			parts := make([]string, len(v))
			for i, p := range v {
				parts[i] = fmt.Sprint(p)
			}
			out[name] = strings.Join(parts, ",")
		case map[string]any:
			return nil, fmt.Errorf("%s: setting %q is a mapping; a value or a list is wanted", path, name)
		case nil:
		default:
			out[name] = fmt.Sprint(v)
		}
	}
	return out, nil
}

func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, l := range []struct{ flag, addr string }{
		{"listen", c.Listen}, {"admin-listen", c.AdminListen}, {"flagd-sync-listen", c.FlagdSyncListen}, {"ofrep-listen", c.OFREPListen},
	} {
		if l.addr == "" && l.flag != "listen" {
			continue
		}
		host, _, err := net.SplitHostPort(l.addr)
		switch {
		case err != nil:
			bad("--%s %q is not an address such as 127.0.0.1:8013", l.flag, l.addr)
		case !c.Insecure && !loopback(host):
			bad("--%s %s would serve every machine that can reach it without authentication or TLS; listen on 127.0.0.1, or say --insecure if something in front protects it", l.flag, l.addr)
		}
	}
	for _, l := range []struct{ flag, text string }{{"etcd-listen-client", c.EtcdListenClient}, {"etcd-listen-peer", c.EtcdListenPeer}} {
		if l.text == "" {
			continue
		}
		u, err := url.Parse(l.text)
		switch {
		case err != nil || u.Hostname() == "":
			bad("--%s %q is not a URL such as http://127.0.0.1:2379", l.flag, l.text)
		case !c.Insecure && !loopback(u.Hostname()):
			bad("--%s %s would open etcd to every machine that can reach it, without authentication; listen on 127.0.0.1, or say --insecure if something in front protects it", l.flag, l.text)
		}
	}
	if c.Advertise != "" {
		u, err := url.Parse(c.Advertise)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			bad("--advertise %q is not a URL such as http://10.0.0.1:8013", c.Advertise)
		}
	}
	if len(c.Zone) > maxZone {
		bad("--zone has %d bytes; the limit is %d", len(c.Zone), maxZone)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		bad("--log-format %q: text or json", c.LogFormat)
	}
	if c.MaxStreams < 1 {
		bad("--max-streams %d: at least 1", c.MaxStreams)
	}
	for _, origin := range c.OFREPOrigins {
		if err := ofrep.CheckOrigin(origin); err != nil {
			bad("--ofrep-cors-origin: %w", err)
		}
	}
	c.checkContext(bad)
	if c.DataDir == "" {
		bad("--data-dir is empty")
	}
	if len(c.Etcd) == 0 && (c.EtcdCA != "" || c.EtcdCert != "" || c.EtcdKey != "" || c.EtcdUser != "" || c.EtcdPasswordFile != "") {
		bad("certificates or a user for etcd were given, but no --etcd")
	}
	if len(c.Etcd) > 0 && (c.EtcdListenClient != "" || c.EtcdListenPeer != "") {
		bad("--etcd-listen-client and --etcd-listen-peer are for the embedded member; with --etcd there is none")
	}
	if (c.EtcdUser == "") != (c.EtcdPasswordFile == "") {
		bad("--etcd-user and --etcd-password-file go together")
	}
	return errors.Join(errs...)
}

// checkContext checks what is added to the contexts of clients.
func (c *Config) checkContext(bad func(format string, args ...any)) {
	for name := range c.ContextValues {
		if name == "" {
			bad("--context-value: a value has no key; say key=value")
		}
	}
	from := make(map[string]string, len(c.ContextFromHeader))
	for _, header := range slices.Sorted(maps.Keys(c.ContextFromHeader)) {
		name := c.ContextFromHeader[header]
		switch other, twice := from[name]; {
		case !httpguts.ValidHeaderFieldName(header) || name == "":
			bad("--context-from-header %s=%s is not a header and a key such as X-Region=region", header, name)
		case twice: // a request with both would mean now one, now the other
			bad("--context-from-header: %s and %s both give %q; take one of them, or another key", other, header, name)
		default:
			from[name] = header
		}
	}
}

// MoreListen are the addresses to serve on besides Listen, by the flag that
// says so.
func (c *Config) MoreListen() map[string]string {
	more := make(map[string]string)
	for flag, addr := range map[string]string{"flagd-sync-listen": c.FlagdSyncListen, "ofrep-listen": c.OFREPListen} {
		if addr != "" {
			more[flag] = addr
		}
	}
	return more
}

// AdvertiseURL is the URL at which other servers reach one that listens at
// addr. Where it listens on all addresses, they know it by the machine's name.
func (c *Config) AdvertiseURL(addr net.Addr) (string, error) {
	if c.Advertise != "" {
		return strings.TrimRight(c.Advertise, "/"), nil
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "", fmt.Errorf("the address %s of the listener: %w", addr, err)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			return "", fmt.Errorf("read the machine's name: %w; say with --advertise how other servers reach this one", err)
		}
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// loopback says whether a host can be reached from this machine alone.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
