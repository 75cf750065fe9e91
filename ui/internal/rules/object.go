package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Object is a JSON object whose members stay in order and as they were written,
// unless they are set.
type Object struct {
	names  []string
	values []json.RawMessage
}

// ReadObject reads an object. The error says what is wrong with the text.
func ReadObject(text string) (*Object, error) {
	if !json.Valid([]byte(text)) {
		var v any
		err := json.Unmarshal([]byte(text), &v)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line, column := position(text, int(syntax.Offset))
			return nil, fmt.Errorf("line %d, column %d: %w", line, column, err)
		}
		return nil, err
	}
	dec := json.NewDecoder(strings.NewReader(text))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, errors.New("this is no object: it begins with { and ends with }")
	}
	o := &Object{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := tok.(string)
		if slices.Contains(o.names, name) {
			return nil, fmt.Errorf("the member %s is there twice", clipped(name))
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		o.names, o.values = append(o.names, name), append(o.values, value)
	}
	return o, nil
}

// position is the line and column of an offset, both from 1.
func position(text string, offset int) (line, column int) {
	before := text[:min(max(offset-1, 0), len(text))]
	return 1 + strings.Count(before, "\n"), len(before) - strings.LastIndexByte(before, '\n')
}

// Names are the members' names in order.
func (o *Object) Names() []string { return o.names }

// Get is a member's value as it was written; "" if there is none.
func (o *Object) Get(name string) string {
	if i := slices.Index(o.names, name); i >= 0 {
		return string(o.values[i])
	}
	return ""
}

// Set replaces a member's value, which is JSON text, or adds it as the last one.
func (o *Object) Set(name, value string) {
	if i := slices.Index(o.names, name); i >= 0 {
		o.values[i] = json.RawMessage(value)
		return
	}
	o.names, o.values = append(o.names, name), append(o.values, json.RawMessage(value))
}

// Delete removes a member if it is there.
func (o *Object) Delete(name string) {
	if i := slices.Index(o.names, name); i >= 0 {
		o.names, o.values = slices.Delete(o.names, i, i+1), slices.Delete(o.values, i, i+1)
	}
}

// Pretty is the object indented, Compact without any space.
func (o *Object) Pretty() string { return Pretty(o.Compact()) }

// Compact is described with Pretty.
func (o *Object) Compact() string {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range o.names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quote(name))
		b.WriteByte(':')
		_ = json.Compact(&b, o.values[i]) // was read, or is checked by who sets it
	}
	b.WriteByte('}')
	return b.String()
}

// Pretty is JSON text indented; what is no JSON stays as it is.
func Pretty(text string) string {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
		return text
	}
	return b.String()
}

// compact is JSON text without any space; what is no JSON stays as it is.
func compact(text string) string {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		return text
	}
	return b.String()
}

// text is a member that is text; "" if it is missing or null.
func (o *Object) text(name string) (string, error) {
	raw := o.Get(name)
	if raw == "" || raw == "null" {
		return "", nil
	}
	var s string
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		return "", fmt.Errorf("%s is not text", name)
	}
	return s, nil
}

// setText sets a member to a text, or removes it.
func (o *Object) setText(name, value string) {
	if value == "" {
		o.Delete(name)
		return
	}
	o.Set(name, quote(value))
}

// child is a member that is an object; nil if it is missing or null.
func (o *Object) child(name string) (*Object, error) {
	raw := o.Get(name)
	if raw == "" || raw == "null" {
		return nil, nil //nolint:nilnil // there is none
	}
	c, err := ReadObject(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// SetTargeting brings the targeting to a model. One that means the same already
// stays as it was written.
func (o *Object) SetTargeting(m Model) {
	text := m.JSON()
	if was, err := Parse(o.Get("targeting")); err == nil && was.JSON() == text {
		return
	}
	if text == "" {
		o.Delete("targeting")
		return
	}
	o.Set("targeting", text)
}
