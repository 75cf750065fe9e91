package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

// clock is set by hand.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.nanos.Store(time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }
func (c *clock) set(o *store.Options)    { o.Now = c.now }

// dimmable is a flag of a tier; degraded, it serves "less".
func dimmable(tier, more string) string {
	return `{"state":"ENABLED","variants":{"full":"all","less":"some"},"defaultVariant":"full","degradation":{"tier":"` + tier + `","degradedVariant":"less"}` + more + `}`
}

// shop has a flag of each kind.
func shop(t testing.TB, s *store.Store) {
	t.Helper()
	for key, definition := range map[string]string{
		"checkout": dimmable("critical", ""),
		"search":   dimmable("standard", `,"plimsoll":{"labels":{"team":"find","page":"all"}}`),
		"recs":     dimmable("optional", `,"plimsoll":{"labels":{"team":"find"}}`),
		"banner":   boolFlag,
	} {
		mustCreate(t, s, key, definition)
	}
}

// storedLevel is the object level.
func storedLevel(t testing.TB, snap *store.Snapshot) *plimsollv1.StoredLevel {
	t.Helper()
	o, ok := snap.Object("level")
	level := new(plimsollv1.StoredLevel)
	if err := proto.Unmarshal(o.Value, level); !ok || err != nil {
		t.Fatalf("the object level: %v, %v", ok, err)
	}
	return level
}

func level(text string) *degrade.Level {
	l, err := degrade.ParseLevel(text)
	if err != nil {
		panic(err)
	}
	return &l
}

