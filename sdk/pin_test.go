package sdk_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk"
)

func TestPinnedContextSeesOneRevision(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.start()
		f := sdk.Bool(a.provider, "f", false)
		early := sdk.Pin(t.Context())
		pinned := sdk.Pin(t.Context())
		served := func(ctx context.Context) [3]bool {
			t.Helper()
			value, err := a.client.BooleanValue(ctx, "f", false, nobody)
			if err != nil {
				t.Error(err)
			}
			return [3]bool{value, f.Value(ctx, nil), f.Details(ctx, nil).Value}
		}
		all := func(v bool) [3]bool { return [3]bool{v, v, v} }
		if got := served(pinned); got != all(true) {
			t.Errorf("pinned: %v", got)
		}
		a.server.Put(map[string]string{"f": off})
		a.after(0)
		type key struct{}
		check := func(what string, ctx context.Context, want bool) {
			t.Helper()
			if got := f.Value(ctx, nil); got != want {
				t.Errorf("%s: handle served %v", what, got)
			}
			if ctx == nil {
				return // the OpenFeature client takes none
			}
			if got := served(ctx); got != all(want) {
				t.Errorf("%s: %v", what, got)
			}
		}
		check("not pinned", t.Context(), false)
		check("pinned, evaluated before", pinned, true)
		check("made from it", context.WithValue(pinned, key{}, 1), true)
		check("pinned again", sdk.Pin(pinned), true)
		check("pinned, evaluated after", early, false)
		var none context.Context
		check("no context, an app's mistake", none, false)
	})
}

// Two providers are pinned apart.
func TestPinHoldsForEveryProvider(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		other := a.newProvider()
		defer other.Shutdown()
		if err := other.Init(nobody); err != nil {
			t.Fatal(err)
		}
		a.start()
		one, two := sdk.Bool(a.provider, "f", false), sdk.Bool(other, "f", false)
		ctx := sdk.Pin(t.Context())
		one.Value(ctx, nil)
		a.server.Put(map[string]string{"f": off})
		a.after(0)
		if !one.Value(ctx, nil) || two.Value(ctx, nil) || one.Value(t.Context(), nil) {
			t.Error("the view of one provider is not its own")
		}
	})
}

// Before there are flags nothing is pinned.
func TestPinWithoutFlags(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Stop()
		a.start()
		f, ctx := sdk.Bool(a.provider, "f", true), sdk.Pin(t.Context())
		if !f.Value(ctx, nil) {
			t.Error("not the caller's default")
		}
		a.server.Put(map[string]string{"f": off})
		a.server.Start()
		a.after(10 * time.Second)
		if f.Value(ctx, nil) {
			t.Error("the first flags did not reach the pinned context")
		}
	})
}

// Somebody without a targeting key is shed or not for a whole pinned context,
// and at the right rate over many.
func TestKeylessDrawIsPinned(t *testing.T) {
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": optional, "g": optional})
		a.server.SetLevel(&plimsollv1.LevelState{AutoMillionths: 400_000, Seed: "5eed5eed5eed5eed"})
		a.start()
		f, g := sdk.Bool(a.provider, "f", false), sdk.Bool(a.provider, "g", false)
		const n = 10_000
		shed, loose := 0, 0
		for range n {
			ctx := sdk.Pin(t.Context())
			first := f.Value(ctx, nil)
			for range 3 {
				if f.Value(ctx, nil) != first || g.Value(ctx, nil) != first {
					t.Fatal("the draw differs within one pinned context")
				}
			}
			if !first {
				shed++
			}
			if !f.Value(t.Context(), nil) {
				loose++
			}
		}
		// Four standard deviations of a binomial distribution are 0.02.
		for what, k := range map[string]int{"pinned": shed, "not pinned": loose} {
			if share := float64(k) / n; share < 0.38 || share > 0.42 {
				t.Errorf("%s: %.3f were shed, want 0.4", what, share)
			}
		}
	})
}

// 200 goroutines evaluate while a thousand changes arrive. No set is ever half of
// one change and half of another, a pinned context sees one revision, and nobody
// goes back.
func TestManyEvaluateWhileMuchChanges(t *testing.T) {
	const readers, changes = 200, 1000
	inBubble(t, func(t *testing.T, a *app) {
		counter := func(i int) string {
			return fmt.Sprintf(`{"state":"ENABLED","variants":{"v":%d},"defaultVariant":"v"}`, i)
		}
		change := func(i int) { a.server.Put(map[string]string{"a": counter(i), "b": counter(i)}) }
		change(0)
		a.start()
		one, two := sdk.Int(a.provider, "a", -1), sdk.Int(a.provider, "b", -1)
		var work sync.WaitGroup
		stop := make(chan struct{})
		for range readers {
			work.Go(func() {
				var newest int64
				for {
					select {
					case <-stop:
						return
					default:
					}
					ctx := sdk.Pin(context.Background())
					x := one.Value(ctx, nil)
					y := a.provider.IntEvaluation(ctx, "b", -1, openfeature.FlattenedContext{}).Value
					z := two.Value(ctx, nil)
					if x != y || x != z || x < newest {
						t.Errorf("served %d, %d and %d after %d", x, y, z, newest)
						return
					}
					newest = x
					runtime.Gosched() // or 200 that spin keep the change from getting through
					if loose := two.Value(context.Background(), nil); loose < newest {
						t.Errorf("served %d after %d", loose, newest)
						return
					}
				}
			})
		}
		// The bubble's clock stands still while readers run, so arrivals are as
		// close together as the processor allows.
		for i := 1; i <= changes; i++ {
			change(i)
		}
		for one.Value(context.Background(), nil) != changes {
			runtime.Gosched()
		}
		close(stop)
		work.Wait()
	})
}
