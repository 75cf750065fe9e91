package flag

import (
	"math"
	"slices"
	"strings"
)

// maxSteps bounds the work of one evaluation, in nodes visited; what walks over
// long text or lists counts as more.
const maxSteps = 1 << 20

// bytesPerStep is how much text counts as one step.
const bytesPerStep = 64

// evaluation is one run of a program. It lives on the stack of its caller. One
// that only folds constants has neither set nor flag.
type evaluation struct {
	set   *Set
	flag  *Definition
	ctx   map[string]any
	steps int // left
	trace *tracer
	scope value // what var looks into
}

// charge counts steps and tells whether any are left.
func (e *evaluation) charge(steps int) bool {
	e.steps -= steps
	return e.steps >= 0
}

func (e *evaluation) exhausted() bool { return e.steps < 0 }

// eval is the value of a node. After the steps are used up the value is
// meaningless, and the caller at the top reports it.
func (e *evaluation) eval(n *node) value {
	if e.trace != nil {
		return e.traced(n)
	}
	return e.run(n)
}

// run is eval without looking at the trace. The cases only call on, so that the
// frame stays small.
func (e *evaluation) run(n *node) value {
	switch n.op {
	case opConst:
		return n.val
	case opVar:
		return e.variable(n)
	case opIf:
		return e.eval(e.chosen(n))
	case opFractional:
		return e.fractional(n)
	case opAnd:
		return e.logic(n, false)
	case opOr:
		return e.logic(n, true)
	case opLog:
		return e.arg(n, 0)
	case opStartsWith, opEndsWith:
		return e.affix(n)
	case opSemVer:
		return e.semVer(n)
	default:
		if n.op.isTest() {
			return boolValue(e.runTest(n))
		}
		return e.runRare(n)
	}
}

// outcome evaluates the targeting of a flag. Where it ends in a constant that
// names a variant, as most do, the variant is known since compiling, and no value
// needs to be made: variant is then not nil.
func (e *evaluation) outcome(n *node) (*variant, value) {
	for e.trace == nil {
		switch {
		case n.op == opConst:
			if n.outcome > 0 {
				return &e.flag.variants[n.outcome-1], value{}
			}
			return nil, n.val
		case n.op == opIf:
			n = e.chosen(n)
		case n.op == opFractional && n.more.buckets.plain:
			var by value
			if b := n.more.buckets; b.by != nil {
				by = e.run(b.by)
			}
			if by.kind == kindList { // then it is no value, but a bucket
				return nil, e.run(n)
			}
			if n = e.bucketNode(n.more.buckets, by); n == nil {
				return nil, value{}
			}
		default:
			return nil, e.run(n)
		}
	}
	return nil, e.eval(n)
}

// chosen is the branch of an if that is taken.
func (e *evaluation) chosen(n *node) *node {
	args := n.args
	for len(args) >= 2 {
		if e.test(args[0]) {
			return args[1]
		}
		args = args[2:]
	}
	if len(args) == 1 {
		return args[0]
	}
	return nullNode
}

// test is whether the value of a node is truthy, for conditions: most of them
// need not be made into values first.
func (e *evaluation) test(n *node) bool {
	if e.trace == nil && n.op.isTest() {
		return e.runTest(n)
	}
	return e.eval(n).truthy()
}

// isTest tells whether an operation yields true or false and nothing else.
func (op opcode) isTest() bool { return op >= opTextEqual && op <= opLessEqual }

func (e *evaluation) runTest(n *node) bool {
	switch n.op {
	case opTextEqual:
		return e.textEqual(n)
	case opTextIn:
		return e.textIn(n)
	case opEqual, opNotEqual:
		return e.looseEqual(e.arg(n, 0), e.arg(n, 1)) == (n.op == opEqual)
	case opSame, opNotSame:
		return e.strictEqual(e.arg(n, 0), e.arg(n, 1)) == (n.op == opSame)
	case opNot:
		return !e.testArg(n)
	case opTruth:
		return e.testArg(n)
	case opIn:
		return e.in(n)
	case opGreater, opGreaterEqual:
		return e.greater(n, n.op == opGreaterEqual)
	case opLess, opLessEqual:
		return e.ascending(n, n.op == opLessEqual)
	default:
		return false
	}
}

