package ui

import (
	"slices"
	"strings"

	"github.com/plimsoll-dev/plimsoll/ui/internal/rules"
)

// What the fields of the editor offer and are called.

// questionsFor are the questions that a condition may ask; one that is not
// offered to new ones stays.
func questionsFor(c rules.Cond) []rules.Question {
	code := c.Code()
	if slices.ContainsFunc(rules.Questions, func(q rules.Question) bool { return q.Code == code }) {
		return rules.Questions
	}
	return append(slices.Clone(rules.Questions), rules.Question{Code: code, Text: c.Asks()})
}

func nameLabel(c rules.Cond) string {
	switch c.Op {
	case rules.OpSegment:
		return "Segment"
	case rules.OpRef:
		return "Evaluator"
	}
	return "Attribute of the context"
}

func namePlaceholder(c rules.Cond) string {
	if c.Op.TakesName() {
		return "name"
	}
	return "attribute, such as country"
}

func valueLabel(c rules.Cond) string {
	if c.Op == rules.OpIn {
		return "Values, separated by commas"
	}
	return "Value"
}

func valuePlaceholder(c rules.Cond) string {
	switch {
	case c.Op == rules.OpIn:
		return "de, at, ch"
	case strings.HasPrefix(string(c.Op), "sem_ver"):
		return "1.4.0"
	}
	return "value"
}

func invalidText(e *editor, field string) string {
	if e.problemOf(field) != "" {
		return "true"
	}
	return "false"
}

// variantsWith are the variants, and the one that is chosen even if there is
// none of this name.
func variantsWith(e *editor, chosen string) []string {
	names := e.variantNames()
	if !slices.Contains(names, chosen) {
		names = append([]string{chosen}, names...)
	}
	return names
}

// tiersWith are the tiers, and the one that is chosen even if the plan has none
// of this name.
func tiersWith(e *editor) []string {
	if t := e.Fields.Tier; t != "" && !slices.Contains(e.tiers, t) {
		return append([]string{t}, e.tiers...)
	}
	return e.tiers
}

// long tells whether a text needs a field of several lines.
func long(s string) bool { return len(s) > 60 || strings.Contains(s, "\n") }

// head is the first number of a place such as 2.1.0.
func head(at string) string {
	first, _, _ := strings.Cut(at, ".")
	return first
}
