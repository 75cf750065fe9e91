package admission_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.uber.org/goleak"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
	"github.com/plimsoll-dev/plimsoll/degrade/admission/internal/crowd"
)

func edge(t *testing.T, c *admission.Controller, opts ...admission.EdgeOption) *admission.Edge {
	t.Helper()
	e, err := admission.NewEdge(c, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// serve runs a handler behind an edge, and returns its URL.
func serve(t *testing.T, e *admission.Edge, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(e.Handler(h))
	t.Cleanup(s.Close)
	return s.URL
}

// reply is a response that was read.
type reply struct {
	status int
	header http.Header
	body   string
}

func get(t *testing.T, url string, header ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(body)}
}

// empty waits until nothing is in flight: a client has its answer before the
// server's handler has returned.
func empty(t *testing.T, c *admission.Controller) {
	t.Helper()
	crowd.Wait(t, "the places to be given back", func() bool { return c.Snapshot().InFlight == 0 })
}

func leaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, before)
	})
}

func TestHandlerRefusesAndSaysWhy(t *testing.T) {
	leaks(t)
	c := crowd.Controller(t)
	leave := crowd.Fill(t, c)
	served := false
	url := serve(t, edge(t, c, admission.WithRules(admission.Rule{Pattern: "/livez", Exempt: true})),
		func(w http.ResponseWriter, r *http.Request) { served = true; fmt.Fprint(w, "ok") })

	answer := get(t, url)
	h := answer.header
	if answer.status != 503 || h.Get("Retry-After") != "1" || h.Get("Retry-After-Ms") != "250" || h.Get("Plimsoll-Refused") != "queue_full" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("refused by %d with %v", answer.status, h)
	}
	if h.Get("Content-Type") != "text/plain; charset=utf-8" || !strings.Contains(answer.body, `saturated and serves more important requests than tier "standard"`) {
		t.Errorf("it says %s %q", h.Get("Content-Type"), answer.body)
	}
	if after, refused := admission.RefusedResponse(&http.Response{StatusCode: answer.status, Header: h}); !refused || after.Milliseconds() != 250 {
		t.Errorf("a client reads %s, %v", after, refused)
	}

	answer = get(t, url, "Accept", "text/html;q=0.5, application/json")
	var problem struct {
		Status       int
		Reason, Tier string
		RetryAfterMs int `json:"retry_after_ms"`
	}
	if err := json.Unmarshal([]byte(answer.body), &problem); err != nil || answer.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%v: %s %s", err, answer.header.Get("Content-Type"), answer.body)
	}
	if problem.Status != 503 || problem.Tier != "standard" || problem.Reason != "queue_full" || problem.RetryAfterMs != 250 {
		t.Errorf("the problem is %s", answer.body)
	}
	if served {
		t.Error("a request that was refused was served")
	}

	if answer := get(t, url+"/livez"); answer.status != 200 {
		t.Errorf("an exempt request got %d", answer.status)
	}
	leave()
	if answer := get(t, url); answer.status != 200 {
		t.Errorf("after the crowd has left: %d", answer.status)
	}
	empty(t, c)
}

func TestHandlerOfACallerWhoHasGone(t *testing.T) {
	c := crowd.Controller(t)
	crowd.Fill(t, c)
	e := edge(t, c, admission.WithDefaultTier("critical"), admission.WithCaller(func(context.Context, admission.Call) string { return "crowd" }))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	e.Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx))
	if w.Code != 503 {
		t.Errorf("status %d", w.Code)
	}
}

