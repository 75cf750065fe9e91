package admission

import "time"

// earlyRefusals returns a function that counts the requests that were refused
// without the lock, since it was last called.
func (c *Controller) earlyRefusals() func() [maxTiers]earlyRefusals {
	var seen [maxTiers]earlyRefusals
	return func() (since [maxTiers]earlyRefusals) {
		for t := range c.config.tiers {
			var now earlyRefusals
			for i := range c.early {
				// In this order, so that there are no more unsheddable ones than all.
				now.unsheddable += c.early[i][t].unsheddable.Load()
				now.all += c.early[i][t].all.Load()
			}
			since[t] = earlyRefusals{now.all - seen[t].all, now.unsheddable - seen[t].unsheddable}
			seen[t] = now
		}
		return since
	}
}

// setRetry makes the errors anew if the hint in them has become wrong.
func (c *Controller) setRetry() {
	hint := min(max(time.Duration(retryTime*c.law.mean*float64(time.Second)), retryLeast), retryMost)
	if c.retry > 0 && hint < 2*c.retry && c.retry < 2*hint {
		return
	}
	c.retry = hint
	var all refusals
	for t, name := range c.config.tiers {
		for r := range reasons {
			all[t][r] = &RefusedError{Tier: t, TierName: name, Reason: Reason(r), RetryAfter: hint}
		}
	}
	c.refusals.Store(&all)
}
