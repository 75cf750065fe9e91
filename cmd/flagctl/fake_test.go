package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

// These tests are about servers that a script cannot have: ones that fail at a
// given moment, lie, or are none at all. What a well server does is specified
// by the scripts.

// result is what came of one run of flagctl in this process.
type result struct {
	code           int
	stdout, stderr string
}

// runFlagctl runs flagctl against a URL.
func runFlagctl(ctx context.Context, t *testing.T, url string, args ...string) result {
	t.Helper()
	t.Setenv("PLIMSOLL_SERVER", url)
	t.Setenv("PLIMSOLL_FLAGCTL_CONFIG", filepath.Join(t.TempDir(), "none.yaml"))
	t.Setenv("PLIMSOLL_FLAGCTL_CACHE", t.TempDir())
	t.Setenv("PLIMSOLL_ACTOR", "alice@laptop")
	var stdout, stderr lockedBuffer
	code := newCLI(strings.NewReader(""), &stdout, &stderr, nil).run(ctx, args)
	return result{code, stdout.String(), stderr.String()}
}

// want checks the code, and that the errors have every one of the texts.
func (r result) want(t *testing.T, code int, texts ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d", r.code, code)
	}
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			t.Errorf("standard error lacks %q", text)
		}
	}
	if t.Failed() {
		t.Logf("stdout:\n%s\nstderr:\n%s", r.stdout, r.stderr)
	}
}

// lockedBuffer can be read while flagctl writes to it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// serve serves handlers until the test ends.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

// services serves the services that are given.
func services(t *testing.T, flags plimsollv1connect.FlagServiceHandler, audit plimsollv1connect.AuditServiceHandler) string {
	t.Helper()
	mux := http.NewServeMux()
	if flags != nil {
		mux.Handle(plimsollv1connect.NewFlagServiceHandler(flags))
	}
	if audit != nil {
		mux.Handle(plimsollv1connect.NewAuditServiceHandler(audit))
	}
	return serve(t, mux)
}

func TestNoPlimsollServer(t *testing.T) {
	answer := func(code int, contentType, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		})
	}
	tests := []struct {
		name    string
		handler http.Handler
		want    string
	}{
		{"web page", answer(200, "text/html", "<h1>hello</h1>"), "is no Plimsoll server"},
		{"not found", answer(404, "text/plain", "404 page not found"), "is no Plimsoll server: 404 Not Found"},
		{"garbage as protobuf", answer(200, "application/proto", "\xff\xff\xff"), "is no Plimsoll server"},
		{"broken error", answer(500, "application/json", "{"), "is no Plimsoll server"},
		{"redirect", http.RedirectHandler("http://elsewhere.invalid/", http.StatusFound), "is no Plimsoll server: 302 Found"},
		{"bad gateway", answer(502, "text/html", ""), "a proxy at"},
		{"unavailable behind a proxy", answer(503, "text/plain", "no"), "answered 503 Service Unavailable"},
		{"hangs up", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "cannot reach"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url := serve(t, tt.handler)
			r := runFlagctl(t.Context(), t, url, "list")
			r.want(t, exitUnreachable, tt.want, url)
			if n := strings.Count(r.stderr, "\n"); r.stdout != "" || n != 2 {
				t.Errorf("want an error and a hint, a line each: %q", r.stderr)
			}
		})
	}
}

// TestSilentServer: a server that takes a call and never answers.
func TestSilentServer(t *testing.T) {
	release := make(chan struct{})
	url := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer close(release)
	runFlagctl(t.Context(), t, url, "list", "--timeout", "50ms").want(t, exitUnreachable, "no answer from "+url+" within 50ms", "--timeout gives it longer")
}

// refusing answers every call with an error.
type refusing struct {
	plimsollv1connect.UnimplementedFlagServiceHandler
	err error
}

func (r refusing) GetFlag(context.Context, *connect.Request[plimsollv1.GetFlagRequest]) (*connect.Response[plimsollv1.GetFlagResponse], error) {
	return nil, r.err
}