// TestHandlerKnowsStreams: what is in flight when the handler has done its part
// of the answer, and its answer is not over.
func TestHandlerKnowsStreams(t *testing.T) {
	const line = "data\n"
	say := func(kind string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			fmt.Fprint(w, line)
		}
	}
	flush := func(before http.HandlerFunc, after ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			before(w, r)
			w.(http.Flusher).Flush()
			for _, s := range after {
				fmt.Fprint(w, s)
			}
		}
	}
	for _, tc := range []struct {
		name    string
		path    string
		handler http.HandlerFunc
		want    int // in flight
	}{
		{"a page", "/", say("text/html"), 1},
		{"nothing yet", "/", func(http.ResponseWriter, *http.Request) {}, 1},
		{"early hints", "/stream", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints) }, 1},
		{"server-sent events", "/", say("text/event-stream; charset=utf-8"), 0},
		{"server-sent events, header only", "/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(200)
		}, 0},
		{"lines of JSON", "/", say("application/x-ndjson"), 0},
		{"a stream of Connect", "/", say("application/connect+proto"), 0},
		{"copied into a stream", "/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.Copy(w, strings.NewReader(line))
		}, 0},
		{"route marked as a stream, before its first byte", "/stream", func(http.ResponseWriter, *http.Request) {}, 1},
		{"route marked as a stream", "/stream", say("text/plain"), 0},
		{"route marked as a long poll", "/poll", func(http.ResponseWriter, *http.Request) {}, 0},
		{"flushed before the end", "/", flush(say("text/plain")), 0},
		{"flushed by a controller", "/", func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
		}, 0},
		{"flushed, of known length", "/", flush(say("text/plain", "Content-Length", "10"), line), 1},
		{"a call of gRPC", "/", flush(say("application/grpc+proto")), 1},
		{"a stream of gRPC", "/", flush(say("application/grpc"), line), 0},
		{"hijacked", "/", func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			conn.Close()
		}, 0},
		{"switching protocols", "/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusSwitchingProtocols) }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := crowd.Controller(t)
			e := edge(t, c, admission.WithRules(
				admission.Rule{Pattern: "/stream", Stream: true}, admission.Rule{Pattern: "/poll", LongPoll: true}))
			inFlight := make(chan int, 1)
			s := httptest.NewServer(e.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				tc.handler(w, r)
				inFlight <- c.Snapshot().InFlight
			})))
			defer s.Close()
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", tc.path)
			if got := <-inFlight; got != tc.want {
				t.Errorf("%d in flight, want %d", got, tc.want)
			}
			if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
				t.Errorf("no answer: %v", err)
			}
			empty(t, c)
		})
	}
}

func TestHandlerOfAPanic(t *testing.T) {
	for _, cause := range []any{"bang", http.ErrAbortHandler} {
		c := crowd.Controller(t)
		h := edge(t, c).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(cause) }))
		for range 3 * crowd.Places { // were a place lost each time, this would end
			func() {
				defer func() {
					if got := recover(); got != cause {
						t.Errorf("the panic became %v", got)
					}
				}()
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			}()
		}
		if s := c.Snapshot(); s.InFlight != 0 || s.Tiers[2].Admitted != 3*crowd.Places {
			t.Errorf("%d in flight, %d admitted", s.InFlight, s.Tiers[2].Admitted)
		}
	}
}

// TestHandlerKeepsWhatTheServerCan: the wrapper does not take abilities away.
func TestHandlerKeepsWhatTheServerCan(t *testing.T) {
	c := crowd.Controller(t)
	url := serve(t, edge(t, c), func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Errorf("full duplex: %v", err)
		}
		if n, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("body")); n != 4 || err != nil {
			t.Errorf("ReadFrom: %d, %v", n, err)
		}
	})
	if answer := get(t, url); answer.status != 200 || answer.body != "body" {
		t.Errorf("%d %q", answer.status, answer.body)
	}
	// A writer that cannot be hijacked says so.
	edge(t, c).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Hijack: %v", err)
		}
		if n := c.Snapshot().InFlight; n != 1 {
			t.Errorf("it was not hijacked, and %d are in flight", n)
		}
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}

// TestHostileBaggage: none of it raises a request, breaks the server or travels
// on as a claim.
func TestHostileBaggage(t *testing.T) {
	c := crowd.Controller(t)
	url := serve(t, edge(t, c), func(w http.ResponseWriter, r *http.Request) {
		rank, _ := admission.TierFromContext(r.Context())
		carried := baggage.FromContext(r.Context()).Member(admission.BaggageKey).Value()
		fmt.Fprintf(w, "%d %s %d", rank, carried, strings.Count(strings.Join(r.Header.Values("Baggage"), ","), "critical"))
	})
	filler := strings.Repeat("k=v,", 2000)
	for name, tc := range map[string]struct {
		headers []string
		want    string
	}{
		"nothing":                  {nil, "2 standard 0"},
		"raised":                   {[]string{"plimsoll-tier=critical"}, "2 standard 0"},
		"raised twice":             {[]string{"plimsoll-tier=critical,plimsoll-tier=critical"}, "2 standard 0"},
		"lowered, then raised":     {[]string{"plimsoll-tier=optional", "plimsoll-tier=critical"}, "2 standard 0"},
		"raised, then lowered":     {[]string{"plimsoll-tier=critical", "plimsoll-tier=optional"}, "3 optional 0"},
		"its own tier, and raised": {[]string{"plimsoll-tier=critical,plimsoll-tier=standard"}, "2 standard 0"},
		"encoded":                  {[]string{"plimsoll-tier=%63ritical"}, "2 standard 0"},
		"unknown tier":             {[]string{"plimsoll-tier=godlike"}, "2 standard 0"},
		"control characters":       {[]string{"plimsoll-tier=\x01critical"}, "2 standard 0"},
		"long name":                {[]string{"plimsoll-tier=" + strings.Repeat("x", 8000)}, "2 standard 0"},
		"behind 8 KiB":             {[]string{filler + filler + "plimsoll-tier=critical"}, "2 standard 0"},
		"in a header behind 8 KiB": {[]string{filler, filler, "plimsoll-tier=critical"}, "2 standard 0"},
		"lowered among 8 KB":       {[]string{filler + "plimsoll-tier=optional"}, "3 optional 0"},
		"commas":                   {[]string{strings.Repeat(",", 8000)}, "2 standard 0"},
		"signs":                    {[]string{strings.Repeat("=;%,", 2000)}, "2 standard 0"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
			for _, h := range tc.headers {
				fmt.Fprintf(conn, "Baggage: %s\r\n", h)
			}
			fmt.Fprint(conn, "\r\n")
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			if got := string(body); got != tc.want && response.StatusCode != 400 {
				t.Errorf("%d %q, want %q", response.StatusCode, got, tc.want)
			}
		})
	}
}

