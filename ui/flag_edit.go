package ui

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/ui/internal/diff"
	"github.com/plimsoll-dev/plimsoll/ui/internal/rules"
)

// editor is the form of a flag's definition. All that it knows is in the form, so
// that a server that has never seen it can go on with it.
type editor struct {
	ns, key string
	// Fresh: the flag is yet to be made.
	Fresh bool
	// Base is the revision that the visitor has seen.
	Base int64
	// Doc is the definition that the fields are put into; it keeps what they do
	// not know.
	Doc string
	// AsJSON: the whole definition is edited as Text.
	AsJSON bool
	Text   string
	Fields rules.Fields
	// RulesAsJSON: the targeting alone is edited as RulesText, since somebody
	// wants it so, or since RulesWhy keeps a form from showing it.
	RulesAsJSON         bool
	RulesText, RulesWhy string
	Rules               rules.Model
	// Exact: weights are numbers where they could be a slider.
	Exact  bool
	Reason string
	Force  bool

	// Problems are fields that are not filled in as they should be.
	Problems []rules.Problem
	// Result is the definition that all this makes; "": it makes none.
	Result string
	// Checked is what the server says of it; nil: nothing speaks against it.
	Checked  *trouble
	Warnings []*plimsollv1.Fault
	// Failed is why it was not saved. Conflict is what somebody else has made of
	// the flag meanwhile, with both versions next to each other.
	Failed   *trouble
	Conflict *plimsollv1.Conflict
	Versions []diff.Row
	Gone     bool

	tiers, attributes []string
	pass              pass
}

// starts are what a new flag begins with, by type.
var starts = [][2]string{
	{"bool", `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`},
	{"string", `{"state":"ENABLED","variants":{"control":"a","candidate":"b"},"defaultVariant":"control"}`},
	{"number", `{"state":"ENABLED","variants":{"low":10,"high":50},"defaultVariant":"low"}`},
	{"object", `{"state":"ENABLED","variants":{"full":{"items":12},"none":{}},"defaultVariant":"full"}`},
}

