package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

// planOf has tiers, and dependencies as name:on,on.
func planOf(tiers string, dependencies ...string) *plimsollv1.Plan {
	p := new(plimsollv1.Plan)
	for name := range strings.FieldsSeq(tiers) {
		p.Tiers = append(p.Tiers, &plimsollv1.Tier{Name: name})
	}
	for _, d := range dependencies {
		name, on, _ := strings.Cut(d, ":")
		one := &plimsollv1.Dependency{Name: name}
		if on != "" {
			one.DependsOn = strings.Split(on, ",")
		}
		p.Dependencies = append(p.Dependencies, one)
	}
	return p
}

const defaultTiers = "critical important standard optional"

func TestSetPlan(t *testing.T) {
	s := newStore(t)
	shop(t, s)
	ctx := t.Context()
	written := planOf(defaultTiers, "web:db,cache,db", "db", "cache:db")
	dry, err := s.SetPlan(ctx, "default", written, 0, true, by("ann"))
	if err != nil || dry.Changed {
		t.Fatal(dry.Changed, err)
	}
	e, err := s.SetPlan(ctx, "default", written, 0, false, by("ann"))
	if err != nil || !e.Changed {
		t.Fatal(e.Changed, err)
	}
	want := planOf(defaultTiers, "cache:db", "db", "web:cache,db")
	plan, info := snapshot(t, s).Plan()
	if !proto.Equal(plan, want) {
		t.Errorf("stored is %v, want %v", plan, want)
	}
	if info.GetRevision() != e.Position.GetRevision() || info.GetUpdatedBy().GetName() != "ann" || info.GetChangeId() != e.ChangeID || info.GetUpdatedAt() == nil {
		t.Errorf("info %v", info)
	}
	if again, err := s.SetPlan(ctx, "default", want, info.GetRevision(), false, by("bob")); err != nil || again.Changed {
		t.Errorf("the same again: %v, %v", again.Changed, err)
	}
	recs, _, err := s.Records(ctx, "default", store.RecordQuery{Object: "plan", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	store.DescribeRecord(recs[0])
	if text := recs[0].GetObjects()[0].GetAfterJson(); !strings.Contains(text, `{"name":"web","dependsOn":["cache","db"]}`) || recs[0].GetVerb() != "plan.set" {
		t.Errorf("%s is recorded as %s", recs[0].GetVerb(), text)
	}
	// A flag that names what nobody has is told, not refused.
	mustCreate(t, s, "lost", dimmable("optional", "")[:len(dimmable("optional", ""))-2]+`,"dependsOn":["webb"]}}`)
	if findings := snapshot(t, s).PlanFindings(); !strings.Contains(findings.Error(), "webb") || findings.Err() != nil {
		t.Errorf("findings: %v", findings)
	}
	replay(t, s, "default")
}

func TestRefusedPlans(t *testing.T) {
	s := newStore(t)
	shop(t, s)
	ctx := t.Context()
	for i := range 6 {
		mustCreate(t, s, fmt.Sprintf("imp-%d", i), dimmable("important", ""))
	}
	base, err := s.SetPlan(ctx, "default", planOf(defaultTiers, "db"), 0, false, by("ann"))
	if err != nil {
		t.Fatal(err)
	}
	_, first := base.Before.Plan()
	large := planOf(defaultTiers)
	for i := range 1000 {
		large.Dependencies = append(large.Dependencies, &plimsollv1.Dependency{Name: fmt.Sprintf("d%d", i), Description: strings.Repeat("x", 300)})
	}
	for _, tc := range []struct {
		name  string
		plan  *plimsollv1.Plan
		base  int64
		level bool
		as    any
		want  []string
	}{
		{name: "all that is wrong in itself", plan: planOf("one", "db:cahce", "cache", "a:b", "b:a"), as: new(*store.InvalidError),
			want: []string{"$.tiers", `$.dependencies["db"].dependsOn[0]`, `"cache"`, "a → b → a"}},
		{name: "too large", plan: large, as: new(*store.LimitError), want: []string{"262144"}},
		{name: "based on another", plan: planOf(defaultTiers), base: first.GetRevision(), as: new(*store.ConflictError), want: []string{"plan was changed by ann"}},
		{name: "tiers that flags name", plan: planOf("critical standard least"), as: new(*store.RefusedError),
			want: []string{`tier "important" cannot go: it is named by flags "imp-0", "imp-1", "imp-2", "imp-3", "imp-4" and 1 more`, `tier "optional" cannot go: it is named by flag "recs"`}},
		{name: "another order under a level", level: true, plan: planOf("critical standard important optional", "db"), as: new(*store.RefusedError), want: []string{"while the level is 0.5: bring it to 0 first"}},
		{name: "a further tier under a level", level: true, plan: planOf(defaultTiers + " least"), as: new(*store.RefusedError), want: []string{"while the level is 0.5"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.level {
				if _, err := s.SetLevel(ctx, "default", level("0.5"), nil, false, by("ann")); err != nil {
					t.Fatal(err)
				}
				defer func() {
					if _, err := s.SetLevel(ctx, "default", nil, nil, false, by("ann")); err != nil {
						t.Error(err)
					}
				}()
			}
			for _, dry := range []bool{true, false} {
				_, err := s.SetPlan(ctx, "default", tc.plan, tc.base, dry, by("bob"))
				if err == nil || !errors.As(err, tc.as) {
					t.Fatalf("error %v", err)
				}
				for _, want := range tc.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("error %v\nwant one with %q", err, want)
					}
				}
			}
		})
	}
	// Under a level, what is no tier may change; at 0, tiers may too.
	if _, err := s.SetLevel(ctx, "default", level("1"), lasts(time.Hour), false, by("ann")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetPlan(ctx, "default", planOf(defaultTiers, "db", "cache"), 0, false, by("ann")); err != nil {
		t.Error(err)
	}
	if _, err := s.SetLevel(ctx, "default", level("0"), nil, false, by("ann")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetPlan(ctx, "default", planOf("critical standard important optional least"), 0, false, by("ann")); err != nil {
		t.Error(err)
	}
	if _, err := s.SetLevel(ctx, "default", level("4"), nil, false, by("ann")); err != nil {
		t.Errorf("the deepest level of five tiers: %v", err)
	}
}
