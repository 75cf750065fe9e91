package store_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/store"
)

func TestAnOverrideEndsOnTimeAcrossARestart(t *testing.T) {
	dir := t.TempDir()
	var now atomic.Int64
	start := time.Now()
	now.Store(start.UnixNano())
	clock := func(o *store.Options) { o.Now = func() time.Time { return time.Unix(0, now.Load()) } }
	due := start.Add(2 * time.Second)

	t.Run("before", func(t *testing.T) {
		s := openOn(t, startMember(t, dir), clock)
		mustCreate(t, s, "f", boolFlag)
		override(t, s, "f", "on", lasts(2*time.Second))
		if got := snapshot(t, s).Set(due.Add(-time.Nanosecond)).Bool("f", false, nil); !got.Value {
			t.Errorf("a moment before its end: %+v", got)
		}
		if got := snapshot(t, s).Set(due).Bool("f", true, nil); got.Value {
			t.Errorf("at its end: %+v", got)
		}
	})
	// The server was down when it was due.
	now.Store(start.Add(time.Minute).UnixNano())
	t.Run("after", func(t *testing.T) {
		s := openOn(t, startMember(t, dir), clock)
		eventually(t, s, "the override is gone", func() bool {
			_, there := snapshot(t, s).Object("overrides/f")
			return !there
		})
		recs, _, err := s.Records(t.Context(), "default", store.RecordQuery{Object: "overrides/f", Limit: 1})
		if err != nil || len(recs) != 1 {
			t.Fatalf("records: %v, %v", recs, err)
		}
		rec := recs[0]
		if rec.GetVerb() != "expire" || rec.GetActor().GetName() != "system" || !rec.GetDueAt().AsTime().Equal(due) || rec.GetReason() == "" {
			t.Errorf("record %v\nwant an expiry that was due at %v", rec, due)
		}
		replay(t, s, "default")
	})
}

func TestAnOverrideEndsWhileTheServerRuns(t *testing.T) {
	s := newStore(t)
	mustCreate(t, s, "f", boolFlag)
	override(t, s, "f", "on", lasts(50*time.Millisecond))
	eventually(t, s, "the override is gone", func() bool {
		_, there := snapshot(t, s).Object("overrides/f")
		return !there
	})
}

func TestSeveralServersExpireOnce(t *testing.T) {
	member := startMember(t, t.TempDir())
	a, b := openOn(t, member), openOn(t, member)
	mustCreate(t, a, "f", boolFlag)
	override(t, a, "f", "on", lasts(20*time.Millisecond))
	for _, s := range []*store.Store{a, b} {
		eventually(t, s, "the override is gone", func() bool {
			_, there := snapshot(t, s).Object("overrides/f")
			return !there
		})
	}
	recs, _, err := a.Records(t.Context(), "default", store.RecordQuery{Object: "overrides/f", Limit: 10})
	if err != nil || len(recs) != 2 {
		t.Errorf("%d records of the override, %v; want its beginning and its end", len(recs), err)
	}
}
