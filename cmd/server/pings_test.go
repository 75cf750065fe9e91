package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/net/http2"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/plimsoll-dev/plimsoll/proto/flagd/sync/v1/syncv1connect"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// pinger is a gRPC stream of flagd's sync on a connection of its own, which can
// ping: the gRPC library does so every 10 s at most.
type pinger struct {
	client *http2.ClientConn //nolint:staticcheck // what it is to be replaced by cannot ping
	sets   chan string       // what the stream carried; closed at its end
	err    error             // how it ended; to be read after that
}

// pingable opens a stream of the sets of a namespace and reads the first one.
func pingable(t *testing.T, p *process, ns string) *pinger {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := (&http2.Transport{AllowHTTP: true}).NewClientConn(conn) //nolint:staticcheck // as above
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+syncv1connect.FlagSyncServiceSyncFlagsProcedure, strings.NewReader("\x00\x00\x00\x00\x00"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Flagd-Selector", ns)
	resp, err := client.RoundTrip(req) //nolint:bodyclose // the goroutine below closes it
	if err != nil {
		t.Fatal(err)
	}
	g := &pinger{client: client, sets: make(chan string, 100)}
	t.Cleanup(func() {
		cancel()
		_ = client.Close()
		for range g.sets {
		}
	})
	go func() {
		defer close(g.sets)
		defer resp.Body.Close()
		for {
			set, err := readSet(resp.Body)
			if err != nil {
				g.err = err
				return
			}
			g.sets <- set
		}
	}()
	g.next(t)
	return g
}

// readSet reads one message of the stream.
func readSet(from io.Reader) (string, error) {
	var header [5]byte
	if _, err := io.ReadFull(from, header[:]); err != nil {
		return "", err
	}
	body := make([]byte, binary.BigEndian.Uint32(header[1:]))
	if _, err := io.ReadFull(from, body); err != nil {
		return "", err
	}
	_, _, n := protowire.ConsumeTag(body)
	set, m := protowire.ConsumeString(body[max(n, 0):])
	return set, protowire.ParseError(m)
}

// next is what the stream carries next.
func (g *pinger) next(t *testing.T) string {
	t.Helper()
	select {
	case set, open := <-g.sets:
		if !open {
			t.Fatalf("the stream has ended: %v", g.err)
		}
		return set
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came within 30 s")
	}
	return ""
}

// ping waits for the answer to one ping, and looks whether the server wants the
// connection to end.
func (g *pinger) ping(t *testing.T) {
	t.Helper()
	if err := g.client.Ping(short(t)); err != nil {
		t.Fatalf("a ping was not answered: %v", err)
	}
	if state := g.client.State(); state.Closing || state.Closed || state.StreamsActive != 1 {
		t.Fatalf("after a ping: %+v", state)
	}
}

// Servers of other makes disconnect a client that pings often over an idle
// stream. This one answers every ping, however many, and the stream lives on.
func TestPingsOverAnIdleStream(t *testing.T) {
	t.Parallel()
	p := spawn(t, t.TempDir())
	create(t, p, "", "f", sheddable)
	idle := pingable(t, p, "default")
	for range 2000 {
		idle.ping(t)
	}
	seesAKill(t, p, idle)
}

// soakEnv is for how long the next test runs; `make soak` sets it.
const soakEnv = "PLIMSOLL_SOAK"

// A client that pings once a second keeps its stream, on which nothing comes,
// while another namespace changes all the time. It is told of a change then.
func TestAPingEverySecond(t *testing.T) {
	t.Parallel()
	lasts := 10 * time.Second
	if text := os.Getenv(soakEnv); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", soakEnv, err)
		}
	}
	p := spawn(t, t.TempDir())
	create(t, p, "", "f", sheddable)
	if _, err := p.admin().CreateNamespace(short(t), connect.NewRequest(&plimsollv1.CreateNamespaceRequest{Name: "busy"})); err != nil {
		t.Fatal(err)
	}
	create(t, p, "busy", "f", sheddable)
	idle, busy := pingable(t, p, "default"), pingable(t, p, "busy")

	second := time.NewTicker(time.Second)
	defer second.Stop()
	began := time.Now()
	for n := 1; time.Since(began) < lasts; n++ {
		<-second.C
		idle.ping(t)
		busy.ping(t)
		if n%3 == 0 {
			want := []string{"on", "off"}[n%2]
			setDefaultOf(t, p, "busy", "f", want)
			if set := busy.next(t); !strings.Contains(set, `"defaultVariant":"`+want+`"`) {
				t.Fatalf("after the change to %s: %s", want, set)
			}
		}
		if n%60 == 0 {
			t.Logf("%d pings were answered, in %s", n, time.Since(began).Round(time.Second))
		}
	}
	select {
	case set, open := <-idle.sets:
		t.Fatalf("the idle stream carried %q (open: %v)", set, open)
	default:
	}
	seesAKill(t, p, idle)
}

// seesAKill kills the flag f and waits until a stream carries that.
func seesAKill(t *testing.T, p *process, g *pinger) {
	t.Helper()
	if _, err := p.degradation().Kill(short(t), connect.NewRequest(&plimsollv1.KillRequest{FlagKeys: []string{"f"}})); err != nil {
		t.Fatal(err)
	}
	if set := g.next(t); !strings.Contains(set, `"defaultVariant":"off"`) {
		t.Errorf("after a kill: %s", set)
	}
}
