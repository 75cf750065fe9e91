package ui

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func rowOf(key, definition string) *Row {
	return newRow(&plimsollv1.Flag{Key: key, Definition: definition})
}

func TestWhatCanBeToggled(t *testing.T) {
	for _, c := range []struct {
		definition string
		toggles    bool
		on         bool
	}{
		{onOff, true, false},
		{`{"state":"ENABLED","variants":{"yes":true,"no":false},"defaultVariant":"yes"}`, true, true},
		{`{"state":"ENABLED","variants":{"yes":true,"no":false},"defaultVariant":"yes","targeting":{}}`, true, true},
		{`{"state":"ENABLED","variants":{"yes":true,"no":false},"defaultVariant":"yes","targeting":{"if":[true,"yes"]}}`, false, false},
		{`{"state":"ENABLED","variants":{"yes":true,"no":false},"defaultVariant":null}`, false, false},
		{`{"state":"ENABLED","variants":{"yes":true},"defaultVariant":"yes"}`, false, false},
		{`{"state":"ENABLED","variants":{"a":"true","b":"false"},"defaultVariant":"a"}`, false, false},
		{`no JSON at all`, false, false},
	} {
		r := rowOf("k", c.definition)
		if r.Toggles() != c.toggles || (c.toggles && r.IsOn() != c.on) {
			t.Errorf("%s: toggles %v, on %v", c.definition, r.Toggles(), r.IsOn())
		}
	}
}

func TestTheListIsFilteredSortedAndPaged(t *testing.T) {
	v := &View{Namespace: "default", Level: &plimsollv1.GetDegradationResponse{Tiers: []*plimsollv1.TierState{
		{Name: "critical"}, {Name: "optional", Rank: 1, ShedMillionths: 500_000},
	}}}
	add := func(key, more string) {
		v.Rows = append(v.Rows, rowOf(key, `{"variants":{"on":true,"off":false},"defaultVariant":"off"`+more+`}`))
	}
	add("alpha", `,"state":"DISABLED","plimsoll":{"owner":"web","description":"The First"}`)
	add("beta", `,"degradation":{"tier":"optional"},"plimsoll":{"owner":"shop","labels":{"kind":"release"}}`)
	add("delta", `,"degradation":{"tier":"critical"},"targeting":{"var":"x"},"plimsoll":{"expires":"2025-01-01"}`)
	v.Rows = append(v.Rows, rowOf("zeta", "broken"))
	v.Rows[2].Override = &plimsollv1.Override{Variant: "off"}
	v.Usage = map[string]*plimsollv1.FlagUsage{"beta": {Outcomes: []*plimsollv1.OutcomeCount{{Count: 5}}}}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		f    filter
		want string
	}{
		{filter{}, "alpha beta delta zeta"},
		{filter{Query: "FIRST the"}, "alpha"},
		{filter{Query: "nothing"}, ""},
		{filter{Tier: "optional"}, "beta"},
		{filter{Tier: "-"}, "alpha zeta"},
		{filter{Owner: "web"}, "alpha"},
		{filter{Label: "kind"}, "beta"},
		{filter{Label: "kind=release"}, "beta"},
		{filter{Label: "kin"}, ""},
		{filter{State: "disabled"}, "alpha"},
		{filter{State: "killed"}, "delta"},
		{filter{State: "shed"}, "beta"},
		{filter{State: "rules"}, "delta"},
		{filter{State: "expired"}, "delta"},
		{filter{State: "problem"}, "zeta"},
		{filter{Sort: "tier"}, "delta beta alpha zeta"},
		{filter{Sort: "owner"}, "beta alpha delta zeta"},
		{filter{Sort: "traffic"}, "beta alpha delta zeta"},
	} {
		var got []string
		for _, r := range v.list(c.f, now).rows {
			got = append(got, r.Key)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: %v, want %s", c.f, got, c.want)
		}
	}
	for i := range 250 {
		v.Rows = append(v.Rows, rowOf(fmt.Sprintf("zz-%03d", i), onOff))
	}
	l := v.list(filter{Page: 99}, now)
	if l.pages != 3 || l.filter.Page != 3 || len(l.rows) != 54 || l.found != 254 {
		t.Errorf("page %d of %d with %d rows of %d", l.filter.Page, l.pages, len(l.rows), l.found)
	}
}

func TestWhatRecordsTouch(t *testing.T) {
	rec := func(seq uint64, objects ...string) *plimsollv1.AuditRecord {
		out := &plimsollv1.AuditRecord{Seq: seq}
		for _, o := range objects {
			out.Objects = append(out.Objects, &plimsollv1.AuditObject{Object: o})
		}
		return out
	}
	keys, all := touched([]*plimsollv1.AuditRecord{rec(9, "flags/b", "holds/x"), rec(8, "overrides/a/b"), rec(7, "flags/b")}, 6)
	if all || !slices.Equal(keys, []string{"a/b", "b"}) {
		t.Errorf("%v %v", keys, all)
	}
	if _, all := touched([]*plimsollv1.AuditRecord{rec(9, "flags/b")}, 6); !all {
		t.Error("a missing record goes unnoticed")
	}
	if _, all := touched([]*plimsollv1.AuditRecord{rec(7, "plan")}, 6); !all {
		t.Error("a new plan does not touch all flags")
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		number(1234567): "1\u202f234\u202f567", number(999): "999", shedText(400_000): "40\u202f%", shedText(1_234): "0.1\u202f%",
		count(1, "flag", "flags"): "1 flag", count(0, "flag", "flags"): "0 flags", percentText(0.2): "<\u202f1\u202f%", percentText(42.4): "42\u202f%",
		clip("žluťoučký", 4): "žlu…", clip("abc", 3): "abc", clip("a\xffb", 9): "a�b",
		windowText(90 * time.Second): "90 seconds", windowText(3 * time.Hour): "3 hours",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
