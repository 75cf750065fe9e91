package manifest

import (
	"bytes"
	"encoding/json"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// Locate gives a fault that a server found in a request of this bundle its
// place in the files. The server's path leads through the request; the object
// it names is looked up in the file that defines it.
func (b *Bundle) Locate(f flag.Fault) Fault {
	object, rest := splitPath(f.Path)
	for _, d := range b.docs {
		if file, line, column := d.place(object, rest); line > 0 {
			f.Line, f.Column = line, column
			return Fault{file, f}
		}
	}
	f.Line, f.Column = 0, 0
	name := "request"
	if len(b.files) == 1 {
		name = b.files[0]
	}
	return Fault{name, f}
}

// Place is where an object, such as flags/new-ui, is defined; line 0: nowhere.
func (b *Bundle) Place(object string) (file string, line int) {
	for _, d := range b.docs {
		if file, line, _ := d.place(object, "$"); line > 0 {
			return file, line
		}
	}
	return "", 0
}

// place is where an object, or what a path leads to within it, stands in the
// file; line 0: the document has no such object. As far as the path cannot be
// followed, it is the place of the innermost value that can be reached.
func (d *document) place(object, path string) (file string, line, column int) {
	at := d.span(object)
	if at == (span{}) {
		return d.file, 0, 0
	}
	line, column = d.at(at.start + follow(d.json[at.start:at.end], path))
	return d.file, line, column
}

// at is the place in the file of an offset of the JSON.
func (d *document) at(offset int) (line, column int) {
	d.needIndex()
	if d.yaml != nil {
		return d.yaml.At(d.index.places.chars(offset) + 1)
	}
	return d.index.places.at(offset)
}

// atOffset is a fault of what stands at an offset of the JSON.
func (d *document) atOffset(offset int, f flag.Fault) Fault {
	f.Line, f.Column = d.at(offset)
	return Fault{d.file, f}
}

// span is where an object stands in the JSON; empty if it is not there.
func (d *document) span(object string) span {
	d.needIndex()
	return d.index.objects[object]
}

func (d *document) needIndex() {
	if d.index == nil {
		d.index = newIndex(d.json)
	}
}

// kinds are the fields of a document that hold objects, and the names that
// objects have by them.
var kinds = map[string]string{"flags": "flags", "$evaluators": "evaluators", "segments": "segments"}

// splitPath takes the object out of a path through a document:
// $.flags["new-ui"].targeting is flags/new-ui and $.targeting.
func splitPath(path string) (object, rest string) {
	field, rest, ok := cutStep(strings.TrimPrefix(path, "$"))
	if !ok {
		return "", "$"
	}
	if field == "metadata" {
		return "setmeta", "$" + rest
	}
	name, rest, ok := cutStep(rest)
	if kind := kinds[field]; kind != "" && ok {
		return kind + "/" + name, "$" + rest
	}
	return "", "$"
}

// cutStep takes the first step from a path: .name, ["name"] or [3].
func cutStep(path string) (step, rest string, ok bool) {
	switch {
	case strings.HasPrefix(path, `["`):
		quoted, err := strconv.QuotedPrefix(path[1:])
		if err != nil || !strings.HasPrefix(path[1+len(quoted):], "]") {
			return "", "", false
		}
		name, err := strconv.Unquote(quoted)
		return name, path[2+len(quoted):], err == nil
	case strings.HasPrefix(path, "["):
		return cutAt(path[1:], "]", 1)
	case strings.HasPrefix(path, "."):
		return cutAt(path[1:], ".[", 0)
	default:
		return "", "", false
	}
}

func cutAt(s, ends string, skip int) (step, rest string, ok bool) {
	end := strings.IndexAny(s, ends)
	if end < 0 {
		return s, "", skip == 0
	}
	return s[:end], s[end+skip:], true
}

// follow walks a path into a JSON value and returns the offset of where it
// leads, or of the last value on the way that is there.
func follow(text []byte, path string) int {
	step, rest, ok := cutStep(strings.TrimPrefix(path, "$"))
	if !ok {
		return 0
	}
	found := 0
	eachMember(text, func(name string, start, end int) bool {
		if name != step {
			return true
		}
		found = start + follow(text[start:end], "$"+rest)
		return false
	})
	return found
}

// eachMember calls visit with the name (of an element of an array: its index)
// and the bounds of every member of a JSON value, until it returns false.
func eachMember(text []byte, visit func(name string, start, end int) bool) {
	dec := json.NewDecoder(bytes.NewReader(text))
	open, err := dec.Token()
	if err != nil || (open != json.Delim('{') && open != json.Delim('[')) {
		return
	}
	for i := 0; dec.More(); i++ {
		name := strconv.Itoa(i)
		if open == json.Delim('{') {
			tok, err := dec.Token()
			if err != nil {
				return
			}
			name, _ = tok.(string)
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return
		}
		end := int(dec.InputOffset())
		if !visit(name, end-len(value), end) {
			return
		}
	}
}

// span is where a value begins and ends in the JSON.
type span struct{ start, end int }

// index knows where the objects of a document stand.
type index struct {
	objects map[string]span
	places  *places
}

func newIndex(text []byte) *index {
	x := &index{objects: make(map[string]span), places: newPlaces(text)}
	eachMember(text, func(field string, start, end int) bool {
		if field == "metadata" {
			x.objects["setmeta"] = span{start, end}
		}
		if kind := kinds[field]; kind != "" {
			x.addObjects(kind, text, start, end)
		}
		return true
	})
	return x
}

func (x *index) addObjects(kind string, text []byte, start, end int) {
	array := text[start] == '['
	eachMember(text[start:end], func(name string, from, to int) bool {
		if array {
			var keyed struct {
				Key string `json:"key"`
			}
			if json.Unmarshal(text[start+from:start+to], &keyed) != nil {
				return true
			}
			name = keyed.Key
		}
		x.objects[kind+"/"+name] = span{start + from, start + to}
		return true
	})
}

// places turns offsets of a text into lines and columns. It keeps the number
// of characters before every block, so that a long line costs no more than a
// short one.
type places struct {
	text  []byte
	lines []int // offsets of the starts of the lines
	sums  []int // characters before each block
}

const placeBlock = 1 << 10

func newPlaces(text []byte) *places {
	p := &places{text: text, lines: []int{0}}
	for i, c := range text {
		if c == '\n' {
			p.lines = append(p.lines, i+1)
		}
	}
	sum := 0
	for at := 0; at <= len(text); at += placeBlock {
		p.sums = append(p.sums, sum)
		sum += starts(text[at:min(at+placeBlock, len(text))])
	}
	return p
}

// starts counts the bytes that begin a character.
func starts(text []byte) int {
	n := 0
	for _, c := range text {
		if utf8.RuneStart(c) {
			n++
		}
	}
	return n
}

// chars is the number of characters before an offset.
func (p *places) chars(offset int) int {
	block := offset / placeBlock
	return p.sums[block] + starts(p.text[block*placeBlock:offset])
}

// at is the line and the column, in characters, of an offset; both from 1.
func (p *places) at(offset int) (line, column int) {
	line = sort.SearchInts(p.lines, offset+1)
	return line, p.chars(offset) - p.chars(p.lines[line-1]) + 1
}
