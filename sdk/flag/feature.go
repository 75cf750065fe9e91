package flag

import (
	"slices"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

// Feature is what the failure map knows of the flag; false without a degradation
// block.
func (d *Definition) Feature() (degrade.Feature, bool) {
	if d.degradation == nil {
		return degrade.Feature{}, false
	}
	fallback, _ := d.DefaultVariant()
	f := degrade.Feature{
		Key:       d.key,
		Tier:      d.degradation.Tier,
		Degraded:  d.degradation.DegradedVariant,
		Default:   fallback,
		Targeted:  d.targeted,
		Enabled:   d.enabled,
		DependsOn: slices.Clone(d.degradation.DependsOn),
		Guard:     d.degradation.Guard,
	}
	if d.info != nil {
		f.Owner = d.info.Owner
	}
	return f, true
}
