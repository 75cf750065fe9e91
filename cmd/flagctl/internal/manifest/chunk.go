package manifest

import (
	"slices"
	"strings"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// Chunk is a part of a bundle that fits into one request.
type Chunk struct {
	// Write is what the request writes.
	Write *flag.Document
	// Check is the same together with every rule that it refers to, so that it
	// can be checked before the chunks with those rules have been written.
	Check *flag.Document
}

// Objects is the number of objects that the chunk writes.
func (c Chunk) Objects() int {
	n := len(c.Write.Flags) + len(c.Write.Evaluators) + len(c.Write.Segments)
	if c.Write.HasMetadata {
		n++
	}
	return n
}

// rule is an evaluator or a segment.
type rule struct {
	*flag.Rule
	segment bool
}

func (r rule) size() int { return memberSize(r.Name(), r.JSON()) }

// memberSize is about what a member takes in a document.
func memberSize(name, text string) int { return len(name) + len(text) + 8 }

// Chunks cuts the bundle into chunks of at most limit bytes of JSON, in the
// order in which they must be written: metadata and rules first, each rule
// after those it refers to, then the flags. A chunk exceeds the limit only
// where a single object with its rules does. The bundle must have no errors.
func (b *Bundle) Chunks(limit int) []Chunk {
	all := b.Document()
	p := &packer{limit: limit, rules: rulesByName(all)}
	p.start()
	if all.HasMetadata {
		p.write.Metadata, p.write.HasMetadata = all.Metadata, true
		p.size += memberSize("metadata", all.Metadata)
	}
	for _, r := range inOrder(all, p.rules) {
		p.addRule(r)
	}
	for _, f := range all.Flags {
		p.addFlag(f)
	}
	p.finish()
	return p.chunks
}

// packer fills one chunk after the other.
type packer struct {
	limit    int
	rules    map[string]rule
	chunks   []Chunk
	write    *flag.Document
	size     int             // of the chunk's check document
	included map[string]bool // rules of the chunk's check document
	extra    []rule          // those that it does not write itself
}

func (p *packer) start() {
	p.write, p.size, p.included, p.extra = new(flag.Document), 0, make(map[string]bool), nil
}

func (p *packer) finish() {
	if c := (Chunk{Write: p.write}); c.Objects() > 0 {
		check := *p.write
		for _, r := range p.extra {
			put(&check, r)
		}
		c.Check = &check
		p.chunks = append(p.chunks, c)
	}
	p.start()
}

func put(d *flag.Document, r rule) {
	if r.segment {
		d.Segments = append(d.Segments[:len(d.Segments):len(d.Segments)], r.Rule)
	} else {
		d.Evaluators = append(d.Evaluators[:len(d.Evaluators):len(d.Evaluators)], r.Rule)
	}
}

func (p *packer) addRule(r rule) {
	needs := p.missing(uses(r), ruleName(r))
	p.makeRoom(r.size() + sizeOf(needs))
	needs = p.missing(uses(r), ruleName(r)) // of the chunk it goes to
	p.include(needs)
	p.included[ruleName(r)] = true
	p.size += r.size()
	put(p.write, r)
}

func (p *packer) addFlag(f *flag.Definition) {
	own := memberSize(f.Key(), f.JSON())
	p.makeRoom(own + sizeOf(p.missing(uses(f), "")))
	p.include(p.missing(uses(f), ""))
	p.size += own
	p.write.Flags = append(p.write.Flags, f)
}

// makeRoom begins a new chunk if need does not fit into this one.
func (p *packer) makeRoom(need int) {
	if p.size > 0 && p.size+need > p.limit {
		p.finish()
	}
}

func (p *packer) include(rules []rule) {
	for _, r := range rules {
		p.included[ruleName(r)] = true
		p.extra = append(p.extra, r)
		p.size += r.size()
	}
}

func sizeOf(rules []rule) int {
	n := 0
	for _, r := range rules {
		n += r.size()
	}
	return n
}

// missing are the rules of the bundle that wanted leads to, directly or
// through others, and that the chunk does not have yet; except names the one
// that is about to be added.
func (p *packer) missing(wanted []string, except string) []rule {
	var out []rule
	seen := map[string]bool{except: true}
	for len(wanted) > 0 {
		name := wanted[len(wanted)-1]
		wanted = wanted[:len(wanted)-1]
		r, ours := p.rules[name]
		if !ours || seen[name] || p.included[name] {
			continue
		}
		seen[name] = true
		out = append(out, r)
		wanted = append(wanted, uses(r)...)
	}
	return out
}

func ruleName(r rule) string {
	if r.segment {
		return "segments/" + r.Name()
	}
	return "evaluators/" + r.Name()
}

func rulesByName(d *flag.Document) map[string]rule {
	out := make(map[string]rule, len(d.Evaluators)+len(d.Segments))
	for _, r := range d.Evaluators {
		out["evaluators/"+r.Name()] = rule{r, false}
	}
	for _, r := range d.Segments {
		out["segments/"+r.Name()] = rule{r, true}
	}
	return out
}

// inOrder is every rule after those that it refers to. A cycle, which the
// server refuses, is cut somewhere.
func inOrder(d *flag.Document, byName map[string]rule) []rule {
	var out []rule
	seen := make(map[string]bool, len(byName))
	var visit func(name string)
	visit = func(name string) {
		r, ok := byName[name]
		if !ok || seen[name] {
			return
		}
		seen[name] = true
		for _, needed := range uses(r) {
			visit(needed)
		}
		out = append(out, r)
	}
	for _, r := range d.Evaluators {
		visit("evaluators/" + r.Name())
	}
	for _, r := range d.Segments {
		visit("segments/" + r.Name())
	}
	return out
}

// Writes tells whether the chunk writes an object, such as flags/new-ui. What
// is no rule is always written by the chunk that has it.
func (c Chunk) Writes(object string) bool {
	kind, name, _ := strings.Cut(object, "/")
	has := func(rules []*flag.Rule) bool {
		return slices.ContainsFunc(rules, func(r *flag.Rule) bool { return r.Name() == name })
	}
	switch kind {
	case "evaluators":
		return has(c.Write.Evaluators)
	case "segments":
		return has(c.Write.Segments)
	default:
		return true
	}
}
