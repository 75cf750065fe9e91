package ui

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/ui/internal/diff"
	"github.com/plimsoll-dev/plimsoll/ui/internal/rules"
)

const (
	// historyPage is how many changes of a flag are told at a time.
	historyPage = 15
	// historyScan is how many records of the log are searched for them.
	historyScan = 5000
	// diffContext is how many lines are kept around those that changed.
	diffContext = 2
)

// history are changes of a flag and its override, newest first.
type history struct {
	Entries []entry
	// Next is the sequence before which the next page begins; 0: there is none.
	Next uint64
	// Before is the sequence before which this page begins; 0: it is the newest.
	Before uint64
}

// entry is one change.
type entry struct {
	Record *plimsollv1.AuditRecord
	// Diff are both versions of the definition next to each other; TooLarge: they
	// could not be compared. Neither: the definition did not change.
	Diff     []diff.Row
	TooLarge bool
	// Whole is the definition, of a change that made the flag or deleted it.
	Whole   string
	Deleted bool
	// Back: the flag can be brought back to how this change left it.
	Back bool
	// Override is what it did to the override; "": nothing.
	Override string
}

// historyOf reads a page of a flag's history.
func historyOf(ctx context.Context, q *request, key string) (history, error) {
	before, err := strconv.ParseUint(q.r.URL.Query().Get("before"), 10, 64)
	if err != nil {
		before = 0
	}
	out := history{Before: before}
	var records []*plimsollv1.AuditRecord
	for _, object := range []string{"flags/" + key, "overrides/" + key} {
		page, err := call(ctx, q.c, q.c.Audit.ListRecords, &plimsollv1.ListRecordsRequest{Namespace: q.ns, Object: object, BeforeSeq: before, Limit: historyPage, ScanLimit: historyScan})
		if err != nil {
			return history{}, err
		}
		records = append(records, page.GetRecords()...)
		// Further back than this, one of the two kinds has not been looked at.
		out.Next = max(out.Next, page.GetNextBeforeSeq())
	}
	records = slices.DeleteFunc(records, func(r *plimsollv1.AuditRecord) bool { return r.GetSeq() < out.Next })
	slices.SortFunc(records, func(a, b *plimsollv1.AuditRecord) int { return cmp.Compare(b.GetSeq(), a.GetSeq()) })
	records = slices.CompactFunc(records, func(a, b *plimsollv1.AuditRecord) bool { return a.GetSeq() == b.GetSeq() })
	if len(records) > historyPage {
		records = records[:historyPage]
		out.Next = records[historyPage-1].GetSeq()
	}
	newest := before == 0
	for _, rec := range records {
		e := entryOf(rec, key)
		if newest && (e.Back || e.Deleted) {
			e.Back, newest = false, false // the flag is as this one left it
		}
		out.Entries = append(out.Entries, e)
	}
	return out, nil
}

func entryOf(rec *plimsollv1.AuditRecord, key string) entry {
	e := entry{Record: rec}
	for _, o := range rec.GetObjects() {
		switch o.GetObject() {
		case "flags/" + key:
			e.Deleted = o.GetAfterJson() == ""
			e.Back = !e.Deleted
			if o.GetBeforeJson() == "" || o.GetAfterJson() == "" {
				e.Whole = rules.Pretty(o.GetBeforeJson() + o.GetAfterJson())
				continue
			}
			rows, err := compared(o.GetBeforeJson(), o.GetAfterJson())
			e.Diff, e.TooLarge = rows, err != nil
		case "overrides/" + key:
			e.Override = overrideChange(o)
		}
	}
	return e
}

// overrideChange is what a change did to an override.
func overrideChange(o *plimsollv1.AuditObject) string {
	variant := func(text string) string {
		ov, err := rules.ReadObject(text)
		if err != nil {
			return ""
		}
		return strings.Trim(ov.Get("variant"), `"`)
	}
	switch {
	case o.GetAfterJson() == "":
		return "ended the override to " + variant(o.GetBeforeJson())
	default:
		return "override to " + variant(o.GetAfterJson())
	}
}

