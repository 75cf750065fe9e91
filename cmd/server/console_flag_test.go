package main

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"golang.org/x/net/html"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// visitor is somebody with a browser without a script.
type visitor struct {
	t      *testing.T
	base   string
	client *http.Client
}

func visit(t *testing.T, p *process) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t, p.url, &http.Client{Jar: jar}}
}

// page is a page that a visitor sees.
type page struct {
	v    *visitor
	code int
	path string
	root *html.Node
}

func (v *visitor) open(path string) page {
	v.t.Helper()
	req, err := http.NewRequestWithContext(short(v.t), http.MethodGet, v.base+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	return v.do(req)
}

func (v *visitor) do(req *http.Request) page {
	v.t.Helper()
	resp, err := v.client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	root, err := html.Parse(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return page{v, resp.StatusCode, resp.Request.URL.RequestURI(), root}
}

// all are the elements below a node for which want holds.
func all(n *html.Node, want func(*html.Node) bool) []*html.Node {
	var out []*html.Node
	for c := range n.Descendants() {
		if c.Type == html.ElementNode && want(c) {
			out = append(out, c)
		}
	}
	return out
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func hasAttr(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

// text is what a node says, with single spaces.
func text(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// byID is the text of the element of an id; it must be there.
func (p page) byID(id string) string {
	p.v.t.Helper()
	found := all(p.root, func(n *html.Node) bool { return attr(n, "id") == id })
	if len(found) != 1 {
		p.v.t.Fatalf("%s has %d elements #%s (status %d): %.600s", p.path, len(found), id, p.code, text(p.root))
	}
	return text(found[0])
}

func (p page) says(parts ...string) page {
	p.v.t.Helper()
	whole := text(p.root)
	for _, part := range parts {
		if !strings.Contains(whole, part) {
			p.v.t.Errorf("%s does not say %q: %.3000s", p.path, part, whole)
		}
	}
	return p
}

// form is a form as its page has filled it in. The action is where it goes.
func (p page) form(action string) (url.Values, *html.Node) {
	p.v.t.Helper()
	forms := all(p.root, func(n *html.Node) bool {
		return n.Data == "form" && attr(n, "method") == "post" && strings.Contains(attr(n, "action"), action)
	})
	if len(forms) != 1 {
		p.v.t.Fatalf("%s has %d forms for %s (status %d): %.600s", p.path, len(forms), action, p.code, text(p.root))
	}
	values := make(url.Values)
	for _, n := range all(forms[0], func(n *html.Node) bool { return attr(n, "name") != "" && !hasAttr(n, "disabled") }) {
		switch n.Data {
		case "input":
			if kind := attr(n, "type"); (kind == "checkbox" || kind == "radio") && !hasAttr(n, "checked") {
				continue
			}
			values.Add(attr(n, "name"), attr(n, "value"))
		case "textarea":
			var b strings.Builder
			for c := range n.ChildNodes() {
				b.WriteString(c.Data)
			}
			values.Add(attr(n, "name"), strings.ReplaceAll(b.String(), "\n", "\r\n"))
		case "select":
			options := all(n, func(n *html.Node) bool { return n.Data == "option" })
			i := slices.IndexFunc(options, func(n *html.Node) bool { return hasAttr(n, "selected") })
			values.Add(attr(n, "name"), attr(options[max(i, 0)], "value"))
		}
	}
	return values, forms[0]
}

// press sends a form with fields typed over, by one of its buttons, which must be
// there; "": by its only one.
func (p page) press(action, button string, typed ...string) page {
	p.v.t.Helper()
	values, form := p.form(action)
	for i := 0; i < len(typed); i += 2 {
		values.Set(typed[i], typed[i+1])
	}
	if button != "" {
		if len(all(form, func(n *html.Node) bool {
			return n.Data == "button" && attr(n, "name") == "do" && attr(n, "value") == button && !hasAttr(n, "disabled")
		})) == 0 {
			p.v.t.Fatalf("%s has no button %s", p.path, button)
		}
		values.Set("do", button)
	}
	return p.v.post(attr(form, "action"), values)
}

func (v *visitor) post(path string, values url.Values, header ...string) page {
	v.t.Helper()
	req, err := http.NewRequestWithContext(short(v.t), http.MethodPost, v.base+path, strings.NewReader(values.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", v.base)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return v.do(req)
}

// definition is a flag as it is stored.
func definition(t testing.TB, p *process, key string) string {
	t.Helper()
	resp, err := p.flags().GetFlag(short(t), connect.NewRequest(&plimsollv1.GetFlagRequest{Key: key}))
	if err != nil {
		t.Fatal(err)
	}
	return resp.Msg.GetFlag().GetDefinition()
}

// update changes a flag as another person would.
func update(t testing.TB, p *process, key, definition, reason string) {
	t.Helper()
	if _, err := p.flags().UpdateFlag(short(t), connect.NewRequest(&plimsollv1.UpdateFlagRequest{
		Key: key, Update: &plimsollv1.UpdateFlagRequest_Definition{Definition: definition}, Change: &plimsollv1.ChangeInfo{Reason: reason},
	})); err != nil {
		t.Fatal(err)
	}
}

func TestTheFlagPageTellsAll(t *testing.T) {
	p := spawn(t, t.TempDir(), "--demo")
	v := visit(t, p)
	flag := v.open("/ns/default/flag?key=new-checkout").says("The one-page checkout, being rolled out.", "owner payments")
	for id, want := range map[string]string{
		"flag-rules":       "if the user is in the segment early-access",
		"flag-variants":    "off default degraded false",
		"flag-degradation": "important",
		"flag-usage":       "No process has reported an evaluation",
		"flag-history":     "demo applied a file",
		"flag-head":        "Enabled: the first rule that holds decides",
	} {
		if got := flag.byID(id); !strings.Contains(got, want) {
			t.Errorf("#%s says %s", id, got)
		}
	}
	tried := flag.press("flag/try", "", "user", "u1", "context", `{"plan":"gold"}`)
	if got := tried.byID("play-result"); !strings.Contains(got, "Variant on Value true Reason TARGETING_MATCH") || !strings.Contains(got, "segment") {
		t.Errorf("the playground says %s", got)
	}
	if got := flag.press("flag/try", "", "context", `{"plan":`).byID("play-result"); !strings.Contains(got, "The context cannot be read") {
		t.Errorf("a broken context gives %s", got)
	}
	if gone := v.open("/ns/default/flag?key=nowhere"); gone.code != 404 || !strings.Contains(text(gone.root), "There is no flag of this key") {
		t.Errorf("a flag that is not there: %d %s", gone.code, text(gone.root))
	}
}

func TestEditingRulesWithoutAScript(t *testing.T) {
	p := spawn(t, t.TempDir())
	create(t, p, "default", "f", `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","metadata":{"kept":1.50}}`)
	v := visit(t, p)
	edit := v.open("/ns/default/flag/edit?key=f").
		press("flag/edit", "add-rule").
		press("flag/edit", "add-cond:0", "rule.0.cond.0.name", "country", "rule.0.cond.0.op", "in", "rule.0.cond.0.value", "de, at").
		press("flag/edit", "add-group:0", "rule.0.cond.1.name", "version", "rule.0.cond.1.op", "sem_ver >=", "rule.0.cond.1.value", "2.1.0").
		press("flag/edit", "remove-cond:0.2.1", "rule.0.cond.2.cond.0.name", "beta", "rule.0.cond.2.cond.0.op", "has").
		press("flag/edit", "check", "rule.0.then.kind", "split", "variant.0.name", "yes")
	edit.says("50 % yes")
	if form, _ := edit.form("flag/edit"); form.Get("rule.0.then.total") != "100" {
		t.Errorf("an even split is no slider: %v", form)
	}
	saved := edit.press("flag/edit", "save", "rule.0.then.share.0.weight", "30", "reason", "a slow start")
	if !strings.HasPrefix(saved.path, "/ns/default/flag?") || saved.code != 200 {
		t.Fatalf("saving led to %d %s: %s", saved.code, saved.path, text(saved.root))
	}
	saved.says("country is one of", "a slow start", "Undo")
	want := `{"state":"ENABLED","variants":{"yes":true,"off":false},"defaultVariant":"off","metadata":{"kept":1.50},"targeting":{"if":[{"and":[` +
		`{"in":[{"var":"country"},["de","at"]]},{"sem_ver":[{"var":"version"},">=","2.1.0"]},{"!":[{"missing":["beta"]}]}]},` +
		`{"fractional":[["yes",30],["off",70]]}]}}`
	if got := definition(t, p, "f"); got != want {
		t.Errorf("it is %s\nwant %s", got, want)
	}
	// What is not filled in is not saved, and nothing is lost.
	again := v.open("/ns/default/flag/edit?key=f").press("flag/edit", "add-rule").press("flag/edit", "save", "reason", "too early")
	if form, _ := again.form("flag/edit"); again.code != 422 || form.Get("reason") != "too early" || !form.Has("rule.1.cond.0.op") {
		t.Errorf("saving an empty condition: %d %v", again.code, form)
	}
	again.says("It is not saved yet", "Name the attribute")
	if again = again.press("flag/edit", "remove-rule:1").press("flag/edit", "save"); again.code != 200 || definition(t, p, "f") != want {
		t.Errorf("saving what is the same: %d %s", again.code, definition(t, p, "f"))
	}
}

func TestEditingAsJSON(t *testing.T) {
	p := spawn(t, t.TempDir(), "--demo")
	v := visit(t, p)
	create(t, p, "default", "odd", `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":{"if":[{"==":[{"%":[{"var":"n"},2]},0]},"on"]}}`)
	odd := v.open("/ns/default/flag/edit?key=odd").says("A form cannot show these rules without loss")
	odd = odd.press("flag/edit", "save", "targeting", `{"if":[{"=":[1,1]},"on"]}`)
	if odd.code != 422 && odd.code != 400 {
		t.Errorf("an unknown operator was answered with %d", odd.code)
	}
	odd.says(`unknown operator`)
	odd.press("flag/edit", "save", "targeting", `{"if":[{"==":[{"var":"n"},0]},"on"]}`)
	if got := definition(t, p, "odd"); !strings.HasSuffix(got, `"targeting":{"if":[{"==":[{"var":"n"},0]},"on"]}}`) {
		t.Errorf("it is %s", got)
	}
	whole := v.open("/ns/default/flag/edit?key=odd").press("flag/edit", "as:json")
	broken := whole.press("flag/edit", "as:form", "text", "{\n  \"state\": }")
	broken.says("line 2, column 12")
	if form, _ := broken.form("flag/edit"); form.Get("text") != "{\r\n  \"state\": }" {
		t.Errorf("what was typed became %q", form.Get("text"))
	}
	whole.press("flag/edit", "save", "text", "{\"state\":\"ENABLED\",\n\"variants\":{\"a\":1,\n\"b\":\"x\"}}").says("line 3, $.variants.b", "It cannot be stored like this")
	back := whole.press("flag/edit", "as:form", "text", `{"state":"DISABLED","variants":{"a":"x","b":"42"},"defaultVariant":"a"}`)
	if form, _ := back.form("flag/edit"); form.Get("disabled") != "true" || form.Get("variant.1.value") != `"42"` || form.Get("variant.0.value") != "x" {
		t.Errorf("as a form it is %v", form)
	}
	// Another type of value needs to be asked for.
	refused := back.press("flag/edit", "save").says("type bool and would become string")
	refused.press("flag/edit", "save", "force", "true")
	if got := definition(t, p, "odd"); !strings.Contains(got, `"variants":{"a":"x","b":"42"}`) {
		t.Errorf("it is %s", got)
	}
}

func TestAConflictKeepsWhatWasTypedAndShowsBoth(t *testing.T) {
	p := spawn(t, t.TempDir())
	create(t, p, "default", "f", onOff)
	v := visit(t, p)
	mine := v.open("/ns/default/flag/edit?key=f")
	theirs := strings.Replace(onOff, `"off"}`, `"on"}`, 1)
	update(t, p, "f", theirs, "they were first")
	conflict := mine.press("flag/edit", "save", "description", "mine", "reason", "my reason")
	if conflict.code != 409 {
		t.Errorf("a conflict was answered with %d", conflict.code)
	}
	if got := conflict.byID("editor-conflict"); !strings.Contains(got, "they were first") || !strings.Contains(got, `removed "defaultVariant": "on"`) || !strings.Contains(got, `added "defaultVariant": "off"`) {
		t.Errorf("the conflict says %s", got)
	}
	if form, _ := conflict.form("flag/edit"); form.Get("description") != "mine" || form.Get("reason") != "my reason" {
		t.Errorf("what was typed became %v", form)
	}
	if got := definition(t, p, "f"); got != theirs {
		t.Fatalf("the conflict was overwritten: %s", got)
	}
	over := all(conflict.root, func(n *html.Node) bool { return strings.HasPrefix(attr(n, "value"), "over:") })
	if len(over) != 1 {
		t.Fatalf("%d buttons save over it", len(over))
	}
	// They change it once more before that is pressed.
	update(t, p, "f", strings.Replace(theirs, `{"on":true`, `{"new":true,"on":true`, 1), "and second")
	conflict = conflict.press("flag/edit", attr(over[0], "value"))
	if conflict.code != 409 || !strings.Contains(conflict.byID("editor-conflict"), "and second") {
		t.Errorf("saving over a version that was not shown: %d", conflict.code)
	}
	over = all(conflict.root, func(n *html.Node) bool { return strings.HasPrefix(attr(n, "value"), "over:") })
	conflict.press("flag/edit", attr(over[0], "value"))
	if got := definition(t, p, "f"); !strings.Contains(got, `"defaultVariant":"off"`) || !strings.Contains(got, "mine") {
		t.Errorf("saved over, it is %s", got)
	}
	// A flag that is gone can be made anew from the form.
	edit := v.open("/ns/default/flag/edit?key=f")
	if _, err := p.flags().DeleteFlag(short(t), connect.NewRequest(&plimsollv1.DeleteFlagRequest{Key: "f"})); err != nil {
		t.Fatal(err)
	}
	edit = edit.press("flag/edit", "save", "owner", "ann")
	if edit = edit.press("flag/edit", "over:0"); edit.code != 200 || !strings.Contains(definition(t, p, "f"), `"owner":"ann"`) {
		t.Errorf("making it anew: %d %s", edit.code, text(edit.root))
	}
}

func TestMakingAFlagInTheConsole(t *testing.T) {
	p := spawn(t, t.TempDir())
	create(t, p, "default", "taken", onOff)
	v := visit(t, p)
	if made := v.open("/ns/default/flag/new").press("flag/new", "save"); made.code != 422 {
		t.Errorf("a flag without a key: %d", made.code)
	}
	taken := v.open("/ns/default/flag/new").press("flag/new", "save", "key", "taken", "description", "kept")
	if form, _ := taken.form("flag/new"); taken.code != 409 || form.Get("description") != "kept" {
		t.Errorf("a key that is taken: %d %v", taken.code, form)
	}
	made := v.open("/ns/default/flag/new?type=string").press("flag/new", "save", "key", "greeting", "variant.0.value", "Moin", "degradable", "true", "tier", "optional", "degraded", "candidate")
	want := `{"state":"ENABLED","variants":{"control":"Moin","candidate":"b"},"defaultVariant":"control","degradation":{"tier":"optional","degradedVariant":"candidate"}}`
	if got := definition(t, p, "greeting"); made.code != 200 || got != want {
		t.Errorf("%d %s\nwant %s", made.code, got, want)
	}
}

func TestRollingBackInTheConsole(t *testing.T) {
	p := spawn(t, t.TempDir())
	create(t, p, "default", "f", onOff)
	update(t, p, "f", strings.Replace(onOff, `"off"}`, `"on"}`, 1), "on for all")
	v := visit(t, p)
	flag := v.open("/ns/default/flag?key=f").says("on for all", "What it began with")
	links := all(flag.root, func(n *html.Node) bool { return n.Data == "a" && strings.Contains(attr(n, "href"), "act/rollback") })
	if len(links) != 1 {
		t.Fatalf("%d links roll back", len(links))
	}
	ask := v.open(attr(links[0], "href")).says(`removed "defaultVariant": "on"`, `added "defaultVariant": "off"`)
	if done := ask.press("act/rollback", "", "reason", "it hurt"); done.code != 200 || definition(t, p, "f") != onOff {
		t.Errorf("%d %s: %s", done.code, text(done.root), definition(t, p, "f"))
	}
	// A version that has moved since is not overwritten.
	ask = v.open(attr(links[0], "href"))
	if late := ask.press("act/rollback", ""); late.code != 409 {
		t.Errorf("rolling back from an old page: %d", late.code)
	}
	if wrong := v.open("/ns/default/act/rollback?flag=f&seq=999"); wrong.code != 422 {
		t.Errorf("a change that there is not: %d", wrong.code)
	}
}

func TestFormsOfTheEditorAreForOneBrowserAndOneUse(t *testing.T) {
	p := spawn(t, t.TempDir())
	create(t, p, "default", "f", onOff)
	v, other := visit(t, p), visit(t, p)
	edit := v.open("/ns/default/flag/edit?key=f")
	form, _ := edit.form("flag/edit")
	form.Set("do", "save")
	form.Set("description", "forged")
	path := "/ns/default/flag/edit?key=f"
	for name, got := range map[string]page{
		"another browser":  other.post(path, form),
		"another site":     v.post(path, form, "Origin", "https://elsewhere.example"),
		"no origin":        v.post(path, form, "Origin", ""),
		"without a token":  v.post(path, url.Values{"do": {"save"}, "key": {"f"}, "doc": {onOff}, "as": {"json"}, "text": {onOff}}),
		"another site too": v.post(path, form, "Sec-Fetch-Site", "cross-site"),
	} {
		if got.code != 403 {
			t.Errorf("%s: %d", name, got.code)
		}
	}
	if got := definition(t, p, "f"); got != onOff {
		t.Fatalf("it was changed: %s", got)
	}
	if saved := v.post(path, form); saved.code != 200 || !strings.Contains(definition(t, p, "f"), "forged") {
		t.Fatalf("the true form: %d", saved.code)
	}
	update(t, p, "f", onOff, "undone by hand")
	form.Set("base", "0")
	if replayed := v.post(path, form); replayed.code != 403 || definition(t, p, "f") != onOff {
		t.Errorf("a form that was sent twice: %d %s", replayed.code, definition(t, p, "f"))
	}
}

const hostile = "<script>alert(1)</script>\u202e<img src=x onerror=alert(2)>\"'`🌊"

// Whatever is in a flag, the pages show it and nothing runs.
func TestHostileTextOfFlagsIsShown(t *testing.T) {
	p := spawn(t, t.TempDir())
	key := hostile + strings.Repeat("k", 150)
	quoted := func(s string) string { return `"` + strings.NewReplacer(`"`, `\"`).Replace(s) + `"` }
	def := `{"state":"ENABLED","variants":{` + quoted(hostile) + `:` + quoted(hostile) + `,"b":"","c":` + quoted(strings.Repeat("x", 10_000)) + `},"defaultVariant":"b",
		"targeting":{"if":[{"in":[{"var":` + quoted(hostile) + `},[` + quoted(hostile) + `,"</textarea>"]]},` + quoted(hostile) + `]},
		"degradation":{"dependsOn":[` + quoted(hostile) + `]},
		"plimsoll":{"description":` + quoted(hostile+strings.Repeat("d", 10_000)) + `,"owner":` + quoted(hostile) + `,"labels":{"<b>\u202e</b>":` + quoted(hostile) + `}}}`
	create(t, p, "default", key, def)
	update(t, p, key, strings.Replace(def, `"defaultVariant":"b"`, `"defaultVariant":"c"`, 1), hostile+strings.Repeat("r", 3000))
	v := visit(t, p)
	at := url.Values{"key": {key}}.Encode()
	pages := []page{v.open("/ns/default/flag?" + at), v.open("/ns/default/flag/edit?" + at), v.open("/ns/default/flag/edit?as=json&" + at)}
	pages = append(pages, pages[0].press("flag/try", "", "user", hostile, "context", `{`+quoted(hostile)+`:`+quoted(hostile)+`}`))
	pages = append(pages, pages[1].press("flag/edit", "add-rule"), v.open("/ns/default/flag/new?"+at), v.open("/ns/default/flag?key="+url.QueryEscape(hostile)))
	for _, p := range pages {
		if p.code != 200 && p.code != 404 {
			t.Errorf("%.60s: status %d: %.300s", p.path, p.code, text(p.root))
		}
		for _, n := range all(p.root, func(n *html.Node) bool {
			return n.Data == "img" || n.Data == "script" && attr(n, "src") == "" || hasAttr(n, "onerror") || hasAttr(n, "style")
		}) {
			t.Errorf("%.60s has an element <%s %v>", p.path, n.Data, n.Attr)
		}
		if !strings.Contains(text(p.root), "<script>alert(1)</script>") && !strings.HasPrefix(p.path, "/ns/default/flag/new") {
			t.Errorf("%.60s does not show the text", p.path)
		}
	}
	// The form keeps it to the letter.
	saved := pages[1].press("flag/edit", "save", "owner", "ann")
	if got := definition(t, p, key); saved.code != 200 || strings.Contains(got, `"owner":`+quoted(hostile)) || !strings.Contains(got, `"description":`+quoted(hostile+strings.Repeat("d", 10_000))) {
		t.Errorf("%d %.300s", saved.code, got)
	}
}

func TestTheAuditLogIsSearchedOnlyAsFarAsAsked(t *testing.T) {
	p := spawn(t, t.TempDir())
	for _, key := range []string{"first", "second", "third"} {
		create(t, p, "default", key, onOff)
	}
	list := func(before uint64, scan uint32) *plimsollv1.ListRecordsResponse {
		t.Helper()
		resp, err := p.audit().ListRecords(short(t), connect.NewRequest(&plimsollv1.ListRecordsRequest{Object: "flags/first", BeforeSeq: before, ScanLimit: scan}))
		if err != nil {
			t.Fatal(err)
		}
		return resp.Msg
	}
	near := list(0, 2)
	if len(near.GetRecords()) != 0 || near.GetNextBeforeSeq() == 0 {
		t.Errorf("the two newest records gave %v", near)
	}
	if far := list(near.GetNextBeforeSeq(), 2); len(far.GetRecords()) != 1 {
		t.Errorf("the two before gave %v", far)
	}
	if all := list(0, 0); len(all.GetRecords()) != 1 {
		t.Errorf("all records gave %v", all)
	}
}
