package flag

import (
	"slices"
	"strings"
	"sync"
)

// Document is a flagd document, with Plimsoll's additions.
type Document struct {
	Flags                []*Definition // in the order of the text
	Evaluators, Segments []*Rule
	// Metadata is the set's metadata as compact JSON, "" when HasMetadata is
	// false.
	Metadata    string
	HasMetadata bool
}

// ParseDocument reads and checks a whole document. References may lead into the
// document itself or to what env knows; where env knows nothing, one that leads out
// of the document is a warning. The document is non-nil if and only if
// no fault is an error; all faults are found, not only the first.
func ParseDocument(text []byte, env Env) (*Document, Faults) {
	c := &checker{text: string(text), env: env}
	root, _, ok := c.parse()
	if !ok {
		return nil, c.sorted()
	}
	doc := &Document{}
	if c.want(&root, `an object with the field "flags"`, jsonObject) {
		c.document(&root, doc)
	}
	faults := c.sorted()
	if len(faults.Errors()) > 0 {
		return nil, faults
	}
	for i, d := range doc.Flags {
		// Once more by itself, so that nothing keeps the whole text alive; likewise
		// the rules.
		doc.Flags[i], _, _ = parseFlag(strings.Clone(d.key), d.text, Env{})
	}
	for _, rules := range [...][]*Rule{doc.Evaluators, doc.Segments} {
		for i, r := range rules {
			rules[i], _, _ = parseRule(strings.Clone(r.name), r.text, Env{})
		}
	}
	return doc, faults
}

func (c *checker) document(n *jsonNode, doc *Document) {
	c.evaluators, c.env.EvaluatorNames = within(n.member("$evaluators"), c.env.EvaluatorNames)
	c.segments, c.env.SegmentNames = within(n.member("segments"), c.env.SegmentNames)
	c.fields(n, "a document", map[string]func(*jsonNode){
		"$schema":     func(n *jsonNode) { c.want(n, "a string", jsonString) },
		"$evaluators": func(n *jsonNode) { doc.Evaluators = c.rules(n) },
		"segments":    func(n *jsonNode) { doc.Segments = c.rules(n) },
		"metadata": func(n *jsonNode) {
			c.metadata(n)
			doc.Metadata, doc.HasMetadata = compactJSON(c.text[n.start:n.end]), true
		},
		"flags": func(n *jsonNode) { doc.Flags = c.flags(n) },
	})
	if n.member("flags") == nil && n.member("$evaluators") == nil && n.member("segments") == nil && n.member("metadata") == nil {
		c.errorf(n.start, `such as {"flags": {}}`, `the field "flags" is missing`)
	}
	c.cycles(n.member("$evaluators"), n.member("segments"), doc)
}

// within are the names of the members of an object of the document, and with those
// that exist besides, in order.
func within(n *jsonNode, names func() []string) (own map[string]bool, all func() []string) {
	own = map[string]bool{}
	if n != nil && n.kind == jsonObject {
		for i := range n.items {
			own[n.items[i].name] = true
		}
	}
	return own, sync.OnceValue(func() []string {
		list := sortedKeys(own)
		if names != nil {
			list = append(list, names()...)
		}
		return list
	})
}

func (c *checker) rules(n *jsonNode) []*Rule {
	if !c.want(n, "an object of rules by name", jsonObject) {
		return nil
	}
	var rules []*Rule
	for i := range n.items {
		item := &n.items[i]
		c.pushQuoted(item.name)
		if err := CheckKey(item.name); err != nil {
			c.errorf(item.nameAt, "", "%s", strings.Replace(err.Error(), "a flag's key", "a rule's name", 1))
		}
		text := compactJSON(c.text[item.start:item.end])
		if len(text) > MaxRule {
			c.errorf(item.start, "split it into several", "the rule has %d bytes; at most %d are allowed", len(text), MaxRule)
		}
		rules = append(rules, &Rule{name: item.name, text: text, refs: c.rule(item)})
		c.pop()
	}
	return rules
}

func (c *checker) flags(n *jsonNode) []*Definition {
	if !c.want(n, "an object of flags by key, or an array of flags", jsonObject, jsonArray) {
		return nil
	}
	var flags []*Definition
	seen := map[string]bool{}
	for i := range n.items {
		item := n.items[i]
		if n.kind == jsonObject {
			c.pushQuoted(item.name)
			c.key(item.nameAt, item.name)
			flags = append(flags, c.documentFlag(item.name, &item, compactJSON(c.text[item.start:item.end])))
		} else {
			c.pushIndex(i)
			flags = append(flags, c.arrayFlag(&item, seen))
		}
		c.pop()
	}
	return flags
}

// arrayFlag checks a flag of the array form, which holds its own key.
func (c *checker) arrayFlag(n *jsonNode, seen map[string]bool) *Definition {
	key := n.member("key")
	switch {
	case n.kind != jsonObject:
		return c.documentFlag("", n, compactJSON(c.text[n.start:n.end]))
	case key == nil:
		c.errorf(n.start, "", `the field "key" is missing: a flag of an array needs it`)
		key = &jsonNode{}
	case key.kind != jsonString:
		c.errorf(key.start, "", "the key of a flag is a string, not %s", key.kind)
	case seen[key.str]:
		c.errorf(key.start, "keep one of the two", "the key %s is there twice", quote(key.str))
	default:
		seen[key.str] = true
		c.key(key.start, key.str)
	}
	bare := *n
	bare.items = slices.DeleteFunc(slices.Clone(n.items), func(m jsonNode) bool { return m.name == "key" })
	return c.documentFlag(key.str, &bare, withoutKey(c.text, &bare))
}

