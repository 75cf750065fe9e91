package yamldoc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
)

// FromJSON writes a JSON value as YAML, members in their order, numbers as
// they are. Reading the YAML gives the same JSON again.
//
// It is written here and not by goccy/go-yaml, whose encoder leaves strings
// such as "1e3", ".inf" and "---" without quotes, and so turns them into
// something else.
func FromJSON(text []byte) ([]byte, error) {
	w := &writer{dec: json.NewDecoder(bytes.NewReader(text))}
	w.dec.UseNumber()
	if err := w.value(0, alone); err != nil {
		return nil, fmt.Errorf("write JSON as YAML: %w", err)
	}
	if _, err := w.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("write JSON as YAML: there is text after the end of the JSON value")
	}
	return w.out.Bytes(), nil
}

type writer struct {
	dec *json.Decoder
	out bytes.Buffer
}

// lead is what stands before a value in its line.
type lead int

const (
	alone     lead = iota // nothing
	afterKey              // a key and a colon
	afterDash             // a dash
)

// value writes the value that comes next.
func (w *writer) value(indent int, before lead) error {
	tok, err := w.dec.Token()
	if err != nil {
		return err
	}
	delim, nested := tok.(json.Delim)
	if nested && w.dec.More() {
		if before == afterKey {
			w.out.WriteByte('\n')
		}
		return w.members(delim, indent, before)
	}
	if before != alone {
		w.out.WriteByte(' ')
	}
	if !nested {
		w.out.WriteString(scalarYAML(tok))
	} else {
		w.out.WriteString(map[json.Delim]string{'{': "{}", '[': "[]"}[delim])
		if _, err := w.dec.Token(); err != nil {
			return err
		}
	}
	w.out.WriteByte('\n')
	return nil
}

// members writes the members of an object or the elements of an array. After
// a dash the first of them stands in the dash's line.
func (w *writer) members(kind json.Delim, indent int, before lead) error {
	for first := true; w.dec.More(); first = false {
		if first && before == afterDash {
			w.out.WriteByte(' ')
		} else {
			w.out.WriteString(strings.Repeat("  ", indent))
		}
		next := afterDash
		if kind == '[' {
			w.out.WriteByte('-')
		} else {
			key, err := w.dec.Token()
			if err != nil {
				return err
			}
			w.out.WriteString(scalarYAML(key) + ":")
			next = afterKey
		}
		if err := w.value(indent+1, next); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

// plain are the strings that no reader of YAML, of whatever version, takes for
// something else when they stand without quotes: letters, digits and a few
// signs, beginning with a letter. Reserved words are looked up beside.
var plain = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./+@-]*( [A-Za-z0-9_./+@-]+)*$`)

var reserved = map[string]bool{"true": true, "false": true, "null": true, "yes": true, "no": true, "on": true, "off": true, "y": true, "n": true}

func scalarYAML(tok json.Token) string {
	switch tok := tok.(type) {
	case nil:
		return "null"
	case string:
		if plain.MatchString(tok) && !reserved[strings.ToLower(tok)] {
			return tok
		}
		return escapeControls(quoted(tok))
	default:
		return fmt.Sprint(tok)
	}
}

// escapeControls writes what YAML does not allow unescaped, though JSON does:
// DEL, the C1 controls and the byte order mark.
func escapeControls(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) || r == '\ufeff' {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
