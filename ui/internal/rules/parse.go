package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parse reads a targeting. Empty text, null and {} are the empty Model. The error
// says in a sentence why the targeting is not of a shape that a Model has.
func Parse(targeting string) (Model, error) {
	if strings.TrimSpace(targeting) == "" {
		return Model{Else: Result{Kind: ServeDefault}}, nil
	}
	n, err := readNode(targeting)
	if err != nil {
		return Model{}, fmt.Errorf("it is not readable as JSON: %w", err)
	}
	if n.kind == 'n' || (n.kind == '{' && len(n.members) == 0) {
		return Model{Else: Result{Kind: ServeDefault}}, nil
	}
	op, args, listed, ok := n.operation()
	switch {
	case !ok:
		return Model{}, errors.New("it is not one operation")
	case op == "fractional":
		split, err := parseSplit(args, listed)
		return Model{Else: split}, err
	case op == "if":
		return parseChain(args, listed)
	}
	return Model{}, fmt.Errorf("it begins with %s, and not with if or fractional", clipped(op))
}

// parseChain reads if, then, if, then …, else; an else that is an if goes on with
// the chain.
func parseChain(args []node, listed bool) (Model, error) {
	m := Model{Else: Result{Kind: ServeDefault}}
	for {
		if !listed || len(args) < 2 {
			return Model{}, errors.New("an if has less than a condition and a result")
		}
		for len(args) >= 2 {
			rule, err := parseRule(args[0], args[1])
			if err != nil {
				return Model{}, fmt.Errorf("rule %d: %w", len(m.Rules)+1, err)
			}
			if m.Rules = append(m.Rules, rule); len(m.Rules) > maxRules {
				return Model{}, fmt.Errorf("it has more than %d rules", maxRules)
			}
			args = args[2:]
		}
		if len(args) == 0 {
			return m, nil
		}
		if op, inner, l, ok := args[0].operation(); ok && op == "if" {
			args, listed = inner, l
			continue
		}
		var err error
		if m.Else, err = parseResult(args[0]); err != nil {
			return Model{}, fmt.Errorf("otherwise: %w", err)
		}
		return m, nil
	}
}

func parseRule(when, then node) (Rule, error) {
	var r Rule
	if when.kind != 't' || when.text != "true" {
		c, err := parseWhen(when)
		if err != nil {
			return Rule{}, err
		}
		if c.Op == OpGroup && !c.Not {
			r.When = *c.Group
		} else {
			r.When.Conds = []Cond{c}
		}
	}
	var err error
	r.Then, err = parseResult(then)
	return r, err
}

func parseResult(n node) (Result, error) {
	switch n.kind {
	case 'n':
		return Result{Kind: ServeDefault}, nil
	case '"':
		if !plain(n.text) {
			return Result{}, fmt.Errorf("the variant %s cannot be typed into a field", clipped(n.text))
		}
		return Result{Kind: ServeVariant, Variant: n.text}, nil
	}
	if op, args, listed, ok := n.operation(); ok && op == "fractional" {
		return parseSplit(args, listed)
	}
	return Result{}, errors.New("its result is neither a variant nor a split")
}

func parseSplit(args []node, listed bool) (Result, error) {
	r := Result{Kind: ServeSplit}
	if !listed {
		return r, errors.New("a split is no list")
	}
	if len(args) > 0 && args[0].kind == '{' {
		var ok bool
		if r.By, r.Salted, ok = parseBy(args[0]); !ok {
			return r, errors.New("a split goes by something else than an attribute")
		}
		args = args[1:]
	}
	if len(args) == 0 || len(args) > maxShares {
		return r, fmt.Errorf("a split has %d shares; a form shows 1 to %d", len(args), maxShares)
	}
	for _, a := range args {
		if a.kind != '[' || len(a.members) < 1 || len(a.members) > 2 || a.members[0].kind != '"' || !plain(a.members[0].text) {
			return r, errors.New("a share of a split is not a variant and a weight")
		}
		share := Share{Variant: a.members[0].text, Weight: 1}
		if len(a.members) == 2 {
			w, err := strconv.ParseInt(a.members[1].text, 10, 64)
			if a.members[1].kind != '0' || err != nil || w < 0 || w > MaxWeight {
				return r, errors.New("a weight of a split is no whole number")
			}
			share.Weight = w
		}
		r.Shares = append(r.Shares, share)
	}
	return r, nil
}

// parseBy reads {"var": A}, or {"cat": [{"var": "$flagd.flagKey"}, {"var": A}]}.
func parseBy(n node) (by string, salted, ok bool) {
	if name, ok := n.variable(); ok {
		return name, false, true
	}
	op, args, listed, ok := n.operation()
	if !ok || op != "cat" || !listed || len(args) != 2 {
		return "", false, false
	}
	if key, ok := args[0].variable(); !ok || key != flagKeyPath {
		return "", false, false
	}
	name, ok := args[1].variable()
	return name, true, ok
}

