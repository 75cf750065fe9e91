// Package rules is the targeting of a flag as a form: what the console's editor
// shows as fields and in words.
//
// Parse reads JSONLogic of the common shapes into a Model; what a Model cannot
// hold without loss it refuses with the reason, and the editor then shows the
// JSON itself. Model.JSON writes it back. Decode and Model.Encode turn forms into
// models and back; Edit is one press of a button of the editor, so that it works
// without a script. Object edits a definition member by member and keeps what it
// does not know.
//
// There is no I/O in it. Models are plain values: who shares one between
// goroutines does not change it.
package rules

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what is shown as a form.
const (
	maxRules  = 100
	maxConds  = 50
	maxValues = 1000
	maxShares = 50
	// MaxWeight is the largest sum of the weights of a split.
	MaxWeight = 1<<31 - 1
)

// Model is a targeting: the first rule that holds decides.
type Model struct {
	Rules []Rule
	// Else is what is served when no rule holds.
	Else Result
}

// Rule serves Then to whom When holds for.
type Rule struct {
	When Group
	Then Result
}

// Group holds if all of its conditions do, or, with Any, if one of them does. One
// without conditions always holds.
type Group struct {
	Any   bool
	Conds []Cond
}

// Cond is one condition, or a group of conditions that are no groups themselves.
type Cond struct {
	// Op is what is asked; see the constants.
	Op Op
	// Not turns the answer round.
	Not bool
	// Name is the attribute of the context, or the segment or evaluator.
	Name string
	// Values are what the attribute is compared with, as JSON text: a list for
	// OpIn, nothing for the operators that need none, else one.
	Values []string
	// Group is set for OpGroup alone.
	Group *Group
}

// Op is the question of a condition. Comparisons are named as in JSONLogic.
type Op string

// The questions that are no comparison of JSONLogic with a constant, or are
// written otherwise there.
const (
	OpEqual      Op = "=="
	OpIn         Op = "in"       // the attribute is one of the values
	OpContains   Op = "contains" // the value is part of the attribute
	OpStartsWith Op = "starts_with"
	OpEndsWith   Op = "ends_with"
	OpHas        Op = "has" // the context has the attribute
	OpTrue       Op = "true"
	OpSegment    Op = "segment"
	OpRef        Op = "$ref"
	OpGroup      Op = "group"

	semVerPrefix = "sem_ver "
)

// comparisons take an attribute and a constant, in this order.
var comparisons = map[Op]bool{
	OpEqual: true, "!=": true, "===": true, "!==": true, "<": true, "<=": true, ">": true, ">=": true,
	OpStartsWith: true, OpEndsWith: true,
	semVerPrefix + "=": true, semVerPrefix + "!=": true, semVerPrefix + "<": true, semVerPrefix + "<=": true,
	semVerPrefix + ">": true, semVerPrefix + ">=": true, semVerPrefix + "~": true, semVerPrefix + "^": true,
}

// TakesName tells whether the question is about a segment or an evaluator and not
// about an attribute.
func (o Op) TakesName() bool { return o == OpSegment || o == OpRef }

// TakesValue tells whether the question needs a value.
func (o Op) TakesValue() bool { return comparisons[o] || o == OpIn || o == OpContains }

// textOnly tells whether the value can be nothing but text, so that 2.0 is meant
// as one.
func (o Op) textOnly() bool {
	return o == OpStartsWith || o == OpEndsWith || strings.HasPrefix(string(o), semVerPrefix)
}

func (o Op) known() bool {
	switch o {
	case OpHas, OpTrue, OpSegment, OpRef, OpGroup:
		return true
	default:
		return o.TakesValue()
	}
}

// ResultKind says what a rule serves.
type ResultKind string

// The kinds.
const (
	// ServeDefault serves the default variant.
	ServeDefault ResultKind = "default"
	// ServeVariant serves one variant.
	ServeVariant ResultKind = "variant"
	// ServeSplit divides users between variants.
	ServeSplit ResultKind = "split"
)

// Result is what is served.
type Result struct {
	Kind ResultKind
	// Variant is set for ServeVariant.
	Variant string
	// By is the attribute that decides which share somebody belongs to; "": the
	// targeting key, with the flag's key.
	By string
	// Salted adds the flag's key to By, so that each flag chooses other users.
	Salted bool
	// Shares are set for ServeSplit.
	Shares []Share
}

// Share is a variant's part of a split, in proportion to all weights.
type Share struct {
	Variant string
	Weight  int64
}

// Total is the sum of the weights of a split.
func (r Result) Total() int64 {
	var sum int64
	for _, s := range r.Shares {
		sum += s.Weight
	}
	return sum
}

// Empty tells whether there is no targeting at all.
func (m Model) Empty() bool { return len(m.Rules) == 0 && m.Else.Kind != ServeSplit }

// Rename replaces names of variants, all at once, wherever a rule serves them.
func (m *Model) Rename(names map[string]string) {
	one := func(s *string) {
		if to, ok := names[*s]; ok {
			*s = to
		}
	}
	rename := func(r *Result) {
		one(&r.Variant)
		for i := range r.Shares {
			one(&r.Shares[i].Variant)
		}
	}
	rename(&m.Else)
	for i := range m.Rules {
		rename(&m.Rules[i].Then)
	}
}

// Fill gives each split that has no shares yet even ones of these variants.
func (m *Model) Fill(variants []string) {
	fill := func(r *Result) {
		if r.Kind != ServeSplit || len(r.Shares) > 0 {
			return
		}
		n := int64(min(len(variants), maxShares))
		for i := range n {
			// The remainder goes to the first ones, so that all add up to 100.
			w := 100 / n
			if i < 100%n {
				w++
			}
			r.Shares = append(r.Shares, Share{variants[i], w})
		}
	}
	fill(&m.Else)
	for i := range m.Rules {
		fill(&m.Rules[i].Then)
	}
}

// plain tells whether a name survives a field of a form: no control characters,
// no space at its ends, no character that stands for a broken one.
func plain(s string) bool {
	return s != "" && s == strings.TrimSpace(s) && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError })
}

// Attribute is an attribute of the context that rules ask for.
type Attribute struct {
	Name string
	// Example is a value that it is compared with, as JSON text; "": none.
	Example string
}

// Attributes are what the rules ask for, each once, in the order of the rules.
func (m Model) Attributes() []Attribute {
	var out []Attribute
	add := func(name, example string) {
		for i := range out {
			if out[i].Name == name {
				if out[i].Example == "" {
					out[i].Example = example
				}
				return
			}
		}
		if name != "" {
			out = append(out, Attribute{name, example})
		}
	}
	var group func(Group)
	group = func(g Group) {
		for _, c := range g.Conds {
			switch {
			case c.Op == OpGroup:
				group(*c.Group)
			case c.Op.TakesName():
			case len(c.Values) > 0:
				add(c.Name, c.Values[0])
			default:
				add(c.Name, "")
			}
		}
	}
	for _, r := range m.Rules {
		group(r.When)
		add(r.Then.By, "")
	}
	add(m.Else.By, "")
	return out
}
