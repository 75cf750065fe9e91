package effective

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	clientv3 "go.etcd.io/etcd/client/v3"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

func newStore(t testing.TB) *store.Store {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	member, err := store.StartEmbedded(t.Context(), store.EmbeddedOptions{Dir: t.TempDir(), Logger: quiet, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = member.Close() })
	s, err := store.Open(store.Options{
		Connect: func() (*clientv3.Client, error) { return member.Client(), nil }, KeepClient: true, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	wait(t, s.Ready())
	return s
}

func newSets(t testing.TB, s *store.Store, opts Options) *Sets {
	t.Helper()
	sets := New(s, opts)
	t.Cleanup(sets.Close)
	return sets
}

func wait(t testing.TB, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(30 * time.Second):
		t.Fatal("nothing within 30 s")
	}
}

// define writes one flag with a default variant.
func define(t testing.TB, s *store.Store, variant string) {
	t.Helper()
	doc, faults := flag.ParseDocument([]byte(`{"flags":{"f":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"`+variant+`","degradation":{"tier":"optional"}}}}`), flag.Env{})
	if faults.Err() != nil {
		t.Fatal(faults)
	}
	if _, err := s.Apply(context.Background(), "default", doc, store.ApplyOptions{}, store.Change{}); err != nil {
		t.Fatal(err)
	}
}

func snapshot(t testing.TB, s *store.Store) *store.Snapshot {
	t.Helper()
	snap, err := s.Snapshot("default")
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// Whoever writes reads the write, and whoever follows is woken by it.
func TestBothLinesFollowTheStore(t *testing.T) {
	s := newStore(t)
	sets := newSets(t, s, Options{})
	define(t, s, "on")
	for name, follow := range map[string]func(string) (*State, <-chan struct{}, error){"newest": sets.FollowNewest, "paced": sets.FollowPaced} {
		define(t, s, "on")
		state, over, err := follow("default")
		if err != nil || state.Flags.Bool("f", false, nil).Variant != "on" {
			t.Fatalf("%s: %v, %v", name, state, err)
		}
		define(t, s, "off")
		if state, _, err = follow("default"); err != nil || state.Flags.Bool("f", true, nil).Variant != "off" {
			t.Errorf("%s after a write: %v", name, err)
		}
		wait(t, over)
	}
	if _, err := sets.Newest("nowhere"); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("no such namespace: %v", err)
	}
}

// Who asks while both lines are being moved does not get what was before on one of
// them.
func TestALineThatIsBehindIsNotFresh(t *testing.T) {
	s := newStore(t)
	e := still(s, time.Hour, false)
	now := time.Now()
	define(t, s, "on")
	e.advance(snapshot(t, s), now)
	if !e.fresh(now) {
		t.Error("not fresh after it was brought up to the store")
	}
	define(t, s, "off")
	snap := snapshot(t, s)
	e.newest.move(newState(e, snap, snap.Set(now), now)) // as far as advance has come
	if e.fresh(now) {
		t.Error("fresh while the paced line is behind")
	}
	e.advance(snap, now)
	if !e.fresh(now) || e.paced.state() != e.newest.state() {
		t.Error("not fresh when both are there")
	}
}

// What follows a namespace ends with it.
func TestANamespaceThatGoesWakesItsFollowers(t *testing.T) {
	s := newStore(t)
	sets := newSets(t, s, Options{})
	for range 2 { // the second one of the name is another one
		if _, err := s.CreateNamespace(context.Background(), "shop", nil, store.Change{}); err != nil {
			t.Fatal(err)
		}
		_, over, err := sets.FollowPaced("shop")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.DeleteNamespace(context.Background(), "shop", store.Change{}); err != nil {
			t.Fatal(err)
		}
		wait(t, over)
		if _, _, err := sets.FollowPaced("shop"); connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("afterwards: %v", err)
		}
	}
}

// still is a set of entries that nobody advances but the test.
func still(s *store.Store, pace time.Duration, automatic bool) *entry {
	return &entry{counts: flag.NewCounts(), sets: &Sets{store: s, pace: pace, now: time.Now, automatic: func(_, _ *State) bool { return automatic }}}
}

