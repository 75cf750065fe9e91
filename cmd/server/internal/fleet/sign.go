package fleet

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
)

const (
	// headerPeer carries a request's signature: the version, when it was signed
	// in milliseconds since 1970, and the signature in base64.
	headerPeer = "Plimsoll-Peer"
	// signatureVersion is what a signature begins with.
	signatureVersion = "v1"
	// maxSkew is how far the clocks of two servers may differ, with the time
	// that a request is under way.
	maxSkew = 30 * time.Second
	// maxPeerRequest bounds the body of a request, in bytes.
	maxPeerRequest = 64 << 10
	// rereadEvery bounds how often the key is read again from etcd.
	rereadEvery = time.Second
)

// signature is the HMAC-SHA256 (RFC 2104) of a request to one server at one
// time. It holds for no other server and no other request.
func signature(key []byte, r *http.Request, procedure, callee string, at int64, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	// Quoted, so that no two requests are written alike.
	fmt.Fprintf(h, "plimsoll-peer %s %q %q %q %d %q %x", signatureVersion,
		r.Method, procedure, r.Header.Get("Content-Type"), at, callee, sha256.Sum256(body))
	return h.Sum(nil)
}

// signing signs the requests to one server.
type signing struct {
	next   http.RoundTripper
	key    *sharedKey
	callee string
	base   string // path of the server's URL, which proxies may take away
	now    func() time.Time
}

// RoundTrip implements http.RoundTripper.
func (s *signing) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(io.LimitReader(r.Body, maxPeerRequest+1))
		if err = errors.Join(err, r.Body.Close()); err != nil {
			return nil, fmt.Errorf("read the request: %w", err)
		}
		if len(body) > maxPeerRequest {
			return nil, fmt.Errorf("the request has over %d bytes", maxPeerRequest)
		}
	}
	key, err := s.key.get(r.Context())
	if err != nil {
		return nil, err
	}
	signed := r.Clone(r.Context())
	signed.Body, signed.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	signed.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	at := s.now().UnixMilli()
	mac := signature(key, signed, strings.TrimPrefix(r.URL.Path, s.base), s.callee, at, body)
	signed.Header.Set(headerPeer, fmt.Sprintf("%s %d %s", signatureVersion, at, base64.StdEncoding.EncodeToString(mac)))
	return s.next.RoundTrip(signed)
}

// verifying lets signed requests through to next.
type verifying struct {
	next   http.Handler
	key    *sharedKey
	self   string
	now    func() time.Time
	errors *connect.ErrorWriter
}

// ServeHTTP implements http.Handler.
func (v *verifying) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := v.verify(r)
	if err != nil {
		if !v.errors.IsSupported(r) {
			http.Error(w, err.Message(), http.StatusForbidden)
			return
		}
		_ = v.errors.Write(w, r, err) // the caller may be gone
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	v.next.ServeHTTP(w, r)
}

// verify returns the body of a request that a server of this store has signed
// for this one.
func (v *verifying) verify(r *http.Request) ([]byte, *connect.Error) {
	at, mac, err := parseSignature(r.Header.Get(headerPeer))
	if err != nil {
		return nil, denied(err)
	}
	if skew := v.now().Sub(time.UnixMilli(at)); skew > maxSkew || skew < -maxSkew {
		return nil, denied(fmt.Errorf("the request was signed %s ago by this server's clock; clocks may differ by %s: run a time service on both machines", skew.Round(time.Second), maxSkew))
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxPeerRequest+1))
	switch {
	case err != nil:
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("read the request: %w", err))
	case len(body) > maxPeerRequest:
		return nil, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("the request has over %d bytes", maxPeerRequest))
	}
	key, err := v.key.get(r.Context())
	if err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	matches := func(key []byte) bool {
		return hmac.Equal(mac, signature(key, r, r.URL.Path, v.self, at, body))
	}
	if matches(key) || matches(v.key.renewed(r.Context(), key)) {
		return body, nil
	}
	return nil, denied(errors.New("the signature does not match: it was made with the key of another store, for another server, or for another request"))
}

func denied(err error) *connect.Error {
	return connect.NewError(connect.CodePermissionDenied, fmt.Errorf("this service is for servers of the same store: %w", err))
}

func parseSignature(header string) (at int64, mac []byte, err error) {
	if header == "" {
		return 0, nil, errors.New("the request is not signed")
	}
	parts := strings.Split(header, " ")
	if len(parts) != 3 || parts[0] != signatureVersion {
		return 0, nil, fmt.Errorf("the header %s is not a signature of version %s", headerPeer, signatureVersion)
	}
	if at, err = strconv.ParseInt(parts[1], 10, 64); err == nil {
		mac, err = base64.StdEncoding.DecodeString(parts[2])
	}
	if err != nil || len(mac) != sha256.Size {
		return 0, nil, fmt.Errorf("the header %s is not a signature of version %s", headerPeer, signatureVersion)
	}
	return at, mac, nil
}

// sharedKey is the key that the servers share, kept in memory.
type sharedKey struct {
	read func(context.Context) ([]byte, error)
	now  func() time.Time
	// turn holds a token while someone uses what follows: reading may take
	// longer than the next caller can wait.
	turn   chan struct{}
	key    []byte
	readAt time.Time
}

func newSharedKey(read func(context.Context) ([]byte, error), now func() time.Time) *sharedKey {
	return &sharedKey{read: read, now: now, turn: make(chan struct{}, 1)}
}

func (s *sharedKey) get(ctx context.Context) ([]byte, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the servers' key: %w", ctx.Err())
	}
	if s.key == nil {
		key, err := s.read(ctx)
		if err != nil {
			return nil, err
		}
		s.key, s.readAt = key, s.now()
	}
	return s.key, nil
}

// renewed is the key after old has turned out to be wrong: read again, as the
// store may have been replaced, but not too often. It is old where there is no
// other.
func (s *sharedKey) renewed(ctx context.Context, old []byte) []byte {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return old
	}
	if bytes.Equal(s.key, old) && s.now().Sub(s.readAt) >= rereadEvery {
		s.readAt = s.now()
		if key, err := s.read(ctx); err == nil {
			s.key = key
		}
	}
	return s.key
}
