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

// askOFREP makes one request of a page.
func askOFREP(t *testing.T, url, origin string) (*http.Response, string) {
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
	return res, string(body)
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
	if res.StatusCode != http.StatusOK {
		t.Fatalf("the event stream answers %s", res.Status)
	}
	ids := make(chan string, 10)
	go func() { // ends with the response
		defer close(ids)
		defer res.Body.Close()
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
		if _, body := askOFREP(t, p.url, ""); strings.Contains(body, `"recommendations"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("there are no demo flags within 30 s")
		}
	}
	res, body := askOFREP(t, p.url, "https://shop.example")
	if res.StatusCode != 200 || res.Header.Get("Access-Control-Allow-Origin") != "https://shop.example" || !strings.Contains(body, `"key":"recommendations","value":true`) {
		t.Fatalf("%s %v\n%s", res.Status, res.Header, body)
	}
	if res, body := askOFREP(t, p.url, "https://evil.example"); res.StatusCode != 403 || !strings.Contains(body, "errorDetails") {
		t.Errorf("another origin: %s %s", res.Status, body)
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
	tag, body := askOFREP(t, p.url, "")
	if !strings.Contains(body, `"key":"recommendations","value":false,"reason":"OVERRIDE"`) {
		t.Errorf("after the kill: %s", body)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if id := next(t, ids); id != "" {
		t.Errorf("an event at the end: %q", id)
	}
	p = spawn(t, dir)
	again, _ := askOFREP(t, p.url, "")
	if again.Header.Get("ETag") == tag.Header.Get("ETag") {
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
