package store

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// SetOverride pins a flag to a variant, for the time given or, with 0, until
// the override is removed. It replaces an override that the flag has.
func (s *Store) SetOverride(ctx context.Context, ns, key, variant string, lasts time.Duration, c Change) (Result, error) {
	if lasts < 0 {
		return Result{}, refusef("override of %q: it cannot last %s", key, lasts)
	}
	c, err := c.normalize("override.set")
	if err != nil {
		return Result{}, err
	}
	return s.commit(ctx, ns, c, func(snap *Snapshot) (*txn, error) {
		def, ok := snap.set.Lookup(key)
		if !ok {
			return nil, snap.NoFlag(key)
		}
		if _, has := def.Variant(variant); !has {
			return nil, &NotFoundError{Kind: fmt.Sprintf("variant of flag %q named", key), Name: variant, Nearest: nearest(variant, def.Variants())}
		}
		now := s.now()
		ov := &plimsollv1.Override{
			FlagKey: key, Variant: variant, Reason: c.Reason, Actor: c.Actor, ChangeId: c.ID,
			CreatedAt: timestamppb.New(now),
		}
		if lasts > 0 {
			ov.ExpiresAt = timestamppb.New(now.Add(lasts))
		}
		value, err := proto.Marshal(ov)
		if err != nil {
			return nil, fmt.Errorf("encode the override of %q: %w", key, err)
		}
		return &txn{writes: []write{{kindOverride + key, value}}}, nil
	})
}

// RemoveOverride ends a flag's override. Where there is none, nothing changes.
func (s *Store) RemoveOverride(ctx context.Context, ns, key string, c Change) (Result, error) {
	c, err := c.normalize("override.remove")
	if err != nil {
		return Result{}, err
	}
	return s.commit(ctx, ns, c, func(snap *Snapshot) (*txn, error) {
		if _, ok := snap.Object(kindOverride + key); !ok {
			return nil, nil
		}
		return &txn{writes: []write{{kindOverride + key, nil}}}, nil
	})
}
