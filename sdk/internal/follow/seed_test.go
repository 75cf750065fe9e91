package follow_test

import (
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/follow"
)

// seedOf is a seed with a flag f, at epoch 1.
func seedOf(store string, revision int64, definition string, overrides ...flag.Override) follow.Seed {
	set, _ := flag.Empty().With(flag.Update{
		Reset: true, Epoch: 1, Revision: revision,
		Flags: []flag.Source{{Key: "f", JSON: definition}}, Overrides: overrides,
	}, time.Now())
	return follow.Seed{Set: set, Store: store, Source: follow.Cache}
}

func (w *world) wantSource(want string) {
	w.t.Helper()
	if got := w.now().Source; got != want {
		w.t.Fatalf("source %q, want %q", got, want)
	}
}

// A stream brings a seed up to date by what has changed since.
func TestSeedIsBroughtUpToDate(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": on})
		s.Put(map[string]string{"g": on})
		w.followFrom(seedOf("store-1", 2, on), s)
		w.wantLive(true)
		w.wantSource("")
		w.wantServed("g", true)
		if since := s.Asked()[0].Since; since.GetStoreId() != "store-1" || since.GetEpoch() != 1 || since.GetRevision() != 2 {
			t.Errorf("asked for what comes after %v, want store-1 1/2", since)
		}
		if c := w.taken(); len(c) != 2 || c[0].New.Source != follow.Cache || c[0].New.Trouble == nil {
			t.Errorf("told %+v, want the seed and what follows", c)
		}
		s.Stop()
		w.after(5 * time.Second)
		w.wantLive(false)
		w.wantSource(follow.Memory)
	})
}

func TestSeedThatIsCurrent(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": on})
		w.followFrom(seedOf("store-1", 2, on), s)
		w.wantLive(true)
		w.wantSource("")
	})
}

func TestSeedWithoutServer(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Stop()
		w.followFrom(seedOf("store-1", 2, on, flag.Override{Key: "f", Variant: "off", ExpiresAt: time.Now().Add(time.Minute)}), s)
		w.after(30 * time.Second)
		w.wantLive(false)
		w.wantSource(follow.Cache)
		w.wantServed("f", false)
		w.after(30 * time.Second)
		w.wantServed("f", true) // overrides of a seed end too
		w.wantSource(follow.Cache)
		w.stop()
		w.wantSource(follow.Cache)
		s.Put(map[string]string{"f": on})
		s.Put(map[string]string{"f": off})
		s.Start()
		w.run()
		w.after(10 * time.Second)
		w.wantLive(true)
		w.wantServed("f", false)
	})
}

func TestExpiredPartsOfASeedDoNotCount(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Stop()
		seed := seedOf("store-1", 2, on, flag.Override{Key: "f", Variant: "off", ExpiresAt: time.Now().Add(time.Minute)})
		w.after(time.Hour)
		w.followFrom(seed, s)
		for _, c := range w.taken() {
			if c.New.Set != nil && !c.New.Set.Bool("f", false, nil).Value {
				t.Fatal("an override counted that ended an hour ago")
			}
		}
	})
}

func TestSeedIsNeverReplacedByAnOlderState(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": off})
		w.followFrom(seedOf("store-1", 100, on), s)
		w.after(29 * time.Second)
		w.wantServed("f", true)
		w.wantSource(follow.Cache)
		w.after(16 * time.Second)
		w.wantServed("f", false)
		w.wantLive(true)
		lowered := 0
		for _, c := range w.taken() {
			if c.Lowered {
				lowered++
			}
		}
		if lowered != 1 {
			t.Errorf("the adoption of an older state was told %d times, want once", lowered)
		}
	})
}

func TestSeedOfAnotherStore(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": off})
		w.followFrom(seedOf("store-0", 100, on), s)
		w.after(30*time.Second - time.Millisecond)
		w.wantStore("store-0")
		w.wantServed("f", true)
		w.wantSource(follow.Cache)
		w.after(time.Second)
		w.wantStore("store-1")
		w.wantServed("f", false)
		w.wantLive(true)
	})
}

// A seed of no store has no position, and gives way to whatever there is.
func TestSeedOfNoStore(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": off})
		w.followFrom(seedOf("", 100, on), s)
		w.wantLive(true)
		w.wantStore("store-1")
		w.wantServed("f", false)
		if r := w.now().Set.Revision(); r != 2 {
			t.Errorf("revision %d, want the server's", r)
		}
		if since := s.Asked()[0].Since; since != nil {
			t.Errorf("asked for what comes after %v, want everything", since)
		}
	})
}

// A flag that does not compile keeps the version of the seed.
func TestSeedHasLastGoodVersions(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": `{"state":"ENABLED"}`})
		w.followFrom(seedOf("", 0, on), s)
		w.wantLive(true)
		w.wantServed("f", true)
	})
}

func TestUnconfirmedServerBringsASeedForward(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": on})
		s.SetConfirmedAge(time.Minute)
		w.followFrom(seedOf("store-1", 1, off), s)
		w.after(6 * time.Second)
		w.wantLive(false)
		w.wantSource(follow.Memory)
		w.wantServed("f", true)
	})
}
