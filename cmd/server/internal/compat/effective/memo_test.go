package effective

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/plimsoll-dev/plimsoll/store"
)

type memoKey struct{}

// What is derived from a state is made once, and goes with it.
func TestMemoGoesWithItsState(t *testing.T) {
	s := newStore(t)
	if _, err := s.CreateNamespace(t.Context(), "gone", nil, store.Change{}); err != nil {
		t.Fatal(err)
	}
	sets := newSets(t, s, Options{})
	derived, over := func() (weak.Pointer[[1 << 20]byte], <-chan struct{}) {
		state, over, err := sets.FollowNewest("gone")
		if err != nil {
			t.Fatal(err)
		}
		made := 0
		derive := func(*State) any { made++; return new([1 << 20]byte) }
		first := state.Memo(memoKey{}, derive).(*[1 << 20]byte)
		if state.Memo(memoKey{}, derive).(*[1 << 20]byte) != first || made != 1 {
			t.Errorf("made %d times", made)
		}
		if state.Document().Memo(memoKey{}, func(*Document) any { return 1 }) != 1 {
			t.Error("a document has the memo of its state")
		}
		return weak.Make(first), over
	}()
	if _, err := s.DeleteNamespace(t.Context(), "gone", store.Change{}); err != nil {
		t.Fatal(err)
	}
	wait(t, over)
	for deadline := time.Now().Add(30 * time.Second); derived.Value() != nil; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("what was derived stays in memory")
		}
	}
}
