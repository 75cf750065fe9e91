package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxDepth bounds how deep a targeting may be nested to be read as a Model.
const maxDepth = 32

// node is a JSON value with the order of its members, and every number as it was
// written.
type node struct {
	kind    byte     // '{', '[', '"', '0', 't' (true or false), 'n'
	text    string   // a string's value; a number, true, false or null as written
	names   []string // of members
	members []node   // of an object, or the elements of a list
}

// readNode reads JSON text.
func readNode(text string) (node, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	n, err := nextNode(dec, 0)
	if err != nil {
		return node{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return node{}, errors.New("there is more text after the value")
	}
	return n, nil
}

func nextNode(dec *json.Decoder, depth int) (node, error) {
	if depth > maxDepth {
		return node{}, fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return node{}, err
	}
	switch v := tok.(type) {
	case json.Delim:
		return nextMembers(dec, byte(v), depth)
	case string:
		return node{kind: '"', text: v}, nil
	case json.Number:
		return node{kind: '0', text: v.String()}, nil
	case bool:
		return node{kind: 't', text: fmt.Sprint(v)}, nil
	default:
		return node{kind: 'n', text: "null"}, nil
	}
}

func nextMembers(dec *json.Decoder, kind byte, depth int) (node, error) {
	n := node{kind: kind}
	for dec.More() {
		if kind == '{' {
			tok, err := dec.Token()
			if err != nil {
				return node{}, err
			}
			name, ok := tok.(string)
			if !ok {
				return node{}, fmt.Errorf("the name of a member is %v", tok)
			}
			n.names = append(n.names, name)
		}
		m, err := nextNode(dec, depth+1)
		if err != nil {
			return node{}, err
		}
		n.members = append(n.members, m)
	}
	_, err := dec.Token()
	return n, err
}

// scalar tells whether it is neither an object nor a list.
func (n node) scalar() bool { return n.kind != '{' && n.kind != '[' }

// literal is a scalar as JSON text.
func (n node) literal() string {
	if n.kind == '"' {
		return quote(n.text)
	}
	return n.text
}

// operation splits {"op": args}. A single argument need not be a list.
func (n node) operation() (op string, args []node, listed, ok bool) {
	if n.kind != '{' || len(n.members) != 1 {
		return "", nil, false, false
	}
	if m := n.members[0]; m.kind == '[' {
		return n.names[0], m.members, true, true
	}
	return n.names[0], n.members, false, true
}

// variable is the path of {"var": PATH}.
func (n node) variable() (string, bool) {
	op, args, _, ok := n.operation()
	if !ok || op != "var" || len(args) != 1 || args[0].kind != '"' || !plain(args[0].text) {
		return "", false
	}
	return args[0].text, true
}

// quote is a text as JSON, with no more escapes than it needs.
func quote(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a text can always be encoded
	return strings.TrimSuffix(b.String(), "\n")
}
