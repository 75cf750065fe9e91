package degrade

import (
	"errors"
	"fmt"
	"strings"
)

// Level is how deep a namespace is in degradation, in millionths: 0 sheds
// nothing, One sheds the least important tier wholly, and so on upwards.
type Level uint32

// One is one whole tier.
const One Level = 1_000_000

// maxLevel is the deepest level that any set of tiers allows.
const maxLevel = (MaxTiers - 1) * One

// levelDigits is how many decimals a level has.
const levelDigits = 6

// ParseLevel reads a level written as a plain decimal number, such as "0.4" or
// "2". It takes at most six decimals and refuses signs, exponents and anything
// above the deepest level that eight tiers allow.
func ParseLevel(s string) (Level, error) {
	whole, frac, dotted := strings.Cut(s, ".")
	if whole == "" || (dotted && frac == "") || !digits(whole) || !digits(frac) {
		return 0, fmt.Errorf("level %q is not a plain number such as 0.4 or 2", s)
	}
	if len(frac) > levelDigits {
		return 0, fmt.Errorf("level %q has more than %d decimals", s, levelDigits)
	}
	frac += strings.Repeat("0", levelDigits-len(frac))
	var l uint64
	for _, d := range []byte(whole + frac) {
		l = l*10 + uint64(d-'0')
		if l > uint64(maxLevel) {
			return 0, fmt.Errorf("level %q is above %s, the deepest there is", s, maxLevel)
		}
	}
	return Level(l), nil
}

func digits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// String is the level as ParseLevel reads it, without needless zeros: "0",
// "0.4", "1.25".
func (l Level) String() string {
	s := fmt.Sprintf("%d.%06d", uint32(l/One), uint32(l%One))
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// MarshalText writes the level as String does.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what ParseLevel reads.
func (l *Level) UnmarshalText(text []byte) error {
	if l == nil {
		return errors.New("cannot read a level into a nil pointer")
	}
	parsed, err := ParseLevel(string(text))
	if err != nil {
		return err
	}
	*l = parsed
	return nil
}

// ShedFraction is the share of a tier's traffic that is shed, in millionths:
// clamp(level − (sheddable − rank), 0, 1) for the tier of the given rank among
// sheddable sheddable tiers. Rank 0 and ranks outside 1..sheddable are never
// shed.
func ShedFraction(level Level, rank, sheddable int) uint32 {
	if rank <= 0 || rank > sheddable {
		return 0
	}
	below := int64(sheddable-rank) * int64(One)
	return uint32(min(max(int64(level)-below, 0), int64(One)))
}