// editPage begins to edit a flag.
func editPage(ctx context.Context, q *request) {
	key := q.r.URL.Query().Get("key")
	q.expect("edit:" + key)
	row, ok := q.view.Row(key)
	if !ok {
		q.fail(connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no flag %q; it may have been deleted", clip(key, 100))))
		return
	}
	e := &editor{ns: q.ns, key: key, Base: row.Revision, Doc: row.Definition}
	e.open(q.r.URL.Query().Get("as") == "json")
	q.showEditor(ctx, http.StatusOK, e)
}

// newPage begins a new flag.
func newPage(ctx context.Context, q *request) {
	query := q.r.URL.Query()
	e := &editor{ns: q.ns, key: query.Get("key"), Fresh: true, Doc: starts[0][1]}
	for _, s := range starts {
		if s[0] == query.Get("type") {
			e.Doc = s[1]
		}
	}
	e.open(false)
	q.showEditor(ctx, http.StatusOK, e)
}

// open reads Doc into fields, or into text where that cannot be.
func (e *editor) open(asJSON bool) {
	o, err := rules.ReadObject(e.Doc)
	if err == nil {
		e.Fields, err = rules.ReadFields(o)
	}
	if err != nil || asJSON {
		e.AsJSON, e.Text = true, pretty(e.Doc)
		if err != nil {
			e.Problems = append(e.Problems, rules.Problem{Field: "text", Message: "It cannot be shown as a form: " + err.Error() + "."})
		}
	} else {
		e.openRules(o.Get("targeting"))
	}
	e.Result = e.Doc
}

func (e *editor) openRules(targeting string) {
	var err error
	if e.Rules, err = rules.Parse(targeting); err != nil {
		e.RulesAsJSON, e.RulesWhy, e.RulesText = true, err.Error(), pretty(targeting)
	}
}

// readEditor reads the form that an editor has sent, and does what the button
// says that was pressed, if it is one of the editor's own.
func readEditor(ns string, form url.Values, fresh bool) *editor {
	base, err := strconv.ParseInt(form.Get("base"), 10, 64)
	if err != nil || base < 0 {
		base = 0
	}
	e := &editor{
		ns: ns, key: form.Get("key"), Fresh: fresh, Base: base, Doc: form.Get("doc"),
		AsJSON: form.Get("as") == "json", RulesAsJSON: form.Get("rulesas") == "json",
		Exact: form.Get("exact") == "true", Reason: form.Get("reason"), Force: form.Get("force") == "true",
	}
	if fresh {
		e.key = strings.TrimSpace(e.key)
		if e.key == "" {
			e.Problems = append(e.Problems, rules.Problem{Field: "key", Message: "Give the flag a key, such as new-checkout."})
		}
	}
	if e.AsJSON {
		e.readText(form)
	} else {
		e.readForm(form)
	}
	return e
}

// readText reads the whole definition as it was typed.
func (e *editor) readText(form url.Values) {
	e.Text = form.Get("text")
	o, err := rules.ReadObject(e.Text)
	if err != nil {
		e.problem("text", "This is not readable as JSON: %v.", err)
		return
	}
	e.Result = o.Compact()
	if form.Get("do") == "as:form" {
		e.Doc, e.AsJSON = e.Result, false
		e.open(false)
	}
}

func (e *editor) readForm(form url.Values) {
	o, err := rules.ReadObject(e.Doc)
	if err != nil {
		o = &rules.Object{} // the page was altered; what is typed is kept all the same
	}
	var renamed map[string]string
	var problems []rules.Problem
	e.Fields, renamed, problems = rules.DecodeFields(form)
	e.Problems = append(e.Problems, problems...)
	do := form.Get("do")
	e.editVariants(do)
	e.Fields.Write(o)
	if e.RulesAsJSON {
		e.readRulesText(form, o, do)
	} else {
		e.readRules(form, o, renamed, do)
	}
	e.Result = o.Compact()
	if do == "as:json" {
		e.AsJSON, e.Text, e.Problems = true, o.Pretty(), nil
	}
}

// editVariants does what a button of the list of variants says.
func (e *editor) editVariants(do string) {
	switch verb, at, _ := strings.Cut(do, ":"); verb {
	case "add-variant":
		e.Fields.Variants = append(e.Fields.Variants, rules.Variant{Name: e.freeName()})
	case "remove-variant":
		if i, err := strconv.Atoi(at); err == nil && i >= 0 && i < len(e.Fields.Variants) {
			e.Fields.Variants = slices.Delete(e.Fields.Variants, i, i+1)
		}
	}
}

// freeName is a name that no variant has.
func (e *editor) freeName() string {
	for i := len(e.Fields.Variants) + 1; ; i++ {
		name := "variant-" + strconv.Itoa(i)
		if !slices.ContainsFunc(e.Fields.Variants, func(v rules.Variant) bool { return v.Name == name }) {
			return name
		}
	}
}

func (e *editor) readRules(form url.Values, o *rules.Object, renamed map[string]string, do string) {
	m, problems := rules.Decode(form)
	m.Rename(renamed)
	if m.Edit(do) {
		// The fields of the form have moved, so what was said of them is not so.
		problems = nil
	}
	if do == "exact" {
		e.Exact = true
	}
	m.Fill(e.variantNames())
	e.Rules = m
	e.Problems = append(e.Problems, problems...)
	o.SetTargeting(m)
	if do == "rules:json" {
		e.RulesAsJSON, e.RulesText = true, pretty(o.Get("targeting"))
	}
}

func (e *editor) readRulesText(form url.Values, o *rules.Object, do string) {
	e.RulesText = form.Get("targeting")
	text := strings.TrimSpace(e.RulesText)
	switch {
	case text == "":
		o.Delete("targeting")
	case !json.Valid([]byte(text)):
		_, err := rules.ReadObject(text)
		e.problem("targeting", "This is not readable as JSON: %v.", err)
		return
	case text != pretty(o.Get("targeting")):
		o.Set("targeting", text)
	}
	if _, err := rules.Parse(text); err != nil {
		e.RulesWhy = err.Error()
	}
	if do == "rules:form" && e.RulesWhy == "" {
		e.RulesAsJSON = false
		e.openRules(text)
	}
}

func (e *editor) problem(field, format string, args ...any) {
	e.Problems = append(e.Problems, rules.Problem{Field: field, Message: fmt.Sprintf(format, args...)})
}

// problemOf is what is wrong with a field; "": nothing.
func (e *editor) problemOf(field string) string {
	for _, p := range e.Problems {
		if p.Field == field {
			return p.Message
		}
	}
	return ""
}

func (e *editor) variantNames() []string {
	names := make([]string, len(e.Fields.Variants))
	for i, v := range e.Fields.Variants {
		names[i] = v.Name
	}
	return names
}

// check asks the server what it would say of the result. Nothing is written.
func (e *editor) check(ctx context.Context, q *request) {
	if len(e.Problems) > 0 || e.Result == "" {
		return
	}
	name, err := json.Marshal(e.key)
	if err != nil || e.key == "" {
		return
	}
	resp, err := call(ctx, q.c, q.c.Flags.Apply, &plimsollv1.ApplyRequest{
		Namespace: q.ns, Document: `{"flags":{` + string(name) + ":" + e.text() + "}}", DryRun: true, Force: true,
	})
	if err != nil {
		t := e.explain(err)
		e.Checked = &t
		return
	}
	for _, w := range resp.GetWarnings() {
		w.Path = ownPart(w.GetPath(), e.key)
		e.Warnings = append(e.Warnings, w)
	}
}

// text is the definition as the server is to read it: as it was typed, so that the
// lines it names are those that the visitor sees.
func (e *editor) text() string {
	if e.AsJSON {
		return e.Text
	}
	return e.Result
}

// explain tells what went wrong, with places as they are in this form.
func (e *editor) explain(err error) trouble {
	t := explain(err)
	if len(t.Faults) > 0 {
		t.Message = "It cannot be stored like this:" // the faults say the rest
	}
	for _, f := range t.Faults {
		f.Path = ownPart(f.GetPath(), e.key)
		if e.AsJSON && f.GetLine() > 0 {
			f.Path = fmt.Sprintf("line %d, %s", f.GetLine(), f.GetPath())
		}
	}
	return t
}

// ownPart is a path in a document as one within the flag.
func ownPart(path, key string) string {
	for _, prefix := range []string{"$.flags." + key, "$.flags[" + strconv.Quote(key) + "]"} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			return "$" + rest
		}
	}
	return path
}

