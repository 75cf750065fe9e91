package api

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

const (
	// maxEffects is how many flags are told one by one.
	maxEffects = 1000
	// usageTimeout bounds how long an answer waits for counts: what was done
	// matters more than whom it hits.
	usageTimeout = 2 * time.Second
	// whole is all of a flag's traffic.
	whole = uint32(degrade.One)
)

// effects tells what a change does to the answers that apps get.
func (d *Degradation) effects(ctx context.Context, ns string, e store.Effect) *plimsollv1.Effects {
	before, after := look(e.Before, e.At), look(e.After, e.At)
	out := &plimsollv1.Effects{
		LevelBeforeMillionths: uint32(before.set.Level()), LevelAfterMillionths: uint32(after.set.Level()),
	}
	served := make(map[string][]*plimsollv1.OutcomeCount)
	usage := d.usage(ctx, ns)
	for _, f := range usage.GetFlags() {
		served[f.GetFlagKey()] = f.GetOutcomes()
		out.Evaluations += evaluations(f.GetOutcomes())
	}
	if out.GetEvaluations() > 0 {
		out.Window = usage.GetWindow()
	}
	ranks := make(map[string]int)
	for _, key := range affected(e, before, after) {
		was, is := before.of(key), after.of(key)
		if was.sameAs(is) {
			continue
		}
		one := &plimsollv1.FlagEffect{
			FlagKey: key, DegradedBeforeMillionths: was.degraded, DegradedAfterMillionths: is.degraded,
			Evaluations: evaluations(served[key]), Changed: changedAnswers(was, is, served[key]),
		}
		shown := is
		if is.def == nil {
			shown = was
		}
		one.Tier, ranks[key] = shown.tier, shown.rank
		switch {
		case is.degraded > 0:
			one.Variant = is.variant
		case was.degraded > 0:
			one.Variant = was.variant
		}
		out.Changed += one.GetChanged()
		out.Flags = append(out.Flags, one)
	}
	slices.SortFunc(out.GetFlags(), func(a, b *plimsollv1.FlagEffect) int {
		return cmp.Or(cmp.Compare(ranks[b.GetFlagKey()], ranks[a.GetFlagKey()]), strings.Compare(a.GetFlagKey(), b.GetFlagKey()))
	})
	out.FlagCount = uint32(len(out.GetFlags()))
	out.Flags = out.Flags[:min(len(out.Flags), maxEffects)]
	return out
}

// usage is what was reported, nil if that cannot be had.
func (d *Degradation) usage(ctx context.Context, ns string) *plimsollv1.GetUsageResponse {
	if d.Usage == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	usage, err := d.Usage(ctx, ns)
	if err != nil {
		return nil // the effects come without counts, which says it
	}
	return usage
}

func evaluations(outcomes []*plimsollv1.OutcomeCount) uint64 {
	var n uint64
	for _, o := range outcomes {
		n += o.GetCount()
	}
	return n
}

// affected are the keys of the flags whose answers may change.
func affected(e store.Effect, before, after sight) []string {
	keys := e.Flags()
	if before.set.Level() == after.set.Level() {
		return keys
	}
	for _, f := range e.After.Features() {
		keys = append(keys, f.Key)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// sight is a snapshot at an instant.
type sight struct {
	snap  *store.Snapshot
	set   *flag.Set
	tiers degrade.Tiers
	at    time.Time
}

func look(snap *store.Snapshot, at time.Time) sight {
	return sight{snap, snap.Set(at), snap.Tiers(), at}
}

// serving is what a flag serves, as far as its targeting does not matter.
type serving struct {
	def  *flag.Definition // nil: there is no such flag
	tier string
	rank int // of the tier; -1 without one
	// degraded is the share of the traffic that gets variant: all of it under an
	// override.
	degraded   uint32
	variant    string
	overridden bool
}

func (s sight) of(key string) serving {
	def, ok := s.set.Lookup(key)
	if !ok {
		return serving{rank: -1}
	}
	out := serving{def: def, rank: -1}
	block := def.Degradation()
	if block != nil {
		out.tier = block.Tier
		if rank, ok := s.tiers.Rank(block.Tier); ok {
			out.rank = rank
		}
	}
	if ov, ok := s.snap.Override(key, s.at); ok {
		out.overridden, out.degraded, out.variant = true, whole, ov.GetVariant()
		return out
	}
	if block != nil && def.Enabled() {
		out.degraded, out.variant = degrade.ShedFraction(s.set.Level(), out.rank, s.tiers.Sheddable()), block.DegradedVariant
	}
	return out
}

// sameAs tells whether everybody gets the same answers.
func (s serving) sameAs(other serving) bool {
	if s.def == nil || other.def == nil {
		return s.def == other.def
	}
	if s.degraded == whole || other.degraded == whole {
		return s.degraded == other.degraded && s.variant == other.variant
	}
	return s.degraded == other.degraded && s.def.JSON() == other.def.JSON()
}

// plain is the variant that everybody gets who is not degraded, "" for the
// caller's default; false where that is up to the targeting.
func (s serving) plain() (variant string, known bool) {
	switch {
	case s.def == nil, !s.def.Enabled():
		return "", true
	case s.def.Targeted():
		return "", false
	}
	variant, _ = s.def.DefaultVariant()
	return variant, true
}

// changedAnswers estimates how many of the evaluations that were reported would
// have had another answer. It goes by the variant and the reason that they had:
//
//   - Everybody gets one variant now (an override, or the whole tier is shed):
//     all that had another one.
//   - An override ends: those that had its variant by reason OVERRIDE, but for
//     the share that keeps it by being shed.
//   - The shed share grows from b to a: of those that were not degraded, the part
//     (a − b) / (1 − b).
//   - It shrinks from b to a: of those that were degraded, the part (b − a) / b.
//   - The definition is another one: those that had its default variant, where
//     neither has targeting.
//
// Who has the degraded variant either way has no other answer. What the
// targeting would serve is not known.
func changedAnswers(was, is serving, outcomes []*plimsollv1.OutcomeCount) uint64 {
	var n float64
	for _, o := range outcomes {
		n += float64(o.GetCount()) * changedPart(was, is, o)
	}
	return uint64(math.Round(n))
}

// changedPart is the part of the evaluations with one outcome.
func changedPart(was, is serving, o *plimsollv1.OutcomeCount) float64 {
	reason := flag.Reason(o.GetReason())
	dimmed := reason == flag.ReasonDegraded || reason == flag.ReasonOverride
	before, after := float64(was.degraded)/float64(whole), float64(is.degraded)/float64(whole)
	plain, known := is.plain()
	stays := known && plain == was.variant // who is not degraded any more has the same
	hit, part := false, 1.0
	switch {
	case is.degraded == whole:
		hit = o.GetVariant() != is.variant
	case is.def == nil:
		hit = o.GetVariant() != ""
	case was.overridden:
		hit = reason == flag.ReasonOverride && o.GetVariant() == was.variant
		switch same := is.variant == was.variant; {
		case stays && same:
			hit = false
		case stays:
			part = after
		case same:
			part = 1 - after
		}
	case was.def != nil && was.def.JSON() != is.def.JSON():
		old, knew := was.plain()
		hit = !dimmed && knew && known && old != plain && o.GetVariant() == old
	case after > before:
		hit, part = !dimmed && o.GetVariant() != is.variant, (after-before)/(1-before)
	case after < before:
		hit, part = reason == flag.ReasonDegraded && o.GetVariant() == was.variant && !stays, (before-after)/before
	}
	if !hit {
		return 0
	}
	return part
}
