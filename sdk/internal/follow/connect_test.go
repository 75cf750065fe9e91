package follow_test

import (
	"errors"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/plimsoll-dev/plimsoll/sdk/internal/fakeserver"
)

// ended is how a server ends a stream: UNAVAILABLE with metadata.
func ended(key, value string) *connect.Error {
	err := connect.NewError(connect.CodeUnavailable, errors.New("the stream ends"))
	err.Meta().Set(key, value)
	return err
}

func TestSilenceEndsAStream(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": on})
		w.follow(s)
		w.after(time.Minute)
		w.wantLive(true)
		if n := len(s.Asked()); n != 1 {
			t.Fatalf("connected %d times within a minute of heartbeats, want once", n)
		}
		// The last heartbeat came at this very moment.
		s.Silence(true)
		w.after(15*time.Second - time.Millisecond)
		w.wantLive(true)
		w.after(2 * time.Millisecond)
		w.wantLive(false)
		w.wantServed("f", true)
		s.Silence(false)
		w.after(20 * time.Second)
		w.wantLive(true)
	})
}

func TestDialThatHangsIsGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.server("a", "store-1"), w.server("b", "store-1")
		w.network.Hang("a", true)
		w.follow(a, b)
		w.after(14 * time.Second)
		w.wantLive(false)
		w.after(2 * time.Second)
		w.wantLive(true)
	})
}

// A stream that ends counts as replaced at once, for as long as that takes at
// most two seconds.
func TestSuccessorThatHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.server("a", "store-1"), w.server("b", "store-1")
		w.follow(a, b)
		w.after(6 * time.Second)
		w.network.Hang("b", true)
		a.End(nil)
		w.after(2*time.Second - time.Millisecond)
		w.wantLive(true)
		w.after(2 * time.Millisecond)
		w.wantLive(false)
		w.network.Hang("b", false)
		w.after(16 * time.Second)
		w.wantLive(true)
	})
}

func TestBackoff(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Refuse(connect.NewError(connect.CodeUnavailable, errors.New("no")))
		var pauses []time.Duration
		w.draw = func(most time.Duration) time.Duration {
			pauses = append(pauses, most)
			return most
		}
		w.follow(s)
		w.after(40 * time.Second)
		s.Refuse(nil)
		w.after(10 * time.Second)
		w.wantLive(true)
		w.after(6 * time.Second)
		s.Refuse(connect.NewError(connect.CodeUnavailable, errors.New("no")))
		s.End(nil)
		w.after(time.Second)
		w.stop()

		want := []time.Duration{
			400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond,
			3200 * time.Millisecond, 6400 * time.Millisecond,
			8 * time.Second, 8 * time.Second, 8 * time.Second, 8 * time.Second,
			// After a healthy stream.
			200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond,
		}
		for i := range want {
			if i >= len(pauses) || pauses[i] != want[i] {
				t.Fatalf("pauses were drawn from up to %v, want %v", pauses, want)
			}
		}
	})
}

// A stream that works but never lasts does not make a busy loop.
func TestStreamsThatDoNotLastBackOff(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		w.follow(s)
		for range 600 {
			s.End(nil)
			w.after(100 * time.Millisecond)
		}
		if n := len(s.Asked()); n > 15 {
			t.Errorf("connected %d times within a minute, want at most 15", n)
		}
		w.wantLive(false)
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		err := connect.NewError(connect.CodeResourceExhausted, errors.New("too many streams"))
		err.Meta().Set("plimsoll-retry-after", "20")
		s.Refuse(err)
		w.follow(s)
		s.Refuse(nil)
		w.after(20*time.Second - time.Millisecond)
		if n := len(s.Asked()); n != 1 {
			t.Fatalf("asked again %d times before the 20 s that were asked for", n-1)
		}
		w.after(10*time.Second + 2*time.Millisecond)
		w.wantLive(true)
	})
}

func TestRetryAfterDoesNotKeepFromOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.server("a", "store-1"), w.server("b", "store-1")
		err := connect.NewError(connect.CodeResourceExhausted, errors.New("too many streams"))
		err.Meta().Set("plimsoll-retry-after", "20")
		a.Refuse(err)
		w.follow(a, b)
		w.after(time.Second)
		w.wantLive(true)
		b.Stop()
		w.after(15 * time.Second)
		if n := len(a.Asked()); n != 1 {
			t.Errorf("asked again %d times before the 20 s that were asked for", n-1)
		}
	})
}

