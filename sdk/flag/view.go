package flag

import (
	"maps"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

// look makes the set's view at a level, keeping the maps of the one before where
// they still hold.
func (s *Set) look(level degrade.Level, before *view) *view {
	v := &view{
		tiers: s.settings.tiers(), level: level, revision: s.levelAt, guards: s.guards,
		seed: s.level.Seed + ":", bucketing: s.settings.Bucketing,
	}
	v.base = s.baseMetadata(before)
	for r := range v.tiers {
		v.fractions[r] = degrade.ShedFraction(v.level, r, v.tiers.Sheddable())
		if v.fractions[r] == 0 {
			continue
		}
		v.shed[r] = v.explain(joined(v.base.m, nil), &served{def: &Definition{degradation: &Degradation{Tier: v.tiers[r]}}})
	}
	return v
}

// baseMetadata is the set's metadata with its tag; the map before when nothing
// changed.
func (s *Set) baseMetadata(before *view) *baseMetadata {
	var c checker
	var m map[string]any
	if s.settings.Metadata != "" {
		if n, p := parseJSON(s.settings.Metadata); p.hard == nil {
			c.text = s.settings.Metadata
			m = c.metadata(&n)
		}
	}
	if s.source != "" {
		m = joined(m, nil)
		m[metadataSource] = s.source
	}
	if before != nil && maps.Equal(before.base.m, m) {
		return before.base
	}
	return &baseMetadata{m}
}

// ChangedKeys are the flags whose served answer may differ from an older set's,
// sorted. What the two sets share is skipped, so that it costs as much as what
// changed.
func (s *Set) ChangedKeys(old *Set) []string { return s.since(old, false) }

// TouchedKeys are the flags that may have served something else than now, and
// without regard to the context (STATIC), in an older set or in any between that
// and this one: ChangedKeys, and what has changed and changed back. It names more
// than that where it cannot tell. Whoever has missed the sets between must not keep
// an answer of these.
func (s *Set) TouchedKeys(old *Set) []string { return s.since(old, true) }

func (s *Set) since(old *Set, touched bool) []string {
	changed := map[string]struct{}{}
	s.flags.diff(old.flags, func(key string, a, b **served) {
		if a == nil || b == nil || (touched && *a != *b) || !sameAnswer(*a, *b) {
			changed[key] = struct{}{}
		}
	})
	s.broken.diff(old.broken, func(key string, a, b **brokenFlag) {
		_, now := s.flags.get(key)
		_, then := old.flags.get(key)
		if !now && !then && (a == nil) != (b == nil) {
			changed[key] = struct{}{}
		}
	})
	if touched {
		for _, r := range s.removed {
			if s.epoch != old.epoch || r.revision > old.revision {
				changed[r.key] = struct{}{}
			}
		}
	}
	s.changedByView(old, touched, changed)
	return sortedKeys(changed)
}

// maxRemoved is how many flags that were removed a set remembers.
const maxRemoved = 256

// removedFlag is a flag that a set does not have any more, though one between an
// older set and this may have had it.
type removedFlag struct {
	key      string
	revision int64
}

// sameAnswer tells whether two versions of a flag serve the same to everybody.
func sameAnswer(a, b *served) bool {
	if a == b {
		return true
	}
	sameOverride := a.override == b.override || (a.override != nil && b.override != nil && *a.override == *b.override)
	return sameOverride && a.rule == b.rule && (a.def == b.def || a.def.text == b.def.text) && a.rank == b.rank
}

// changedByView adds the flags that a change of level, seed, settings, guards or
// tag touches. If touched, there may have been other views between the two, and a
// flag that is shed or guarded in both may have been neither.
func (s *Set) changedByView(old *Set, touched bool, changed map[string]struct{}) {
	a, b := old.view, s.view
	if a == b {
		return
	}
	everything := a.base != b.base && (touched || !maps.Equal(a.base.m, b.base.m))
	rehashed := a.bucketing != b.bucketing
	var ranks [degrade.MaxTiers]bool
	some := everything || rehashed
	for r := range ranks {
		partly := b.fractions[r] > 0 && b.fractions[r] < uint32(degrade.One)
		ranks[r] = a.fractions[r] != b.fractions[r] || (partly && (a.seed != b.seed || rehashed)) || (touched && b.fractions[r] > 0)
		some = some || ranks[r]
	}
	if some {
		for key, f := range s.flags.all() {
			if everything || (rehashed && f.rule != nil) || (f.rank > 0 && ranks[f.rank]) {
				changed[key] = struct{}{}
			}
		}
	}
	if everything {
		for key := range s.broken.all() {
			changed[key] = struct{}{}
		}
	}
	b.guards.diff(a.guards, func(name string, x, y *OpenGuard) {
		if (x == nil) == (y == nil) && !touched {
			return
		}
		users, _ := s.dependents.get(guardID(name))
		for key := range users.all() {
			changed[key] = struct{}{}
		}
	})
}

// Metadata is the set's own metadata, which answers have under that of their
// flag. It is shared and must not be changed; nil without any.
func (s *Set) Metadata() map[string]any { return s.view.base.m }
