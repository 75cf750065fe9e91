package follow_test

import (
	"errors"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/fakeserver"
)

func TestFirstSetIsASnapshot(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f1": on, "f2": on, "f3": on, "f4": on, "f5": on})
		w.follow(s)
		w.wantLive(true)
		w.wantStore("store-1")
		if n, r := w.now().Set.Len(), w.now().Set.Revision(); n != 5 || r != 2 {
			t.Errorf("%d flags at revision %d, want 5 at 2", n, r)
		}
		if n := len(w.taken()); n != 1 {
			t.Errorf("the observer was told %d times, want once: chunks are not a state", n)
		}
		if since := s.Asked()[0].Since; since != nil {
			t.Errorf("asked for what comes after %v, want everything", since)
		}
	})
}

func TestHalfASnapshotIsNoState(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": on})
		w.follow(s)
		position := &plimsollv1.Position{StoreId: "store-1", Epoch: 1, Revision: 3}
		s.Send(chunk(position, 0, false, "f", off))
		w.wantServed("f", true)
		s.Send(chunk(position, 1, true, "g", on))
		w.wantServed("f", false)
		w.wantServed("g", true)
	})
}

func TestChangesAreApplied(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": off, "gone": on})
		w.follow(s)
		w.wantServed("f", false)

		s.Put(map[string]string{"f": on})
		w.wantServed("f", true)

		s.Change(&plimsollv1.StateChange{RemovedFlags: []string{"gone"}})
		if _, ok := w.now().Set.Lookup("gone"); ok {
			t.Error("a removed flag is still there")
		}
		s.Change(&plimsollv1.StateChange{Overrides: []*plimsollv1.OverrideState{{FlagKey: "f", Variant: "off"}}})
		w.wantServed("f", false)
		s.Change(&plimsollv1.StateChange{RemovedOverrides: []string{"f"}})
		w.wantServed("f", true)

		s.Change(&plimsollv1.StateChange{
			Segments: []*plimsollv1.RuleDefinition{{Name: "everybody", Rule: `{"==":[1,1]}`}},
			Evaluators: []*plimsollv1.RuleDefinition{
				{Name: "off-for-everybody", Rule: `{"if":[{"segment":"everybody"},"off","on"]}`},
			},
			Flags: []*plimsollv1.FlagDefinition{{Key: "f", Definition: `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","targeting":{"$ref":"off-for-everybody"}}`}},
		})
		w.wantServed("f", false)
	})
}

func TestLevelIsToldAsSuch(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"recommendations": optional})
		w.follow(s)
		w.taken()
		s.SetLevel(&plimsollv1.LevelState{AutoMillionths: 1_000_000, Seed: "5eed"})
		w.wantServed("recommendations", false)
		if c := w.taken(); len(c) != 1 || !c[0].LevelOnly {
			t.Errorf("told %+v, want one change of the level alone", c)
		}
	})
}

func TestReconnectGoesOnWhereItWas(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": off})
		w.follow(s)
		w.after(6 * time.Second)
		w.taken()

		s.End(nil)
		w.after(time.Second)
		w.wantLive(true)
		if c := w.taken(); len(c) != 0 {
			t.Errorf("a stream that was replaced at once was told: %+v", c)
		}
		if since := s.Asked()[1].Since; since.GetStoreId() != "store-1" || since.GetRevision() != 2 || since.GetEpoch() != 1 {
			t.Errorf("asked for what comes after %v, want store-1 1/2", since)
		}

		s.Stop()
		w.after(time.Second)
		w.wantLive(false)
		s.Put(map[string]string{"f": on})
		s.Start()
		w.after(10 * time.Second)
		w.wantLive(true)
		w.wantServed("f", true)
	})
}

