package flag

import (
	"slices"
	"strings"
)

// Limits of a compiled rule, with everything it refers to counted in, as if it
// had been written out.
const (
	maxProgramDepth = 1024
	maxProgramSize  = 1 << 17 // nodes; long text counts as several
	textPerNode     = 16      // bytes
)

// program is a compiled rule. It is immutable; programs that refer to a rule
// share its nodes.
type program struct {
	root        *node
	size, depth int             // with all it refers to written out
	uses        []*compiledRule // that it refers to directly, sorted by id
}

// rule is a rule as the program was compiled against it. A set may have a newer
// version, or one that leads back here; what a program uses never does.
func (p *program) rule(id string) *compiledRule {
	i, ok := slices.BinarySearchFunc(p.uses, id, func(c *compiledRule, id string) int { return strings.Compare(c.id, id) })
	if !ok {
		return nil
	}
	return p.uses[i]
}

// node is one step of a program.
type node struct {
	op      opcode
	spreads opcode   // of an opSpread: the operation
	dotted  bool     // of a var: the path is known
	loose   bool     // of an opTextEqual: == and not ===
	shared  bool     // the root of a rule, which other programs use too
	outcome int32    // of a constant that a targeting ends in: 1 + index of the variant it names
	size    int32    // nodes below and with this one, written out
	args    []*node  // arguments
	val     value    // of a constant
	text    string   // of a var whose path is one name, the name; of an opTextEqual, the text
	path    []string // of a var with a longer path
	more    *nodeMore
}

// nodeMore is what only few nodes need.
type nodeMore struct {
	texts   []string            // of an opTextIn over few texts
	set     map[string]struct{} // of one over many
	buckets *buckets            // of a fractional
	label   *label              // when compiled to be explained
}

// compiler turns a checked tree into a program. It takes any tree: what the
// checker would have refused evaluates to null.
type compiler struct {
	checker
	// resolve is a rule by its id, or why there is none.
	resolve func(id string) (*compiledRule, string)
	used    map[string]*compiledRule // by id
	// explain keeps every node as it was written, and labels it.
	explain bool
	depth   int // present depth
	deepest int
	size    int
}

// compile is nil if and only if there are faults.
func (c *compiler) compile(tree *jsonNode) (*program, Faults) {
	root := c.node(tree)
	if len(c.faults) > 0 {
		return nil, c.sorted()
	}
	p := &program{root: root, size: c.size, depth: c.deepest}
	for _, id := range sortedKeys(c.used) {
		p.uses = append(p.uses, c.used[id])
	}
	return p, nil
}

// nullNode stands where there is nothing.
var nullNode = &node{op: opConst, size: 1}

// bind tells the constants that a targeting ends in which variant they name.
// What belongs to a shared rule is left as it is.
func (n *node) bind(d *Definition) {
	switch {
	case n.shared:
	case n.op == opConst && n.val.kind == kindString:
		n.outcome = d.variant(n.val.str()) + 1
	case n.op == opIf:
		for i, a := range n.args {
			if i%2 == 1 || i == len(n.args)-1 {
				a.bind(d)
			}
		}
	case n.op == opFractional:
		for _, k := range n.more.buckets.list {
			k.variant.bind(d)
		}
	}
}

// grow counts nodes; false when there are too many.
func (c *compiler) grow(at, size, depth int) bool {
	c.size += size
	c.deepest = max(c.deepest, c.depth+depth)
	switch {
	case len(c.faults) > 0:
		return false
	case c.size > maxProgramSize:
		c.errorf(at, "use fewer or smaller evaluators and segments", "with all it refers to, the rule has more than %d elements", maxProgramSize)
	case c.deepest > maxProgramDepth:
		c.errorf(at, "nest less", "with all it refers to, the rule is nested deeper than %d levels", maxProgramDepth)
	default:
		return true
	}
	return false
}

func (c *compiler) node(n *jsonNode) *node {
	c.depth++
	defer func() { c.depth-- }()
	if !c.grow(n.start, 1+len(n.str)/textPerNode, 0) {
		return nullNode
	}
	switch n.kind {
	case jsonArray:
		return c.list(n)
	case jsonObject:
		if len(n.items) == 1 {
			return c.operation(&n.items[0])
		}
		return nullNode
	default:
		return constNode(constant(n))
	}
}

func constNode(v value) *node { return &node{op: opConst, val: v, size: 1} }

func constant(n *jsonNode) value {
	switch n.kind {
	case jsonBool:
		return boolValue(n.truth)
	case jsonNumber:
		return numberValue(n.number())
	case jsonString:
		return stringValue(n.str)
	default:
		return value{}
	}
}

// list compiles a list of expressions; one of constants is a constant.
func (c *compiler) list(n *jsonNode) *node {
	args := c.all(n.items)
	return c.finish(&node{op: opList, args: args})
}

func (c *compiler) all(items []jsonNode) []*node {
	args := make([]*node, len(items))
	for i := range items {
		c.pushIndex(i)
		args[i] = c.node(&items[i])
		c.pop()
	}
	return args
}

