package flag

import "fmt"

// What the evaluations of one request may take together: as much as a few of the
// longest, and enough for every flag of a large set.
const (
	budgetBase    = 4 * maxSteps
	budgetPerFlag = 256
)

// budget is what is left of that.
type budget struct{ total, left int }

// ForRequest is the set for one request that evaluates many of its flags: their
// targeting takes no more than a number of steps together, whatever the context,
// and the flags after that fail with PARSE_ERROR. It belongs to one goroutine.
func (s *Set) ForRequest() *Set {
	next := *s
	total := budgetBase + budgetPerFlag*s.flags.n
	next.budget = &budget{total, total}
	return &next
}

// Spent tells whether the request of the set has taken all its steps.
func (s *Set) Spent() bool { return s.budget != nil && s.budget.left <= 0 }

// Taken is how many steps the request of the set has taken.
func (s *Set) Taken() int {
	if s.budget == nil {
		return 0
	}
	return s.budget.total - s.budget.left
}

// frugal is targeted within the budget of a request.
func (s *Set) frugal(f *served, ctx map[string]any) answer {
	b := s.budget
	steps := min(maxSteps, b.left)
	e := evaluation{set: s, flag: f.def, ctx: ctx, steps: steps, scope: value{kind: kindRoot}}
	if steps <= 0 {
		return s.overspent(f)
	}
	chosen, v := e.outcome(f.rule.root)
	b.left -= steps - max(e.steps, 0)
	switch {
	case e.exhausted() && steps < maxSteps:
		return s.overspent(f)
	case chosen != nil && !e.exhausted():
		return answer{variant: chosen, reason: byTargetingMatch, metadata: s.view.plainMetadata(f)}
	default:
		return s.conclude(f, &e, v)
	}
}

func (s *Set) overspent(f *served) answer {
	return answer{metadata: s.view.plainMetadata(f), reason: byError, failed: &failure{ParseError,
		fmt.Sprintf("the flags of this request take more than %d steps together with this context; ask for fewer, or send a smaller context", s.budget.total)}}
}
