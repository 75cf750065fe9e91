package output

import (
	"bytes"
	"encoding/json"
	"strings"

	"charm.land/lipgloss/v2"
)

// prettyWidth is up to how wide a value is written in one line.
const prettyWidth = 80

// Pretty is JSON for people: a value stands in one line where it fits, and
// everything is fit for a terminal. What is no JSON is cleaned alone.
func Pretty(text []byte) string {
	var b strings.Builder
	if err := pretty(&b, json.NewDecoder(bytes.NewReader(text)), ""); err != nil {
		return Clean(string(text))
	}
	return b.String()
}

// pretty writes the value that comes next.
func pretty(b *strings.Builder, dec *json.Decoder, indent string) error {
	var value json.RawMessage
	if err := dec.Decode(&value); err != nil {
		return err
	}
	line := Clean(spaced(value))
	if value[0] != '{' && value[0] != '[' || lipgloss.Width(indent+line) <= prettyWidth {
		b.WriteString(line)
		return nil
	}
	inner := json.NewDecoder(bytes.NewReader(value))
	if _, err := inner.Token(); err != nil {
		return err
	}
	b.WriteByte(value[0])
	for first := true; inner.More(); first = false {
		if !first {
			b.WriteByte(',')
		}
		b.WriteString("\n" + indent + "  ")
		if value[0] == '{' {
			name, err := inner.Token()
			if err != nil {
				return err
			}
			text, err := encode(name)
			if err != nil {
				return err
			}
			b.WriteString(Clean(strings.TrimSpace(string(text))) + ": ")
		}
		if err := pretty(b, inner, indent+"  "); err != nil {
			return err
		}
	}
	b.WriteString("\n" + indent + string(value[len(value)-1]))
	return nil
}

// spaced is JSON in one line, with a space after each colon and comma.
func spaced(text []byte) string {
	var b strings.Builder
	quoted, escaped := false, false
	for _, c := range text {
		switch {
		case quoted:
			b.WriteByte(c)
			quoted = c != '"' || escaped
			escaped = c == '\\' && !escaped
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		case c == ':' || c == ',':
			b.WriteByte(c)
			b.WriteByte(' ')
		default:
			b.WriteByte(c)
			quoted = c == '"'
		}
	}
	return b.String()
}
