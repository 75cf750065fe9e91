package follow_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/internal/fakeserver"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/follow"
)

// zones is a world whose servers have ranks and answer to /readyz.
type zones struct {
	*world
	servers []*fakeserver.Server
	// well is what each server answers; asked is when it was asked.
	well  map[string]func(ctx context.Context) error
	asked map[string][]time.Time
	began time.Time
}

func inZones(t *testing.T, ranks []int, test func(t *testing.T, z *zones)) {
	t.Helper()
	inBubble(t, func(t *testing.T, w *world) {
		z := &zones{world: w, well: map[string]func(context.Context) error{}, asked: map[string][]time.Time{}, began: time.Now()}
		for i := range ranks {
			s := w.server(string(rune('a'+i)), "store-1")
			s.Put(map[string]string{"f": on})
			z.servers = append(z.servers, s)
		}
		// Half of what is drawn from: pauses are what they are on average.
		w.draw = func(most time.Duration) time.Duration { return most / 2 }
		config := w.config(z.servers...)
		for i := range config.Endpoints {
			e := &config.Endpoints[i]
			e.Rank = ranks[i]
			e.Ready = func(ctx context.Context) error {
				w.mu.Lock()
				z.asked[e.URL] = append(z.asked[e.URL], time.Now())
				well := z.well[e.URL]
				w.mu.Unlock()
				if well == nil {
					return errors.New("nothing listens there")
				}
				return well(ctx)
			}
		}
		w.follower = follow.New(config)
		test(t, z)
	})
}

// set says what a server answers from now on.
func (z *zones) set(i int, well func(context.Context) error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.well[z.servers[i].URL()] = well
}

func (z *zones) times(i int) (list []time.Duration) {
	synctest.Wait()
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, at := range z.asked[z.servers[i].URL()] {
		list = append(list, at.Sub(z.began))
	}
	return list
}

func (z *zones) wantStreamAt(i int) {
	z.t.Helper()
	synctest.Wait()
	for j, s := range z.servers {
		want := 0
		if j == i {
			want = 1
		}
		if n := s.Streams(); n != want {
			z.t.Fatalf("%d streams at server %d, want all at %d", n, j, i)
		}
	}
}

func well(context.Context) error { return nil }

func TestNearestFirst(t *testing.T) {
	inZones(t, []int{2, 0, 1, 0}, func(t *testing.T, z *zones) {
		z.start()
		z.wantStreamAt(1)
		z.after(6 * time.Second)
		z.servers[1].Stop()
		z.after(time.Second)
		z.wantStreamAt(3)
		z.after(6 * time.Second)
		z.servers[3].Stop()
		z.after(time.Second)
		z.wantStreamAt(2)
		z.after(6 * time.Second)
		z.servers[2].Stop()
		z.after(time.Second)
		z.wantStreamAt(0)
	})
}

// While all fail each gets its turn, far ones included.
func TestFarServersGetTheirTurn(t *testing.T) {
	inZones(t, []int{0, 0, 0, 2}, func(t *testing.T, z *zones) {
		for _, s := range z.servers {
			s.Stop()
		}
		z.start()
		z.after(10 * time.Second)
		z.servers[3].Start()
		z.after(30 * time.Second)
		z.wantStreamAt(3)
	})
}

func TestBackToTheNearest(t *testing.T) {
	inZones(t, []int{0, 2}, func(t *testing.T, z *zones) {
		z.servers[0].Stop()
		z.start()
		z.wantStreamAt(1)
		z.taken()
		z.after(20 * time.Second)
		z.servers[0].Start()
		z.set(0, well)
		z.after(10*time.Second - time.Millisecond)
		if asked := z.times(0); len(asked) != 0 {
			t.Fatalf("asked after %v, want 30 s", asked)
		}
		z.after(5 * time.Second)
		z.wantStreamAt(1) // one good answer is none
		z.after(time.Millisecond)
		z.wantStreamAt(0)
		if asked := z.times(0); !slices.Equal(asked, []time.Duration{30 * time.Second, 35 * time.Second}) {
			t.Errorf("asked after %v, want 30 s and 35 s", asked)
		}
		z.after(time.Minute)
		z.wantStreamAt(0)
		z.wantLive(true)
		if c := z.taken(); len(c) != 0 {
			t.Errorf("the move was told: %+v", c)
		}
		if n := len(z.times(0)) + len(z.times(1)); n != 2 {
			t.Errorf("asked %d times, want no more at the nearest", n)
		}
		if z.logged("going over") != 1 {
			t.Errorf("the log does not say so:\n%s", &z.log)
		}
	})
}

