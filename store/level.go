package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// seedRest is how long the level must have been back at 0 before the next
// incident may shed other users than the last one did.
const seedRest = 10 * time.Minute

// Shed puts a floor under the level, so that a share of a tier (in millionths)
// and the whole of every less important one is shed; 0 removes that floor. It
// lasts as long as said; nil: until somebody removes it. In a dry run nothing is
// written.
func (s *Store) Shed(ctx context.Context, ns, tier string, share uint32, lasts *time.Duration, dry bool, c Change) (Effect, error) {
	verb := "hold.set"
	if share == 0 {
		verb = "hold.remove"
	}
	c, err := c.normalize(verb)
	if err != nil {
		return Effect{}, err
	}
	if err := checkHoldLasts(share == 0, lasts); err != nil {
		return Effect{}, err
	}
	return s.act(ctx, ns, c, dry, func(snap *Snapshot, now time.Time) (*txn, error) {
		tiers := snap.Tiers()
		if _, ok := tiers.Rank(tier); !ok {
			return nil, &NotFoundError{Kind: "tier", Name: tier, Nearest: nearest(tier, tiers)}
		}
		// What cannot be held has no hold to remove either.
		hold, err := degrade.ShedHold(tiers, tier, max(share, 1))
		if err != nil {
			return nil, refusef("%v", err)
		}
		t := new(txn)
		if share != 0 {
			return t, t.put(kindHold+hold.Name, storedHold(hold, c, now, lasts))
		}
		if _, ok := snap.Object(kindHold + hold.Name); ok {
			t.remove(kindHold + hold.Name)
		}
		return t, nil
	})
}

// SetLevel removes all holds and, but for a nil level, fixes the level with the
// hold that is named pin. It lasts as long as said; nil: until the level is set
// again. In a dry run nothing is written.
func (s *Store) SetLevel(ctx context.Context, ns string, level *degrade.Level, lasts *time.Duration, dry bool, c Change) (Effect, error) {
	verb := "level.set"
	if level == nil {
		verb = "level.auto"
	}
	c, err := c.normalize(verb)
	if err != nil {
		return Effect{}, err
	}
	if err := checkHoldLasts(level == nil, lasts); err != nil {
		return Effect{}, err
	}
	return s.act(ctx, ns, c, dry, func(snap *Snapshot, now time.Time) (*txn, error) {
		t := new(txn)
		for name, o := range snap.kind(kindHold, "", "") {
			if level == nil || name != degrade.Pin {
				t.remove(o.Name)
			}
		}
		if level == nil {
			return t, nil
		}
		pin, err := degrade.PinHold(*level, snap.Tiers())
		if err != nil {
			return nil, refusef("%v", err)
		}
		return t, t.put(kindHold+pin.Name, storedHold(pin, c, now, lasts))
	})
}

// checkHoldLasts refuses a duration that makes no sense for what is set, or for
// what is removed.
func checkHoldLasts(removes bool, lasts *time.Duration) error {
	if removes && lasts != nil {
		return refusef("a hold that is removed has no end: leave the duration out")
	}
	return checkLasts(lasts)
}

func storedHold(h degrade.Hold, c Change, now time.Time, lasts *time.Duration) *plimsollv1.Hold {
	return &plimsollv1.Hold{
		Name: h.Name, FloorMillionths: (*uint32)(h.Floor), CeilingMillionths: (*uint32)(h.Ceiling),
		Reason: c.Reason, Actor: c.Actor, ChangeId: c.ID,
		CreatedAt: timestamppb.New(now), ExpiresAt: endOf(now, lasts),
	}
}

// settle has a transaction that moves the level keep account of since when it is
// at 0, and of whether somebody was shed by the seed.
func (s *Store) settle(snap *Snapshot, t *txn) error {
	moves := slices.ContainsFunc(t.writes, func(w write) bool {
		kind, name := cutKind(w.name)
		return kind == kindHold || name == objLevel
	})
	if t.last || !moves {
		return nil
	}
	now := s.now()
	after, _ := snap.rehearse(t.writes, now)
	level := after.level()
	switch above := after.set.Level() > 0; {
	case above && (level.GetZeroSince() != nil || level.GetSeedFresh()):
		level.ZeroSince, level.SeedFresh = nil, false
	case !above && level.GetZeroSince() == nil:
		level.ZeroSince = timestamppb.New(now)
	default:
		return nil
	}
	return t.put(objLevel, level)
}

// level is the object of that name.
func (s *Snapshot) level() *plimsollv1.StoredLevel {
	v := new(plimsollv1.StoredLevel)
	s.read(objLevel, v)
	return v
}

// seedDue is when a new seed is to be drawn; false: the one there is will do.
func (s *Snapshot) seedDue() (time.Time, bool) {
	level := s.level()
	if level.GetZeroSince() == nil || level.GetSeedFresh() {
		return time.Time{}, false
	}
	return level.GetZeroSince().AsTime().Add(seedRest), true
}

// drawSeed draws a new seed if one is due, in a transaction of its own. Every
// server does; the first one wins.
func (s *Store) drawSeed(ctx context.Context, ns string) error {
	c, err := Change{Reason: fmt.Sprintf("the level had been 0 for %s", seedRest)}.normalize("seed.draw")
	if err != nil {
		return err
	}
	_, err = s.commit(ctx, ns, c, func(snap *Snapshot) (*txn, error) {
		now := s.now()
		due, ok := snap.seedDue()
		if !ok || now.Before(due) || snap.Set(now).Level() > 0 {
			return nil, nil
		}
		level := snap.level()
		level.Seed, level.SeedFresh = randomHex(8), true
		t := new(txn)
		return t, t.put(objLevel, level)
	})
	if err != nil {
		return fmt.Errorf("draw a new seed: %w", err)
	}
	return nil
}
