package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

const (
	// maxKill is how many flags one change overrides at most: they are one
	// transaction, so that none of them is forgotten.
	maxKill = 100
	// maxLasting is the longest that an override or a hold may be asked to last;
	// what is meant to stay needs no end, or belongs into the definition.
	maxLasting = 365 * 24 * time.Hour
)

// Kill says which flags are pinned to which variant.
type Kill struct {
	// Keys name the flags, at most 100.
	Keys []string
	// Labels select flags instead: all that have every one of them.
	Labels map[string]string
	// Variant is what they serve; empty: each its degraded variant.
	Variant string
	// Lasts is how long; nil: until somebody restores them.
	Lasts *time.Duration
}

// Kill overrides flags. An override that a flag has is replaced, even by one
// that says the same, as its end moves. In a dry run nothing is written.
func (s *Store) Kill(ctx context.Context, ns string, k Kill, dry bool, c Change) (Effect, error) {
	c, err := c.normalize("override.set")
	if err != nil {
		return Effect{}, err
	}
	if err := k.check(); err != nil {
		return Effect{}, err
	}
	return s.act(ctx, ns, c, dry, func(snap *Snapshot, now time.Time) (*txn, error) {
		defs, err := k.flags(snap)
		if err != nil {
			return nil, err
		}
		if err := k.refuse(defs); err != nil {
			return nil, err
		}
		t := new(txn)
		for _, def := range defs {
			variant, err := k.variant(def)
			if err != nil {
				return nil, err
			}
			ov := &plimsollv1.Override{
				FlagKey: def.Key(), Variant: variant, Reason: c.Reason, Actor: c.Actor, ChangeId: c.ID,
				CreatedAt: timestamppb.New(now), ExpiresAt: endOf(now, k.Lasts),
			}
			if err := t.put(kindOverride+def.Key(), ov); err != nil {
				return nil, err
			}
		}
		return t, nil
	})
}

// check refuses what is wrong in itself.
func (k Kill) check() error {
	switch {
	case len(k.Keys) > 0 && len(k.Labels) > 0:
		return refusef("name flags or labels, not both")
	case len(k.Keys) == 0 && len(k.Labels) == 0:
		return refusef("nothing is named to kill: name flags, or labels that they have")
	case len(k.Keys) > maxKill:
		return refusef("%d flags are named; one change kills at most %d: do it in parts, or shed their tier", len(k.Keys), maxKill)
	}
	return checkLasts(k.Lasts)
}

// flags are the definitions of the flags that are named, sorted by key.
func (k Kill) flags(snap *Snapshot) ([]*flag.Definition, error) {
	if len(k.Labels) > 0 {
		return k.labelled(snap)
	}
	keys := slices.Clone(k.Keys)
	slices.Sort(keys)
	var out []*flag.Definition
	for _, key := range slices.Compact(keys) {
		def, err := snap.definition(key)
		if err != nil {
			return nil, err
		}
		out = append(out, def)
	}
	return out, nil
}

// definition is the definition of a flag as it is served.
func (s *Snapshot) definition(key string) (*flag.Definition, error) {
	if def, ok := s.set.Lookup(key); ok {
		return def, nil
	}
	if _, stored := s.FlagObject(key); stored {
		return nil, refuseNowf("flag %q cannot be compiled by this server and serves nothing that could be pinned; repair its definition", key)
	}
	return nil, s.NoFlag(key)
}

func (k Kill) labelled(snap *Snapshot) ([]*flag.Definition, error) {
	var out []*flag.Definition
	for key := range snap.Flags("", "") {
		if def, ok := snap.set.Lookup(key); ok && hasLabels(def, k.Labels) {
			out = append(out, def)
		}
	}
	switch {
	case len(out) == 0:
		return nil, refuseNowf("no flag has the label %s", labelText(k.Labels))
	case len(out) > maxKill:
		return nil, refuseNowf("%d flags have the label %s; one change kills at most %d: name a further label, or shed their tier", len(out), labelText(k.Labels), maxKill)
	}
	return out, nil
}

