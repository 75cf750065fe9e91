package flag

import (
	"slices"
	"strconv"
	"strings"
)

// opcode is what a compiled node does.
type opcode uint8

const (
	opConst opcode = iota
	opList
	opVar
	opIf
	opOr
	opAnd

	// From here to opLessEqual: those that yield true or false and nothing else.
	opTextEqual // == or === of a var and a constant text, made by compiling
	opTextIn    // in over a constant list of texts, made by compiling
	opEqual
	opNotEqual
	opSame
	opNotSame
	opNot
	opTruth
	opIn
	opGreater
	opGreaterEqual
	opLess
	opLessEqual

	opMissing
	opMissingSome
	opMax
	opMin
	opAdd
	opSubtract
	opMultiply
	opDivide
	opModulo
	opMap
	opFilter
	opReduce
	opAll
	opNone
	opSome
	opMerge
	opCat
	opSubstr
	opLog
	opSpread // one that stands for another with a single argument, not bracketed
	opFractional
	opStartsWith
	opEndsWith
	opSemVer
)

// operator is one operation of the rule language.
type operator struct {
	code        opcode
	least, most int // number of arguments; most < 0: any
	check       func(*checker, *jsonNode)
}

// spreads tells whether a single argument that is not bracketed may yield the
// list of all arguments. It is so where all of flagd's implementations do it.
func (op opcode) spreads() bool {
	switch op {
	case opAdd, opSubtract, opMultiply, opDivide, opModulo, opMax, opMin, opCat, opSubstr,
		opFractional, opStartsWith, opEndsWith, opSemVer:
		return true
	default:
		return false
	}
}

// operators by name. `$ref` and `segment` are not among them: they are replaced
// by what they refer to.
var operators = map[string]operator{
	"var":          {opVar, 0, 2, checkVar},
	"missing":      {opMissing, 0, -1, nil},
	"missing_some": {opMissingSome, 2, 2, nil},
	"if":           {opIf, 1, -1, nil},
	"?:":           {opIf, 1, -1, nil},
	"==":           {opEqual, 2, 2, nil},
	"!=":           {opNotEqual, 2, 2, nil},
	"===":          {opSame, 2, 2, nil},
	"!==":          {opNotSame, 2, 2, nil},
	"!":            {opNot, 1, 1, nil},
	"!!":           {opTruth, 1, 1, nil},
	"or":           {opOr, 1, -1, nil},
	"and":          {opAnd, 1, -1, nil},
	">":            {opGreater, 2, 2, nil},
	">=":           {opGreaterEqual, 2, 2, nil},
	"<":            {opLess, 2, 3, nil},
	"<=":           {opLessEqual, 2, 3, nil},
	"max":          {opMax, 0, -1, nil},
	"min":          {opMin, 0, -1, nil},
	"+":            {opAdd, 0, -1, nil},
	"-":            {opSubtract, 1, 2, nil},
	"*":            {opMultiply, 1, -1, nil},
	"/":            {opDivide, 2, 2, nil},
	"%":            {opModulo, 2, 2, nil},
	"map":          {opMap, 2, 2, nil},
	"filter":       {opFilter, 2, 2, nil},
	"reduce":       {opReduce, 2, 3, nil},
	"all":          {opAll, 2, 2, nil},
	"none":         {opNone, 2, 2, nil},
	"some":         {opSome, 2, 2, nil},
	"merge":        {opMerge, 0, -1, nil},
	"in":           {opIn, 2, 2, nil},
	"cat":          {opCat, 0, -1, nil},
	"substr":       {opSubstr, 2, 3, nil},
	"log":          {opLog, 1, 1, nil},
	"fractional":   {opFractional, 1, -1, checkFractional},
	"starts_with":  {opStartsWith, 2, 2, checkAffix},
	"ends_with":    {opEndsWith, 2, 2, checkAffix},
	"sem_ver":      {opSemVer, 3, 3, checkSemVer},
}

// operatorNames are what a hint may suggest; filled by init because the checks
// above lead back to it.
var operatorNames []string

func init() {
	operatorNames = append(sortedKeys(operators), "$ref", "segment")
	slices.Sort(operatorNames)
}

