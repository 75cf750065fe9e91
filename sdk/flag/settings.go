package flag

import "github.com/plimsoll-dev/plimsoll/degrade"

// Bucketing is the generation of fractional: three are in the field at once.
type Bucketing int

// The generations.
const (
	// V2 hashes text and buckets by whole numbers.
	V2 Bucketing = iota
	// V1 is the legacy rule: percentages of a signed hash.
	V1
	// V3 is V2 over the CBOR encoding of the value.
	V3
)

// String is v1, v2 or v3.
func (b Bucketing) String() string {
	switch b {
	case V1:
		return "v1"
	case V3:
		return "v3"
	default:
		return "v2"
	}
}

// Settings is what a set decides for all of its flags.
type Settings struct {
	Bucketing Bucketing
	// Tiers of the namespace; nil: the default ones.
	Tiers degrade.Tiers
	// Metadata of the set, a JSON object of strings, numbers and bools; "" for
	// none. A flag's own metadata wins over it.
	Metadata string
}

func (s Settings) tiers() degrade.Tiers {
	if s.Tiers == nil {
		return degrade.DefaultTiers()
	}
	return s.Tiers
}
