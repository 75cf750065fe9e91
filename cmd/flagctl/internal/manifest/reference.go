package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// CheckReferences adds a warning for every evaluator and segment that is
// referred to and that no file defines: whoever lints without a server cannot
// know whether the namespace has it.
func (b *Bundle) CheckReferences() {
	known := make(map[string]bool)
	for _, d := range b.docs {
		for _, o := range d.objects() {
			known[o.name] = true
		}
	}
	for _, d := range b.docs {
		for _, o := range d.objects() {
			for _, used := range o.uses {
				if !known[used] {
					kind, name, _ := strings.Cut(used, "/")
					message := fmt.Sprintf("none of the files defines the %s %q", strings.TrimSuffix(kind, "s"), name)
					b.add(d, o, d.pathOfUse(o, kind, name), flag.Warning, message, nearestRule(kind, name, known))
				}
			}
		}
	}
}

// references are the operators that refer to rules.
var references = map[string]string{"evaluators": "$ref", "segments": "segment"}

// pathOfUse is the path within an object to where it first uses a rule.
func (d *document) pathOfUse(o object, kind, name string) string {
	at := d.span(o.name)
	path, ok := find(d.json[at.start:at.end], references[kind], jsonString(name))
	if !ok {
		return "$"
	}
	return "$" + path
}

// find is the path to the first member of that name and value.
func find(text []byte, name string, value []byte) (path string, ok bool) {
	object := bytes.HasPrefix(text, []byte("{"))
	eachMember(text, func(member string, start, end int) bool {
		step := "[" + member + "]"
		if object {
			step = stepTo(member)
		}
		if object && member == name && bytes.Equal(text[start:end], value) {
			path, ok = step, true
			return false
		}
		if rest, found := find(text[start:end], name, value); found {
			path, ok = step+rest, true
		}
		return !ok
	})
	return path, ok
}

var identifier = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

// stepTo is the step of a path to a member.
func stepTo(member string) string {
	if identifier.MatchString(member) {
		return "." + member
	}
	return fmt.Sprintf("[%q]", member)
}

// jsonString is a name as it stands in the text, if without needless escapes.
func jsonString(name string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(name) != nil {
		return nil
	}
	return bytes.TrimSpace(b.Bytes())
}

// nearestRule is a hint for a name that no rule of the kind has.
func nearestRule(kind, name string, known map[string]bool) string {
	var names []string
	for object := range known {
		if other, ok := strings.CutPrefix(object, kind+"/"); ok {
			names = append(names, other)
		}
	}
	slices.Sort(names)
	if nearest := flag.Nearest(name, names); nearest != "" {
		return fmt.Sprintf("did you mean %q?", nearest)
	}
	return "the namespace must have it already"
}
