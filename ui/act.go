package ui

import (
	"context"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/ui/internal/diff"
	"github.com/plimsoll-dev/plimsoll/ui/internal/rules"
)

// An act changes something. It is asked first, with what it would do and, where
// it has any, fields to fill in; then done.
type act struct {
	// ask says what it would do with the values in form.
	ask func(ctx context.Context, q *request, form url.Values) (*question, error)
	// do does it. The error of the API is what the visitor sees.
	do func(ctx context.Context, q *request, form url.Values, p pass) (*done, error)
}

// acts are all there are, by the verb in their address.
var acts = map[string]act{
	"shed":    {askShed, doShed},
	"level":   {askLevel, doLevel},
	"auto":    {askAuto, doAuto},
	"undo":    {askUndo, doUndo},
	"set":     {askSet, doSet},
	"enable":  {askState(true), doState(true)},
	"disable": {askState(false), doState(false)},
	"kill":    {askKill, doKill},
	"restore": {askRestore, doRestore},
	"delete":  {askDelete, doDelete},

	"rollback": {askRollback, doRollback},
}

// question is what is shown before an act.
type question struct {
	Title string
	// Says are sentences: what it does.
	Says []string
	// Warn is what speaks against it; "": nothing.
	Warn string
	// Button is what the button that does it says; Danger, that it takes
	// something away from users.
	Button string
	Danger bool
	// Hidden are values that the form carries on.
	Hidden [][2]string
	// Fields that the visitor may fill in.
	Percent  *percentField
	Level    *levelField
	Variant  *variantField
	Duration bool
	For      string // the duration that is chosen, such as 30m; "": no end
	Reason   string
	// Effects are what a rehearsal has shown; nil: there is none for this act.
	Effects *plimsollv1.Effects
	// Traffic is what the flag served lately; nil: it is not told.
	Traffic *traffic
	// Compare are two versions of a definition next to each other.
	Compare []diff.Row
	// Blocked: it cannot be done as it stands; the trouble tells why.
	Blocked *trouble
	// Sets is the member of the flag's definition that it changes, and the value;
	// none: it changes another thing, or more.
	Sets [2]string

	verb, back string
	pass       pass
	ns         string
}

// action is where the form goes. It says what is asked as well: the page that
// answers can be loaded anew, and asks the same.
func (s *question) action() string {
	var query []string
	for _, h := range s.Hidden {
		query = append(query, h[0], h[1])
	}
	return nsURL(s.ns, "act/"+s.verb, query...)
}

type percentField struct {
	Value string // as it was typed
	Tier  string
}

type levelField struct {
	Value string
	Max   int
}

type variantField struct {
	Value   string
	Choices []string
}

// traffic is what a flag served lately.
type traffic struct {
	Total    uint64
	Window   time.Duration
	Outcomes []share
}

type share struct {
	Name  string
	Count uint64
}

// Part is the share's part of all, in percent.
func (t *traffic) Part(s share) float64 { return 100 * float64(s.Count) / float64(max(1, t.Total)) }

// done is what has been done.
type done struct {
	Title string
	// Change can be undone; "": nothing was changed.
	Change   string
	Revision int64
	// Note is said with it: warnings for example.
	Note string
}

// askPage shows what an act would do.
func askPage(ctx context.Context, q *request) {
	verb := q.r.PathValue("verb")
	if verb == "done" {
		donePage(ctx, q)
		return
	}
	a, ok := acts[verb]
	if !ok {
		q.c.notFound(q.w, q.r)
		return
	}
	q.ask(ctx, verb, a, q.r.URL.Query(), nil)
}

// ask shows the question of an act, with what went wrong if it was tried.
func (q *request) ask(ctx context.Context, verb string, a act, form url.Values, failure error) {
	var t trouble
	if failure != nil {
		t = explain(failure)
		if len(t.Conflicts) == 1 {
			// What somebody else has made of it is shown; sent again, it is meant.
			form.Set("base", strconv.FormatInt(t.Conflicts[0].GetCurrentRevision(), 10))
		}
	}
	question, err := a.ask(ctx, q, form)
	if err != nil {
		q.fail(err)
		return
	}
	code := http.StatusOK
	if failure != nil {
		question.completeConflicts(t.Conflicts)
		question.Blocked, code = &t, status(failure)
	}
	question.verb, question.ns, question.back = verb, q.ns, ownPath(form.Get("back"))
	if question.back == "/" {
		question.back = nsURL(q.ns, "")
	}
	question.Reason = form.Get("reason")
	if question.Duration {
		question.For = form.Get("for")
	}
	if question.pass, err = q.c.newPass(ctx, q.session); err != nil {
		q.fail(err)
		return
	}
	if q.partial {
		q.write(ctx, code, questionDialog(question))
		return
	}
	q.render(ctx, code, frame{Title: question.Title}, questionPage(question))
}

// completeConflicts fills in what the definition would be, where the act has not
// sent one whole.
func (s *question) completeConflicts(conflicts []*plimsollv1.Conflict) {
	for _, c := range conflicts {
		if c.GetRefusedDefinition() != "" || s.Sets[0] == "" {
			continue
		}
		if definition, err := rules.ReadObject(c.GetCurrentDefinition()); err == nil {
			definition.Set(s.Sets[0], s.Sets[1])
			c.RefusedDefinition = definition.Compact()
		}
	}
}

