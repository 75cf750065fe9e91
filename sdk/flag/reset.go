package flag

import (
	"reflect"
	"strings"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

// difference is a snapshot as the changes that lead to it. What it does not name
// is removed; what it has in common with the set is left as it is, here or where
// the changes are applied.
func (b *build) difference(u Update) Update {
	s, sourceKey := b.old, func(s Source) string { return s.Key }
	flags := names(u.Flags, sourceKey)
	u.RemovedFlags = append(missing(s.flags, "", flags), missing(s.broken, "", flags)...)

	evaluators, segments := names(u.Evaluators, sourceKey), names(u.Segments, sourceKey)
	u.RemovedEvaluators = append(missing(s.rules, evaluatorMark, evaluators), missing(s.brokenRules, evaluatorMark, evaluators)...)
	u.RemovedSegments = append(missing(s.rules, segmentMark, segments), missing(s.brokenRules, segmentMark, segments)...)

	u.RemovedOverrides = missing(s.overrides, "", names(u.Overrides, func(o Override) string { return o.Key }))
	u.ClosedGuards = missing(s.guards, "", names(u.OpenGuards, func(g OpenGuard) string { return g.Name }))

	switch {
	case u.Level == nil && (s.levelAt != 0 || !reflect.DeepEqual(s.level, degrade.LevelState{})):
		b.next.level, b.next.levelAt, b.stale = degrade.LevelState{}, 0, true
	case u.Level != nil && reflect.DeepEqual(s.level, *u.Level) && b.keeps(s.levelAt):
		u.Level = nil
	}
	if u.Settings == nil {
		u.Settings = &Settings{}
	}
	if reflect.DeepEqual(s.settings, *u.Settings) {
		u.Settings = nil
	}
	return u
}

// hasOverride tells whether the set has an override of a snapshot already. It
// then keeps the revision that it came with.
func (b *build) hasOverride(o Override) bool {
	old, ok := b.overrides.get(o.Key)
	return ok && old.Variant == o.Variant && old.ExpiresAt.Equal(o.ExpiresAt) && b.keeps(old.revision)
}

// keeps tells whether a revision of the set before is one of the snapshot's
// history too, as far as can be told.
func (b *build) keeps(revision int64) bool {
	return b.old.epoch == b.next.epoch && revision <= b.next.revision
}

// names are the keys of a list.
func names[T any](list []T, key func(T) string) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, item := range list {
		set[key(item)] = true
	}
	return set
}

// missing are the keys of a table, of those with a mark, that are not named.
func missing[V any](t table[V], mark string, named map[string]bool) []string {
	var list []string
	for key := range t.all() {
		if name, ok := strings.CutPrefix(key, mark); ok && !named[name] {
			list = append(list, name)
		}
	}
	return list
}

// sameText tells whether a text is a compact one but for white space between its
// tokens.
func sameText(text, compact string, most int) bool {
	if len(text) <= len(compact) || len(text) > most {
		return text == compact
	}
	_, p := parseJSON(text)
	return p.hard == nil && compactJSON(text) == compact
}