func (e *evaluation) testArg(n *node) bool {
	return len(n.args) > 0 && e.test(n.args[0])
}

// textOf is the text of a var at the top of the context, if it has any there.
func (e *evaluation) textOf(n *node) (string, bool) {
	if e.scope.kind != kindRoot {
		return "", false
	}
	s, ok := e.ctx[n.text].(string)
	return s, ok
}

// textEqual is == or === of a var and a constant text.
func (e *evaluation) textEqual(n *node) bool {
	if s, ok := e.textOf(n.args[0]); ok {
		return s == n.text
	}
	if n.loose {
		return e.looseEqual(e.run(n.args[0]), n.args[1].val)
	}
	return e.strictEqual(e.run(n.args[0]), n.args[1].val)
}

// textIn is `in` over a constant list of nothing but text.
func (e *evaluation) textIn(n *node) bool {
	needle := e.run(n.args[0])
	if needle.kind != kindString || !e.charge(len(needle.str())/bytesPerStep) {
		return false
	}
	if n.more.set != nil {
		_, found := n.more.set[needle.str()]
		return found
	}
	return slices.Contains(n.more.texts, needle.str())
}

func (e *evaluation) runRare(n *node) value {
	switch n.op {
	case opAdd, opMultiply, opSubtract, opDivide, opModulo, opMax, opMin:
		return e.arithmetic(n)
	case opSpread:
		return e.spread(n)
	case opCat:
		return e.cat(n)
	case opSubstr:
		return e.substr(n)
	case opMissing:
		return e.missing(n)
	case opMissingSome:
		return e.missingSome(n)
	case opList:
		return listValue(e.evalAll(n.args))
	case opMerge:
		return e.merge(n)
	case opMap, opFilter:
		return e.collect(n)
	case opReduce:
		return e.reduce(n)
	case opAll, opSome, opNone:
		return e.quantify(n)
	default:
		return value{}
	}
}

// spread is an operation whose only argument is not bracketed: if it yields a
// list, its elements are the arguments.
func (e *evaluation) spread(n *node) value {
	v := e.eval(n.args[0])
	list := []value{v}
	if v.kind == kindList {
		list = make([]value, v.length())
		for i := range list {
			list[i] = v.at(i)
		}
	}
	if !e.charge(len(list)) {
		return value{}
	}
	args := make([]*node, len(list))
	for i := range list {
		args[i] = constNode(list[i])
	}
	spread := &node{op: n.spreads, args: args, size: n.size, more: n.more}
	if n.spreads == opFractional {
		if len(args) == 0 {
			return value{}
		}
		spread.args, spread.more = nil, &nodeMore{buckets: &buckets{dynamic: args}}
	}
	return e.run(spread)
}

// arg is the value of an argument, null when it is not there.
func (e *evaluation) arg(n *node, i int) value {
	if i < len(n.args) {
		return e.eval(n.args[i])
	}
	return value{}
}

func (e *evaluation) evalAll(nodes []*node) []value {
	values := make([]value, len(nodes))
	for i, a := range nodes {
		if e.exhausted() {
			break
		}
		values[i] = e.eval(a)
	}
	return values
}

// logic is and, which stops at the first false argument, or or, which stops at
// the first true one.
func (e *evaluation) logic(n *node, stop bool) (v value) {
	for _, a := range n.args {
		if v = e.eval(a); v.truthy() == stop || e.exhausted() {
			return v
		}
	}
	return v
}

func (e *evaluation) greater(n *node, orEqual bool) bool {
	a, b := e.arg(n, 0), e.arg(n, 1)
	return e.less(b, a, orEqual)
}

// ascending is < and <= of two arguments, or of three: between.
func (e *evaluation) ascending(n *node, orEqual bool) bool {
	a, b := e.arg(n, 0), e.arg(n, 1)
	if len(n.args) < 3 {
		return e.less(a, b, orEqual)
	}
	c := e.arg(n, 2)
	return e.less(a, b, orEqual) && e.less(b, c, orEqual)
}

func (e *evaluation) in(n *node) bool {
	needle := e.arg(n, 0)
	switch hay := e.arg(n, 1); hay.kind {
	case kindString:
		return e.charge(len(hay.str())/bytesPerStep) && hay.str() != "" && strings.Contains(hay.str(), e.text(needle))
	case kindList:
		for i, l := 0, hay.length(); i < l && e.charge(1); i++ {
			if e.strictEqual(needle, hay.at(i)) {
				return true
			}
		}
	}
	return false
}