func TestServerDeadFromTheStart(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": on})
		s.Stop()
		w.follow(s)
		w.after(time.Minute)
		w.wantLive(false)
		failed := 0
		for _, c := range w.taken() {
			if !c.Failed || c.New.Set != nil {
				t.Fatalf("told %+v, want failed attempts only", c)
			}
			failed++
		}
		if failed < 8 {
			t.Errorf("%d failed attempts were told within a minute, want each of at least 8", failed)
		}
		s.Start()
		w.after(10 * time.Second)
		w.wantLive(true)
		w.wantServed("f", true)
	})
}

func TestNeverBackInTime(t *testing.T) {
	for _, test := range []struct {
		name string
		send func(*fakeserver.Server)
	}{
		{"older snapshot", func(s *fakeserver.Server) {
			s.Send(chunk(&plimsollv1.Position{StoreId: "store-1", Epoch: 1, Revision: 1}, 0, true, "f", off))
		}},
		{"older epoch", func(s *fakeserver.Server) {
			s.Send(chunk(&plimsollv1.Position{StoreId: "store-1", Epoch: 0, Revision: 99}, 0, true, "f", off))
		}},
		{"older delta", func(s *fakeserver.Server) {
			s.Send(delta(&plimsollv1.Position{StoreId: "store-1", Epoch: 1, Revision: 1}, "f", off))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				s := w.server("a", "store-1")
				s.Put(map[string]string{"f": on})
				w.follow(s)
				test.send(s)
				w.wantServed("f", true)
				if r := w.now().Set.Revision(); r != 2 {
					t.Errorf("revision %d, want 2", r)
				}
			})
		})
	}
}

func TestHigherEpochIsForward(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": off})
		w.follow(s)
		s.Send(chunk(&plimsollv1.Position{StoreId: "store-1", Epoch: 2, Revision: 1}, 0, true, "f", on))
		w.wantServed("f", true)
		w.wantLive(true)
	})
}

// What a server must not do costs its stream, and the state stays as it was.
func TestGarbageEndsTheStream(t *testing.T) {
	next := &plimsollv1.Position{StoreId: "store-1", Epoch: 1, Revision: 3}
	for _, test := range []struct {
		name string
		send []*plimsollv1.WatchResponse
		log  string
	}{
		{"no position", []*plimsollv1.WatchResponse{delta(nil, "f", off)}, "without a position"},
		{"another store within a stream", []*plimsollv1.WatchResponse{
			delta(&plimsollv1.Position{StoreId: "store-2", Epoch: 1, Revision: 3}, "f", off),
		}, "went from store store-1 to store store-2"},
		{"a snapshot without its beginning", []*plimsollv1.WatchResponse{
			chunk(next, 1, true, "f", off),
		}, "chunk 1 of a snapshot where chunk 0 was due"},
		{"a chunk left out", []*plimsollv1.WatchResponse{
			chunk(next, 0, false, "f", off), chunk(next, 2, true, "g", off),
		}, "chunk 2 of a snapshot where chunk 1 was due"},
		{"chunks of two snapshots", []*plimsollv1.WatchResponse{
			chunk(next, 0, false, "f", off),
			chunk(&plimsollv1.Position{StoreId: "store-1", Epoch: 1, Revision: 4}, 1, true, "g", off),
		}, "a snapshot of 1/3 with a chunk of 1/4"},
		{"a change that builds on what was missed", []*plimsollv1.WatchResponse{
			{Position: &plimsollv1.Position{StoreId: "store-1", Epoch: 1, Revision: 9}, BaseRevision: 8, Event: delta(nil, "f", off).GetEvent()},
		}, "a change of revision 8 to a client that is at 2"},
		{"a change within a snapshot", []*plimsollv1.WatchResponse{
			chunk(next, 0, false, "f", off), delta(next, "f", off),
		}, "in the middle of a snapshot"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				s := w.server("a", "store-1")
				s.Put(map[string]string{"f": on})
				w.follow(s)
				w.after(6 * time.Second)
				for _, m := range test.send {
					s.Send(m)
				}
				w.wantServed("f", true)
				if w.logged(test.log) != 1 {
					t.Errorf("%q was not logged once:\n%s", test.log, &w.log)
				}
				w.after(time.Second)
				w.wantLive(true)
				if n := len(s.Asked()); n != 2 {
					t.Errorf("connected %d times, want once again", n)
				}
			})
		})
	}
}

