package rules

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// A Problem is a field of a form that is not filled in as it should be.
type Problem struct {
	// Field is the field's name.
	Field string
	// Message is one sentence.
	Message string
}

// Names of fields. A rule is rule.0, its conditions rule.0.cond.1, those of an
// inner group rule.0.cond.1.cond.0, its result rule.0.then; the last resort is
// else.
const (
	// FieldElse is what the fields of Model.Else begin with.
	FieldElse = "else"
	fieldRule = "rule."
)

// RuleField is what the fields of a rule begin with, CondField those of a
// condition within what parent names.
func RuleField(i int) string { return fieldRule + strconv.Itoa(i) }

// CondField is described with RuleField.
func CondField(parent string, i int) string { return parent + ".cond." + strconv.Itoa(i) }

// ShareField is what the fields of a share within the result that parent names
// begin with.
func ShareField(parent string, i int) string { return parent + ".share." + strconv.Itoa(i) }

// Code is an operator as a field holds it.
func (c Cond) Code() string {
	if c.Not {
		return "not " + string(c.Op)
	}
	return string(c.Op)
}

// Text is the values of a condition as they stand in a field: text as it is where
// that is not taken for something else, JSON where it is. A list is separated by
// commas.
func (c Cond) Text() string {
	parts := make([]string, len(c.Values))
	for i, v := range c.Values {
		parts[i] = fieldText(v, c.Op)
	}
	return strings.Join(parts, ", ")
}

// fieldText is a value as it is typed.
func fieldText(value string, op Op) string {
	var s string
	if !strings.HasPrefix(value, `"`) || json.Unmarshal([]byte(value), &s) != nil {
		return value
	}
	if !plain(s) || strings.HasPrefix(s, `"`) || (op == OpIn && strings.ContainsRune(s, ',')) {
		return value
	}
	if !op.textOnly() && (json.Valid([]byte(s)) && s[0] != '{' && s[0] != '[') {
		return value
	}
	return s
}

// typed reads what was typed as one value, as JSON text.
func typed(s string, op Op) string {
	s = strings.TrimSpace(s)
	if s != "" && json.Valid([]byte(s)) {
		if n, err := readNode(s); err == nil && n.scalar() && (n.kind == '"' || !op.textOnly()) {
			return n.literal()
		}
	}
	return quote(strings.ToValidUTF8(s, ""))
}

// typedList reads values that are separated by commas or lines, except within
// quotes.
func typedList(s string) []string {
	var out []string
	start, quoted := 0, false
	take := func(end int) {
		if part := strings.TrimSpace(s[start:end]); part != "" {
			out = append(out, typed(part, OpIn))
		}
		start = end + 1
	}
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"' && (quoted || strings.TrimSpace(s[start:i]) == ""):
			quoted = !quoted
		case !quoted && (s[i] == ',' || s[i] == '\n'):
			take(i)
		}
	}
	take(len(s))
	return out
}

// Encode puts a model into the fields of a form.
func (m Model) Encode(form url.Values) {
	for i, r := range m.Rules {
		name := RuleField(i)
		r.When.encode(form, name)
		r.Then.encode(form, name+".then")
	}
	m.Else.encode(form, FieldElse)
}

func (g Group) encode(form url.Values, name string) {
	form.Set(name+".any", strconv.FormatBool(g.Any))
	for i, c := range g.Conds {
		at := CondField(name, i)
		form.Set(at+".op", c.Code())
		if c.Op == OpGroup {
			c.Group.encode(form, at)
			continue
		}
		form.Set(at+".name", c.Name)
		form.Set(at+".value", c.Text())
	}
}

func (r Result) encode(form url.Values, name string) {
	form.Set(name+".kind", string(r.Kind))
	form.Set(name+".variant", r.Variant)
	form.Set(name+".by", r.By)
	if r.Salted {
		form.Set(name+".salted", "true")
	}
	for i, s := range r.Shares {
		at := ShareField(name, i)
		form.Set(at+".variant", s.Variant)
		form.Set(at+".weight", strconv.FormatInt(s.Weight, 10))
	}
}

// Decode reads a form. What is not filled in as it should be is among the
// problems; the model is then what could be read.
func Decode(form url.Values) (Model, []Problem) {
	d := decoder{form: form}
	var m Model
	for i := 0; i < maxRules && form.Has(RuleField(i)+".then.kind"); i++ {
		name := RuleField(i)
		m.Rules = append(m.Rules, Rule{When: d.group(name, true), Then: d.result(name + ".then")})
	}
	m.Else = d.result(FieldElse)
	return m, d.problems
}

