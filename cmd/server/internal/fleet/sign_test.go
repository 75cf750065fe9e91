package fleet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
)

// sent is a signed request as it is under way.
type sent struct {
	method, path, contentType, header, body string
}

func (s sent) to(h http.Handler) (int, string) {
	r := httptest.NewRequest(s.method, s.path, strings.NewReader(s.body))
	r.Header.Set("Content-Type", s.contentType)
	if s.header != "" {
		r.Header.Set(headerPeer, s.header)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// capture keeps what is sent.
type capture struct{ sent sent }

func (c *capture) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	c.sent = sent{r.Method, r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get(headerPeer), string(body)}
	return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
}

const procedure = "/plimsoll.v1.PeerService/GetShare"

// sign signs a request to a server.
func sign(t *testing.T, key []byte, callee, base, body string, now time.Time) sent {
	t.Helper()
	wire := new(capture)
	clock := func() time.Time { return now }
	s := &signing{
		next: wire, callee: callee, base: base, now: clock,
		key: newSharedKey(func(context.Context) ([]byte, error) { return key, nil }, clock),
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://server"+base+procedure, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/proto")
	resp, err := s.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	wire.sent.path = procedure // a proxy takes the base away
	return wire.sent
}

func TestOnlySignedRequestsGetThrough(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	key, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	through := ""
	v := &verifying{
		next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			through = string(body)
		}),
		key:  newSharedKey(func(context.Context) ([]byte, error) { return key, nil }, time.Now),
		self: "b", now: func() time.Time { return now }, errors: connect.NewErrorWriter(),
	}
	good := sign(t, key, "b", "", "body", now)
	with := func(change func(*sent)) sent {
		s := good
		change(&s)
		return s
	}
	for _, tc := range []struct {
		name string
		sent sent
		want string // "": it gets through
	}{
		{"signed", good, ""},
		{"signed, behind a proxy that takes a path away", sign(t, key, "b", "/b", "body", now), ""},
		{"signed with a clock that is 30 s late", sign(t, key, "b", "", "body", now.Add(-maxSkew)), ""},
		{"signed with a clock that is 30 s early", sign(t, key, "b", "", "body", now.Add(maxSkew)), ""},
		{"not signed", with(func(s *sent) { s.header = "" }), "is not signed"},
		{"signed with another key", sign(t, other, "b", "", "body", now), "does not match"},
		{"signed for another server", sign(t, key, "c", "", "body", now), "does not match"},
		{"stale", sign(t, key, "b", "", "body", now.Add(-maxSkew-time.Second)), "31s ago"},
		{"of the future", sign(t, key, "b", "", "body", now.Add(maxSkew+time.Second)), "time service"},
		{"with another time", with(func(s *sent) { s.header = retimed(s.header) }), "does not match"},
		{"with another body", with(func(s *sent) { s.body = "bodY" }), "does not match"},
		{"with another path", with(func(s *sent) { s.path += "s" }), "does not match"},
		{"with another method", with(func(s *sent) { s.method = http.MethodPut }), "does not match"},
		{"with another content type", with(func(s *sent) { s.contentType = "application/json" }), "does not match"},
		{"of another version", with(func(s *sent) { s.header = "v2" + s.header[2:] }), "version v1"},
		{"cut short", with(func(s *sent) { s.header = s.header[:len(s.header)-4] }), "version v1"},
		{"without a time", with(func(s *sent) { s.header = "v1 now " + strings.Split(s.header, " ")[2] }), "version v1"},
		{"too large", sign(t, key, "b", "", "body", now), ""},
	} {
		through = ""
		if tc.name == "too large" {
			tc.sent.body, tc.want = strings.Repeat("x", maxPeerRequest+1), "65536 bytes"
		}
		code, answer := tc.sent.to(v)
		if tc.want == "" {
			if code != 200 || through != "body" {
				t.Errorf("%s: %d %s", tc.name, code, answer)
			}
			continue
		}
		if code < 400 || through != "" || !strings.Contains(answer, tc.want) {
			t.Errorf("%s: %d %s\nwant %q", tc.name, code, answer, tc.want)
		}
		if strings.Contains(answer, good.header[len(good.header)-20:]) {
			t.Errorf("%s: the answer tells the signature: %s", tc.name, answer)
		}
	}
}

// retimed is a signature with a time that is a millisecond later.
func retimed(header string) string {
	parts := strings.Split(header, " ")
	last := len(parts[1]) - 1
	parts[1] = parts[1][:last] + string('0'+(parts[1][last]-'0'+1)%10)
	return strings.Join(parts, " ")
}

func TestTheErrorComesInTheCallersProtocol(t *testing.T) {
	v := &verifying{
		next: http.NotFoundHandler(), self: "b", now: time.Now, errors: connect.NewErrorWriter(),
		key: newSharedKey(func(context.Context) ([]byte, error) { return make([]byte, 32), nil }, time.Now),
	}
	for contentType, want := range map[string]string{
		"application/proto": "permission_denied", "application/json": "permission_denied", "text/html": "is not signed",
	} {
		if code, body := (sent{http.MethodPost, procedure, contentType, "", ""}).to(v); code != http.StatusForbidden || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", contentType, code, body)
		}
	}
}

func TestTheKeyIsReadAgainWhenItTurnsOutWrongButNotAlways(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	stored, reads := []byte("old"), 0
	var failing error
	k := newSharedKey(func(context.Context) ([]byte, error) { reads++; return stored, failing }, func() time.Time { return now })
	ctx := t.Context()
	for range 3 {
		if key, err := k.get(ctx); err != nil || string(key) != "old" {
			t.Fatal(string(key), err)
		}
	}
	stored = []byte("new")
	if got := k.renewed(ctx, []byte("old")); string(got) != "old" || reads != 1 {
		t.Errorf("at once: %s, %d reads", got, reads)
	}
	now = now.Add(rereadEvery)
	if got := k.renewed(ctx, []byte("old")); string(got) != "new" || reads != 2 {
		t.Errorf("after a second: %s, %d reads", got, reads)
	}
	if got := k.renewed(ctx, []byte("old")); string(got) != "new" || reads != 2 {
		t.Errorf("for one who has the old one still: %s, %d reads", got, reads)
	}
	now = now.Add(rereadEvery)
	stored, failing = nil, errors.New("etcd is away")
	if got := k.renewed(ctx, []byte("new")); string(got) != "new" || reads != 3 {
		t.Errorf("when it cannot be read: %s, %d reads", got, reads)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	k.turn <- struct{}{} // someone reads
	if _, err := k.get(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that cannot wait: %v", err)
	}
}