func TestAskedLessWhileItFails(t *testing.T) {
	inZones(t, []int{0, 2}, func(t *testing.T, z *zones) {
		z.servers[0].Stop()
		z.start()
		z.after(time.Hour)
		want := []time.Duration{30, 90, 210, 450, 930, 1530, 2130, 2730, 3330}
		for i := range want {
			want[i] *= time.Second
		}
		if asked := z.times(0); !slices.Equal(asked, want) {
			t.Errorf("asked after %v, want %v", asked, want)
		}
		z.wantStreamAt(1)
		// Once it is back, and has lasted, it is asked as often as at first.
		z.servers[0].Start()
		z.set(0, well)
		z.after(11 * time.Minute)
		z.wantStreamAt(0)
		z.set(0, nil)
		z.servers[0].Stop()
		z.after(time.Second)
		z.wantStreamAt(1)
		n := len(z.times(0))
		z.after(31 * time.Second)
		if asked := z.times(0); len(asked) != n+1 {
			t.Errorf("asked %d times in 31 s after a good time, want once", len(asked)-n)
		}
	})
}

// A bad answer after a good one begins anew.
func TestTwoGoodAnswersInARow(t *testing.T) {
	inZones(t, []int{0, 1}, func(t *testing.T, z *zones) {
		z.servers[0].Stop()
		z.start()
		answers := 0
		z.set(0, func(context.Context) error {
			if answers++; answers%2 == 0 {
				return errors.New("ok, but: etcd is lost")
			}
			return nil
		})
		z.servers[0].Start()
		z.after(20 * time.Minute)
		z.wantStreamAt(1)
		if answers < 4 {
			t.Errorf("asked %d times", answers)
		}
	})
}

// An answer that hangs holds nothing up, neither changes nor the end.
func TestAnswerThatHangs(t *testing.T) {
	inZones(t, []int{0, 1}, func(t *testing.T, z *zones) {
		z.servers[0].Stop()
		z.start()
		var gave []time.Duration
		z.set(0, func(ctx context.Context) error {
			began := time.Now()
			<-ctx.Done()
			gave = append(gave, time.Since(began))
			return ctx.Err()
		})
		z.after(31 * time.Second)
		z.servers[1].Put(map[string]string{"f": off})
		z.wantServed("f", false)
		z.after(2 * time.Second)
		if !slices.Equal(gave, []time.Duration{2 * time.Second}) {
			t.Errorf("gave up after %v, want 2 s", gave)
		}
		z.after(time.Minute) // the next question is being asked
		z.stop()
		if len(gave) != 2 || gave[1] >= 2*time.Second {
			t.Errorf("gave up after %v, want the end not to wait for the second", gave)
		}
	})
}

// Several ranks: one step at a time is as good as the whole way.
func TestAskedInTurn(t *testing.T) {
	inZones(t, []int{0, 0, 1, 2}, func(t *testing.T, z *zones) {
		for _, s := range z.servers[:3] {
			s.Stop()
		}
		z.start()
		z.wantStreamAt(3)
		z.after(10 * time.Minute)
		for i := range 3 {
			if len(z.times(i)) == 0 {
				t.Errorf("server %d was never asked", i)
			}
		}
		if n := len(z.times(3)); n != 0 {
			t.Errorf("the server that is followed was asked %d times", n)
		}
	})
}

// A server that says it is well and takes no stream does not make a follower go
// to and fro.
func TestWellButOfNoUse(t *testing.T) {
	inZones(t, []int{0, 1}, func(t *testing.T, z *zones) {
		z.servers[0].Refuse(ended("plimsoll-reconnect", "elsewhere"))
		z.set(0, well)
		z.start()
		z.after(time.Hour)
		z.wantStreamAt(1)
		if n := len(z.servers[0].Asked()); n > 12 {
			t.Errorf("the server was tried %d times within an hour, want ever less", n)
		}
		z.wantLive(true)
	})
}
