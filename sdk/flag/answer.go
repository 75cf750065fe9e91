package flag

import (
	"fmt"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/twmb/murmur3"
)

// answer is an evaluation before it is given a type. The variant is nil when
// there is no value. It has four words, as many as the compiler keeps in
// registers; one more costs a static flag a third of its time.
type answer struct {
	variant  *variant
	metadata map[string]any
	failed   *failure
	reason   decider
}

// decider is a Reason in one byte.
type decider uint8

const (
	byStatic decider = iota
	byDefault
	byTargetingMatch
	byDisabled
	byDegraded
	byOverride
	byError
)

var deciders = [...]Reason{
	ReasonStatic, ReasonDefault, ReasonTargetingMatch, ReasonDisabled, ReasonDegraded, ReasonOverride, ReasonError,
}

// answer decides what the flag of a key serves.
func (s *Set) answer(key string, ctx map[string]any) answer {
	f, ok := s.flags.get(key)
	if !ok {
		return s.notServed(key)
	}
	return s.decide(f, ctx)
}

// decide is what a flag serves: override, then disabled, then shed by level
// or guard, then targeting, then the default variant.
func (s *Set) decide(f *served, ctx map[string]any) answer {
	d, v := f.def, s.view
	if f.override != nil {
		return answer{variant: &d.variants[f.override.variant], reason: byOverride, metadata: v.shedMetadata(f)}
	}
	if !d.enabled {
		return answer{reason: byDisabled, metadata: v.plainMetadata(f)}
	}
	reason := byStatic
	if f.rank > 0 {
		if fraction := v.fractions[f.rank]; fraction > 0 {
			if s.sheds(fraction, ctx) {
				return answer{variant: &d.variants[d.degraded], reason: byDegraded, metadata: v.shedMetadata(f)}
			}
			reason = byDefault
		}
	}
	if v.guards.n > 0 && f.metadata != nil && s.guarded(f) {
		return answer{variant: &d.variants[d.degraded], reason: byDegraded, metadata: v.guardedMetadata(f)}
	}
	if f.rule != nil {
		return s.targeted(f, ctx)
	}
	if d.fallback < 0 {
		return answer{reason: byDefault, metadata: v.plainMetadata(f)}
	}
	return answer{variant: &d.variants[d.fallback], reason: reason, metadata: v.plainMetadata(f)}
}

func (s *Set) notServed(key string) answer {
	failed := &failure{FlagNotFound, "there is no flag " + quote(key)}
	if b, ok := s.broken.get(key); ok {
		failed = &failure{ParseError, "the flag " + quote(key) + " does not compile: " + b.faults.Errors()[0].Error()}
	}
	return answer{reason: byError, failed: failed, metadata: s.view.base.m}
}

// guarded tells whether the flag's guard is open.
func (s *Set) guarded(f *served) bool {
	_, open := s.view.guards.get(f.guard())
	return open
}

// targeted evaluates the targeting of a flag.
func (s *Set) targeted(f *served, ctx map[string]any) answer {
	if s.budget != nil {
		return s.frugal(f, ctx)
	}
	e := evaluation{set: s, flag: f.def, ctx: ctx, steps: maxSteps, scope: value{kind: kindRoot}}
	chosen, v := e.outcome(f.rule.root)
	if chosen != nil && !e.exhausted() {
		return answer{variant: chosen, reason: byTargetingMatch, metadata: s.view.plainMetadata(f)}
	}
	return s.conclude(f, &e, v)
}

// conclude turns what targeting yielded into an answer.
func (s *Set) conclude(f *served, e *evaluation, v value) answer {
	d := f.def
	a := answer{metadata: s.view.plainMetadata(f), reason: byError}
	if e.exhausted() {
		a.failed = &failure{ParseError, fmt.Sprintf("the targeting takes more than %d steps with this context", maxSteps)}
		return a
	}
	var name string
	switch v.kind {
	case kindNull:
		a.reason = byDefault
		if d.fallback >= 0 {
			a.variant = &d.variants[d.fallback]
		}
		return a
	case kindString:
		name = v.str()
	default:
		name = e.text(v) // of true the variant "true", of 1 the variant "1"
	}
	if i := d.variant(name); i >= 0 && v.kind <= kindString {
		a.variant, a.reason = &d.variants[i], byTargetingMatch
		return a
	}
	a.failed = &failure{General, "the targeting yields " + quote(name) + ", which is no variant of the flag"}
	return a
}

// halfShed is the fraction from which contexts without a targeting key are shed.
const halfShed = uint32(degrade.One) / 2

// sheds tells whether a context is among the fraction that is shed: flagd's
// fractional bucketing of seed and targeting key, in the set's generation.
func (s *Set) sheds(fraction uint32, ctx map[string]any) bool {
	if fraction >= uint32(degrade.One) {
		return true
	}
	key, ok := ctx[targetingKey].(string)
	if !ok {
		key = otherKey(ctx)
	}
	if key == "" {
		if s.draw != nil {
			return s.draw() < fraction
		}
		return fraction >= halfShed
	}
	v := s.view
	var space [keyBuffer]byte
	b := space[:0]
	if v.bucketing == V3 {
		b = appendCBORHead(b, cborText, uint64(len(v.seed)+len(key)))
	}
	b = append(append(b, v.seed...), key...)
	return inFirst(v.bucketing, murmur3.Sum32(b), int64(fraction), int64(degrade.One))
}

// targetingKey is the name of the key in a context.
const targetingKey = "targetingKey"

// otherKey is a targeting key that is no string, as a composed flag sees it: as
// text, and "" where it counts as false.
func otherKey(ctx map[string]any) string {
	v := contextValue(ctx[targetingKey])
	if !v.truthy() {
		return ""
	}
	e := evaluation{steps: foldSteps}
	return string(e.appendText(nil, v, 0))
}
