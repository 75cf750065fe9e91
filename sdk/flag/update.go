package flag

import (
	"slices"
	"strings"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

// With is the set after an update, as it is at now. It costs as much as what
// changes: a changed evaluator or segment recompiles the flags that use it and
// no others. Flags and rules that do not compile keep their last good version
// and are named in the problems. A snapshot is taken for the changes that lead
// to it from the set, so all of this holds for it too; its problems are those of
// the whole set.
func (s *Set) With(u Update, now time.Time) (*Set, []Problem) {
	b := s.build(u, now)
	if u.Reset {
		u = b.difference(u)
	}
	b.applySettings(u)
	b.applyRules(u)
	b.applyFlags(u)
	b.removeRules(u)
	b.applyOverrides(u)
	b.applyGuards(u)
	return b.finish()
}

// build is an update in progress.
type build struct {
	now         time.Time
	old, next   *Set
	flags       *tableEdit[*served]
	broken      *tableEdit[*brokenFlag]
	rules       *tableEdit[*compiledRule]
	brokenRules *tableEdit[*brokenRule]
	overrides   *tableEdit[pinned]
	guards      *tableEdit[OpenGuard]
	dependents  map[string]*tableEdit[struct{}] // those that were touched
	touched     map[string]bool                 // rules whose meaning changed
	removed     []removedFlag
	problems    map[string]Faults
	whole       bool // the problems of the whole set are told
	stale       bool // the view must be made anew
	timed       bool // something that expires may have changed
}

func (s *Set) build(u Update, now time.Time) *build {
	next := *s
	next.epoch, next.revision, next.print = u.Epoch, u.Revision, u.Fingerprint
	return &build{
		now: now, old: s, next: &next, whole: u.Reset,
		timed: u.Reset || !(s.expires.IsZero() || now.Before(s.expires)),
		flags: next.flags.edit(), broken: next.broken.edit(),
		rules: next.rules.edit(), brokenRules: next.brokenRules.edit(),
		overrides: next.overrides.edit(), guards: next.guards.edit(),
		dependents: map[string]*tableEdit[struct{}]{},
		touched:    map[string]bool{},
		problems:   map[string]Faults{},
	}
}

func (b *build) applySettings(u Update) {
	if u.Level != nil {
		b.next.level = *u.Level
		b.next.level.Holds = slices.Clone(u.Level.Holds)
		b.next.levelAt = u.Revision
		b.stale, b.timed = true, true
	}
	if u.Settings == nil {
		if u.Reset { // they are as before
			b.next.settingsFaults = nil
		}
		return
	}
	kept, before := b.next.settings.Tiers, b.next.settings.tiers()
	b.next.settings, b.next.settingsFaults = *u.Settings, nil
	b.next.settings.Tiers = slices.Clone(u.Settings.Tiers)
	if err := b.next.settings.tiers().Validate(); err != nil {
		b.next.settings.Tiers = kept
		b.next.settingsFaults = Faults{{Path: "$.tiers", Message: err.Error(), Hint: "the tiers before are kept"}}
		b.problems[settingsID] = b.next.settingsFaults
	}
	b.stale = true
	if after := b.next.settings.tiers(); !slices.Equal(before, after) {
		for key, f := range b.flags.done().all() {
			if f.def.degradation != nil {
				ranked := *f
				ranked.rank = rankOf(f.def, after)
				b.flags.set(key, &ranked)
			}
		}
	}
}

// rankOf is the rank of a flag's tier, -1 for a flag that is never shed.
func rankOf(d *Definition, tiers degrade.Tiers) int8 {
	if d.degradation == nil {
		return -1
	}
	if r, ok := tiers.Rank(d.degradation.Tier); ok {
		return int8(r)
	}
	return -1
}

func (b *build) applyFlags(u Update) {
	changed := map[string]bool{}
	for _, key := range u.RemovedFlags {
		changed[key] = true
		b.removeFlag(key)
	}
	for _, source := range u.Flags {
		if !b.hasFlag(source) {
			changed[source.Key] = true
			b.putFlag(source)
		}
	}
	for id := range b.touched {
		for user := range b.usersOf(id).all() {
			if !isRuleID(user) && !changed[user] {
				changed[user] = true
				b.recompileFlag(user)
			}
		}
	}
}

// hasFlag tells whether a text is the newest of its flag already: the flag then
// stays as it is, good or broken.
func (b *build) hasFlag(source Source) bool {
	if bad, ok := b.broken.get(source.Key); ok {
		if bad.source != source {
			return false
		}
		b.problems[source.Key] = bad.faults
		return true
	}
	f, ok := b.flags.get(source.Key)
	return ok && sameText(source.JSON, f.def.text, MaxDefinition)
}

// putFlag compiles a flag and takes it in; if that fails, its last good version
// stays.
func (b *build) putFlag(source Source) {
	if bad, ok := b.broken.get(source.Key); ok {
		b.unlink(source.Key, bad.refs, "")
		b.broken.delete(source.Key)
		if good, ok := b.flags.get(source.Key); ok {
			b.link(source.Key, good.def.refs, "") // unlink may have taken these
		}
	}
	delete(b.problems, source.Key)
	f, refs, faults := b.compileFlag(source)
	if f == nil {
		b.broken.set(source.Key, &brokenFlag{source, faults, refs})
		b.link(source.Key, refs, "")
		b.problems[source.Key] = faults
		return
	}
	if old, ok := b.flags.get(source.Key); ok {
		b.unlink(source.Key, old.def.refs, old.guard())
		f.def.inherit(old.def)
	}
	b.link(source.Key, f.def.refs, f.guard())
	b.flags.set(source.Key, f)
}

// recompileFlag compiles a flag again because a rule changed.
func (b *build) recompileFlag(key string) {
	if bad, ok := b.broken.get(key); ok {
		b.putFlag(bad.source)
		return
	}
	if f, ok := b.flags.get(key); ok {
		b.putFlag(Source{key, f.def.text})
	}
}

func (b *build) removeFlag(key string) {
	if bad, ok := b.broken.get(key); ok {
		b.unlink(key, bad.refs, "")
		b.broken.delete(key)
	}
	if f, ok := b.flags.get(key); ok {
		b.unlink(key, f.def.refs, f.guard())
		b.flags.delete(key)
		b.removed = append(b.removed, removedFlag{key, b.next.revision})
	}
	delete(b.problems, key)
}

// compileFlag is the flag as it is served from now on. The references are known
// even when it does not compile, so that it can be tried again.
func (b *build) compileFlag(source Source) (*served, *references, Faults) {
	d, tree, faults := parseFlag(source.Key, source.JSON, Env{Tiers: nil})
	if d == nil {
		return nil, nil, faults
	}
	f := &served{def: d, rank: rankOf(d, b.next.settings.tiers())}
	if d.targeted {
		p, faults := b.compileTargeting(d, &tree)
		if p == nil {
			return nil, d.refs, faults
		}
		f.rule = p
	}
	if o, ok := b.overrides.get(source.Key); ok {
		f.override = overrideFor(d, o)
	}
	f.prepare()
	return f, d.refs, nil
}

// prepare gives the flag its own metadata slots if it needs any.
func (f *served) prepare() {
	f.metadata = nil
	if f.def.metadata != nil || f.override != nil || f.guard() != "" {
		f.metadata = &flagMetadata{}
	}
}

func (f *served) guard() string {
	if f.def.degradation == nil {
		return ""
	}
	return f.def.degradation.Guard
}

// addLostOverrides adds a warning for each override that counts for nothing because
// its flag does not have the variant.
func (s *Set) addLostOverrides(problems map[string]Faults) {
	for key, o := range s.overrides.all() {
		if f, ok := s.flags.get(key); ok && f.def.variant(o.Variant) < 0 {
			problems[key] = append(slices.Clip(problems[key]), Fault{
				Severity: Warning, Message: "an override names the variant " + quote(o.Variant) + ", which is gone", Hint: "remove the override",
			})
		}
	}
}

// overrideFor is an override as it applies to a definition; nil if that does not
// have the variant.
func overrideFor(d *Definition, o pinned) *overridden {
	if i := d.variant(o.Variant); i >= 0 {
		return &overridden{i, o.revision}
	}
	return nil
}

func (b *build) applyOverrides(u Update) {
	b.timed = b.timed || len(u.Overrides)+len(u.RemovedOverrides) > 0
	for _, key := range u.RemovedOverrides {
		b.overrides.delete(key)
		b.pin(key)
	}
	for _, o := range u.Overrides {
		if u.Reset && b.hasOverride(o) {
			continue
		}
		b.overrides.set(o.Key, pinned{o, u.Revision})
		b.pin(o.Key)
	}
	if !b.timed {
		return
	}
	for key, o := range b.overrides.done().all() {
		if !o.live(b.now) {
			b.overrides.delete(key)
			b.pin(key)
		}
	}
}

// pin brings the flag's override up to what the overrides say.
func (b *build) pin(key string) {
	f, ok := b.flags.get(key)
	if !ok {
		return
	}
	next := *f
	next.override = nil
	if o, ok := b.overrides.get(key); ok && o.live(b.now) {
		next.override = overrideFor(f.def, o)
	}
	if f.override == nil && next.override == nil {
		return // what goes had ended before
	}
	next.prepare()
	b.flags.set(key, &next)
}

func (b *build) applyGuards(u Update) {
	for _, name := range u.ClosedGuards {
		b.guards.delete(name)
	}
	for _, g := range u.OpenGuards {
		if old, ok := b.guards.get(g.Name); !ok || !old.Until.Equal(g.Until) {
			b.guards.set(g.Name, g)
		}
	}
	b.timed = b.timed || len(u.OpenGuards)+len(u.ClosedGuards) > 0
	if b.timed {
		for name, g := range b.guards.done().all() {
			if !g.live(b.now) {
				b.guards.delete(name)
			}
		}
	}
	b.stale = b.stale || b.guards.root != b.next.guards.root
}

// finish puts the new set together.
func (b *build) finish() (*Set, []Problem) {
	n := b.next
	n.flags, n.broken = b.flags.done(), b.broken.done()
	n.rules, n.brokenRules = b.rules.done(), b.brokenRules.done()
	n.overrides, n.guards = b.overrides.done(), b.guards.done()
	if len(b.removed) > 0 {
		all := slices.Concat(n.removed, b.removed)
		n.removed = all[max(0, len(all)-maxRemoved):]
	}
	dependents := n.dependents.edit()
	for id, users := range b.dependents {
		if users.n == 0 {
			dependents.delete(id)
		} else {
			dependents.set(id, users.done())
		}
	}
	n.dependents = dependents.done()
	if level := min(n.level.At(b.now), n.settings.tiers().Max()); b.stale || level != n.view.level {
		n.view = n.look(level, n.view)
	}
	if b.timed {
		n.expires = n.nextExpiry(b.now)
	}
	var problems []Problem
	if b.whole {
		n.addLostOverrides(b.problems)
	}
	for key, faults := range b.problems {
		problems = append(problems, Problem{ruleLabel(key), faults})
	}
	sortProblems(problems)
	return n, problems
}

// nextExpiry is when the next override, hold or guard that is live at now ends.
func (s *Set) nextExpiry(now time.Time) time.Time {
	next, _ := s.level.NextExpiry(now)
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, o := range s.overrides.all() {
		sooner(o.ExpiresAt)
	}
	for _, g := range s.guards.all() {
		sooner(g.Until)
	}
	return next
}

func sortProblems(list []Problem) {
	slices.SortFunc(list, func(a, b Problem) int { return strings.Compare(a.Key, b.Key) })
}

// usersOf are the flags and rules that refer to a rule or guard.
func (b *build) usersOf(id string) table[struct{}] {
	if e, ok := b.dependents[id]; ok {
		return e.done()
	}
	t, _ := b.next.dependents.get(id)
	return t
}

func (b *build) editUsers(id string) *tableEdit[struct{}] {
	e, ok := b.dependents[id]
	if !ok {
		t, _ := b.next.dependents.get(id)
		e = t.edit()
		b.dependents[id] = e
	}
	return e
}

// link notes that a flag or rule refers to rules and perhaps a guard.
func (b *build) link(user string, refs *references, guard string) {
	for id := range refs.ids(guard) {
		b.editUsers(id).set(user, struct{}{})
	}
}

func (b *build) unlink(user string, refs *references, guard string) {
	for id := range refs.ids(guard) {
		b.editUsers(id).delete(user)
	}
}
