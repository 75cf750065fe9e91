package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// CreateFlag stores a new flag. The faults it returns beside a nil error are
// warnings.
func (s *Store) CreateFlag(ctx context.Context, ns, key, definition string, c Change) (Result, flag.Faults, error) {
	c, err := c.normalize("flag.create")
	if err != nil {
		return Result{}, nil, err
	}
	var warnings flag.Faults
	res, err := s.commit(ctx, ns, c, func(snap *Snapshot) (*txn, error) {
		if _, exists := snap.Object(kindFlag + key); exists {
			return nil, &ExistsError{Kind: "flag", Name: key}
		}
		def, faults := flag.Parse(key, []byte(definition), snap.Env())
		if err := faults.Err(); err != nil {
			return nil, &InvalidError{Faults: faults}
		}
		warnings = faults.Warnings()
		return s.flagTxn(c, def, nil)
	})
	return res, warnings, err
}

// FlagUpdate is what to change about a flag; exactly one of the first three
// fields is set.
type FlagUpdate struct {
	// Definition replaces the whole definition.
	Definition *string
	// Enabled sets the state alone.
	Enabled *bool
	// DefaultVariant sets the default variant alone.
	DefaultVariant *string
	// BaseRevision, if set, is the flag's revision that the update was based
	// on; another one is a conflict.
	BaseRevision int64
	// Force allows a change of the flag's type.
	Force bool
}

func (u FlagUpdate) verb() string {
	switch {
	case u.Enabled != nil && *u.Enabled:
		return "flag.enable"
	case u.Enabled != nil:
		return "flag.disable"
	case u.DefaultVariant != nil:
		return "flag.set_default"
	default:
		return "flag.update"
	}
}

// definition is the flag's text after the update.
func (u FlagUpdate) definition(current string) (string, error) {
	switch {
	case u.Enabled != nil:
		return flag.WithState(current, *u.Enabled)
	case u.DefaultVariant != nil:
		return flag.WithDefaultVariant(current, *u.DefaultVariant)
	default:
		return *u.Definition, nil
	}
}

// UpdateFlag changes an existing flag. The faults it returns beside a nil
// error are warnings.
func (s *Store) UpdateFlag(ctx context.Context, ns, key string, u FlagUpdate, c Change) (Result, flag.Faults, error) {
	c, err := c.normalize(u.verb())
	if err != nil {
		return Result{}, nil, err
	}
	var warnings flag.Faults
	res, err := s.commit(ctx, ns, c, func(snap *Snapshot) (*txn, error) {
		stored, err := current(snap, key, u.BaseRevision, u.Definition)
		if err != nil {
			return nil, err
		}
		text, err := u.definition(stored.GetDefinition())
		if err != nil {
			return nil, refusef("flag %q: %v", key, err)
		}
		def, faults := flag.Parse(key, []byte(text), snap.Env())
		if err := faults.Err(); err != nil {
			return nil, &InvalidError{Faults: faults}
		}
		warnings = faults.Warnings()
		if def.JSON() == stored.GetDefinition() {
			return nil, nil
		}
		if err := s.checkReplaces(snap, def, u.Force); err != nil {
			return nil, err
		}
		return s.flagTxn(c, def, stored)
	})
	return res, warnings, s.withWinner(ctx, ns, err)
}

// DeleteFlag removes a flag.
func (s *Store) DeleteFlag(ctx context.Context, ns, key string, baseRevision int64, c Change) (Result, error) {
	c, err := c.normalize("flag.delete")
	if err != nil {
		return Result{}, err
	}
	res, err := s.commit(ctx, ns, c, func(snap *Snapshot) (*txn, error) {
		if _, err := current(snap, key, baseRevision, nil); err != nil {
			return nil, err
		}
		if ov, ok := snap.Override(key, s.now()); ok {
			return nil, refuseNowf("flag %q is overridden to variant %q by %s; restore it before deleting it", key, ov.GetVariant(), ov.GetActor().GetName())
		}
		t := &txn{writes: []write{{kindFlag + key, nil}}}
		if _, expired := snap.Object(kindOverride + key); expired {
			t.writes = append(t.writes, write{kindOverride + key, nil})
		}
		return t, nil
	})
	return res, s.withWinner(ctx, ns, err)
}

