package ofrep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
)

// alone is a bench with room for one evaluation at a time.
func alone(t *testing.T) *bench {
	return newBench(t, func(o *Options, s *effective.Options) { o.MaxEvaluations, s.Turns = 1, 1 })
}

// longContext is one with which the flags of walking take long.
var longContext = `{"context":{"list":[0` + strings.Repeat(",0", 5_000) + `]}}`

// walking is the targeting of a flag that walks a list of the context.
const walking = `,"targeting":{"if":[{"some":[{"var":"list"},{"==":[{"var":"x"},-1]}]},"on","off"]}`

// both asks for one flag and for all of them, which must be answered.
func (b *bench) both(while string) {
	b.t.Helper()
	if got := b.one("ratio", `{}`); got.status != 200 {
		b.t.Errorf("%s, one flag: %d %s", while, got.status, got.body)
	}
	if got := b.all(longContext); got.status != 200 {
		b.t.Errorf("%s, all flags: %d %s", while, got.status, got.body)
	}
}

// send asks the handler without a network between.
func (b *bench) send(w http.ResponseWriter, target string, body io.Reader) {
	r := httptest.NewRequestWithContext(b.t.Context(), http.MethodPost, target, body)
	r.Header.Set("Content-Type", contentJSON)
	authz.Identify(b.handler).ServeHTTP(w, r)
}

// A client that takes its time with its request takes no place of those that
// evaluate.
func TestARequestThatArrivesSlowlyHoldsNobodyUp(t *testing.T) {
	b := alone(t)
	b.manyFlags(20, walking)
	var work sync.WaitGroup
	for _, target := range []string{routeFlag + "ratio", routeFlags} {
		body, rest := io.Pipe()
		w := httptest.NewRecorder()
		work.Go(func() { b.send(w, target, body) })
		if _, err := io.WriteString(rest, "{"); err != nil { // it is being read
			t.Fatal(err)
		}
		b.both("while a request arrives")
		_, _ = io.WriteString(rest, "}")
		_ = rest.Close()
		work.Wait()
		if w.Code != 200 {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
}

func TestARequestThatWaitsForAStateHoldsNobodyUp(t *testing.T) {
	b := alone(t)
	b.manyFlags(20, walking)
	ahead := b.version()
	ahead.revision += 1000
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, routeFlags+"?flagConfigEtag="+ahead.String(), strings.NewReader("{}"))
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var work sync.WaitGroup
	var done atomic.Bool
	work.Go(func() { authz.Identify(b.handler).ServeHTTP(w, r.WithContext(ctx)); done.Store(true) })
	for b.handler.waiting.n.Load() == 0 && !done.Load() {
		b.both("before a refetch waits")
	}
	b.both("while a refetch waits")
	work.Wait()
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestRequestsThatWaitAreBounded(t *testing.T) {
	b := newBench(t, func(o *Options, _ *effective.Options) { o.MaxRequests = 2 })
	if !b.handler.waiting.enter() {
		t.Fatal("there is no place")
	}
	ahead := b.version()
	ahead.revision += 1000
	got := b.do(http.MethodPost, b.url+routeFlags+"?flagConfigEtag="+ahead.String(), "{}")
	if got.status != 429 || got.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// stuck is a client that does not read until it may.
type stuck struct {
	*httptest.ResponseRecorder
	writing, may chan struct{}
	fails        error
}

func (s *stuck) Write(p []byte) (int, error) {
	s.writing <- struct{}{}
	<-s.may
	if s.fails != nil {
		return 0, s.fails
	}
	return s.ResponseRecorder.Write(p)
}

func (b *bench) manyFlags(n int, targeting string) {
	b.t.Helper()
	var doc strings.Builder
	doc.WriteString(`{"flags":{"last":{"state":"ENABLED","variants":{"a":1}}`)
	for i := range n {
		fmt.Fprintf(&doc, `,"flag-%04d":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","metadata":{"n":%d}%s}`, i, i, targeting)
	}
	doc.WriteString("}}")
	b.apply(doc.String())
}

func TestAClientThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	b := alone(t)
	b.manyFlags(1000, walking)
	w := &stuck{httptest.NewRecorder(), make(chan struct{}), make(chan struct{}), nil}
	var work sync.WaitGroup
	work.Go(func() { b.send(w, routeFlags, strings.NewReader(longContext)); close(w.writing) })
	pieces := 0
	for range w.writing {
		pieces++
		b.both("while another does not read")
		w.may <- struct{}{}
	}
	work.Wait()
	if pieces < 2 {
		t.Errorf("it was written in %d pieces", pieces)
	}
	wellFormed(t, w.Body.String())
}

// An answer that nobody reads any more is not evaluated to its end, and does not
// look like a whole one.
func TestAnAnswerEndsWithItsClient(t *testing.T) {
	b := alone(t)
	b.manyFlags(1000, "")
	w := &stuck{httptest.NewRecorder(), make(chan struct{}, 1), make(chan struct{}, 1), errors.New("gone")}
	w.may <- struct{}{}
	if !aborts(func() { b.send(w, routeFlags, strings.NewReader("{}")) }) || len(w.writing) != 1 {
		t.Errorf("a write fails, and the answer goes on")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, routeFlags, strings.NewReader("{}"))
	if !aborts(func() { authz.Identify(b.handler).ServeHTTP(httptest.NewRecorder(), r) }) {
		t.Error("the client has left, and the answer goes on")
	}
	b.both("after a client has left")
}

func aborts(do func()) (aborted bool) {
	defer func() { aborted = recover() == http.ErrAbortHandler }() //nolint:errorlint // it is this very one
	do()
	return false
}

// What takes long is done a few at a time; who waits long is asked to come back.
func TestLongEvaluationsAreFew(t *testing.T) {
	b := alone(t)
	b.manyFlags(20, walking)
	tag := b.all(longContext).header.Get("ETag")
	turn := b.sets.Turn(t.Context())
	if err := turn.Next(1 << 20); err != nil {
		t.Fatal(err)
	}
	got := b.all(longContext)
	if got.status != 429 || got.header.Get("Retry-After") == "" || got.header.Get("ETag") != "" {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	if got := b.all(`{}`); got.status != 200 {
		t.Errorf("a short one has to wait: %d %s", got.status, got.body)
	}
	if got := b.all(longContext, "If-None-Match", tag); got.status != 304 {
		t.Errorf("nothing to evaluate: %d %s", got.status, got.body)
	}
	turn.End()
	b.both("when the turn is over")
}

// What a request costs has a bound, whatever its context holds.
func TestABulkRequestHasABudget(t *testing.T) {
	b := newBench(t, nil)
	b.manyFlags(40, walking)
	context := `{"context":{"list":[0` + strings.Repeat(",0", 200_000) + `]}}`
	got := b.all(context)
	if f := got.flag(t, "flag-0000"); f["variant"] != "off" {
		t.Errorf("the first: %v", f)
	}
	if f := got.flag(t, "flag-0039"); f["errorCode"] != "PARSE_ERROR" {
		t.Errorf("the last: %v", f)
	}
	if f := b.one("flag-0039", context).json(t); f["variant"] != "off" {
		t.Errorf("alone: %v", f)
	}
	wellFormed(t, got.body)
}

// version is that of what is served.
func (b *bench) version() version {
	b.t.Helper()
	state, err := b.sets.Newest("default")
	if err != nil {
		b.t.Fatal(err)
	}
	return versionOf(state.Position, state.Lapsed)
}
