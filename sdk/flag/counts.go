package flag

import (
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Counts counts what the evaluations of a set, and of all sets that come from
// it, had for an outcome. It is safe for concurrent use. An evaluation adds to a
// counter that it shares with few others: where there are many evaluations,
// counters are striped, and a goroutine chooses its stripe by the address of its
// stack (as LongAdder of the JDK does by thread; Doug Lea, 2011), so that cores do
// not contend for one cache line.
type Counts struct {
	mu      sync.Mutex
	tallies []*tally // those that were opened
	unknown tally    // evaluations of keys that are no flag
}

// maxIdle is how many collections a tally that belongs to no current flag may be
// without a count before it is dropped.
const maxIdle = 3

// NewCounts are counts at zero.
func NewCounts() *Counts { return &Counts{} }

// Count is how many evaluations of a flag had one outcome.
type Count struct {
	// Key is the flag's; "" stands for all keys that are no flag, or one that
	// never compiled.
	Key string
	// Variant is the variant served, "" for the caller's default.
	Variant string
	Reason  Reason
	N       uint64
}

// Counted is the set with each evaluation counted, as are those of all sets that
// come from it. A set and those it shares flags with must be counted by the same
// Counts.
func (s *Set) Counted(c *Counts) *Set {
	next := *s
	next.counts = c
	return &next
}

// Collect calls each for everything that was counted since it was called last.
// The set is the newest one that is counted: what belongs to flags that it does
// not have any more is forgotten once it has stood still for a while.
func (c *Counts) Collect(current *Set, each func(Count)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unknown.collect(each)
	c.tallies = slices.DeleteFunc(c.tallies, func(t *tally) bool {
		if t.collect(each) {
			t.idle = 0
			return false
		}
		t.idle++
		return t.idle >= maxIdle && !current.has(t)
	})
}

// has tells whether evaluations of the set add to a tally.
func (s *Set) has(t *tally) bool {
	f, ok := s.flags.get(t.key)
	if !ok {
		return false
	}
	if t.variant == "" && f.def.unserved.Load() == t {
		return true
	}
	i := f.def.variant(t.variant)
	return i >= 0 && f.def.variants[i].served.Load() == t
}

// tally counts the evaluations of a flag that served one variant, or none, by
// their reason.
type tally struct {
	// first is the only stripe at first, since most flags are seldom evaluated.
	first stripe
	// more are those that a hot tally counts in from then on; nil: it is none.
	more         atomic.Pointer[[]stripe]
	key, variant string

	// What was collected already, and how many times in a row there was nothing
	// new; guarded by Counts.mu.
	collected [len(deciders)]uint64
	idle      int
}

// stripe is a cache line of counters by decider.
type stripe [8]atomic.Uint64

// hot is how many evaluations with the same decider make a tally hot.
const hot = 4096

// stripes is how many a hot tally has: a power of two, several for each core, so
// that two goroutines that run at the same time seldom share one.
var stripes = min(64, max(8, 4<<bits.Len(uint(runtime.GOMAXPROCS(0)-1))))

// add counts one evaluation.
func (t *tally) add(d decider) {
	if t.here()[d&7].Add(1) == hot {
		t.grow()
	}
}

// here is the stripe that the calling goroutine counts in.
func (t *tally) here() *stripe {
	more := t.more.Load()
	if more == nil {
		return &t.first
	}
	var here byte
	// Stacks are at least 2 KiB apart. The multiplication spreads them (Knuth,
	// The Art of Computer Programming, volume 3, section 6.4).
	h := uint32(uintptr(unsafe.Pointer(&here))>>11) * 2654435769
	return &(*more)[h>>26&uint32(len(*more)-1)]
}

// grow gives a tally all its stripes, unless it has them. The first one keeps what
// it has, and what others are about to add to it.
func (t *tally) grow() {
	if t.more.Load() == nil {
		more := make([]stripe, stripes)
		t.more.CompareAndSwap(nil, &more)
	}
}

// collect tells what is new, and whether anything is.
func (t *tally) collect(each func(Count)) (news bool) {
	var more []stripe
	if m := t.more.Load(); m != nil {
		more = *m
	}
	for d := range t.collected {
		sum := t.first[d].Load()
		for i := range more {
			sum += more[i][d].Load()
		}
		if n := sum - t.collected[d]; n > 0 {
			t.collected[d] = sum
			news = true
			each(Count{t.key, t.variant, deciders[d], n})
		}
	}
	return news
}

// countServed counts an evaluation that served a variant of a flag.
func (s *Set) countServed(key string, v *variant, d decider) {
	if s.counts == nil {
		return
	}
	t := v.served.Load()
	if t == nil {
		t = s.counts.open(&v.served, key, v.name)
	}
	if t.here()[d&7].Add(1) == hot { // as t.add, which would be one more call
		t.grow()
	}
}

// countUnserved counts an evaluation that served the caller's default.
func (s *Set) countUnserved(key string, d decider) {
	if s.counts == nil {
		return
	}
	f, ok := s.flags.get(key)
	if !ok {
		s.counts.unknown.add(d)
		return
	}
	t := f.def.unserved.Load()
	if t == nil {
		t = s.counts.open(&f.def.unserved, key, "")
	}
	t.add(d)
}

// open makes the tally of an outcome that is counted for the first time.
func (c *Counts) open(place *atomic.Pointer[tally], key, variant string) *tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := place.Load(); t != nil {
		return t
	}
	t := &tally{key: key, variant: variant}
	c.tallies = append(c.tallies, t)
	place.Store(t)
	return t
}

// inherit makes a new version of a flag count where the one before did.
func (d *Definition) inherit(old *Definition) {
	d.unserved.Store(old.unserved.Load())
	for i := range d.variants {
		if j := old.variant(d.variants[i].name); j >= 0 {
			d.variants[i].served.Store(old.variants[j].served.Load())
		}
	}
}