// current returns the stored flag, if it still is what the change was based
// on.
func current(snap *Snapshot, key string, base int64, refused *string) (*plimsollv1.StoredFlag, error) {
	stored, rev, ok := snap.Flag(key)
	if ok && (base == 0 || base == rev) {
		return stored, nil
	}
	if base == 0 {
		return nil, snap.NoFlag(key)
	}
	c := &plimsollv1.Conflict{Object: kindFlag + key, BaseRevision: base, CurrentRevision: rev}
	if ok {
		c.Actor, c.Verb, c.Reason, c.ChangeId, c.Time = stored.GetUpdatedBy(), stored.GetVerb(), stored.GetReason(), stored.GetChangeId(), stored.GetUpdatedAt()
	}
	c.CurrentDefinition = stored.GetDefinition()
	if refused != nil {
		c.RefusedDefinition = *refused
	}
	return nil, &ConflictError{Conflicts: []*plimsollv1.Conflict{c}}
}

// winnerRecords is how far back the log is searched for who deleted a flag.
const winnerRecords = 10_000

// withWinner completes a conflict with a flag that is gone: only the log still
// knows who deleted it. If the log knows nothing of it, it never was.
func (s *Store) withWinner(ctx context.Context, ns string, err error) error {
	var conflict *ConflictError
	if !errors.As(err, &conflict) {
		return err
	}
	for _, c := range conflict.Conflicts {
		if c.GetCurrentRevision() != 0 {
			continue
		}
		recs, _, logErr := s.Records(ctx, ns, RecordQuery{Object: c.GetObject(), Limit: 1, Scan: winnerRecords})
		switch {
		case logErr != nil: // who won is a courtesy; the conflict stands without
		case len(recs) == 1:
			r := recs[0]
			c.Actor, c.Verb, c.Reason, c.ChangeId, c.Time = r.GetActor(), r.GetVerb(), r.GetReason(), r.GetChangeId(), r.GetTime()
		default:
			if snap, snapErr := s.Snapshot(ns); snapErr == nil {
				return snap.NoFlag(strings.TrimPrefix(c.GetObject(), kindFlag))
			}
		}
	}
	return err
}

// checkReplaces refuses a definition that would surprise those who use the
// flag now: one of another type, or one without a variant that is being
// served by an override.
func (s *Store) checkReplaces(snap *Snapshot, def *flag.Definition, force bool) error {
	old, ok := snap.set.Lookup(def.Key())
	if ok && old.Type() != def.Type() && !force {
		return refuseNowf("flag %q is of type %s and would become %s: apps that read it as %s would get their own default; use force if that is what you want",
			def.Key(), old.Type(), def.Type(), old.Type())
	}
	ov, ok := snap.Override(def.Key(), s.now())
	if !ok {
		return nil
	}
	if _, has := def.Variant(ov.GetVariant()); !has {
		return refuseNowf("flag %q is overridden to variant %q by %s, which the new definition does not have; restore the flag first", def.Key(), ov.GetVariant(), ov.GetActor().GetName())
	}
	return nil
}

// flagTxn writes one definition.
func (s *Store) flagTxn(c Change, def *flag.Definition, old *plimsollv1.StoredFlag) (*txn, error) {
	w, err := s.flagWrite(c, def, old, nil)
	if err != nil {
		return nil, err
	}
	return &txn{writes: []write{w}, refs: true}, nil
}

// flagWrite is the stored form of a definition; appliedHash replaces the one
// of old unless it is nil.
func (s *Store) flagWrite(c Change, def *flag.Definition, old *plimsollv1.StoredFlag, appliedHash []byte) (write, error) {
	now := timestamppb.New(s.now())
	stored := &plimsollv1.StoredFlag{
		Definition:  def.JSON(),
		AppliedHash: old.GetAppliedHash(),
		CreatedAt:   old.GetCreatedAt(),
		UpdatedAt:   now,
		UpdatedBy:   c.Actor,
		ChangeId:    c.ID,
		Verb:        c.Verb,
		Reason:      inBrief(c.Reason),
	}
	if old == nil {
		stored.CreatedAt = now
	}
	if appliedHash != nil {
		stored.AppliedHash = appliedHash
	}
	value, err := proto.Marshal(stored)
	if err != nil {
		return write{}, fmt.Errorf("encode flag %q: %w", def.Key(), err)
	}
	return write{kindFlag + def.Key(), value}, nil
}

// maxBrief is how much of a reason is kept beside each definition, in bytes:
// it is in every server's memory. All of it is in the audit log.
const maxBrief = 200

func inBrief(reason string) string {
	if len(reason) <= maxBrief {
		return reason
	}
	cut := maxBrief
	for !utf8.RuneStart(reason[cut]) {
		cut--
	}
	return reason[:cut] + "…"
}

func (s *Snapshot) flagKeys() []string {
	keys := make([]string, 0, s.flags)
	for key := range s.Flags("", "") {
		keys = append(keys, key)
	}
	return keys
}
