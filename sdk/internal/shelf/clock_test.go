package shelf

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// What was saved while the clock was ahead does not win for ever.
func TestTheStoreSavedLastIsStartedFromWhateverTheClock(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	set, _ := flag.Empty().With(flag.Update{Reset: true, Epoch: 1, Revision: 5}, time.Now())
	left := Saved{Set: set, Store: "aaaa", namespace: "shop", at: time.Now().Add(24 * time.Hour)}
	if err := writeFile(New(dir, "shop", log).path("aaaa"), filepath.Join(dir, "tmp"), "", left); err != nil {
		t.Fatal(err)
	}
	s := New(dir, "shop", log)
	s.Put(set, "bbbb", false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Run(ctx)
	if got, ok := New(dir, "shop", log).Load(); !ok || got.Store != "bbbb" {
		t.Errorf("started from store %q (%v), though bbbb was followed last", got.Store, ok)
	}
}

// Nor does it keep an earlier state of the same store from being adopted.
func TestLoweredBelowWhatIsOfATimeToCome(t *testing.T) {
	dir := t.TempDir()
	ahead := Saved{Set: set(1, 100), Store: store1, namespace: "shop", at: time.Now().Add(24 * time.Hour)}
	if err := writeFile(New(dir, "shop", nil).path(store1), filepath.Join(dir, "tmp"), "", ahead); err != nil {
		t.Fatal(err)
	}
	save(t, dir, "shop", store1, set(1, 99), false)
	wantLoaded(t, dir, "shop", 100)
	save(t, dir, "shop", store1, set(1, 50), true)
	wantLoaded(t, dir, "shop", 50)
}

// Two processes take turns while the newest file is of a time to come.
func TestStoresInTurnsWhateverTheClock(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	ahead := Saved{Set: set(1, 1), Store: "aa", namespace: "shop", at: time.Now().Add(24 * time.Hour)}
	if err := writeFile(New(dir, "shop", log).path("aa"), filepath.Join(dir, "tmp"), "", ahead); err != nil {
		t.Fatal(err)
	}
	shelves := []*Shelf{New(dir, "shop", log), New(dir, "shop", log)}
	for i := range 6 {
		s := shelves[i%2]
		s.Put(set(1, int64(i+2)), []string{"aa", "bb", "cc"}[i%3], false)
		if !s.write() {
			t.Fatal("not written")
		}
		s.release()
		wantLoaded(t, dir, "shop", int64(i+2))
	}
}
