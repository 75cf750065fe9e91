package connectadmission_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
	"github.com/plimsoll-dev/plimsoll/degrade/admission/connectadmission"
	"github.com/plimsoll-dev/plimsoll/degrade/admission/internal/crowd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type text = wrapperspb.StringValue

const (
	say    = "/test.v1.Echo/Say"
	listen = "/test.v1.Echo/Listen"
	talk   = "/test.v1.Echo/Talk"
)

// echo is a service whose every method first runs do.
func echo(t *testing.T, e *admission.Edge, do func(ctx context.Context, h http.Header) (string, error)) *httptest.Server {
	t.Helper()
	opts := connect.WithInterceptors(connectadmission.NewServerInterceptor(e))
	mux := http.NewServeMux()
	mux.Handle(say, connect.NewUnaryHandler(say, func(ctx context.Context, r *connect.Request[text]) (*connect.Response[text], error) {
		s, err := do(ctx, r.Header())
		return connect.NewResponse(wrapperspb.String(s)), err
	}, opts))
	mux.Handle(listen, connect.NewServerStreamHandler(listen, func(ctx context.Context, r *connect.Request[text], out *connect.ServerStream[text]) error {
		for range 2 {
			s, err := do(ctx, r.Header())
			if err != nil {
				return err
			}
			if err := out.Send(wrapperspb.String(s)); err != nil {
				return err
			}
		}
		return nil
	}, opts))
	mux.Handle(talk, connect.NewBidiStreamHandler(talk, func(ctx context.Context, stream *connect.BidiStream[text, text]) error {
		for {
			if _, err := stream.Receive(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			s, err := do(ctx, stream.RequestHeader())
			if err != nil {
				return err
			}
			if err := stream.Send(wrapperspb.String(s)); err != nil {
				return err
			}
		}
	}, opts))
	s := httptest.NewUnstartedServer(mux)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func edge(t *testing.T, c *admission.Controller, opts ...admission.EdgeOption) *admission.Edge {
	t.Helper()
	e, err := admission.NewEdge(c, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func throttle(t *testing.T) connect.Interceptor {
	t.Helper()
	out, err := admission.NewThrottle()
	if err != nil {
		t.Fatal(err)
	}
	return connectadmission.NewClientInterceptor(out)
}

func client(s *httptest.Server, procedure string, opts ...connect.ClientOption) *connect.Client[text, text] {
	return connect.NewClient[text, text](s.Client(), s.URL+procedure, opts...)
}

// protocols are those that Connect's handlers and clients speak.
var protocols = map[string]connect.ClientOption{
	"connect": connect.WithClientOptions(), "grpc": connect.WithGRPC(), "grpc-web": connect.WithGRPCWeb(),
}

func TestRefusedCalls(t *testing.T) {
	c := crowd.Controller(t)
	crowd.Fill(t, c)
	s := echo(t, edge(t, c), func(context.Context, http.Header) (string, error) {
		t.Error("a call that was refused was served")
		return "", nil
	})
	check := func(t *testing.T, err error) {
		t.Helper()
		var rpc *connect.Error
		if !errors.As(err, &rpc) || rpc.Code() != connect.CodeResourceExhausted {
			t.Fatalf("error %v", err)
		}
		if got := rpc.Meta().Get("Plimsoll-Retry-After"); got != "1" {
			t.Errorf("Plimsoll-Retry-After is %q", got)
		}
		if after, refused := connectadmission.RetryAfter(err); !refused || after != 250*time.Millisecond {
			t.Errorf("retry after %s, %v", after, refused)
		}
	}
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			_, err := client(s, say, protocol).CallUnary(t.Context(), connect.NewRequest(wrapperspb.String("x")))
			check(t, err)
			stream, err := client(s, listen, protocol).CallServerStream(t.Context(), connect.NewRequest(wrapperspb.String("x")))
			if err == nil {
				stream.Receive()
				err = stream.Err()
				stream.Close()
			}
			check(t, err)
		})
	}
}

// TestACallerWhoHasGone is told by the code that its context's end has.
func TestACallerWhoHasGone(t *testing.T) {
	handler := connectadmission.NewServerInterceptor(edge(t, crowd.Controller(t))).WrapUnary(
		func(context.Context, connect.AnyRequest) (connect.AnyResponse, error) {
			t.Error("it was served")
			return nil, nil
		})
	for want, at := range map[connect.Code]time.Time{connect.CodeCanceled: time.Now().Add(time.Hour), connect.CodeDeadlineExceeded: time.Now()} {
		ctx, cancel := context.WithDeadline(t.Context(), at)
		if want == connect.CodeCanceled {
			cancel()
		}
		if _, err := handler(ctx, connect.NewRequest(wrapperspb.String("x"))); connect.CodeOf(err) != want {
			t.Errorf("error %v, want %s", err, want)
		}
		cancel()
	}
}

// TestPlacesComeBack: after answers, errors and panics of all kinds of calls.
func TestPlacesComeBack(t *testing.T) {
	c := crowd.Controller(t)
	inFlight := make(chan int, 2)
	s := echo(t, edge(t, c), func(_ context.Context, h http.Header) (string, error) {
		inFlight <- c.Snapshot().InFlight
		switch h.Get("Do") {
		case "fail":
			return "", connect.NewError(connect.CodeInternal, errors.New("failed"))
		case "panic":
			panic(http.ErrAbortHandler)
		}
		return "done", nil
	})
	for range 2 * crowd.Places {
		for _, do := range []string{"", "fail", "panic"} {
			request := connect.NewRequest(wrapperspb.String("x"))
			request.Header().Set("Do", do)
			_, err := client(s, say).CallUnary(t.Context(), request)
			if (err == nil) != (do == "") {
				t.Errorf("%q: %v", do, err)
			}
			if n := <-inFlight; n != 1 {
				t.Errorf("%q: %d in flight during the call", do, n)
			}
			crowd.Wait(t, "the place", func() bool { return c.Snapshot().InFlight == 0 })
		}
	}
}

func TestStreamsHoldNoPlace(t *testing.T) {
	c := crowd.Controller(t)
	inFlight := make(chan int, 2)
	s := echo(t, edge(t, c), func(context.Context, http.Header) (string, error) {
		inFlight <- c.Snapshot().InFlight
		return "done", nil
	})
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			stream, err := client(s, listen, protocol).CallServerStream(t.Context(), connect.NewRequest(wrapperspb.String("x")))
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			for stream.Receive() {
				continue
			}
			if err := stream.Err(); err != nil {
				t.Fatal(err)
			}
			if before, after := <-inFlight, <-inFlight; before != 1 || after != 0 {
				t.Errorf("%d in flight before the first message, %d after it", before, after)
			}
		})
	}
	t.Run("bidi", func(t *testing.T) {
		stream := client(s, talk).CallBidiStream(t.Context())
		if err := stream.Send(wrapperspb.String("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Receive(); err != nil {
			t.Fatal(err)
		}
		if n := <-inFlight; n != 0 {
			t.Errorf("%d in flight after the first message from the client", n)
		}
		if err := stream.CloseRequest(); err != nil {
			t.Fatal(err)
		}
		if err := stream.CloseResponse(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestTheTierTravels from a page over Connect to Connect, and a stranger's claim
// does not.
func TestTheTierTravels(t *testing.T) {
	tell := func(name string, more func(context.Context) string) func(context.Context, http.Header) (string, error) {
		return func(ctx context.Context, h http.Header) (string, error) {
			rank, _ := admission.TierFromContext(ctx)
			return fmt.Sprintf("%s:%d %q%s", name, rank, h.Get("Baggage"), more(ctx)), nil
		}
	}
	trusted := admission.WithTrustedCallers(admission.Everybody)
	c := echo(t, edge(t, crowd.Controller(t), trusted), tell("c", func(context.Context) string { return "" }))
	b := echo(t, edge(t, crowd.Controller(t), trusted), tell("b", func(ctx context.Context) string {
		stream, err := client(c, listen, connect.WithInterceptors(throttle(t))).CallServerStream(ctx, connect.NewRequest(wrapperspb.String("x")))
		if err != nil {
			return err.Error()
		}
		defer stream.Close()
		for stream.Receive() {
			return " " + stream.Msg().GetValue()
		}
		return stream.Err().Error()
	}))
	toB := client(b, say, connect.WithInterceptors(throttle(t)))
	a := edge(t, crowd.Controller(t), admission.WithRules(admission.Rule{Pattern: "/checkout", Tier: "critical"})).
		Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			response, err := toB.CallUnary(r.Context(), connect.NewRequest(wrapperspb.String("x")))
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprint(w, response.Msg.GetValue())
		}))
	for path, want := range map[string]string{
		"/checkout": `b:0 "plimsoll-tier=critical" c:0 "plimsoll-tier=critical"`,
		"/":         `b:2 "plimsoll-tier=standard" c:2 "plimsoll-tier=standard"`,
	} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		if got := w.Body.String(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}

	strict := echo(t, edge(t, crowd.Controller(t)), tell("d", func(context.Context) string { return "" }))
	request := connect.NewRequest(wrapperspb.String("x"))
	request.Header().Set("Baggage", "a=1,plimsoll-tier=critical")
	response, err := client(strict, say).CallUnary(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if want := `d:2 "plimsoll-tier=standard,a=1"`; response.Msg.GetValue() != want {
		t.Errorf("a stranger: %s, want %s", response.Msg.GetValue(), want)
	}
}

func TestClientsHoldBack(t *testing.T) {
	c := crowd.Controller(t)
	crowd.Fill(t, c)
	s := echo(t, edge(t, c, admission.WithTrustedCallers(admission.Everybody)), func(context.Context, http.Header) (string, error) { return "", nil })
	interceptor := connect.WithInterceptors(throttle(t))
	ctx := admission.ContextWithTier(t.Context(), 3)
	unary := func() error {
		_, err := client(s, say, interceptor).CallUnary(ctx, connect.NewRequest(wrapperspb.String("x")))
		return err
	}
	if err := unary(); errors.As(err, new(*admission.ThrottledError)) || connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Fatalf("the first call: %v", err)
	}
	sent := c.Snapshot().Tiers[3].Refused
	if err := unary(); !errors.As(err, new(*admission.ThrottledError)) || connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("the second call: %v", err)
	}
	stream := client(s, talk, interceptor).CallBidiStream(ctx)
	if err := stream.Send(wrapperspb.String("x")); !errors.As(err, new(*admission.ThrottledError)) {
		t.Errorf("a stream: %v", err)
	}
	if _, err := stream.Receive(); !errors.Is(err, admission.ErrRefused) {
		t.Errorf("a stream: %v", err)
	}
	if err := errors.Join(stream.CloseRequest(), stream.CloseResponse()); err != nil {
		t.Error(err)
	}
	if now := c.Snapshot().Tiers[3].Refused; now != sent {
		t.Errorf("%d calls were sent although they were held back", now-sent)
	}
}

