// Package yamldoc turns a YAML stream into JSON documents and remembers where
// every value stood, so that what is found wrong with the JSON can be shown in
// the YAML. It also writes JSON as YAML.
//
// The YAML is read as YAML 1.2 (the parser is goccy/go-yaml), and what JSON
// cannot say, or what readers of YAML disagree about, is a fault and never
// guessed: keys that are no strings, numbers such as 012 and 1_000, infinity,
// tags of one's own.
package yamldoc

import (
	"bytes"
	"errors"
	"sort"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// Limits of one stream. They bound what a hostile text can cost: the parser
// recurses once per level, and an alias may repeat what it names any number of
// times.
const (
	maxDepth   = 512     // levels of nesting
	maxAliased = 8 << 20 // bytes of JSON that the aliases of one document stand for
)

// Document is one document of a stream, as JSON.
type Document struct {
	// JSON is the document, compact and in one line, members in the author's
	// order.
	JSON []byte

	marks []mark
}

// mark is where the value or key that begins at a place of the JSON stands in
// the YAML. Places are counted in characters, as faults count them.
type mark struct{ at, line, column int32 }

// At is the place in the YAML of what stands in a column of the JSON, which is
// one line; columns count characters from 1.
func (d *Document) At(column int) (line, col int) {
	i := sort.Search(len(d.marks), func(i int) bool { return int(d.marks[i].at) > column-1 })
	if i == 0 {
		return 1, 1
	}
	m := d.marks[i-1]
	return int(m.line), int(m.column)
}

// Read turns a stream into its documents; empty ones are left out. Faults have
// their place in the YAML. A document with faults is among the documents as far
// as it can be read, so that what is wrong with its contents can be found at the
// same time; it must not be used otherwise.
//
// A key that is there twice is no fault here: it is twice in the JSON.
func Read(text []byte) ([]*Document, flag.Faults) {
	var docs []*Document
	var faults flag.Faults
	for _, piece := range split(string(text)) {
		doc, found := readDocument(piece)
		faults = append(faults, found...)
		if doc != nil {
			docs = append(docs, doc)
		}
	}
	return docs, faults
}

// piece is the text of one document and the number of lines before it.
type piece struct {
	text   string
	before int
}

// split cuts a stream at its document markers. A line that begins with --- or
// ... is a marker wherever it stands, also within a quoted or literal text
// (YAML 1.2.2, section 9.1.2), so that the documents can be told apart without
// parsing them and a fault in one does not hide those of the next.
func split(text string) []piece {
	text = strings.TrimPrefix(text, "\ufeff")
	var out []piece
	start, startLine := 0, 0
	directives := false
	for at, line := 0, 0; at < len(text); line++ {
		end := len(text)
		if i := strings.IndexByte(text[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		row := text[at:end]
		switch {
		case isMarker(row, "---") && !directives:
			out = append(out, piece{text[start:at], startLine})
			start, startLine = at, line
		case isMarker(row, "---"):
			directives = false
		case isMarker(row, "..."):
			out = append(out, piece{text[start:at], startLine})
			start, startLine = end, line+1
		case strings.HasPrefix(row, "%") && strings.TrimSpace(text[start:at]) == "":
			directives = true
		}
		at = end
	}
	return append(out, piece{text[start:], startLine})
}

func isMarker(row, marker string) bool {
	rest, ok := strings.CutPrefix(row, marker)
	return ok && (rest == "" || strings.ContainsRune(" \t\r\n", rune(rest[0])))
}

func readDocument(p piece) (*Document, flag.Faults) {
	if strings.TrimSpace(p.text) == "" {
		return nil, nil
	}
	tokens := lexer.Tokenize(p.text)
	if tk := tooDeep(tokens); tk != nil {
		return nil, flag.Faults{{
			Line: tk.Position.Line + p.before, Column: tk.Position.Column,
			Message: "nested too deeply", Hint: "at most 512 levels are allowed",
		}}
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, flag.Faults{syntaxFault(err, p.before)}
	}
	c := converter{before: p.before, anchors: make(map[string]*anchor)}
	for _, doc := range file.Docs {
		if _, directive := doc.Body.(*ast.DirectiveNode); doc.Body != nil && !directive {
			c.value(doc.Body, nil)
		}
	}
	if c.broken || len(c.out) == 0 {
		return nil, c.faults
	}
	return &Document{JSON: bytes.Clone(c.out), marks: c.marks}, c.faults
}

// unchecked says that a document that does not parse has no contents to check.
const unchecked = "what precedes and follows it in this document was not checked"

func syntaxFault(err error, before int) flag.Fault {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		return flag.Fault{Line: before + 1, Column: 1, Message: "this is no YAML: " + firstLine(err.Error()), Hint: unchecked}
	}
	pos := at.GetToken().Position
	f := flag.Fault{Line: pos.Line + before, Column: max(pos.Column, 1), Message: "this is no YAML: " + firstLine(at.GetMessage()), Hint: unchecked}
	if strings.Contains(f.Message, `'\t'`) || strings.Contains(f.Message, "'\t'") {
		f.Message = "this is no YAML: a tab cannot indent"
		f.Hint = "indent with spaces; " + unchecked
	}
	return f
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// tooDeep is the first token that is nested deeper than the limit. A level is
// an open bracket or, in block style, a line that is indented further than the
// one before or another dash in the same line; so the depth is known, but for
// a factor of two, without parsing.
func tooDeep(tokens token.Tokens) *token.Token {
	flow, line := 0, 0
	var columns []int
	for _, tk := range tokens {
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		}
		nests := tk.Position.Line != line || tk.Type == token.SequenceEntryType || tk.Type == token.MappingKeyType
		line = tk.Position.Line
		if flow == 0 && nests {
			for len(columns) > 0 && columns[len(columns)-1] >= tk.Position.Column {
				columns = columns[:len(columns)-1]
			}
			columns = append(columns, tk.Position.Column)
		}
		if flow+len(columns) > maxDepth {
			return tk
		}
	}
	return nil
}
