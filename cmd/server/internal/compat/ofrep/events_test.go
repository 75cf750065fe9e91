package ofrep

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	"github.com/plimsoll-dev/plimsoll/store"
)

// subscriber reads an event stream.
type subscriber struct {
	t      *testing.T
	header http.Header
	status int
	blocks chan string // events and comments
}

func (b *bench) subscribe(target string, headers ...string) *subscriber {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, target, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = res.Body.Close() })
	s := &subscriber{t: b.t, header: res.Header, status: res.StatusCode, blocks: make(chan string, 100)}
	go func() {
		defer close(s.blocks)
		var block strings.Builder
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if lines.Text() != "" {
				block.WriteString(lines.Text() + "\n")
				continue
			}
			s.blocks <- block.String()
			block.Reset()
		}
	}()
	return s
}

// next is the next block that is no comment; ok is false at the end.
func (s *subscriber) next(want string) (block string, ok bool) {
	s.t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case block, ok = <-s.blocks:
			if !ok || !strings.HasPrefix(block, ":") {
				return block, ok
			}
		case <-deadline:
			s.t.Fatalf("nothing came in time; wanted %s", want)
		}
	}
}

// told is one event.
type told struct {
	id, name string
	data     struct {
		Type         string `json:"type"`
		Etag         string `json:"etag"`
		LastModified int64  `json:"lastModified"`
	}
}

func (s *subscriber) event(want string) told {
	s.t.Helper()
	block, ok := s.next(want)
	if !ok {
		s.t.Fatalf("the stream has ended; wanted %s", want)
	}
	var e told
	for line := range strings.Lines(block) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.data); err != nil {
				s.t.Fatalf("%v in %s", err, block)
			}
		default:
			s.t.Fatalf("unknown field in %q", block)
		}
	}
	return e
}

func (b *bench) events(headers ...string) *subscriber {
	b.t.Helper()
	s := b.subscribe(b.url+routeEvents+"?namespace=default", headers...)
	if block, _ := s.next("the time to come back"); !strings.HasPrefix(block, "retry: ") {
		b.t.Fatalf("the first block is %q", block)
	}
	return s
}

