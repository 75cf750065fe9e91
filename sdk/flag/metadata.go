package flag

import (
	"maps"
	"sync/atomic"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

// Names of metadata that Plimsoll adds to answers.
const (
	metadataTier     = "tier"
	metadataLevel    = "level"
	metadataRevision = "revision"
	metadataGuard    = "guard"
	metadataSource   = "source"
)

// view is what all flags of a set share at evaluation. It is immutable, and
// replaced as a whole when the level, the settings, the guards or the tag
// change; so its address tells whether metadata that was made for it still
// holds.
type view struct {
	base      *baseMetadata
	tiers     degrade.Tiers
	level     degrade.Level
	revision  int64                            // at which the level was set
	fractions [degrade.MaxTiers]uint32         // shed fraction by rank, in millionths
	shed      [degrade.MaxTiers]map[string]any // metadata of shed answers by rank, where there are any
	guards    table[OpenGuard]                 // open ones
	seed      string                           // with the colon before the targeting key
	bucketing Bucketing
}

// baseMetadata is the set's own metadata with the tag of the source; nil map
// without any.
type baseMetadata struct{ m map[string]any }

// flagMetadata are the merged maps of a flag that has something of its own in
// them. Each is made when first needed and shared by all answers from then on.
type flagMetadata struct {
	plain, shed, guarded atomic.Pointer[madeMetadata]
}

// madeMetadata is a map and what it was made for.
type madeMetadata struct {
	base *baseMetadata
	view *view // nil for plain metadata, which only depends on the base
	m    map[string]any
}

// plainMetadata is the metadata of an answer that is not degraded.
func (v *view) plainMetadata(f *served) map[string]any {
	own := f.def.metadata
	if own == nil {
		return v.base.m
	}
	if len(v.base.m) == 0 {
		return own
	}
	made := f.metadata.plain.Load()
	if made == nil || made.base != v.base {
		made = &madeMetadata{base: v.base, m: joined(v.base.m, own)}
		f.metadata.plain.Store(made)
	}
	return made.m
}

// shedMetadata is the metadata of an answer that is shed by the level, or
// overridden.
func (v *view) shedMetadata(f *served) map[string]any {
	if f.metadata == nil {
		return v.shed[f.rank]
	}
	made := f.metadata.shed.Load()
	if made == nil || made.view != v {
		made = &madeMetadata{view: v, m: v.explain(joined(v.base.m, f.def.metadata), f)}
		if f.override != nil {
			made.m[metadataRevision] = f.override.revision
		}
		f.metadata.shed.Store(made)
	}
	return made.m
}

// guardedMetadata is the metadata of an answer that an open guard degrades.
func (v *view) guardedMetadata(f *served) map[string]any {
	made := f.metadata.guarded.Load()
	if made == nil || made.view != v {
		made = &madeMetadata{view: v, m: v.explain(joined(v.base.m, f.def.metadata), f)}
		made.m[metadataGuard] = f.def.degradation.Guard
		f.metadata.guarded.Store(made)
	}
	return made.m
}

// explain adds to m why an answer is degraded.
func (v *view) explain(m map[string]any, f *served) map[string]any {
	if f.def.degradation != nil {
		m[metadataTier] = f.def.degradation.Tier
	}
	m[metadataLevel] = float64(v.level) / float64(degrade.One)
	m[metadataRevision] = v.revision
	return m
}

// joined is a new map of both, own winning.
func joined(base, own map[string]any) map[string]any {
	m := make(map[string]any, len(base)+len(own)+4)
	maps.Copy(m, base)
	maps.Copy(m, own)
	return m
}
