package ofrep

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep quickContext looks.
const maxDepth = 64

// quickContext reads the context of a body that is no more than {"context":{…}},
// as nearly all are, several times as quickly as encoding/json does: the strings
// in it share one copy of the body. Whatever is unusual (escapes, bytes that are
// not UTF-8, other members, a fault) it leaves to encoding/json, whose results it
// shares otherwise.
func quickContext(body []byte) (ctx map[string]any, ok bool) {
	p := parser{text: string(body)}
	if !p.take('{') {
		return nil, false
	}
	if name, ok := p.name(); !ok || name != "context" || p.next() != '{' {
		return nil, false
	}
	v, ok := p.object(1)
	if !ok || !p.take('}') || p.next() != 0 || p.at != len(p.text) {
		return nil, false
	}
	return v, true
}

type parser struct {
	text string
	at   int
}

// next is the next byte that is no white space, which it does not take; 0 at the
// end.
func (p *parser) next() byte {
	for ; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (p *parser) take(c byte) bool {
	if p.next() != c {
		return false
	}
	p.at++
	return true
}

// name is the name of a member, up to its colon.
func (p *parser) name() (string, bool) {
	s, ok := p.str()
	return s, ok && p.take(':')
}

// str is a string without escapes.
func (p *parser) str() (string, bool) {
	if !p.take('"') {
		return "", false
	}
	begin, ascii := p.at, true
	for ; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '"':
			s := p.text[begin:p.at]
			p.at++
			return s, ascii || utf8.ValidString(s)
		case c == '\\' || c < ' ':
			return "", false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return "", false
}

func (p *parser) value(depth int) (any, bool) {
	switch c := p.next(); {
	case c == '"':
		return p.boxed(p.str())
	case c == '{':
		return p.nested(p.object(depth + 1))
	case c == '[':
		return p.list(depth + 1)
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	default:
		for text, v := range literals {
			if strings.HasPrefix(p.text[p.at:], text) {
				p.at += len(text)
				return v, true
			}
		}
		return nil, false
	}
}

var literals = map[string]any{"true": true, "false": false, "null": nil}

func (p *parser) boxed(s string, ok bool) (any, bool) { return s, ok }

func (p *parser) nested(m map[string]any, ok bool) (any, bool) { return m, ok }

func (p *parser) object(depth int) (map[string]any, bool) {
	if depth > maxDepth || !p.take('{') {
		return nil, false
	}
	m := make(map[string]any, 8)
	if p.take('}') {
		return m, true
	}
	for {
		name, ok := p.name()
		if !ok {
			return nil, false
		}
		if m[name], ok = p.value(depth); !ok {
			return nil, false
		}
		if p.take('}') {
			return m, true
		}
		if !p.take(',') {
			return nil, false
		}
	}
}

func (p *parser) list(depth int) (any, bool) {
	if depth > maxDepth || !p.take('[') {
		return nil, false
	}
	list := []any{}
	if p.take(']') {
		return list, true
	}
	for {
		v, ok := p.value(depth)
		if !ok {
			return nil, false
		}
		list = append(list, v)
		if p.take(']') {
			return list, true
		}
		if !p.take(',') {
			return nil, false
		}
	}
}

// number is a number as JSON writes it, of the size that a double holds.
func (p *parser) number() (any, bool) {
	begin := p.at
	digits := func() bool {
		from := p.at
		for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
			p.at++
		}
		return p.at > from
	}
	is := func(chars string) bool {
		if p.at < len(p.text) && strings.IndexByte(chars, p.text[p.at]) >= 0 {
			p.at++
			return true
		}
		return false
	}
	is("-")
	if !is("0") && !digits() {
		return nil, false
	}
	if is(".") && !digits() {
		return nil, false
	}
	if is("eE") {
		if is("+-"); !digits() {
			return nil, false
		}
	}
	f, err := strconv.ParseFloat(p.text[begin:p.at], 64)
	return f, err == nil
}