type decoder struct {
	form     url.Values
	problems []Problem
}

func (d *decoder) problem(field, format string, args ...any) {
	d.problems = append(d.problems, Problem{field, fmt.Sprintf(format, args...)})
}

// name reads a field that names something.
func (d *decoder) name(field, what string) string {
	s := strings.TrimSpace(d.form.Get(field))
	switch {
	case s == "":
		d.problem(field, "Name %s.", what)
	case !plain(s):
		d.problem(field, "The name of %s has characters that cannot be shown.", what)
	}
	return s
}

func (d *decoder) group(name string, groups bool) Group {
	g := Group{Any: d.form.Get(name+".any") == "true"}
	for i := 0; i < maxConds && d.form.Has(CondField(name, i)+".op"); i++ {
		c, ok := d.cond(CondField(name, i), groups)
		if ok {
			g.Conds = append(g.Conds, c)
		}
	}
	return g
}

func (d *decoder) cond(at string, groups bool) (Cond, bool) {
	code, not := strings.CutPrefix(d.form.Get(at+".op"), "not ")
	c := Cond{Op: Op(code), Not: not}
	if !c.Op.known() || (c.Op == OpGroup && !groups) {
		d.problem(at+".op", "Choose what is asked.")
		c.Op = OpEqual
	}
	if c.Op == OpGroup {
		g := d.group(at, false)
		c.Group = &g
		return c, len(g.Conds) > 0
	}
	switch c.Op {
	case OpSegment:
		c.Name = d.name(at+".name", "the segment")
	case OpRef:
		c.Name = d.name(at+".name", "the evaluator")
	default:
		c.Name = d.name(at+".name", "the attribute of the context that is asked for, such as country")
	}
	value := d.form.Get(at + ".value")
	switch {
	case c.Op == OpIn:
		if c.Values = typedList(value); len(c.Values) > maxValues {
			d.problem(at+".value", "A list in a form has at most %d values; this one has %d. Use a segment.", maxValues, len(c.Values))
		} else if len(c.Values) == 0 {
			d.problem(at+".value", "Give at least one value; separate several by commas.")
		}
	case c.Op.TakesValue():
		c.Values = []string{typed(value, c.Op)}
	}
	return c, true
}

func (d *decoder) result(name string) Result {
	r := Result{Kind: ResultKind(d.form.Get(name + ".kind"))}
	switch r.Kind {
	case ServeVariant:
		r.Variant = d.name(name+".variant", "the variant")
	case ServeSplit:
		d.split(name, &r)
	default:
		r.Kind = ServeDefault
	}
	return r
}

func (d *decoder) split(name string, r *Result) {
	if r.By = strings.TrimSpace(d.form.Get(name + ".by")); r.By != "" {
		if !plain(r.By) {
			d.problem(name+".by", "The name of the attribute has characters that cannot be shown.")
		}
		r.Salted = d.form.Get(name+".salted") == "true"
	}
	for i := 0; len(r.Shares) < maxShares && d.form.Has(ShareField(name, i)+".variant"); i++ {
		at := ShareField(name, i)
		s := Share{Variant: d.name(at+".variant", "the variant")}
		w, err := strconv.ParseInt(strings.TrimSpace(d.form.Get(at+".weight")), 10, 64)
		if i == 1 && d.form.Has(name+".total") {
			// A slider sets the first of two; the second is the rest.
			w, err = strconv.ParseInt(d.form.Get(name+".total"), 10, 64)
			w -= r.Shares[0].Weight
		}
		if err != nil || w < 0 || w > MaxWeight {
			d.problem(at+".weight", "A weight is a whole number from 0 to %d.", int64(MaxWeight))
		} else {
			s.Weight = w
		}
		r.Shares = append(r.Shares, s)
	}
	switch total := r.Total(); {
	case len(r.Shares) == 0:
		d.problem(name+".kind", "A split needs at least one share.")
	case total == 0:
		d.problem(ShareField(name, 0)+".weight", "All weights are 0: give at least one more than that.")
	case total > MaxWeight:
		d.problem(ShareField(name, 0)+".weight", "The weights add up to %d; at most %d is allowed.", total, int64(MaxWeight))
	}
}
