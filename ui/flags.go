package ui

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// flagsPerPage is how many flags a page of the list holds.
const flagsPerPage = 100

// filter is what the list of flags is asked for.
type filter struct {
	Query, Tier, Owner, Label, State, Sort string
	Page                                   int
}

// states that the list can be filtered by, and sorts of the list, with what
// they are called.
var (
	flagStates = [][2]string{{"", "any state"}, {"enabled", "enabled"}, {"disabled", "disabled"}, {"killed", "killed"}, {"shed", "being shed"}, {"rules", "with rules"}, {"expired", "past its date"}, {"problem", "with a problem"}}
	flagSorts  = [][2]string{{"", "by key"}, {"updated", "newest change first"}, {"tier", "by tier"}, {"owner", "by owner"}, {"traffic", "most evaluated first"}}
)

func filterOf(v url.Values) filter {
	page, err := strconv.Atoi(v.Get("page"))
	if err != nil || page < 1 {
		page = 1
	}
	return filter{
		Query: clip(strings.TrimSpace(v.Get("q")), 200), Tier: v.Get("tier"), Owner: v.Get("owner"), Label: strings.TrimSpace(v.Get("label")),
		State: v.Get("state"), Sort: v.Get("sort"), Page: page,
	}
}

// url is the address of the list with this filter, at another page.
func (f filter) url(ns string, page int) string {
	text := ""
	if page > 1 {
		text = strconv.Itoa(page)
	}
	return nsURL(ns, "flags", "q", f.Query, "tier", f.Tier, "owner", f.Owner, "label", f.Label, "state", f.State, "sort", f.Sort, "page", text)
}

// some tells whether anything is filtered out.
func (f filter) some() bool {
	return f.Query != "" || f.Tier != "" || f.Owner != "" || f.Label != "" || f.State != ""
}

// takes tells whether a flag is in the list.
func (f filter) takes(v *View, r *Row, query, today string) bool {
	switch {
	case f.Tier == "-" && r.Degradable, f.Tier != "" && f.Tier != "-" && r.Tier != f.Tier, f.Owner != "" && r.Owner != f.Owner:
		return false
	case f.Label != "" && !slices.ContainsFunc(r.Labels, func(l string) bool { return l == f.Label || strings.HasPrefix(l, f.Label+"=") }):
		return false
	}
	for word := range strings.FieldsSeq(query) {
		if !strings.Contains(r.search, word) {
			return false
		}
	}
	switch f.State {
	case "enabled":
		return r.Enabled
	case "disabled":
		return !r.Enabled
	case "killed":
		return r.Override != nil
	case "shed":
		return r.Degradable && r.Enabled && v.Shed(r.Tier) > 0
	case "rules":
		return r.Targeted
	case "expired":
		return r.Expires != "" && r.Expires < today
	case "problem":
		return r.Problem != ""
	}
	return true
}

// list is a page of the list of flags.
type list struct {
	filter filter
	rows   []*Row
	found  int
	pages  int
	owners []string
}

func (v *View) list(f filter, now time.Time) list {
	query, today := strings.ToLower(f.Query), now.UTC().Format(time.DateOnly)
	out := list{filter: f}
	owners := make(map[string]bool)
	for _, r := range v.Rows {
		if r.Owner != "" && !owners[r.Owner] {
			owners[r.Owner] = true
			out.owners = append(out.owners, r.Owner)
		}
		if f.takes(v, r, query, today) {
			out.rows = append(out.rows, r)
		}
	}
	slices.Sort(out.owners)
	v.sort(out.rows, f.Sort)
	out.found = len(out.rows)
	out.pages = max(1, (out.found+flagsPerPage-1)/flagsPerPage)
	out.filter.Page = max(1, min(f.Page, out.pages))
	from := (out.filter.Page - 1) * flagsPerPage
	out.rows = out.rows[from:min(from+flagsPerPage, out.found)]
	return out
}

// sort orders rows, which are in the order of their keys.
func (v *View) sort(rows []*Row, by string) {
	ranks := make(map[string]int)
	for _, t := range v.Level.GetTiers() {
		ranks[t.GetName()] = int(t.GetRank()) + 1
	}
	rank := func(r *Row) int {
		if n := ranks[r.Tier]; n > 0 {
			return n
		}
		return len(ranks) + 1
	}
	switch by {
	case "updated":
		slices.SortStableFunc(rows, func(a, b *Row) int { return b.Updated.Compare(a.Updated) })
	case "tier":
		slices.SortStableFunc(rows, func(a, b *Row) int { return cmp.Compare(rank(a), rank(b)) })
	case "owner":
		slices.SortStableFunc(rows, func(a, b *Row) int {
			if (a.Owner == "") != (b.Owner == "") {
				return strings.Compare(b.Owner, a.Owner) // those without one come last
			}
			return strings.Compare(a.Owner, b.Owner)
		})
	case "traffic":
		slices.SortStableFunc(rows, func(a, b *Row) int { return cmp.Compare(v.evaluations(b.Key), v.evaluations(a.Key)) })
	}
}

func flagsPage(ctx context.Context, q *request) {
	q.expect("flags")
	if q.view.Usage == nil {
		// Nobody has looked at this namespace yet, so its room has not asked.
		view := *q.view
		if q.c.loadUsage(ctx, &view) == nil {
			q.view = &view
		}
	}
	f := filterOf(q.r.URL.Query())
	q.render(ctx, http.StatusOK, frame{Title: "Flags", Nav: "flags", Topic: "flags"}, flagList(q.view, q.view.list(f, q.c.Now())))
}

// renderFlags emits the rows that have changed. A row that is new has no place
// in a page that is filtered and sorted, so the page is loaded anew.
func renderFlags(_ *Console, prev, next *View, _ string, emit emit) {
	if prev == nil {
		return
	}
	old, now := prev.Rows, next.Rows
	for len(old) > 0 || len(now) > 0 {
		switch {
		case len(old) == 0 || (len(now) > 0 && now[0].Key < old[0].Key):
			emit("*", nil)
			now = now[1:]
		case len(now) == 0 || old[0].Key < now[0].Key:
			emit("row-"+old[0].ID, nil)
			old = old[1:]
		default:
			if old[0] != now[0] {
				emit("row-"+now[0].ID, flagRow(next, now[0]))
			}
			old, now = old[1:], now[1:]
		}
	}
}
