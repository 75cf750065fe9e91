package yamldoc

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// maxFaults bounds what is reported of one document.
const maxFaults = 1000

// step is the way to a value: a member of an object or an element of an array.
type step struct {
	up    *step
	name  string
	index int // -1: a member
}

func (s *step) member(name string) *step { return &step{up: s, name: name, index: -1} }
func (s *step) element(i int) *step      { return &step{up: s, index: i} }

var identifier = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

// String is the way in the notation of flag.Fault.
func (s *step) String() string {
	switch {
	case s == nil:
		return "$"
	case s.index >= 0:
		return fmt.Sprintf("%s[%d]", s.up, s.index)
	case identifier.MatchString(s.name) && (s.up == nil || s.up.name != "flags"):
		return s.up.String() + "." + s.name
	default:
		return fmt.Sprintf("%s[%q]", s.up, s.name)
	}
}

// anchor is a named value; open while the value itself is being written, when
// an alias to it would have no end.
type anchor struct {
	node ast.Node
	open bool
}

// converter writes one document as JSON. Where something is wrong it writes
// something like it and goes on, so that the other faults are found too.
type converter struct {
	out     []byte
	chars   int // characters in out
	marks   []mark
	depth   int
	before  int // lines before the document
	anchors map[string]*anchor
	faults  flag.Faults
	full    bool // a limit was met
	broken  bool // what is written is of no use
	// Within an alias (aliases counts how many) the output may grow up to
	// aliasLimit; aliased is what earlier aliases have used up.
	aliases, aliasLimit, aliased int
}

func (c *converter) emit(s string) {
	c.out = append(c.out, s...)
	c.chars += utf8.RuneCountInString(s)
}

// mark says that what is written next stands at tk.
func (c *converter) mark(tk *token.Token) {
	c.marks = append(c.marks, mark{int32(c.chars), int32(tk.Position.Line + c.before), int32(max(tk.Position.Column, 1))})
}

func (c *converter) fault(n ast.Node, at *step, message, hint string) {
	if len(c.faults) >= maxFaults {
		return
	}
	pos := n.GetToken().Position
	c.faults = append(c.faults, flag.Fault{
		Path: at.String(), Line: pos.Line + c.before, Column: max(pos.Column, 1), Message: message, Hint: hint,
	})
}

// value writes a node.
func (c *converter) value(n ast.Node, at *step) {
	if c.full {
		return
	}
	if c.aliases > 0 && len(c.out) > c.aliasLimit {
		c.full, c.broken = true, true
		c.fault(n, at, fmt.Sprintf("the aliases of this document stand for more than %d MiB", maxAliased>>20), "write out what is needed")
		return
	}
	if c.depth == maxDepth {
		c.full, c.broken = true, true
		c.fault(n, at, "nested too deeply", fmt.Sprintf("at most %d levels are allowed", maxDepth))
		return
	}
	c.depth++
	defer func() { c.depth-- }()

	switch n := n.(type) {
	case *ast.MappingNode:
		c.mark(firstToken(n))
		c.mapping(n.Values, at)
	case *ast.MappingValueNode:
		c.mark(n.Key.GetToken())
		c.mapping([]*ast.MappingValueNode{n}, at)
	case *ast.SequenceNode:
		c.mark(n.Start)
		c.sequence(n, at)
	case *ast.AnchorNode:
		c.anchored(n, at)
	case *ast.AliasNode:
		c.alias(n, at)
	case *ast.TagNode:
		c.tagged(n, at)
	default:
		c.mark(n.GetToken())
		c.scalar(n, at)
	}
}

// firstToken is where a mapping begins: at its first key, or its brace.
func firstToken(n *ast.MappingNode) *token.Token {
	if n.IsFlowStyle || len(n.Values) == 0 {
		return n.Start
	}
	return n.Values[0].Key.GetToken()
}

func (c *converter) mapping(values []*ast.MappingValueNode, at *step) {
	m := &mappingWriter{converter: c, at: at, own: make(map[string]bool, len(values)), written: make(map[string]bool, len(values))}
	for _, v := range values {
		m.claim(v)
	}
	c.emit("{")
	for _, v := range values {
		if _, isMerge := v.Key.(*ast.MergeKeyNode); isMerge {
			m.merge(v.Value)
			continue
		}
		m.member(v)
	}
	c.emit("}")
}

func (c *converter) sequence(n *ast.SequenceNode, at *step) {
	c.emit("[")
	for i, v := range n.Values {
		if i > 0 {
			c.emit(",")
		}
		c.value(v, at.element(i))
	}
	c.emit("]")
}

func (c *converter) anchored(n *ast.AnchorNode, at *step) {
	a := &anchor{node: n.Value, open: true}
	c.anchors[n.Name.GetToken().Value] = a
	c.value(n.Value, at)
	a.open = false
}

