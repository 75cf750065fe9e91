package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

// losing does what it is asked and then answers with end, which may never
// answer at all.
type losing struct {
	plimsollv1connect.UnimplementedFlagServiceHandler
	plimsollv1connect.UnimplementedAdminServiceHandler
	end func(context.Context) error

	mu  sync.Mutex
	ids []string // of the changes that were made
}

// first is the id of the first change; "" if none was made.
func (l *losing) first() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ids) == 0 {
		return ""
	}
	return l.ids[0]
}

func lose[T any](ctx context.Context, l *losing, change *plimsollv1.ChangeInfo) (*connect.Response[T], error) {
	l.mu.Lock()
	l.ids = append(l.ids, change.GetChangeId())
	l.mu.Unlock()
	return nil, l.end(ctx)
}

func (l *losing) GetFlag(_ context.Context, req *connect.Request[plimsollv1.GetFlagRequest]) (*connect.Response[plimsollv1.GetFlagResponse], error) {
	return connect.NewResponse(&plimsollv1.GetFlagResponse{Flag: &plimsollv1.Flag{
		Key: req.Msg.GetKey(), Revision: 7, Definition: `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`,
	}}), nil
}

func (l *losing) Apply(ctx context.Context, req *connect.Request[plimsollv1.ApplyRequest]) (*connect.Response[plimsollv1.ApplyResponse], error) {
	return lose[plimsollv1.ApplyResponse](ctx, l, req.Msg.GetChange())
}

func (l *losing) UpdateFlag(ctx context.Context, req *connect.Request[plimsollv1.UpdateFlagRequest]) (*connect.Response[plimsollv1.UpdateFlagResponse], error) {
	return lose[plimsollv1.UpdateFlagResponse](ctx, l, req.Msg.GetChange())
}

func (l *losing) CreateFlag(ctx context.Context, req *connect.Request[plimsollv1.CreateFlagRequest]) (*connect.Response[plimsollv1.CreateFlagResponse], error) {
	return lose[plimsollv1.CreateFlagResponse](ctx, l, req.Msg.GetChange())
}

func (l *losing) DeleteFlag(ctx context.Context, req *connect.Request[plimsollv1.DeleteFlagRequest]) (*connect.Response[plimsollv1.DeleteFlagResponse], error) {
	return lose[plimsollv1.DeleteFlagResponse](ctx, l, req.Msg.GetChange())
}

func (l *losing) CreateNamespace(ctx context.Context, req *connect.Request[plimsollv1.CreateNamespaceRequest]) (*connect.Response[plimsollv1.CreateNamespaceResponse], error) {
	return lose[plimsollv1.CreateNamespaceResponse](ctx, l, req.Msg.GetChange())
}

func (l *losing) DeleteNamespace(ctx context.Context, req *connect.Request[plimsollv1.DeleteNamespaceRequest]) (*connect.Response[plimsollv1.DeleteNamespaceResponse], error) {
	return lose[plimsollv1.DeleteNamespaceResponse](ctx, l, req.Msg.GetChange())
}

func (l *losing) serve(t *testing.T) string {
	mux := http.NewServeMux()
	mux.Handle(plimsollv1connect.NewFlagServiceHandler(l))
	mux.Handle(plimsollv1connect.NewAdminServiceHandler(l))
	return serve(t, mux)
}

func hangUp(context.Context) error { panic(http.ErrAbortHandler) }

func smallFile(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("f.json", []byte(`{"flags":{"x":{"state":"ENABLED","variants":{"a":1}}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestApplyAnswerLost: what may have been written is never said not to be.
func TestApplyAnswerLost(t *testing.T) {
	tests := []struct {
		name string
		end  func(context.Context) error
		code int
	}{
		{"connection closed", hangUp, exitUnreachable},
		{"silence", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, exitUnreachable},
		{"unknown to the server", func(context.Context) error { return connect.NewError(connect.CodeUnknown, os.ErrClosed) }, exitFailed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			smallFile(t)
			l := &losing{end: tt.end}
			r := runFlagctl(t.Context(), t, l.serve(t), "apply", "-f", "f.json", "--timeout", "300ms")
			id := l.first()
			if id == "" {
				t.Fatal("nothing was sent")
			}
			if tt.name == "silence" && r.code == exitFailed {
				tt.code = exitFailed // the server was quicker to name the deadline
			}
			r.want(t, tt.code, "it is not known whether change "+id+" was written; look for it with: flagctl audit --change "+id,
				"hint: finish it with: flagctl apply -f f.json --change-id "+id)
			if strings.Contains(r.stderr, "nothing was written") {
				t.Error("it is said that nothing was written")
			}
		})
	}
}

// TestApplyCtrlCWhileWaiting is the same for a person who gives up.
func TestApplyCtrlCWhileWaiting(t *testing.T) {
	smallFile(t)
	ctx, cancel := context.WithCancel(t.Context())
	l := &losing{end: func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }}
	runFlagctl(ctx, t, l.serve(t), "apply", "-f", "f.json").want(t, exitFailed, "interrupted; it is not known whether change ", "--change-id ")
}

// TestApplyFinishWaits: what finishes an apply waits as that was to.
func TestApplyFinishWaits(t *testing.T) {
	smallFile(t)
	for _, wait := range [][]string{{"--wait"}, {"--wait-timeout", "1m0s"}} {
		l := &losing{end: hangUp}
		r := runFlagctl(t.Context(), t, l.serve(t), append([]string{"apply", "-f", "f.json"}, wait...)...)
		r.want(t, exitUnreachable, "hint: finish it with: flagctl apply -f f.json "+strings.Join(wait, " ")+" --change-id "+l.first())
	}
}

func TestApplyNeverSent(t *testing.T) {
	smallFile(t)
	runFlagctl(t.Context(), t, "http://127.0.0.1:1", "apply", "-f", "f.json").want(t, exitUnreachable, "connection refused; nothing was written")
}

// TestChangeAnswerLost: every verb that changes something names its change, and
// says how to find out whether it was made.
func TestChangeAnswerLost(t *testing.T) {
	tests := []struct {
		look string
		args []string
	}{
		{"history x", []string{"set", "x", "on"}},
		{"history x", []string{"disable", "x"}},
		{"history x", []string{"create", "x", "--bool"}},
		{"history x", []string{"delete", "x"}},
		{"namespace list", []string{"namespace", "create", "shop"}},
		{"namespace list", []string{"namespace", "delete", "shop"}},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			l := &losing{end: hangUp}
			r := runFlagctl(t.Context(), t, l.serve(t), tt.args...)
			if l.first() == "" {
				t.Fatalf("no change was sent; stderr %s", r.stderr)
			}
			r.want(t, exitUnreachable, "the change may have been made", "`flagctl "+tt.look+"` tells; it would be change "+l.first())
		})
	}
	runFlagctl(t.Context(), t, "http://127.0.0.1:1", "create", "x", "--bool").want(t, exitUnreachable, "connection refused; nothing was sent")
}

// TestOtherProtocols: something answers that does not speak HTTP, or no TLS.
func TestOtherProtocols(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with the listener
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.Copy(io.Discard, req.Body)
			}
			_, _ = conn.Write([]byte("220 mail.example ESMTP\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	defer func() { _ = listener.Close(); <-done }()
	runFlagctl(t.Context(), t, "http://"+listener.Addr().String(), "list").want(t, exitUnreachable, "is no Plimsoll server")

	url := serve(t, http.NotFoundHandler())
	runFlagctl(t.Context(), t, strings.Replace(url, "http:", "https:", 1), "list").want(t, exitUnreachable, "does not speak TLS", "hint: use http://")
}