func TestEndpointsAreTriedInTurn(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b, c := w.server("a", "store-1"), w.server("b", "store-1"), w.server("c", "store-1")
		c.Put(map[string]string{"f": on})
		a.Stop()
		b.Stop()
		w.follow(a, b, c)
		w.after(2 * time.Second)
		w.wantLive(true)
		w.wantServed("f", true)
		if a.Streams()+b.Streams() != 0 || c.Streams() != 1 {
			t.Errorf("streams: %d, %d, %d, want one at the third", a.Streams(), b.Streams(), c.Streams())
		}
	})
}

func TestDrainingServerSendsElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.server("a", "store-1"), w.server("b", "store-1")
		w.follow(a, b)
		w.after(6 * time.Second)
		w.taken()
		end := ended("plimsoll-reconnect", "elsewhere")
		a.Refuse(end)
		a.End(end)
		w.after(time.Second)
		w.wantLive(true)
		if b.Streams() != 1 || len(a.Asked()) != 1 {
			t.Errorf("the drained server was asked %d times, the other has %d streams, want 1 and 1", len(a.Asked()), b.Streams())
		}
		if c := w.taken(); len(c) != 0 {
			t.Errorf("a move that took less than a second was told: %+v", c)
		}
	})
}

// A dead server in the list must not make a move look like an outage.
func TestDrainPastADeadServer(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		dead, a, b := w.server("dead", "store-1"), w.server("a", "store-1"), w.server("b", "store-1")
		dead.Stop()
		w.follow(a, dead, b)
		w.after(6 * time.Second)
		w.taken()
		end := ended("plimsoll-reconnect", "elsewhere")
		a.Refuse(end)
		a.End(end)
		w.after(time.Second)
		w.wantLive(true)
		if b.Streams() != 1 {
			t.Errorf("%d streams at the one that lives", b.Streams())
		}
		if c := w.taken(); len(c) != 0 {
			t.Errorf("a move that took less than a second was told: %+v", c)
		}
	})
}

func TestServersNeverTriedAreTriedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b, c := w.server("a", "store-1"), w.server("b", "store-1"), w.server("c", "store-1")
		a.Stop()
		b.Stop()
		began := time.Now()
		w.follow(a, b, c)
		w.wantLive(true)
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %s of pauses to get to the third", took)
		}
	})
}

func TestUnconfirmedServer(t *testing.T) {
	t.Run("another is preferred", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			a, b := w.server("a", "store-1"), w.server("b", "store-1")
			w.follow(a, b)
			a.SetConfirmedAge(14 * time.Second)
			w.after(6 * time.Second)
			if a.Streams() != 1 {
				t.Fatal("moved away from a server that was confirmed 14 s ago")
			}
			w.taken()
			a.SetConfirmedAge(16 * time.Second)
			w.after(6 * time.Second)
			w.wantLive(true)
			if b.Streams() != 1 || a.Streams() != 0 {
				t.Errorf("streams: %d, %d, want one at the second", a.Streams(), b.Streams())
			}
			if c := w.taken(); len(c) != 0 {
				t.Errorf("the move was told: %+v", c)
			}
		})
	})
	t.Run("alone it makes stale", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			s := w.server("a", "store-1")
			w.follow(s)
			s.SetConfirmedAge(16 * time.Second)
			w.after(6 * time.Second)
			w.wantLive(false)
			s.Put(map[string]string{"f": on})
			w.wantServed("f", true)
			w.wantLive(false)
			s.SetConfirmedAge(0)
			w.after(5 * time.Second)
			w.wantLive(true)
			if n := len(s.Asked()); n != 1 {
				t.Errorf("connected %d times, want once", n)
			}
		})
	})
	t.Run("all make stale, and the first to recover is found", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			a, b := w.server("a", "store-1"), w.server("b", "store-1")
			w.follow(a, b)
			a.SetConfirmedAge(time.Minute)
			b.SetConfirmedAge(time.Minute)
			w.after(time.Minute)
			w.wantLive(false)
			w.taken()
			w.after(time.Minute)
			for _, c := range w.taken() {
				if c.New.Trouble == nil {
					t.Fatal("a server that had not been confirmed counted as live before it said so")
				}
			}
			a.SetConfirmedAge(0)
			w.after(25 * time.Second)
			w.wantLive(true)
		})
	})
}

