package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

// contents is all that a namespace holds, without when, by whom and in which
// change it was written, and without the level's bookkeeping.
func contents(t testing.TB, snap *store.Snapshot) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for o := range snap.Objects() {
		kind, _, _ := strings.Cut(o.Name, "/")
		switch kind {
		case "level":
		case "flags":
			f, _, _ := snap.Flag(strings.TrimPrefix(o.Name, "flags/"))
			out[o.Name] = fmt.Sprintf("%s %x %v", f.GetDefinition(), f.GetAppliedHash(), f.GetCreatedAt().AsTime())
		case "segments", "evaluators":
			r := new(plimsollv1.StoredRule)
			if err := proto.Unmarshal(o.Value, r); err != nil {
				t.Fatal(err)
			}
			out[o.Name] = r.GetRule()
		case "plan":
			p, _ := snap.Plan()
			out[o.Name] = fmt.Sprint(p)
		default:
			out[o.Name] = string(o.Value)
		}
	}
	return out
}

func sameContents(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: %s is %q, want %q", what, name, got[name], want[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: there is %s", what, name)
		}
	}
}

// made is the id of a change that was made.
func made(t testing.TB, res store.Result, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if !res.Changed {
		t.Fatal("nothing was changed")
	}
	return res.ChangeID
}

