package follow

import "time"

// adoptAfter is how long nothing but another state must be offered until it is
// adopted.
const adoptAfter = 30 * time.Second

// offer is what servers offer instead of the state that is followed: another
// store, or a lower head of the same one. The zero value is no offer. Seeing
// the followed state again ends an offer.
type offer struct {
	// store is whose state is offered.
	store string
	// lower is whether it is the followed store, with a head lower than what
	// was applied; head is the highest such head.
	lower bool
	head  position
	// since is when it was first offered.
	since time.Time
}

// note records that a store was offered at now, and tells whether that is new.
func (o *offer) note(store string, lower bool, head position, now time.Time) (isNew bool) {
	if o.since.IsZero() || o.store != store || o.lower != lower {
		*o = offer{store: store, lower: lower, head: head, since: now}
		return true
	}
	if o.head.before(head) {
		o.head = head
	}
	return false
}

// due is when the offer is to be taken.
func (o *offer) due() time.Time { return o.since.Add(adoptAfter) }

// lowerDue tells whether a lower head is to be taken at now.
func (o *offer) lowerDue(now time.Time) bool {
	return o.lower && !now.Before(o.due())
}
