package ui

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/ui/internal/rules"
)

// flagDoc is a flag's definition taken apart for its page.
type flagDoc struct {
	Variants []variantRow
	// Rules are the targeting, if it is of the common shapes; Raw is its JSON
	// otherwise, and RawWhy what is uncommon.
	Rules       rules.Model
	Raw, RawWhy string
	// Guard is the guard that degrades the flag; "": none.
	Guard string
}

type variantRow struct{ Name, Value string }

// docOf takes a definition apart. What it cannot read it leaves out: the page
// then shows the JSON.
func docOf(definition string) flagDoc {
	var d flagDoc
	o, err := rules.ReadObject(definition)
	if err != nil {
		d.Raw, d.RawWhy = definition, err.Error()
		return d
	}
	if variants, err := rules.ReadObject(o.Get("variants")); err == nil {
		for _, name := range variants.Names() {
			d.Variants = append(d.Variants, variantRow{name, variants.Get(name)})
		}
	}
	var deg struct {
		Guard string `json:"guard"`
	}
	if json.Unmarshal([]byte(o.Get("degradation")), &deg) == nil {
		d.Guard = deg.Guard
	}
	if d.Rules, err = rules.Parse(o.Get("targeting")); err != nil {
		d.Raw, d.RawWhy = pretty(o.Get("targeting")), err.Error()
	}
	return d
}

// flagPageData is all that the page of a flag shows.
type flagPageData struct {
	view    *View
	row     *Row
	doc     flagDoc
	history history
	play    playground
	// Done is a change that was just made from here.
	done *receipt
}

func flagPage(ctx context.Context, q *request) {
	key := q.r.URL.Query().Get("key")
	q.expect("flag:" + key)
	row, ok := q.view.Row(key)
	past, err := historyOf(ctx, q, key)
	if err != nil {
		q.fail(err)
		return
	}
	if !ok {
		q.render(ctx, http.StatusNotFound, frame{Title: clip(key, 60), Nav: "flags", Topic: "flag:" + key}, flagGonePage(q.view, key, past))
		return
	}
	q.withUsage(ctx)
	p := flagPageData{view: q.view, row: row, doc: docOf(row.Definition), history: past}
	p.play = newPlayground(q.ns, row, p.doc.Rules)
	if change := q.r.URL.Query().Get("done"); change != "" {
		p.done = q.receiptOf(ctx, change)
	}
	q.render(ctx, http.StatusOK, frame{Title: clip(key, 60), Nav: "flags", Topic: "flag:" + key}, flagContent(p))
}

// withUsage has the counts of evaluations in the view, if they can be had.
func (q *request) withUsage(ctx context.Context) {
	if q.view.Usage != nil {
		return
	}
	// Nobody has looked at this namespace yet, so its room has not asked.
	view := *q.view
	if q.c.loadUsage(ctx, &view) == nil {
		q.view = &view
	}
}

// receiptOf is the receipt of a change that was made a moment ago; nil: there is
// no such change.
func (q *request) receiptOf(ctx context.Context, change string) *receipt {
	sent, err := call(ctx, q.c, q.c.Audit.ListRecords, &plimsollv1.ListRecordsRequest{Namespace: q.ns, ChangeId: change, Limit: 1, ScanLimit: sentScan})
	if err != nil || len(sent.GetRecords()) == 0 || q.c.Now().Sub(sent.GetRecords()[0].GetTime().AsTime()) > time.Minute {
		return nil
	}
	rec := sent.GetRecords()[0]
	r := q.receipt(ctx, &done{
		Title: sentence(verbText(rec.GetVerb())) + ": " + objectsText(rec), Change: change,
		Revision: rec.GetRevision(), Note: clip(q.r.URL.Query().Get("note"), 1000),
	})
	r.back = nsURL(q.ns, "flag", "key", q.r.URL.Query().Get("key"))
	return &r
}

