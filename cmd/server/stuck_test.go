package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

// rawWatch opens a watch stream on a bare connection, to misbehave on.
func rawWatch(t testing.TB, p *process, contentType string, body []byte) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nConnect-Protocol-Version: 1\r\nContent-Length: %d\r\n\r\n%s",
		plimsollv1connect.SyncServiceWatchProcedure, contentType, len(body), body)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func enveloped(t testing.TB, m proto.Message) []byte {
	t.Helper()
	body, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
}

// TestReadersThatAreStuckAreShed opens streams over both handlers, and over
// HTTP/2, that read nothing, under many large changes. The server must end them.
func TestReadersThatAreStuckAreShed(t *testing.T) {
	t.Parallel()
	p := spawn(t, t.TempDir())
	large := fmt.Sprintf(`{"state":"ENABLED","variants":{"n":"%%d %s"},"defaultVariant":"n"}`, strings.Repeat("x", 60_000))
	create(t, p, "", "large", fmt.Sprintf(large, 0))
	rawWatch(t, p, "application/connect+proto", enveloped(t, &plimsollv1.WatchRequest{}))
	rawWatch(t, p, "application/connect+json", append([]byte{0, 0, 0, 0, 2}, "{}"...))
	rawWatch(t, p, "application/grpc-web+proto", enveloped(t, &plimsollv1.WatchRequest{}))
	h2, err := dialRaw(strings.TrimPrefix(p.url, "http://"), new(atomic.Int64))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h2.conn.Close() })
	if err := h2.postH2C(plimsollv1connect.SyncServiceWatchProcedure, connectStream, enveloped(t, &plimsollv1.WatchRequest{})); err != nil {
		t.Fatal(err)
	}
	streams := func() uint32 {
		status, err := p.admin().GetStatus(short(t), connect.NewRequest(&plimsollv1.GetStatusRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		return status.Msg.GetStreams()
	}
	deadline := time.Now().Add(60 * time.Second)
	opened := false
	for i := 1; ; i++ {
		n := streams()
		opened = opened || n == 4
		if opened && n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d streams are open that nobody reads (all four were open: %v)", n, opened)
		}
		definition := fmt.Sprintf(large, i)
		if _, err := p.flags().UpdateFlag(short(t), connect.NewRequest(&plimsollv1.UpdateFlagRequest{
			Key: "large", Update: &plimsollv1.UpdateFlagRequest_Definition{Definition: definition},
		})); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBrokenRequestsOfAStreamGetAnError sends what no client should to the
// handler that reads the protocol by itself.
func TestBrokenRequestsOfAStreamGetAnError(t *testing.T) {
	p := spawn(t, t.TempDir())
	good := enveloped(t, &plimsollv1.WatchRequest{})
	for _, tc := range []struct {
		name   string
		body   []byte
		header string
		code   string
	}{
		{"nothing", nil, "", "invalid_argument"},
		{"half an envelope", []byte{0, 0, 0}, "", "invalid_argument"},
		{"a length that is not there", []byte{0, 0, 0, 0, 9, 1}, "", "invalid_argument"},
		{"a length of 4 GiB", []byte{0, 0xff, 0xff, 0xff, 0xff}, "", "resource_exhausted"},
		{"flags that mean nothing", []byte{64, 0, 0, 0, 0}, "", "invalid_argument"},
		{"no protobuf", []byte{0, 0, 0, 0, 2, 0xff, 0xff}, "", "invalid_argument"},
		{"something behind the message", append(append([]byte{}, good...), 1), "", "invalid_argument"},
		{"a name that is too long", enveloped(t, &plimsollv1.WatchRequest{Namespace: strings.Repeat("x", 70)}), "", "invalid_argument"},
		{"a namespace that is not there", enveloped(t, &plimsollv1.WatchRequest{Namespace: "nowhere"}), "", "not_found"},
		{"a timeout that is none", good, "soon", "invalid_argument"},
		{"a timeout that is over", good, "0", "deadline_exceeded"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(short(t), http.MethodPost, p.url+plimsollv1connect.SyncServiceWatchProcedure, strings.NewReader(string(tc.body)))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/connect+proto")
			if tc.header != "" {
				req.Header.Set("Connect-Timeout-Ms", tc.header)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			end, err := lastEnvelope(resp.Body)
			if err != nil || !strings.Contains(end, `"code":"`+tc.code+`"`) {
				t.Errorf("%d, the stream ends with %q, %v; want %s", resp.StatusCode, end, err, tc.code)
			}
		})
	}
	if code, body := get(t, p.url+"/readyz"); code != 200 {
		t.Errorf("afterwards: %d %s", code, body)
	}
}

// lastEnvelope reads a Connect stream to its end.
func lastEnvelope(r io.Reader) (string, error) {
	in := bufio.NewReader(r)
	for {
		header := make([]byte, 5)
		if _, err := io.ReadFull(in, header); err != nil {
			return "", fmt.Errorf("no end of stream: %w", err)
		}
		body := make([]byte, binary.BigEndian.Uint32(header[1:]))
		if _, err := io.ReadFull(in, body); err != nil {
			return "", err
		}
		if header[0]&2 != 0 {
			return string(body), nil
		}
	}
}

// TestAListenerForEtcdIsNotOpenToWebPages: the member's own listener must not
// take writes from a browser.
func TestAListenerForEtcdIsNotOpenToWebPages(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p := spawn(t, t.TempDir(), "--etcd-listen-client", "http://"+addr)
	code, body := do(t, post(t, "http://"+addr+"/v3/kv/put", `{"key":"Zm9v","value":"YmFy"}`), "Origin", "http://evil.example", "Content-Type", "text/plain")
	if code == http.StatusOK {
		t.Errorf("a web page has written to etcd: %s", body)
	}
	refused := launch(t, "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--etcd-listen-client", "http://0.0.0.0:0")
	if err := refused.wait(); err == nil || !strings.Contains(refused.stderr.String(), "--insecure") {
		t.Errorf("etcd was opened to everybody: %v\n%s", err, refused.stderr)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if strings.Contains(p.stderr.String(), "ERROR") {
		t.Errorf("an orderly stop logs errors:\n%s", p.stderr)
	}
}

// TestTwoServersOnOneClusterFollowAReplacedOne kills the server that holds the
// cluster, wipes its data, and starts it with as much history as before.
func TestTwoServersOnOneClusterFollowAReplacedOne(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	etcd := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	a := spawn(t, t.TempDir(), "--demo", "--etcd-listen-client", etcd)
	b := spawn(t, t.TempDir(), "--etcd", etcd)
	setDefault(t, b, "welcome-banner", "sale")
	position := func(p *process) *plimsollv1.Position {
		status, err := p.admin().GetStatus(short(t), connect.NewRequest(&plimsollv1.GetStatusRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		return status.Msg.GetPosition()
	}
	if pa, pb := position(a), position(b); !proto.Equal(pa, pb) {
		t.Errorf("positions %v and %v", pa, pb)
	}
	watch, err := b.sync().Watch(short(t), connect.NewRequest(&plimsollv1.WatchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Close() }()
	a.kill()
	a = respawn(t, t.TempDir(), a.url, "--demo", "--etcd-listen-client", etcd)
	for _, variant := range []string{"sale", "storm", "plain", "sale"} {
		setDefault(t, a, "welcome-banner", variant)
	}
	for want := position(a); !proto.Equal(watch.Msg().GetPosition(), want); {
		if !watch.Receive() {
			t.Fatalf("b's stream ends before it is at %v: %v\n%s", want, watch.Err(), b.stderr)
		}
	}
	for _, p := range []*process{a, b} {
		resp, err := p.flags().GetFlag(short(t), connect.NewRequest(&plimsollv1.GetFlagRequest{Key: "welcome-banner"}))
		if err != nil || !strings.Contains(resp.Msg.GetFlag().GetDefinition(), `"defaultVariant":"sale"`) {
			t.Errorf("%s: %v, %v", p.url, resp, err)
		}
	}
	if !strings.Contains(b.stderr.String(), "another store") {
		t.Errorf("b says nothing of it:\n%s", b.stderr)
	}
}