func hasLabels(def *flag.Definition, labels map[string]string) bool {
	have := def.Info().Labels
	for name, value := range labels {
		if got, ok := have[name]; !ok || got != value {
			return false
		}
	}
	return true
}

func labelText(labels map[string]string) string {
	var parts []string
	for name, value := range labels {
		parts = append(parts, name+"="+value)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// refuse names all flags that cannot be killed without a variant.
func (k Kill) refuse(defs []*flag.Definition) error {
	if k.Variant != "" {
		return nil
	}
	var plain []string
	for _, def := range defs {
		if def.Degradation() == nil {
			plain = append(plain, fmt.Sprintf("%q", def.Key()))
		}
	}
	switch len(plain) {
	case 0:
		return nil
	case 1:
		return refuseNowf("flag %s has no degradation block, so it has no degraded variant: name the variant to serve", plain[0])
	default:
		return refuseNowf("flags %s have no degradation block, so they have no degraded variant: name the variant to serve", listed(plain))
	}
}

// variant is what a flag is pinned to.
func (k Kill) variant(def *flag.Definition) (string, error) {
	if k.Variant == "" {
		return def.Degradation().DegradedVariant, nil
	}
	if _, has := def.Variant(k.Variant); !has {
		return "", noVariant(def, k.Variant)
	}
	return k.Variant, nil
}

func noVariant(def *flag.Definition, variant string) error {
	return &NotFoundError{Kind: fmt.Sprintf("variant of flag %q named", def.Key()), Name: variant, Nearest: nearest(variant, def.Variants())}
}

// checkLasts refuses an end that has come already, or that nobody will live to
// see.
func checkLasts(lasts *time.Duration) error {
	switch {
	case lasts == nil:
		return nil
	case *lasts <= 0:
		return refusef("a duration of %s is an expiry in the past: give a longer one, or none for no end", *lasts)
	case *lasts > maxLasting:
		return refusef("a duration of %s is longer than a year: give at most %s, or none for no end", *lasts, maxLasting)
	}
	return nil
}

// endOf is when something ends that begins at now; nil: never.
func endOf(now time.Time, lasts *time.Duration) *timestamppb.Timestamp {
	if lasts == nil {
		return nil
	}
	return timestamppb.New(now.Add(*lasts))
}

// Restore removes the overrides of flags; with no key, all overrides and all
// holds. Flags without one stay as they are. In a dry run nothing is written.
// More objects than fit into one transaction are removed in batches.
func (s *Store) Restore(ctx context.Context, ns string, keys []string, dry bool, c Change) (Effect, error) {
	verb := "override.remove"
	if len(keys) == 0 {
		verb = "restore"
	}
	c, err := c.normalize(verb)
	if err != nil {
		return Effect{}, err
	}
	snap, err := s.Snapshot(ns)
	if err != nil {
		return Effect{}, err
	}
	var objects []sized
	add := func(o Object) {
		objects = append(objects, sized{o.Name, txnSize(write{name: o.Name}, o)})
	}
	for _, key := range keys {
		o, ok := snap.Object(kindOverride + key)
		if _, exists := snap.FlagObject(key); !ok && !exists {
			return Effect{}, snap.NoFlag(key)
		}
		if ok {
			add(o)
		}
	}
	if len(keys) == 0 {
		for _, o := range snap.kind(kindHold, "", "") {
			add(o)
		}
		for _, o := range snap.Overrides() {
			add(o)
		}
	}
	return s.actInBatches(ctx, ns, c, dry, objects, func(snap *Snapshot, _ time.Time, names []string) (*txn, error) {
		t := new(txn)
		for _, name := range names {
			if _, still := snap.Object(name); still && !t.has(name) {
				t.remove(name)
			}
		}
		return t, nil
	})
}

// has tells whether a transaction writes an object already.
func (t *txn) has(name string) bool {
	return slices.ContainsFunc(t.writes, func(w write) bool { return w.name == name })
}