func TestAnotherStoreIsAdopted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		s.Put(map[string]string{"f": on, "old": on})
		s.MoveTo(1, 5000)
		w.follow(s)
		w.after(6 * time.Second)

		s.Stop()
		s.Wipe("store-2")
		s.Put(map[string]string{"f": off, "a": on, "b": on, "c": on})
		w.after(5 * time.Minute) // so that the pause is the longest there is
		restarted := time.Now()
		s.Start()
		w.after(9 * time.Second)
		w.wantLive(false)
		w.wantStore("store-1")
		w.wantServed("f", true)
		if s.Streams() != 1 {
			t.Fatal("the stream of the other store was not kept")
		}
		s.Put(map[string]string{"d": on}) // goes into the candidate
		w.taken()
		for w.now().Store != "store-2" {
			if time.Since(restarted) > 45*time.Second {
				t.Fatal("not adopted within 45 s of the restart")
			}
			w.after(100 * time.Millisecond)
		}
		if d := time.Since(restarted); d < 30*time.Second {
			t.Errorf("adopted after %s, before the 30 s", d)
		}
		w.wantLive(true)
		w.wantServed("f", false)
		w.wantServed("d", true)
		if n := w.now().Set.Len(); n != 5 {
			t.Errorf("%d flags, want the 5 of the new store", n)
		}
		if w.logged("adopting another store") != 1 {
			t.Errorf("no warning in the log:\n%s", &w.log)
		}
		s.Put(map[string]string{"f": on})
		w.wantServed("f", true)
		if n := s.Streams(); n != 1 {
			t.Errorf("%d streams, want the one", n)
		}
	})
}

func TestAnotherStoreIsNotAdopted(t *testing.T) {
	t.Run("when the own one comes back", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			own, other := w.server("a", "store-1"), w.server("b", "store-2")
			own.Put(map[string]string{"f": on})
			other.Put(map[string]string{"f": off})
			w.follow(own, other)
			w.after(6 * time.Second)
			own.Stop()
			w.after(12 * time.Second)
			w.wantLive(false)
			own.Start()
			w.after(15 * time.Second)
			w.wantLive(true)
			w.wantStore("store-1")
			w.after(time.Minute)
			w.wantStore("store-1")
			w.wantServed("f", true)
		})
	})
	t.Run("when another endpoint has the own one", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			own, wiped := w.server("a", "store-1"), w.server("b", "store-1")
			w.follow(wiped, own)
			wiped.Stop()
			wiped.Wipe("store-2")
			wiped.Start()
			w.after(2 * time.Minute)
			w.wantLive(true)
			w.wantStore("store-1")
			if own.Streams() != 1 {
				t.Error("no stream from the server with the own store")
			}
		})
	})
	t.Run("when the own one is seen in between", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			a := w.server("a", "store-1")
			w.follow(a)
			swap := func(store string, revision int64) {
				a.Stop()
				a.Wipe(store)
				a.MoveTo(1, revision)
				a.Start()
			}
			swap("store-2", 1)
			w.after(20 * time.Second)
			swap("store-1", 100)
			w.after(20 * time.Second)
			w.wantLive(true)
			swap("store-2", 2)
			w.after(25 * time.Second)
			w.wantStore("store-1")
			w.after(15 * time.Second)
			w.wantStore("store-2")
		})
	})
	t.Run("when each server has another", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			a := w.server("a", "store-1")
			a.Put(map[string]string{"f": on})
			w.follow(a)
			for _, store := range []string{"store-2", "store-3", "store-4"} {
				w.after(20 * time.Second)
				a.Stop()
				a.Wipe(store)
				a.Start()
			}
			w.after(10 * time.Second)
			w.wantStore("store-1")
			w.after(35 * time.Second)
			w.wantStore("store-4")
		})
	})
}

// An app with several endpoints follows when all of them were wiped, even
// those that do not answer at all.
func TestAnotherStoreAtAllEndpoints(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		servers := []*fakeserver.Server{w.server("a", "store-1"), w.server("b", "store-1"), w.server("c", "store-1")}
		w.follow(servers...)
		w.after(6 * time.Second)
		for _, s := range servers {
			s.Stop()
			s.Wipe("store-2")
		}
		servers[0].Start()
		servers[1].Start()
		w.after(45 * time.Second)
		w.wantStore("store-2")
		w.wantLive(true)
	})
}

func TestLowerHeadIsAdopted(t *testing.T) {
	for _, endpoints := range []int{1, 3} {
		inBubble(t, func(t *testing.T, w *world) {
			var servers []*fakeserver.Server
			for _, host := range []string{"a", "b", "c"}[:endpoints] {
				s := w.server(host, "store-1")
				s.Put(map[string]string{"f": on})
				s.MoveTo(1, 100)
				servers = append(servers, s)
			}
			w.follow(servers...)
			w.after(6 * time.Second)
			for _, s := range servers {
				s.Stop()
				s.Put(map[string]string{"f": off})
				s.MoveTo(1, 60)
				s.Start()
			}
			w.after(29 * time.Second)
			w.wantLive(false)
			w.wantServed("f", true)
			w.after(16 * time.Second)
			w.wantLive(true)
			w.wantServed("f", false)
			if r := w.now().Set.Revision(); r != 60 {
				t.Errorf("revision %d, want 60", r)
			}
			if w.logged("adopting an older state") != 1 {
				t.Errorf("no warning in the log:\n%s", &w.log)
			}
			servers[0].Put(map[string]string{"f": on})
			for _, s := range servers[1:] {
				s.Put(map[string]string{"f": on})
			}
			w.wantServed("f", true)
		})
	}
}