func TestEventOfANewerServerIsPassedOver(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": off})
		w.follow(s)
		s.Send(&plimsollv1.WatchResponse{Position: &plimsollv1.Position{StoreId: "store-1", Epoch: 1, Revision: 3}})
		if r := w.now().Set.Revision(); r != 2 {
			t.Errorf("revision %d, want 2: what was not understood was not applied", r)
		}
		s.Put(map[string]string{"f": on})
		w.wantServed("f", true)
		if n := len(s.Asked()); n != 1 {
			t.Errorf("connected %d times, want once", n)
		}
	})
}

// Heartbeats that come before the state move nothing, and a stream that has
// nothing else is given up.
func TestHeartbeatBeforeTheState(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": off})
		w.follow(s)
		w.stop()
		s.Put(map[string]string{"f": on})
		s.Silence(true)
		w.run()
		w.after(time.Second)
		s.Silence(false)
		w.after(5 * time.Second)
		if r := w.now().Set.Revision(); r != 2 {
			t.Errorf("revision %d, want 2: the change after it was not sent", r)
		}
		w.wantLive(false)
		w.after(11 * time.Second)
		w.wantLive(true)
		w.wantServed("f", true)
	})
}

func TestNothingToBuildOn(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Silence(true)
		w.follow(s)
		s.Silence(false)
		s.Put(map[string]string{"f": on})
		if set := w.now().Set; set != nil {
			t.Errorf("a change to nothing made a set of %d flags", set.Len())
		}
		w.after(time.Second)
		w.wantLive(true)
		w.wantServed("f", true)
		if w.logged("a client that has nothing") != 1 {
			t.Errorf("not in the log:\n%s", &w.log)
		}
	})
}

func TestSettings(t *testing.T) {
	tier := func(names ...string) (tiers []*plimsollv1.Tier) {
		for _, n := range names {
			tiers = append(tiers, &plimsollv1.Tier{Name: n})
		}
		return tiers
	}
	for _, test := range []struct {
		name string
		sent *plimsollv1.SetSettings
		want flag.Settings
	}{
		{"none", &plimsollv1.SetSettings{}, flag.Settings{}},
		{"all", &plimsollv1.SetSettings{
			Bucketing: plimsollv1.Bucketing_BUCKETING_V1, Tiers: tier("gold", "wood"), Metadata: `{"team":"a"}`,
		}, flag.Settings{Bucketing: flag.V1, Tiers: degrade.Tiers{"gold", "wood"}, Metadata: `{"team":"a"}`}},
		{"v3", &plimsollv1.SetSettings{Bucketing: plimsollv1.Bucketing_BUCKETING_V3}, flag.Settings{Bucketing: flag.V3}},
		{"of a newer server", &plimsollv1.SetSettings{
			Bucketing: 17, Tiers: tier("a", "b", "c", "d", "e", "f", "g", "h", "i"),
		}, flag.Settings{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				s := w.server("a", "store-1")
				w.follow(s)
				s.Change(&plimsollv1.StateChange{Settings: test.sent})
				if diff := cmp.Diff(test.want, w.now().Set.Settings()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestNamespaceThatDoesNotExist(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Refuse(connect.NewError(connect.CodeNotFound, errors.New("namespace \"shop\" does not exist")))
		w.follow(s)
		w.wantLive(false)
		if w.logged("namespace") == 0 {
			t.Errorf("the server's words are not in the log:\n%s", &w.log)
		}
		w.after(time.Hour)
		if n := w.logged("does not exist"); n != 1 {
			t.Errorf("logged %d times within an hour, want once", n)
		}
	})
}

// A flag that does not compile keeps its last good version, through a new
// stream too, and is logged once.
func TestFlagThatDoesNotCompile(t *testing.T) {
	const bad = `{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on","targeting":{"no-such-operator":[1]}}`
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": on, "g": off})
		w.follow(s)
		s.Put(map[string]string{"f": bad, "g": on})
		w.wantServed("f", true)
		w.wantServed("g", true)
		w.wantLive(true)
		s.Put(map[string]string{"h": on})
		w.wantServed("h", true)

		s.MoveTo(1, 50) // the server has lost its history: a snapshot follows
		s.End(nil)
		w.after(time.Second)
		if r := w.now().Set.Revision(); r != 50 {
			t.Fatalf("revision %d, want 50", r)
		}
		w.wantServed("f", true)
		if n := w.logged("does not compile"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, &w.log)
		}
		s.Put(map[string]string{"f": off})
		w.wantServed("f", false)
	})
}

