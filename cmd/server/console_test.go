package main

import (
	"bufio"
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// browser does what a browser without a script would.
type browser struct {
	t      testing.TB
	p      *process
	client *http.Client
}

func openBrowser(t testing.TB, p *process) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, p: p, client: &http.Client{Jar: jar, Timeout: 20 * time.Second}}
}

func (b *browser) get(path string) (int, string) {
	b.t.Helper()
	return b.send(http.MethodGet, path, nil)
}

// post sends a form as a page of the console does; header changes that.
func (b *browser) post(path string, form url.Values, header ...string) (int, string) {
	b.t.Helper()
	return b.send(http.MethodPost, path, form, append([]string{"Origin", b.p.url}, header...)...)
}

func (b *browser) send(method, path string, form url.Values, header ...string) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(short(b.t), method, b.p.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			req.Header.Del(header[i])
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

var (
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
	anyTag      = regexp.MustCompile(`<[^>]*>`)
)

// ask opens a question, and returns the form as it is there.
func (b *browser) ask(path string) url.Values {
	b.t.Helper()
	code, body := b.get(path)
	if code != http.StatusOK {
		b.t.Fatalf("GET %s: %d %s", path, code, textOf(body))
	}
	from := strings.Index(body, `<form id="question"`)
	if from < 0 {
		b.t.Fatalf("GET %s asks nothing: %s", path, textOf(body))
	}
	form := make(url.Values)
	for _, m := range hiddenField.FindAllStringSubmatch(body[from:], -1) {
		form.Set(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	return form
}

func textOf(page string) string {
	return strings.Join(strings.Fields(html.UnescapeString(anyTag.ReplaceAllString(page, " "))), " ")
}

func with(form url.Values, pairs ...string) url.Values {
	out := make(url.Values)
	for k, v := range form {
		out[k] = v
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		out.Set(pairs[i], pairs[i+1])
	}
	return out
}

func newestRecord(t testing.TB, p *process) *plimsollv1.AuditRecord {
	t.Helper()
	resp, err := p.audit().ListRecords(short(t), connect.NewRequest(&plimsollv1.ListRecordsRequest{Limit: 1}))
	if err != nil {
		t.Fatal(err)
	}
	return resp.Msg.GetRecords()[0]
}

func TestTheConsoleWorksWithoutAScript(t *testing.T) {
	p := spawn(t, t.TempDir(), "--demo")
	b := openBrowser(t, p)
	if code, body := b.get("/"); code != 200 || !strings.Contains(textOf(body), "10 flags in default") {
		t.Fatalf("GET /: %d %s", code, textOf(body))
	}
	if code, _ := b.post("/you", url.Values{"name": {"Ada Łovelace"}, "back": {"/ns/default/flags"}}); code != 200 {
		t.Fatalf("POST /you: %d", code)
	}
	// The toggle of the list leads to a question, that to what it did.
	_, flags := b.get("/ns/default/flags?q=recommendations")
	at := regexp.MustCompile(`role="switch"[^>]*href="([^"]*)"`).FindStringSubmatch(flags)
	if at == nil {
		t.Fatalf("no toggle in %s", textOf(flags))
	}
	form := b.ask(html.UnescapeString(at[1]))
	code, body := b.post("/ns/default/act/set", with(form, "reason", "less load"))
	if code != 200 || !strings.Contains(textOf(body), "recommendations serves off") {
		t.Fatalf("toggle: %d %s", code, textOf(body))
	}
	rec := newestRecord(t, p)
	if rec.GetActor().GetName() != "Ada Łovelace" || rec.GetActor().GetOrigin() != "console" || rec.GetReason() != "less load" {
		t.Errorf("the record tells %v", rec)
	}
	// And back, by the page's undo.
	undo := make(url.Values)
	_, undoForm, _ := strings.Cut(body, `action="/ns/default/act/undo"`)
	for _, m := range hiddenField.FindAllStringSubmatch(undoForm, -1) {
		undo.Set(m[1], html.UnescapeString(m[2]))
	}
	if code, body := b.post("/ns/default/act/undo", undo); code != 200 || !strings.Contains(textOf(body), "Taken back") {
		t.Fatalf("undo: %d %s", code, textOf(body))
	}
	if rec := newestRecord(t, p); rec.GetVerb() != "undo" {
		t.Errorf("the newest record is %v", rec)
	}
}

func TestEveryActOfTheConsole(t *testing.T) {
	p := spawn(t, t.TempDir(), "--demo")
	b := openBrowser(t, p)
	for _, step := range []struct {
		ask, verb string
		fill      []string
		want      string // of the answer
		record    string // the verb of the newest record
	}{
		{"shed?tier=optional&percent=40", "shed", []string{"percent", "40", "reason", "load", "for", "30m"}, "40 % of tier optional shed", "hold.set"},
		{"shed?tier=optional&percent=0", "shed", []string{"percent", "0"}, "not held down any more", "hold.remove"},
		{"level?level=1.25", "level", []string{"level", "1.25", "reason", "drill"}, "Level fixed at 1.25; automatic shedding is off", "level.set"},
		{"auto", "auto", nil, "the level is automatic", "level.auto"},
		{"kill?flag=reviews", "kill", []string{"variant", "cached", "reason", "slow"}, "reviews is killed: everybody gets cached", "override.set"},
		{"restore?flag=reviews", "restore", nil, "reviews is restored", "override.remove"},
		{"kill?flag=welcome-banner&variant=storm", "kill", []string{"variant", "storm", "reason", "storm"}, "everybody gets storm", "override.set"},
		{"restore", "restore", nil, "Everything is restored", "restore"},
		{"disable?flag=checkout", "disable", []string{"reason", "closed"}, "checkout is disabled", "flag.disable"},
		{"enable?flag=checkout", "enable", nil, "checkout is enabled", "flag.enable"},
		{"set?flag=theme", "set", []string{"variant", "paper"}, "theme serves paper", "flag.set_default"},
		{"delete?flag=gift-wrapping", "delete", []string{"reason", "over"}, "gift-wrapping is deleted", "flag.delete"},
	} {
		form := b.ask("/ns/default/act/" + step.ask)
		code, body := b.post("/ns/default/act/"+step.verb, with(form, step.fill...))
		if text := strings.ReplaceAll(textOf(body), "\u202f", " "); code != 200 || !strings.Contains(text, step.want) {
			t.Fatalf("%s: %d %s", step.ask, code, text)
		}
		if rec := newestRecord(t, p); rec.GetVerb() != step.record {
			t.Errorf("%s left the record %s, want %s", step.ask, rec.GetVerb(), step.record)
		}
	}
}

func TestAQuestionAsksForWhatItRehearsed(t *testing.T) {
	p := spawn(t, t.TempDir())
	create(t, p, "", "pay-fast", `{"state":"ENABLED","variants":{"enabled":true,"off":false},"defaultVariant":"enabled","degradation":{"tier":"optional"}}`)
	b := openBrowser(t, p)
	if _, body := b.get("/ns/default/act/kill?flag=pay-fast"); !regexp.MustCompile(`<option value="off" selected`).MatchString(body) {
		t.Errorf("the degraded variant is not the one that is chosen: %s", textOf(body))
	}
	form := with(b.ask("/ns/default/act/shed?tier=optional"), "percent", "", "reason", "an empty box")
	if code, body := b.post("/ns/default/act/shed", form); code != 422 || !strings.Contains(textOf(body), "no share from 0 to 100 percent") {
		t.Errorf("an empty share: %d %s", code, textOf(body))
	}
	if code, body := b.post("/ns/default/act/shed?tier=optional", with(b.ask("/ns/default/act/shed?tier=optional"), "percent", "12.5", "reason", strings.Repeat("r", 5000))); code != 422 || !strings.Contains(body, `value="12.5"`) {
		t.Errorf("what was typed is not kept: %d %s", code, textOf(body))
	}
	if code, _ := b.get("/ns/default/act/done?title=All+clear"); code != 404 {
		t.Errorf("anybody can have the console say something: %d", code)
	}
}

func TestForgedFormsAreRefused(t *testing.T) {
	p := spawn(t, t.TempDir(), "--demo")
	b := openBrowser(t, p)
	const path = "/ns/default/act/kill"
	form := with(b.ask(path+"?flag=reviews"), "variant", "off", "reason", "x")
	other := openBrowser(t, p)
	other.get("/")
	for _, c := range []struct {
		name   string
		by     *browser
		form   url.Values
		header []string
		code   int
		want   string
	}{
		{"no token", b, with(form, "csrf", ""), nil, 403, "not made for this browser"},
		{"a made-up token", b, with(form, "csrf", strings.Repeat("A", 54)), nil, 403, "not made for this browser"},
		{"another change", b, with(form, "change", "XXXXXXXXXXXXXXXXXXXXXXXXXX"), nil, 403, "not made for this browser"},
		{"another session", other, form, nil, 403, "not made for this browser"},
		{"another origin", b, form, []string{"Origin", "http://evil.example"}, 403, ""},
		{"another site", b, form, []string{"Sec-Fetch-Site", "cross-site"}, 403, "another site"},
		{"no origin", b, form, []string{"Origin", ""}, 403, "does not say"},
		{"another host", b, form, []string{"Origin", "http://127.0.0.1:1"}, 403, ""},
		{"too large", b, with(form, "reason", strings.Repeat("x", 600<<10)), nil, 413, "512 KiB"},
	} {
		if code, body := c.by.post(path, c.form, c.header...); code != c.code || !strings.Contains(textOf(body), c.want) {
			t.Errorf("%s: %d %.300s", c.name, code, textOf(body))
		}
	}
	if rec := newestRecord(t, p); rec.GetVerb() == "override.set" {
		t.Fatalf("a forged form has done something: %v", rec)
	}
	if code, body := b.post(path, form); code != 200 {
		t.Fatalf("the form itself: %d %s", code, textOf(body))
	}
	first := newestRecord(t, p).GetSeq()
	if code, body := b.post(path, form); code != 409 || !strings.Contains(textOf(body), "sent already") {
		t.Errorf("the form a second time: %d %s", code, textOf(body))
	}
	if now := newestRecord(t, p).GetSeq(); now != first {
		t.Error("the form has done something a second time")
	}
}

func TestAFormOutlivesTheServerItCameFrom(t *testing.T) {
	dir := t.TempDir()
	p := spawn(t, dir, "--demo")
	b := openBrowser(t, p)
	form := with(b.ask("/ns/default/act/kill?flag=reviews"), "variant", "off", "reason", "half typed")
	p.kill()
	b.p = respawn(t, dir, p.url)
	if code, body := b.post("/ns/default/act/kill", form); code != 200 || !strings.Contains(textOf(body), "reviews is killed") {
		t.Fatalf("the form after a restart: %d %s", code, textOf(body))
	}
	b.p.kill()
	b.p = respawn(t, dir, p.url)
	if code, body := b.post("/ns/default/act/kill", form); code != 409 {
		t.Errorf("the same form after another restart: %d %s", code, textOf(body))
	}
}

func TestAConflictShowsBothVersions(t *testing.T) {
	p := spawn(t, t.TempDir(), "--demo")
	b := openBrowser(t, p)
	form := with(b.ask("/ns/default/act/set?flag=theme&variant=paper"), "variant", "paper", "reason", "my good reason")
	setDefault(t, p, "theme", "paper")
	setDefault(t, p, "theme", "harbour")
	code, body := b.post("/ns/default/act/set", form)
	text := textOf(body)
	for _, want := range []string{"flags/theme was changed by", "As it is now", "As you wanted it", "my good reason"} {
		if !strings.Contains(text+body, want) {
			t.Errorf("%q is not in the answer %d: %s", want, code, text)
		}
	}
	if code != 409 {
		t.Errorf("a lost race is answered %d", code)
	}
}

func TestHostileTextIsHarmless(t *testing.T) {
	p := spawn(t, t.TempDir())
	b := openBrowser(t, p)
	const script = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>`
	keys := []string{script, "rtl \u202e gnp.exe", "..", "a/b?c#d%41&flag=e", "🎛️ émoji", strings.Repeat("k", 256)}
	for _, key := range keys {
		create(t, p, "", key, fmt.Sprintf(`{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","degradation":{"tier":"optional","degradedVariant":"off","dependsOn":[%q]},"plimsoll":{"owner":%q,"description":%q}}`, script, script, script+strings.Repeat("d", 2000)))
	}
	if code, _ := b.post("/you", url.Values{"name": {script[:40]}}); code != 200 {
		t.Fatalf("POST /you: %d", code)
	}
	for _, key := range keys {
		form := with(b.ask("/ns/default/act/kill?"+url.Values{"flag": {key}}.Encode()), "variant", "off", "reason", script)
		if code, body := b.post("/ns/default/act/kill", form); code != 200 {
			t.Errorf("kill %q: %d %s", key, code, textOf(body))
		}
	}
	paths := []string{"/ns/default/", "/ns/default/flags", "/ns/default/flags?" + url.Values{"q": {script}, "owner": {script}, "label": {script}, "tier": {script}}.Encode(), "/ns/" + url.PathEscape(script) + "/", "/ns/default/act/shed?" + url.Values{"tier": {script}, "back": {"javascript:alert(1)"}}.Encode(), "/ns/default/act/done?title=" + url.QueryEscape(script),
		"/ns/default/map", "/ns/default/map?" + url.Values{"dep": {script}}.Encode(), "/ns/default/map?" + url.Values{"level": {script}}.Encode(), "/ns/default/map?level=3",
		"/ns/default/fleet?" + url.Values{"service": {script}, "zone": {script}, "page": {script}}.Encode()}
	for _, key := range keys {
		paths = append(paths, "/ns/default/flag?"+url.Values{"key": {key}}.Encode(), "/ns/default/flag/edit?"+url.Values{"key": {key}}.Encode(), "/ns/default/map?"+url.Values{"dep": {key}}.Encode())
	}
	for _, path := range paths {
		_, body := b.get(path)
		for _, bad := range []string{"<script>alert", "<img src=x", "javascript:alert", `style="`} {
			if strings.Contains(body, bad) {
				t.Errorf("%s: %q got through", path, bad)
			}
		}
	}
}

func TestTheFailureMapAnswers(t *testing.T) {
	p := spawn(t, t.TempDir(), "--demo")
	b := openBrowser(t, p)
	if _, err := p.degradation().ApplyPlan(short(t), connect.NewRequest(&plimsollv1.ApplyPlanRequest{Plan: &plimsollv1.Plan{
		Tiers:        []*plimsollv1.Tier{{Name: "critical"}, {Name: "important"}, {Name: "standard"}, {Name: "optional"}},
		Dependencies: []*plimsollv1.Dependency{{Name: "payments", DependsOn: []string{"main-db"}}, {Name: "main-db", Description: "Orders and customers"}},
	}})); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"/ns/default/map":               {"7 features with a degraded variant", "Orders and customers", "not in the plan", "Questionable in the plan"},
		"/ns/default/map?dep=main-db":   {"If main-db fails", "2 features are hit", "critical", "With it falls payments", "main-db → payments → checkout"},
		"/ns/default/map?dep=man-db":    {`is no dependency and no feature`, "main-db"},
		"/ns/default/map?level=1.5":     {"At level 1.5", "50 %", "recommendations"},
		"/ns/default/map?level=several": {"level"},
	} {
		code, body := b.get(path)
		text := strings.ReplaceAll(textOf(body), "\u202f", " ")
		for _, w := range want {
			if code != 200 || !strings.Contains(text, w) {
				t.Errorf("%s: %d, %q is not in %s", path, code, w, text)
			}
		}
	}
}

func TestTheFleetIsShown(t *testing.T) {
	p := spawn(t, t.TempDir(), "--demo", "--zone", "eu-1")
	b := openBrowser(t, p)
	if _, body := b.get("/ns/default/fleet"); !strings.Contains(textOf(body), "No process evaluates flags of this namespace") {
		t.Errorf("an empty fleet: %s", textOf(body))
	}
	provider(t, p.url)
	position, err := p.admin().GetStatus(short(t), connect.NewRequest(&plimsollv1.GetStatusRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	settled(t, p, position.Msg.GetPosition(), 1)
	_, body := b.get("/ns/default/fleet")
	for _, want := range []string{"applied by all 1", "eu-1", "plimsoll-go", "stream", "answers"} {
		if !strings.Contains(textOf(body), want) {
			t.Errorf("%q is not in %s", want, textOf(body))
		}
	}
	if _, body := b.get("/ns/default/fleet?service=nobody"); !strings.Contains(textOf(body), "No process matches") {
		t.Errorf("a filter that nobody passes: %s", textOf(body))
	}
}

func TestEveryAnswerOfTheConsoleIsGuarded(t *testing.T) {
	p := spawn(t, t.TempDir(), "--demo")
	for _, path := range []string{"/", "/ns/default/", "/ns/default/flags", "/ns/nobody/", "/nowhere", "/ns/default/map", "/ns/default/fleet", "/ns/default/flag?key=theme", "/ns/default/flag/edit?key=theme", "/ns/default/flag/new", "/ns/default/act/shed?tier=optional", "/ns/default/act/nothing"} {
		resp, err := http.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		csp := resp.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, resp.Header)
		}
		for _, ck := range resp.Cookies() {
			if !ck.HttpOnly || ck.SameSite != http.SameSiteLaxMode {
				t.Errorf("%s sets %v", path, ck)
			}
		}
	}
}

// events reads an event stream of the console.
func (b *browser) events(path string) *bufio.Scanner {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	b.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.p.url+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = resp.Body.Close() })
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		b.t.Fatalf("%s is %d %s", path, resp.StatusCode, kind)
	}
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(nil, 1<<20)
	return sc
}

