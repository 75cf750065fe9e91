package fleet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func asError(err error, to **connect.Error) bool { return errors.As(err, to) }

func TestRevisionsAreRememberedByTheirArrival(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(revision int64) time.Time { return start.Add(time.Duration(revision) * time.Second) }
	pos := func(revision int64) position { return position{"s", 1, revision, 0} }
	var a arrivals
	for _, revision := range []int64{100, 102, 102, 105} {
		a.note(pos(revision), at(revision))
	}
	for _, tc := range []struct {
		name  string
		find  func(position) (time.Time, bool)
		p     position
		want  time.Time
		known bool
	}{
		{"listed at the start", a.of, pos(100), time.Time{}, false},
		{"before the start", a.of, pos(7), time.Time{}, false},
		{"seen", a.of, pos(102), at(102), true},
		{"came with a later one", a.of, pos(104), at(105), true},
		{"the newest", a.of, pos(105), at(105), true},
		{"has not come", a.of, pos(106), time.Time{}, false},
		{"another store's", a.of, position{"z", 1, 102, 0}, time.Time{}, false},
		{"another epoch's", a.of, position{"s", 2, 102, 0}, time.Time{}, false},
		{"what the first one lacks", a.after, pos(100), at(102), true},
		{"what an older one lacks", a.after, pos(99), time.Time{}, false},
		{"what lacks the newest", a.after, pos(102), at(105), true},
		{"what lacks nothing", a.after, pos(105), time.Time{}, false},
	} {
		if got, known := tc.find(tc.p); known != tc.known || !got.Equal(tc.want) {
			t.Errorf("%s: %v, %v; want %v, %v", tc.name, got, known, tc.want, tc.known)
		}
	}
	for revision := int64(106); revision < 106+5*keptArrivals; revision++ {
		a.note(pos(revision), at(revision))
	}
	last := int64(105 + 5*keptArrivals)
	if _, known := a.of(pos(last - keptArrivals + 1)); !known || len(a.seen) >= 2*keptArrivals {
		t.Errorf("%d are kept, known %v", len(a.seen), known)
	}
	if _, known := a.of(pos(200)); known {
		t.Error("all are kept")
	}
	a.note(pos(50), at(last+1)) // the store was wound back
	if _, known := a.of(pos(last)); known {
		t.Error("what was wound back is known")
	}
	a.note(pos(51), at(last+2))
	if got, known := a.of(pos(51)); !known || !got.Equal(at(last+2)) {
		t.Errorf("after it was wound back: %v, %v", got, known)
	}
}

func TestSharesAreMergedByProcess(t *testing.T) {
	target := position{"s", 1, 10, 0}
	on := func(server string, p position, reported time.Duration) member {
		return member{
			client: &plimsollv1.ClientInfo{InstanceId: "p"}, server: server, applied: p, reportedAge: reported,
			laggingFor: time.Second, appliedAfter: time.Second,
		}
	}
	for _, tc := range []struct {
		name    string
		a, b    member
		want    string
		lagging bool
	}{
		{"the higher position wins", on("a", position{"s", 1, 9, 0}, 1), on("b", position{"s", 1, 10, 0}, 9), "b", false},
		{"the higher epoch wins", on("a", position{"s", 2, 1, 0}, 9), on("b", position{"s", 1, 99, 0}, 1), "a", false},
		{"at one position, who reported last", on("a", position{"s", 1, 9, 0}, 9), on("b", position{"s", 1, 9, 0}, 1), "b", true},
		{"of two stores, who reported last", on("a", position{"z", 1, 99, 0}, 9), on("b", position{"s", 1, 9, 0}, 1), "b", true},
		{"another store does not reach the target", on("a", position{"z", 1, 99, 0}, 1), on("b", position{"s", 1, 10, 0}, 9), "a", true},
		{"something wins over nothing only if it is younger", on("a", position{}, 9), on("b", position{"s", 1, 10, 0}, 1), "b", false},
	} {
		for range 2 {
			got := merged([]*share{{position: position{"s", 2, 1, 0}, server: tc.a.server, members: []member{tc.a}}, {server: tc.b.server, members: []member{tc.b}}}, target)
			if len(got) != 1 || got[0].server != tc.want || got[0].lagging != tc.lagging {
				t.Errorf("%s: %+v", tc.name, got)
			}
			if got[0].lagging == (got[0].laggingFor < 0) || got[0].lagging != (got[0].appliedAfter < 0) {
				t.Errorf("%s: lagging for %v, applied after %v", tc.name, got[0].laggingFor, got[0].appliedAfter)
			}
			tc.a, tc.b = tc.b, tc.a
		}
	}
}

