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
// counter that it shares with few others: counters are striped, and a goroutine
// chooses its stripe by the address of its stack (as LongAdder of the JDK does
// by thread; Doug Lea, 2011), so that cores do not contend for one cache
// line.
type Counts struct {
	mu      sync.Mutex
	tallies []*tally // those that were opened
	unknown tally    // evaluations of keys that are no flag
}

// maxIdle is how many collections a tally that belongs to no current flag may be
// without a count before it is dropped.
const maxIdle = 3

// NewCounts are counts at zero.
func NewCounts() *Counts {
	c := &Counts{}
	c.unknown.stripes = make([]stripe, stripes)
	return c
}

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
	key, variant string
	stripes      []stripe

	// What was collected already, and how many times in a row there was nothing
	// new; guarded by Counts.mu.
	collected [len(deciders)]uint64
	idle      int
}

// stripe is a cache line of counters by decider.
type stripe [8]atomic.Uint64

// stripes is how many a tally has: a power of two, several for each core, so that
// two goroutines that run at the same time seldom share one.
var stripes = min(64, max(8, 4<<bits.Len(uint(runtime.GOMAXPROCS(0)-1))))

// add counts one evaluation.
func (t *tally) add(d decider) {
	var here byte
	// Stacks are at least 2 KiB apart. The multiplication spreads them (Knuth,
	// The Art of Computer Programming, volume 3, section 6.4).
	h := uint32(uintptr(unsafe.Pointer(&here))>>11) * 2654435769
	t.stripes[h>>26&uint32(len(t.stripes)-1)][d&7].Add(1)
}

// collect tells what is new, and whether anything is.
func (t *tally) collect(each func(Count)) (news bool) {
	for d := range t.collected {
		var sum uint64
		for i := range t.stripes {
			sum += t.stripes[i][d].Load()
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
	t.add(d)
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
	t := &tally{key: key, variant: variant, stripes: make([]stripe, stripes)}
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
