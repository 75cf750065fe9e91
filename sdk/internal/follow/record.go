package follow

import (
	"errors"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// Bounds of a recorded message, so that a set is written out with little memory.
const (
	chunkObjects = 1000
	chunkBytes   = 256 << 10
)

// Record is a set of a store as the messages of a stream that leads to it: what
// [Replay] reads. Few of them exist at a time.
func Record(set *flag.Set, store string) iter.Seq[*plimsollv1.WatchResponse] {
	return func(yield func(*plimsollv1.WatchResponse) bool) {
		base := int64(0)
		for u := range set.Sources() {
			at := &plimsollv1.Position{StoreId: store, Epoch: u.Epoch, Revision: u.Revision, Fingerprint: u.Fingerprint}
			index := uint32(0)
			for c, last := range parts(u) {
				m := &plimsollv1.WatchResponse{Position: at}
				if u.Reset {
					m.Event = &plimsollv1.WatchResponse_Snapshot{
						Snapshot: &plimsollv1.SnapshotChunk{Index: index, Last: last, Objects: c},
					}
				} else {
					m.Event, m.BaseRevision = &plimsollv1.WatchResponse_Delta{Delta: c}, base
				}
				if !yield(m) {
					return
				}
				index++
			}
			base = u.Revision
		}
	}
}

// parts are an update in parts of bounded size, and whether each is the last:
// rules before the flags that refer to them, removals at the end.
func parts(u flag.Update) iter.Seq2[*plimsollv1.StateChange, bool] {
	return func(yield func(*plimsollv1.StateChange, bool) bool) {
		c := beginning(u)
		objects, bytes := 0, 0
		// room makes a new part when the one before is full.
		room := func(s flag.Source) bool {
			if objects >= chunkObjects || bytes >= chunkBytes {
				if !yield(c, false) {
					return false
				}
				c, objects, bytes = &plimsollv1.StateChange{}, 0, 0
			}
			objects++
			bytes += len(s.Key) + len(s.JSON)
			return true
		}
		for _, s := range u.Evaluators {
			if !room(s) {
				return
			}
			c.Evaluators = append(c.Evaluators, &plimsollv1.RuleDefinition{Name: s.Key, Rule: s.JSON})
		}
		for _, s := range u.Segments {
			if !room(s) {
				return
			}
			c.Segments = append(c.Segments, &plimsollv1.RuleDefinition{Name: s.Key, Rule: s.JSON})
		}
		for _, s := range u.Flags {
			if !room(s) {
				return
			}
			c.Flags = append(c.Flags, &plimsollv1.FlagDefinition{Key: s.Key, Definition: s.JSON})
		}
		c.RemovedEvaluators, c.RemovedSegments = u.RemovedEvaluators, u.RemovedSegments
		yield(c, true)
	}
}

// beginning is what there is of an update beside flags and rules.
func beginning(u flag.Update) *plimsollv1.StateChange {
	c := &plimsollv1.StateChange{}
	for _, o := range u.Overrides {
		c.Overrides = append(c.Overrides, &plimsollv1.OverrideState{
			FlagKey: o.Key, Variant: o.Variant, ExpiresAt: timestampOf(o.ExpiresAt),
		})
	}
	if l := u.Level; l != nil {
		c.Level = &plimsollv1.LevelState{AutoMillionths: uint32(l.Auto), Seed: l.Seed}
		for _, h := range l.Holds {
			c.Level.Holds = append(c.Level.Holds, &plimsollv1.HoldState{
				Name:              h.Name,
				FloorMillionths:   (*uint32)(h.Floor),
				CeilingMillionths: (*uint32)(h.Ceiling),
				ExpiresAt:         timestampOf(h.ExpiresAt),
			})
		}
	}
	if s := u.Settings; s != nil {
		c.Settings = &plimsollv1.SetSettings{Metadata: s.Metadata}
		switch s.Bucketing {
		case flag.V1:
			c.Settings.Bucketing = plimsollv1.Bucketing_BUCKETING_V1
		case flag.V3:
			c.Settings.Bucketing = plimsollv1.Bucketing_BUCKETING_V3
		default:
			c.Settings.Bucketing = plimsollv1.Bucketing_BUCKETING_V2
		}
		for _, name := range s.Tiers {
			c.Settings.Tiers = append(c.Settings.Tiers, &plimsollv1.Tier{Name: name})
		}
	}
	return c
}

// timestampOf is unset for the zero time.
func timestampOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// Replay is the set that the messages of a stream lead to, as it is at now, and
// the store that they name. They are checked as those of a server are. Problems
// of flags are the set's.
func Replay(messages iter.Seq2[*plimsollv1.WatchResponse, error], now time.Time) (set *flag.Set, store string, err error) {
	var a assembly
	for m, err := range messages {
		if err != nil {
			return nil, "", err
		}
		of, at, err := positionOf(m)
		if err != nil {
			return nil, "", err
		}
		if store == "" {
			store = of
		}
		if of != store {
			return nil, "", errors.New("it holds states of two stores")
		}
		c, err := a.add(m, at)
		switch {
		case err != nil:
			return nil, "", err
		case c == nil:
			continue
		case set == nil && !c.Reset:
			return nil, "", errors.New("it begins with a change")
		case set == nil:
			set = flag.Empty()
		case at.before(positionIn(set)):
			return nil, "", errors.New("it goes back in time")
		}
		if err := c.follows(set); err != nil {
			return nil, "", err
		}
		set, _ = set.With(c.Update, now)
	}
	if set == nil || a.snapshot != nil {
		return nil, "", errors.New("it holds no whole state")
	}
	return set, store, nil
}

// Newer tells whether a set of the same store is at a later position than
// another.
func Newer(a, b *flag.Set) bool { return positionIn(b).before(positionIn(a)) }
