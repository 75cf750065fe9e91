// Package hour tells how the level of a namespace was over a stretch of time,
// from what the audit log says. It is pure.
package hour

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// Point is the level from a moment on, and what put it there.
type Point struct {
	At    time.Time
	Level degrade.Level
	// Record is the change that did it; nil where time alone did, or nothing.
	Record *plimsollv1.AuditRecord
}

// History is the level between from and now, as it steps: the first point is at
// from, each further one where the level moved. It goes back from what is in
// force now, through records, the newest first, by what stood before each. They
// have to reach back to from, as far as they tell of holds and the level.
func History(from, now time.Time, current *plimsollv1.GetDegradationResponse, records []*plimsollv1.AuditRecord) []Point {
	s := state{auto: degrade.Level(current.GetAutoMillionths()), holds: make(map[string]degrade.Hold)}
	for _, h := range current.GetHolds() {
		s.holds[h.GetName()] = holdOf(h)
	}
	var back []Point // the newest first
	end := now
	for _, rec := range records {
		if !moves(rec) {
			continue
		}
		at := rec.GetTime().AsTime()
		if at.Before(from) {
			break
		}
		if at.After(end) {
			at = end // another server's clock is ahead
		}
		s.redo(rec)
		back = s.between(back, at, end, rec)
		s.undo(rec)
		end = at
	}
	back = s.between(back, from, end, nil)
	slices.Reverse(back)
	return slices.CompactFunc(back, func(a, b Point) bool { return a.Level == b.Level })
}

func moves(rec *plimsollv1.AuditRecord) bool {
	return slices.ContainsFunc(rec.GetObjects(), func(o *plimsollv1.AuditObject) bool {
		return o.GetObject() == "level" || strings.HasPrefix(o.GetObject(), "holds/")
	})
}

// state is what the level follows from.
type state struct {
	auto  degrade.Level
	holds map[string]degrade.Hold
}

func (s *state) at(t time.Time) degrade.Level {
	l := degrade.LevelState{Auto: s.auto}
	for _, h := range s.holds {
		l.Holds = append(l.Holds, h)
	}
	return l.At(t)
}

// between adds the points of a stretch in which nothing was written: its start,
// and each moment at which a hold ran out.
func (s *state) between(back []Point, from, to time.Time, rec *plimsollv1.AuditRecord) []Point {
	var ends []time.Time
	for _, h := range s.holds {
		if h.ExpiresAt.After(from) && h.ExpiresAt.Before(to) {
			ends = append(ends, h.ExpiresAt)
		}
	}
	slices.SortFunc(ends, func(a, b time.Time) int { return b.Compare(a) })
	for _, at := range ends {
		back = append(back, Point{At: at, Level: s.at(at)})
	}
	return append(back, Point{At: from, Level: s.at(from), Record: rec})
}

// redo makes sure of what stood after a record: a hold that has run out since is
// not in force any more, and its end may not have a record yet.
func (s *state) redo(rec *plimsollv1.AuditRecord) {
	for _, o := range rec.GetObjects() {
		name, isHold := strings.CutPrefix(o.GetObject(), "holds/")
		if h := new(plimsollv1.Hold); isHold && o.After != nil && proto.Unmarshal(o.GetAfter(), h) == nil {
			s.holds[name] = holdOf(h)
		}
	}
}

// undo goes back to before a record.
func (s *state) undo(rec *plimsollv1.AuditRecord) {
	for _, o := range rec.GetObjects() {
		name, isHold := strings.CutPrefix(o.GetObject(), "holds/")
		switch {
		case isHold && o.Before == nil:
			delete(s.holds, name)
		case isHold:
			h := new(plimsollv1.Hold)
			if proto.Unmarshal(o.GetBefore(), h) == nil {
				s.holds[name] = holdOf(h)
			}
		case o.GetObject() == "level":
			l := new(plimsollv1.StoredLevel)
			if proto.Unmarshal(o.GetBefore(), l) == nil {
				s.auto = degrade.Level(l.GetAutoMillionths())
			}
		}
	}
}

func holdOf(h *plimsollv1.Hold) degrade.Hold {
	out := degrade.Hold{Name: h.GetName(), Floor: (*degrade.Level)(h.FloorMillionths), Ceiling: (*degrade.Level)(h.CeilingMillionths)}
	if h.GetExpiresAt() != nil {
		out.ExpiresAt = h.GetExpiresAt().AsTime()
	}
	return out
}