func TestRetryAfter(t *testing.T) {
	with := func(code connect.Code, key, value string) error {
		err := connect.NewError(code, errors.New("x"))
		err.Meta().Set(key, value)
		return err
	}
	for _, tc := range []struct {
		err     error
		after   time.Duration
		refused bool
	}{
		{nil, 0, false},
		{errors.New("x"), 0, false},
		{connect.NewError(connect.CodeResourceExhausted, errors.New("message too large")), 0, false},
		{with(connect.CodeResourceExhausted, "Plimsoll-Retry-After", "3"), 3 * time.Second, true},
		{with(connect.CodeUnavailable, "Plimsoll-Retry-After", "0.5"), 500 * time.Millisecond, true},
		{with(connect.CodeInternal, "Plimsoll-Retry-After", "3"), 0, false},
		{with(connect.CodeResourceExhausted, "Plimsoll-Retry-After", "-3"), 0, false},
		{with(connect.CodeResourceExhausted, "Plimsoll-Retry-After", "NaN"), 0, false},
		{with(connect.CodeResourceExhausted, "Plimsoll-Retry-After", "1e300"), time.Hour, true},
	} {
		if after, refused := connectadmission.RetryAfter(tc.err); after != tc.after || refused != tc.refused {
			t.Errorf("%v: %s, %v", tc.err, after, refused)
		}
	}
}
