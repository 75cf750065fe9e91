package flag

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxNesting is how deep arrays and objects of a text may be nested.
const maxNesting = 512

type jsonKind uint8

const (
	jsonNull jsonKind = iota
	jsonBool
	jsonNumber
	jsonString
	jsonArray
	jsonObject
)

func (k jsonKind) String() string {
	return [...]string{"null", "a bool", "a number", "a string", "an array", "an object"}[k]
}

// jsonNode is one value of a parsed text, with its place in the text.
type jsonNode struct {
	kind       jsonKind
	truth      bool   // of a bool
	start, end int    // offsets of the value; end is 0 where the parser failed
	nameAt     int    // offset of the name of a member
	name       string // of a member of an object
	str        string // of a string: the string; of a number: its text
	items      []jsonNode
}

// member is the member of an object with that name, or nil.
func (n *jsonNode) member(name string) *jsonNode {
	for i := range n.items {
		if n.items[i].name == name {
			return &n.items[i]
		}
	}
	return nil
}

// number is the value of a number as a double; a text too large for one is
// infinite.
func (n *jsonNode) number() float64 {
	f, _ := strconv.ParseFloat(n.str, 64)
	return f
}

// syntaxError is where and why a text is no JSON.
type syntaxError struct {
	at      int
	message string
	hint    string
}

// jsonParser reads RFC 8259 JSON strictly. Faults it can read past (duplicate
// keys, invalid UTF-8) go to soft, so that all of them are found at once.
type jsonParser struct {
	text  string
	at    int
	depth int
	// loose means that white space stands between tokens: the text is not as
	// compact as it could be.
	loose bool
	soft  []syntaxError
	hard  *syntaxError
}

// parseJSON reads one value and nothing after it. The node is usable only when
// hard is nil.
func parseJSON(text string) (n jsonNode, p jsonParser) {
	p = jsonParser{text: text}
	if strings.HasPrefix(text, "\ufeff") {
		p.fail(0, "the text starts with a byte order mark", "save it as UTF-8 without one")
		return n, p
	}
	p.space()
	p.value(&n)
	p.space()
	if p.hard == nil && p.at < len(text) {
		p.fail(p.at, "there is text after the end of the JSON value", "remove it")
	}
	return n, p
}

func (p *jsonParser) fail(at int, message, hint string) {
	if p.hard == nil {
		p.hard = &syntaxError{at, message, hint}
	}
}

func (p *jsonParser) warn(at int, message, hint string) {
	if len(p.soft) < maxFaults {
		p.soft = append(p.soft, syntaxError{at, message, hint})
	}
}

func (p *jsonParser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
			p.loose = true
		default:
			return
		}
	}
}

// value reads the value that starts here into n. After a failure the parser
// stands still and every caller returns.
func (p *jsonParser) value(n *jsonNode) {
	n.start = p.at
	if p.at >= len(p.text) {
		p.fail(p.at, "the text ends where a value should be", "")
		return
	}
	switch c := p.text[p.at]; {
	case c == '{':
		p.object(n)
	case c == '[':
		p.array(n)
	case c == '"':
		n.kind = jsonString
		n.str = p.string()
	case c == '-' || (c >= '0' && c <= '9'):
		n.kind = jsonNumber
		p.number()
		n.str = p.text[n.start:p.at]
	default:
		p.word(n)
	}
	if p.hard == nil {
		n.end = p.at
	}
}

func (p *jsonParser) word(n *jsonNode) {
	end := p.at
	for end < len(p.text) && isLetter(p.text[end]) {
		end++
	}
	switch p.text[p.at:end] {
	case "true":
		n.kind, n.truth = jsonBool, true
	case "false":
		n.kind = jsonBool
	case "null":
		n.kind = jsonNull
	case "":
		r, size := utf8.DecodeRuneInString(p.text[p.at:])
		if r == utf8.RuneError && size <= 1 {
			p.fail(p.at, "the text is not valid UTF-8", "save it as UTF-8")
			return
		}
		p.fail(p.at, fmt.Sprintf("a value cannot start with %q", r), "")
		return
	default:
		p.fail(p.at, "unknown word "+quote(p.text[p.at:end]), "a string needs double quotes around it")
		return
	}
	p.at = end
}