// The schema sseEvent, and when events are sent.
func TestEventStream(t *testing.T) {
	b := newBench(t, func(o *Options, _ *effective.Options) { o.KeepAlive = 5 * time.Millisecond })
	s := b.events()
	t.Run("200 with text/event-stream", func(t *testing.T) {
		if s.status != 200 || s.header.Get("Content-Type") != "text/event-stream" || s.header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%d %v", s.status, s.header)
		}
	})
	first := s.event("the present state")
	t.Run("event: message, an id, refetchEvaluation with etag and lastModified in seconds", func(t *testing.T) {
		if first.name != "message" || first.id == "" || first.data.Type != "refetchEvaluation" || first.data.Etag == "" || first.data.LastModified != b.now().Unix() {
			t.Errorf("%+v", first)
		}
	})
	t.Run("a comment keeps an idle stream alive", func(t *testing.T) {
		select {
		case block := <-s.blocks:
			if block != ": keep-alive\n" {
				t.Errorf("%q", block)
			}
		case <-time.After(patience):
			t.Error("nothing came")
		}
	})
	b.kill("switch", "off")
	second := s.event("the kill")
	t.Run("a change is told of", func(t *testing.T) {
		if second.id == first.id || second.data.Etag == first.data.Etag {
			t.Errorf("%+v", second)
		}
	})
	t.Run("the refetch with flagConfigEtag has what the event told of", func(t *testing.T) {
		got := b.refetch(second)
		if got.status != 200 || got.flag(t, "switch")["reason"] != "OVERRIDE" {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
	t.Run("Last-Event-ID: what was missed is told of at once", func(t *testing.T) {
		if e := b.events(headerLast, first.id).event("the kill"); e.id != second.id {
			t.Errorf("%+v", e)
		}
	})
	t.Run("Last-Event-ID: a client that is current is told of the next change only", func(t *testing.T) {
		current := b.events(headerLast, second.id)
		b.kill("switch", "on")
		third := current.event("the next kill")
		if snap, _ := b.store.Snapshot(store.DefaultNamespace); third.id == second.id || !strings.Contains(third.id, strconv.FormatInt(snap.Revision(), 10)) {
			t.Errorf("%+v", third)
		}
	})
	t.Run("the stream that bulk answers name", func(t *testing.T) {
		streams := b.all(`{}`).json(t)["eventStreams"].([]any)[0].(map[string]any)
		uri := streams["endpoint"].(map[string]any)["requestUri"].(string)
		if s := b.subscribe(b.url + uri); s.status != 200 {
			t.Errorf("%d", s.status)
		}
	})
	t.Run("an unknown namespace", func(t *testing.T) {
		if s := b.subscribe(b.url + routeEvents + "?namespace=nowhere"); s.status != 400 {
			t.Errorf("%d", s.status)
		}
	})
}

// refetch is what a provider does upon an event.
func (b *bench) refetch(e told) reply {
	b.t.Helper()
	return b.do(http.MethodPost, b.url+routeFlags+"?"+url.Values{
		queryEtag: {e.data.Etag}, queryModified: {strconv.FormatInt(e.data.LastModified, 10)},
	}.Encode(), `{}`)
}

// The end of an override is told of, though nobody writes it.
func TestEventOfAnEnd(t *testing.T) {
	b := newBench(t, nil)
	b.kill("switch", "off", time.Minute)
	s := b.events()
	first := s.event("the present state")
	b.pass(61 * time.Second)
	if got := b.all(`{}`); got.flag(t, "switch")["reason"] != "STATIC" {
		t.Fatalf("the kill has not ended: %s", got.body)
	}
	end := s.event("the end of the kill")
	if end.id == first.id || end.data.LastModified != b.now().Unix() {
		t.Errorf("%+v", end)
	}
	if got := b.refetch(end); got.status != 200 || got.flag(t, "switch")["reason"] != "STATIC" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// What has ended is removed in a revision of its own, which serves the same: no
// client has to ask again for that.
func TestTheRemovalOfWhatHasEndedIsNotTold(t *testing.T) {
	b := newBench(t, nil)
	before := b.all(user).header.Get("ETag")
	b.kill("switch", "off", time.Minute)
	s := b.events()
	s.event("the present state")
	b.pass(61 * time.Second)
	if ended := b.all(user).header.Get("ETag"); ended != before {
		t.Errorf("ETag %s after the end of the kill, %s before the kill", ended, before)
	}
	end := s.event("the end of the kill")
	snap, err := b.store.Snapshot(store.DefaultNamespace)
	if err != nil {
		t.Fatal(err)
	}
	// A change elsewhere has the store look at what is due.
	if _, err := b.store.CreateNamespace(t.Context(), "other", nil, store.Change{}); err != nil {
		t.Fatal(err)
	}
	b.reach(snap.Revision() + 1)
	if got := b.all(user, "If-None-Match", before); got.status != 304 {
		t.Errorf("%d after the removal", got.status)
	}
	if got := b.refetch(end); got.status != 200 {
		t.Errorf("the refetch of the event before: %d %s", got.status, got.body)
	}
	b.kill("switch", "off")
	next := s.event("the next kill")
	b.kill("count", "few", time.Minute) // while another one stands
	s.event("the kill beside it")
	b.pass(61 * time.Second)
	b.one("count", `{}`)
	s.event("the end of that")
	if snap, err = b.store.Snapshot(store.DefaultNamespace); err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.CreateNamespace(t.Context(), "another", nil, store.Change{}); err != nil {
		t.Fatal(err)
	}
	b.reach(snap.Revision() + 1)
	b.kill("switch", "on")
	if last := s.event("the last kill"); last.id != b.version().String() || last.id == next.id {
		t.Errorf("told of %s, want %s", last.id, b.version())
	}
	b.kill("switch", "off")
	next = s.event("the next kill")
	if here := b.version().String(); next.id != here {
		t.Errorf("told of %s, want %s", next.id, here)
	}
}

// What has changed and changed back is told: a client may have asked in between.
func TestAChangeAndItsReversalAreTold(t *testing.T) {
	b := newBench(t, nil)
	toggle := func(variant string) {
		b.apply(`{"flags":{"toggle":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"` + variant + `"}}}`)
		if got := b.one("toggle", `{}`).json(t); got["variant"] != variant {
			t.Fatalf("%v", got)
		}
	}
	toggle("on")
	w := &stuck{httptest.NewRecorder(), make(chan struct{}), make(chan struct{}), nil}
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, routeEvents, nil)
	var work sync.WaitGroup
	work.Go(func() { authz.Identify(b.handler).ServeHTTP(w, r) })
	<-w.writing // the time to come back
	w.may <- struct{}{}
	<-w.writing // the present state; the client does not read
	toggle("off")
	toggle("on")
	w.may <- struct{}{}
	select {
	case <-w.writing:
		w.may <- struct{}{}
	case <-time.After(patience):
		t.Error("nothing is told")
	}
	cancel()
	work.Wait()
	if got := w.Body.String(); !strings.Contains(got, "id: "+b.version().String()) {
		t.Errorf("%s", got)
	}
}

// A client that comes from a server that is ahead must not be told to go back.
func TestAStreamFromAServerThatIsAhead(t *testing.T) {
	t.Run("it finds another server", func(t *testing.T) {
		b := newBench(t, nil)
		ahead := b.version()
		ahead.revision += 50
		if block, ok := b.events(headerLast, ahead.String()).next("the end"); ok {
			t.Errorf("told %q", block)
		}
	})
	t.Run("it waits for what comes", func(t *testing.T) {
		b := newBench(t, nil)
		ahead := b.version()
		ahead.revision++
		s := b.events(headerLast, ahead.String())
		b.kill("switch", "off")
		if e := s.event("the kill"); e.id != b.version().String() {
			t.Errorf("%+v", e)
		}
	})
	t.Run("another store is none that is ahead", func(t *testing.T) {
		b := newBench(t, nil)
		other := b.version()
		other.store, other.revision = "another", other.revision+50
		b.events(headerLast, other.String()).event("the present state")
	})
	t.Run("an automatic move that waits its turn here", func(t *testing.T) {
		b := newBench(t, func(o *Options, so *effective.Options) { o.Spread, so.Pace = time.Hour, time.Hour })
		b.events().event("the present state")
		b.moveLevel(500_000) // the first one shows at once
		b.moveLevel(1_000_000)
		newest := b.version()
		s := b.events(headerLast, newest.String())
		b.kill("switch", "off")
		if e := s.event("the kill"); e.id != b.version().String() || e.id == newest.String() {
			t.Errorf("%+v, after %s", e, newest)
		}
	})
}

// Of an automatic move each client is told at a moment of its own, and then of
// what is newest; of what a person does, all of them at once.
func TestAutomaticMovesAreSpread(t *testing.T) {
	b := newBench(t, func(o *Options, so *effective.Options) { o.Spread, so.Pace = time.Hour, time.Nanosecond })
	s := b.events()
	first := s.event("the present state")
	b.moveLevel(1_000_000)
	if got := b.one("count", `{}`).json(t); got["reason"] != "DEGRADED" {
		t.Fatalf("the move is not shown: %v", got)
	}
	// A client that comes now has missed it, and is told at once.
	if e := b.events(headerLast, first.id).event("the move"); e.id == first.id {
		t.Errorf("%+v", e)
	}
	select {
	case block := <-s.blocks:
		t.Errorf("told at once: %q", block)
	default: // its moment is within the hour
	}
	b.kill("switch", "off")
	killed := s.event("the kill")
	if got := b.refetch(killed); got.flag(t, "switch")["reason"] != "OVERRIDE" || got.flag(t, "count")["reason"] != "DEGRADED" {
		t.Errorf("%s", got.body)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	b := newBench(t, func(_ *Options, so *effective.Options) { so.MaxStreams = 1 })
	b.events().event("the present state")
	if s := b.subscribe(b.url + routeEvents); s.status != 503 || s.header.Get("Retry-After") == "" {
		t.Errorf("%d %v", s.status, s.header)
	}
}

func TestStreamsEndWithTheServer(t *testing.T) {
	b := newBench(t, nil)
	s := b.events()
	s.event("the present state")
	b.sets.Drain()
	if block, ok := s.next("the end"); ok {
		t.Errorf("%q", block)
	}
	if s := b.subscribe(b.url + routeEvents); s.status != 503 || s.header.Get("Retry-After") == "" {
		t.Errorf("a new one: %d", s.status)
	}
}

// The query parameters flagConfigEtag and flagConfigLastModified.
func TestRefetch(t *testing.T) {
	b := newBench(t, nil)
	ask := func(query string) reply { return b.do(http.MethodPost, b.url+routeFlags+"?"+query, `{}`) }
	snap, err := b.store.Snapshot(store.DefaultNamespace)
	if err != nil {
		t.Fatal(err)
	}
	here := versionOf(snap.Position(), time.Time{})
	ahead := here
	ahead.revision += 1000
	for requirement, c := range map[string]struct {
		query  string
		status int
	}{
		"the state that is here":                     {queryEtag + "=" + here.String(), 200},
		"a state that is not here yet":               {queryEtag + "=" + ahead.String(), 503},
		"an etag that says nothing to us":            {queryEtag + "=550e8400-e29b-41d4-a716-446655440000", 200},
		"lastModified in seconds, past":              {queryModified + "=1771622898", 200},
		"lastModified as ISO 8601, past":             {queryModified + "=2026-02-20T21:28:18Z", 200},
		"lastModified as HTTP has it, past":          {queryModified + "=Fri,%2020%20Feb%202026%2021:28:18%20GMT", 200},
		"lastModified before 1970":                   {queryModified + "=-1", 400},
		"lastModified within the error of clocks":    {queryModified + "=" + strconv.FormatInt(b.now().Unix()+2, 10), 200},
		"lastModified after all that is here":        {queryModified + "=" + strconv.FormatInt(b.now().Unix()+60, 10), 503},
		"lastModified that is no time":               {queryModified + "=yesterday", 400},
		"lastModified with an etag that is not ours": {queryEtag + "=x&" + queryModified + "=" + strconv.FormatInt(b.now().Unix()+60, 10), 503},
		"an etag wins over lastModified":             {queryEtag + "=" + here.String() + "&" + queryModified + "=4102444800", 200},
		"other parameters are ignored":               {"x=1", 200},
	} {
		t.Run(requirement, func(t *testing.T) {
			got := ask(c.query)
			if got.status != c.status {
				t.Errorf("%d %s", got.status, got.body)
			}
			if (got.header.Get("Retry-After") != "") != (c.status == 503) {
				t.Errorf("Retry-After %q", got.header.Get("Retry-After"))
			}
		})
	}
	t.Run("a time that has come is answered, though this server has the state for longer", func(t *testing.T) {
		b.pass(time.Hour)
		for _, ago := range []int64{0, 3, 60} {
			if got := ask(queryModified + "=" + strconv.FormatInt(b.now().Unix()-ago, 10)); got.status != 200 {
				t.Errorf("%d s ago: %d %s", ago, got.status, got.body)
			}
		}
	})
	t.Run("a state that comes while it waits", func(t *testing.T) {
		next := here
		next.revision++
		done := make(chan error, 1)
		go func() {
			_, err := b.store.Kill(t.Context(), store.DefaultNamespace, store.Kill{Keys: []string{"switch"}, Variant: "off"}, false, store.Change{})
			done <- err
		}()
		if got := ask(queryEtag + "=" + next.String()); got.status != 200 || got.flag(t, "switch")["reason"] != "OVERRIDE" {
			t.Errorf("%d %s", got.status, got.body)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Automatic moves of the level are shown every few seconds only; whoever was told
// of one elsewhere is not shown less.
func TestAutomaticMovesAreGradual(t *testing.T) {
	b := newBench(t, nil)
	shown := func() any { return b.one("count", `{"context":{"targetingKey":"u"}}`).json(t)["reason"] }
	if shown() == "DEGRADED" {
		t.Fatal("degraded at level 0")
	}
	b.moveLevel(1_000_000)
	if shown() != "DEGRADED" {
		t.Fatal("the first move is not shown")
	}
	tag := b.all(user).header.Get("ETag")
	b.moveLevel(0)
	if shown() != "DEGRADED" || b.all(user, "If-None-Match", tag).status != 304 {
		t.Error("the second move did not wait")
	}
	snap, err := b.store.Snapshot(store.DefaultNamespace)
	if err != nil {
		t.Fatal(err)
	}
	newest := versionOf(snap.Position(), time.Time{})
	if got := b.do(http.MethodPost, b.url+routeFlags+"?"+queryEtag+"="+newest.String(), user); got.status != 200 || got.flag(t, "count")["reason"] == "DEGRADED" {
		t.Errorf("a client that was told of the move: %d %s", got.status, got.body)
	}
	if b.pass(6 * time.Second); shown() == "DEGRADED" {
		t.Error("the second move is never shown")
	}
	b.moveLevel(1_000_000)
	if shown() == "DEGRADED" {
		t.Error("the third move did not wait")
	}
	b.kill("switch", "off")
	if shown() != "DEGRADED" || b.one("switch", `{}`).json(t)["reason"] != "OVERRIDE" {
		t.Error("a change by hand waits")
	}
}
