package admission_test

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

// A kind of server: what the handlers compete for.
type kind struct {
	name   string
	slots  int
	shared bool // the slots are cores that all requests share, else they queue
	mean   [4]time.Duration
	draw   func(r *rand.Rand, mean time.Duration) time.Duration
}

func constant(_ *rand.Rand, mean time.Duration) time.Duration { return mean }

func exponential(r *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(r.ExpFloat64() * float64(mean))
}

// bimodal is 2 ms, and in every tenth case 50 ms.
func bimodal(r *rand.Rand, _ time.Duration) time.Duration {
	if r.IntN(10) == 0 {
		return 50 * time.Millisecond
	}
	return 2 * time.Millisecond
}

func same(d time.Duration) [4]time.Duration { return [4]time.Duration{d, d, d, d} }

// capacity is in requests per second, for requests of all tiers in equal shares.
func (k kind) capacity(shares [4]float64) float64 {
	var cost, sum float64
	for t, share := range shares {
		cost += share * k.mean[t].Seconds()
		sum += share
	}
	return float64(k.slots) * sum / cost
}

// A server works on what a controller admits, in the time of its bubble.
type server struct {
	kind
	slow  atomic.Int64  // percent of the usual service time
	slots chan struct{} // a token for each slot that works
	cores *cores
}

func newServer(k kind) *server {
	s := &server{kind: k, slots: make(chan struct{}, 2*k.slots)}
	s.slow.Store(100)
	if k.shared {
		s.cores = &cores{n: float64(k.slots), last: time.Now()}
		return s
	}
	s.add(k.slots)
	return s
}

// add adds slots, or takes some away when they have become free.
func (s *server) add(n int) {
	if s.cores != nil {
		s.cores.add(n)
		return
	}
	for ; n > 0; n-- {
		s.slots <- struct{}{}
	}
	for ; n < 0; n++ {
		<-s.slots
	}
}

func (s *server) serve(need time.Duration) {
	need = need * time.Duration(s.slow.Load()) / 100
	if s.cores != nil {
		s.cores.serve(need)
		return
	}
	<-s.slots
	time.Sleep(need)
	s.slots <- struct{}{}
}

// cores are shared by all that run, each of which gets at most one: processor
// sharing, by a clock that runs as fast as each request is worked on.
type cores struct {
	mu      sync.Mutex
	n       float64
	last    time.Time
	clock   float64 // seconds of work that each request got that was there all the time
	running jobs
	timer   *time.Timer
}

type job struct {
	end  float64
	done chan struct{}
}

type jobs []job

func (j jobs) Len() int           { return len(j) }
func (j jobs) Less(a, b int) bool { return j[a].end < j[b].end }
func (j jobs) Swap(a, b int)      { j[a], j[b] = j[b], j[a] }
func (j *jobs) Push(x any)        { *j = append(*j, x.(job)) }
func (j *jobs) Pop() any {
	last := (*j)[len(*j)-1]
	*j = (*j)[:len(*j)-1]
	return last
}

func (c *cores) speed() float64 { return min(1, c.n/float64(max(len(c.running), 1))) }

// advance brings the clock up to now, ends what is done, and plans the next end.
func (c *cores) advance() {
	now := time.Now()
	c.clock += now.Sub(c.last).Seconds() * c.speed()
	c.last = now
	for len(c.running) > 0 && c.running[0].end <= c.clock+1e-9 {
		close(heap.Pop(&c.running).(job).done)
	}
}

func (c *cores) plan() {
	if c.timer != nil {
		c.timer.Stop()
	}
	if len(c.running) == 0 {
		return
	}
	in := time.Duration((c.running[0].end-c.clock)/c.speed()*1e9) + 1
	c.timer = time.AfterFunc(in, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.advance()
		c.plan()
	})
}

func (c *cores) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance()
	c.n += float64(n)
	c.plan()
}

func (c *cores) serve(need time.Duration) {
	j := job{done: make(chan struct{})}
	c.mu.Lock()
	c.advance()
	j.end = c.clock + need.Seconds()
	heap.Push(&c.running, j)
	c.plan()
	c.mu.Unlock()
	<-j.done
}

// A run is open-loop load on a server behind a controller.
type run struct {
	*server
	*admission.Controller
	random  *rand.Rand
	working sync.WaitGroup
	tally   [4]struct{ offered, refused, work atomic.Int64 } // work in nanoseconds
}

func newRun(k kind, seed uint64) *run {
	c, err := admission.New()
	if err != nil {
		panic(err)
	}
	return &run{server: newServer(k), Controller: c, random: rand.New(rand.NewPCG(seed, 1))}
}

// load offers requests for as long as it says, at a multiple of the capacity.
func (r *run) load(times float64, shares [4]float64, long time.Duration) {
	rate := times * r.capacity(shares)
	end := time.Now().Add(long)
	for {
		next := time.Duration(r.random.ExpFloat64() / rate * 1e9)
		if time.Now().Add(next).After(end) {
			time.Sleep(time.Until(end))
			return
		}
		time.Sleep(next)
		x, tier := r.random.Float64()*(shares[0]+shares[1]+shares[2]+shares[3]), 0
		for tier < 3 && x >= shares[tier] {
			x -= shares[tier]
			tier++
		}
		need := r.draw(r.random, r.mean[tier])
		caller := fmt.Sprint(r.random.Uint32())
		r.working.Go(func() { r.request(tier, caller, need) })
	}
}

func (r *run) request(tier int, caller string, need time.Duration) {
	t := &r.tally[tier]
	t.offered.Add(1)
	permit, err := r.Acquire(context.Background(), admission.Request{Tier: tier, Caller: caller})
	if err != nil {
		t.refused.Add(1)
		return
	}
	r.serve(need)
	permit.Release(admission.Served)
	t.work.Add(int64(need))
}

// figures are shares of the capacity, in percent.
type figures struct {
	total, refused float64
	tier           [4]float64
	offered        [4]float64 // work that came
	tierRefused    [4]float64 // in percent of the requests
}

// ofOffered is what was done of what came, in percent.
func (f figures) ofOffered(tiers ...int) float64 {
	var done, came float64
	for _, t := range tiers {
		done += f.tier[t]
		came += f.offered[t]
	}
	return 100 * done / came
}

// measure loads the server and returns what it did meanwhile.
func (r *run) measure(times float64, shares [4]float64, long time.Duration) figures {
	var offered, refused [4]int64
	var work [4]int64
	for t := range r.tally {
		offered[t], refused[t], work[t] = r.tally[t].offered.Load(), r.tally[t].refused.Load(), r.tally[t].work.Load()
	}
	r.load(times, shares, long)
	var f figures
	var all, no float64
	whole := float64(long) * float64(r.kind.slots) / 100
	for t := range r.tally {
		n := float64(r.tally[t].offered.Load() - offered[t])
		x := float64(r.tally[t].refused.Load() - refused[t])
		f.tier[t] = float64(r.tally[t].work.Load()-work[t]) / whole
		f.tierRefused[t] = 100 * x / max(n, 1)
		f.offered[t] = n * float64(r.mean[t]) / whole
		f.total += f.tier[t]
		all += n
		no += x
	}
	f.refused = 100 * no / all
	return f
}