// TestUndo takes back each kind of change, redoes it, and takes it back again.
func TestUndo(t *testing.T) {
	plan := func(tiers []string, dependencies ...string) *plimsollv1.Plan {
		p := new(plimsollv1.Plan)
		for _, name := range tiers {
			p.Tiers = append(p.Tiers, &plimsollv1.Tier{Name: name})
		}
		for _, name := range dependencies {
			p.Dependencies = append(p.Dependencies, &plimsollv1.Dependency{Name: name})
		}
		return p
	}
	tiers := []string{"critical", "important", "standard", "optional"}
	on := "on"
	for _, tc := range []struct {
		name    string
		prepare func(t *testing.T, s *store.Store)
		change  func(t *testing.T, s *store.Store) string
		objects int
		level   string // after the change
	}{
		{name: "kill", objects: 2, change: func(t *testing.T, s *store.Store) string {
			e, err := s.Kill(t.Context(), "default", store.Kill{Keys: []string{"recs", "search"}}, false, by("ann"))
			return made(t, e.Result, err)
		}},
		{name: "kill of what was killed", objects: 1,
			prepare: func(t *testing.T, s *store.Store) { override(t, s, "recs", "full", lasts(time.Hour)) },
			change: func(t *testing.T, s *store.Store) string {
				return override(t, s, "recs", "less", nil).ChangeID
			}},
		{name: "restore", objects: 1,
			prepare: func(t *testing.T, s *store.Store) { override(t, s, "recs", "less", lasts(time.Hour)) },
			change: func(t *testing.T, s *store.Store) string {
				e, err := s.Restore(t.Context(), "default", []string{"recs"}, false, by("ann"))
				return made(t, e.Result, err)
			}},
		{name: "shed", objects: 1, level: "1.5", change: func(t *testing.T, s *store.Store) string {
			e, err := s.Shed(t.Context(), "default", "standard", 500_000, lasts(time.Hour), false, by("ann"))
			return made(t, e.Result, err)
		}},
		{name: "level", objects: 2, level: "0.25",
			prepare: func(t *testing.T, s *store.Store) {
				if _, err := s.Shed(t.Context(), "default", "optional", 1_000_000, nil, false, by("bob")); err != nil {
					t.Fatal(err)
				}
			},
			change: func(t *testing.T, s *store.Store) string {
				e, err := s.SetLevel(t.Context(), "default", level("0.25"), nil, false, by("ann"))
				return made(t, e.Result, err)
			}},
		{name: "apply of 50 flags and their rules", objects: 53,
			prepare: func(t *testing.T, s *store.Store) {
				if _, err := s.Apply(t.Context(), "default", document(t, 20, numbered), store.ApplyOptions{}, by("bob")); err != nil {
					t.Fatal(err)
				}
			},
			change: func(t *testing.T, s *store.Store) string {
				doc := document(t, 50, `{"state":"ENABLED","variants":{"a":%d,"b":-2},"defaultVariant":"a","targeting":{"if":[{"segment":"staff"},"b",null]}}`)
				more := parse(t, `{"flags":{},"segments":{"staff":{"$ref":"e"}},"$evaluators":{"e":{"==":[{"var":"a"},1]}},"metadata":{"n":1}}`)
				doc.Segments, doc.Evaluators, doc.Metadata, doc.HasMetadata = more.Segments, more.Evaluators, more.Metadata, more.HasMetadata
				done, err := s.Apply(t.Context(), "default", doc, store.ApplyOptions{}, by("ann"))
				return made(t, done.Result, err)
			}},
		// In another order, the rule would be gone before those that use it.
		{name: "apply in batches", objects: 231,
			change: func(t *testing.T, s *store.Store) string {
				doc := document(t, 230, `{"state":"ENABLED","variants":{"a":%d,"b":-2},"defaultVariant":"a","targeting":{"if":[{"segment":"staff"},"b",null]}}`)
				doc.Segments = parse(t, `{"flags":{},"segments":{"staff":{"==":[1,1]}}}`).Segments
				done, err := s.Apply(t.Context(), "default", doc, store.ApplyOptions{}, by("ann"))
				if done.Batches != 3 {
					t.Errorf("%d batches", done.Batches)
				}
				return made(t, done.Result, err)
			}},
		{name: "a change of one flag", objects: 1, change: func(t *testing.T, s *store.Store) string {
			res, _, err := s.UpdateFlag(t.Context(), "default", "banner", store.FlagUpdate{DefaultVariant: &on}, by("ann"))
			return made(t, res, err)
		}},
		{name: "a change of its type", objects: 1, change: func(t *testing.T, s *store.Store) string {
			text := `{"state":"ENABLED","variants":{"a":"x"},"defaultVariant":"a"}`
			res, _, err := s.UpdateFlag(t.Context(), "default", "banner", store.FlagUpdate{Definition: &text, Force: true}, by("ann"))
			return made(t, res, err)
		}},
		{name: "a deletion", objects: 1, change: func(t *testing.T, s *store.Store) string {
			res, err := s.DeleteFlag(t.Context(), "default", "banner", 0, by("ann"))
			return made(t, res, err)
		}},
		{name: "plan", objects: 1, change: func(t *testing.T, s *store.Store) string {
			e, err := s.SetPlan(t.Context(), "default", plan(append(tiers, "least"), "db"), 0, false, by("ann"))
			return made(t, e.Result, err)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newClock()
			s := openOn(t, startMember(t, t.TempDir()), c.set)
			shop(t, s)
			if tc.prepare != nil {
				tc.prepare(t, s)
			}
			before := contents(t, snapshot(t, s))
			levelBefore := snapshot(t, s).Set(c.now()).Level()
			c.advance(time.Minute)
			id := tc.change(t, s)
			after := contents(t, snapshot(t, s))
			if tc.level != "" && snapshot(t, s).Set(c.now()).Level() != *level(tc.level) {
				t.Errorf("the level is %s", snapshot(t, s).Set(c.now()).Level())
			}
			c.advance(time.Minute)

			dry, err := s.Undo(t.Context(), "default", id, true, by("bob"))
			if err != nil || dry.Changed || len(dry.Objects) != tc.objects {
				t.Fatalf("dry run: changed %v, %d objects, %v", dry.Changed, len(dry.Objects), err)
			}
			sameContents(t, "after a dry run", contents(t, snapshot(t, s)), after)
			sameContents(t, "as the dry run says", contents(t, dry.After), before)

			u, err := s.Undo(t.Context(), "default", id, false, store.Change{Actor: by("bob").Actor})
			if err != nil || !u.Changed || u.Record.GetChangeId() != id || u.Record.GetActor().GetName() != "ann" || u.Record.GetBatch() > 1 {
				t.Fatalf("undo: %v, %v", u.Record, err)
			}
			sameContents(t, "undone", contents(t, snapshot(t, s)), before)
			if got := snapshot(t, s).Set(c.now()).Level(); got != levelBefore {
				t.Errorf("undone, the level is %s, not %s", got, levelBefore)
			}
			recs, _, err := s.Records(t.Context(), "default", store.RecordQuery{ChangeID: u.ChangeID, Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			for _, rec := range recs {
				if rec.GetVerb() != "undo" || rec.GetUndoesChangeId() != id || rec.GetReason() != "undo of "+id || rec.GetActor().GetName() != "bob" {
					t.Errorf("the undo is recorded as %v", rec)
				}
			}
			for _, o := range u.Objects {
				if key, ok := strings.CutPrefix(o.GetObject(), "flags/"); ok && !o.GetRemoved() {
					f, _, _ := snapshot(t, s).Flag(key)
					if f.GetChangeId() != u.ChangeID || f.GetUpdatedBy().GetName() != "bob" || f.GetVerb() != "undo" || !f.GetUpdatedAt().AsTime().Equal(c.now()) {
						t.Fatalf("%s does not tell who brought it back: %v", key, f)
					}
				}
			}

			redo, err := s.Undo(t.Context(), "default", u.ChangeID, false, by("bob"))
			if err != nil {
				t.Fatal(err)
			}
			sameContents(t, "redone", contents(t, snapshot(t, s)), after)
			if _, err := s.Undo(t.Context(), "default", id, true, by("bob")); err != nil {
				t.Errorf("undoing what was redone: %v", err)
			}
			if _, err := s.Undo(t.Context(), "default", redo.ChangeID, false, by("bob")); err != nil {
				t.Fatal(err)
			}
			sameContents(t, "undone again", contents(t, snapshot(t, s)), before)
			replay(t, s, "default")
		})
	}
}

func TestUndoOfWhatHasMovedSince(t *testing.T) {
	c := newClock()
	s := openOn(t, startMember(t, t.TempDir()), c.set)
	shop(t, s)
	ctx := t.Context()
	kill, err := s.Kill(ctx, "default", store.Kill{Keys: []string{"recs", "search", "checkout"}}, false, by("ann"))
	if err != nil {
		t.Fatal(err)
	}
	override(t, s, "search", "full", nil) // by ann as well
	if _, err := s.Restore(ctx, "default", []string{"recs"}, false, by("bob")); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, s).Revision()
	_, err = s.Undo(ctx, "default", kill.ChangeID, false, by("ann"))
	var conflict *store.ConflictError
	if !errors.As(err, &conflict) || len(conflict.Conflicts) != 2 {
		t.Fatalf("error %v", err)
	}
	gone, moved := conflict.Conflicts[0], conflict.Conflicts[1]
	if gone.GetObject() != "overrides/recs" || gone.GetActor().GetName() != "bob" || gone.GetVerb() != "override.remove" || gone.GetCurrentRevision() != 0 || gone.GetTime() == nil {
		t.Errorf("the first conflict: %v", gone)
	}
	if moved.GetObject() != "overrides/search" || moved.GetActor().GetName() != "ann" || moved.GetVerb() != "override.set" || moved.GetCurrentRevision() == 0 {
		t.Errorf("the second conflict: %v", moved)
	}
	if snapshot(t, s).Revision() != before {
		t.Error("something was written")
	}

	// What was removed must still be absent.
	deleted, err := s.DeleteFlag(ctx, "default", "banner", 0, by("ann"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.CreateFlag(ctx, "default", "banner", boolFlag, by("bob")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Undo(ctx, "default", deleted.ChangeID, false, by("ann")); !errors.As(err, &conflict) || !strings.Contains(err.Error(), "flags/banner was changed by bob (flag.create)") {
		t.Errorf("error %v", err)
	}

	// A change in two parts, with another one between them.
	change := by("ann")
	change.ID = "in-parts"
	on, off := "on", "off"
	for _, part := range []struct {
		to string
		by store.Change
	}{{on, change}, {off, by("bob")}, {on, change}} {
		if _, _, err := s.UpdateFlag(ctx, "default", "banner", store.FlagUpdate{DefaultVariant: &part.to}, part.by); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Undo(ctx, "default", "in-parts", false, by("ann")); !errors.As(err, &conflict) || conflict.Conflicts[0].GetActor().GetName() != "bob" {
		t.Errorf("error %v", err)
	}
	replay(t, s, "default")
}

// TestUndoOfAChangeInParts takes back two requests with one id as one change.
func TestUndoOfAChangeInParts(t *testing.T) {
	s := newStore(t)
	shop(t, s)
	before := contents(t, snapshot(t, s))
	change := by("ann")
	change.ID = "in-parts"
	for _, variant := range []string{"full", "less"} {
		if _, err := s.Kill(t.Context(), "default", store.Kill{Keys: []string{"recs", "search"}, Variant: variant}, false, change); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Undo(t.Context(), "default", "in-parts", false, change); err == nil || !strings.Contains(err.Error(), "cannot take itself back") {
		t.Errorf("error %v", err)
	}
	u, err := s.Undo(t.Context(), "default", "in-parts", false, by("ann"))
	if err != nil || len(u.Objects) != 2 || !u.Objects[0].GetRemoved() {
		t.Fatal(u.Objects, err)
	}
	sameContents(t, "undone", contents(t, snapshot(t, s)), before)
}

func TestUndoDoesNotReviveWhatHasLapsed(t *testing.T) {
	c := newClock()
	s := openOn(t, startMember(t, t.TempDir()), c.set)
	shop(t, s)
	ctx := t.Context()
	override(t, s, "recs", "less", lasts(10*time.Minute))
	override(t, s, "search", "less", lasts(20*time.Minute))
	if _, err := s.Shed(ctx, "default", "optional", 500_000, lasts(10*time.Minute), false, by("ann")); err != nil {
		t.Fatal(err)
	}
	pinned := override(t, s, "recs", "full", nil)
	cleared, err := s.Restore(ctx, "default", nil, false, by("ann"))
	if err != nil {
		t.Fatal(err)
	}
	c.advance(15 * time.Minute)
	u, err := s.Undo(ctx, "default", cleared.ChangeID, false, by("ann"))
	if err != nil || !u.Changed {
		t.Fatal(u.Changed, err)
	}
	want := `overrides/recs removed=false lapsed=false
overrides/search removed=false lapsed=false
holds/shed-optional removed=true lapsed=true`
	for _, o := range u.Objects {
		if line := fmt.Sprintf("%s removed=%v lapsed=%v", o.GetObject(), o.GetRemoved(), o.GetLapsed()); !strings.Contains(want, line) {
			t.Errorf("%s", line)
		}
	}
	if ov, _ := snapshot(t, s).Override("search", c.now()); ov.GetExpiresAt() == nil || ov.GetReason() == "" || !ov.GetExpiresAt().AsTime().Equal(c.now().Add(5*time.Minute)) {
		t.Errorf("the override that is back is %v: it ends when it was to end", ov)
	}
	if snapshot(t, s).Set(c.now()).Level() != 0 {
		t.Error("the hold is back")
	}
	// The one that the pin replaced has lapsed: undoing the pin, which was put back,
	// leaves nothing.
	u, err = s.Undo(ctx, "default", pinned.ChangeID, false, by("ann"))
	if err != nil || !u.Objects[0].GetLapsed() || !u.Objects[0].GetRemoved() {
		t.Fatal(u.Objects, err)
	}
	if _, there := snapshot(t, s).Object("overrides/recs"); there {
		t.Error("the pin is there")
	}
	c.advance(time.Minute)
	again := override(t, s, "search", "full", nil)
	c.advance(5 * time.Minute)
	u, err = s.Undo(ctx, "default", again.ChangeID, false, by("ann"))
	if err != nil || !u.Objects[0].GetLapsed() || !u.Objects[0].GetRemoved() {
		t.Fatal(u.Objects, err)
	}
	if _, there := snapshot(t, s).Object("overrides/search"); there {
		t.Error("the override is there")
	}
	// Nothing is left to do where all has lapsed.
	override(t, s, "search", "less", lasts(time.Minute))
	freed, err := s.Restore(ctx, "default", []string{"search"}, false, by("ann"))
	if err != nil {
		t.Fatal(err)
	}
	c.advance(time.Minute)
	if u, err := s.Undo(ctx, "default", freed.ChangeID, false, by("ann")); err != nil || u.Changed || !u.Objects[0].GetLapsed() {
		t.Errorf("%v, %v, %v", u.Changed, u.Objects, err)
	}
	replay(t, s, "default")
}

// TestUndoRefusesWhatOtherVerbsDo has the state move around what a change
// touched, so that it does not fit any more.
func TestUndoRefusesWhatOtherVerbsDo(t *testing.T) {
	s := newStore(t)
	shop(t, s)
	ctx := t.Context()
	undo := func(id, want string) {
		t.Helper()
		before := snapshot(t, s).Revision()
		if _, err := s.Undo(ctx, "default", id, false, by("bob")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nwant one with %q", err, want)
		}
		if snapshot(t, s).Revision() != before {
			t.Error("something was written")
		}
	}
	created := mustCreate(t, s, "new", dimmable("optional", ""))
	pin := override(t, s, "new", "less", nil)
	undo(created.ChangeID, `flag "new" is overridden to variant "less" by ann and would be gone; restore it first`)
	freed, err := s.Restore(ctx, "default", []string{"new"}, false, by("ann"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteFlag(ctx, "default", "new", 0, by("ann")); err != nil {
		t.Fatal(err)
	}
	undo(freed.ChangeID, `flag "new" is overridden to variant "less" by ann and would be gone`)
	undo(pin.ChangeID, "overrides/new was deleted by ann (override.remove)")

	two, three := `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`, `{"state":"ENABLED","variants":{"on":true,"off":false,"auto":true},"defaultVariant":"off"}`
	wider, _, err := s.UpdateFlag(ctx, "default", "banner", store.FlagUpdate{Definition: &three}, by("ann"))
	if err != nil || two == three {
		t.Fatal(err)
	}
	override(t, s, "banner", "auto", nil)
	undo(wider.ChangeID, `flag "banner" is overridden to variant "auto" by ann, which it would not have`)

	user := `{"flags":{"user":{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on","targeting":{"if":[{"segment":"staff"},"on",null]}}}}`
	rule, err := apply(t, s, `{"flags":{},"segments":{"staff":{"==":[1,1]}},"$evaluators":{"e":{"==":[1,1]}}}`, store.ApplyOptions{}, "ann")
	if err != nil {
		t.Fatal(err)
	}
	used, err := apply(t, s, user, store.ApplyOptions{}, "ann")
	if err != nil {
		t.Fatal(err)
	}
	undo(rule.ChangeID, `segment "staff" would be gone, and is used by user`)
	removed, err := s.DeleteFlag(ctx, "default", "user", 0, by("ann"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Undo(ctx, "default", rule.ChangeID, false, by("bob")); err != nil {
		t.Fatal(err)
	}
	undo(removed.ChangeID, `segment`) // which the flag refers to
	undo(used.ChangeID, "flags/user was deleted by ann")

	plan, _ := snapshot(t, s).Plan()
	gone, err := s.DeleteFlag(ctx, "default", "recs", 0, by("ann")) // the only one of tier optional
	if err != nil {
		t.Fatal(err)
	}
	plan.Tiers = plan.GetTiers()[:3]
	shorter, err := s.SetPlan(ctx, "default", plan, 0, false, by("ann"))
	if err != nil {
		t.Fatal(err)
	}
	undo(gone.ChangeID, `optional`) // the tier that the flag names
	if _, err := s.Shed(ctx, "default", "standard", 1, nil, false, by("ann")); err != nil {
		t.Fatal(err)
	}
	undo(shorter.ChangeID, "the tiers cannot be changed while the level is 0.000001")
	replay(t, s, "default")
}

func TestUndoOfTheNewest(t *testing.T) {
	c := newClock()
	s := openOn(t, startMember(t, t.TempDir()), c.set)
	shop(t, s)
	ctx := t.Context()
	kill := func(key, who string) string {
		t.Helper()
		e, err := s.Kill(ctx, "default", store.Kill{Keys: []string{key}}, false, by(who))
		return made(t, e.Result, err)
	}
	undo := func(want, who string) string {
		t.Helper()
		u, err := s.Undo(ctx, "default", "", false, by(who))
		if err != nil {
			t.Fatal(err)
		}
		if got := u.Record.GetChangeId(); got != want {
			t.Fatalf("undone is %s, want %s", got, want)
		}
		return u.ChangeID
	}
	first, second, other := kill("recs", "ann"), kill("search", "ann"), kill("checkout", "bob")
	if _, err := s.Shed(ctx, "default", "optional", 1, lasts(time.Minute), false, by("eve")); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Minute)
	s.ExpireDue(ctx) // changes of the servers are not ann's
	back := undo(second, "ann")
	undo(first, "ann") // and not the undo before
	undo(other, "bob")
	if len(snapshot(t, s).LiveOverrides(c.now())) != 0 {
		t.Error("something is still killed")
	}
	// Redone, the change is there again.
	if _, err := s.Undo(ctx, "default", back, false, by("eve")); err != nil {
		t.Fatal(err)
	}
	undo(second, "ann")
	if len(snapshot(t, s).LiveOverrides(c.now())) != 0 {
		t.Error("something is still killed")
	}
}

// TestUndoOneAfterTheOther takes back changes of one and the same object, to where
// it stood before the first of them. What somebody else did between stays.
func TestUndoOneAfterTheOther(t *testing.T) {
	s := newStore(t)
	shop(t, s)
	ctx := t.Context()
	shed := func(share uint32, who string) string {
		t.Helper()
		e, err := s.Shed(ctx, "default", "optional", share, nil, false, by(who))
		return made(t, e.Result, err)
	}
	var conflict *store.ConflictError
	undo := func(id, who string, level string, refused bool) string {
		t.Helper()
		u, err := s.Undo(ctx, "default", id, false, by(who))
		if errors.As(err, &conflict) != refused || err != nil && !refused {
			t.Fatalf("undo of %q: %v", id, err)
		}
		if got := snapshot(t, s).Set(time.Now()).Level().String(); got != level {
			t.Fatalf("after the undo of %q the level is %s, want %s", id, got, level)
		}
		return u.ChangeID
	}
	first := shed(100_000, "ann")
	shed(200_000, "ann")
	third := shed(300_000, "ann")
	undo("", "ann", "0.2", false)
	undo("", "ann", "0.1", false)
	undo(third, "ann", "0.1", true) // it is taken back already
	last := undo("", "ann", "0", false)
	undo(last, "ann", "0.1", false)
	undo(first, "ann", "0", false)

	shed(100_000, "ann")
	shed(500_000, "bob")
	shed(200_000, "ann")
	undo("", "ann", "0.5", false)
	undo("", "ann", "0.5", true) // bob's stands
	undo("", "bob", "0.1", false)
	undo("", "ann", "0", false)
	replay(t, s, "default")
}

// TestAnInterruptedUndoIsFinishedByARerun has the disk be full after the first
// of its batches.
func TestAnInterruptedUndoIsFinishedByARerun(t *testing.T) {
	var left atomic.Int64
	left.Store(1000)
	s := openOn(t, startMember(t, t.TempDir()), func(o *store.Options) {
		o.Room = func() error {
			if left.Add(-1) < 0 {
				return store.ErrFull
			}
			return nil
		}
	})
	ctx := t.Context()
	before := contents(t, snapshot(t, s))
	done, err := s.Apply(ctx, "default", document(t, 230, numbered), store.ApplyOptions{}, by("ann"))
	if err != nil {
		t.Fatal(err)
	}
	left.Store(1)
	change := by("bob")
	change.ID = "the-undo"
	if _, err := s.Undo(ctx, "default", done.ChangeID, false, change); !errors.Is(err, store.ErrFull) ||
		!strings.Contains(err.Error(), "change the-undo: 1 of 3 batches were done") || !strings.Contains(err.Error(), "sending it again with this id finishes it") {
		t.Fatalf("error %v", err)
	}
	if n := snapshot(t, s).FlagCount(); n != 130 {
		t.Errorf("%d flags are left", n)
	}
	left.Store(1000)
	var conflict *store.ConflictError
	if _, err := s.Undo(ctx, "default", done.ChangeID, false, by("bob")); !errors.As(err, &conflict) || len(conflict.Conflicts) != 100 {
		t.Errorf("as another change: %v", err)
	}
	other := by("bob")
	other.ID = made(t, mustCreate(t, s, "z", boolFlag), nil)
	if _, err := s.Undo(ctx, "default", done.ChangeID, false, other); err == nil || !strings.Contains(err.Error(), "is no undo of "+done.ChangeID) {
		t.Errorf("with the id of another change: %v", err)
	}
	if _, err := s.DeleteFlag(ctx, "default", "z", 0, by("bob")); err != nil {
		t.Fatal(err)
	}
	u, err := s.Undo(ctx, "default", done.ChangeID, false, change)
	if err != nil || len(u.Objects) != 230 {
		t.Fatalf("%d objects, %v", len(u.Objects), err)
	}
	sameContents(t, "finished", contents(t, snapshot(t, s)), before)
	if again, err := s.Undo(ctx, "default", done.ChangeID, false, change); err != nil || again.Changed {
		t.Errorf("once more: %v, %v", again.Changed, err)
	}
	// Its two parts are one change, which is taken back as such.
	if _, err := s.Undo(ctx, "default", "the-undo", false, by("ann")); err != nil {
		t.Fatal(err)
	}
	if n := snapshot(t, s).FlagCount(); n != 230 {
		t.Errorf("%d flags are back", n)
	}
	replay(t, s, "default")
}
