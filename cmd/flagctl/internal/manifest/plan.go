package manifest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// PlanSchema is where editors find the JSON schema of a plan.
const PlanSchema = "https://raw.githubusercontent.com/plimsoll-dev/plimsoll/main/docs/schema/plan.schema.json"

// The fields of a plan, and those of a dependency.
const (
	fieldSchema       = "$schema"
	fieldTiers        = "tiers"
	fieldDependencies = "dependencies"
	fieldDescription  = "description"
	fieldDependsOn    = "dependsOn"
)

// PlanFile is a plan as a file has it.
type PlanFile struct {
	// Plan is what the file says; of no use while there are Errors.
	Plan degrade.Plan
	// Errors are everything that is wrong with it, in the order of the text.
	Errors []Fault

	name string
	doc  *document // nil: there is none
}

// ReadPlan reads a plan, as YAML or JSON, from a file or from "-", standard
// input. What is wrong with its contents, or that it cannot be read, becomes its
// Errors; the error is for what cannot be meant.
func ReadPlan(path string, stdin io.Reader) (*PlanFile, error) {
	sources, err := open([]string{path}, stdin)
	if err != nil {
		return nil, err
	}
	if len(sources) != 1 {
		return nil, errors.New("a plan is one file, and this is a folder")
	}
	s := sources[0]
	p := &PlanFile{name: s.name}
	if s.err != nil {
		p.Errors = []Fault{{s.name, flag.Fault{Message: "this cannot be read: " + s.err.Error()}}}
		return p, nil
	}
	docs, faults := parseSource(s)
	for i, f := range faults {
		if f.Hint == hintDocument {
			faults[i].Hint = "a plan has the field " + fieldTiers
		}
	}
	p.Errors = faults
	if len(docs) == 0 {
		return p, nil
	}
	p.doc = docs[0]
	r := planReader{document: p.doc}
	r.read()
	if len(docs) > 1 {
		r.faults = append(r.faults, docs[1].atOffset(0, flag.Fault{Message: "there is a second document in this file", Hint: "a plan is one document"}))
	}
	p.Plan = r.plan
	if len(r.faults)+len(p.Errors) == 0 {
		for _, f := range r.plan.Check() {
			r.faults = append(r.faults, p.Locate(flag.Fault{Path: f.Path, Message: f.Message, Hint: f.Hint}))
		}
	}
	p.Errors = append(p.Errors, r.faults...)
	slices.SortStableFunc(p.Errors, func(a, b Fault) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
	return p, nil
}

// Locate gives a fault of the plan its place in the file, by its path. One of
// the flags has none there.
func (p *PlanFile) Locate(f flag.Fault) Fault {
	f.Line, f.Column = 0, 0
	field, _, ok := cutStep(f.Path[min(len(f.Path), 1):])
	if p.doc == nil || ok && field != fieldTiers && field != fieldDependencies {
		return Fault{"", f}
	}
	return p.doc.atOffset(follow(p.doc.json, f.Path), f)
}

// PlanJSON is a plan in the form that ReadPlan reads. Plans that mean the same
// have the same text.
func PlanJSON(p degrade.Plan) []byte {
	type dependency struct {
		Description string   `json:"description,omitempty"`
		DependsOn   []string `json:"dependsOn,omitempty"`
	}
	out := struct {
		Tiers        []string              `json:"tiers"`
		Dependencies map[string]dependency `json:"dependencies,omitempty"`
	}{Tiers: append([]string{}, p.Tiers...), Dependencies: make(map[string]dependency)}
	for _, d := range p.Canonical().Dependencies {
		out.Dependencies[d.Name] = dependency{d.Description, d.DependsOn}
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(fmt.Sprintf("encode a plan: %v", err)) // strings always encode
	}
	return text
}

// isPlan tells whether a document is a plan, and none with flags.
func isPlan(text []byte) bool {
	found := false
	eachMember(text, func(name string, _, _ int) bool {
		found = found || name == fieldTiers || name == "plan"
		return !found
	})
	return found
}

// planReader reads a plan and takes no field that it does not know.
type planReader struct {
	*document
	plan   degrade.Plan
	faults []Fault
}

func (r *planReader) fault(offset int, path, message, hint string) {
	r.faults = append(r.faults, r.atOffset(offset, flag.Fault{Path: path, Message: message, Hint: hint}))
}

func (r *planReader) read() {
	var v any
	if err := json.Unmarshal(r.json, &v); err != nil {
		offset := len(r.json)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			offset = min(max(int(syntax.Offset)-1, 0), offset)
		}
		r.fault(offset, "", "this is no JSON: "+err.Error(), "")
		return
	}
	whole := span{0, len(r.json)}
	for whole.start < whole.end && isSpace(r.json[whole.start]) {
		whole.start++
	}
	tiers := false
	r.object(whole, "$", "a plan", map[string]func(span, string){
		fieldSchema: func(at span, path string) { r.text(at, path) },
		fieldTiers: func(at span, path string) {
			tiers = true
			r.plan.Tiers = r.texts(at, path)
		},
		fieldDependencies: r.dependencies,
	})
	if !tiers && len(r.faults) == 0 {
		r.fault(whole.start, "$", `the field "tiers" is missing`, "such as tiers: [critical, important, standard, optional]")
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// object reads an object by the readers of its fields.
func (r *planReader) object(at span, path, what string, fields map[string]func(at span, path string)) {
	if !r.is('{', at, path, what+" must be an object") {
		return
	}
	seen := make(map[string]bool)
	eachMember(r.json[at.start:at.end], func(name string, start, end int) bool {
		value := span{at.start + start, at.start + end}
		read := fields[name]
		switch {
		case read == nil:
			r.fault(value.start, path, fmt.Sprintf("%s has no field %q", what, name), meant(name, fields))
		case seen[name]:
			r.fault(value.start, path+"."+name, fmt.Sprintf("the field %q is there twice", name), "keep one of the two")
		default:
			read(value, path+"."+name)
		}
		seen[name] = true
		return true
	})
}

// meant is the hint at an unknown field.
func meant(name string, fields map[string]func(span, string)) string {
	var names []string
	for known := range fields {
		if known != fieldSchema {
			names = append(names, known)
		}
	}
	slices.Sort(names)
	if nearest := degrade.Nearest(name, names); nearest != "" {
		return fmt.Sprintf("did you mean %q?", nearest)
	}
	return "there are " + names[0] + " and " + names[1]
}

// dependencies reads the dependencies by their names; one of which nothing is
// told may be null.
func (r *planReader) dependencies(at span, path string) {
	if !r.is('{', at, path, "dependencies must be an object: a name, and what is told of it") {
		return
	}
	seen := make(map[string]bool)
	eachMember(r.json[at.start:at.end], func(name string, start, end int) bool {
		value := span{at.start + start, at.start + end}
		path := fmt.Sprintf("%s[%q]", path, name)
		if seen[name] {
			r.fault(value.start, path, fmt.Sprintf("dependency %q is there twice", name), "make them one, or rename one of them")
			return true
		}
		seen[name] = true
		d := degrade.Dependency{Name: name}
		if r.json[value.start] != 'n' { // null
			r.object(value, path, "a dependency", map[string]func(span, string){
				fieldDescription: func(at span, path string) { d.Description = r.text(at, path) },
				fieldDependsOn:   func(at span, path string) { d.DependsOn = r.texts(at, path) },
			})
		}
		r.plan.Dependencies = append(r.plan.Dependencies, d)
		return true
	})
}

func (r *planReader) texts(at span, path string) []string {
	var out []string
	if !r.is('[', at, path, "this must be a list of names, such as [a, b]") {
		return nil
	}
	eachMember(r.json[at.start:at.end], func(i string, start, end int) bool {
		out = append(out, r.text(span{at.start + start, at.start + end}, path+"["+i+"]"))
		return true
	})
	return out
}

func (r *planReader) text(at span, path string) string {
	if !r.is('"', at, path, "this must be a text") {
		return ""
	}
	var s string
	if err := json.Unmarshal(r.json[at.start:at.end], &s); err != nil {
		r.fault(at.start, path, "this text cannot be read: "+err.Error(), "")
	}
	return s
}

// is checks that a value begins as it should.
func (r *planReader) is(first byte, at span, path, otherwise string) bool {
	if at.start < at.end && r.json[at.start] == first {
		return true
	}
	r.fault(at.start, path, otherwise, "")
	return false
}