func (c *compiler) operation(n *jsonNode) *node {
	c.push(n.name)
	defer c.pop()
	switch n.name {
	case "$ref":
		return c.reference(n, evaluatorID(n.str))
	case "segment":
		return c.reference(n, segmentID(n.str))
	}
	op, ok := operators[n.name]
	if !ok {
		c.unknown(n.nameAt, "operator", n.name, operatorNames)
		return nullNode
	}
	items := n.items
	if n.kind != jsonArray {
		items = []jsonNode{{kind: n.kind, truth: n.truth, start: n.start, end: n.end, str: n.str, items: n.items}}
	}
	built := &node{op: op.code}
	switch {
	case op.code.spreads() && n.kind == jsonObject:
		built.op, built.spreads = opSpread, op.code
		built.args = []*node{c.node(&items[0])}
	case op.code == opVar:
		c.variable(built, items)
	case op.code == opFractional:
		c.fractional(built, items)
	default:
		built.args = c.all(items)
	}
	if c.explain {
		built.mark(n.name, c.where())
	}
	return c.finish(built)
}

// reference stands for the rule it names.
func (c *compiler) reference(n *jsonNode, id string) *node {
	rule, problem := c.resolve(id)
	if rule == nil {
		c.errorf(n.start, "", "%s", problem)
		return nullNode
	}
	if c.used == nil {
		c.used = map[string]*compiledRule{}
	}
	c.used[id] = rule
	p := rule.program
	if !c.grow(n.start, p.size, p.depth) {
		return nullNode
	}
	if c.explain {
		through := &node{op: opLog, args: []*node{p.root}, size: p.root.size + 1}
		through.mark(n.name+" "+quote(n.str), c.where())
		return through
	}
	return p.root
}

// variable splits a constant path now, so that evaluating only looks up.
func (c *compiler) variable(built *node, items []jsonNode) {
	built.args = c.all(items)
	if len(built.args) == 0 {
		built.dotted = true
		return
	}
	path := built.args[0]
	if path.op != opConst || path.val.kind > kindString {
		return
	}
	built.dotted = true
	e := evaluation{steps: foldSteps}
	built.path = e.path(path.val)
	if len(built.path) == 1 && built.path[0] != "" {
		built.text, built.path = built.path[0], nil
	}
	if len(built.args) == 1 {
		built.args = nil
	}
}

// finish counts a node's size, and replaces it by something simpler that yields
// the same.
func (c *compiler) finish(n *node) *node {
	n.size = 1
	for _, a := range n.args {
		n.size += a.size
	}
	if n.more != nil && n.more.buckets != nil {
		n.size += n.more.buckets.size()
	}
	if c.explain {
		return n
	}
	if folded := fold(n); folded != nil {
		return folded
	}
	switch n.op {
	case opIf:
		return pruneIf(n)
	case opAnd, opOr:
		return pruneLogic(n)
	case opEqual, opSame:
		return n.comparesText()
	case opIn:
		return n.searchesText()
	}
	return n
}

// fold is the constant that a node of constants yields, nil if it may vary.
func fold(n *node) *node {
	switch n.op {
	case opConst, opVar, opMissing, opMissingSome, opFractional:
		return nil
	case opSpread:
		if n.spreads == opFractional {
			return nil
		}
	}
	for _, a := range n.args {
		if a.op != opConst {
			return nil
		}
	}
	e := evaluation{steps: foldSteps}
	v := e.eval(n)
	if e.exhausted() {
		return nil
	}
	return constNode(v)
}

// foldSteps bounds the work of folding one node while a flag is loaded.
const foldSteps = 1 << 16

// pruneIf takes out branches that are never reached.
func pruneIf(n *node) *node {
	args := n.args
	for len(args) >= 2 && args[0].op == opConst {
		if args[0].val.truthy() {
			return args[1]
		}
		args = args[2:]
	}
	switch len(args) {
	case 0:
		return nullNode
	case 1:
		return args[0]
	}
	return &node{op: opIf, args: args, size: n.size, more: n.more}
}

// pruneLogic drops constants at the front that do not decide, and everything
// after one that does.
func pruneLogic(n *node) *node {
	args := n.args
	for len(args) > 1 && args[0].op == opConst {
		if args[0].val.truthy() == (n.op == opOr) {
			return args[0]
		}
		args = args[1:]
	}
	if len(args) == 1 {
		return args[0]
	}
	return &node{op: n.op, args: args, size: n.size, more: n.more}
}

// comparesText makes an opTextEqual of a comparison of a var and a constant
// text.
func (n *node) comparesText() *node {
	if len(n.args) != 2 {
		return n
	}
	a, b := n.args[0], n.args[1]
	if a.op == opConst {
		a, b = b, a
	}
	if b.op != opConst || b.val.kind != kindString || !a.topLevel() {
		return n
	}
	return &node{op: opTextEqual, loose: n.op == opEqual, text: b.val.str(), args: []*node{a, b}, size: n.size}
}

// topLevel tells whether a node is a var of one name, without a default.
func (n *node) topLevel() bool {
	return n.op == opVar && n.text != "" && len(n.args) == 0 && n.text != flagdName
}

// fewTexts is up to how many texts `in` compares one by one.
const fewTexts = 8

// searchesText makes an opTextIn of an `in` over a constant list of texts.
func (n *node) searchesText() *node {
	if len(n.args) < 2 {
		return n
	}
	list := n.args[1]
	if list.op != opConst || list.val.kind != kindList {
		return n
	}
	texts := make([]string, list.val.length())
	for i := range texts {
		item := list.val.at(i)
		if item.kind != kindString {
			return n
		}
		texts[i] = item.str()
	}
	made := &node{op: opTextIn, args: n.args[:1:1], size: n.size, more: &nodeMore{texts: texts}}
	if len(texts) > fewTexts {
		made.more.texts = nil
		made.more.set = make(map[string]struct{}, len(texts))
		for _, text := range texts {
			made.more.set[text] = struct{}{}
		}
	}
	return made
}
