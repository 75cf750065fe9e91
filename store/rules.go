package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// DeleteSegment removes a segment that nothing refers to.
func (s *Store) DeleteSegment(ctx context.Context, ns, name string, c Change) (Result, error) {
	return s.deleteRule(ctx, ns, "segment", kindSegment, (*flag.Set).SegmentUsers, name, c)
}

// DeleteEvaluator removes an evaluator that nothing refers to.
func (s *Store) DeleteEvaluator(ctx context.Context, ns, name string, c Change) (Result, error) {
	return s.deleteRule(ctx, ns, "evaluator", kindEvaluator, (*flag.Set).EvaluatorUsers, name, c)
}

func (s *Store) deleteRule(ctx context.Context, ns, what, kind string, users func(*flag.Set, string) []string, name string, c Change) (Result, error) {
	c, err := c.normalize(what + ".delete")
	if err != nil {
		return Result{}, err
	}
	return s.commit(ctx, ns, c, func(snap *Snapshot) (*txn, error) {
		if _, ok := snap.Object(kind + name); !ok {
			var names []string
			for other := range snap.kind(kind, "", "") {
				names = append(names, other)
			}
			return nil, &NotFoundError{Kind: what, Name: name, Nearest: nearest(name, names)}
		}
		if by := users(snap.set, name); len(by) > 0 {
			return nil, refuseNowf("%s %q is used by %s; change these first", what, name, listed(by))
		}
		return &txn{writes: []write{{kind + name, nil}}, refs: true}, nil
	})
}

// listed joins names, but not more than a person reads.
func listed(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// ruleText is an evaluator or a segment by the name of its object.
type ruleText struct{ name, text string }

// rulesInOrder are a document's evaluators and segments, each after those that
// it refers to: written in this order, a large document compiles after each of
// its batches. Rules that refer to each other in a circle come in some order;
// they do not compile in any.
func rulesInOrder(doc *flag.Document) []ruleText {
	rules := make(map[string]*flag.Rule, len(doc.Evaluators)+len(doc.Segments))
	var names []string
	for _, r := range doc.Evaluators {
		names = append(names, kindEvaluator+r.Name())
		rules[kindEvaluator+r.Name()] = r
	}
	for _, r := range doc.Segments {
		names = append(names, kindSegment+r.Name())
		rules[kindSegment+r.Name()] = r
	}
	out := make([]ruleText, 0, len(names))
	seen := make(map[string]bool, len(names))
	var visit func(name string)
	visit = func(name string) {
		r := rules[name]
		if r == nil || seen[name] {
			return
		}
		seen[name] = true
		for _, ref := range r.Evaluators() {
			visit(kindEvaluator + ref)
		}
		for _, ref := range r.Segments() {
			visit(kindSegment + ref)
		}
		out = append(out, ruleText{name, r.JSON()})
	}
	for _, name := range names {
		visit(name)
	}
	return out
}
