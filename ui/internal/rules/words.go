package rules

import (
	"fmt"
	"strconv"
	"strings"
)

// Word is a piece of a rule in words.
type Word struct {
	Text string
	// Kind says what it is: "" for words of ours, else attribute, value, variant
	// or name (of a segment or evaluator), which are somebody's text.
	Kind string
}

// Question is an operator as a person reads it.
type Question struct {
	// Code is its value in a form, Text what it says.
	Code, Text string
}

// Questions are all that an editor offers.
var Questions = []Question{
	{"==", "is"}, {"!=", "is not"},
	{"in", "is one of"}, {"not in", "is none of"},
	{"contains", "contains"}, {"not contains", "does not contain"},
	{"starts_with", "starts with"}, {"not starts_with", "does not start with"},
	{"ends_with", "ends with"}, {"not ends_with", "does not end with"},
	{"<", "is less than"}, {"<=", "is at most"}, {">", "is more than"}, {">=", "is at least"},
	{"sem_ver =", "is version"}, {"sem_ver !=", "is not version"},
	{"sem_ver <", "is a version before"}, {"sem_ver <=", "is a version up to"},
	{"sem_ver >", "is a version after"}, {"sem_ver >=", "is a version from"},
	{"sem_ver ^", "has the major version of"}, {"sem_ver ~", "has the minor version of"},
	{"has", "is given"}, {"not has", "is not given"},
	{"true", "is true or not empty"}, {"not true", "is false or empty"},
	{"===", "is exactly"}, {"!==", "is not exactly"},
	{"segment", "is in the segment"}, {"not segment", "is not in the segment"},
	{"$ref", "meets the evaluator"}, {"not $ref", "does not meet the evaluator"},
}

// Asks is a condition's question in words.
func (c Cond) Asks() string {
	code := c.Code()
	for _, q := range Questions {
		if q.Code == code {
			return q.Text
		}
	}
	c.Not = false
	for _, q := range Questions {
		if q.Code == c.Code() {
			return "not: " + q.Text
		}
	}
	return code
}

// Words is a group in words.
func (g Group) Words() []Word {
	if len(g.Conds) == 0 {
		return []Word{{Text: "always"}}
	}
	link := " and "
	if g.Any {
		link = " or "
	}
	var out []Word
	for i, c := range g.Conds {
		if i > 0 {
			out = append(out, Word{Text: link})
		}
		out = append(out, c.words()...)
	}
	return out
}

func (c Cond) words() []Word {
	if c.Op == OpGroup {
		out := []Word{{Text: "("}}
		if c.Not {
			out = []Word{{Text: "not ("}}
		}
		out = append(out, c.Group.Words()...)
		return append(out, Word{Text: ")"})
	}
	if c.Op.TakesName() {
		return []Word{{Text: "the user " + c.Asks() + " "}, {c.Name, "name"}}
	}
	out := []Word{{c.Name, "attribute"}, {Text: " " + c.Asks()}}
	const most = 8
	for i, v := range c.Values {
		switch {
		case i == most:
			return append(out, Word{Text: fmt.Sprintf(" or %d more", len(c.Values)-most)})
		case i > 0 && (i == len(c.Values)-1):
			out = append(out, Word{Text: " or "})
		case i > 0:
			out = append(out, Word{Text: ", "})
		default:
			out = append(out, Word{Text: " "})
		}
		out = append(out, Word{v, "value"})
	}
	return out
}

// Words is a result in words.
func (r Result) Words() []Word {
	switch r.Kind {
	case ServeVariant:
		return []Word{{r.Variant, "variant"}}
	case ServeSplit:
		var out []Word
		total := r.Total()
		for i, s := range r.Shares {
			if i > 0 {
				out = append(out, Word{Text: ", "})
			}
			out = append(out, Word{Text: Percent(s.Weight, total) + " "}, Word{s.Variant, "variant"})
		}
		if r.By != "" {
			out = append(out, Word{Text: " by "}, Word{r.By, "attribute"})
			if r.Salted {
				out = append(out, Word{Text: " and the flag's key"})
			}
		}
		return out
	default:
		return []Word{{Text: "the default variant"}}
	}
}

// Percent is a part of a whole, with as few digits as tell it apart from 0 and
// from the whole.
func Percent(part, whole int64) string {
	if whole <= 0 {
		return "0 %"
	}
	p := 100 * float64(part) / float64(whole)
	s := strconv.FormatFloat(p, 'f', 2, 64)
	s = strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
	switch {
	case part > 0 && s == "0":
		return "under 0.01 %"
	case part < whole && s == "100":
		return "over 99.99 %"
	}
	return s + " %"
}
