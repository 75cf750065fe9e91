package fleet

import (
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"),
	)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newMember(t testing.TB) *store.Embedded {
	t.Helper()
	member, err := store.StartEmbedded(t.Context(), store.EmbeddedOptions{Dir: t.TempDir(), Logger: quiet(), MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = member.Close() })
	return member
}

func newStore(t testing.TB, member *store.Embedded) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{
		Connect: func() (*clientv3.Client, error) { return member.Client(), nil }, KeepClient: true, Logger: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	select {
	case <-s.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the store is not ready")
	}
	return s
}

// clock is a clock that the test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// bench is a registry over a store of its own, under a clock.
type bench struct {
	*Registry
	t     testing.TB
	clock *clock
	// What the metrics were told, under heard.
	heard   sync.Mutex
	results map[string]int
	applied []time.Duration
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, clock: &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, results: make(map[string]int)}
	b.Registry = newRegistry(newStore(t, newMember(t)), Metrics{
		Reported: func(result string) {
			b.heard.Lock()
			defer b.heard.Unlock()
			b.results[result]++
		},
		Applied: func(after time.Duration) {
			b.heard.Lock()
			defer b.heard.Unlock()
			b.applied = append(b.applied, after)
		},
	}, b.clock.now)
	t.Cleanup(b.Close)
	return b
}

