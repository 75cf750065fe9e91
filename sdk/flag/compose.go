package flag

import (
	"slices"
	"strconv"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

// Compose is the effective flag, what is served after override, guard and level,
// written as a plain flagd flag: rules that are referred to are written out, and
// Plimsoll's own fields and segments are gone. Any flagd provider of the set's
// bucketing generation serves the same variant for a context with a targeting
// key; its reasons differ. A flag or rule that is kept at its last good version is
// written as that was compiled, whatever became of the rules it refers to; what
// cannot be compiled is not written at all, and so the text of a flag has less
// than 16 MiB. False if there is no such flag.
func (s *Set) Compose(key string) (json string, ok bool) {
	f, ok := s.flags.get(key)
	if !ok {
		return "", false
	}
	return string(s.appendFlag(nil, f)), true
}

// LargeComposed is from how many bytes of [Set.ComposeAll] on people should be
// warned: gRPC clients, and flagd's providers are such, take 4 MiB a message by
// default.
const LargeComposed = 3584 << 10

// ComposeAll is the effective set as one plain flagd document in map form, flags
// sorted by key. It depends on nothing but the set.
func (s *Set) ComposeAll() (document string) {
	b := []byte(`{"flags":{`)
	keys := make([]string, 0, s.Len())
	for key := range s.Keys() {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for i, key := range keys {
		f, _ := s.flags.get(key)
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendQuoted(b, key), ':')
		b = s.appendFlag(b, f)
	}
	return string(s.appendSetMetadata(append(b, '}')))
}

// appendSetMetadata writes what stands behind the flags.
func (s *Set) appendSetMetadata(b []byte) []byte {
	if s.settings.Metadata != "" && len(s.view.base.m) > 0 {
		b = appendMember(b, false, "metadata", compactJSON(s.settings.Metadata))
	}
	return append(b, '}')
}

// composition is what becomes of a flag.
type composition struct {
	untouched bool
	serve     *variant // unless untouched
	shed      uint32   // share that gets serve by bucket; 0: everybody does
}

// compose decides what becomes of a flag; the same stages as in answer.
func (s *Set) compose(f *served) composition {
	d, v := f.def, s.view
	switch {
	case f.override != nil:
		return composition{serve: &d.variants[f.override.variant]}
	case !d.enabled:
		return composition{untouched: true}
	}
	var fraction uint32
	if f.rank > 0 {
		fraction = v.fractions[f.rank]
	}
	switch {
	case fraction == uint32(degrade.One), f.metadata != nil && v.guards.n > 0 && s.guarded(f):
		return composition{serve: &d.variants[d.degraded]}
	case fraction == 0:
		return composition{untouched: true}
	default:
		return composition{serve: &d.variants[d.degraded], shed: fraction}
	}
}

// appendFlag writes the effective flag: state first, then variants, default and
// metadata in the author's order, and targeting last.
func (s *Set) appendFlag(b []byte, f *served) []byte {
	c := s.compose(f)
	tree, _ := parseJSON(f.def.text)
	state := `"ENABLED"`
	if c.untouched && !f.def.enabled {
		state = `"DISABLED"`
	}
	b = append(b, `{"state":`...)
	b = append(b, state...)
	whole := c.serve != nil && c.shed == 0
	for i := range tree.items {
		m := &tree.items[i]
		switch m.name {
		case "variants", "metadata":
			b = appendMember(b, false, m.name, f.def.text[m.start:m.end])
		case "defaultVariant":
			if !whole {
				b = appendMember(b, false, m.name, f.def.text[m.start:m.end])
			}
		}
	}
	if whole {
		return append(appendMember(b, false, "defaultVariant", string(appendQuoted(nil, c.serve.name))), '}')
	}
	if c.shed > 0 {
		b = append(b, `,"targeting":`...)
		b = s.appendShed(b, f, &tree, c)
	} else if f.def.targeted {
		b = append(b, `,"targeting":`...)
		b = f.rule.appendText(b, f.def.text, tree.member("targeting"), true) // flagd wants an object
	}
	return append(b, '}')
}

// appendShed wraps the targeting so that the shed share gets the degraded
// variant: the decision of sheds, in flagd's terms.
func (s *Set) appendShed(b []byte, f *served, tree *jsonNode, c composition) []byte {
	const key = `{"var":"targetingKey"}`
	b = append(b, `{"if":[{"if":[`+key+`,{"==":[{"fractional":[{"cat":[`...)
	b = appendQuoted(b, s.view.seed)
	b = append(b, `,`+key+`]},["shed",`...)
	b = strconv.AppendUint(b, uint64(c.shed), 10)
	b = append(b, `],["kept",`...)
	b = strconv.AppendUint(b, uint64(uint32(degrade.One)-c.shed), 10)
	b = append(b, `]]},"shed"]},`...)
	b = strconv.AppendBool(b, c.shed >= halfShed) // without a key
	b = append(b, `]},`...)
	b = appendQuoted(b, c.serve.name)
	if f.def.targeted {
		b = append(b, ',')
		b = f.rule.appendText(b, f.def.text, tree.member("targeting"), false)
	} else {
		b = append(b, `,null`...)
	}
	return append(b, `]}`...)
}

// appendText writes the text that a program was compiled from with all it refers
// to written out. Programs use only what was compiled before them, so it ends; and
// it is as deep and as large as maxProgramDepth and maxProgramSize allow. Where a
// constant would be refused in the place of a reference to it, wrapped has those
// of n, but not of its operations, written as operations that yield them.
func (p *program) appendText(b []byte, text string, n *jsonNode, wrapped bool) []byte {
	switch n.kind {
	case jsonArray:
		b = append(b, '[')
		for i := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = p.appendText(b, text, &n.items[i], wrapped)
		}
		return append(b, ']')
	case jsonObject:
		for i := range n.items {
			return p.appendOperation(b, text, &n.items[i], wrapped)
		}
		return append(b, "{}"...)
	default:
		return append(b, text[n.start:n.end]...)
	}
}

