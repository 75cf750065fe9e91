package flag

import (
	"slices"
	"strconv"
	"strings"
)

// Rule is one parsed, valid evaluator or segment. It is immutable and safe for
// concurrent use.
type Rule struct {
	name, text string
	refs       *references
}

// Name is the rule's name.
func (r *Rule) Name() string { return r.name }

// JSON is the rule as compact JSON.
func (r *Rule) JSON() string { return r.text }

// Evaluators are the names of the evaluators it refers to directly, sorted.
func (r *Rule) Evaluators() []string { return r.refs.evaluatorNames() }

// Segments are the names of the segments it refers to directly, sorted.
func (r *Rule) Segments() []string { return r.refs.segmentNames() }

// ParseRule reads and checks an evaluator or a segment. The rule is non-nil if
// and only if no fault is an error. Paths start at $, the rule itself.
func ParseRule(name string, text []byte, env Env) (*Rule, Faults) {
	r, _, faults := parseRule(name, string(text), env)
	return r, faults
}

func parseRule(name, text string, env Env) (*Rule, jsonNode, Faults) {
	c := &checker{text: text, env: env}
	if err := CheckKey(name); err != nil {
		c.errorf(0, "", "%s", strings.Replace(err.Error(), "a flag's key", "a rule's name", 1))
	}
	if len(text) > MaxRule {
		c.errorf(0, "split it into several", "the rule has %d bytes; at most %d are allowed", len(text), MaxRule)
		return nil, jsonNode{}, c.sorted()
	}
	root, p, ok := c.parse()
	if !ok {
		return nil, root, c.sorted()
	}
	r := &Rule{name: name, text: text, refs: c.rule(&root)}
	faults := c.sorted()
	if len(faults.Errors()) > 0 {
		return nil, root, faults
	}
	if p.loose {
		r, root, _ = parseRule(name, compactJSON(text), env)
	}
	return r, root, faults
}

// rule checks a rule and gathers the names it refers to; nil when none.
func (c *checker) rule(n *jsonNode) *references {
	var refs references
	if n.kind == jsonArray {
		c.errorf(n.start, "write the list where it is used", "an evaluator or segment is one value, not a list: not bracketed, a list stands for several arguments")
	}
	c.expression(n, &refs)
	if refs.evaluators == nil && refs.segments == nil {
		return nil
	}
	slices.Sort(refs.evaluators)
	slices.Sort(refs.segments)
	return &references{slices.Compact(refs.evaluators), slices.Compact(refs.segments)}
}

// expression checks any value inside a rule: a constant, a list, or an
// operation.
func (c *checker) expression(n *jsonNode, refs *references) {
	switch n.kind {
	case jsonNumber:
		c.finite(n)
	case jsonArray:
		for i := range n.items {
			c.pushIndex(i)
			c.expression(&n.items[i], refs)
			c.pop()
		}
	case jsonObject:
		c.operation(n, refs)
	}
}

func (c *checker) operation(n *jsonNode, refs *references) {
	if len(n.items) != 1 {
		c.errorf(n.start, `such as {"==": [{"var": "country"}, "DE"]}`, "an operation is an object with exactly one member, the operator; this one has %d", len(n.items))
		return
	}
	args := &n.items[0]
	c.push(args.name)
	defer c.pop()
	switch args.name {
	case "$ref":
		c.reference(args, "evaluator", c.env.HasEvaluator, c.env.EvaluatorNames, c.evaluators, &refs.evaluators)
		return
	case "segment":
		c.reference(args, "segment", c.env.HasSegment, c.env.SegmentNames, c.segments, &refs.segments)
		return
	}
	op, known := operators[args.name]
	if !known {
		c.unknown(args.nameAt, "operator", args.name, operatorNames)
		return
	}
	c.arity(args, op)
	if op.check != nil {
		op.check(c, args)
	}
	if args.kind != jsonArray {
		c.expression(args, refs)
		return
	}
	for i := range args.items {
		c.pushIndex(i)
		c.expression(&args.items[i], refs)
		c.pop()
	}
}

// reference checks a reference to what exists, or, as far as only a document is
// known, to its own.
func (c *checker) reference(n *jsonNode, what string, has func(string) bool, names func() []string, own map[string]bool, found *[]string) {
	if !c.want(n, "the name of the "+what, jsonString) {
		return
	}
	*found = append(*found, n.str)
	hint := ""
	switch {
	case own[n.str] || (has == nil && own == nil) || (has != nil && has(n.str)):
		return
	case has == nil:
		if near := c.nearest(n.str, func() []string { return sortedKeys(own) }); near != "" {
			hint = "did you mean " + quote(near) + "?"
		}
		c.warnf(n.start, hint, "the %s %s is not in this document; it must exist on the server", what, quote(n.str))
		return
	case names != nil:
		hint = c.suggest(n.str, names)
	}
	c.errorf(n.start, hint, "there is no %s %s", what, quote(n.str))
}

// arity checks the number of arguments. A single argument may stand without
// brackets; with some operators it may yield the list of all arguments.
func (c *checker) arity(args *jsonNode, op operator) {
	if op.code.spreads() && args.kind == jsonObject {
		return
	}
	given := 1
	if args.kind == jsonArray {
		given = len(args.items)
	}
	switch {
	case given < op.least:
		c.errorf(args.start, "", "%s takes %s, not %d", quote(args.name), op.takes(), given)
	case op.most >= 0 && given > op.most:
		c.errorf(args.start, "", "%s takes %s, not %d", quote(args.name), op.takes(), given)
	}
}

func (o operator) takes() string {
	plural := func(n int) string {
		if n == 1 {
			return "1 argument"
		}
		return strconv.Itoa(n) + " arguments"
	}
	switch {
	case o.most < 0:
		return "at least " + plural(o.least)
	case o.least == o.most:
		return plural(o.least)
	default:
		return strconv.Itoa(o.least) + " to " + plural(o.most)
	}
}
