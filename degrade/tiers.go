package degrade

import (
	"fmt"
	"slices"
)

// MinTiers and MaxTiers bound how many tiers a namespace has.
const (
	MinTiers = 2
	MaxTiers = 8
)

// maxTierName is the longest name of a tier, in bytes.
const maxTierName = 63

// Tiers is a namespace's priorities, most important first. The tier at rank 0
// is never shed, whatever its name.
type Tiers []string

// DefaultTiers is what a namespace starts with.
func DefaultTiers() Tiers {
	return Tiers{"critical", "important", "standard", "optional"}
}

// Validate says what is wrong with the tiers: too few or too many, a name that
// is not made of a-z, 0-9 and "-", or one that comes twice.
func (t Tiers) Validate() error {
	if len(t) < MinTiers || len(t) > MaxTiers {
		return fmt.Errorf("%d tiers: there must be %d to %d", len(t), MinTiers, MaxTiers)
	}
	for i, name := range t {
		if !tierName(name) {
			return fmt.Errorf("tier %q: a name is 1 to %d of a-z, 0-9 and -", name, maxTierName)
		}
		if slices.Contains(t[:i], name) {
			return fmt.Errorf("tier %q is listed twice", name)
		}
	}
	return nil
}

func tierName(name string) bool {
	if name == "" || len(name) > maxTierName {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// Rank is the position of the named tier, 0 being the most important.
func (t Tiers) Rank(name string) (rank int, ok bool) {
	rank = slices.Index(t, name)
	return max(rank, 0), rank >= 0
}

// Sheddable is the number of tiers that can be shed: all but the first.
func (t Tiers) Sheddable() int { return max(len(t)-1, 0) }

// Max is the deepest level of these tiers: everything but rank 0 is shed.
func (t Tiers) Max() Level { return Level(t.Sheddable()) * One }