// actPage does what was asked.
func actPage(ctx context.Context, q *request) {
	verb := q.r.PathValue("verb")
	a, ok := acts[verb]
	if !ok {
		q.c.notFound(q.w, q.r)
		return
	}
	p, err := q.begin(ctx)
	if err != nil {
		q.refuse(ctx, err)
		return
	}
	result, err := a.do(ctx, q, q.r.PostForm, p)
	if err != nil {
		q.c.used.forget(p.Change)
		q.ask(ctx, verb, a, q.r.PostForm, err)
		return
	}
	q.finish(ctx, result)
}

// sentScan is how many of the newest records are searched for a form that was
// sent before: the log may be long.
const sentScan = 20_000

// begin reads a form that changes something, and takes its pass.
func (q *request) begin(ctx context.Context) (pass, error) {
	if err := q.r.ParseForm(); err != nil {
		return pass{}, errTooLarge
	}
	p, err := q.c.admit(q.r, true)
	if err != nil {
		return pass{}, err
	}
	// The form may have been sent to another server, or before this one started.
	sent, err := call(ctx, q.c, q.c.Audit.ListRecords, &plimsollv1.ListRecordsRequest{Namespace: q.ns, ChangeId: p.Change, Limit: 1, ScanLimit: sentScan})
	if err == nil && len(sent.GetRecords()) > 0 {
		return pass{}, errUsed
	}
	if err != nil {
		q.c.used.forget(p.Change)
	}
	return p, err
}

// refuse answers a form that is not accepted.
func (q *request) refuse(ctx context.Context, err error) {
	t, code := trouble{Message: sentence(err.Error())}, http.StatusForbidden
	switch err {
	case errUsed: //nolint:errorlint // it is never wrapped
		code = http.StatusConflict
	case errTooLarge:
		code = http.StatusRequestEntityTooLarge
	case errForged, errExpired:
	default:
		t, code = explain(err), status(err)
	}
	if q.partial {
		q.write(ctx, code, troubleDialog("Nothing was changed", t))
		return
	}
	q.render(ctx, code, frame{Title: "Nothing was changed"}, troublePage("Nothing was changed", t))
}

// finish shows what was done: a toast, or a page of its own.
func (q *request) finish(ctx context.Context, d *done) {
	if d.Revision > 0 {
		q.view = q.room.reach(ctx, d.Revision)
	}
	if q.partial {
		q.w.Header().Set(headerToast, "1")
		q.write(ctx, http.StatusOK, toast(q.receipt(ctx, d)))
		return
	}
	seal, err := q.c.seal(ctx, q.session, d.Title, d.Note, d.Change)
	if err != nil {
		q.fail(err)
		return
	}
	http.Redirect(q.w, q.r, nsURL(q.ns, "act/done", "change", d.Change, "title", d.Title, "note", d.Note, "seal", seal,
		"revision", strconv.FormatInt(d.Revision, 10), "back", ownPath(q.r.PostFormValue("back"))), http.StatusSeeOther)
}

// receipt is what a toast shows.
type receipt struct {
	done
	ns, back string
	pass     pass
	view     *View
}

func (q *request) receipt(ctx context.Context, d *done) receipt {
	out := receipt{done: *d, ns: q.ns, view: q.view, back: ownPath(q.r.FormValue("back"))}
	if d.Change != "" {
		var err error
		if out.pass, err = q.c.newPass(ctx, q.session); err != nil {
			out.Change = "" // no undo from here; the audit log has it
		}
	}
	return out
}

func donePage(ctx context.Context, q *request) {
	query := q.r.URL.Query()
	revision, _ := strconv.ParseInt(query.Get("revision"), 10, 64)
	d := &done{Title: clip(query.Get("title"), 300), Change: query.Get("change"), Note: clip(query.Get("note"), 1000), Revision: revision}
	// Nobody else makes this page say something.
	if !q.c.sealed(ctx, q.session, query.Get("seal"), query.Get("title"), query.Get("note"), d.Change) {
		q.c.notFound(q.w, q.r)
		return
	}
	q.render(ctx, http.StatusOK, frame{Title: "Done"}, doneContent(q.receipt(ctx, d)))
}

// changeInfo is the id and the reason of the change that a form makes.
func changeInfo(form url.Values, p pass) *plimsollv1.ChangeInfo {
	return &plimsollv1.ChangeInfo{ChangeId: p.Change, Reason: strings.TrimSpace(form.Get("reason"))}
}

// doneBy is what a change has done.
func doneBy(title string, change *plimsollv1.ChangeResult) *done {
	if !change.GetChanged() {
		return &done{Title: "Nothing to do: all stood as asked for already", Revision: change.GetPosition().GetRevision()}
	}
	return &done{Title: title, Change: change.GetChangeId(), Revision: change.GetPosition().GetRevision()}
}

// durations are what a form offers.
var durations = [][2]string{{"", "until it is undone"}, {"5m", "5 minutes"}, {"30m", "30 minutes"}, {"1h", "1 hour"}, {"4h", "4 hours"}, {"24h", "1 day"}}

// lasting reads how long something is to last.
func lasting(form url.Values) (*durationpb.Duration, error) {
	text := form.Get("for")
	if text == "" {
		return nil, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return nil, invalid("how long: %q is no time such as 30m or 1h30m", clip(text, 40))
	}
	return durationpb.New(d), nil
}

// percentOf reads a share in percent, as millionths.
func percentOf(form url.Values) (uint32, error) {
	if !form.Has("percent") {
		return 1_000_000, nil // the question before anybody has answered it
	}
	text := strings.TrimSpace(form.Get("percent"))
	p, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(p) || p < 0 || p > 100 {
		return 0, invalid("%q is no share from 0 to 100 percent", clip(text, 40))
	}
	return uint32(math.Round(p * 10_000)), nil
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