func TestExpiryNeedsNoServer(t *testing.T) {
	for _, connected := range []bool{true, false} {
		name := map[bool]string{true: "connected", false: "cut off"}[connected]
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				s := w.server("a", "store-1")
				s.Put(map[string]string{"f": on, "recommendations": optional})
				w.follow(s)
				s.Change(&plimsollv1.StateChange{
					Overrides: []*plimsollv1.OverrideState{{
						FlagKey: "f", Variant: "off", ExpiresAt: timestamppb.New(time.Now().Add(90300 * time.Millisecond)),
					}},
					Level: &plimsollv1.LevelState{Seed: "5eed", Holds: []*plimsollv1.HoldState{{
						Name: "shed-optional", FloorMillionths: new(uint32(1_000_000)),
						ExpiresAt: timestamppb.New(time.Now().Add(100 * time.Second)),
					}}},
				})
				w.wantServed("f", false)
				if !connected {
					s.Stop()
				}
				w.after(90300*time.Millisecond - time.Millisecond)
				w.wantServed("f", false)
				w.after(time.Millisecond)
				w.wantServed("f", true)
				w.wantServed("recommendations", false)
				w.taken()
				w.after(10 * time.Second)
				w.wantServed("recommendations", true)
				levels := 0
				for _, c := range w.taken() {
					if c.LevelOnly {
						levels++
					}
				}
				if levels != 1 {
					t.Errorf("the end of the hold was told %d times as a change of the level, want once", levels)
				}
			})
		})
	}
}

func TestRunAgainGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": off})
		w.follow(s)
		w.stop()
		w.wantLive(false)
		w.wantServed("f", false)
		w.after(time.Second)
		if n := s.Streams(); n != 0 {
			t.Fatalf("%d streams after the end, want none", n)
		}
		s.Put(map[string]string{"f": on})
		w.run()
		w.after(time.Second)
		w.wantServed("f", true)
		if since := s.Asked()[1].Since; since.GetRevision() != 2 {
			t.Errorf("asked for what comes after %v, want revision 2", since)
		}
	})
}

func chunk(at *plimsollv1.Position, index uint32, last bool, key, definition string) *plimsollv1.WatchResponse {
	return &plimsollv1.WatchResponse{Position: at, Event: &plimsollv1.WatchResponse_Snapshot{
		Snapshot: &plimsollv1.SnapshotChunk{Index: index, Last: last, Objects: &plimsollv1.StateChange{
			Flags: []*plimsollv1.FlagDefinition{{Key: key, Definition: definition}},
		}},
	}}
}

func delta(at *plimsollv1.Position, key, definition string) *plimsollv1.WatchResponse {
	return &plimsollv1.WatchResponse{Position: at, Event: &plimsollv1.WatchResponse_Delta{
		Delta: &plimsollv1.StateChange{Flags: []*plimsollv1.FlagDefinition{{Key: key, Definition: definition}}},
	}}
}