// TestTheTierTravels over three hops: the first has it from its route, the
// others from their callers.
func TestTheTierTravels(t *testing.T) {
	leaks(t)
	throttle, err := admission.NewThrottle()
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: throttle.Transport(transport)}
	hop := func(name, next string, opts ...admission.EdgeOption) string {
		return serve(t, edge(t, crowd.Controller(t), opts...), func(w http.ResponseWriter, r *http.Request) {
			rank, _ := admission.TierFromContext(r.Context())
			fmt.Fprintf(w, "%s:%d", name, rank)
			if next == "" {
				return
			}
			request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, next, nil)
			if err != nil {
				t.Error(err)
				return
			}
			response, err := client.Do(request)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			fmt.Fprint(w, " ")
			_, _ = io.Copy(w, response.Body)
		})
	}
	c := hop("c", "", admission.WithTrustedCallers(admission.Everybody))
	b := hop("b", c, admission.WithTrustedCallers(admission.Everybody))
	a := hop("a", b, admission.WithRules(admission.Rule{Pattern: "/checkout", Tier: "critical"}, admission.Rule{Pattern: "/tips", Tier: "optional"}))
	for path, want := range map[string]string{
		"/checkout": "a:0 b:0 c:0",
		"/tips":     "a:3 b:3 c:3",
		"/":         "a:2 b:2 c:2",
	} {
		if got := get(t, a+path, "Baggage", "plimsoll-tier=critical").body; got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// TestEnemies come all at once: callers that hang up at any moment, handlers that
// hang, fail, panic, stream and hijack. Afterwards no place is lost and nobody
// waits.
func TestEnemies(t *testing.T) {
	leaks(t)
	c := crowd.Controller(t)
	handlers := map[string]http.HandlerFunc{
		"/hang":  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"/fail":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"/panic": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"/stream": func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"/hijack": func(w http.ResponseWriter, _ *http.Request) {
			if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
				conn.Close()
			}
		},
		"/page": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "page") },
	}
	url := serve(t, edge(t, c), func(w http.ResponseWriter, r *http.Request) { handlers[r.URL.Path](w, r) })
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var wg sync.WaitGroup
	for i := range 300 {
		for path := range handlers {
			wg.Go(func() {
				// Between at once and long enough to be served.
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond/4)
				defer cancel()
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if response, err := client.Do(r); err == nil {
					_, _ = io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
			})
		}
	}
	wg.Wait()
	empty(t, c)
	if s := c.Snapshot(); s.Waiting != 0 {
		t.Errorf("%d still wait", s.Waiting)
	}
	for range 2 * crowd.Places {
		if answer := get(t, url+"/page"); answer.status != 200 || answer.body != "page" {
			t.Errorf("after it was over: %d %s", answer.status, answer.body)
		}
	}
	empty(t, c)
}

// TestAClientStopsAsking: what a saturated server refuses is soon not sent.
func TestAClientStopsAsking(t *testing.T) {
	leaks(t)
	c := crowd.Controller(t)
	leave := crowd.Fill(t, c)
	url := serve(t, edge(t, c, admission.WithTrustedCallers(admission.Everybody)), func(http.ResponseWriter, *http.Request) {})
	throttle, err := admission.NewThrottle()
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: throttle.Transport(transport)}
	ask := func(rank int) error {
		r, err := http.NewRequestWithContext(admission.ContextWithTier(t.Context(), rank), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(r)
		if err != nil {
			return err
		}
		response.Body.Close()
		if _, refused := admission.RefusedResponse(response); refused {
			return admission.ErrRefused
		}
		return nil
	}
	for range 100 {
		if err := ask(3); !errors.Is(err, admission.ErrRefused) {
			t.Fatalf("the server is full, and answers %v", err)
		}
	}
	refused := c.Snapshot().Tiers[3].Refused
	if refused > 50 {
		t.Errorf("%d of 100 requests were sent and refused", refused)
	}
	leave()
	if err := ask(0); err != nil {
		t.Errorf("another tier is held back: %v", err)
	}
	empty(t, c)
}