func TestUnknownAreThoseNotSeenElsewhereSince(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	known := func(id string, age time.Duration) member {
		return member{client: &plimsollv1.ClientInfo{InstanceId: id}, reportedAge: age}
	}
	shares := []*share{{members: []member{known("moved", 2*time.Second), known("came from here", 9*time.Second)}, refused: 4}}
	last := contact{now.Add(-4 * time.Second), map[string]time.Time{
		"moved": now.Add(-5 * time.Second), "came from here": now.Add(-5 * time.Second), "gone": now.Add(-5 * time.Second),
	}}
	for _, tc := range []struct {
		name string
		a    answer
		want uint32
	}{
		{"one that answers", answer{share: new(share)}, 4},
		{"one that was never asked", answer{}, 4},
		{"one that was lost", answer{last: last}, 4 + 2},
		{"one that was lost long after it was asked", answer{last: last, stale: true}, 4 + 3},
	} {
		if got := unknown(shares, []answer{tc.a}, now); got != tc.want {
			t.Errorf("%s: %d unknown, want %d", tc.name, got, tc.want)
		}
	}
}

func TestUsageOfServersIsSummedUp(t *testing.T) {
	count := func(variant string, n uint64) *plimsollv1.OutcomeCount {
		return &plimsollv1.OutcomeCount{Variant: variant, Reason: "STATIC", Count: n}
	}
	flag := func(key string, age time.Duration, counts ...*plimsollv1.OutcomeCount) *plimsollv1.FlagUsage {
		return &plimsollv1.FlagUsage{FlagKey: key, Outcomes: counts, LastEvaluatedAge: known(age)}
	}
	v := &view{shares: []*share{
		{window: time.Minute, unknown: 1, usage: []*plimsollv1.FlagUsage{flag("b", time.Second), flag("a", 9*time.Second, count("on", 1), count("off", 5))},
			tracked: []*plimsollv1.TrackedEvent{{Name: "y", Count: 1, Sum: 1}, {Name: "x", Count: 1, Sum: 1}}},
		{window: time.Hour, unknown: 2, usage: []*plimsollv1.FlagUsage{flag("a", 3*time.Second, count("on", 10)), flag("c", time.Second)},
			tracked: []*plimsollv1.TrackedEvent{{Name: "x", Count: 2, Sum: 0.5}}},
	}}
	got := v.usage([]string{"a", "c"})
	if len(got.GetFlags()) != 2 || got.GetFlags()[1].GetFlagKey() != "c" || got.GetUnknownFlags() != 3 || got.GetWindow().AsDuration() != time.Hour {
		t.Errorf("%v", got)
	}
	a := got.GetFlags()[0]
	if text := fmt.Sprint(a.GetOutcomes()[0].GetVariant(), a.GetOutcomes()[0].GetCount(), a.GetOutcomes()[1].GetCount(), a.GetLastEvaluatedAge().AsDuration()); text != "on11 5 3s" {
		t.Errorf("a: %s", text)
	}
	if x := got.GetTracked()[0]; x.GetName() != "x" || x.GetCount() != 3 || x.GetSum() != 1.5 || len(got.GetTracked()) != 2 {
		t.Errorf("tracked %v", got.GetTracked())
	}
}

func TestPercentilesAreOfTheNearestRank(t *testing.T) {
	for _, tc := range []struct{ n, p50, p99, slowest int }{{1, 1, 1, 1}, {2, 1, 2, 2}, {3, 2, 3, 3}, {100, 50, 99, 100}, {101, 51, 100, 101}, {1000, 500, 990, 1000}} {
		var sorted []time.Duration
		for i := range tc.n {
			sorted = append(sorted, time.Duration(i+1))
		}
		got := []time.Duration{percentile(sorted, 50).AsDuration(), percentile(sorted, 99).AsDuration(), percentile(sorted, 100).AsDuration()}
		if want := []time.Duration{time.Duration(tc.p50), time.Duration(tc.p99), time.Duration(tc.slowest)}; !slices.Equal(got, want) {
			t.Errorf("of %d: %v, want %v", tc.n, got, want)
		}
	}
	if percentile(nil, 50) != nil {
		t.Error("there is a percentile of nothing")
	}
}

func TestTheLongestLagComesFirst(t *testing.T) {
	var laggards []member
	for id, lag := range map[string]time.Duration{"a": 1, "b": 5, "c": -1, "d": 5, "e": 0} {
		laggards = append(laggards, member{client: &plimsollv1.ClientInfo{InstanceId: id}, laggingFor: lag})
	}
	slices.SortFunc(laggards, byLag)
	var got strings.Builder
	for _, m := range laggards {
		got.WriteString(m.client.GetInstanceId())
	}
	if got.String() != "cbdae" { // how long c lags is too long to be known
		t.Errorf("order %s", got.String())
	}
}

func TestPageTokens(t *testing.T) {
	for _, name := range []string{"", "shop", strings.Repeat("\x00é", 85), "a/b\n"} {
		m := member{client: &plimsollv1.ClientInfo{Service: name, InstanceId: strings.Repeat("é", 64)}}
		token := pageToken(m)
		if len(token) > 1024 {
			t.Errorf("%q: a token of %d bytes", name, len(token))
		}
		if got, err := readPageToken(token); err != nil || byName(*got, m) != 0 {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
	for _, token := range []string{"!", "_____________", "AA=="} {
		if _, err := readPageToken(token); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%q: %v", token, err)
		}
	}
}
