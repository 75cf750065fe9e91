package admission

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// The real controller, unlimited, 1 % of 1 s among 1 ms, 455/s = 5 places busy.
func TestZZRealTail(t *testing.T) {
	for _, x := range []struct {
		p    float64
		a, b time.Duration
		rate float64
	}{{.01, time.Millisecond, time.Second, 455}, {.01, 2 * time.Millisecond, 500 * time.Millisecond, 700}, {.01, 2 * time.Millisecond, 2 * time.Second, 100}, {.002, 5 * time.Millisecond, 5 * time.Second, 300}} {
		synctest.Test(t, func(t *testing.T) {
			c := newController(t)
			r := rand.New(rand.NewPCG(1, 2))
			var off, ref, refA int
			for sec := range 6 {
				off, ref, refA = 0, 0, 0
				end := time.Now().Add(20 * time.Second)
				for time.Now().Before(end) {
					time.Sleep(time.Duration(r.ExpFloat64() / x.rate * 1e9))
					d := x.a
					if r.Float64() < x.p {
						d = x.b
					}
					off++
					go func() {
						if c.hold(context.Background(), 1, d) != nil {
							ref++
							if d == x.a {
								refA++
							}
						}
					}()
				}
				s := c.Snapshot()
				t.Logf("%v/%v %g: %3d s: refused %.1f %%; limit %d in flight %d knee %.1f service %v saturated %v", x.a, x.b, x.p, 20*(sec+1), 100*float64(ref)/float64(off), s.Limit, s.InFlight, s.Knee, s.ServiceTime, s.Saturated)
			}
			time.Sleep(time.Minute)
		})
	}
}