// Of automatic moves the paced line takes one in each pace, and then the newest;
// anything else it takes at once, with all that was held back.
func TestAutomaticMovesArePaced(t *testing.T) {
	s := newStore(t)
	define(t, s, "on")
	e := still(s, 5*time.Second, true)
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	step := func(seconds float64, variant string) {
		t.Helper()
		define(t, s, variant)
		e.advance(snapshot(t, s), at(seconds))
	}
	served := func(newest, paced string, due float64) {
		t.Helper()
		for name, l := range map[string]struct {
			line *line
			want string
		}{"newest": {&e.newest, newest}, "paced": {&e.paced, paced}} {
			if got := l.line.state().Flags.Bool("f", true, nil).Variant; got != l.want {
				t.Errorf("%s: %s, want %s", name, got, l.want)
			}
		}
		if due < 0 {
			if !e.due().IsZero() {
				t.Errorf("due at %v", e.due().Sub(start))
			}
		} else if !e.due().Equal(at(due)) {
			t.Errorf("due at %v, want %v", e.due().Sub(start), due)
		}
	}
	step(0, "on")
	served("on", "on", -1)
	step(1, "off") // the first one for long
	served("off", "off", -1)
	step(1.5, "on")
	served("on", "off", 6)
	step(2, "off")
	step(3, "on")
	served("on", "off", 6)
	e.advance(snapshot(t, s), at(6))
	served("on", "on", -1)
	step(7, "off")
	served("off", "on", 11)
	e.sets.automatic = func(_, _ *State) bool { return false }
	e.advance(snapshot(t, s), at(8))
	served("off", "off", -1)
}

// Only a policy writes the level alone.
func TestWhatIsAutomatic(t *testing.T) {
	for names, want := range map[string]bool{
		"level": true, "holds/shed-optional": false, "holds/pin level": false, "flags/f level": false, "flags/f": false, "": false,
	} {
		if got := store.AutomaticOnly(strings.Fields(names)); got != want {
			t.Errorf("%q: %v", names, got)
		}
	}
	s := newStore(t)
	define(t, s, "on")
	e := still(s, time.Second, false)
	before := newState(e, snapshot(t, s), snapshot(t, s).Set(time.Now()), time.Now())
	if _, err := s.Shed(context.Background(), "default", "optional", 400_000, nil, false, store.Change{}); err != nil {
		t.Fatal(err)
	}
	after := newState(e, snapshot(t, s), snapshot(t, s).Set(time.Now()), time.Now())
	if automatic(before, after) {
		t.Error("a move by hand counts as automatic")
	}
}

// The end of an override is a state of its own, at its time and at once, though
// nothing was written; and the same on every server.
func TestAnEndIsAState(t *testing.T) {
	s := newStore(t)
	define(t, s, "on")
	lasts := time.Hour
	if _, err := s.Kill(context.Background(), "default", store.Kill{Keys: []string{"f"}, Lasts: &lasts}, false, store.Change{}); err != nil {
		t.Fatal(err)
	}
	snap := snapshot(t, s)
	e := still(s, time.Hour, true)
	now := time.Now()
	e.advance(snap, now)
	killed := e.paced.state()
	if killed.Flags.Bool("f", true, nil).Variant != "off" || !killed.Lapsed.IsZero() {
		t.Fatalf("%+v", killed)
	}
	due := e.due()
	if left := due.Sub(now); left <= 59*time.Minute || left > lasts {
		t.Errorf("due in %v", left)
	}
	if e.advance(snap, due.Add(-1)); e.paced.state() != killed {
		t.Error("another state before the end")
	}
	if !e.fresh(due.Add(-1)) || e.fresh(due) {
		t.Error("an end is not looked for when it is due, or before")
	}
	e.sets.automatic = automatic
	e.advance(snap, due)
	ended := e.paced.state()
	if ended.Flags.Bool("f", false, nil).Variant != "on" || !ended.Lapsed.Equal(due) {
		t.Errorf("%+v", ended)
	}
	other := newState(still(s, 0, false), snap, snap.Set(due.Add(time.Minute)), due.Add(time.Minute))
	if !other.Lapsed.Equal(ended.Lapsed) || other.Position.GetRevision() != ended.Position.GetRevision() {
		t.Error("two servers have two digests of one state")
	}
}