func TestRefusalsOfDegradation(t *testing.T) {
	s := newStore(t)
	shop(t, s)
	ctx := t.Context()
	for i := range 101 {
		mustCreate(t, s, fmt.Sprintf("many-%03d", i), strings.Replace(boolFlag, "{", `{"plimsoll":{"labels":{"many":"yes"}},`, 1))
	}
	kill := func(k store.Kill) func() error {
		return func() error { _, err := s.Kill(ctx, "default", k, false, by("ann")); return err }
	}
	shed := func(tier string, share uint32, lasts *time.Duration) func() error {
		return func() error { _, err := s.Shed(ctx, "default", tier, share, lasts, false, by("ann")); return err }
	}
	set := func(l *degrade.Level, lasts *time.Duration) func() error {
		return func() error { _, err := s.SetLevel(ctx, "default", l, lasts, false, by("ann")); return err }
	}
	undo := func(id, who string) func() error {
		return func() error { _, err := s.Undo(ctx, "default", id, false, by(who)); return err }
	}
	created := ""
	for rec := range allRecords(t, s, "default") {
		if rec.GetVerb() == "namespace.create" {
			created = rec.GetChangeId()
		}
	}
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("many-%03d", i)
	}
	const invalid, notFound, now = "invalid", "not found", "now"
	before := snapshot(t, s).Revision()
	for _, tc := range []struct {
		name string
		do   func() error
		kind string
		want string
	}{
		{"a flag that does not exist", kill(store.Kill{Keys: []string{"recs", "serch"}}), notFound, `did you mean "search"`},
		{"a variant that does not exist", kill(store.Kill{Keys: []string{"recs"}, Variant: "lesss"}), notFound, `did you mean "less"`},
		{"no degradation block", kill(store.Kill{Keys: []string{"banner"}}), now, `flag "banner" has no degradation block, so it has no degraded variant: name the variant`},
		{"several without", kill(store.Kill{Keys: []string{"banner", "many-000", "recs", "banner"}}), now, `flags "banner", "many-000" have no degradation block`},
		{"nothing named", kill(store.Kill{}), invalid, "name flags, or labels"},
		{"flags and labels", kill(store.Kill{Keys: []string{"recs"}, Labels: map[string]string{"team": "find"}}), invalid, "not both"},
		{"labels that nothing has", kill(store.Kill{Labels: map[string]string{"team": "find", "page": "one"}}), now, "no flag has the label page=one, team=find"},
		{"too many by name", kill(store.Kill{Keys: many, Variant: "off"}), invalid, "101 flags are named; one change kills at most 100"},
		{"too many by label", kill(store.Kill{Labels: map[string]string{"many": "yes"}, Variant: "off"}), now, "101 flags have the label many=yes"},
		{"no time", kill(store.Kill{Keys: []string{"recs"}, Lasts: lasts(0)}), invalid, "an expiry in the past"},
		{"a negative time", kill(store.Kill{Keys: []string{"recs"}, Lasts: lasts(-time.Minute)}), invalid, "an expiry in the past"},
		{"more than a year", kill(store.Kill{Keys: []string{"recs"}, Lasts: lasts(365*24*time.Hour + 1)}), invalid, "longer than a year"},
		{"restoring what does not exist", func() error {
			_, err := s.Restore(ctx, "default", []string{"rec"}, false, by("ann"))
			return err
		}, notFound, `did you mean "recs"`},
		{"shedding a tier that does not exist", shed("optinal", 1_000_000, nil), notFound, `there is no tier "optinal"; did you mean "optional"`},
		{"shedding the most important tier", shed("critical", 1_000_000, nil), invalid, "never shed"},
		{"or none of it", shed("critical", 0, nil), invalid, "never shed"},
		{"more than all", shed("optional", 1_000_001, nil), invalid, "more than the whole tier"},
		{"shedding for no time", shed("optional", 1, lasts(0)), invalid, "an expiry in the past"},
		{"an end of what is removed", shed("optional", 0, lasts(time.Hour)), invalid, "leave the duration out"},
		{"too deep a level", set(level("3.000001"), nil), invalid, "3 sheds everything"},
		{"a level for too long", set(level("1"), lasts(9000*time.Hour)), invalid, "longer than a year"},
		{"an end of automatic", set(nil, lasts(time.Hour)), invalid, "leave the duration out"},
		{"undoing what nobody did", undo("nope", "ann"), notFound, `with the id "nope"`},
		{"undoing the namespace", undo(created, "ann"), invalid, "delete the namespace instead"},
		{"undoing with no change of one's own", undo("", "bob"), now, `no change of "bob"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.do()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v\nwant one with %q", err, tc.want)
			}
			kind := "another"
			var missing *store.NotFoundError
			var refused *store.RefusedError
			switch {
			case errors.As(err, &missing):
				kind = notFound
			case errors.As(err, &refused) && refused.Now:
				kind = now
			case errors.As(err, &refused):
				kind = invalid
			}
			if kind != tc.kind {
				t.Errorf("error %q is of the kind %q, want %q", err, kind, tc.kind)
			}
		})
	}
	if after := snapshot(t, s).Revision(); after != before {
		t.Errorf("a refusal wrote something: revision %d became %d", before, after)
	}
}

func TestKillAndRestore(t *testing.T) {
	c := newClock()
	s := openOn(t, startMember(t, t.TempDir()), c.set)
	shop(t, s)
	ctx := t.Context()
	serves := func(key, want string) {
		t.Helper()
		if got := snapshot(t, s).Set(c.now()).String(key, "", nil); got.Variant != want {
			t.Errorf("%s serves %q, want %q", key, got.Variant, want)
		}
	}
	labelled := store.Kill{Labels: map[string]string{"team": "find"}, Lasts: lasts(time.Hour)}
	dry, err := s.Kill(ctx, "default", labelled, true, by("ann"))
	if err != nil || dry.Changed || fmt.Sprint(dry.Flags()) != "[recs search]" {
		t.Fatalf("dry run: %v, %v, %v", dry.Changed, dry.Flags(), err)
	}
	if _, ok := dry.After.Override("recs", c.now()); !ok {
		t.Error("the dry run does not show what would be")
	}
	serves("recs", "full")
	e, err := s.Kill(ctx, "default", labelled, false, by("ann"))
	if err != nil || !e.Changed {
		t.Fatal(e.Changed, err)
	}
	serves("recs", "less")
	serves("search", "less")
	serves("checkout", "full")
	recs, _, err := s.Records(ctx, "default", store.RecordQuery{ChangeID: e.ChangeID, Limit: 10})
	if err != nil || len(recs) != 1 || len(recs[0].GetObjects()) != 2 {
		t.Fatalf("the kill is recorded as %v, %v", recs, err)
	}
	store.DescribeRecord(recs[0])
	if text := recs[0].GetObjects()[0].GetAfterJson(); !strings.Contains(text, `"variant":"less"`) || !strings.Contains(text, `"expiresAt":"2030-01-01T13:00:00Z"`) {
		t.Errorf("the override is described as %s", text)
	}
	// The same again moves the end.
	c.advance(time.Minute)
	again, err := s.Kill(ctx, "default", labelled, false, by("bob"))
	if err != nil || !again.Changed {
		t.Fatalf("again: %v, %v", again.Changed, err)
	}
	ov, _ := snapshot(t, s).Override("recs", c.now())
	if !ov.GetExpiresAt().AsTime().Equal(c.now().Add(time.Hour)) || ov.GetActor().GetName() != "bob" {
		t.Errorf("the override is %v", ov)
	}
	if e, err := s.Restore(ctx, "default", []string{"recs", "recs", "checkout"}, false, by("bob")); err != nil || fmt.Sprint(e.Flags()) != "[recs]" {
		t.Fatalf("restore: %v, %v", e.Flags(), err)
	}
	serves("recs", "full")
	serves("search", "less")
	if e, err := s.Restore(ctx, "default", []string{"recs"}, false, by("bob")); err != nil || e.Changed {
		t.Errorf("restoring what is not killed: %v, %v", e.Changed, err)
	}
	// A kill of anything, even of what is disabled or has no degraded variant.
	if _, err := s.Kill(ctx, "default", store.Kill{Keys: []string{"banner"}, Variant: "on"}, false, by("ann")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Shed(ctx, "default", "optional", 500_000, nil, false, by("ann")); err != nil {
		t.Fatal(err)
	}
	e, err = s.Restore(ctx, "default", nil, false, by("eve"))
	if err != nil || !e.Changed {
		t.Fatal(e.Changed, err)
	}
	snap := snapshot(t, s)
	if len(snap.LiveOverrides(c.now())) != 0 || len(snap.LiveHolds(c.now())) != 0 || snap.Set(c.now()).Level() != 0 {
		t.Errorf("after restoring everything: %v, %v", snap.LiveOverrides(c.now()), snap.LiveHolds(c.now()))
	}
	if e, err := s.Restore(ctx, "default", nil, false, by("eve")); err != nil || e.Changed {
		t.Errorf("restoring nothing: %v, %v", e.Changed, err)
	}
	replay(t, s, "default")
}

// TestRestoreInBatches restores more than fits into one transaction.
func TestRestoreInBatches(t *testing.T) {
	s := newStore(t)
	const n = 130
	if _, err := s.Apply(t.Context(), "default", document(t, n, numbered), store.ApplyOptions{}, by("ann")); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for key := range snapshot(t, s).Flags("", "") {
		keys = append(keys, key)
	}
	for _, part := range [][]string{keys[:100], keys[100:]} {
		if _, err := s.Kill(t.Context(), "default", store.Kill{Keys: part, Variant: "b"}, false, by("ann")); err != nil {
			t.Fatal(err)
		}
	}
	e, err := s.Restore(t.Context(), "default", nil, false, by("ann"))
	if err != nil || !e.Changed || len(e.Flags()) != n || len(e.Before.LiveOverrides(e.At)) != n || len(e.After.LiveOverrides(e.At)) != 0 {
		t.Fatalf("restore: %d flags, %v", len(e.Flags()), err)
	}
	if left := snapshot(t, s).LiveOverrides(e.At); len(left) != 0 || e.Position.GetRevision() != snapshot(t, s).Revision() {
		t.Errorf("%d overrides are left", len(left))
	}
	recs, _, err := s.Records(t.Context(), "default", store.RecordQuery{ChangeID: e.ChangeID, Limit: 10})
	if err != nil || len(recs) != 2 || recs[0].GetBatch() != 2 || recs[0].GetBatches() != 2 {
		t.Fatalf("records: %v, %v", recs, err)
	}
	u, err := s.Undo(t.Context(), "default", e.ChangeID, false, by("ann"))
	if err != nil || len(u.Objects) != n {
		t.Fatalf("undo: %d objects, %v", len(u.Objects), err)
	}
	if back := snapshot(t, s).LiveOverrides(e.At); len(back) != n {
		t.Errorf("%d overrides are back", len(back))
	}
	replay(t, s, "default")
}

// TestTwoOperators has two operators shed different tiers at once: the deeper
// floor counts, whichever of them ends first.
func TestTwoOperators(t *testing.T) {
	c := newClock()
	member := startMember(t, t.TempDir())
	a, b := openOn(t, member, c.set), openOn(t, member, c.set)
	shop(t, a)
	ctx := t.Context()
	is := func(want string) {
		t.Helper()
		for _, s := range []*store.Store{a, b} {
			eventually(t, s, "the level is "+want, func() bool { return snapshot(t, s).Set(c.now()).Level() == *level(want) })
		}
	}
	shed := func(s *store.Store, who, tier string, share uint32, lasts *time.Duration) {
		t.Helper()
		if _, err := s.Shed(ctx, "default", tier, share, lasts, false, by(who)); err != nil {
			t.Fatal(err)
		}
	}
	shed(a, "ann", "optional", 400_000, nil)
	is("0.4")
	shed(b, "bob", "important", 250_000, lasts(10*time.Minute))
	is("2.25")
	shed(a, "ann", "standard", 500_000, lasts(20*time.Minute))
	is("2.25")
	c.advance(10*time.Minute - 1)
	is("2.25")
	c.advance(1)
	is("1.5") // at its time, recorded or not
	a.ExpireDue(ctx)
	is("1.5")
	shed(b, "bob", "standard", 0, nil) // anybody may lift it
	is("0.4")
	if e, err := b.Shed(ctx, "default", "standard", 0, nil, false, by("bob")); err != nil || e.Changed {
		t.Errorf("lifting what is lifted: %v, %v", e.Changed, err)
	}
	// A pin is floor and ceiling, and the only hold; a deeper floor still counts.
	if e, err := a.SetLevel(ctx, "default", level("0.1"), lasts(time.Hour), false, by("ann")); err != nil || len(e.After.LiveHolds(c.now())) != 1 {
		t.Fatal(err)
	}
	is("0.1")
	shed(b, "bob", "optional", 1_000_000, nil)
	is("1")
	c.advance(time.Hour)
	b.ExpireDue(ctx)
	is("1")
	if set := snapshot(t, b).Set(c.now()); set.LevelState().Pinned(c.now()) {
		t.Error("the pin is still there")
	}
	if e, err := b.SetLevel(ctx, "default", nil, nil, false, by("bob")); err != nil || !e.Changed {
		t.Fatal(err)
	}
	is("0")
	if e, err := b.SetLevel(ctx, "default", nil, nil, false, by("bob")); err != nil || e.Changed {
		t.Errorf("automatic again: %v, %v", e.Changed, err)
	}
	replay(t, a, "default")
}

// TestTheSeed follows the object level over incidents: nobody is shed by a seed
// that somebody was shed by before, once the level was at 0 for ten minutes.
func TestTheSeed(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	s := openOn(t, startMember(t, dir), c.set)
	shop(t, s)
	ctx := t.Context()
	first := storedLevel(t, snapshot(t, s))
	if first.GetSeed() == "" || !first.GetSeedFresh() || first.GetZeroSince() == nil {
		t.Fatalf("a new namespace: %v", first)
	}
	is := func(what, seed string, fresh bool, zero *time.Time) string {
		t.Helper()
		s.ExpireDue(ctx)
		got := storedLevel(t, snapshot(t, s))
		if (seed != "" && got.GetSeed() != seed) || got.GetSeedFresh() != fresh || (got.GetZeroSince() == nil) != (zero == nil) {
			t.Errorf("%s: %v", what, got)
		}
		if zero != nil && !got.GetZeroSince().AsTime().Equal(*zero) {
			t.Errorf("%s: at 0 since %v, want %v", what, got.GetZeroSince().AsTime(), *zero)
		}
		return got.GetSeed()
	}
	shed := func(share uint32, lasts *time.Duration) {
		t.Helper()
		if _, err := s.Shed(ctx, "default", "optional", share, lasts, false, by("ann")); err != nil {
			t.Fatal(err)
		}
	}
	seed := first.GetSeed()
	began := first.GetZeroSince().AsTime()
	c.advance(time.Hour)
	is("unused, it needs no other", seed, true, &began)
	shed(500_000, lasts(5*time.Minute))
	is("while something is shed", seed, false, nil)
	c.advance(5 * time.Minute)
	ended := c.now()
	is("lapsed", seed, false, &ended)
	c.advance(10*time.Minute - 1)
	is("a moment before", seed, false, &ended)
	shed(100_000, nil)
	is("shed again before", seed, false, nil)
	shed(0, nil)
	ended = c.now()
	is("lifted", seed, false, &ended)
	if _, err := s.SetLevel(ctx, "default", level("0"), nil, false, by("ann")); err != nil {
		t.Fatal(err)
	}
	is("a pin at 0 moves nothing", seed, false, &ended)
	c.advance(10 * time.Minute)
	drawn := is("ten minutes after", "", true, &ended)
	if drawn == seed {
		t.Error("the seed is the same")
	}
	c.advance(time.Hour)
	is("drawn once", drawn, true, &ended)
	recs, _, err := s.Records(ctx, "default", store.RecordQuery{Object: "level", Limit: 1})
	if err != nil || recs[0].GetVerb() != "seed.draw" || recs[0].GetActor().GetName() != "system" || len(recs[0].GetObjects()) != 1 {
		t.Errorf("the draw is recorded as %v, %v", recs, err)
	}
	if _, err := s.Undo(ctx, "default", recs[0].GetChangeId(), false, by("ann")); err == nil || !strings.Contains(err.Error(), "made by the servers themselves") {
		t.Errorf("undoing it: %v", err)
	}
	replay(t, s, "default")
}

// TestDueByTheTimer has the loop itself draw the seed and expire, in a server
// that starts after both were due.
func TestDueByTheTimer(t *testing.T) {
	c := newClock()
	member := startMember(t, t.TempDir())
	s := openOn(t, member, c.set)
	shop(t, s)
	if _, err := s.Shed(t.Context(), "default", "optional", 1, lasts(time.Minute), false, by("ann")); err != nil {
		t.Fatal(err)
	}
	seed := storedLevel(t, snapshot(t, s)).GetSeed()
	s.Close()
	c.advance(time.Hour)
	s = openOn(t, member, c.set)
	eventually(t, s, "the hold has expired", func() bool { return storedLevel(t, snapshot(t, s)).GetZeroSince() != nil })
	s.Close()
	c.advance(time.Hour)
	s = openOn(t, member, c.set)
	eventually(t, s, "a seed is drawn", func() bool { return storedLevel(t, snapshot(t, s)).GetSeed() != seed })
}

func TestKillsOfSeveralServersAreAllThere(t *testing.T) {
	member := startMember(t, t.TempDir())
	servers := []*store.Store{openOn(t, member), openOn(t, member)}
	shop(t, servers[0])
	eventually(t, servers[1], "the flags are there", func() bool { return snapshot(t, servers[1]).FlagCount() == 4 })
	keys := [][]string{{"recs", "checkout"}, {"search"}}
	errs := make(chan error, len(servers))
	for i, s := range servers {
		go func() {
			_, err := s.Kill(context.WithoutCancel(t.Context()), "default", store.Kill{Keys: keys[i]}, false, by("ann"))
			errs <- err
		}()
	}
	for range servers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	eventually(t, servers[0], "all are killed", func() bool { return len(snapshot(t, servers[0]).LiveOverrides(time.Now())) == 3 })
	replay(t, servers[0], "default")
}