func (p *program) appendOperation(b []byte, text string, n *jsonNode, wrapped bool) []byte {
	used, refers := p.referred(n)
	switch {
	case !refers:
		b = append(appendQuoted(append(b, '{'), n.name), ':')
		return append(p.appendArguments(b, text, n), '}')
	case used == nil:
		return append(b, "null"...)
	}
	tree, _ := parseJSON(used.rule.text)
	if wrapped && tree.kind != jsonObject {
		b = append(append(b, `{"if":[true,`...), used.rule.text...)
		return append(b, "]}"...)
	}
	return used.program.appendText(b, used.rule.text, &tree, wrapped)
}

// appendArguments writes the arguments of an operator, none of which its check
// refuses: that looks at constants, and leaves what only yields them to
// evaluation.
func (p *program) appendArguments(b []byte, text string, n *jsonNode) []byte {
	start := len(b)
	b = p.appendText(b, text, n, false)
	if p.hasConstant(n) && refuses(n.name, string(b[start:])) {
		b = p.appendText(b[:start], text, n, true)
	}
	return b
}

// refuses tells whether an operator's check finds fault with its arguments.
func refuses(name, args string) bool {
	tree, _ := parseJSON(args)
	tree.name = name
	op, c := operators[name], checker{text: args}
	c.arity(&tree, op)
	if op.check != nil {
		op.check(&c, &tree)
	}
	return len(c.faults.Errors()) > 0
}

// hasConstant tells whether a reference to a constant stands in n, outside of its
// operations.
func (p *program) hasConstant(n *jsonNode) bool {
	switch n.kind {
	case jsonArray:
		for i := range n.items {
			if p.hasConstant(&n.items[i]) {
				return true
			}
		}
	case jsonObject:
		if len(n.items) != 1 {
			return false
		}
		if used, refers := p.referred(&n.items[0]); refers && used != nil {
			tree, _ := parseJSON(used.rule.text)
			return tree.kind != jsonObject || used.program.hasConstant(&tree)
		}
	}
	return false
}

// referred is the rule that a reference leads to, nil if to none; and whether n is
// a reference at all.
func (p *program) referred(n *jsonNode) (used *compiledRule, refers bool) {
	switch n.name {
	case "$ref":
		return p.rule(evaluatorID(n.str)), true
	case "segment":
		return p.rule(segmentID(n.str)), true
	default:
		return nil, false
	}
}