func (c *converter) alias(n *ast.AliasNode, at *step) {
	target := c.resolve(n, at)
	if target == nil {
		return
	}
	start := len(c.out)
	if c.aliases == 0 {
		c.aliasLimit = start + maxAliased - c.aliased
	}
	c.aliases++
	target.open = true
	c.value(target.node, at)
	target.open = false
	c.aliases--
	if c.aliases == 0 {
		c.aliased += len(c.out) - start
	}
}

// resolve finds what an alias names.
func (c *converter) resolve(n *ast.AliasNode, at *step) *anchor {
	name := n.Value.GetToken().Value
	switch a := c.anchors[name]; {
	case a == nil:
		c.broken = true
		c.fault(n, at, fmt.Sprintf("there is no anchor &%s before this alias", name), "")
		return nil
	case a.open:
		c.broken = true
		c.fault(n, at, fmt.Sprintf("the alias *%s stands within what it names", name), "")
		return nil
	default:
		return a
	}
}

func (c *converter) tagged(n *ast.TagNode, at *step) {
	tag := n.Start.Value
	switch tag {
	case "!!str":
		c.mark(n.Value.GetToken())
		c.emit(quoted(scalarText(n.Value)))
	case "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq":
		c.value(n.Value, at)
	default:
		c.fault(n, at, fmt.Sprintf("the tag %s has no meaning here", tag), "remove it")
		c.value(n.Value, at)
	}
}

// scalarText is a scalar as it was written, quotes and block style resolved.
func scalarText(n ast.Node) string {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	default:
		return n.GetToken().Value
	}
}

func (c *converter) scalar(n ast.Node, at *step) {
	switch n := n.(type) {
	case *ast.NullNode:
		c.emit("null")
	case *ast.BoolNode:
		c.emit(strconv.FormatBool(n.Value))
	case *ast.LiteralNode:
		c.text(n, n.Value.Value, at)
	case *ast.StringNode:
		if n.Token.Type == token.StringType && jsonNumber.MatchString(n.Value) {
			c.emit(n.Value) // one that the parser could not hold, such as 1e400
			return
		}
		c.text(n, n.Value, at)
	case *ast.IntegerNode, *ast.FloatNode:
		number, hint := jsonOf(n.GetToken().Value)
		if number == "" {
			c.fault(n, at, fmt.Sprintf("readers of YAML disagree about %s", n.GetToken().Value), hint)
			number = "0"
		}
		c.emit(number)
	case *ast.InfinityNode, *ast.NanNode:
		c.fault(n, at, n.GetToken().Value+" is no number that JSON can write", "")
		c.emit("0")
	default:
		c.fault(n, at, "JSON has nothing like this", "")
		c.emit("null")
	}
}

func (c *converter) text(n ast.Node, s string, at *step) {
	if !utf8.ValidString(s) {
		c.fault(n, at, "this text is not valid UTF-8", `write characters as they are, or as \u escapes`)
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	c.emit(quoted(s))
}

var (
	jsonNumber   = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
	yamlFloat    = regexp.MustCompile(`^[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	yamlHexOctal = regexp.MustCompile(`^0(x[0-9a-fA-F]+|o[0-7]+)$`)
)

// jsonOf is a number of YAML 1.2's core schema as JSON writes it, else "" and
// what to write instead.
func jsonOf(s string) (number, hint string) {
	switch {
	case jsonNumber.MatchString(s):
		return s, ""
	case yamlHexOctal.MatchString(s):
		if v, err := strconv.ParseUint(s, 0, 64); err == nil {
			return strconv.FormatUint(v, 10), ""
		}
		return "", "write it as a decimal"
	case yamlFloat.MatchString(s):
		s = strings.TrimPrefix(s, "+")
		if jsonNumber.MatchString(s) {
			return s, ""
		}
		if v, err := strconv.ParseFloat(s, 64); err == nil {
			return strconv.FormatFloat(v, 'g', -1, 64), ""
		}
	}
	plain := strings.TrimLeft(strings.ReplaceAll(s, "_", ""), "0")
	if jsonNumber.MatchString(plain) {
		return "", fmt.Sprintf("write %s for the number, %q for the text", plain, s)
	}
	return "", fmt.Sprintf("write a decimal number, or %q for the text", s)
}

// quoted is s as a JSON string, with the characters that people write left as
// they are.
func quoted(s string) string {
	if !strings.ContainsFunc(s, needsEscape) {
		return `"` + s + `"`
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(fmt.Sprintf("encode a string: %v", err)) // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func needsEscape(r rune) bool {
	return r < ' ' || r == '"' || r == '\\' || r == utf8.RuneError || r == '\u2028' || r == '\u2029'
}
