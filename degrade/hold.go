package degrade

import "time"

// Pin is the name of the hold that fixes the level: while it is live, automatic
// shedding is off.
const Pin = "pin"

// Hold is a named bound that an operator puts on the level. A nil Floor or
// Ceiling bounds nothing; a zero ExpiresAt never expires.
type Hold struct {
	Name           string
	Floor, Ceiling *Level
	ExpiresAt      time.Time
}

// Live tells whether the hold still counts at now: up to, and not including,
// the moment it expires.
func (h Hold) Live(now time.Time) bool {
	return h.ExpiresAt.IsZero() || now.Before(h.ExpiresAt)
}

// LevelState is what decides a namespace's level: what the policies want (Auto),
// the operators' holds, and the seed that picks who is shed.
type LevelState struct {
	Auto  Level
	Seed  string
	Holds []Hold
}

// At is the level in force at now: max(floors, min(auto, ceilings)). Expired
// holds are ignored. A floor wins over a ceiling below it.
func (s LevelState) At(now time.Time) Level {
	level, floor := s.Auto, Level(0)
	for _, h := range s.Holds {
		if !h.Live(now) {
			continue
		}
		if h.Ceiling != nil {
			level = min(level, *h.Ceiling)
		}
		if h.Floor != nil {
			floor = max(floor, *h.Floor)
		}
	}
	return max(floor, level)
}

// NextExpiry is when the next hold that is live at now expires; false if none
// ever does.
func (s LevelState) NextExpiry(now time.Time) (time.Time, bool) {
	var next time.Time
	for _, h := range s.Holds {
		if h.ExpiresAt.IsZero() || !h.Live(now) {
			continue
		}
		if next.IsZero() || h.ExpiresAt.Before(next) {
			next = h.ExpiresAt
		}
	}
	return next, !next.IsZero()
}

// Pinned tells whether a live hold named Pin fixes the level at now.
func (s LevelState) Pinned(now time.Time) bool {
	for _, h := range s.Holds {
		if h.Name == Pin && h.Live(now) {
			return true
		}
	}
	return false
}
