package flag

import "strconv"

// outcome warns where a targeting, as far as can be seen without evaluating it,
// may yield something that is no variant of the flag.
func (c *checker) outcome(n *jsonNode, d *Definition) {
	switch n.kind {
	case jsonString:
		c.named(n, n.str, d)
	case jsonBool:
		c.named(n, strconv.FormatBool(n.truth), d)
	case jsonNumber:
		c.named(n, string(appendNumber(nil, n.number())), d)
	case jsonArray:
		c.warnf(n.start, "", "a list names no variant")
	case jsonObject:
		if len(n.items) == 1 {
			c.push(n.items[0].name)
			c.outcomeOf(&n.items[0], d)
			c.pop()
		}
	}
}

// outcomeOf looks at what an operation may yield.
func (c *checker) outcomeOf(args *jsonNode, d *Definition) {
	each := func(from, step int) {
		for i := from; i < len(args.items); i += step {
			c.pushIndex(i)
			c.outcome(&args.items[i], d)
			c.pop()
		}
	}
	switch op := operators[args.name]; op.code {
	case opIf:
		each(1, 2)
		if last := len(args.items) - 1; last >= 0 && last%2 == 0 {
			each(last, 1)
		}
	case opFractional:
		for i := range args.items {
			if bucket := &args.items[i]; bucket.kind == jsonArray && len(bucket.items) > 0 {
				c.pushIndex(i)
				c.pushIndex(0)
				c.outcome(&bucket.items[0], d)
				c.pop()
				c.pop()
			}
		}
	case opEqual, opNotEqual, opSame, opNotSame, opNot, opTruth, opGreater, opGreaterEqual,
		opLess, opLessEqual, opIn, opAll, opSome, opNone, opStartsWith, opEndsWith, opSemVer:
		if d.variant("true") < 0 && d.variant("false") < 0 {
			c.warnf(args.nameAt, `wrap it in an if, such as {"if": [CONDITION, "VARIANT"]}`, "this yields true or false, and the flag has no variants of those names")
		}
	}
}

func (c *checker) named(n *jsonNode, name string, d *Definition) {
	if !c.full && c.warned <= maxFaults && d.variant(name) < 0 {
		c.warnf(n.start, c.suggest(name, d.Variants), "there is no variant %s", quote(name))
	}
}
