// Package manifest reads the files that apply and lint take: flagd documents
// as JSON, or as a YAML stream of any number of them. It finds everything that
// is wrong with them, says where in which file, and cuts what is right into
// requests of a size that a server takes. It reads plans as well (plan.go).
package manifest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/yamldoc"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// Fault is a fault with the file it is in.
type Fault struct {
	File string
	flag.Fault
}

// Error is the fault in one line: file:line:column: path: message (hint).
func (f Fault) Error() string {
	if f.Line > 0 {
		return f.File + ":" + f.Fault.Error()
	}
	return f.File + ": " + f.Fault.Error()
}

// Bundle is everything that was read, in the order it was named.
type Bundle struct {
	docs   []*document
	faults []Fault
	files  []string
}

// document is one document of a file.
type document struct {
	file   string
	json   []byte
	yaml   *yamldoc.Document // nil: the file is the JSON itself
	parsed *flag.Document    // nil: it has errors
	index  *index            // made when first needed
}

// Read reads files, folders (every .json, .yaml and .yml file below, hidden
// ones aside) and "-", standard input. What is wrong with the contents becomes
// faults of the bundle, and so does what cannot be read; the error is for paths
// that cannot be meant.
func Read(paths []string, stdin io.Reader) (*Bundle, error) {
	sources, err := open(paths, stdin)
	if err != nil {
		return nil, err
	}
	b := new(Bundle)
	for _, s := range sources {
		b.files = append(b.files, s.name)
		b.read(s)
	}
	b.findRepeated()
	return b, nil
}

// Files is the number of files, those that cannot be read among them.
func (b *Bundle) Files() int { return len(b.files) }

// Errors are the faults that keep the bundle from being applied, in the order
// of the files and of their text.
func (b *Bundle) Errors() []Fault { return b.of(flag.Error) }

// Warnings are the faults that do not.
func (b *Bundle) Warnings() []Fault { return b.of(flag.Warning) }

func (b *Bundle) of(s flag.Severity) []Fault {
	var out []Fault
	for _, f := range b.faults {
		if f.Severity == s {
			out = append(out, f)
		}
	}
	slices.SortStableFunc(out, func(x, y Fault) int {
		return cmp.Or(slices.Index(b.files, x.File)-slices.Index(b.files, y.File), x.Line-y.Line, x.Column-y.Column)
	})
	return out
}

// Document is the whole bundle as one document. It must have no errors.
func (b *Bundle) Document() *flag.Document {
	all := new(flag.Document)
	for _, d := range b.docs {
		all.Flags = append(all.Flags, d.parsed.Flags...)
		all.Evaluators = append(all.Evaluators, d.parsed.Evaluators...)
		all.Segments = append(all.Segments, d.parsed.Segments...)
		if d.parsed.HasMetadata {
			all.Metadata, all.HasMetadata = d.parsed.Metadata, true
		}
	}
	return all
}

func (b *Bundle) read(s source) {
	if s.err != nil {
		b.faults = append(b.faults, Fault{s.name, flag.Fault{Message: "this cannot be read: " + s.err.Error()}})
		return
	}
	docs, faults := parseSource(s)
	b.faults = append(b.faults, faults...)
	for _, d := range docs {
		parsed, found := flag.ParseDocument(d.json, anything)
		if parsed == nil && isPlan(d.json) {
			b.faults = append(b.faults, d.atOffset(0, flag.Fault{Message: "this document is a plan, not one of flags", Hint: "a plan is a file of its own, which `flagctl plan` takes"}))
			continue
		}
		d.parsed = parsed
		for _, f := range found {
			b.faults = append(b.faults, d.fault(f))
		}
	}
	b.docs = append(b.docs, docs...)
}

// hintDocument says what is missing in a file without a document.
const hintDocument = `such as {"flags": {}}`