// checkVar refuses paths below $flagd that do not exist.
func checkVar(c *checker, args *jsonNode) {
	path := args
	if args.kind == jsonArray && len(args.items) > 0 {
		path = &args.items[0]
	}
	if path.kind != jsonString {
		return
	}
	if name, ok := strings.CutPrefix(path.str, "$flagd."); ok && name != "flagKey" && name != "timestamp" {
		c.errorf(path.start, suggest(name, []string{"flagKey", "timestamp"}), "$flagd has no field %s", quote(name))
	}
}

// checkFractional refuses what can never be a bucket.
func checkFractional(c *checker, args *jsonNode) {
	if args.kind != jsonArray {
		return
	}
	var sum int64
	for i := range args.items {
		item := &args.items[i]
		if item.kind == jsonObject || (i == 0 && item.kind != jsonArray) {
			continue
		}
		c.pushIndex(i)
		if item.kind != jsonArray {
			c.errorf(item.start, `such as ["on", 25]`, "a bucket is a list of a variant and a weight, not %s", item.kind)
			c.pop()
			continue
		}
		if len(item.items) < 1 || len(item.items) > 2 {
			c.errorf(item.start, `such as ["on", 25]`, "a bucket is a variant and an optional weight; this one has %d elements", len(item.items))
			c.pop()
			continue
		}
		if variant := &item.items[0]; variant.kind == jsonArray {
			c.pushIndex(0)
			c.errorf(variant.start, "", "a list names no variant")
			c.pop()
		}
		if len(item.items) == 2 {
			sum += c.fractionalWeight(&item.items[1])
		} else {
			sum++
		}
		c.pop()
	}
	if sum > maxWeight {
		c.errorf(args.start, "use smaller weights", "the weights add up to %d; at most %d is allowed", sum, maxWeight)
	}
}

func (c *checker) fractionalWeight(n *jsonNode) int64 {
	c.pushIndex(1)
	defer c.pop()
	switch n.kind {
	case jsonObject, jsonNull:
		return 0
	case jsonNumber:
		if w, ok := wholeWeight(n.number()); ok {
			if n.number() < 0 {
				c.warnf(n.start, "", "the weight %s counts as 0", n.str)
			}
			return w
		}
		c.errorf(n.start, "", "a weight is a whole number from 0 to %d, not %s", int64(maxWeight), n.str)
	default:
		c.errorf(n.start, "", "a weight is a whole number, not %s", n.kind)
	}
	return 0
}

// checkAffix refuses constants that are no text: the result would always be null.
func checkAffix(c *checker, args *jsonNode) {
	if args.kind != jsonArray {
		return // one that may yield both
	}
	for i := range args.items {
		if item := &args.items[i]; item.kind != jsonString && item.kind != jsonObject {
			c.pushIndex(i)
			c.errorf(item.start, "", "both arguments of %s are text, this is %s", quote(args.name), item.kind)
			c.pop()
		}
	}
}

var semVerOperators = []string{"=", "!=", "<", "<=", ">", ">=", "~", "^"}

// checkSemVer refuses operators and constant versions that can never match.
func checkSemVer(c *checker, args *jsonNode) {
	if args.kind != jsonArray || len(args.items) != 3 {
		return
	}
	for i := range args.items {
		item := &args.items[i]
		c.pushIndex(i)
		switch {
		case item.kind == jsonObject:
		case i == 1:
			if item.kind != jsonString || !slices.Contains(semVerOperators, item.str) {
				c.errorf(item.start, "there are "+strings.Join(semVerOperators, " "), "unknown comparison of versions %s", c.text[item.start:item.end])
			}
		case item.kind == jsonString || item.kind == jsonNumber:
			version := item.str
			if item.kind == jsonNumber {
				version = string(appendNumber(nil, item.number())) // as it is evaluated
			}
			if _, ok := canonicalVersion(version); !ok {
				c.errorf(item.start, "such as 1.2.3, 1.2 or v1.2.3-rc.1", "%s is no semantic version", strconv.Quote(item.str))
			}
		default:
			c.errorf(item.start, "", "a version is a string, not %s", item.kind)
		}
		c.pop()
	}
}
