package degrade_test

import (
	"testing"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"pgregory.net/rapid"
)

func TestShedHoldRefuses(t *testing.T) {
	for _, c := range []struct {
		tier  string
		share uint32
		want  string
	}{
		{"optoinal", 1, `there is no tier "optoinal" (did you mean "optional"?)`},
		{"gold", 1, `there is no tier "gold" (there are critical, important, standard, optional)`},
		{"critical", 1, `tier "critical" is the most important one, which is never shed (kill its features one by one)`},
		{"optional", 0, `a share of 0 sheds nothing (remove the hold "shed-optional" instead)`},
		{"optional", 1_500_000, `a share of 1.5 is more than the whole tier (give at most 1)`},
	} {
		if hold, err := degrade.ShedHold(degrade.DefaultTiers(), c.tier, c.share); err == nil || err.Error() != c.want {
			t.Errorf("shed %s by %d: %v, %v; want %s", c.tier, c.share, hold, err, c.want)
		}
	}
	if _, err := degrade.ShedHold(nil, "optional", 1); err == nil {
		t.Error("a tier of no tiers is shed")
	}
}

// A hold that sheds a tier sheds just that share of it, all that is less
// important, and nothing that is more important.
func TestShedHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tiers := degrade.Tiers{"t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7"}[:rapid.IntRange(2, 8).Draw(t, "tiers")]
		rank := rapid.IntRange(1, len(tiers)-1).Draw(t, "rank")
		share := rapid.Uint32Range(1, uint32(degrade.One)).Draw(t, "share")
		hold, err := degrade.ShedHold(tiers, tiers[rank], share)
		if err != nil {
			t.Fatal(err)
		}
		if hold.Name != "shed-"+tiers[rank] || hold.Ceiling != nil || !hold.ExpiresAt.IsZero() {
			t.Fatalf("the hold is %+v", hold)
		}
		level := degrade.LevelState{Holds: []degrade.Hold{hold}}.At(noon)
		for r := range tiers {
			want := uint32(0)
			switch {
			case r == rank:
				want = share
			case r > rank:
				want = uint32(degrade.One)
			}
			if got := degrade.ShedFraction(level, r, tiers.Sheddable()); got != want {
				t.Fatalf("%d of rank %d of %d tiers: rank %d is shed by %d, want %d", share, rank, len(tiers), r, got, want)
			}
		}
	})
}

func TestPinHold(t *testing.T) {
	tiers := degrade.DefaultTiers()
	for _, l := range []degrade.Level{0, 1_250_000, 3 * degrade.One} {
		hold, err := degrade.PinHold(l, tiers)
		if err != nil {
			t.Fatal(err)
		}
		for _, auto := range []degrade.Level{0, l, 3 * degrade.One} {
			s := degrade.LevelState{Auto: auto, Holds: []degrade.Hold{hold}}
			if s.At(noon) != l || !s.Pinned(noon) {
				t.Errorf("pinned to %s, while the policies want %s, the level is %s", l, auto, s.At(noon))
			}
		}
		if *hold.Floor = 7; *hold.Ceiling != l {
			t.Error("floor and ceiling are one")
		}
	}
	want := "level 3.000001 is too deep: 3 sheds everything but the tier that is never shed"
	if _, err := degrade.PinHold(3*degrade.One+1, tiers); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
