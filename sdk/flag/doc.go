// Package flag is what flags mean: it parses and checks flagd's flag definitions,
// compiles them, evaluates them, explains evaluations, and writes out what is
// effectively served. It has no I/O and no clock it was not given, and can be used
// on its own.
//
// [Parse], [ParseRule] and [ParseDocument] read text and tell every fault in it.
// A [Set] holds compiled flags with all that decides what they serve: evaluators
// and segments, overrides, open guards, the level of degradation, settings.
// [Set.With] makes the next version, which shares structure with the one before;
// a version never changes, so readers need no lock. [Set.Bool] and its siblings
// evaluate, [Set.Explain] says why, [Set.Compose] writes the effective flag in
// flagd's own terms.
//
// # From text to answer
//
//	json.go                 text → tree, with the place of every value
//	check.go, rule.go,
//	parse.go, document.go   tree → faults and Definition, Rule, Document
//	operators.go            the operators: names, arguments, checks
//	compile.go              tree → program of nodes, constants folded
//	eval.go, data.go,
//	lists.go, fractional.go program and context → value
//	value.go, coerce.go     values without boxing, and JavaScript's conversions
//	answer.go, result.go    override, state, level, guard, targeting, default
//	update.go, ruleset.go,
//	reset.go, table.go,
//	view.go                 versions of a set, and what changed between them
//	compose.go, explain.go  the effective flag; the trace of an evaluation
//
// To add an operator: give it an opcode and a line in operators.go, and a case in
// eval.go.
//
// # Rules
//
// Targeting is JSONLogic with flagd's operators fractional, starts_with, ends_with
// and sem_ver, flagd's {"$ref": NAME}, and Plimsoll's {"segment": NAME}; the last
// two stand for the rule they name. DIFFERENCES.md lists every place where
// implementations differ, what this one does, and why.
//
// A context may hold any Go value. Strings, bools, numbers, times, maps of
// string to any, and the usual slices are read directly; other types go through
// reflection. No rule and no context makes an evaluation panic or go on without
// end: an evaluation that takes too many steps ends with [ParseError].
package flag
