package flag

import (
	"iter"
	"maps"
	"strings"
)

// compiledRule is an evaluator or segment as the flags of a set use it. Flags
// share its program instead of each having a copy.
type compiledRule struct {
	id      string
	rule    *Rule
	program *program
}

// Rules and guards are told apart, and from flags, by a first byte that no key
// can have.
const (
	evaluatorMark = "\x00e"
	segmentMark   = "\x00s"
	guardMark     = "\x00g"
	settingsID    = "\x00$settings"
)

func evaluatorID(name string) string { return evaluatorMark + name }
func segmentID(name string) string   { return segmentMark + name }
func guardID(name string) string     { return guardMark + name }
func isRuleID(id string) bool        { return strings.HasPrefix(id, "\x00") }

// ruleLabel is an id as people read it; the key of a flag is itself.
func ruleLabel(id string) string {
	if name, ok := strings.CutPrefix(id, evaluatorMark); ok {
		return "$evaluators[" + quote(name) + "]"
	}
	if name, ok := strings.CutPrefix(id, segmentMark); ok {
		return "segments[" + quote(name) + "]"
	}
	if id == settingsID {
		return "$settings"
	}
	return id
}

// ids are the rules referred to, and a guard if it is not "".
func (r *references) ids(guard string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if r != nil {
			for _, name := range r.evaluators {
				if !yield(evaluatorID(name)) {
					return
				}
			}
			for _, name := range r.segments {
				if !yield(segmentID(name)) {
					return
				}
			}
		}
		if guard != "" {
			yield(guardID(guard))
		}
	}
}

// brokenRule is a rule whose newest version does not compile, or that was removed
// while something still refers to it. Its last good version, if there is one, is
// used as it is.
type brokenRule struct {
	source  Source
	faults  Faults
	parsed  bool // it may compile once other rules change
	removed bool
}

// parsedRule is a rule on its way into a set.
type parsedRule struct {
	source  Source
	rule    *Rule
	tree    jsonNode
	again   bool // it is as before, and compiled again because others changed
	removed bool
	state   ruleState
}

type ruleState uint8

const (
	ruleWaits ruleState = iota
	ruleBegun
	ruleKept // as it was, because it failed or nothing it refers to changed
	ruleMade
)

// applyRules parses and compiles new rules, and compiles again those that use
// them.
func (b *build) applyRules(u Update) {
	pending := map[string]*parsedRule{}
	for _, source := range u.Evaluators {
		b.addRule(evaluatorID(source.Key), source, pending)
	}
	for _, source := range u.Segments {
		b.addRule(segmentID(source.Key), source, pending)
	}
	if len(pending) == 0 {
		return
	}
	b.addBroken(pending)
	b.addUsers(pending)
	for _, id := range sortedKeys(pending) { // sorted, so that all processes agree
		b.compileRule(id, pending)
	}
}

// addRule makes a rule pending, unless the text is its newest already.
func (b *build) addRule(id string, source Source, pending map[string]*parsedRule) {
	delete(pending, id)
	delete(b.problems, id)
	bad, broken := b.brokenRules.get(id)
	if broken && !bad.removed && bad.source == source {
		b.problems[id] = bad.faults
		return
	}
	b.brokenRules.delete(id)
	if c, ok := b.rules.get(id); ok && (!broken || bad.removed) && sameText(source.JSON, c.rule.text, MaxRule) {
		return
	}
	rule, tree, faults := parseRule(source.Key, source.JSON, Env{})
	if rule == nil {
		b.ruleProblem(id, &brokenRule{source: source, faults: faults})
		return
	}
	pending[id] = &parsedRule{source: source, rule: rule, tree: tree}
}

// addBroken adds the rules that may compile now that others change.
func (b *build) addBroken(pending map[string]*parsedRule) {
	for id, bad := range b.brokenRules.done().all() {
		if bad.parsed && pending[id] == nil {
			rule, tree, _ := parseRule(bad.source.Key, bad.source.JSON, Env{})
			pending[id] = &parsedRule{source: bad.source, rule: rule, tree: tree}
		}
	}
}

// addUsers adds the rules that lead to a pending rule.
func (b *build) addUsers(pending map[string]*parsedRule) {
	queue := make([]string, 0, len(pending))
	for id := range pending {
		queue = append(queue, id)
	}
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		for user := range b.usersOf(id).all() {
			if !isRuleID(user) || pending[user] != nil {
				continue
			}
			c, ok := b.rules.get(user)
			bad, broken := b.brokenRules.get(user)
			if !ok || (broken && !bad.removed) {
				continue
			}
			source := Source{c.rule.name, c.rule.text}
			rule, tree, _ := parseRule(source.Key, source.JSON, Env{})
			pending[user] = &parsedRule{source: source, rule: rule, tree: tree, again: true, removed: broken}
			queue = append(queue, user)
		}
	}
}