func TestRefusals(t *testing.T) {
	retry := connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("too many requests"))
	retry.Meta().Set("Plimsoll-Retry-After", "3")
	faults := connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("first\nsecond"))
	detail, err := connect.NewErrorDetail(&plimsollv1.FaultList{Faults: []*plimsollv1.Fault{
		{Path: "$.a", Message: "first", Hint: "mend it"}, {Path: "$.b", Message: "second\x1b[31m"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	faults.AddDetail(detail)
	tests := []struct {
		name string
		err  error
		code int
		want []string
	}{
		{"unauthenticated", connect.NewError(connect.CodeUnauthenticated, fmt.Errorf("no token")), exitFailed, []string{"no token", "--token-file"}},
		{"denied", connect.NewError(connect.CodePermissionDenied, fmt.Errorf("viewers may not")), exitFailed, []string{"viewers may not"}},
		{"retry", retry, exitFailed, []string{"too many requests", "try again in 3s"}},
		{"draining", connect.NewError(connect.CodeUnavailable, fmt.Errorf("draining")), exitFailed, []string{"draining", "flagctl status"}},
		{"older server", connect.NewError(connect.CodeUnimplemented, fmt.Errorf("unknown method")), exitFailed, []string{"does not know the call", "older than this flagctl"}},
		{"precondition without conflicts", connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("no room")), exitFailed, []string{"no room"}},
		{"exists", connect.NewError(connect.CodeAlreadyExists, fmt.Errorf("exists")), exitConflict, []string{"exists"}},
		{"every fault", faults, exitFailed, []string{"$.a: first (mend it)\n", `$.b: second\x1b[31m` + "\n", "2 faults in the definition"}},
		{"several lines become one", connect.NewError(connect.CodeInternal, fmt.Errorf("one\ntwo")), exitFailed, []string{"flagctl: get x: one; two\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			runFlagctl(t.Context(), t, services(t, refusing{err: tt.err}, nil), "get", "x").want(t, tt.code, tt.want...)
		})
	}
}

// TestWhoCalls: every request says who makes it, and the token goes nowhere
// but to the server.
func TestWhoCalls(t *testing.T) {
	var got http.Header
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		http.Error(w, "no", http.StatusNotFound)
	}))
	t.Setenv("PLIMSOLL_TOKEN", "sesame")
	r := runFlagctl(t.Context(), t, url, "list")
	for name, want := range map[string]string{"Plimsoll-Actor": "alice@laptop", "Plimsoll-Origin": "flagctl", "Authorization": "Bearer sesame"} {
		if got.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Get(name), want)
		}
	}
	if strings.Contains(r.stderr, "sesame") {
		t.Errorf("the token is in the error: %s", r.stderr)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	runFlagctl(t.Context(), t, url, "list", "--token-file", file)
	if got.Get("Authorization") != "Bearer from-file" {
		t.Errorf("Authorization is %q: --token-file wins over the environment", got.Get("Authorization"))
	}
}

// lying has an audit log that is not intact.
type lying struct {
	plimsollv1connect.UnimplementedAuditServiceHandler
}

func (lying) VerifyChain(context.Context, *connect.Request[plimsollv1.VerifyChainRequest]) (*connect.Response[plimsollv1.VerifyChainResponse], error) {
	return connect.NewResponse(&plimsollv1.VerifyChainResponse{Records: 7, FirstBadSeq: 3, Problem: "its hash is not that of its contents"}), nil
}

func TestBrokenChain(t *testing.T) {
	url := services(t, nil, lying{})
	r := runFlagctl(t.Context(), t, url, "audit", "verify")
	r.want(t, exitFailed, "flagctl: the audit log is not intact: record 3: its hash is not that of its contents")
	r = runFlagctl(t.Context(), t, url, "audit", "verify", "-o", "json")
	r.want(t, exitFailed)
	if !strings.Contains(r.stdout, `"firstBadSeq": 3`) {
		t.Errorf("stdout %s", r.stdout)
	}
}

// halting sends the first part of an export and then stands still.
type halting struct {
	plimsollv1connect.UnimplementedFlagServiceHandler
}

func (halting) Export(ctx context.Context, _ *connect.Request[plimsollv1.ExportRequest], parts *connect.ServerStream[plimsollv1.ExportResponse]) error {
	if err := parts.Send(&plimsollv1.ExportResponse{DocumentPart: `{"flags":`}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// TestExportStandsStill: half a document is never printed.
func TestExportStandsStill(t *testing.T) {
	r := runFlagctl(t.Context(), t, services(t, halting{}, nil), "export", "--timeout", "50ms")
	r.want(t, exitUnreachable, "nothing was heard for 50ms")
	if r.stdout != "" {
		t.Errorf("stdout %q", r.stdout)
	}
}

func TestInterrupted(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that the client is gone
		cancel()
		<-r.Context().Done()
	}))
	defer s.Close()
	runFlagctl(ctx, t, s.URL, "list").want(t, exitFailed, "flagctl: list the flags: interrupted\n")
}