// checkPage answers, while somebody types, with what is wrong.
func checkPage(ctx context.Context, q *request) {
	if err := q.r.ParseForm(); err != nil {
		q.fail(invalid("the form could not be read: %v", err))
		return
	}
	e := readEditor(q.ns, q.r.PostForm, q.r.PostForm.Get("fresh") == "true")
	e.check(ctx, q)
	e.prepare(q)
	q.write(ctx, http.StatusOK, editorChecked(e))
}

// savePage stores what was edited, or does what another button says and shows the
// form again.
func savePage(ctx context.Context, q *request) { saveEditor(ctx, q, false) }

// createPage is savePage for a new flag.
func createPage(ctx context.Context, q *request) { saveEditor(ctx, q, true) }

func saveEditor(ctx context.Context, q *request, fresh bool) {
	if err := q.r.ParseForm(); err != nil {
		q.fail(invalid("the form could not be read, or has over %d KiB: %v", maxForm>>10, err))
		return
	}
	form := q.r.PostForm
	e := readEditor(q.ns, form, fresh)
	if !fresh {
		q.expect("edit:" + e.key)
	}
	verb, at, _ := strings.Cut(form.Get("do"), ":")
	if verb != "save" && verb != "over" {
		e.check(ctx, q)
		q.showEditor(ctx, http.StatusOK, e)
		return
	}
	p, err := q.begin(ctx)
	if err != nil {
		// What was typed is worth more than the form that it was typed into.
		t := trouble{Message: sentence(err.Error())}
		e.Failed = &t
		q.showEditor(ctx, http.StatusForbidden, e)
		return
	}
	if verb == "over" {
		// Whoever saves over a version has seen it.
		e.Base = baseOf(url.Values{"base": {at}})
		e.Gone = at == "0"
	}
	if len(e.Problems) > 0 {
		q.c.used.forget(p.Change)
		e.Failed = &trouble{Message: "It is not saved yet: " + count(len(e.Problems), "field needs", "fields need") + " another look."}
		q.showEditor(ctx, http.StatusUnprocessableEntity, e)
		return
	}
	change, warnings, err := q.store(ctx, e.key, e.text(), e.Base, fresh || e.Gone, e.Force, changeInfo(form, p))
	if err != nil {
		q.c.used.forget(p.Change)
		e.fail(err)
		q.showEditor(ctx, status(err), e)
		return
	}
	q.room.reach(ctx, change.GetPosition().GetRevision())
	note := faultsText(warnings)
	if !change.GetChanged() {
		http.Redirect(q.w, q.r, nsURL(q.ns, "flag", "key", e.key), http.StatusSeeOther)
		return
	}
	http.Redirect(q.w, q.r, nsURL(q.ns, "flag", "key", e.key, "done", change.GetChangeId(), "note", clip(note, 500)), http.StatusSeeOther)
}

