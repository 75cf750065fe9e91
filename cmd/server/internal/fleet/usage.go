package fleet

import (
	"math"
	"time"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

const (
	// windowMinutes is over how many minutes usage is told, the current one
	// included.
	windowMinutes = 10
	// maxReasons bounds the reasons that are told apart for one variant.
	maxReasons = 10
	// maxEvents bounds the tracked events that are told apart in a namespace.
	maxEvents = 1000
	// otherEvents stands for the tracked events that are too many.
	otherEvents = "(other)"
	// otherReason stands for reasons that nobody knows.
	otherReason = "other"
	// noTier stands for the tier of flags without a degradation block.
	noTier = "none"
	// countedAtOnce bounds how many counts are added under one lock.
	countedAtOnce = 2000
)

// reasons are OpenFeature's and ours.
var reasons = map[string]string{}

func init() {
	for _, r := range []string{
		"STATIC", "DEFAULT", "TARGETING_MATCH", "SPLIT", "CACHED", "DISABLED", "UNKNOWN", "STALE", "ERROR", "DEGRADED", "OVERRIDE",
	} {
		reasons[r] = r
	}
}

// usage is what the processes of a namespace evaluated and tracked.
type usage struct {
	flags   map[string]*flagUsage
	unknown window[uint64]
	events  map[string]*event
	// totals count evaluations since the registry was made.
	totals map[class]uint64
	// pruned are the snapshot and the minute of the last pruning.
	prunedSnap   *store.Snapshot
	prunedMinute int64
}

// class is what evaluations are counted by for ever.
type class struct{ tier, reason string }

// outcome is what evaluations of one flag are counted by.
type outcome struct{ variant, reason string }

type flagUsage struct {
	// def is the flag's definition when it was last counted, nil for one that
	// does not compile; tier and limit follow from it.
	def      *flag.Definition
	tier     string
	limit    int
	outcomes map[outcome]*window[uint64]
	lastAt   time.Time
}

type event struct {
	count  window[uint64]
	sum    window[float64]
	total  uint64
	value  float64
	lastAt int64 // minute
}

func newUsage() usage {
	return usage{flags: make(map[string]*flagUsage), events: make(map[string]*event), totals: make(map[class]uint64)}
}

// count adds the counts of a report.
func (r *Registry) count(n *namespace, req *plimsollv1.ReportRequest) {
	now := r.now()
	minute := r.minute(now)
	batch := batch{n: n}
	defer batch.end()
	for _, e := range req.GetEvaluations() {
		batch.next()
		f := n.usage.flag(n.snap, e.GetFlagKey(), now)
		for _, o := range e.GetOutcomes() {
			batch.next()
			n.usage.evaluated(f, o, minute, now)
		}
	}
	for _, t := range req.GetTracked() {
		batch.next()
		n.usage.tracked(t, minute)
	}
}

// Evaluated adds evaluations that this server has done itself, for clients that do
// not do so and report nothing. Those of a namespace that is gone are dropped.
func (r *Registry) Evaluated(ns string, counts []flag.Count) {
	n, err := r.namespace(ns)
	if err != nil {
		return
	}
	now := r.now()
	minute := r.minute(now)
	batch := batch{n: n}
	defer batch.end()
	for _, c := range counts {
		batch.next()
		f := n.usage.flag(n.snap, c.Key, now)
		n.usage.evaluated(f, &plimsollv1.OutcomeCount{Variant: c.Variant, Reason: string(c.Reason), Count: c.N}, minute, now)
	}
}

// batch holds a namespace's lock, and gives others a turn now and then.
type batch struct {
	n      *namespace
	locked bool
	done   int
}

func (b *batch) next() {
	if b.done++; b.done > countedAtOnce {
		b.end()
		b.done = 1
	}
	if !b.locked {
		b.n.mu.Lock()
		b.locked = true
	}
}

func (b *batch) end() {
	if b.locked {
		b.locked = false
		b.n.mu.Unlock()
	}
}

// flag is the usage of a flag that exists; nil for one that does not.
func (u *usage) flag(snap *store.Snapshot, key string, now time.Time) *flagUsage {
	def, ok := snap.Set(now).Lookup(key)
	if !ok && !exists(snap, key) {
		return nil
	}
	f := u.flags[key]
	if f == nil {
		f = &flagUsage{tier: noTier, limit: maxReasons, outcomes: make(map[outcome]*window[uint64], 4)}
		u.flags[key] = f
	}
	if def != nil && def != f.def {
		f.def, f.tier, f.limit = def, noTier, (len(def.Variants())+1)*maxReasons
		if d := def.Degradation(); d != nil {
			f.tier = d.Tier
		}
	}
	return f
}

func exists(snap *store.Snapshot, key string) bool {
	_, ok := snap.FlagObject(key)
	return ok
}

// evaluated adds evaluations of a flag; a nil one does not exist.
func (u *usage) evaluated(f *flagUsage, o *plimsollv1.OutcomeCount, minute int64, now time.Time) {
	if o.GetCount() == 0 {
		return
	}
	reason, known := reasons[o.GetReason()]
	if !known {
		reason = otherReason
	}
	tier := noTier
	if f != nil {
		tier = f.tier
	}
	u.totals[class{tier, reason}] = sum(u.totals[class{tier, reason}], o.GetCount())
	if f == nil {
		u.unknown.add(minute, o.GetCount())
		return
	}
	to := outcome{reason: reason}
	if f.def != nil {
		if _, ok := f.def.Variant(o.GetVariant()); ok {
			to.variant = o.GetVariant()
		}
	}
	w := f.outcomes[to]
	if w == nil && len(f.outcomes) >= f.limit-1 {
		to = outcome{reason: otherReason}
		w = f.outcomes[to]
	}
	if w == nil {
		w = new(window[uint64])
		f.outcomes[to] = w
	}
	w.add(minute, o.GetCount())
	f.lastAt = now
}

// tracked adds tracked events.
func (u *usage) tracked(t *plimsollv1.TrackedEvent, minute int64) {
	if t.GetCount() == 0 {
		return
	}
	name := t.GetName()
	e := u.events[name]
	if e == nil && len(u.events) >= maxEvents-1 {
		name = otherEvents
		e = u.events[name]
	}
	if e == nil {
		e = new(event)
		u.events[name] = e
	}
	value := t.GetSum()
	if math.IsNaN(value) || math.IsInf(value, 0) {
		value = 0 // one client cannot spoil the sum of all
	}
	e.count.add(minute, t.GetCount())
	e.sum.add(minute, value)
	e.total, e.value, e.lastAt = sum(e.total, t.GetCount()), sum(e.value, value), minute
}

// prune frees what was counted of flags that are gone and what has left the
// window, and makes room for other events where they are too many.
func (u *usage) prune(snap *store.Snapshot, minute int64, now time.Time) {
	if snap == u.prunedSnap && minute == u.prunedMinute {
		return
	}
	u.prunedSnap, u.prunedMinute = snap, minute
	set := snap.Set(now)
	for key, f := range u.flags {
		if _, ok := set.Lookup(key); !ok && !exists(snap, key) {
			delete(u.flags, key)
			continue
		}
		for o, w := range f.outcomes {
			if w.sum(minute) == 0 {
				delete(f.outcomes, o)
			}
		}
	}
	tiers := map[string]bool{noTier: true}
	for _, tier := range snap.Tiers() {
		tiers[tier] = true
	}
	for c := range u.totals {
		if !tiers[c.tier] {
			delete(u.totals, c)
		}
	}
	if len(u.events) < maxEvents {
		return
	}
	for name, e := range u.events {
		if e.lastAt <= minute-windowMinutes {
			delete(u.events, name)
		}
	}
}

// window sums up what came in the last minutes, minute by minute.
type window[T uint64 | float64] struct {
	last    int64 // the newest minute
	minutes [windowMinutes]T
}

func (w *window[T]) add(minute int64, v T) {
	w.advance(minute)
	at := &w.minutes[minute%windowMinutes]
	*at = sum(*at, v)
}

func (w *window[T]) sum(minute int64) T {
	w.advance(minute)
	var all T
	for _, v := range w.minutes {
		all = sum(all, v)
	}
	return all
}

// advance empties the minutes that have passed since something was added.
func (w *window[T]) advance(minute int64) {
	for m := max(w.last+1, minute-windowMinutes+1); m <= minute; m++ {
		w.minutes[m%windowMinutes] = 0
	}
	w.last = max(w.last, minute)
}

// sum adds, and stops at the largest number: one client cannot turn the sum of
// all into nonsense.
func sum[T uint64 | float64](a, b T) T {
	c := a + b
	switch v := any(c).(type) {
	case uint64:
		if c < a {
			return any(uint64(math.MaxUint64)).(T)
		}
	case float64:
		if math.IsInf(v, 0) {
			return a
		}
	}
	return c
}

// covered is the time that a window covers at a time since the registry was
// made.
func covered(age time.Duration) time.Duration {
	return min(age, (windowMinutes-1)*time.Minute+age%time.Minute)
}