func isLetter(c byte) bool { return (c|0x20 >= 'a' && c|0x20 <= 'z') || c == '_' }

func (p *jsonParser) array(n *jsonNode) {
	n.kind = jsonArray
	if !p.open() {
		return
	}
	for first := true; ; first = false {
		p.space()
		if p.closes(']', first) || p.hard != nil {
			return
		}
		n.items = append(n.items, jsonNode{})
		p.value(&n.items[len(n.items)-1])
		if p.hard != nil {
			return
		}
	}
}

func (p *jsonParser) object(n *jsonNode) {
	n.kind = jsonObject
	if !p.open() {
		return
	}
	var seen map[string]bool
	for first := true; ; first = false {
		p.space()
		if p.closes('}', first) || p.hard != nil {
			return
		}
		if p.at >= len(p.text) || p.text[p.at] != '"' {
			p.fail(p.at, "the name of a member should be here", "names are strings in double quotes; there is no comma after the last member")
			return
		}
		nameAt := p.at
		name := p.string()
		if p.hard != nil {
			return
		}
		seen = p.duplicate(n, seen, name, nameAt)
		p.space()
		if p.at >= len(p.text) || p.text[p.at] != ':' {
			p.fail(p.at, "a colon should be here, after the name "+quote(name), "")
			return
		}
		p.at++
		p.space()
		n.items = append(n.items, jsonNode{name: name, nameAt: nameAt})
		p.value(&n.items[len(n.items)-1])
		if p.hard != nil {
			return
		}
	}
}

// fewMembers is up to how many members are searched one by one for duplicates.
const fewMembers = 16

func (p *jsonParser) duplicate(n *jsonNode, seen map[string]bool, name string, at int) map[string]bool {
	const hint = "keep one of the two"
	if len(n.items) < fewMembers {
		if n.member(name) != nil {
			p.warn(at, "the name "+quote(name)+" is there twice", hint)
		}
		return nil
	}
	if seen == nil {
		seen = make(map[string]bool, 2*fewMembers)
		for i := range n.items {
			seen[n.items[i].name] = true
		}
	}
	if seen[name] {
		p.warn(at, "the name "+quote(name)+" is there twice", hint)
	}
	seen[name] = true
	return seen
}

func (p *jsonParser) open() bool {
	if p.depth == maxNesting {
		p.fail(p.at, fmt.Sprintf("nested deeper than %d levels", maxNesting), "")
		return false
	}
	p.depth++
	p.at++
	return true
}

// closes reads the end of an array or object, or the comma before its next
// element.
func (p *jsonParser) closes(end byte, first bool) bool {
	if p.at >= len(p.text) {
		p.fail(p.at, fmt.Sprintf("the text ends before the closing %q", end), "")
		return false
	}
	switch c := p.text[p.at]; {
	case c == end:
		p.at++
		p.depth--
		return true
	case first:
		return false
	case c == ',':
		comma := p.at
		p.at++
		p.space()
		if p.at < len(p.text) && p.text[p.at] == end {
			p.fail(comma, fmt.Sprintf("there is a comma before the closing %q", end), "remove it")
		}
		return false
	default:
		p.fail(p.at, fmt.Sprintf("a comma or the closing %q should be here", end), "")
		return false
	}
}

