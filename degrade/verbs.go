package degrade

import "fmt"

// ShedHoldName is the name of the hold that sheds a tier.
func ShedHoldName(tier string) string { return "shed-" + tier }

// ShedHold is the hold that sheds a share of a tier, in millionths, and with it
// the whole of every less important tier: a floor under the level. It never
// expires; the caller says otherwise. Errors name an unknown tier with the
// nearest, the most important tier, which is never shed, and a share that is not
// above 0 and at most One.
func ShedHold(tiers Tiers, tier string, share uint32) (Hold, error) {
	rank, ok := tiers.Rank(tier)
	switch {
	case !ok:
		return Hold{}, fmt.Errorf("there is no tier %s%s", quote(tier), aside(suggest(tier, tiers)))
	case rank == 0:
		return Hold{}, fmt.Errorf("tier %q is the most important one, which is never shed (kill its features one by one)", tier)
	case share == 0:
		return Hold{}, fmt.Errorf("a share of 0 sheds nothing (remove the hold %q instead)", ShedHoldName(tier))
	case share > uint32(One):
		return Hold{}, fmt.Errorf("a share of %s is more than the whole tier (give at most %s)", Level(share), One)
	}
	floor := Level(tiers.Sheddable()-rank)*One + Level(share)
	return Hold{Name: ShedHoldName(tier), Floor: &floor}, nil
}

// PinHold is the hold that fixes the level: floor and ceiling at once. It never
// expires; the caller says otherwise. The error says which level is the deepest
// of the tiers when this one is deeper.
func PinHold(level Level, tiers Tiers) (Hold, error) {
	if deepest := tiers.Max(); level > deepest {
		return Hold{}, fmt.Errorf("level %s is too deep: %s sheds everything but the tier that is never shed", level, deepest)
	}
	floor, ceiling := level, level
	return Hold{Name: Pin, Floor: &floor, Ceiling: &ceiling}, nil
}
