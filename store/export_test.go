package store

import "context"

// ExpireDue does at once what is due by the store's clock.
func (s *Store) ExpireDue(ctx context.Context) {
	for s.isDue() && ctx.Err() == nil {
		s.expireDue(ctx)
	}
}

func (s *Store) isDue() bool {
	now := s.now()
	for _, snap := range *s.view.Load() {
		if due, ok := snap.nextDue(); ok && !now.Before(due) {
			return true
		}
		if due, ok := snap.seedDue(); ok && !now.Before(due) {
			return true
		}
	}
	return false
}
