package admission

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// bench is a throttle with a clock and a die of its own.
type bench struct {
	*Throttle
	clock time.Time
}

func newBench(t *testing.T, tiers ...string) *bench {
	t.Helper()
	throttle, err := NewThrottle(tiers...)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Throttle: throttle, clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	throttle.now = func() time.Time { return b.clock }
	throttle.draw = rand.New(rand.NewPCG(1, 2)).Float64
	return b
}

// run makes n calls of a tier over d, which the server answers as it does, and
// returns how many were sent and accepted.
func (b *bench) run(ctx context.Context, n int, d time.Duration, accepts func() bool, hint time.Duration) (sent, accepted int) {
	for range n {
		b.clock = b.clock.Add(d / time.Duration(n))
		attempt, err := b.Begin(ctx, "shop")
		switch {
		case err != nil:
			continue
		case accepts():
			attempt.Accepted()
			accepted++
		default:
			attempt.Refused(hint)
		}
		sent++
	}
	return sent, accepted
}

func yes() bool { return true }
func no() bool  { return false }

func TestThrottleLetsAHealthyServerAlone(t *testing.T) {
	b := newBench(t)
	if sent, _ := b.run(ContextWithTier(t.Context(), 3), 10_000, time.Minute, yes, 0); sent != 10_000 {
		t.Errorf("%d of 10000 were sent to a server that accepts all", sent)
	}
	// Up to K = 2 calls for each that is accepted are nobody's concern.
	odd := 0
	if sent, _ := b.run(ContextWithTier(t.Context(), 3), 10_000, time.Minute, func() bool { odd++; return odd%2 == 0 }, 0); sent < 9_900 {
		t.Errorf("%d of 10000 were sent to a server that accepts every other", sent)
	}
}

// TestThrottleFollowsTheFormula: a server that can accept a share of the offer
// is sent K = 2 times as much, and its capacity is used.
func TestThrottleFollowsTheFormula(t *testing.T) {
	b := newBench(t)
	ctx := ContextWithTier(t.Context(), 1)
	budget := 0.0 // the server accepts 20 of each 100 that are offered
	limited := func() bool {
		if budget >= 1 {
			budget--
			return true
		}
		return false
	}
	sent, accepted := 0, 0
	for i := range 60_000 {
		budget = min(budget+0.2, 5)
		s, a := b.run(ctx, 1, 10*time.Millisecond, limited, 0)
		if i >= 10_000 {
			sent, accepted = sent+s, accepted+a
		}
	}
	if share := float64(sent) / 50_000; share < 0.36 || share > 0.44 {
		t.Errorf("%.3f of the offer was sent, want about twice the 0.2 that is accepted", share)
	}
	if share := float64(accepted) / 50_000; share < 0.19 {
		t.Errorf("%.3f of the offer was accepted, of 0.2 that could be", share)
	}
}

func TestThrottleKeepsTiersAndTargetsApart(t *testing.T) {
	b := newBench(t)
	optional, critical := ContextWithTier(t.Context(), 3), ContextWithTier(t.Context(), 0)
	if sent, _ := b.run(optional, 1000, 5*time.Second, no, 0); sent > 150 {
		t.Errorf("%d of 1000 calls were sent to a server that refuses all", sent)
	}
	for range 100 {
		for i, begin := range []func() (Attempt, error){
			func() (Attempt, error) { return b.Begin(critical, "shop") },
			func() (Attempt, error) { return b.Begin(t.Context(), "shop") },
			func() (Attempt, error) { return b.Begin(optional, "other") },
		} {
			a, err := begin()
			if err != nil {
				t.Fatalf("case %d: %v", i, err)
			}
			a.Accepted()
		}
	}
}

func TestThrottleFindsOutThatTheServerRecovered(t *testing.T) {
	b := newBench(t)
	ctx := ContextWithTier(t.Context(), 3)
	for range 60 {
		b.run(ctx, 100, time.Second, no, 2*time.Second)
	}
	recovered := 0
	for i := range 60 {
		if sent, _ := b.run(ctx, 100, time.Second, yes, 0); sent >= 95 {
			recovered = i + 1
			break
		}
	}
	if recovered == 0 || recovered > 20 {
		t.Errorf("recovered after %d s, want within 20", recovered)
	}
}

func TestThrottleObeysTheHintWhileNothingIsAccepted(t *testing.T) {
	b := newBench(t)
	b.draw = func() float64 { return 0.9999 } // never held back by chance, the longest jitter
	ctx := ContextWithTier(t.Context(), 3)
	first, err := b.Begin(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	first.Refused(2 * time.Second)
	b.clock = b.clock.Add(2900 * time.Millisecond)
	_, err = b.Begin(ctx, "shop")
	var held *ThrottledError
	if !errors.As(err, &held) || held.Target != "shop" || held.TierName != "optional" || held.RetryAfter <= 0 || held.RetryAfter > 100*time.Millisecond {
		t.Fatalf("before the hint is over: %#v", err)
	}
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), `not sent: shop is saturated and refuses requests of tier "optional"`) {
		t.Errorf("error %v", err)
	}
	b.clock = b.clock.Add(200 * time.Millisecond)
	second, err := b.Begin(ctx, "shop")
	if err != nil {
		t.Fatalf("after the hint: %v", err)
	}
	second.Accepted()
	// Now that something is accepted, one refusal concerns nobody else.
	third, err := b.Begin(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	third.Refused(2 * time.Second)
	if _, err := b.Begin(ctx, "shop"); err != nil {
		t.Errorf("a refusal among accepted calls held another back: %v", err)
	}
}

