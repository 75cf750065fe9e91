// Package degrade holds the pure part of degradation, its numbers and its plan:
//
//	tiers.go, level.go, hold.go  priorities, how deep a namespace is, and the bounds on it
//	verbs.go                     what an operator does → holds
//	plan.go, lint.go, finding.go the plan: what is wrong with it, and what is questionable
//	failure.go, circles.go       plan and features → what a failure or a level does
//
// Nothing here reads a clock, a network or a store; every function is a pure
// function of its arguments, so that every process that is told the same state
// sheds the same, and whoever asks what a failure would do is told the same.
package degrade
