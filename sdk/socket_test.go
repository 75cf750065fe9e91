package sdk_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/open-feature/go-sdk/openfeature"

	"github.com/plimsoll-dev/plimsoll/sdk"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/fakeserver"
)

// eventually polls for what comes over real sockets, with a generous deadline.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatal("did not come to hold within 20 s")
		}
		time.Sleep(time.Millisecond)
	}
}

// serve serves on a real socket until the returned function ends it at once.
func serve(t *testing.T, address string, s *fakeserver.Server) (at string, kill func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s.Handler()}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	kill = func() {
		_ = server.Close()
		<-ended
	}
	t.Cleanup(kill)
	return l.Addr().String(), kill
}

func TestServerDiesAndComesBack(t *testing.T) {
	server := fakeserver.NewHandler("store-1")
	server.Put(map[string]string{"f": off})
	address, kill := serve(t, "127.0.0.1:0", server)
	p, err := sdk.NewProvider(sdk.WithEndpoints("http://"+address), sdk.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Init(nobody); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Shutdown)
	serves := func(value bool, source any) func() bool {
		return func() bool {
			d := p.BooleanEvaluation(t.Context(), "f", !value, nil)
			if d.Error() != nil {
				t.Fatalf("f is %+v", d)
			}
			return d.Value == value && d.FlagMetadata["source"] == source
		}
	}
	eventually(t, serves(false, nil))
	server.Put(map[string]string{"f": on})
	eventually(t, serves(true, nil))
	kill()
	eventually(t, serves(true, "memory"))
	server.Put(map[string]string{"f": off})
	serve(t, address, server)
	eventually(t, serves(false, nil))
}

func TestTLS(t *testing.T) {
	server := fakeserver.NewHandler("store-1")
	server.Put(map[string]string{"f": on})
	protocol := make(chan string, 1)
	handler := server.Handler()
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocol <- r.Proto
		handler.ServeHTTP(w, r)
	}))
	front.EnableHTTP2 = true
	front.StartTLS()
	t.Cleanup(front.Close)
	roots := x509.NewCertPool()
	roots.AddCert(front.Certificate())

	p, err := sdk.NewProvider(sdk.WithEndpoints(front.URL), sdk.WithTLSConfig(&tls.Config{RootCAs: roots}),
		sdk.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Init(nobody); err != nil {
		t.Fatal(err)
	}
	defer p.Shutdown()
	if d := p.BooleanEvaluation(t.Context(), "f", false, nil); !d.Value {
		t.Errorf("f is %+v", d)
	}
	if p := <-protocol; p != "HTTP/1.1" {
		t.Errorf("the stream runs over %s, want HTTP/1.1", p)
	}
}

// A server whose certificate is not known is not followed.
func TestUnknownCertificate(t *testing.T) {
	server := fakeserver.NewHandler("store-1")
	server.Put(map[string]string{"f": on})
	front := httptest.NewUnstartedServer(server.Handler())
	front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	front.StartTLS()
	t.Cleanup(front.Close)
	p, err := sdk.NewProvider(
		sdk.WithEndpoints(front.URL), sdk.WithInitTimeout(300*time.Millisecond),
		sdk.WithLogger(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Init(nobody); err != nil {
		t.Fatal(err)
	}
	defer p.Shutdown()
	if d := p.BooleanEvaluation(t.Context(), "f", false, nil); d.Value {
		t.Error("flags were taken from a server with an unknown certificate")
	}
}

// A connection that is kept for the next attempt is closed by the shutdown.
func TestShutdownClosesConnections(t *testing.T) {
	server := fakeserver.NewHandler("store-1")
	server.Refuse(connect.NewError(connect.CodeUnavailable, errors.New("not now")))
	var open atomic.Int32
	front := httptest.NewUnstartedServer(server.Handler())
	front.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		default:
		}
	}
	front.Start()
	t.Cleanup(front.Close)
	p, err := sdk.NewProvider(
		sdk.WithEndpoints(front.URL), sdk.WithInitTimeout(0), sdk.WithLogger(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Init(nobody); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return len(server.Asked()) >= 2 })
	p.Shutdown()
	eventually(t, func() bool { return open.Load() == 0 })
}

// Whatever answers at the endpoint, the app goes on and the log says what it
// was.
func TestServersThatAreNone(t *testing.T) {
	envelope := func(w http.ResponseWriter, head ...byte) {
		w.Header().Set("Content-Type", "application/connect+proto")
		_, _ = w.Write(head)
	}
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		log    string
	}{
		{"a web page", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("<html>hello</html>"))
		}, "content-type"},
		{"an error page", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
		}, "503"},
		{"another service", http.NotFound, "404"},
		{"an empty stream", func(w http.ResponseWriter, _ *http.Request) { envelope(w) }, "no stream"},
		{"a cut message", func(w http.ResponseWriter, _ *http.Request) { envelope(w, 0, 0, 0, 0, 9, 1, 2) }, "promised 9 bytes"},
		{"a huge message", func(w http.ResponseWriter, _ *http.Request) { envelope(w, 0, 255, 255, 255, 255) }, "larger than configured max"},
		{"noise", func(w http.ResponseWriter, _ *http.Request) { envelope(w, 0, 0, 0, 0, 3, 255, 255, 255) }, "unmarshal"},
	} {
		t.Run(test.name, func(t *testing.T) {
			front := httptest.NewServer(test.answer)
			defer front.Close()
			logged := make(chan string, 100)
			p, err := sdk.NewProvider(
				sdk.WithEndpoints(front.URL), sdk.WithInitTimeout(0),
				sdk.WithLogger(slog.New(slog.NewTextHandler(lines(logged), nil))),
			)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Init(nobody); err != nil {
				t.Fatal(err)
			}
			defer p.Shutdown()
			deadline := time.After(20 * time.Second)
			for found := false; !found; {
				select {
				case line := <-logged:
					found = strings.Contains(line, "no stream") && strings.Contains(line, test.log) && strings.Contains(line, front.URL)
				case <-deadline:
					t.Fatalf("the log does not say %q", test.log)
				}
			}
			if d := p.BooleanEvaluation(t.Context(), "f", true, nil); !d.Value || d.Reason != openfeature.DefaultReason {
				t.Errorf("f is %+v, want the default", d)
			}
		})
	}
}

// lines passes on what is logged, as long as there is room.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default:
	}
	return len(p), nil
}
