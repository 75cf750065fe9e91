package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

const ofrepFlags = "/ofrep/v1/evaluate/flags"

// ofrepReply is an answer, read whole.
type ofrepReply struct {
	status int
	header http.Header
	body   string
}

// askOFREP makes one request of a page.
func askOFREP(t *testing.T, url, origin string) ofrepReply {
	t.Helper()
	req, err := http.NewRequestWithContext(short(t), http.MethodPost, url+ofrepFlags, strings.NewReader(`{"context":{"targetingKey":"u"}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if origin != "" {
		req.Header.Set("Origin", origin)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return ofrepReply{res.StatusCode, res.Header, string(body)}
}

// changes is the event stream of a server: the ids of its events.
func changes(t *testing.T, url, last string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/ofrep/v1/events?namespace=default", nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		t.Fatalf("the event stream answers %s", res.Status)
	}
	ids := make(chan string, 10)
	go func() { // ends with the response
		defer close(ids)
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				ids <- id
			}
		}
	}()
	return ids
}

// next is the next event; "" is the end of the stream.
func next(t *testing.T, ids <-chan string) string {
	t.Helper()
	select {
	case id := <-ids:
		return id
	case <-time.After(30 * time.Second):
		t.Fatal("no event came within 30 s")
		return ""
	}
}

// A page gets what it asks for from a server as it runs, is told of a kill, and
// goes on where it was after the server was started again.
func TestOFREPOfAServer(t *testing.T) {
	dir := t.TempDir()
	p := spawn(t, dir, "--demo", "--ofrep-cors-origin", "https://shop.example", "--context-value", "region=eu")
	// The demo flags come right after the server is ready.
	for deadline := time.Now().Add(30 * time.Second); ; {
		if strings.Contains(askOFREP(t, p.url, "").body, `"recommendations"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("there are no demo flags within 30 s")
		}
	}
	got := askOFREP(t, p.url, "https://shop.example")
	if got.status != 200 || got.header.Get("Access-Control-Allow-Origin") != "https://shop.example" || !strings.Contains(got.body, `"key":"recommendations","value":true`) {
		t.Fatalf("%d %v\n%s", got.status, got.header, got.body)
	}
	if got := askOFREP(t, p.url, "https://evil.example"); got.status != 403 || !strings.Contains(got.body, "errorDetails") {
		t.Errorf("another origin: %d %s", got.status, got.body)
	}
	// Whatever is below its prefix is answered in its own terms.
	for _, c := range []struct {
		path, host string
		status     int
	}{{"/x//../y", "", 404}, {"/recommendations", "evil.example", 421}} {
		code, body := do(t, post(t, p.url+ofrepFlags+c.path, "{}"), "Host", c.host)
		if code != c.status || !strings.Contains(body, `"errorDetails":`) {
			t.Errorf("%s: %d %s", c.path, code, body)
		}
	}
	ids := changes(t, p.url, "")
	first := next(t, ids)
	operator := plimsollv1connect.NewDegradationServiceClient(http.DefaultClient, p.url)
	if _, err := operator.Kill(short(t), connect.NewRequest(&plimsollv1.KillRequest{FlagKeys: []string{"recommendations"}})); err != nil {
		t.Fatal(err)
	}
	second := next(t, ids)
	if second == first || second == "" {
		t.Fatalf("after the kill: %q", second)
	}
	killed := askOFREP(t, p.url, "")
	if !strings.Contains(killed.body, `"key":"recommendations","value":false,"reason":"OVERRIDE"`) {
		t.Errorf("after the kill: %s", killed.body)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if id := next(t, ids); id != "" {
		t.Errorf("an event at the end: %q", id)
	}
	p = spawn(t, dir)
	if askOFREP(t, p.url, "").header.Get("ETag") == killed.header.Get("ETag") {
		t.Error("the tag does not tell that the server's own context is another one")
	}
	ids = changes(t, p.url, second)
	operator = plimsollv1connect.NewDegradationServiceClient(http.DefaultClient, p.url)
	if _, err := operator.Restore(short(t), connect.NewRequest(&plimsollv1.RestoreRequest{FlagKeys: []string{"recommendations"}})); err != nil {
		t.Fatal(err)
	}
	if third := next(t, ids); third == second {
		t.Error("the first event after the restart is one that the client had")
	}
}
