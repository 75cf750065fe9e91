package flag

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"unicode/utf8"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

// Limits of a definition, in bytes.
const (
	// MaxDefinition is the largest text of a flag.
	MaxDefinition = 64 << 10
	// MaxRule is the largest text of an evaluator or segment.
	MaxRule = 64 << 10
	// MaxKey is the longest key of a flag.
	MaxKey = 256
)

// CheckKey says what is wrong with a flag's key: it must be 1 to MaxKey bytes of
// UTF-8 without control characters.
func CheckKey(key string) error {
	switch {
	case key == "":
		return errors.New("a flag's key must not be empty")
	case len(key) > MaxKey:
		return fmt.Errorf("the key %s has %d bytes; at most %d are allowed", quote(key), len(key), MaxKey)
	case !utf8.ValidString(key):
		return fmt.Errorf("the key %s is not valid UTF-8", quote(key))
	}
	for _, r := range key {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return fmt.Errorf("the key %s has a control character, U+%04X", quote(key), r)
		}
	}
	return nil
}

// Type is the type of all variants of a flag.
type Type uint8

// The types.
const (
	Bool Type = iota + 1
	String
	Number
	Object
)

// String is the type's name: bool, string, number or object.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return typeNames[0]
}

var typeNames = [...]string{"unknown", "bool", "string", "number", "object"}

// Env is what a definition may refer to.
type Env struct {
	// Tiers are the namespace's. Nil: a tier is not checked, but for a warning
	// when it is none of the default ones.
	Tiers degrade.Tiers
	// HasEvaluator and HasSegment tell whether a name exists. Nil: references
	// are not checked.
	HasEvaluator, HasSegment func(name string) bool
	// EvaluatorNames and SegmentNames are asked for a hint when a reference
	// leads nowhere. May be nil.
	EvaluatorNames, SegmentNames func() []string
}

// Degradation says how a flag takes part in degradation.
type Degradation struct {
	// Tier is how important the flag is.
	Tier string
	// DegradedVariant is what is served when the flag is shed.
	DegradedVariant string
	// DependsOn names the dependencies that the flag needs.
	DependsOn []string
	// Guard names the guard of the plan that degrades the flag, "" for none.
	Guard string
}

// Info is what people want to know of a flag.
type Info struct {
	Owner, Expires, Description string
	Labels                      map[string]string
}

// Definition is one parsed, valid flag. It is immutable and safe for concurrent
// use; what its methods return must not be changed.
type Definition struct {
	key         string
	text        string // compact
	variants    []variant
	metadata    map[string]any // the flag's own; nil without
	degradation *Degradation
	info        *Info
	refs        *references // nil without
	fallback    int32       // index of the default variant, -1 without
	degraded    int32       // index of the degraded variant, -1 without
	typ         Type
	enabled     bool
	targeted    bool // has targeting that is not empty

	unserved atomic.Pointer[tally] // evaluations that served no variant; nil before the first
}

// variant is one of the values of a flag.
type variant struct {
	name  string
	json  string // the value's text
	value any    // bool, string, float64 or map[string]any

	served atomic.Pointer[tally] // evaluations that served it; nil before the first
}

// references are the names a rule refers to, sorted.
type references struct {
	evaluators, segments []string
}

// Key is the flag's key.
func (d *Definition) Key() string { return d.key }

// JSON is the definition as one compact JSON object, its members in the
// author's order.
func (d *Definition) JSON() string { return d.text }

// Type is the type of the flag's variants.
func (d *Definition) Type() Type { return d.typ }

// Enabled tells whether the flag's state is ENABLED.
func (d *Definition) Enabled() bool { return d.enabled }

// Targeted tells whether the flag has targeting that is not empty.
func (d *Definition) Targeted() bool { return d.targeted }

// Variants are the names of the variants, in the author's order.
func (d *Definition) Variants() []string {
	names := make([]string, len(d.variants))
	for i := range d.variants {
		names[i] = d.variants[i].name
	}
	return names
}

// Variant is the value of the named variant as compact JSON text.
func (d *Definition) Variant(name string) (json string, ok bool) {
	if i := d.variant(name); i >= 0 {
		return d.variants[i].json, true
	}
	return "", false
}

func (d *Definition) variant(name string) int32 {
	for i := range d.variants {
		if d.variants[i].name == name {
			return int32(i)
		}
	}
	return -1
}

// DefaultVariant is the name of the default variant, if there is one.
func (d *Definition) DefaultVariant() (string, bool) {
	if d.fallback < 0 {
		return "", false
	}
	return d.variants[d.fallback].name, true
}

// Evaluators are the names of the evaluators that the targeting refers to
// directly, sorted.
func (d *Definition) Evaluators() []string { return d.refs.evaluatorNames() }

// Segments are the names of the segments that the targeting refers to directly,
// sorted.
func (d *Definition) Segments() []string { return d.refs.segmentNames() }

// Degradation is the flag's degradation block with its defaults filled in; nil
// without the block.
func (d *Definition) Degradation() *Degradation {
	if d.degradation == nil {
		return nil
	}
	block := *d.degradation
	block.DependsOn = slices.Clone(block.DependsOn)
	return &block
}

// Info is the flag's plimsoll block.
func (d *Definition) Info() Info {
	if d.info == nil {
		return Info{}
	}
	info := *d.info
	info.Labels = maps.Clone(info.Labels)
	return info
}

func (r *references) evaluatorNames() []string {
	if r == nil {
		return nil
	}
	return slices.Clone(r.evaluators)
}

func (r *references) segmentNames() []string {
	if r == nil {
		return nil
	}
	return slices.Clone(r.segments)
}
