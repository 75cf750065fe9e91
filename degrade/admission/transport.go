package admission

import (
	"net/http"
	"strconv"
	"time"
)

// Transport wraps base, nil being http.DefaultTransport, so that each request
// carries the tier of its context, and is held back while its host refuses this
// tier: RoundTrip then returns a *ThrottledError. A response of the server is
// returned as it is, a refusal too; see [RefusedResponse]. For a client of net/http and
// for a reverse proxy.
func (t *Throttle) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{throttle: t, base: base}
}

type transport struct {
	throttle *Throttle
	base     http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	attempt, err := t.throttle.Begin(ctx, r.URL.Host)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // what a RoundTripper owes its caller; nothing was read
		}
		return nil, err
	}
	if value, ok := t.throttle.Baggage(ctx, r.Header.Values(baggageHeader)); ok {
		r = r.Clone(ctx) // a RoundTripper must not change its request
		if r.Header == nil {
			r.Header = http.Header{}
		}
		r.Header.Set(baggageHeader, value)
	}
	response, err := t.base.RoundTrip(r)
	if err != nil {
		return response, err // says nothing about overload
	}
	if after, refused := RefusedResponse(response); refused {
		attempt.Refused(after)
	} else {
		attempt.Accepted()
	}
	return response, nil
}

// RefusedResponse reports whether a server refused the request for overload, and
// when to come back, 0 if it does not say. Such a request should not be sent again
// before that. Status 503 is such a refusal; 429 only if it says so, since it
// stands for a quota otherwise.
func RefusedResponse(r *http.Response) (retryAfter time.Duration, refused bool) {
	if r.StatusCode == http.StatusServiceUnavailable ||
		r.StatusCode == http.StatusTooManyRequests && r.Header.Get(refusedHeader) != "" {
		return hint(r.Header), true
	}
	return 0, false
}

// hint reads when to come back: Retry-After-Ms, else Retry-After in seconds or
// as a date (RFC 9110, section 10.2.3).
func hint(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if ms, err := strconv.ParseInt(h.Get(retryAfterMs), 10, 64); err == nil {
		return bounded(float64(ms) / 1000)
	}
	if s, err := strconv.ParseInt(value, 10, 64); err == nil {
		return bounded(float64(s))
	}
	if at, err := http.ParseTime(value); err == nil {
		return bounded(time.Until(at).Seconds())
	}
	return 0
}

// bounded is a hint that a hostile server cannot make absurd.
func bounded(seconds float64) time.Duration {
	return time.Duration(min(max(seconds, 0), maxHint.Seconds()) * float64(time.Second))
}