// Documents are composed once, and stay the same object while the text does.
func TestDocument(t *testing.T) {
	s := newStore(t)
	sets := newSets(t, s, Options{})
	define(t, s, "on")
	get := func() *Document {
		t.Helper()
		state, err := sets.Newest("default")
		if err != nil {
			t.Fatal(err)
		}
		return state.Document()
	}
	first := get()
	if first != get() || first.JSON != `{"flags":{"f":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}}}` {
		t.Errorf("%s", first.JSON)
	}
	if _, err := s.SetLevel(context.Background(), "default", nil, nil, false, store.Change{}); err != nil {
		t.Fatal(err)
	}
	if get() != first {
		t.Error("a change that changes nothing makes another document")
	}
	define(t, s, "off")
	if get() == first {
		t.Error("a change leaves the document")
	}
}

func TestStreamsAreBounded(t *testing.T) {
	sets := New(newStore(t), Options{MaxStreams: 1})
	defer sets.Close()
	admit := func() (*Stream, error) { return sets.Admit("default", FlagdSync) }
	stream, err := admit()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admit(); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("a second stream: %v", err)
	}
	stream.Leave()
	stream.Leave() // again does nothing
	if sets.Streams() != 0 {
		t.Errorf("%d streams", sets.Streams())
	}
	if stream, err = admit(); err != nil {
		t.Fatal(err)
	}
	stream.Leave()
	sets.Drain()
	if _, err := admit(); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("while draining: %v", err)
	}
}

// Who asks is told of: streams one by one, the others once a second.
func TestClientsAreTold(t *testing.T) {
	s := newStore(t)
	var told []string
	var now atomic.Int64
	now.Store(time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	sets := newSets(t, s, Options{
		Now: func() time.Time { return time.Unix(0, now.Load()) },
		Following: func(ns string, p Protocol) (func(*plimsollv1.Position), func()) {
			told = append(told, fmt.Sprintf("%s follows %s", p, ns))
			return func(at *plimsollv1.Position) { told = append(told, fmt.Sprint("sent ", at.GetRevision())) }, func() { told = append(told, "left") }
		},
		Asked: func(ns string, p Protocol) { told = append(told, fmt.Sprintf("%s asks for %s", p, ns)) },
	})
	expect := func(want ...string) {
		t.Helper()
		if !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		told = nil
	}
	state, err := sets.Newest("default")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := sets.Admit("default", OFREP)
	if err != nil {
		t.Fatal(err)
	}
	stream.Sent(state)
	stream.Leave()
	stream.Leave()
	expect("FOREIGN_PROTOCOL_OFREP follows default", fmt.Sprint("sent ", state.Position.GetRevision()), "left")
	state.Asked(OFREP)
	state.Asked(OFREP)
	now.Add(int64(time.Second) - 1)
	state.Asked(OFREP)
	state.Asked(FlagdEvaluation)
	expect("FOREIGN_PROTOCOL_OFREP asks for default", "FOREIGN_PROTOCOL_FLAGD_EVALUATION asks for default")
	now.Add(1)
	state.Asked(OFREP)
	expect("FOREIGN_PROTOCOL_OFREP asks for default")
}

// What is evaluated here counts like what processes report.
func TestEvaluationsAreTold(t *testing.T) {
	s := newStore(t)
	define(t, s, "on")
	told := make(map[flag.Count]uint64)
	sets := New(s, Options{Evaluated: func(ns string, counts []flag.Count) {
		for _, c := range counts {
			if ns != "default" {
				t.Errorf("counts of %s", ns)
			}
			n := c.N
			c.N = 0
			told[c] += n
		}
	}})
	for i := range 5 {
		state, err := sets.Newest("default")
		if err != nil {
			t.Fatal(err)
		}
		state.Flags.Bool("f", true, nil)
		if i == 2 {
			define(t, s, "off")
		}
	}
	sets.Close()
	want := map[flag.Count]uint64{
		{Key: "f", Variant: "on", Reason: flag.ReasonStatic}: 3, {Key: "f", Variant: "off", Reason: flag.ReasonStatic}: 2,
	}
	if !maps.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}