// compileRule compiles a pending rule after those it refers to.
func (b *build) compileRule(id string, pending map[string]*parsedRule) {
	p := pending[id]
	if p.state != ruleWaits {
		return
	}
	p.state = ruleBegun
	needed := !p.again
	for ref := range p.rule.refs.ids("") {
		if q := pending[ref]; q != nil {
			b.compileRule(ref, pending)
			needed = needed || q.state != ruleKept
		}
	}
	if !needed {
		p.state = ruleKept
		return
	}
	c := &compiler{checker: checker{text: p.rule.text}, resolve: func(ref string) (*compiledRule, string) {
		if q := pending[ref]; q != nil && q.state == ruleBegun {
			return nil, "this rule leads back to itself"
		}
		return b.resolve(ref)
	}}
	program, faults := c.compile(&p.tree)
	if program == nil {
		p.state = ruleKept
		b.ruleFails(id, p, faults)
		return
	}
	p.state = ruleMade
	if program.root != nullNode && !program.root.shared {
		program.root.shared = true
	}
	if !p.removed {
		b.brokenRules.delete(id)
		delete(b.problems, id)
	}
	if old, ok := b.rules.get(id); ok {
		b.unlink(id, old.rule.refs, "")
	}
	b.link(id, p.rule.refs, "")
	b.rules.set(id, &compiledRule{id: id, rule: p.rule, program: program})
	b.touched[id] = true
}

// ruleFails takes note of a rule that does not compile. One that failed in the
// same way before is a problem of the set, but not of this update.
func (b *build) ruleFails(id string, p *parsedRule, faults Faults) {
	bad := &brokenRule{source: p.source, faults: faults, parsed: true}
	old, broken := b.brokenRules.get(id)
	if !broken {
		b.ruleProblem(id, bad)
		return
	}
	if old.removed {
		return
	}
	b.brokenRules.set(id, bad)
	if _, told := b.problems[id]; told {
		b.problems[id] = faults
	}
}

// resolve is a rule, or why there is none.
func (b *build) resolve(id string) (*compiledRule, string) {
	if c, ok := b.rules.get(id); ok {
		return c, ""
	}
	if _, broken := b.brokenRules.get(id); broken {
		return nil, ruleLabel(id) + " does not compile"
	}
	return nil, "there is no " + ruleLabel(id)
}

func (b *build) ruleProblem(id string, bad *brokenRule) {
	b.brokenRules.set(id, bad)
	b.problems[id] = bad.faults
}

// removeRules takes out rules that nothing refers to any more, but for others
// that go with them. One that is still in use stays, as a problem, until it is
// not.
func (b *build) removeRules(u Update) {
	named := make(map[string]bool, len(u.RemovedEvaluators)+len(u.RemovedSegments))
	for _, name := range u.RemovedEvaluators {
		named[evaluatorID(name)] = true
	}
	for _, name := range u.RemovedSegments {
		named[segmentID(name)] = true
	}
	going := maps.Clone(named)
	for id, bad := range b.brokenRules.done().all() {
		if bad.removed {
			going[id] = true
		}
	}
	for again := true; again; {
		again = false
		for id := range going {
			if b.inUse(id, going) {
				delete(going, id)
				again = true
			}
		}
	}
	for id := range going {
		if c, ok := b.rules.get(id); ok {
			b.unlink(id, c.rule.refs, "")
			b.rules.delete(id)
		}
		b.brokenRules.delete(id)
		delete(b.problems, id)
	}
	for id := range named {
		if c, ok := b.rules.get(id); ok && !going[id] {
			b.ruleProblem(id, &brokenRule{source: Source{c.rule.name, c.rule.text}, removed: true, faults: Faults{{
				Path: "$", Message: "it was removed, but flags or rules still refer to it", Hint: "its last version is used until they do not",
			}}})
		}
	}
}

// inUse tells whether a rule that compiles is referred to by anything but the
// rules that go.
func (b *build) inUse(id string, going map[string]bool) bool {
	if _, ok := b.rules.get(id); !ok {
		return false
	}
	for user := range b.usersOf(id).all() {
		if !going[user] {
			return true
		}
	}
	return false
}

// compileTargeting compiles the targeting of a flag; the program is nil if and
// only if there are faults.
func (b *build) compileTargeting(d *Definition, tree *jsonNode) (*program, Faults) {
	c := &compiler{checker: checker{text: d.text}, resolve: b.resolve}
	c.path = append(c.path, ".targeting")
	p, faults := c.compile(tree.member("targeting"))
	if p != nil {
		p.root.bind(d)
	}
	return p, faults
}