const flagKeyPath = "$flagd.flagKey"

// parseWhen reads the condition of a rule: a group of conditions and groups, or
// one of either.
func parseWhen(n node) (Cond, error) {
	if op, args, listed, _ := n.operation(); op == "and" || op == "or" {
		return parseGroup(op, args, listed, parseInner)
	}
	return parseInner(n)
}

// parseInner reads a member of a rule's group: a condition, or a group of
// conditions.
func parseInner(n node) (Cond, error) {
	op, args, listed, _ := n.operation()
	not := false
	if op == "!" && len(args) == 1 {
		if inner, innerArgs, l, ok := args[0].operation(); ok && (inner == "and" || inner == "or") {
			op, args, listed, not = inner, innerArgs, l, true
		}
	}
	if op != "and" && op != "or" {
		return parseCond(n)
	}
	c, err := parseGroup(op, args, listed, parseCond)
	c.Not = c.Not != not
	return c, err
}

func parseGroup(op string, args []node, listed bool, parse func(node) (Cond, error)) (Cond, error) {
	if !listed || len(args) == 0 || len(args) > maxConds {
		return Cond{}, fmt.Errorf("an %s has %d conditions; a form shows 1 to %d", op, len(args), maxConds)
	}
	g := &Group{Any: op == "or"}
	for _, a := range args {
		c, err := parse(a)
		if err != nil {
			return Cond{}, err
		}
		g.Conds = append(g.Conds, c)
	}
	if len(g.Conds) == 1 {
		return g.Conds[0], nil
	}
	return Cond{Op: OpGroup, Group: g}, nil
}

// parseCond reads a condition that is no group.
func parseCond(n node) (Cond, error) {
	op, args, listed, ok := n.operation()
	if !ok {
		return Cond{}, errors.New("a condition is not one operation")
	}
	switch op {
	case "and", "or":
		return Cond{}, errors.New("its conditions are nested too deep for a form")
	case "!":
		if len(args) != 1 {
			return Cond{}, errors.New("a ! has not one argument")
		}
		c, err := parseCond(args[0])
		c.Not = !c.Not
		return c, err
	case "var", "!!":
		if op == "!!" {
			if len(args) != 1 {
				return Cond{}, errors.New("a !! has not one argument")
			}
			n = args[0]
		}
		name, ok := n.variable()
		if !ok {
			return Cond{}, errors.New("a condition tests something else than an attribute")
		}
		return Cond{Op: OpTrue, Name: name}, nil
	case "missing":
		if len(args) != 1 || args[0].kind != '"' || !plain(args[0].text) {
			return Cond{}, errors.New("a missing does not name one attribute")
		}
		return Cond{Op: OpHas, Not: true, Name: args[0].text}, nil
	case "segment", "$ref":
		if listed || args[0].kind != '"' || !plain(args[0].text) {
			return Cond{}, fmt.Errorf("a %s names nothing that fits into a field", op)
		}
		return Cond{Op: Op(op), Name: args[0].text}, nil
	}
	return parseComparison(op, args, listed)
}

func parseComparison(op string, args []node, listed bool) (Cond, error) {
	unfit := fmt.Errorf("a condition with %s is not an attribute and a constant", clipped(op))
	if strings.HasPrefix(op, semVerPrefix) {
		return Cond{}, unfit
	}
	if op == "sem_ver" && len(args) == 3 && args[1].kind == '"' {
		op, args = semVerPrefix+args[1].text, []node{args[0], args[2]}
	}
	if !listed || len(args) != 2 {
		return Cond{}, unfit
	}
	if op == "in" && args[0].scalar() {
		// A part of a text, or an element of a list in the context.
		name, ok := args[1].variable()
		if !ok || !sound(args[0]) {
			return Cond{}, unfit
		}
		return Cond{Op: OpContains, Name: name, Values: []string{args[0].literal()}}, nil
	}
	name, ok := args[0].variable()
	if !ok {
		return Cond{}, unfit
	}
	c := Cond{Op: Op(op), Name: name}
	switch {
	case c.Op == OpIn && args[1].kind == '[' && len(args[1].members) <= maxValues:
		for _, v := range args[1].members {
			if !v.scalar() || !sound(v) {
				return Cond{}, unfit
			}
			c.Values = append(c.Values, v.literal())
		}
	case comparisons[c.Op] && args[1].scalar() && sound(args[1]):
		if c.Op.textOnly() && args[1].kind != '"' {
			return Cond{}, unfit
		}
		c.Values = []string{args[1].literal()}
	default:
		return Cond{}, unfit
	}
	return c, nil
}

// sound tells whether a scalar was read without loss: half of a surrogate pair is
// not.
func sound(n node) bool { return n.kind != '"' || !strings.ContainsRune(n.text, utf8.RuneError) }

// clipped is a text from the rule as a message quotes it.
func clipped(s string) string {
	const most = 60
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return strconv.Quote(s)
}
