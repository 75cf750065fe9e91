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
