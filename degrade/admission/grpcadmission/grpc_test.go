package grpcadmission_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
	"github.com/plimsoll-dev/plimsoll/degrade/admission/grpcadmission"
	"github.com/plimsoll-dev/plimsoll/degrade/admission/internal/crowd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	text = wrapperspb.StringValue
	// method is what every method of the test's service does first.
	method func(ctx context.Context) (string, error)
)

const (
	say    = "/test.v1.Echo/Say"
	listen = "/test.v1.Echo/Listen"
	talk   = "/test.v1.Echo/Talk"
)

func (m method) say(_ any, ctx context.Context, //nolint:revive // gRPC wants them in this order
	decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
	in := new(text)
	if err := decode(in); err != nil {
		return nil, err
	}
	return interceptor(ctx, in, &grpc.UnaryServerInfo{FullMethod: say}, func(ctx context.Context, _ any) (any, error) {
		s, err := m(ctx)
		return wrapperspb.String(s), err
	})
}

func (m method) listen(_ any, stream grpc.ServerStream) error {
	if err := stream.RecvMsg(new(text)); err != nil {
		return err
	}
	for range 2 {
		s, err := m(stream.Context())
		if err != nil {
			return err
		}
		if err := stream.SendMsg(wrapperspb.String(s)); err != nil {
			return err
		}
	}
	return nil
}

func (m method) talk(_ any, stream grpc.ServerStream) error {
	for {
		if err := stream.RecvMsg(new(text)); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		s, err := m(stream.Context())
		if err != nil {
			return err
		}
		if err := stream.SendMsg(wrapperspb.String(s)); err != nil {
			return err
		}
	}
}

// dial starts a server behind an edge and returns a connection to it.
func dial(t *testing.T, e *admission.Edge, m method, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer(
		grpc.UnaryInterceptor(grpcadmission.UnaryServerInterceptor(e)), grpc.StreamInterceptor(grpcadmission.StreamServerInterceptor(e)))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.v1.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: m.say}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Listen", Handler: m.listen, ServerStreams: true},
			{StreamName: "Talk", Handler: m.talk, ServerStreams: true, ClientStreams: true},
		},
	}, nil)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	opts = append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	conn, err := grpc.NewClient("passthrough:///echo", opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func unary(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) (string, error) {
	out := new(text)
	err := conn.Invoke(ctx, say, wrapperspb.String("x"), out, opts...)
	return out.GetValue(), err
}

// open opens a stream, sends one message and receives one.
func open(ctx context.Context, conn *grpc.ClientConn, procedure string) (grpc.ClientStream, string, error) {
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: procedure == talk}
	stream, err := conn.NewStream(ctx, desc, procedure)
	if err != nil {
		return nil, "", err
	}
	if err := stream.SendMsg(wrapperspb.String("x")); err != nil && !errors.Is(err, io.EOF) {
		return nil, "", err
	}
	if procedure == listen {
		if err := stream.CloseSend(); err != nil {
			return nil, "", err
		}
	}
	out := new(text)
	err = stream.RecvMsg(out)
	return stream, out.GetValue(), err
}