func (c *checker) key(at int, key string) {
	if err := CheckKey(key); err != nil {
		c.errorf(at, "", "%s", err)
	}
}

// withoutKey is the compact text of an object with only the members it still
// has.
func withoutKey(text string, n *jsonNode) string {
	b := []byte{'{'}
	for i := range n.items {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, n.items[i].name)
		b = append(b, ':')
		b = append(b, compactJSON(text[n.items[i].start:n.items[i].end])...)
	}
	return string(append(b, '}'))
}

// documentFlag checks a flag whose compact text is known; one that is too long is
// not looked into.
func (c *checker) documentFlag(key string, n *jsonNode, text string) *Definition {
	if len(text) > MaxDefinition {
		c.errorf(n.start, "move long lists into segments", "the definition has %d bytes; at most %d are allowed", len(text), MaxDefinition)
		return &Definition{key: key, text: text, fallback: -1, degraded: -1}
	}
	d := c.flag(key, n)
	d.text = text
	return d
}

// JSON is the document as compact JSON in the map form, flags and rules sorted
// by name.
func (d *Document) JSON() string {
	b := []byte(`{"flags":{`)
	flags := slices.SortedFunc(slices.Values(d.Flags), func(a, b *Definition) int { return strings.Compare(a.key, b.key) })
	for i, f := range flags {
		b = appendMember(b, i == 0, f.key, f.text)
	}
	b = append(b, '}')
	b = appendRules(b, "$evaluators", d.Evaluators)
	b = appendRules(b, "segments", d.Segments)
	if d.HasMetadata {
		b = appendMember(b, false, "metadata", d.Metadata)
	}
	return string(append(b, '}'))
}

func appendRules(b []byte, field string, rules []*Rule) []byte {
	if len(rules) == 0 {
		return b
	}
	b = appendMember(b, false, field, "{")
	sorted := slices.SortedFunc(slices.Values(rules), func(a, b *Rule) int { return strings.Compare(a.name, b.name) })
	for i, r := range sorted {
		b = appendMember(b, i == 0, r.name, r.text)
	}
	return append(b, '}')
}

func appendMember(b []byte, first bool, name, value string) []byte {
	if !first {
		b = append(b, ',')
	}
	b = appendQuoted(b, name)
	b = append(b, ':')
	return append(b, value...)
}

// cycles reports rules of the document that lead back to themselves.
func (c *checker) cycles(evaluators, segments *jsonNode, doc *Document) {
	f := &cycleFinder{graph: map[string]*references{}, state: map[string]int8{}, loops: map[string]string{}}
	for _, r := range doc.Evaluators {
		f.graph[evaluatorID(r.name)] = r.refs
	}
	for _, r := range doc.Segments {
		f.graph[segmentID(r.name)] = r.refs
	}
	for _, id := range sortedKeys(f.graph) {
		f.walk(id)
	}
	report := func(field string, n *jsonNode, id func(string) string) {
		if len(f.loops) == 0 || n == nil {
			return
		}
		c.push(field)
		for i := range n.items {
			if loop := f.loops[id(n.items[i].name)]; loop != "" {
				c.pushQuoted(n.items[i].name)
				c.errorf(n.items[i].start, "a rule must not need itself", "this rule leads back to itself: %s", loop)
				c.pop()
			}
		}
		c.pop()
	}
	report("$evaluators", evaluators, evaluatorID)
	report("segments", segments, segmentID)
}

// cycleFinder walks a graph of rules, each of them once.
type cycleFinder struct {
	graph map[string]*references
	state map[string]int8 // absent: not seen; 1: on the way; 2: done
	way   []string
	loops map[string]string // for each rule found on a loop: the loop
}

func (f *cycleFinder) walk(id string) {
	refs, ok := f.graph[id]
	if !ok || f.state[id] == 2 {
		return
	}
	if f.state[id] == 1 {
		f.loop(id)
		return
	}
	f.state[id] = 1
	f.way = append(f.way, id)
	for next := range refs.ids("") {
		f.walk(next)
	}
	f.way = f.way[:len(f.way)-1]
	f.state[id] = 2
}

// loop notes that the way has come back to id.
func (f *cycleFinder) loop(id string) {
	loop := f.way[slices.Index(f.way, id):]
	for i, at := range loop {
		if f.loops[at] == "" {
			f.loops[at] = loopText(loop, i)
		}
	}
}

// loopText writes a loop from one of its rules on.
func loopText(loop []string, from int) string {
	const most = 8 // rules named
	var labels []string
	for i := range min(len(loop), most) {
		labels = append(labels, ruleLabel(loop[(from+i)%len(loop)]))
	}
	if len(loop) > most {
		labels = append(labels, "…")
	}
	return strings.Join(append(labels, ruleLabel(loop[from])), " → ")
}

// Update is the document as the whole state of a set, in which rules bucket by a
// generation.
func (d *Document) Update(bucketing Bucketing) Update {
	u := Update{Reset: true, Settings: &Settings{Bucketing: bucketing, Metadata: d.Metadata}}
	for _, f := range d.Flags {
		u.Flags = append(u.Flags, Source{Key: f.Key(), JSON: f.JSON()})
	}
	for _, r := range d.Evaluators {
		u.Evaluators = append(u.Evaluators, Source{Key: r.Name(), JSON: r.JSON()})
	}
	for _, r := range d.Segments {
		u.Segments = append(u.Segments, Source{Key: r.Name(), JSON: r.JSON()})
	}
	return u
}