// parseSource finds the documents of a file. Without any there is at least one
// fault.
func parseSource(s source) ([]*document, []Fault) {
	s.text = bytes.TrimPrefix(s.text, []byte("\ufeff"))
	if at := invalidUTF8(s.text); at >= 0 {
		f := flag.Fault{Message: fmt.Sprintf("the file is not valid UTF-8: byte 0x%02x", s.text[at]), Hint: "save it as UTF-8"}
		f.Line, f.Column = newPlaces(s.text).at(at)
		return nil, []Fault{{s.name, f}}
	}
	if s.isJSON() {
		return []*document{{file: s.name, json: s.text}}, nil
	}
	var docs []*document
	var faults []Fault
	read, found := yamldoc.Read(s.text)
	for _, d := range read {
		docs = append(docs, &document{file: s.name, json: d.JSON, yaml: d})
	}
	for _, f := range found {
		faults = append(faults, Fault{s.name, f})
	}
	if len(docs) == 0 && len(faults) == 0 {
		faults = []Fault{{s.name, flag.Fault{Message: "there is no document in this file", Hint: hintDocument}}}
	}
	return docs, faults
}

// fault is a fault that was found in the JSON of the document, with its place
// in the file.
func (d *document) fault(f flag.Fault) Fault {
	if d.yaml != nil && f.Line > 0 {
		f.Line, f.Column = d.yaml.At(f.Column)
	}
	return Fault{d.file, f}
}

// anything leaves references unchecked: what they name may be in another file
// or on the server already.
var anything = flag.Env{
	HasEvaluator: func(string) bool { return true },
	HasSegment:   func(string) bool { return true },
}

// findRepeated reports what more than one document defines.
func (b *Bundle) findRepeated() {
	first := make(map[string]*document)
	for _, d := range b.docs {
		for _, o := range d.objects() {
			other, again := first[o.name]
			if !again {
				first[o.name] = d
				continue
			}
			if other == d {
				continue // ParseDocument has reported it
			}
			file, line, _ := other.place(o.name, "$")
			b.add(d, o, "$", flag.Error, "this is defined twice", fmt.Sprintf("it is in %s:%d already; keep one of the two", file, line))
		}
	}
}

// add reports a fault of an object of a document, or of what a path leads to
// within the object.
func (b *Bundle) add(d *document, o object, path string, s flag.Severity, message, hint string) {
	f := flag.Fault{Severity: s, Path: o.path + strings.TrimPrefix(path, "$"), Message: message, Hint: hint}
	_, f.Line, f.Column = d.place(o.name, path)
	b.faults = append(b.faults, Fault{d.file, f})
}

// object is one thing that a document defines.
type object struct {
	name string   // such as flags/new-ui
	path string   // such as $.flags["new-ui"]
	uses []string // the rules it refers to, as objects
}

// objects are what a document defines; none if it has errors.
func (d *document) objects() []object {
	if d.parsed == nil {
		return nil
	}
	var out []object
	for _, f := range d.parsed.Flags {
		out = append(out, object{"flags/" + f.Key(), fmt.Sprintf("$.flags[%q]", f.Key()), uses(f)})
	}
	for _, r := range d.parsed.Evaluators {
		out = append(out, object{"evaluators/" + r.Name(), fmt.Sprintf("$.$evaluators[%q]", r.Name()), uses(r)})
	}
	for _, r := range d.parsed.Segments {
		out = append(out, object{"segments/" + r.Name(), fmt.Sprintf("$.segments[%q]", r.Name()), uses(r)})
	}
	if d.parsed.HasMetadata {
		out = append(out, object{"setmeta", "$.metadata", nil})
	}
	return out
}

// referrer is what may refer to rules: a flag, or a rule.
type referrer interface {
	Evaluators() []string
	Segments() []string
}

// uses are the rules that a flag or a rule refers to directly, as objects.
func uses(r referrer) []string {
	var out []string
	for _, e := range r.Evaluators() {
		out = append(out, "evaluators/"+e)
	}
	for _, s := range r.Segments() {
		out = append(out, "segments/"+s)
	}
	return out
}

// invalidUTF8 is the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(text []byte) int {
	if utf8.Valid(text) {
		return -1
	}
	for at := 0; ; {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
}

// source is the text of one file, or why it cannot be read.
type source struct {
	name string
	kind string // the ending of its name, in lower case
	text []byte
	err  error
}

// isJSON tells JSON from YAML: by the name of the file, and where that does not
// say, by what it begins with. JSON under a name of YAML is read as JSON, which
// is quicker and means the same.
func (s source) isJSON() bool {
	switch s.kind {
	case ".json":
		return true
	case ".yaml", ".yml":
		return json.Valid(s.text)
	default:
		return bytes.HasPrefix(bytes.TrimLeft(s.text, " \t\r\n"), []byte("{"))
	}
}