// Of several lower heads the highest is adopted, in whichever order they are
// seen.
func TestHighestLowerHeadIsAdopted(t *testing.T) {
	for _, heads := range [][]int64{{60, 50}, {50, 60}, {50, 60, 60}, {60, 50, 60}, {60, 60, 50}} {
		inBubble(t, func(t *testing.T, w *world) {
			var servers []*fakeserver.Server
			for i := range heads {
				servers = append(servers, w.server([]string{"a", "b", "c"}[i], "store-1"))
			}
			servers[0].MoveTo(1, 100)
			w.follow(servers...)
			w.after(6 * time.Second)
			servers[0].Stop()
			for i, s := range servers {
				s.MoveTo(1, heads[i])
			}
			servers[0].Start()
			w.after(time.Minute)
			w.wantLive(true)
			for _, c := range w.taken() {
				if r := c.New.Set.Revision(); r == 50 {
					t.Fatalf("heads %v: revision 50 was adopted though another server had confirmed 60", heads)
				}
			}
			if r := w.now().Set.Revision(); r != 60 {
				t.Errorf("heads %v: revision %d, want 60", heads, r)
			}
		})
	}
}

// A lower head is not adopted before every endpoint was asked.
func TestLowerHeadWaitsForAllEndpoints(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.server("a", "store-1"), w.server("b", "store-1")
		for _, s := range []*fakeserver.Server{a, b} {
			s.MoveTo(1, 100)
		}
		busy := connect.NewError(connect.CodeResourceExhausted, errors.New("too many streams"))
		busy.Meta().Set("plimsoll-retry-after", "50")
		b.Refuse(busy)
		a.Stop()
		w.follow(a, b)
		w.after(time.Second)
		b.Refuse(nil)
		a.Start()
		w.after(10 * time.Second)
		w.wantLive(true)
		if len(b.Asked()) != 1 {
			t.Fatal("the second server was not asked")
		}
		a.Stop()
		a.MoveTo(1, 60)
		a.Start()
		w.after(2 * time.Minute)
		w.wantLive(true)
		for _, c := range w.taken() {
			if c.New.Set != nil && c.New.Set.Revision() != 100 {
				t.Fatalf("revision %d was adopted before the server with 100 was asked", c.New.Set.Revision())
			}
		}
	})
}

func TestServerBehindSendsElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ahead, behind := w.server("a", "store-1"), w.server("b", "store-1")
		ahead.Put(map[string]string{"f": on})
		ahead.MoveTo(1, 100)
		behind.MoveTo(1, 60)
		w.follow(ahead, behind)
		w.after(6 * time.Second)
		ahead.End(nil)
		w.after(5 * time.Second)
		w.wantLive(true)
		if ahead.Streams() != 1 || len(behind.Asked()) != 1 {
			t.Errorf("streams at the server ahead: %d, asked the one behind %d times; want 1 and 1", ahead.Streams(), len(behind.Asked()))
		}
		w.after(2 * time.Minute)
		if r := w.now().Set.Revision(); r != 100 {
			t.Errorf("revision %d, want 100", r)
		}
	})
}

// What a server says of a head is believed only if it is lower than what was
// applied.
func TestNonsenseBehind(t *testing.T) {
	for _, head := range []string{"1/200", "", "x", "1/-5", "1"} {
		inBubble(t, func(t *testing.T, w *world) {
			s := w.server("a", "store-1")
			s.MoveTo(1, 100)
			w.follow(s)
			s.Refuse(ended("plimsoll-behind", head))
			s.End(nil)
			w.after(2 * time.Minute)
			for _, r := range s.Asked()[1:] {
				if r.Since.GetRevision() != 100 {
					t.Fatalf("head %q: asked for what comes after %v, want 1/100", head, r.Since)
				}
			}
		})
	}
}

func TestRequestSaysWhoAsks(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.server("a", "store-1")
		w.follow(s)
		r := s.Asked()[0]
		if r.Namespace != "shop" || r.Client.GetInstanceId() != "i" {
			t.Errorf("asked with %v", r)
		}
	})
}
