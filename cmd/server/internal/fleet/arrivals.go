package fleet

import (
	"sort"
	"time"
)

// keptArrivals is of how many revisions of a namespace the time of arrival is
// remembered.
const keptArrivals = 1024

// arrivals remembers when the newest revisions of a namespace reached this
// server. Revisions that came together arrived with the last of them.
type arrivals struct {
	// at is where the namespace is. For its store and epoch, the arrival of
	// revisions up to base is not known.
	at   position
	base int64
	// seen are in ascending order.
	seen []arrival
}

type arrival struct {
	revision int64
	at       time.Time
}

// note takes note of the namespace's newest position. Where it does not follow
// from the one before (the first one, another store, a head that is no higher),
// nothing that was known holds.
func (a *arrivals) note(to position, now time.Time) {
	if to == a.at {
		return
	}
	if to.store != a.at.store || to.epoch != a.at.epoch || to.revision <= a.at.revision {
		*a = arrivals{at: to, base: to.revision}
		return
	}
	a.at = to
	a.seen = append(a.seen, arrival{to.revision, now})
	if len(a.seen) == 2*keptArrivals {
		a.base = a.seen[keptArrivals-1].revision
		a.seen = append(make([]arrival, 0, 2*keptArrivals), a.seen[keptArrivals:]...)
	}
}

// of is when a position reached this server.
func (a *arrivals) of(target position) (time.Time, bool) { return a.since(target, target.revision) }

// after is when the first revision after a position reached this server: since
// when whoever is at that position lags.
func (a *arrivals) after(p position) (time.Time, bool) { return a.since(p, p.revision+1) }

// since is when the first revision reached this server that is not below the
// given one.
func (a *arrivals) since(p position, revision int64) (time.Time, bool) {
	if p.store != a.at.store || p.epoch != a.at.epoch || revision <= a.base {
		return time.Time{}, false
	}
	i := sort.Search(len(a.seen), func(i int) bool { return a.seen[i].revision >= revision })
	if i == len(a.seen) {
		return time.Time{}, false
	}
	return a.seen[i].at, true
}
