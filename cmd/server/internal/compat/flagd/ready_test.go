package flagd

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	syncv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/sync/v1"
)

// kinds are the content types of streams, each with an empty request and the
// major version of HTTP that it needs.
var kinds = []struct {
	kind, request string
	major         int
}{
	{"application/grpc", "\x00\x00\x00\x00\x00", 2},
	{"application/grpc+proto", "\x00\x00\x00\x00\x00", 2},
	{"application/grpc-web", "\x00\x00\x00\x00\x00", 1},
	{"application/grpc-web+proto", "\x00\x00\x00\x00\x00", 1},
	{"application/connect+proto", "\x00\x00\x00\x00\x00", 1},
	{"application/connect+json", "\x00\x00\x00\x00\x02{}", 1},
}

// writes keeps what is written, not a copy of it.
type writes struct {
	*httptest.ResponseRecorder
	list [][]byte
}

func (w *writes) Write(p []byte) (int, error) {
	w.list = append(w.list, p)
	return w.ResponseRecorder.Write(p)
}

// All streams of a protocol share the bytes of a message: a set of several
// megabytes must not be there once for each of a thousand of them.
func TestStreamsShareTheBytesOfAMessage(t *testing.T) {
	m := mustEncode(&syncv1.SyncFlagsResponse{FlagConfiguration: strings.Repeat("x", 200_000)})
	handler := &readyStream{
		request: func() proto.Message { return new(syncv1.SyncFlagsRequest) },
		serve:   func(_ context.Context, _ proto.Message, send sink) error { return send(m) },
		rest:    http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("left to connect-go") }),
	}
	for _, k := range kinds {
		t.Run(k.kind, func(t *testing.T) {
			var first []byte
			for i := range 2 {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(k.request))
				r.ProtoMajor = k.major
				r.Header.Set("Content-Type", k.kind)
				w := &writes{ResponseRecorder: httptest.NewRecorder()}
				handler.ServeHTTP(w, r)
				if len(w.list) == 0 || len(w.list[0]) < 200_000 {
					t.Fatalf("written: %.200q", w.Body)
				}
				if got := w.list[0]; i == 0 {
					first = got
				} else if &got[0] != &first[0] {
					t.Error("the second stream has bytes of its own")
				}
			}
		})
	}
}

// A header that promises much must not reserve it.
func TestAPromiseOfManyBytesTakesNoMemory(t *testing.T) {
	const promises = 200
	header := []byte{0, 0, 0, 0xff, 0xff} // 64 KiB, less one
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range promises {
		if err := readRequest(bytes.NewReader(header), overGRPC, new(syncv1.SyncFlagsRequest)); err == nil {
			t.Fatal("a request without its message is accepted")
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / promises; got > 8<<10 {
		t.Errorf("a promise takes %d bytes", got)
	}
	tooMuch := []byte{0, 0, 1, 0, 1}
	if err := readRequest(bytes.NewReader(tooMuch), overGRPC, new(syncv1.SyncFlagsRequest)); err == nil || !strings.Contains(err.Error(), "65537") {
		t.Errorf("%v", err)
	}
}

func TestConnectTimeoutHeader(t *testing.T) {
	for text, ok := range map[string]bool{"": true, "1000": true, "x": false, "-1": false, "99999999999": false} {
		_, cancel, err := withConnectTimeout(&http.Request{Header: http.Header{"Connect-Timeout-Ms": {text}}})
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil {
			cancel()
		}
	}
}