func (e *evaluation) arithmetic(n *node) value {
	switch n.op {
	case opAdd:
		var sum float64
		for _, a := range n.args {
			if e.exhausted() {
				break
			}
			sum += e.leadingNumber(e.eval(a))
		}
		return numberValue(sum)
	case opMultiply:
		return e.multiply(n)
	case opMax, opMin:
		return e.extreme(n)
	}
	a := e.number(e.arg(n, 0))
	switch {
	case n.op == opSubtract && len(n.args) == 1:
		return numberValue(-a)
	case n.op == opSubtract:
		return numberValue(a - e.number(e.arg(n, 1)))
	case n.op == opDivide:
		return numberValue(a / e.number(e.arg(n, 1)))
	default:
		return numberValue(math.Mod(a, e.number(e.arg(n, 1))))
	}
}

// leadingNumber is parseFloat of a value, by which + and * read their arguments;
// but blank text counts as 0, as in flagd.
func (e *evaluation) leadingNumber(v value) float64 {
	if v.kind == kindNumber {
		return v.num
	}
	text := e.text(v)
	if !e.charge(len(text) / bytesPerStep) {
		return math.NaN()
	}
	text = trimLeftSpace(text)
	if v.kind == kindString && text == "" {
		return 0
	}
	return parseFloat(text)
}

func (e *evaluation) multiply(n *node) value {
	product := 1.0
	for _, a := range n.args {
		if e.exhausted() {
			break
		}
		product *= e.leadingNumber(e.eval(a))
	}
	return numberValue(product)
}

func (e *evaluation) extreme(n *node) value {
	best := math.Inf(-1)
	if n.op == opMin {
		best = math.Inf(1)
	}
	for _, a := range n.args {
		if e.exhausted() {
			break
		}
		f := e.number(e.eval(a))
		switch {
		case f != f || best != best:
			best = math.NaN()
		case n.op == opMax:
			best = math.Max(best, f)
		default:
			best = math.Min(best, f)
		}
	}
	return numberValue(best)
}

func (e *evaluation) cat(n *node) value {
	var b []byte
	for _, a := range n.args {
		if v := e.eval(a); v.kind != kindNull {
			b = e.appendText(b, v, 0)
		}
		if !e.charge(len(b) / bytesPerStep) {
			return value{}
		}
	}
	return stringValue(string(b))
}

func (e *evaluation) substr(n *node) value {
	s := e.text(e.arg(n, 0))
	start := e.number(e.arg(n, 1))
	if !e.charge(len(s) / bytesPerStep) {
		return value{}
	}
	if len(n.args) < 3 {
		return stringValue(substr(s, start, 0, false))
	}
	return stringValue(substr(s, start, e.number(e.arg(n, 2)), true))
}

// affix is starts_with and ends_with: null unless both are strings.
func (e *evaluation) affix(n *node) value {
	s, part := e.arg(n, 0), e.arg(n, 1)
	if s.kind != kindString || part.kind != kindString {
		return value{}
	}
	if !e.charge(len(part.str())/bytesPerStep) || len(part.str()) > len(s.str()) {
		return boolValue(false)
	}
	if n.op == opStartsWith {
		return boolValue(s.str()[:len(part.str())] == part.str())
	}
	return boolValue(s.str()[len(s.str())-len(part.str()):] == part.str())
}

func (e *evaluation) semVer(n *node) value {
	a, aok := e.version(e.arg(n, 0))
	op := e.arg(n, 1)
	b, bok := e.version(e.arg(n, 2))
	if !aok || !bok || op.kind != kindString {
		return value{}
	}
	holds, ok := compareVersions(a, op.str(), b)
	if !ok {
		return value{}
	}
	return boolValue(holds)
}

func (e *evaluation) version(v value) (string, bool) {
	switch v.kind {
	case kindString:
		if !e.charge(len(v.str()) / bytesPerStep) {
			return "", false
		}
		return canonicalVersion(v.str())
	case kindNumber:
		return canonicalVersion(e.text(v))
	default:
		return "", false
	}
}