// renderFlag emits what the page of a flag shows live.
func renderFlag(_ *Console, prev, next *View, key string, emit emit) {
	row, ok := next.Row(key)
	if prev != nil {
		if _, had := prev.Row(key); had != ok || touchedSince(prev, next, key) {
			emit("*", nil) // the history has grown, and it is not part of the view
		}
	}
	if !ok {
		return
	}
	doc := docOf(row.Definition)
	emit("flag-head", flagHead(next, row))
	emit("flag-variants", flagVariants(next, row, doc))
	emit("flag-rules", flagRules(next, row, doc))
	emit("flag-degradation", flagDegradation(next, row, doc))
	emit("flag-usage", flagUsage(next, row))
}

// touchedSince tells whether a flag, or its override, has changed between views.
func touchedSince(prev, next *View, key string) bool {
	for _, rec := range next.Records {
		if rec.GetSeq() <= prev.lastSeq {
			return false
		}
		if slices.ContainsFunc(rec.GetObjects(), func(o *plimsollv1.AuditObject) bool {
			return o.GetObject() == "flags/"+key || o.GetObject() == "overrides/"+key
		}) {
			return true
		}
	}
	return false
}

// renderEdit emits what an editor shows live: that somebody else has changed the
// flag. What is typed stays.
func renderEdit(_ *Console, prev, next *View, key string, emit emit) {
	if prev == nil {
		return
	}
	before, had := prev.Row(key)
	now, has := next.Row(key)
	switch {
	case had && !has:
		emit("flag-news", flagNews(next, key, nil, newsOf(next, key)))
	case has && (!had || before.Revision != now.Revision):
		emit("flag-news", flagNews(next, key, now, newsOf(next, key)))
	}
}

// newsOf is the newest record that touched a flag; nil: it is not among the
// newest ones.
func newsOf(v *View, key string) *plimsollv1.AuditRecord {
	for _, rec := range v.Records {
		for _, o := range rec.GetObjects() {
			if o.GetObject() == "flags/"+key {
				return rec
			}
		}
	}
	return nil
}

// usageOf is what a flag served, from a view.
func usageOf(v *View, key string) *traffic {
	u, ok := v.Usage[key]
	if !ok {
		return &traffic{Window: v.UsageWindow}
	}
	return trafficFrom(v.UsageWindow, []*plimsollv1.FlagUsage{u})
}

// stateText says what is served as things are.
func stateText(v *View, r *Row) string {
	text := "everybody gets the default variant."
	if r.Targeted {
		text = "the first rule that holds decides, else the default variant."
	}
	shed := shedNow(v, r)
	switch {
	case r.Override != nil && r.Enabled:
		return "Enabled, but an override comes first."
	case r.Override != nil:
		return "Disabled, but an override comes first. After that apps use their own default."
	case !r.Enabled:
		return "Disabled: apps use their own default, the one in their code."
	case shed >= 1_000_000:
		return "Enabled, but its tier is shed: everybody gets " + orDefault(degradedOf(r)) + "."
	case shed > 0:
		return "Enabled, but " + shedText(shed) + " of users are shed and get " + orDefault(degradedOf(r)) + ". For the others: " + text
	}
	return "Enabled: " + text
}

// servedAs tells what part a variant has in what is served, beside rules.
func servedAs(r *Row, name string) []string {
	var out []string
	if name == r.Default {
		out = append(out, "default")
	}
	if r.Degradable && name == degradedOf(r) {
		out = append(out, "degraded")
	}
	if r.Override != nil && r.Override.GetVariant() == name {
		out = append(out, "served to everybody")
	}
	return out
}

// degradedOf is the degraded variant: the one that is named, or the one whose
// value is false or empty.
func degradedOf(r *Row) string {
	if r.Degraded != "" {
		return r.Degraded
	}
	var d definition
	if json.Unmarshal([]byte(r.Definition), &d) != nil {
		return ""
	}
	for _, name := range r.Variants {
		switch strings.TrimSpace(string(d.Variants[name])) {
		case "false", `""`, "{}":
			return name
		}
	}
	return ""
}