func edge(t *testing.T, c *admission.Controller, opts ...admission.EdgeOption) *admission.Edge {
	t.Helper()
	e, err := admission.NewEdge(c, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func throttled(t *testing.T) []grpc.DialOption {
	t.Helper()
	out, err := admission.NewThrottle()
	if err != nil {
		t.Fatal(err)
	}
	return []grpc.DialOption{
		grpc.WithUnaryInterceptor(grpcadmission.UnaryClientInterceptor(out)), grpc.WithStreamInterceptor(grpcadmission.StreamClientInterceptor(out)),
	}
}

func TestRefusedCalls(t *testing.T) {
	c := crowd.Controller(t)
	crowd.Fill(t, c)
	conn := dial(t, edge(t, c), func(context.Context) (string, error) {
		t.Error("a call that was refused was served")
		return "", nil
	})
	check := func(err error, trailer metadata.MD) {
		t.Helper()
		if status.Code(err) != codes.ResourceExhausted {
			t.Fatalf("error %v", err)
		}
		if after, refused := grpcadmission.RetryAfter(err); !refused || after != 250*time.Millisecond {
			t.Errorf("retry after %s, %v", after, refused)
		}
		if s, p := trailer["plimsoll-retry-after"], trailer["grpc-retry-pushback-ms"]; len(s) != 1 || s[0] != "1" || len(p) != 1 || p[0] != "-1" {
			t.Errorf("trailer %v", trailer)
		}
	}
	var trailer metadata.MD
	_, err := unary(t.Context(), conn, grpc.Trailer(&trailer))
	check(err, trailer)
	stream, _, err := open(t.Context(), conn, listen)
	check(err, stream.Trailer())
}

// TestRefusedCallsAreNotSentAgain although the client has a policy to do so.
func TestRefusedCallsAreNotSentAgain(t *testing.T) {
	c := crowd.Controller(t)
	crowd.Fill(t, c)
	conn := dial(t, edge(t, c), func(context.Context) (string, error) { return "", nil }, grpc.WithDefaultServiceConfig(`{
		"methodConfig": [{"name": [{}], "retryPolicy": {
			"maxAttempts": 5, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1,
			"retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]}`))
	before := c.Snapshot().Tiers[2].Refused
	if _, err := unary(t.Context(), conn); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("error %v", err)
	}
	if sent := c.Snapshot().Tiers[2].Refused - before; sent != 1 {
		t.Errorf("the call was sent %d times", sent)
	}
}

func TestACallerWhoHasGone(t *testing.T) {
	interceptor := grpcadmission.UnaryServerInterceptor(edge(t, crowd.Controller(t)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := interceptor(ctx, nil, &grpc.UnaryServerInfo{FullMethod: say}, func(context.Context, any) (any, error) {
		t.Error("it was served")
		return nil, nil
	})
	if status.Code(err) != codes.Canceled {
		t.Errorf("error %v", err)
	}
}

// TestPlacesComeBack after answers and errors, and from streams early.
func TestPlacesComeBack(t *testing.T) {
	c := crowd.Controller(t)
	inFlight := make(chan int, 2)
	conn := dial(t, edge(t, c), func(ctx context.Context) (string, error) {
		inFlight <- c.Snapshot().InFlight
		if md, _ := metadata.FromIncomingContext(ctx); len(md["fail"]) > 0 {
			return "", status.Error(codes.Internal, "failed")
		}
		return "done", nil
	})
	empty := func() { crowd.Wait(t, "the place", func() bool { return c.Snapshot().InFlight == 0 }) }
	for i := range 3 * crowd.Places {
		ctx := t.Context()
		if i%2 == 0 {
			ctx = metadata.AppendToOutgoingContext(ctx, "fail", "1")
		}
		if _, err := unary(ctx, conn); (err == nil) != (i%2 == 1) {
			t.Errorf("call %d: %v", i, err)
		}
		if n := <-inFlight; n != 1 {
			t.Errorf("%d in flight during the call", n)
		}
		empty()
	}
	stream, _, err := open(t.Context(), conn, listen)
	if err != nil {
		t.Fatal(err)
	}
	if before, after := <-inFlight, <-inFlight; before != 1 || after != 0 {
		t.Errorf("%d in flight before the first message, %d after it", before, after)
	}
	for err == nil {
		err = stream.RecvMsg(new(text))
	}
	stream, _, err = open(t.Context(), conn, talk)
	if err != nil {
		t.Fatal(err)
	}
	if n := <-inFlight; n != 0 {
		t.Errorf("%d in flight after the first message from the client", n)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(new(text)); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
}

func TestAPanicGivesThePlaceBack(t *testing.T) {
	c := crowd.Controller(t)
	interceptor := grpcadmission.UnaryServerInterceptor(edge(t, c))
	for range 3 * crowd.Places {
		func() {
			defer func() {
				if got := recover(); got != "bang" {
					t.Errorf("the panic became %v", got)
				}
			}()
			_, _ = interceptor(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: say}, func(context.Context, any) (any, error) { panic("bang") })
		}()
	}
	if n := c.Snapshot().InFlight; n != 0 {
		t.Errorf("%d in flight", n)
	}
}

// TestTheTierTravels from a page over gRPC to gRPC, and a stranger's claim does
// not.
func TestTheTierTravels(t *testing.T) {
	tell := func(name string, more func(context.Context) string) method {
		return func(ctx context.Context) (string, error) {
			rank, _ := admission.TierFromContext(ctx)
			md, _ := metadata.FromIncomingContext(ctx)
			return fmt.Sprintf("%s:%d %q%s", name, rank, md["baggage"], more(ctx)), nil
		}
	}
	none := func(context.Context) string { return "" }
	trusted := admission.WithTrustedCallers(admission.Everybody)
	c := dial(t, edge(t, crowd.Controller(t), trusted), tell("c", none), throttled(t)...)
	b := dial(t, edge(t, crowd.Controller(t), trusted), tell("b", func(ctx context.Context) string {
		_, answer, err := open(ctx, c, listen)
		if err != nil {
			return err.Error()
		}
		return " " + answer
	}), throttled(t)...)
	a := edge(t, crowd.Controller(t), admission.WithRules(admission.Rule{Pattern: "/checkout", Tier: "critical"})).
		Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer, err := unary(r.Context(), b)
			if err != nil {
				t.Error(err)
			}
			fmt.Fprint(w, answer)
		}))
	for path, want := range map[string]string{
		"/checkout": `b:0 ["plimsoll-tier=critical"] c:0 ["plimsoll-tier=critical"]`,
		"/":         `b:2 ["plimsoll-tier=standard"] c:2 ["plimsoll-tier=standard"]`,
	} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		if got := w.Body.String(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}

	rule := admission.WithRules(admission.Rule{Pattern: say, Tier: "important"})
	strict := dial(t, edge(t, crowd.Controller(t), rule), tell("d", none))
	got, err := unary(metadata.AppendToOutgoingContext(t.Context(), "baggage", "a=1,plimsoll-tier=critical"), strict)
	if want := `d:1 ["plimsoll-tier=important,a=1"]`; err != nil || got != want {
		t.Errorf("a stranger: %s, %v, want %s", got, err, want)
	}
}