// nextEvent reads on to a data line that holds a text.
func nextEvent(t testing.TB, sc *bufio.Scanner, text string) string {
	t.Helper()
	found := make(chan string, 1)
	go func() {
		defer close(found)
		for sc.Scan() {
			if strings.HasPrefix(sc.Text(), "data: ") && strings.Contains(sc.Text(), text) {
				found <- sc.Text()
				return
			}
		}
	}()
	select {
	case line, ok := <-found:
		if !ok {
			t.Fatalf("the stream ended before %q: %v", text, sc.Err())
		}
		return line
	case <-time.After(10 * time.Second):
		t.Fatalf("no event with %q within 10 s", text)
	}
	return ""
}

func TestAChangeIsOnOpenPages(t *testing.T) {
	p := spawn(t, t.TempDir(), "--demo")
	b := openBrowser(t, p)
	_, page := b.get("/ns/default/flags")
	at := regexp.MustCompile(`data-events="([^"]*)" data-version="([^"]*)"`).FindStringSubmatch(page)
	if at == nil {
		t.Fatal("the page names no events")
	}
	stream := html.UnescapeString(at[1]) + "&v=" + at[2]
	sc := b.events(stream)
	setDefault(t, p, "welcome-banner", "sale")
	line := nextEvent(t, sc, "sale")
	if !strings.Contains(line, "row-") || strings.Contains(line, "checkout") || strings.Contains(line, `"reload"`) {
		t.Errorf("more than the changed row was sent: %.600s", line)
	}
	// Who comes back with an old version gets what it lacks, from a page's version on.
	if line := nextEvent(t, b.events(stream), "sale"); strings.Contains(line, `"reload"`) {
		t.Errorf("a page that is a little old is loaded anew: %.300s", line)
	}
	// A flag that is new has no place yet.
	create(t, p, "", "a-new-one", onOff)
	nextEvent(t, sc, `"reload":true`)
	// A version of another server is none.
	nextEvent(t, b.events(html.UnescapeString(at[1])+"&v=elsewhere.7"), `"reload":true`)
	// A change of the level is a few bytes, not a row for each flag.
	if _, err := p.degradation().Shed(short(t), connect.NewRequest(&plimsollv1.ShedRequest{Tier: "optional", ShareMillionths: 400_000})); err != nil {
		t.Fatal(err)
	}
	if line := nextEvent(t, sc, `"optional":"40`); strings.Contains(line, "row-") {
		t.Errorf("a change of the level sends rows: %.300s", line)
	}
}