func TestThrottleDoesNotBelieveAbsurdHints(t *testing.T) {
	b := newBench(t)
	b.draw = func() float64 { return 0.9999 }
	ctx := ContextWithTier(t.Context(), 0)
	a, err := b.Begin(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	a.Refused(1000 * time.Hour)
	b.clock = b.clock.Add(maxHold * 3 / 2)
	if _, err := b.Begin(ctx, "shop"); err != nil {
		t.Errorf("after %s: %v", maxHold*3/2, err)
	}
}

func TestThrottleIsBounded(t *testing.T) {
	b := newBench(t)
	for i := range 10 * maxTargets {
		b.clock = b.clock.Add(time.Millisecond)
		if _, err := b.Begin(t.Context(), fmt.Sprint("host", i)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Begin(t.Context(), "kept"); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.targets) > maxTargets || b.targets["kept"] == nil {
		t.Errorf("%d targets, kept is %v", len(b.targets), b.targets["kept"])
	}
}

func TestThrottleRefusesBadTiers(t *testing.T) {
	if _, err := NewThrottle("a", "a"); err == nil || !strings.Contains(err.Error(), `"a" is there twice`) {
		t.Errorf("error %v", err)
	}
	if _, err := NewThrottle(""); err == nil {
		t.Error("an empty name was taken")
	}
}

// canned is a server that answers each request the same.
type canned struct {
	status   int
	header   http.Header
	err      error
	requests []*http.Request
}

func (c *canned) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests = append(c.requests, r)
	if c.err != nil {
		return nil, c.err
	}
	return &http.Response{StatusCode: c.status, Header: c.header, Body: http.NoBody, Request: r}, nil
}

// send makes one request and closes what it gets.
func send(rt http.RoundTripper, r *http.Request) error {
	response, err := rt.RoundTrip(r)
	if err == nil {
		response.Body.Close()
	}
	return err
}

func TestTransportCarriesTheTier(t *testing.T) {
	b, server := newBench(t), &canned{status: 200}
	r := httptest.NewRequest("GET", "http://shop/", nil)
	r.Header.Set("Baggage", "a=1,plimsoll-tier=critical")
	for _, tc := range []struct {
		rank int // -1: none
		want string
	}{
		{-1, "a=1,plimsoll-tier=critical"},
		{3, "plimsoll-tier=optional,a=1"},
		{99, "plimsoll-tier=optional,a=1"},
	} {
		ctx := t.Context()
		if tc.rank >= 0 {
			ctx = ContextWithTier(ctx, tc.rank)
		}
		if err := send(b.Transport(server), r.WithContext(ctx)); err != nil {
			t.Fatal(err)
		}
		if got := server.requests[len(server.requests)-1].Header.Get("Baggage"); got != tc.want {
			t.Errorf("sent %q, want %q", got, tc.want)
		}
	}
	if got := r.Header.Get("Baggage"); got != "a=1,plimsoll-tier=critical" {
		t.Errorf("the caller's request was changed: %q", got)
	}
}

// closed notices that a body was closed.
type closed struct {
	io.Reader
	done bool
}

func (c *closed) Close() error { c.done = true; return nil }

func TestTransportHoldsBackAndClosesTheBody(t *testing.T) {
	b := newBench(t)
	server := &canned{status: 503, header: http.Header{"Retry-After-Ms": {"1500"}, "Retry-After": {"2"}}}
	client := b.Transport(server)
	post := func() (*closed, error) {
		body := &closed{Reader: strings.NewReader("x")}
		r := httptest.NewRequest("POST", "http://shop/", body)
		r.Body = body
		return body, send(client, r)
	}
	if _, err := post(); err != nil {
		t.Fatalf("the refusal itself is a response: %v", err)
	}
	body, err := post()
	if !errors.Is(err, ErrRefused) || len(server.requests) != 1 {
		t.Errorf("error %v, %d requests were sent", err, len(server.requests))
	}
	if !body.done {
		t.Error("the body of a request that was held back is still open")
	}
}

func TestTransportLearnsNothingFromALostConnection(t *testing.T) {
	b, server := newBench(t), &canned{err: io.ErrUnexpectedEOF}
	for range 100 {
		if err := send(b.Transport(server), httptest.NewRequest("GET", "http://shop/", nil)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	}
}

func TestRefusedResponse(t *testing.T) {
	for _, tc := range []struct {
		status  int
		header  http.Header
		after   time.Duration
		refused bool
	}{
		{200, http.Header{"Retry-After": {"5"}}, 0, false},
		{500, http.Header{"Retry-After": {"5"}}, 0, false},
		{503, http.Header{"Retry-After": {"5"}}, 5 * time.Second, true},
		{429, http.Header{"Retry-After": {"5"}}, 0, false}, // a quota
		{429, http.Header{"Retry-After": {"5"}, "Plimsoll-Refused": {"queue_full"}}, 5 * time.Second, true},
		{503, http.Header{"Retry-After": {"2"}, "Retry-After-Ms": {"1250"}}, 1250 * time.Millisecond, true},
		{503, nil, 0, true},
		{503, http.Header{"Retry-After": {"-5"}}, 0, true},
		{503, http.Header{"Retry-After": {"soon"}}, 0, true},
		{503, http.Header{"Retry-After": {"99999999999"}}, time.Hour, true},
		{503, http.Header{"Retry-After": {"Fri, 31 Dec 1999 23:59:59 GMT"}}, 0, true},
		{503, http.Header{"Retry-After": {"Fri, 31 Dec 2999 23:59:59 GMT"}}, time.Hour, true},
	} {
		after, refused := RefusedResponse(&http.Response{StatusCode: tc.status, Header: tc.header})
		if after != tc.after || refused != tc.refused {
			t.Errorf("%d %v: %s, %v", tc.status, tc.header, after, refused)
		}
	}
}
