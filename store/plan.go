package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// maxPlan is the largest plan, in bytes of its encoding.
const maxPlan = 256 << 10

// SetPlan replaces the plan, if it is at the revision base; 0: whichever it has.
// Tiers stay as they are while the level is above 0, and as long as flags name
// them. In a dry run nothing is written.
func (s *Store) SetPlan(ctx context.Context, ns string, plan *plimsollv1.Plan, base int64, dry bool, c Change) (Effect, error) {
	c, err := c.normalize("plan.set")
	if err != nil {
		return Effect{}, err
	}
	wanted := ReadPlan(plan)
	if faults := planFaults(wanted.Check()); faults.Err() != nil {
		return Effect{}, &InvalidError{Faults: faults}
	}
	canonical := writePlan(wanted.Canonical())
	if size := proto.Size(canonical); size > maxPlan {
		return Effect{}, &LimitError{Message: fmt.Sprintf("the plan has %d bytes; the limit is %d", size, maxPlan)}
	}
	return s.act(ctx, ns, c, dry, func(snap *Snapshot, now time.Time) (*txn, error) {
		current, info := snap.Plan()
		if base != 0 && base != info.GetRevision() {
			return nil, &ConflictError{Conflicts: []*plimsollv1.Conflict{{
				Object: objPlan, BaseRevision: base, CurrentRevision: info.GetRevision(),
				Actor: info.GetUpdatedBy(), ChangeId: info.GetChangeId(), Time: info.GetUpdatedAt(),
			}}}
		}
		if proto.Equal(canonical, writePlan(ReadPlan(current).Canonical())) {
			return nil, nil
		}
		t := &txn{check: func(before, after *Snapshot) error { return checkTiers(before, after, now) }}
		return t, t.put(objPlan, &plimsollv1.StoredPlan{
			Tiers: canonical.GetTiers(), Dependencies: canonical.GetDependencies(),
			UpdatedAt: timestamppb.New(now), UpdatedBy: c.Actor, ChangeId: c.ID,
		})
	})
}

// checkTiers refuses other tiers while something is shed by the ones there are,
// and the end of one that flags name.
func checkTiers(before, after *Snapshot, now time.Time) error {
	if slices.Equal(before.Tiers(), after.Tiers()) {
		return nil
	}
	if level := before.Set(now).Level(); level > 0 {
		return refuseNowf("the tiers cannot be changed while the level is %s: bring it to 0 first, by restoring everything or setting it to 0", level)
	}
	users := make(map[string][]string)
	for key := range after.Flags("", "") {
		def, ok := after.set.Lookup(key)
		if !ok {
			continue
		}
		if d := def.Degradation(); d != nil && !slices.Contains(after.Tiers(), d.Tier) {
			users[d.Tier] = append(users[d.Tier], key)
		}
	}
	var gone []string
	for _, tier := range before.Tiers() {
		if by := users[tier]; len(by) > 0 {
			gone = append(gone, fmt.Sprintf("tier %q cannot go: it is named by %s", tier, namedBy(by)))
		}
	}
	if len(gone) > 0 {
		return refuseNowf("%s; give these flags another tier first", strings.Join(gone, "; "))
	}
	return nil
}

// namedBy lists a few flags by name.
func namedBy(keys []string) string {
	const most = 5
	text := "flag "
	if len(keys) > 1 {
		text = "flags "
	}
	for i, key := range keys[:min(most, len(keys))] {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%q", key)
	}
	if len(keys) > most {
		text += fmt.Sprintf(" and %d more", len(keys)-most)
	}
	return text
}

// Plan returns the plan, and when and by whom it was last written.
func (s *Snapshot) Plan() (*plimsollv1.Plan, *plimsollv1.PlanInfo) {
	v := new(plimsollv1.StoredPlan)
	s.read(objPlan, v)
	o, _ := s.Object(objPlan)
	return &plimsollv1.Plan{Tiers: v.GetTiers(), Dependencies: v.GetDependencies()},
		&plimsollv1.PlanInfo{Revision: o.ModRevision, UpdatedAt: v.GetUpdatedAt(), UpdatedBy: v.GetUpdatedBy(), ChangeId: v.GetChangeId()}
}

// Features are the flags with a degradation block, sorted by key.
func (s *Snapshot) Features() []degrade.Feature {
	var out []degrade.Feature
	for key := range s.Flags("", "") {
		if def, ok := s.set.Lookup(key); ok {
			if f, ok := def.Feature(); ok {
				out = append(out, f)
			}
		}
	}
	return out
}

// PlanFindings is what is questionable about a snapshot's plan together with its
// flags.
func (s *Snapshot) PlanFindings() flag.Faults {
	plan, _ := s.Plan()
	return planFaults(ReadPlan(plan).Lint(s.Features()))
}

func planFaults(findings []degrade.Finding) flag.Faults {
	var out flag.Faults
	for _, f := range findings {
		fault := flag.Fault{Path: f.Path, Message: f.Message, Hint: f.Hint}
		if f.Warning {
			fault.Severity = flag.Warning
		}
		out = append(out, fault)
	}
	return out
}

// ReadPlan is a plan of the API as package degrade takes it.
func ReadPlan(plan *plimsollv1.Plan) degrade.Plan {
	var out degrade.Plan
	for _, t := range plan.GetTiers() {
		out.Tiers = append(out.Tiers, t.GetName())
	}
	for _, d := range plan.GetDependencies() {
		out.Dependencies = append(out.Dependencies, degrade.Dependency{Name: d.GetName(), Description: d.GetDescription(), DependsOn: d.GetDependsOn()})
	}
	return out
}

func writePlan(plan degrade.Plan) *plimsollv1.Plan {
	out := new(plimsollv1.Plan)
	for _, name := range plan.Tiers {
		out.Tiers = append(out.Tiers, &plimsollv1.Tier{Name: name})
	}
	for _, d := range plan.Dependencies {
		out.Dependencies = append(out.Dependencies, &plimsollv1.Dependency{Name: d.Name, Description: d.Description, DependsOn: d.DependsOn})
	}
	return out
}
