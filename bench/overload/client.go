package main

import (
	"bufio"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A client sends requests to one server and hears its answers.
type client struct {
	conn  net.Conn
	queue chan frame
	ended sync.WaitGroup

	mu      sync.Mutex
	last    uint32
	pending map[uint32]func(status uint8)
}

func newClient(conn net.Conn) *client {
	c := &client{conn: conn, queue: make(chan frame, 4096), pending: map[uint32]func(uint8){}}
	c.ended.Go(func() { write(conn, c.queue) })
	c.ended.Go(func() {
		reader := bufio.NewReaderSize(conn, 64<<10)
		for {
			f, err := readFrame(reader)
			if err != nil {
				c.fail()
				return
			}
			c.mu.Lock()
			answered := c.pending[f.id]
			delete(c.pending, f.id)
			c.mu.Unlock()
			answered(f.status)
		}
	})
	return c
}

// fail ends what is unanswered, with status 0. The server has gone.
func (c *client) fail() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, answered := range c.pending {
		answered(0)
	}
	clear(c.pending)
}

func (c *client) close() {
	close(c.queue)
	_ = c.conn.Close()
	c.ended.Wait()
}

// ask sends a request. What it is given is called with the answer's status.
func (c *client) ask(f frame, answered func(status uint8)) {
	c.mu.Lock()
	c.last++
	f.id = c.last
	c.pending[f.id] = answered
	c.mu.Unlock()
	c.queue <- f
}

// call sends a request and waits for its answer.
func (c *client) call(f frame) {
	done := make(chan struct{})
	c.ask(f, func(uint8) { close(done) })
	<-done
}

func (c *client) set(slots, slow uint64) { c.call(frame{op: opSet, value: slots<<32 | slow}) }

// bucket is the width of the chart's time steps.
const bucket = 100 * time.Millisecond

// A tally counts requests by the time at which they were due, and tier.
type tally struct {
	offered, good, refused [tiers]atomic.Int64
	series                 [tiers][]atomic.Int64 // good, by bucket
}

// A client's open loop is a phase after another: a rate, for each tier's share,
// for a time.
type phase struct {
	rate   float64 // requests per second, all tiers
	shares [tiers]float64
	long   time.Duration
	then   func() // called at its end, beside the load
}

// callers is how many different ones there are.
const callers = 10_000

var equal = [tiers]float64{0.25, 0.25, 0.25, 0.25}

// send offers the phases' load, and waits for the answers. What is due from
// `from` on counts.
func (c *client) send(seed uint64, from time.Duration, phases ...phase) *tally {
	var all time.Duration
	for _, p := range phases {
		all += p.long
	}
	t := &tally{}
	for i := range t.series {
		t.series[i] = make([]atomic.Int64, all/bucket+1)
	}
	random := rand.New(rand.NewPCG(seed, 2))
	var out sync.WaitGroup
	start := time.Now()
	var due, end time.Duration
	for _, p := range phases {
		due, end = end, end+p.long
		for {
			due += time.Duration(random.ExpFloat64() / p.rate * float64(time.Second))
			if due >= end {
				break
			}
			tier, x := 0, random.Float64()
			for tier < tiers-1 && x >= p.shares[tier] {
				x -= p.shares[tier]
				tier++
			}
			request := frame{op: opWork, tier: uint8(tier), value: random.Uint64() % callers}
			time.Sleep(time.Until(start.Add(due)))
			at := due
			out.Add(1)
			c.ask(request, func(status uint8) {
				t.answered(time.Since(start), at, from, tier, status)
				out.Done()
			})
		}
		time.Sleep(time.Until(start.Add(end)))
		if p.then != nil {
			p.then()
		}
	}
	out.Wait()
	return t
}

func (t *tally) answered(now, due, from time.Duration, tier int, status uint8) {
	good := status == statusServed && now < due+inTime
	if good {
		t.series[tier][due/bucket].Add(1)
	}
	if due < from {
		return
	}
	t.offered[tier].Add(1)
	switch {
	case good:
		t.good[tier].Add(1)
	case status == statusRefused:
		t.refused[tier].Add(1)
	}
}

// capacity is how many requests a second the server answers with nothing in
// front of it and just enough callers.
func (c *client) capacity(long time.Duration) float64 {
	var done atomic.Int64
	var out sync.WaitGroup
	end := time.Now().Add(long)
	for range 2 * slots {
		out.Go(func() {
			for time.Now().Before(end) {
				c.call(frame{op: opBare})
				done.Add(1)
			}
		})
	}
	out.Wait()
	return float64(done.Load()) / long.Seconds()
}
