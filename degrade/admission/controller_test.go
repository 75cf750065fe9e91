package admission_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		name string
		opt  admission.Option
		want string // part of the error; empty for none
	}{
		{"one tier", admission.WithTiers("only"), ""},
		{"no tiers", admission.WithTiers(), "0 tiers"},
		{"nine tiers", admission.WithTiers("a", "b", "c", "d", "e", "f", "g", "h", "i"), "9 tiers"},
		{"the same twice", admission.WithTiers("a", "a"), `"a" is there twice`},
		{"a tier without a name", admission.WithTiers("a", ""), "tier 1 has no name"},
		{"no places", admission.WithLimit(0), "0 places"},
		{"fewer than no places", admission.WithLimit(-3), "-3 places"},
		{"no function", admission.WithEvents(nil), "nil"},
		{"a seed", admission.WithSeed(7), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := admission.New(test.opt)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || c != nil {
				t.Errorf("New: %v, %v, want an error with %q", c, err, test.want)
			}
		})
	}
}

func TestTiers(t *testing.T) {
	c, err := admission.New()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Tiers(); !slices.Equal(got, []string{"critical", "important", "standard", "optional"}) {
		t.Errorf("tiers %q", got)
	}
	if rank, ok := c.Rank("standard"); rank != 2 || !ok {
		t.Errorf("standard has rank %d, %v", rank, ok)
	}
	if _, ok := c.Rank("Standard"); ok {
		t.Error("a tier that there is not was found")
	}
	// Ranks beyond the tiers do no harm.
	for _, rank := range []int{-1, 4, 1 << 40} {
		p, err := c.Acquire(t.Context(), admission.Request{Tier: rank, Class: rank})
		if err != nil {
			t.Fatal(err)
		}
		p.Release(admission.Served)
	}
	if s := c.Snapshot(); s.Tiers[0].Admitted != 1 || s.Tiers[3].Admitted != 2 {
		t.Errorf("admitted %+v", s.Tiers)
	}
}

func TestRefusal(t *testing.T) {
	c, end := full(t)
	defer end()
	_, err := c.Acquire(t.Context(), admission.Request{Tier: 2, Caller: "u"})
	var refusal *admission.RefusedError
	if !errors.As(err, &refusal) || !errors.Is(err, admission.ErrRefused) {
		t.Fatalf("got %v", err)
	}
	if refusal.Tier != 2 || refusal.TierName != "standard" || refusal.Reason != admission.QueueFull || refusal.RetryAfter <= 0 {
		t.Errorf("got %+v", *refusal)
	}
	if text := err.Error(); !strings.Contains(text, "standard") || !strings.Contains(text, "retry after") {
		t.Errorf("error text %q", text)
	}
	if s := c.Snapshot(); s.Tiers[2].Refused != 1 || s.Tiers[2].Arrivals != 1 || s.Tiers[2].RefusedShare != 1 {
		t.Errorf("snapshot %+v", s.Tiers[2])
	}
	// One that is more important than some who wait takes the turn of one of them.
	// Here they are all of the first tier, and one caller, so nobody is.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Acquire(ctx, admission.Request{}); err == nil {
		t.Error("admitted without a place")
	}
}

func TestDeadline(t *testing.T) {
	inBubble(t, plain, 20, func(t *testing.T, r *run) {
		r.load(3, quarter, 2*time.Second)
		// Those of 5 ms cannot be answered, so they are told at once.
		reasons := map[admission.Reason]int{}
		for range 200 {
			ctx, cancel := context.WithTimeout(t.Context(), 5*ms)
			start := time.Now()
			p, err := r.Acquire(ctx, admission.Request{Tier: 0})
			var refusal *admission.RefusedError
			if errors.As(err, &refusal) {
				reasons[refusal.Reason]++
				if waited := time.Since(start); refusal.Reason == admission.Deadline && waited > 0 {
					t.Errorf("waited %v to be told that there is no time", waited)
				}
			}
			p.Release(admission.Failed)
			cancel()
			r.load(3, quarter, 5*ms)
		}
		if reasons[admission.Deadline] == 0 {
			t.Errorf("refused for %v, never for the deadline", reasons)
		}
	})
}

