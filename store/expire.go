package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// expireRetry is how long to wait after an expiry could not be recorded. What
// is due does not count meanwhile either way.
const expireRetry = 5 * time.Second

// maxExpireWait bounds the sleep until the next expiry: timers do not see that
// the clock was set or the machine slept.
const maxExpireWait = 30 * time.Second

// expire removes overrides and holds whose time has come, with a record that
// says when they were due, and draws new seeds. Every server does; the first one
// wins. No etcd lease is used: it would start anew at every change of leader, and
// its end would leave no record.
func (s *Store) expire(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := s.Changed()
		wait := s.expireDue(ctx)
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-timer.C:
		}
	}
}

// expireDue does what is due and returns how long to wait for the next.
func (s *Store) expireDue(ctx context.Context) time.Duration {
	wait := maxExpireWait
	for ns, snap := range *s.view.Load() {
		if next, ok := snap.nextDue(); ok {
			left, err := s.whenDue(ctx, ns, next, s.expireNamespace)
			if err != nil {
				s.log.Warn("an override or hold has expired and could not be removed; it does not count any more all the same", "namespace", ns, "error", err)
			}
			wait = min(wait, left)
		}
		if next, ok := snap.seedDue(); ok {
			left, err := s.whenDue(ctx, ns, next, s.drawSeed)
			if err != nil {
				s.log.Warn("no new seed could be drawn; the next incident sheds the same users as the last one until that is done", "namespace", ns, "error", err)
			}
			wait = min(wait, left)
		}
	}
	return wait
}

// whenDue does what is due and returns how long to wait for it, or before
// trying again. The error is one to tell.
func (s *Store) whenDue(ctx context.Context, ns string, due time.Time, do func(context.Context, string) error) (time.Duration, error) {
	if left := due.Sub(s.now()); left > 0 {
		return left, nil
	}
	err := do(ctx, ns)
	switch {
	case err == nil, ctx.Err() != nil:
		return maxExpireWait, nil
	case errors.Is(err, ErrReadOnly):
		return expireRetry, nil
	default:
		return expireRetry, err
	}
}

func (s *Store) expireNamespace(ctx context.Context, ns string) error {
	c, err := Change{Reason: "its time was over"}.normalize("expire")
	if err != nil {
		return err
	}
	_, err = s.commit(ctx, ns, c, func(snap *Snapshot) (*txn, error) {
		now := s.now()
		t := new(txn)
		for name, due := range snap.dues() {
			if now.Before(due) || len(t.writes) == maxTxnOps {
				continue
			}
			t.writes = append(t.writes, write{name, nil})
			if t.dueAt.IsZero() || due.Before(t.dueAt) {
				t.dueAt = due
			}
		}
		return t, nil
	})
	if err != nil {
		return fmt.Errorf("expire: %w", err)
	}
	return nil
}

// dues iterates over what has an expiry: the object's name and when it is due.
func (s *Snapshot) dues() func(yield func(string, time.Time) bool) {
	return func(yield func(string, time.Time) bool) {
		for _, o := range s.kind(kindOverride, "", "") {
			v := new(plimsollv1.Override)
			if !yieldDue(o, v, v.GetExpiresAt, yield) {
				return
			}
		}
		for _, o := range s.kind(kindHold, "", "") {
			v := new(plimsollv1.Hold)
			if !yieldDue(o, v, v.GetExpiresAt, yield) {
				return
			}
		}
	}
}

func yieldDue(o Object, msg proto.Message, expires func() *timestamppb.Timestamp, yield func(string, time.Time) bool) bool {
	if proto.Unmarshal(o.Value, msg) != nil || expires() == nil {
		return true
	}
	return yield(o.Name, expires().AsTime())
}

func (s *Snapshot) nextDue() (time.Time, bool) {
	var next time.Time
	for _, due := range s.dues() {
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next, !next.IsZero()
}
