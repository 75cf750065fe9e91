package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// answer is what a visitor gets.
type answer int

const (
	good answer = iota
	refused
	late
	answers
)

// asker asks a shop for a page.
type asker func(ctx context.Context, path string) answer

// maxVisitors is how many visitors of one shop can be waiting; more are counted
// as too late without being sent.
const maxVisitors = 5000

// board counts answers by page.
type board struct {
	offered [len(pages)]atomic.Int64
	got     [len(pages)][answers]atomic.Int64
}

// visitors come at random and independently of each other (Poisson), and each
// asks both shops for the same page.
type visitors struct {
	shops  [2]asker // with and without admission
	height float64  // of the load, in times the capacity
	length time.Duration
	random *rand.Rand

	boards [2]board // of all visitors
	peak   [2]board // of those who come at the height, from peakFrom on
	began  time.Time
	inside [2]atomic.Int64
}

const calm = 0.5

// load is the load at a time: calm, then high, then calm.
func (v *visitors) load(at time.Duration) float64 {
	if at < v.length/5 || at >= v.length*4/5 {
		return calm
	}
	return v.height
}

// counts says whether a visitor who comes at this time counts for the summary:
// the load has been high for a second.
func (v *visitors) counts(at time.Duration) bool {
	return at >= v.length/5+time.Second && at < v.length*4/5-patience
}

// come lets visitors come until the context ends, and waits for the last.
func (v *visitors) come(ctx context.Context) {
	v.began = time.Now()
	var all sync.WaitGroup
	defer all.Wait()
	next := time.Duration(0)
	for {
		next += time.Duration(v.random.ExpFloat64() / (v.load(next) * capacity) * float64(time.Second))
		// A timer that fires late is made up for: the next ones come at once.
		if wait := next - time.Since(v.began); wait > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		} else if ctx.Err() != nil {
			return
		}
		page, counts := v.random.IntN(len(pages)), v.counts(next)
		for side := range v.shops {
			all.Go(func() { v.visit(side, page, counts) })
		}
	}
}

// visit asks one shop for a page. A visitor who has come stays for an answer,
// whatever happens to the program.
func (v *visitors) visit(side, page int, counts bool) {
	boards := []*board{&v.boards[side]}
	if counts {
		boards = append(boards, &v.peak[side])
	}
	for _, b := range boards {
		b.offered[page].Add(1)
	}
	got := late
	if v.inside[side].Add(1) <= maxVisitors {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		got = v.shops[side](ctx, pages[page].path)
		if ctx.Err() != nil {
			got = late
		}
		cancel()
	}
	v.inside[side].Add(-1)
	for _, b := range boards {
		b.got[page][got].Add(1)
	}
}
