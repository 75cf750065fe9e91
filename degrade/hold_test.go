package degrade_test

import (
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"pgregory.net/rapid"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func level(l degrade.Level) *degrade.Level { return &l }

func TestLevelState(t *testing.T) {
	soon, later := noon.Add(time.Minute), noon.Add(time.Hour)
	for _, c := range []struct {
		what  string
		state degrade.LevelState
		want  degrade.Level
	}{
		{"auto alone", degrade.LevelState{Auto: 7}, 7},
		{"a floor lifts", degrade.LevelState{Auto: 7, Holds: []degrade.Hold{{Name: "shed-optional", Floor: level(9)}}}, 9},
		{"a ceiling lowers", degrade.LevelState{Auto: 7, Holds: []degrade.Hold{{Ceiling: level(5)}}}, 5},
		{"the lowest ceiling counts", degrade.LevelState{Auto: 7, Holds: []degrade.Hold{{Ceiling: level(5)}, {Ceiling: level(6)}}}, 5},
		{"a floor wins over a ceiling below it", degrade.LevelState{Auto: 7, Holds: []degrade.Hold{{Floor: level(8)}, {Ceiling: level(5)}}}, 8},
		{"a pin is both", degrade.LevelState{Auto: 7, Holds: []degrade.Hold{{Name: degrade.Pin, Floor: level(3), Ceiling: level(3)}}}, 3},
		{"an expired hold does not count", degrade.LevelState{Auto: 7, Holds: []degrade.Hold{{Floor: level(9), ExpiresAt: noon}}}, 7},
		{"one that is about to does", degrade.LevelState{Auto: 7, Holds: []degrade.Hold{{Floor: level(9), ExpiresAt: noon.Add(1)}}}, 9},
	} {
		if got := c.state.At(noon); got != c.want {
			t.Errorf("%s: got %d, want %d", c.what, got, c.want)
		}
	}
	s := degrade.LevelState{Holds: []degrade.Hold{{ExpiresAt: later}, {ExpiresAt: soon}, {ExpiresAt: noon}, {Name: degrade.Pin, ExpiresAt: later}}}
	if next, ok := s.NextExpiry(noon); !ok || !next.Equal(soon) {
		t.Errorf("the next to expire is at %v, %v", next, ok)
	}
	if _, ok := s.NextExpiry(later); ok {
		t.Error("something expires after everything has")
	}
	if !s.Pinned(soon) || s.Pinned(later) {
		t.Error("a pin counts until it expires, and no longer")
	}
}

// The level is max(floors, min(auto, ceilings)), whatever the order of the holds.
func TestLevelStateFormula(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := rapid.Map(rapid.Uint32Range(0, 7_000_000), func(u uint32) degrade.Level { return degrade.Level(u) })
		s := degrade.LevelState{Auto: draw.Draw(t, "auto")}
		floor, ceiling := degrade.Level(0), degrade.Level(1<<31)
		for range rapid.IntRange(0, 5).Draw(t, "holds") {
			var h degrade.Hold
			if rapid.Bool().Draw(t, "has floor") {
				h.Floor = level(draw.Draw(t, "floor"))
				floor = max(floor, *h.Floor)
			}
			if rapid.Bool().Draw(t, "has ceiling") {
				h.Ceiling = level(draw.Draw(t, "ceiling"))
				ceiling = min(ceiling, *h.Ceiling)
			}
			s.Holds = append(s.Holds, h)
		}
		if got, want := s.At(noon), max(floor, min(s.Auto, ceiling)); got != want {
			t.Fatalf("%+v: got %d, want %d", s, got, want)
		}
	})
}
