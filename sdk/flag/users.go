package flag

import "slices"

// SegmentUsers are the flags and rules that refer to a segment, sorted: a
// flag by its key, a rule as $evaluators["NAME"] or segments["NAME"].
func (s *Set) SegmentUsers(name string) []string { return s.users(segmentID(name)) }

// EvaluatorUsers are the flags and rules that refer to an evaluator, as those
// of [Set.SegmentUsers].
func (s *Set) EvaluatorUsers(name string) []string { return s.users(evaluatorID(name)) }

func (s *Set) users(id string) []string {
	users, _ := s.dependents.get(id)
	labels := make([]string, 0, users.n)
	for user := range users.all() {
		labels = append(labels, ruleLabel(user))
	}
	slices.Sort(labels)
	return labels
}