// fail notes why it was not saved.
func (e *editor) fail(err error) {
	t := e.explain(err)
	e.Failed, e.Gone = &t, false
	if connect.CodeOf(err) == connect.CodeNotFound && !e.Fresh {
		e.Gone = true
	}
	if len(t.Conflicts) == 0 {
		return
	}
	// The panel below says it all.
	e.Conflict, e.Failed = t.Conflicts[0], nil
	e.Gone = e.Conflict.GetCurrentRevision() == 0
	e.Versions, _ = compared(e.Conflict.GetCurrentDefinition(), e.Result)
}

// prepare fills in what the form offers to choose from.
func (e *editor) prepare(q *request) {
	for _, t := range q.view.Level.GetTiers() {
		e.tiers = append(e.tiers, t.GetName())
	}
	for _, a := range e.Rules.Attributes() {
		e.attributes = append(e.attributes, a.Name)
	}
	for _, name := range []string{"targetingKey", "country", "plan", "email", "version"} {
		if !slices.Contains(e.attributes, name) {
			e.attributes = append(e.attributes, name)
		}
	}
}

// showEditor answers with the form, with a pass of its own.
func (q *request) showEditor(ctx context.Context, code int, e *editor) {
	e.prepare(q)
	var err error
	if e.pass, err = q.c.newPass(ctx, q.session); err != nil {
		q.fail(err)
		return
	}
	// From here on names are what they have become.
	if !e.AsJSON && e.Result != "" {
		e.Doc = e.Result
		for i := range e.Fields.Variants {
			e.Fields.Variants[i].Was = e.Fields.Variants[i].Name
		}
	}
	f := frame{Title: "Edit " + clip(e.key, 60), Nav: "flags", Topic: "edit:" + e.key}
	if e.Fresh {
		f.Title, f.Topic = "New flag", ""
	}
	q.render(ctx, code, f, editorPage(e))
}

// slides tells whether a split is shown as a slider.
func (e *editor) slides(r rules.Result) bool {
	return r.Kind == rules.ServeSplit && len(r.Shares) == 2 && r.Total() == 100 && !e.Exact
}

// words are what the rules come to, in words.
func (e *editor) words() (m rules.Model, ok bool) {
	o, err := rules.ReadObject(e.Result)
	if err != nil {
		return m, false
	}
	m, err = rules.Parse(o.Get("targeting"))
	return m, err == nil
}