func (p *jsonParser) number() {
	start := p.at
	if p.text[p.at] == '-' {
		p.at++
	}
	zero := p.at < len(p.text) && p.text[p.at] == '0'
	whole := p.digits()
	ok := whole == 1 || (whole > 1 && !zero)
	if ok && p.at < len(p.text) && p.text[p.at] == '.' {
		p.at++
		ok = p.digits() > 0
	}
	if ok && p.at < len(p.text) && p.text[p.at]|0x20 == 'e' {
		p.at++
		if p.at < len(p.text) && (p.text[p.at] == '+' || p.text[p.at] == '-') {
			p.at++
		}
		ok = p.digits() > 0
	}
	if !ok {
		p.fail(start, "this is no number as JSON writes them", "such as 0, -1, 2.5 or 1e6; no leading zero, no hexadecimal")
	}
}

func (p *jsonParser) digits() int {
	start := p.at
	for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
		p.at++
	}
	return p.at - start
}

// string reads a string. Without escapes it shares the text's memory.
func (p *jsonParser) string() string {
	start := p.at
	p.at++
	body := p.at
	ascii := true
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '"':
			s := p.text[body:p.at]
			p.at++
			if !ascii {
				return p.checkUTF8(s, start)
			}
			return s
		case c == '\\':
			return p.escaped(body, start)
		case c < ' ':
			p.fail(p.at, "there is a control character in a string", `write it as an escape, such as \n`)
			return ""
		case c >= utf8.RuneSelf:
			ascii = false
			p.at++
		default:
			p.at++
		}
	}
	p.fail(start, "this string has no closing quote", "")
	return ""
}

func (p *jsonParser) checkUTF8(s string, at int) string {
	if utf8.ValidString(s) {
		return s
	}
	p.warn(at, "this string is not valid UTF-8", "save the text as UTF-8")
	return strings.ToValidUTF8(s, "\ufffd")
}

// escaped reads the rest of a string that has at least one escape.
func (p *jsonParser) escaped(body, start int) string {
	var b strings.Builder
	b.WriteString(p.text[body:p.at])
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return p.checkUTF8(b.String(), start)
		case c == '\\':
			p.escape(&b)
			if p.hard != nil {
				return ""
			}
		case c < ' ':
			p.fail(p.at, "there is a control character in a string", `write it as an escape, such as \n`)
			return ""
		default:
			b.WriteByte(c)
			p.at++
		}
	}
	p.fail(start, "this string has no closing quote", "")
	return ""
}

func (p *jsonParser) escape(b *strings.Builder) {
	at := p.at
	if at+1 >= len(p.text) {
		p.fail(at, "the text ends inside an escape", "")
		return
	}
	c := p.text[at+1]
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		b.WriteByte("\"\\/\b\f\n\r\t"[i])
		p.at += 2
		return
	}
	r, ok := p.unicodeEscape(at)
	if !ok {
		p.fail(at, `unknown escape in a string`, `the escapes are \" \\ \/ \b \f \n \r \t and \u with four hexadecimal digits`)
		return
	}
	p.at += 6
	if utf16.IsSurrogate(r) {
		low, ok := p.unicodeEscape(p.at)
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			p.warn(at, "this escape is half of a surrogate pair", `a character above U+FFFF needs two escapes, \ud800–\udbff and then \udc00–\udfff`)
			b.WriteRune(utf8.RuneError)
			return
		}
		p.at += 6
	}
	b.WriteRune(r)
}

func (p *jsonParser) unicodeEscape(at int) (rune, bool) {
	if at+6 > len(p.text) || p.text[at] != '\\' || p.text[at+1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(p.text[at+2:at+6], 16, 32)
	return rune(v), err == nil
}

// compactJSON is the text without white space between tokens, members in their
// order. The text must have been parsed without failure.
func compactJSON(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			b.WriteByte(c)
			i++
			b.WriteByte(text[i])
		case c == '"':
			quoted = !quoted
			b.WriteByte(c)
		case !quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// appendQuoted appends s as a JSON string.
func appendQuoted(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r == '\t':
			b = append(b, '\\', 't')
		case r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029':
			b = append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
