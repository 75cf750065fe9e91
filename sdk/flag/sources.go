package flag

import (
	"iter"
	"slices"
	"strings"
)

// Sources are updates that lead, one after the other, from the empty set to one
// that serves what this one does, keeps the same last good versions, and has the
// same problems: so that a set can be written down and made again. They share
// their texts with the set.
//
// The first is a snapshot of what compiles. Those between bring overrides and the
// level at the revisions that they came with, which answers show. Where something
// does not compile, the last brings it.
//
// Not given back are open guards, which each process finds out by itself, and what
// the set itself no longer has: invalid tiers, and the older text of a rule. A last good version that used it is compiled with the rule as it is
// now, if it can be.
func (s *Set) Sources() iter.Seq[Update] {
	return func(yield func(Update) bool) {
		for _, u := range s.goodSources() {
			if !yield(u) {
				return
			}
		}
		if u := s.brokenSources(); len(u.Flags)+len(u.Evaluators)+len(u.Segments)+len(u.RemovedEvaluators)+len(u.RemovedSegments) > 0 {
			yield(u)
		}
	}
}

// goodSources are a snapshot of all that compiles, as of the first revision that
// an answer may show, and what follows in the order of revisions.
func (s *Set) goodSources() []Update {
	overrides := map[int64][]Override{}
	revisions := []int64{s.revision}
	for _, o := range s.overrides.all() {
		overrides[o.revision] = append(overrides[o.revision], o.Override)
		revisions = append(revisions, o.revision)
	}
	hasLevel := s.levelAt != 0 || s.level.Auto != 0 || s.level.Seed != "" || s.level.Holds != nil
	if hasLevel {
		revisions = append(revisions, s.levelAt)
	}
	slices.Sort(revisions)
	revisions = slices.Compact(revisions)

	updates := make([]Update, len(revisions))
	for i, revision := range revisions {
		u := Update{Epoch: s.epoch, Revision: revision, Fingerprint: s.print, Overrides: overrides[revision]}
		slices.SortFunc(u.Overrides, func(a, b Override) int { return strings.Compare(a.Key, b.Key) })
		if hasLevel && revision == s.levelAt {
			level := s.level
			level.Holds = slices.Clone(level.Holds)
			u.Level = &level
		}
		updates[i] = u
	}

	first := &updates[0]
	first.Reset = true
	settings := s.settings
	settings.Tiers = slices.Clone(settings.Tiers)
	first.Settings = &settings
	first.Flags = make([]Source, 0, s.flags.n)
	for key, f := range s.flags.all() {
		first.Flags = append(first.Flags, Source{key, f.def.text})
	}
	for id, c := range s.rules.all() {
		first.addRule(id, Source{c.rule.name, c.rule.text})
	}
	first.sort()
	return updates
}

// brokenSources are the newest versions that do not compile, and the rules that
// were removed while something still refers to them.
func (s *Set) brokenSources() Update {
	u := Update{Epoch: s.epoch, Revision: s.revision, Fingerprint: s.print}
	for _, b := range s.broken.all() {
		u.Flags = append(u.Flags, b.source)
	}
	for id, b := range s.brokenRules.all() {
		if !b.removed {
			u.addRule(id, b.source)
		} else if name, ok := strings.CutPrefix(id, evaluatorMark); ok {
			u.RemovedEvaluators = append(u.RemovedEvaluators, name)
		} else {
			u.RemovedSegments = append(u.RemovedSegments, strings.TrimPrefix(id, segmentMark))
		}
	}
	u.sort()
	return u
}

func (u *Update) addRule(id string, source Source) {
	if strings.HasPrefix(id, evaluatorMark) {
		u.Evaluators = append(u.Evaluators, source)
	} else {
		u.Segments = append(u.Segments, source)
	}
}

// sort puts what comes from tables, which have no order, into one.
func (u *Update) sort() {
	for _, list := range [][]Source{u.Flags, u.Evaluators, u.Segments} {
		slices.SortFunc(list, func(a, b Source) int { return strings.Compare(a.Key, b.Key) })
	}
	slices.Sort(u.RemovedEvaluators)
	slices.Sort(u.RemovedSegments)
}
