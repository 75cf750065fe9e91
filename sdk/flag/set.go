package flag

import (
	"iter"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

// Source is the text of a flag, an evaluator or a segment.
type Source struct{ Key, JSON string }

// Override pins a flag to a variant until it expires; a zero ExpiresAt never
// does.
type Override struct {
	Key, Variant string
	ExpiresAt    time.Time
}

// live tells whether the override still counts at now.
func (o Override) live(now time.Time) bool {
	return o.ExpiresAt.IsZero() || now.Before(o.ExpiresAt)
}

// OpenGuard is a guard whose breaker is open until a moment; a zero Until is
// open until it is closed.
type OpenGuard struct {
	Name  string
	Until time.Time
}

func (g OpenGuard) live(now time.Time) bool {
	return g.Until.IsZero() || now.Before(g.Until)
}

// Update is one step from a set to the next.
type Update struct {
	// Reset tells that the update is a snapshot: what it does not name is
	// removed, and a nil Level or Settings stands for the zero one. The Removed
	// lists and ClosedGuards then say nothing more. An override or a level that
	// is as before keeps its revision while the epoch is the same.
	Reset bool

	Flags        []Source
	RemovedFlags []string

	Evaluators, Segments               []Source
	RemovedEvaluators, RemovedSegments []string

	Overrides        []Override
	RemovedOverrides []string

	// OpenGuards degrade the flags that name them; ClosedGuards do not any more.
	OpenGuards   []OpenGuard
	ClosedGuards []string

	// Level and Settings replace the ones before; nil leaves them, but in a
	// snapshot.
	Level    *degrade.LevelState
	Settings *Settings

	// Epoch and Revision are the position after this update, and Fingerprint
	// tells which history it is one of; 0: not known.
	Epoch       uint64
	Revision    int64
	Fingerprint uint64
}

// Problem is a flag (or a rule, whose Key is then $evaluators["NAME"] or
// segments["NAME"]) that could not be compiled: it keeps its last good version.
// A flag that never had one answers with PARSE_ERROR. With the key $settings it is
// about the set's settings, whose tiers are kept as before. Faults that are
// warnings are about a flag's override, which counts for nothing; an update that is
// no snapshot does not tell them.
type Problem struct {
	Key    string
	Faults Faults
}

// Set is an immutable compiled set of flags with everything that decides what
// they serve. It is safe for concurrent use, and its versions share structure:
// one change costs microseconds, whatever the size of the set.
type Set struct {
	flags       table[*served]
	broken      table[*brokenFlag]
	rules       table[*compiledRule]
	brokenRules table[*brokenRule]
	dependents  table[table[struct{}]] // by rule or guard: who refers to it
	overrides   table[pinned]
	guards      table[OpenGuard]
	removed     []removedFlag // the newest, oldest first

	view     *view
	settings Settings
	// settingsFaults are why the newest tiers are not those of settings.
	settingsFaults Faults

	level    degrade.LevelState
	levelAt  int64 // revision of the level
	epoch    uint64
	revision int64
	print    uint64    // of the history
	expires  time.Time // when something next expires; zero: never

	source string
	clock  func() time.Time
	draw   func() uint32
	counts *Counts // nil: nothing is counted
	budget *budget // nil: each evaluation has its own bound alone
}

// served is a flag as a set serves it.
type served struct {
	def      *Definition
	rule     *program      // nil without targeting
	override *overridden   // nil without
	metadata *flagMetadata // nil when the flag adds nothing to the shared maps
	rank     int8          // of its tier; -1 without a degradation block or with an unknown tier
}

// overridden is an override as it applies to its flag.
type overridden struct {
	variant  int32
	revision int64
}

// pinned is an override and the revision it came with.
type pinned struct {
	Override
	revision int64
}

// brokenFlag is a flag that does not compile.
type brokenFlag struct {
	source Source
	faults Faults
	refs   *references
}

// Empty is the set without flags, at revision 0 of epoch 0.
func Empty() *Set {
	s := &Set{clock: time.Now}
	s.view = s.look(0, nil)
	return s
}

// At is the set as it is at now: overrides, holds and open guards that are due
// no longer count. It returns the set itself when nothing is due.
func (s *Set) At(now time.Time) *Set {
	if s.expires.IsZero() || now.Before(s.expires) {
		return s
	}
	next, _ := s.With(Update{Epoch: s.epoch, Revision: s.revision, Fingerprint: s.print}, now)
	return next
}

// NextExpiry is when At must be called next; false if nothing expires.
func (s *Set) NextExpiry() (time.Time, bool) { return s.expires, !s.expires.IsZero() }

// Tagged is the set with metadata "source" in each answer; "" removes it.
func (s *Set) Tagged(source string) *Set {
	next := *s
	next.source = source
	next.view = next.look(s.view.level, s.view)
	return &next
}

// WithClock is the set with another clock for $flagd.timestamp; the default is
// time.Now. The clock must be safe for concurrent use.
func (s *Set) WithClock(clock func() time.Time) *Set {
	next := *s
	next.clock = clock
	return &next
}

// WithKeylessDraw is the set with a source of draws for contexts without a
// targeting key: such a context is shed where the draw, a number from 0 to
// 999 999, is below the tier's shed fraction. A draw that is the same for all
// evaluations of one request keeps the request consistent. Nil, the default,
// sheds all of them from fraction 0.5 on, as composed sets do. The function must
// be safe for concurrent use.
func (s *Set) WithKeylessDraw(draw func() uint32) *Set {
	next := *s
	next.draw = draw
	return &next
}

// Epoch and Revision are the position of the set.
func (s *Set) Epoch() uint64 { return s.epoch }

// Revision is the revision of the set, within its epoch.
func (s *Set) Revision() int64 { return s.revision }

// Fingerprint tells which history the position is one of; 0: not known.
func (s *Set) Fingerprint() uint64 { return s.print }

// Len is the number of flags.
func (s *Set) Len() int { return s.flags.n }

// Level is the level in force.
func (s *Set) Level() degrade.Level { return s.view.level }

// LevelState is what the level follows from. Its holds must not be changed.
func (s *Set) LevelState() degrade.LevelState { return s.level }

// Settings are what the set decides for all flags.
func (s *Set) Settings() Settings { return s.settings }

// Lookup is the definition of a flag that compiled.
func (s *Set) Lookup(key string) (*Definition, bool) {
	f, ok := s.flags.get(key)
	if !ok {
		return nil, false
	}
	return f.def, true
}

// Keys are the keys of all flags that compiled, in no order.
func (s *Set) Keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for key := range s.flags.all() {
			if !yield(key) {
				return
			}
		}
	}
}

// Problems are the flags and rules whose newest version does not compile, tiers
// that are invalid, and overrides to variants that are gone, sorted by key.
func (s *Set) Problems() []Problem {
	problems := map[string]Faults{}
	for key, b := range s.broken.all() {
		problems[key] = b.faults
	}
	for id, b := range s.brokenRules.all() {
		problems[id] = b.faults
	}
	if s.settingsFaults != nil {
		problems[settingsID] = s.settingsFaults
	}
	s.addLostOverrides(problems)
	var list []Problem
	for id, faults := range problems {
		list = append(list, Problem{ruleLabel(id), faults})
	}
	sortProblems(list)
	return list
}