// Within a tier that is shed in part, some callers are served wholly and some
// not at all, for an hour.
func TestWholeUsers(t *testing.T) {
	inBubble(t, plain, 21, func(t *testing.T, r *run) {
		type luck struct{ served, refused int }
		serve := func(long time.Duration) map[string]*luck {
			users := map[string]*luck{}
			var mu sync.Mutex
			for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(125 * time.Microsecond) { // 10×
				caller := fmt.Sprint("user-", r.random.IntN(128))
				r.working.Go(func() {
					p, err := r.Acquire(context.Background(), admission.Request{Tier: 1, Caller: caller})
					mu.Lock()
					if users[caller] == nil {
						users[caller] = &luck{}
					}
					if err != nil {
						users[caller].refused++
					} else {
						users[caller].served++
					}
					mu.Unlock()
					if err == nil {
						r.serve(10 * ms)
						p.Release(admission.Served)
					}
				})
			}
			r.working.Wait()
			return users
		}
		serve(2 * time.Second)
		first := serve(5 * time.Second)
		whole, none := 0, 0
		for _, u := range first {
			if u.served > 9*u.refused {
				whole++
			}
			if u.refused > 9*u.served {
				none++
			}
		}
		if whole < 3 || none < 90 {
			t.Errorf("of %d users %d were served wholly and %d not at all; want 3 and 90 at the least", len(first), whole, none)
		}
		time.Sleep(time.Hour)
		serve(2 * time.Second)
		moved := 0
		for name, u := range serve(5 * time.Second) {
			if before := first[name]; before != nil && u.served > u.refused && before.refused > before.served {
				moved++
			}
		}
		if moved == 0 {
			t.Error("an hour later the same users are in luck")
		}
	})
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kinds []admission.EventKind
		inside := 0
		var c *admission.Controller
		c, err := admission.New(admission.WithEvents(func(e admission.Event) {
			if inside++; inside > 1 {
				t.Error("two events at a time")
			}
			kinds = append(kinds, e.Kind)
			c.Snapshot() // may be called, since the lock is not held
			inside--
		}))
		if err != nil {
			t.Fatal(err)
		}
		r := newRun(plain, 22)
		r.Controller = c
		r.load(0.8, quarter, 2*time.Second)
		r.load(5, quarter, 5*time.Second)
		r.slow.Store(500)
		r.load(5, quarter, 30*time.Second)
		r.load(0.05, quarter, 30*time.Second)
		r.working.Wait()
		for _, want := range []admission.EventKind{admission.KneeFound, admission.Saturated, admission.Probe, admission.Jump, admission.Relieved} {
			if !slices.Contains(kinds, want) {
				t.Errorf("no event %s", want)
			}
		}
		if i := slices.Index(kinds, admission.Relieved); i < slices.Index(kinds, admission.Saturated) {
			t.Error("relieved before it was saturated")
		}
	})
}

func TestSnapshot(t *testing.T) {
	inBubble(t, plain, 23, func(t *testing.T, r *run) {
		if s := r.Snapshot(); s.CutOff != 4 || s.Saturated || s.Limit == 0 {
			t.Errorf("at the start: %+v", s)
		}
		r.load(3, quarter, 12*time.Second)
		s := r.Snapshot()
		if s.Knee < 7 || s.Knee > 10 || s.Limit < 14 || s.Limit > 20 || !s.Saturated || s.Utilisation < 0.3 {
			t.Errorf("saturated: %+v", s)
		}
		// At 3×, the first tier gets 3/4 of the capacity, the second the rest.
		if s.CutOff != 1 || s.CutOffShare < 0.25 || s.CutOffShare > 0.45 {
			t.Errorf("cut off in tier %d and %.2f, want 1 and 0.33", s.CutOff, s.CutOffShare)
		}
		first, last := s.Tiers[0], s.Tiers[3]
		if first.RefusedShare > 0.02 || last.RefusedShare < 0.95 || first.Name != "critical" {
			t.Errorf("first %+v, last %+v", first, last)
		}
		if first.P50 < 10*ms || first.P50 > 30*ms || first.P99 < first.P50 || first.QueueDelay > 20*ms {
			t.Errorf("first: p50 %v, p99 %v, queue %v", first.P50, first.P99, first.QueueDelay)
		}
		for _, tier := range s.Tiers {
			if tier.Arrivals != tier.Admitted+tier.Refused+uint64(tier.Waiting) {
				t.Errorf("%+v does not add up", tier)
			}
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := admission.New()
		if err != nil {
			t.Fatal(err)
		}
		reader := metric.NewManualReader()
		stop, err := admission.RegisterMetrics(metric.NewMeterProvider(metric.WithReader(reader)), c)
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.Acquire(t.Context(), admission.Request{Tier: 1})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		p.Release(admission.Served)
		if p, err = c.Acquire(t.Context(), admission.Request{}); err != nil {
			t.Fatal(err)
		}

		// values are by name, and by tier after a slash.
		values := func() map[string]float64 {
			all := map[string]float64{}
			var read metricdata.ResourceMetrics
			if err := reader.Collect(t.Context(), &read); err != nil {
				t.Fatal(err)
			}
			for _, scope := range read.ScopeMetrics {
				for _, m := range scope.Metrics {
					name := strings.TrimPrefix(m.Name, "plimsoll.admission.")
					of := func(set attribute.Set) string {
						if tier, ok := set.Value("tier"); ok {
							return name + "/" + tier.AsString()
						}
						return name
					}
					switch data := m.Data.(type) {
					case metricdata.Gauge[float64]:
						for _, point := range data.DataPoints {
							all[of(point.Attributes)] = point.Value
						}
					case metricdata.Sum[int64]:
						if !data.IsMonotonic {
							t.Errorf("%s may fall", m.Name)
						}
						for _, point := range data.DataPoints {
							all[of(point.Attributes)] = float64(point.Value)
						}
					default:
						t.Errorf("%s is a %T", m.Name, data)
					}
				}
			}
			return all
		}
		got := values()
		for name, want := range map[string]float64{
			"limit": 8, "in_flight": 1, "utilisation": 0.125, "knee": 0, "saturated": 0, "cut_off": 4,
			"waiting/critical": 0, "admitted/critical": 1, "admitted/important": 1, "admitted/optional": 0, "refused/important": 0,
			"queue_delay/important": 0, "duration_p50/critical": 0,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s is %g (%v), want %g", name, v, ok, want)
			}
		}
		for _, name := range []string{"service_time", "duration_p50/important", "duration_p99/important"} {
			if v := got[name]; v < 0.08 || v > 0.12 {
				t.Errorf("%s is %g, want about 0.1", name, v)
			}
		}
		if len(got) != 7+6*4 {
			t.Errorf("%d values: %v", len(got), got)
		}
		p.Release(admission.Served)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got := values(); len(got) > 0 {
			t.Errorf("after the stop: %v", got)
		}
	})
}
