package flag

import (
	"slices"
	"strings"
)

// Raw evaluates a flag of whatever type, for a caller that writes the answer out
// as JSON: the value is the variant's value as compact JSON text, "" without one.
func (s *Set) Raw(key string, ctx map[string]any) (r Result[string]) {
	a := s.answer(key, ctx)
	r.Reason, r.Metadata = deciders[a.reason], a.metadata
	if a.variant == nil {
		r.fail(a.failed)
		s.countUnserved(key, a.reason)
		return r
	}
	s.countServed(key, a.variant, a.reason)
	r.Value, r.Variant, r.HasValue = a.variant.json, a.variant.name, true
	return r
}

// AllKeys are the keys of all flags, sorted: of those too that never compiled,
// which answer PARSE_ERROR.
func (s *Set) AllKeys() []string {
	keys := make([]string, 0, s.flags.n)
	for key := range s.flags.all() {
		keys = append(keys, key)
	}
	for key := range s.broken.all() {
		if _, good := s.flags.get(key); !good {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, strings.Compare)
	return keys
}

// TellsTime tells whether the answer of any flag may depend on
// $flagd.timestamp, and so change while the set and the context stay. It looks at
// every rule, until one does.
func (s *Set) TellsTime() bool {
	for _, f := range s.flags.all() {
		if f.rule != nil && f.rule.root.tellsTime() {
			return true
		}
	}
	return false
}

// tellsTime looks for a var that names the timestamp, all of $flagd or the whole
// context, or whose path is not known before it is evaluated.
func (n *node) tellsTime() bool {
	if n.op == opVar && n.readsTime() {
		return true
	}
	if n.more != nil && n.more.buckets != nil && n.more.buckets.tellsTime() {
		return true
	}
	return slices.ContainsFunc(n.args, (*node).tellsTime)
}

// readsTime is tellsTime of a var; inside of map and the like it may say yes
// where only an element is read.
func (n *node) readsTime() bool {
	switch {
	case !n.dotted:
		return true
	case n.text != "":
		return n.text == flagdName
	case len(n.path) > 1:
		return n.path[0] == flagdName && n.path[1] == "timestamp"
	default:
		return true // the whole context
	}
}

func (b *buckets) tellsTime() bool {
	if b.by != nil && b.by.tellsTime() || slices.ContainsFunc(b.dynamic, (*node).tellsTime) {
		return true
	}
	return slices.ContainsFunc(b.list, func(k bucket) bool {
		return k.variant.tellsTime() || k.weight != nil && k.weight.tellsTime()
	})
}
