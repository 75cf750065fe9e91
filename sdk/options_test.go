package sdk_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk"
)

func TestWrongOptions(t *testing.T) {
	good := sdk.WithEndpoints("http://localhost:8013")
	for _, test := range []struct {
		name    string
		options []sdk.Option
		want    string
	}{
		{"no endpoint", nil, "no endpoint: name the servers with WithEndpoints"},
		{"no endpoint or file", nil, "or a file with WithFile"},
		{"no endpoint beside a cache", []sdk.Option{sdk.WithCacheDir("x"), sdk.WithBootstrapFile("y")}, "no endpoint"},
		{"cache folder", []sdk.Option{good, sdk.WithCacheDir("")}, "the path of the cache folder is empty"},
		{"bootstrap file", []sdk.Option{good, sdk.WithBootstrapFile("")}, "the path of the bootstrap file is empty"},
		{"file", []sdk.Option{sdk.WithFile("")}, "the path given to WithFile is empty"},
		{"file and endpoint", []sdk.Option{good, sdk.WithFile("x")}, "WithFile takes the place of servers: it excludes"},
		{"file and zone endpoint", []sdk.Option{sdk.WithZoneEndpoints("z", "http://a"), sdk.WithFile("x")}, "it excludes"},
		{"file and cache", []sdk.Option{sdk.WithFile("x"), sdk.WithCacheDir("x")}, "it excludes"},
		{"file and bootstrap", []sdk.Option{sdk.WithFile("x"), sdk.WithBootstrapFile("x")}, "it excludes"},
		{"endpoints of no zone", []sdk.Option{sdk.WithZoneEndpoints("", "http://a")}, "WithZoneEndpoints without a zone"},
		{"endpoints of a long zone", []sdk.Option{sdk.WithZoneEndpoints(strings.Repeat("z", 129), "http://a")}, "zone of 129 characters"},
		{"unparsable zone endpoint", []sdk.Option{sdk.WithZoneEndpoints("z", "a:8013")}, `endpoint "a:8013" has no scheme`},
		{"endpoint in two zones", []sdk.Option{sdk.WithZoneEndpoints("y", "http://a"), sdk.WithZoneEndpoints("z", "http://a/")}, `endpoint "http://a" is named in zone "y" and in zone "z"`},
		{"endpoint with and without zone", []sdk.Option{good, sdk.WithZoneEndpoints("z", "http://localhost:8013")}, `named in no zone and in zone "z"`},
		{"no endpoint after all", []sdk.Option{sdk.WithEndpoints()}, "no endpoint"},
		{"empty endpoint", []sdk.Option{sdk.WithEndpoints("")}, `endpoint "" has no scheme`},
		{"no scheme", []sdk.Option{sdk.WithEndpoints("localhost:8013")}, `endpoint "localhost:8013" has no scheme: write http://localhost:8013 or https://localhost:8013`},
		{"unknown scheme", []sdk.Option{sdk.WithEndpoints("grpc://localhost:8013")}, `scheme "grpc" is not supported, only http and https are`},
		{"unparsable", []sdk.Option{sdk.WithEndpoints("http://local host:8013")}, "not a URL"},
		{"unparsable port", []sdk.Option{sdk.WithEndpoints("http://localhost:port")}, "not a URL"},
		{"no host", []sdk.Option{sdk.WithEndpoints("http://:8013")}, "names no host"},
		{"query", []sdk.Option{sdk.WithEndpoints("http://localhost?a=b")}, "a query or fragment has no meaning"},
		{"credentials", []sdk.Option{sdk.WithEndpoints("http://me:secret@localhost")}, "credentials in a URL are not supported"},
		{"namespace", []sdk.Option{good, sdk.WithNamespace("My Shop")}, `namespace "My Shop": a name is 1 to 63 of a-z, 0-9 and -`},
		{"empty namespace", []sdk.Option{good, sdk.WithNamespace("")}, `namespace ""`},
		{"long namespace", []sdk.Option{good, sdk.WithNamespace(strings.Repeat("a", 64))}, "1 to 63"},
		{"init timeout", []sdk.Option{good, sdk.WithInitTimeout(-time.Second)}, "init timeout -1s is negative"},
		{"service", []sdk.Option{good, sdk.WithService(strings.Repeat("ü", 257))}, "service name of 257 characters"},
		{"zone", []sdk.Option{good, sdk.WithZone("\xff")}, "zone of 1 characters: it must be UTF-8"},
		{"client with a timeout", []sdk.Option{good, sdk.WithHTTPClient(&http.Client{Timeout: time.Second})}, "Timeout of 1s, which would end every stream"},
		{"nil client", []sdk.Option{good, sdk.WithHTTPClient(nil)}, "the HTTP client is nil"},
		{"nil TLS", []sdk.Option{good, sdk.WithTLSConfig(nil)}, "the TLS configuration is nil"},
		{"TLS without https", []sdk.Option{good, sdk.WithTLSConfig(&tls.Config{})}, "no effect without an https endpoint"},
		{"TLS and client", []sdk.Option{sdk.WithEndpoints("https://a"), sdk.WithTLSConfig(&tls.Config{}), sdk.WithHTTPClient(&http.Client{})}, "exclude each other"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := sdk.NewProvider(test.options...)
			if err == nil || p != nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q, want it to say %q", err, test.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q holds a password", err)
			}
		})
	}
}

func TestAllWrongOptionsAreNamed(t *testing.T) {
	_, err := sdk.NewProvider(sdk.WithEndpoints("a", "ftp://b"), sdk.WithNamespace("C"))
	for _, want := range []string{`"a"`, `"ftp"`, `"C"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}

func TestNilOptionAndNilProvider(t *testing.T) {
	if _, err := sdk.NewProvider(sdk.WithEndpoints("http://a"), nil); err == nil || !strings.Contains(err.Error(), "option 2 is nil") {
		t.Errorf("error %v", err)
	}
	for _, port := range []string{"0", "65536", "99999"} {
		if _, err := sdk.NewProvider(sdk.WithEndpoints("http://a:" + port)); err == nil || !strings.Contains(err.Error(), "1 to 65535") {
			t.Errorf("port %s: %v", port, err)
		}
	}
	defer func() {
		if why := fmt.Sprint(recover()); !strings.Contains(why, "needs a provider") {
			t.Errorf("panic %q", why)
		}
	}()
	sdk.Bool(nil, "f", false)
}