const twoVariants = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`

// change makes a change, which arrives at once by the clock, and returns the
// position after it.
func (b *bench) change(key string) *plimsollv1.Position {
	b.t.Helper()
	res, _, err := b.store.CreateFlag(b.t.Context(), "default", key, twoVariants, store.Change{})
	if err != nil {
		b.t.Fatal(err)
	}
	b.observe()
	return res.Position
}

func (b *bench) position() *plimsollv1.Position {
	b.t.Helper()
	snap, err := b.store.Snapshot("default")
	if err != nil {
		b.t.Fatal(err)
	}
	return snap.Position()
}

// report sends a report of a process, which must be taken.
func (b *bench) report(id string, seq uint64, applied *plimsollv1.Position, more ...func(*plimsollv1.ReportRequest)) {
	b.t.Helper()
	if err := b.Report("default", request(id, seq, applied, more...)); err != nil {
		b.t.Fatal(err)
	}
}

func request(id string, seq uint64, applied *plimsollv1.Position, more ...func(*plimsollv1.ReportRequest)) *plimsollv1.ReportRequest {
	req := &plimsollv1.ReportRequest{Client: &plimsollv1.ClientInfo{InstanceId: id, Service: "shop"}, Seq: seq, Applied: applied}
	for _, m := range more {
		m(req)
	}
	return req
}

func ago(d time.Duration) func(*plimsollv1.ReportRequest) {
	return func(r *plimsollv1.ReportRequest) { r.AppliedAge = durationpb.New(d) }
}

func leaving(r *plimsollv1.ReportRequest) { r.Leaving = true }

func evaluated(flag, variant, reason string, count uint64) func(*plimsollv1.ReportRequest) {
	return func(r *plimsollv1.ReportRequest) {
		r.Evaluations = append(r.Evaluations, &plimsollv1.EvaluationCounts{
			FlagKey: flag, Outcomes: []*plimsollv1.OutcomeCount{{Variant: variant, Reason: reason, Count: count}},
		})
	}
}

func tracked(name string, count uint64, sum float64) func(*plimsollv1.ReportRequest) {
	return func(r *plimsollv1.ReportRequest) {
		r.Tracked = append(r.Tracked, &plimsollv1.TrackedEvent{Name: name, Count: count, Sum: sum})
	}
}

// known is the share of this server, with its members by instance.
func (b *bench) known(revision int64) (*share, map[string]member) {
	b.t.Helper()
	s, err := b.share("default", revision, true, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	members := make(map[string]member)
	for _, m := range s.members {
		members[m.client.GetInstanceId()] = m
	}
	return s, members
}

// inside looks into what is kept of a namespace; nil: nothing is.
func (b *bench) inside(name string, look func(*namespace)) {
	b.mu.RLock()
	n := b.byNS[name]
	b.mu.RUnlock()
	if n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
	}
	look(n)
}

// told is the usage as the API tells it, in short.
func (b *bench) told(keys ...string) string {
	b.t.Helper()
	s, err := b.share("default", 0, true, keys)
	if err != nil {
		b.t.Fatal(err)
	}
	u := (&view{shares: []*share{s}}).usage(keys)
	var out strings.Builder
	for _, f := range u.GetFlags() {
		fmt.Fprintf(&out, "%s:", f.GetFlagKey())
		for _, o := range f.GetOutcomes() {
			fmt.Fprintf(&out, " %s/%s=%d", o.GetVariant(), o.GetReason(), o.GetCount())
		}
		out.WriteString("; ")
	}
	fmt.Fprintf(&out, "unknown=%d", u.GetUnknownFlags())
	for _, e := range u.GetTracked() {
		fmt.Fprintf(&out, "; %s=%d(%g)", e.GetName(), e.GetCount(), e.GetSum())
	}
	return out.String()
}

func TestAProcessIsLiveFor15sAfterAReport(t *testing.T) {
	b := newBench(t)
	live := func() bool { _, m := b.known(0); return len(m) == 1 }
	b.report("p", 1, nil)
	b.clock.advance(liveFor)
	if !live() {
		t.Error("it is not live 15 s after its report")
	}
	b.report("p", 1, nil)
	b.clock.advance(liveFor)
	if !live() {
		t.Error("it is not live 15 s after it repeated its report")
	}
	b.clock.advance(time.Nanosecond)
	if live() {
		t.Error("it is live more than 15 s after its report")
	}
	b.clock.advance(rememberFor)
	b.sweep()
	b.inside("default", func(n *namespace) {
		if len(n.processes) != 0 {
			t.Errorf("it is remembered: %v", n.processes)
		}
	})
}

func TestAReportThatIsSentAgainIsCountedOnce(t *testing.T) {
	b := newBench(t)
	b.change("f")
	count := evaluated("f", "on", "STATIC", 1)
	b.report("p", 1, nil, count)
	b.report("p", 1, nil, count)
	b.report("p", 3, nil, count)
	b.report("p", 2, nil, count)
	b.report("q", 1, nil, count)
	// One that is sent again after the process was not live for a while.
	b.clock.advance(liveFor + time.Second)
	b.sweep()
	b.report("p", 3, nil, count)
	if got := b.told(); got != "f: on/STATIC=3; unknown=0" {
		t.Errorf("counted %s", got)
	}
	if b.results[resultCounted] != 3 || b.results[resultRepeated] != 3 {
		t.Errorf("metrics %v", b.results)
	}
}

func TestAProcessThatLeavesIsGoneAtOnce(t *testing.T) {
	b := newBench(t)
	b.change("f")
	b.report("p", 1, nil)
	b.report("p", 3, nil, leaving, evaluated("f", "on", "STATIC", 5))
	if _, m := b.known(0); len(m) != 0 {
		t.Errorf("still there: %v", m)
	}
	b.report("p", 2, nil, evaluated("f", "on", "STATIC", 7)) // it was under way
	b.report("p", 3, nil, leaving, evaluated("f", "on", "STATIC", 5))
	if _, m := b.known(0); len(m) != 0 {
		t.Errorf("back again: %v", m)
	}
	if got := b.told(); got != "f: on/STATIC=5; unknown=0" {
		t.Errorf("counted %s", got)
	}
	b.report("p", 4, nil)
	if _, m := b.known(0); len(m) != 1 {
		t.Error("a later report does not count")
	}
}

func TestAProcessGoesBackOnlyIfItSaysSoAnew(t *testing.T) {
	at := func(store string, epoch uint64, revision int64) *plimsollv1.Position {
		return &plimsollv1.Position{StoreId: store, Epoch: epoch, Revision: revision}
	}
	for _, tc := range []struct {
		name string
		seq  uint64
		to   *plimsollv1.Position
		want position
	}{
		{"forward", 6, at("s", 1, 11), position{"s", 1, 11, 0}},
		{"back, in a late report", 4, at("s", 1, 9), position{"s", 1, 10, 0}},
		{"back, in the same report", 5, at("s", 1, 9), position{"s", 1, 10, 0}},
		{"forward, in a late report", 4, at("s", 1, 12), position{"s", 1, 12, 0}},
		{"back, in a new report", 6, at("s", 1, 9), position{"s", 1, 9, 0}},
		{"a lower epoch, in a late report", 4, at("s", 0, 99), position{"s", 1, 10, 0}},
		{"a higher epoch", 6, at("s", 2, 1), position{"s", 2, 1, 0}},
		{"another store", 6, at("z", 1, 1), position{"z", 1, 1, 0}},
		{"another store, in a late report", 4, at("z", 1, 1), position{"s", 1, 10, 0}},
		{"none", 6, nil, position{"s", 1, 10, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newBenchProcess(t, at("s", 1, 10), 5)
			p.report("p", tc.seq, tc.to)
			if _, m := p.known(0); m["p"].applied != tc.want {
				t.Errorf("at %v, want %v", m["p"].applied, tc.want)
			}
		})
	}
}

// newBenchProcess is a registry with a process p at a position.
func newBenchProcess(t *testing.T, at *plimsollv1.Position, seq uint64) *bench {
	b := newBench(t)
	b.report("p", seq, at)
	return b
}

func TestHowLongARevisionTook(t *testing.T) {
	b := newBench(t)
	before := b.position()
	for _, id := range []string{"fast", "slow", "never", "liar"} {
		b.report(id, 1, before)
	}
	b.clock.advance(5 * time.Second)
	target := b.change("f")
	b.clock.advance(3 * time.Second)
	b.report("fast", 2, target, ago(2900*time.Millisecond))
	b.report("liar", 2, target, ago(1000*time.Hour))
	b.report("late", 1, target) // it was not there when the revision came
	b.clock.advance(time.Second)
	b.report("slow", 2, target, ago(0))

	_, members := b.known(target.GetRevision())
	for id, want := range map[string]time.Duration{
		"fast": 100 * time.Millisecond, "slow": 4 * time.Second, "liar": 0, "late": -1, "never": -1,
	} {
		if m := members[id]; m.appliedAfter != want || m.lagging != (id == "never") {
			t.Errorf("%s: applied after %v (want %v), lagging %v", id, m.appliedAfter, want, m.lagging)
		}
	}
	if m := members["never"]; m.laggingFor != 4*time.Second {
		t.Errorf("never: lagging for %v", m.laggingFor)
	}
	if len(b.applied) != 3 {
		t.Errorf("metrics were told of %v", b.applied)
	}

	// Revisions that follow do not blur it, while the one before is remembered.
	seq := uint64(3)
	for i := range keptApplications - 2 {
		b.report("fast", seq, b.change(fmt.Sprint("more-", i)))
		seq++
	}
	if _, members = b.known(target.GetRevision()); members["fast"].appliedAfter != 100*time.Millisecond {
		t.Errorf("after %d more: %v", keptApplications-2, members["fast"].appliedAfter)
	}
	b.report("fast", seq, b.change("one-more"))
	if _, members = b.known(target.GetRevision()); members["fast"].appliedAfter != -1 || members["fast"].lagging {
		t.Errorf("what is not remembered: %v, lagging %v", members["fast"].appliedAfter, members["fast"].lagging)
	}
}

func TestAProcessThatMovedHereBeforeARevisionIsTimed(t *testing.T) {
	b := newBench(t)
	left := b.Watching("default", &plimsollv1.ClientInfo{InstanceId: "p"}, nil)
	defer left()
	b.clock.advance(time.Second)
	target := b.change("f")
	b.clock.advance(time.Second)
	b.report("p", 77, target, ago(900*time.Millisecond))
	if _, m := b.known(0); m["p"].appliedAfter != 100*time.Millisecond || m["p"].knownFor != 2*time.Second {
		t.Errorf("applied after %v, known for %v", m["p"].appliedAfter, m["p"].knownFor)
	}
}

func TestStreamsAndReportsBelongTogether(t *testing.T) {
	b := newBench(t)
	p := &plimsollv1.ClientInfo{InstanceId: "p"}
	first, second := b.Watching("default", p, nil), b.Watching("default", p, nil)
	foreign := b.Watching("default", nil, nil)
	b.Watching("nowhere", p, nil)()
	check := func(what string, connected bool, silent int) {
		t.Helper()
		if s, m := b.known(0); m["p"].connected != connected || s.silent != silent {
			t.Errorf("%s: connected %v, %d silent; want %v, %d", what, m["p"].connected, s.silent, connected, silent)
		}
	}
	check("before its report", true, 1)
	b.report("p", 1, nil)
	check("after its report", true, 1)
	first()
	check("with one stream left", true, 1)
	second()
	foreign()
	check("without streams", false, 0)
	b.clock.advance(liveFor + 1)
	third := b.Watching("default", p, nil)
	check("when it has come back", true, 0)
	b.clock.advance(liveFor + 1)
	check("when it does not report any more", false, 1)
	third()
	check("at the end", false, 0)
}

func TestAProcessCountsFromItsStreamOn(t *testing.T) {
	b := newBench(t)
	before := b.position()
	target := b.change("f")
	p := &plimsollv1.ClientInfo{InstanceId: "p", Service: "shop"}
	left := b.Watching("default", p, before)
	if _, m := b.known(0); !m["p"].lagging || m["p"].applied != positionOf(before) || m["p"].appliedAge != -1 || m["p"].client.GetService() != "shop" {
		t.Errorf("with its stream: %+v", m)
	}
	left()
	b.clock.advance(liveFor)
	if _, m := b.known(0); len(m) != 1 {
		t.Error("it is forgotten at once when its stream ends")
	}
	b.clock.advance(time.Nanosecond)
	if _, m := b.known(0); len(m) != 0 {
		t.Errorf("it stays: %v", m)
	}
	b.Watching("default", p, target)()
	if _, m := b.known(0); m["p"].lagging {
		t.Errorf("it has applied it: %+v", m)
	}
	b.report("p", 1, target, ago(time.Minute))
	if _, m := b.known(0); m["p"].lagging || m["p"].appliedAge != time.Minute {
		t.Errorf("after its report: %+v", m)
	}
	b.report("p", 2, target, leaving)
	b.Watching("default", p, target)()
	if _, m := b.known(0); len(m) != 0 {
		t.Errorf("a late stream brings it back: %v", m)
	}
}

func TestAPositionThatThereIsNotIsNotApplied(t *testing.T) {
	b := newBench(t)
	head := b.position()
	for what, change := range map[string]func(*plimsollv1.Position){
		"a future revision": func(p *plimsollv1.Position) { p.Revision = 1 << 60 },
		"a future epoch":    func(p *plimsollv1.Position) { p.Epoch++ },
		"another history":   func(p *plimsollv1.Position) { p.Fingerprint++ },
	} {
		claim := proto.CloneOf(head)
		change(claim)
		b.report(what, 1, claim)
		s, members := b.known(0)
		if m := members[what]; !m.lagging || m.appliedAfter != -1 {
			t.Errorf("%s: %+v", what, m)
		}
		for _, m := range merged([]*share{s}, positionOf(head)) {
			if !m.lagging {
				t.Errorf("%s, merged: %+v", what, m)
			}
		}
	}
	b.report("true", 1, head)
	if s := b.Stats()[0]; s.Live != 4 || s.Lagging != 3 {
		t.Errorf("metrics %+v", s)
	}
	if reached := positionOf(head).at(head.GetRevision() - 1); positionOf(head).lags(reached, positionOf(head)) {
		t.Error("an older revision is not applied")
	}
}

func TestAReportThatLeavesIsHeardWhenItIsRepeated(t *testing.T) {
	b := newBench(t)
	b.report("p", 2, nil) // the answer is lost
	b.report("p", 2, nil, leaving)
	if _, m := b.known(0); len(m) != 0 || b.results[resultLeft] != 1 {
		t.Errorf("still there: %v; metrics %v", m, b.results)
	}
	b.report("q", 2, nil)
	b.report("q", 1, nil, leaving)
	if _, m := b.known(0); len(m) != 1 {
		t.Error("an older report takes the leave of a newer one")
	}
}

func TestANewServerSaysSo(t *testing.T) {
	b := newBench(t)
	b.observe()
	if s, _ := b.known(0); !b.store.Created() || s.reportingFor != -1 {
		t.Errorf("one that has created its store: %v", s.reportingFor)
	}
	b.clock.advance(newFor + time.Second)
	if s, _ := b.known(0); s.reportingFor != newFor+time.Second {
		t.Errorf("later: %v", s.reportingFor)
	}
	member := newMember(t)
	newStore(t, member)
	c := &clock{t: time.Now()}
	r := newRegistry(newStore(t, member), Metrics{}, c.now)
	defer r.Close()
	r.observe()
	c.advance(3 * time.Second)
	if s, err := r.share("default", 0, false, nil); err != nil || s.reportingFor != 3*time.Second {
		t.Errorf("one over an older store: %+v, %v", s, err)
	}
}

func TestOneProcessTooManyIsRefused(t *testing.T) {
	b := newBench(t)
	b.limit = 3
	for _, id := range []string{"a", "b", "c"} {
		b.report(id, 1, nil)
	}
	b.report("a", 2, nil)
	err := b.Report("default", request("d", 1, nil))
	var rpc *connect.Error
	if connect.CodeOf(err) != connect.CodeResourceExhausted || !asError(err, &rpc) || rpc.Meta().Get("Plimsoll-Retry-After") == "" || !strings.Contains(err.Error(), "3") {
		t.Errorf("the fourth: %v", err)
	}
	b.Watching("default", &plimsollv1.ClientInfo{InstanceId: "e"}, nil)()
	refused := func() int { s, _ := b.known(0); return s.refused }
	if n := refused(); n != 2 {
		t.Errorf("%d were refused, want d and e", n)
	}
	b.clock.advance(time.Second)
	b.report("b", 2, nil, leaving)
	b.report("d", 1, nil)
	if n := refused(); n != 1 {
		t.Errorf("%d are refused when d was taken, want e", n)
	}
	b.clock.advance(liveFor)
	if n := refused(); n != 0 {
		t.Errorf("%d are refused after 15 s", n)
	}
	b.sweep()
	b.inside("default", func(n *namespace) {
		if len(n.refused) != 0 {
			t.Errorf("they are remembered: %v", n.refused)
		}
	})
	b.clock.advance(liveFor + time.Second)
	for _, id := range []string{"e", "f", "g"} {
		b.report(id, 1, nil)
	}
	if b.results[resultRefused] != 1 {
		t.Errorf("metrics %v", b.results)
	}
	if limit := newBench(t).limit; limit != 50_000 {
		t.Errorf("the limit is %d", limit)
	}
}

func TestAnUnknownNamespaceIsNotFound(t *testing.T) {
	b := newBench(t)
	if err := b.Report("nowhere", request("p", 1, nil)); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("%v", err)
	}
	b.inside("nowhere", func(n *namespace) {
		if n != nil {
			t.Error("it is remembered")
		}
	})
}

func TestADeletedNamespaceIsForgotten(t *testing.T) {
	b := newBench(t)
	if _, err := b.store.CreateNamespace(t.Context(), "shop", nil, store.Change{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Report("shop", request("p", 1, nil)); err != nil {
		t.Fatal(err)
	}
	left := b.Watching("shop", &plimsollv1.ClientInfo{InstanceId: "p"}, nil)
	if _, err := b.store.DeleteNamespace(t.Context(), "shop", store.Change{}); err != nil {
		t.Fatal(err)
	}
	b.sweep()
	b.inside("shop", func(n *namespace) {
		if n != nil || len(b.Stats()) != 1 {
			t.Errorf("it is remembered: %v", b.Stats())
		}
	})
	left()
}

func TestUsageIsToldOverTenMinutes(t *testing.T) {
	b := newBench(t)
	b.change("f")
	b.change("g")
	window := func() time.Duration { s, _ := b.known(0); return s.window }
	b.report("p", 1, nil, evaluated("f", "on", "STATIC", 1), tracked("buy", 2, 10))
	b.clock.advance(30 * time.Second)
	b.report("p", 2, nil, evaluated("f", "off", "TARGETING_MATCH", 10), evaluated("f", "on", "STATIC", 2))
	if got := b.told(); got != "f: off/TARGETING_MATCH=10 on/STATIC=3; unknown=0; buy=2(10)" || window() != 30*time.Second {
		t.Errorf("at first %s over %v", got, window())
	}
	b.clock.advance(9 * time.Minute) // the first minute is the oldest now
	b.report("p", 3, nil, evaluated("f", "on", "STATIC", 4), evaluated("g", "on", "STATIC", 1), tracked("buy", 1, -3))
	if got := b.told(); got != "f: off/TARGETING_MATCH=10 on/STATIC=7; g: on/STATIC=1; unknown=0; buy=3(7)" || window() != 9*time.Minute+30*time.Second {
		t.Errorf("then %s over %v", got, window())
	}
	b.clock.advance(30 * time.Second)
	if got := b.told("f", "f", "h"); got != "f: on/STATIC=4; unknown=0; buy=1(-3)" || window() != 9*time.Minute {
		t.Errorf("when the first minute has passed %s over %v", got, window())
	}
	b.clock.advance(time.Hour + 5*time.Second)
	b.sweep()
	s, _ := b.known(0)
	if got := b.told(); got != "f:; g:; unknown=0" || window() != 9*time.Minute+5*time.Second {
		t.Errorf("long after %s over %v", got, window())
	}
	if age := s.usage[0].GetLastEvaluatedAge().AsDuration(); age != time.Hour+35*time.Second {
		t.Errorf("last evaluated %v ago", age)
	}
	b.inside("default", func(n *namespace) {
		if len(n.usage.flags["f"].outcomes) != 0 {
			t.Error("old counts are kept")
		}
	})
}

// What the server evaluates for others is usage too, with nobody who reports it.
func TestEvaluationsOfTheServerItself(t *testing.T) {
	b := newBench(t)
	b.change("f")
	b.report("p", 1, nil, evaluated("f", "on", "STATIC", 1))
	b.Evaluated("default", []flag.Count{{Key: "f", Variant: "on", Reason: flag.ReasonStatic, N: 2}, {Reason: flag.ReasonError, N: 4}})
	b.Evaluated("nowhere", []flag.Count{{Key: "f", N: 1}})
	if got := b.told(); got != "f: on/STATIC=3; unknown=4" {
		t.Errorf("counted %s", got)
	}
}

func TestWhatNobodyKnowsIsFolded(t *testing.T) {
	b := newBench(t)
	b.change("f")
	b.report("p", 1, nil,
		evaluated("f", "on", "STATIC", 1), evaluated("f", "purple", "STATIC", 2), evaluated("f", "on", "BECAUSE", 4),
		evaluated("nix", "on", "STATIC", 8), evaluated("nux", "", "ERROR", 16), evaluated("f", "off", "STATIC", 0))
	if got := b.told(); got != "f: on/other=4 /STATIC=2 on/STATIC=1; unknown=24" {
		t.Errorf("counted %s", got)
	}
	if _, err := b.store.DeleteFlag(t.Context(), "default", "f", 0, store.Change{}); err != nil {
		t.Fatal(err)
	}
	b.sweep()
	if got := b.told(); got != "unknown=24" {
		t.Errorf("after its deletion %s", got)
	}
	b.inside("default", func(n *namespace) {
		if len(n.usage.flags) != 0 {
			t.Error("the counts of a deleted flag are kept")
		}
	})
	var totals uint64
	for _, e := range b.Stats()[0].Evaluations {
		totals += e.Count
	}
	if totals != 31 {
		t.Errorf("%d in the metrics", totals)
	}
}

func TestHostileReportsDoNotGrowMemory(t *testing.T) {
	b := newBench(t)
	b.change("f")
	long := strings.Repeat("\u0001é<\"", 40)
	for i := range 10_000 {
		name := fmt.Sprint(long, i)
		b.report("p", uint64(i+1), nil,
			evaluated("f", name, name[len(name)-30:], math.MaxUint64), evaluated("f", "on", "STATIC", math.MaxUint64), evaluated(name, name, "STATIC", 1),
			tracked(name, math.MaxUint64, math.MaxFloat64), tracked("nan", 1, math.NaN()), tracked("inf", 1, math.Inf(-1)))
	}
	b.inside("default", func(n *namespace) {
		u := &n.usage
		if len(u.flags) != 1 || len(u.flags["f"].outcomes) > 3*maxReasons || len(u.events) > maxEvents || len(u.totals) > 3 {
			t.Errorf("%d flags with %d outcomes, %d events, %d classes", len(u.flags), len(u.flags["f"].outcomes), len(u.events), len(u.totals))
		}
	})
	s, _ := b.known(0)
	if s.unknown != 10_000 {
		t.Errorf("%d evaluations of unknown flags", s.unknown)
	}
	for _, e := range s.tracked {
		if math.IsNaN(e.GetSum()) || math.IsInf(e.GetSum(), 0) {
			t.Errorf("event %q sums up to %v", e.GetName(), e.GetSum())
		}
	}
	for _, o := range s.usage[0].GetOutcomes() {
		if o.GetCount() != math.MaxUint64 {
			t.Errorf("%s/%s overflowed to %d", o.GetVariant(), o.GetReason(), o.GetCount())
		}
	}
	// Events that are not heard of any more make room.
	b.clock.advance(windowMinutes * time.Minute)
	b.report("p", 20_000, nil, tracked("buy", 1, 1))
	b.clock.advance(time.Minute)
	b.sweep()
	b.report("p", 20_001, nil, tracked("sell", 1, 1))
	b.inside("default", func(n *namespace) {
		if len(n.usage.events) > 2 || n.usage.events["sell"] == nil {
			t.Errorf("%d events are kept", len(n.usage.events))
		}
	})
}

func TestNothingBoundlessOfAProcessIsKept(t *testing.T) {
	b := newBench(t)
	c := &plimsollv1.ClientInfo{InstanceId: "p", Service: strings.Repeat("é", 256), Agent: strings.Repeat("x", 256)}
	c.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 100, protowire.BytesType), make([]byte, 1<<20)))
	b.report("p", 1, nil, func(r *plimsollv1.ReportRequest) { r.Client = c })
	_, m := b.known(0)
	kept := m["p"].client
	if len(kept.ProtoReflect().GetUnknown()) != 0 || len(kept.GetService()) != 256 || len(kept.GetAgent()) != 256 || !strings.HasSuffix(kept.GetService(), "é") {
		t.Errorf("kept %d unknown bytes, service of %d bytes", len(kept.ProtoReflect().GetUnknown()), len(kept.GetService()))
	}
	if got := shortened("x" + strings.Repeat("é", 200)); len(got) != 255 {
		t.Errorf("a name is cut within a letter: %d bytes", len(got))
	}
}

func BenchmarkReport(b *testing.B) {
	bench := newBench(b)
	for i := range 20 {
		bench.change(fmt.Sprint("flag-", i))
	}
	at := bench.position()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		req := request(store.NewServerID(), 0, at, ago(time.Second))
		for i := range 20 {
			evaluated(fmt.Sprint("flag-", i), "on", "STATIC", 3)(req)
		}
		for pb.Next() {
			req.Seq++
			if err := bench.Report("default", req); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