func TestClientsHoldBack(t *testing.T) {
	c := crowd.Controller(t)
	crowd.Fill(t, c)
	conn := dial(t, edge(t, c, admission.WithTrustedCallers(admission.Everybody)), func(context.Context) (string, error) { return "", nil }, throttled(t)...)
	ctx := admission.ContextWithTier(t.Context(), 3)
	if _, err := unary(ctx, conn); errors.As(err, new(*admission.ThrottledError)) || status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("the first call: %v", err)
	}
	sent := c.Snapshot().Tiers[3].Refused
	if _, err := unary(ctx, conn); !errors.As(err, new(*admission.ThrottledError)) || status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the second call: %v", err)
	}
	if _, _, err := open(ctx, conn, talk); !errors.Is(err, admission.ErrRefused) {
		t.Errorf("a stream: %v", err)
	}
	if now := c.Snapshot().Tiers[3].Refused; now != sent {
		t.Errorf("%d calls were sent although they were held back", now-sent)
	}
}

func TestRetryAfter(t *testing.T) {
	with := func(code codes.Code, after time.Duration) error {
		s, err := status.New(code, "x").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
		if err != nil {
			t.Fatal(err)
		}
		return s.Err()
	}
	for _, tc := range []struct {
		err     error
		after   time.Duration
		refused bool
	}{
		{nil, 0, false},
		{errors.New("x"), 0, false},
		{status.Error(codes.ResourceExhausted, "message too large"), 0, false},
		{with(codes.ResourceExhausted, 3*time.Second), 3 * time.Second, true},
		{with(codes.Unavailable, 3*time.Second), 3 * time.Second, true},
		{with(codes.Internal, 3*time.Second), 0, false},
		{with(codes.ResourceExhausted, -time.Second), 0, true},
		{with(codes.ResourceExhausted, 1000*time.Hour), time.Hour, true},
		{fmt.Errorf("around: %w", with(codes.ResourceExhausted, time.Second)), time.Second, true},
	} {
		if after, refused := grpcadmission.RetryAfter(tc.err); after != tc.after || refused != tc.refused {
			t.Errorf("%v: %s, %v", tc.err, after, refused)
		}
	}
}
