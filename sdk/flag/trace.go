package flag

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Step is one operation of a rule as it was evaluated.
type Step struct {
	// Op is the operator, Path where it stands in the flag or rule.
	Op   string `json:"op"`
	Path string `json:"path"`
	// Inputs are the values it was given, in the order they were evaluated;
	// what it did not need is not among them. Outcome is what it yielded. All
	// of them are JSON text, shortened when long.
	Inputs  []string `json:"inputs"`
	Outcome string   `json:"outcome"`
	// Note says more, such as the bucket that a fractional chose.
	Note string `json:"note,omitempty"`
	// Steps are the operations that yielded the inputs.
	Steps []*Step `json:"steps,omitempty"`
}

// label is what the trace says of a node.
type label struct{ op, path string }

func (n *node) mark(op, path string) {
	if n.more == nil {
		n.more = &nodeMore{}
	}
	n.more.label = &label{op, path}
}

// tracer gathers the steps of one evaluation.
type tracer struct {
	at   *Step // the step that is being evaluated
	left int   // how many more steps are kept
}

// maxTraceSteps bounds a trace: a rule over a long list has many steps.
const maxTraceSteps = 2000

// traced evaluates a node and notes what happened.
func (e *evaluation) traced(n *node) value {
	t := e.trace
	parent := t.at
	switch {
	case n.op == opList:
		list := &Step{} // its elements are no inputs of the operation, it is
		t.at = list
		v := e.run(n)
		t.at = parent
		parent.Steps = append(parent.Steps, list.Steps...)
		parent.input(e, v)
		return v
	case n.more == nil || n.more.label == nil || t.left <= 0:
		v := e.run(n)
		parent.input(e, v)
		return v
	}
	t.left--
	step := &Step{Op: n.more.label.op, Path: n.more.label.path, Inputs: []string{}}
	if path := n.constantPath(); path != "" {
		step.Inputs = append(step.Inputs, path)
	}
	t.at = step
	v := e.run(n)
	t.at = parent
	step.Outcome = e.render(v)
	if t.left <= 0 {
		step.Note += "(the trace is cut here: the rule has more steps)"
	}
	parent.Steps = append(parent.Steps, step)
	parent.input(e, v)
	return v
}

func (s *Step) input(e *evaluation, v value) {
	const most = 100
	if len(s.Inputs) < most {
		s.Inputs = append(s.Inputs, e.render(v))
	}
}

// constantPath is the path of a var as JSON text, "" if it has none.
func (n *node) constantPath() string {
	if n.op != opVar || !n.dotted {
		return ""
	}
	path := n.text
	for i, name := range n.path {
		if i > 0 {
			path += "."
		}
		path += name
	}
	return string(appendQuoted(nil, path))
}

// note says more of the present step.
func (e *evaluation) note(format string, args ...any) {
	e.trace.at.Note = fmt.Sprintf(format, args...)
}

// maxRendered is how long a value in a trace may be, in bytes.
const maxRendered = 200

// render is a value as JSON text; lists and objects only as far as they fit.
func (e *evaluation) render(v value) string {
	b := e.appendRendered(nil, v, 0)
	if len(b) > maxRendered {
		cut := maxRendered
		for cut > 0 && !utf8.RuneStart(b[cut]) {
			cut--
		}
		b = append(b[:cut], "…"...)
	}
	return string(b)
}

func (e *evaluation) appendRendered(b []byte, v value, depth int) []byte {
	const deepest = 8
	switch {
	case len(b) > maxRendered || depth > deepest:
		return append(b, "…"...)
	case v.kind == kindNull:
		return append(b, "null"...)
	case v.kind == kindBool:
		return strconv.AppendBool(b, v.num != 0)
	case v.kind == kindNumber:
		return appendNumber(b, v.num)
	case v.kind == kindString:
		s := v.str()
		return appendQuoted(b, s[:min(len(s), 2*maxRendered)])
	case v.kind == kindList:
		b = append(b, '[')
		for i := 0; i < v.length() && len(b) <= maxRendered; i++ {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.appendRendered(b, v.at(i), depth+1)
		}
		return append(b, ']')
	case v.kind == kindRoot:
		return append(b, "(the context)"...)
	default:
		return e.appendRenderedObject(b, v, depth)
	}
}

// maxMembers is up to how many members an object is rendered; of a larger one
// only the number is.
const maxMembers = 64

func (e *evaluation) appendRenderedObject(b []byte, v value, depth int) []byte {
	if n := e.memberCount(v); n > maxMembers {
		return fmt.Appendf(b, "{… %d members}", n)
	}
	b = append(b, '{')
	members := e.members(v)
	sortMembers(members)
	for i, m := range members {
		if len(b) > maxRendered {
			break
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendQuoted(b, m.name), ':')
		b = e.appendRendered(b, m.value, depth+1)
	}
	return append(b, '}')
}