// compared are two definitions next to each other.
func compared(before, after string) ([]diff.Row, error) {
	if before != "" {
		before = rules.Pretty(before)
	}
	if after != "" {
		after = rules.Pretty(after)
	}
	return diff.SideBySide(before, after, diffContext)
}

// versionOf is a flag's definition as a change left it.
func versionOf(ctx context.Context, q *request, key string, form url.Values) (string, *plimsollv1.AuditRecord, error) {
	seq, err := strconv.ParseUint(form.Get("seq"), 10, 64)
	if err != nil || seq == 0 {
		return "", nil, invalid("%q is no number of a change", clip(form.Get("seq"), 40))
	}
	page, err := call(ctx, q.c, q.c.Audit.ListRecords, &plimsollv1.ListRecordsRequest{Namespace: q.ns, Object: "flags/" + key, BeforeSeq: seq + 1, Limit: 1})
	if err != nil {
		return "", nil, err
	}
	for _, rec := range page.GetRecords() {
		for _, o := range rec.GetObjects() {
			if rec.GetSeq() == seq && o.GetObject() == "flags/"+key && o.GetAfterJson() != "" {
				return o.GetAfterJson(), rec, nil
			}
		}
	}
	return "", nil, invalid("the change %d left no version of this flag, or it is older than the audit log reaches", seq)
}

// askRollback shows what bringing a flag back to an earlier version changes.
func askRollback(ctx context.Context, q *request, form url.Values) (*question, error) {
	key := form.Get("flag")
	text, rec, err := versionOf(ctx, q, key, form)
	if err != nil {
		return nil, err
	}
	out := &question{
		Title: "Roll back " + key, Button: "Roll back", Traffic: trafficOf(ctx, q, key),
		Says: []string{fmt.Sprintf("The definition becomes what %s left on %s. Overrides stay as they are.", actorText(rec.GetActor()), clockTime(rec.GetTime().AsTime()))},
	}
	base, current := "0", ""
	if row, ok := q.view.Row(key); ok {
		base, current = strconv.FormatInt(row.Revision, 10), row.Definition
	}
	if shown := form.Get("base"); shown != "" {
		base = shown
	}
	out.Hidden = [][2]string{{"flag", key}, {"seq", form.Get("seq")}, {"base", base}}
	rows, err := compared(current, text)
	switch {
	case err != nil:
		out.Warn = "The two versions are too large to be compared here."
	case len(rows) == 0:
		out.Warn = "The flag is as it was then: there is nothing to roll back."
	}
	out.Compare = rows
	return out, nil
}

func doRollback(ctx context.Context, q *request, form url.Values, p pass) (*done, error) {
	key := form.Get("flag")
	text, _, err := versionOf(ctx, q, key, form)
	if err != nil {
		return nil, err
	}
	change, warnings, err := q.store(ctx, key, text, baseOf(form), form.Get("base") == "0", form.Get("force") != "", changeInfo(form, p))
	if err != nil {
		return nil, err
	}
	out := doneBy(key+" is rolled back", change)
	out.Note = faultsText(warnings)
	return out, nil
}

// store writes a definition, of a new flag if it is one.
func (q *request) store(ctx context.Context, key, text string, base int64, fresh, force bool, info *plimsollv1.ChangeInfo) (*plimsollv1.ChangeResult, []*plimsollv1.Fault, error) {
	if fresh {
		resp, err := call(ctx, q.c, q.c.Flags.CreateFlag, &plimsollv1.CreateFlagRequest{Namespace: q.ns, Key: key, Definition: text, Change: info})
		return resp.GetChange(), resp.GetWarnings(), err
	}
	resp, err := call(ctx, q.c, q.c.Flags.UpdateFlag, &plimsollv1.UpdateFlagRequest{
		Namespace: q.ns, Key: key, BaseRevision: base, Force: force, Change: info,
		Update: &plimsollv1.UpdateFlagRequest_Definition{Definition: text},
	})
	return resp.GetChange(), resp.GetWarnings(), err
}

// faultsText is warnings in a line.
func faultsText(faults []*plimsollv1.Fault) string {
	var out []string
	for _, f := range faults {
		out = append(out, f.GetMessage())
	}
	return strings.Join(out, "; ")
}
