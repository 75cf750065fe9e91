package flag_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/memprovider"
	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/twmb/murmur3"
)

// The flags that the benchmarks compare: a static one, a simple rule, and a
// rollout in two equal parts.
const (
	staticFlag  = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}`
	ruleFlag    = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":{"if":[{"==":[{"var":"country"},"DE"]},"on",null]}}`
	rolloutFlag = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":{"fractional":[["on",50],["off",50]]}}`
	tieredFlag  = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","degradation":{"tier":"optional"}}`
)

var benchFlags = []flag.Source{{Key: "static", JSON: staticFlag}, {Key: "rule", JSON: ruleFlag}, {Key: "rollout", JSON: rolloutFlag}, {Key: "tiered", JSON: tieredFlag}}

// benchContext has five attributes.
var benchContext = map[string]any{
	"targetingKey": "user-4711", "country": "DE", "plan": "gold", "age": 42, "beta": true,
}

func setOf(tb testing.TB, u flag.Update) *flag.Set {
	tb.Helper()
	u.Reset = true
	s, problems := flag.Empty().With(u, time.Unix(0, 0))
	if len(problems) > 0 {
		tb.Fatalf("flags that do not compile: %v", problems)
	}
	return s
}

// memProvider serves the same flags by the OpenFeature SDK's own in-memory
// provider, the rules as Go functions.
func memProvider() *memprovider.InMemoryProvider {
	variants := map[string]any{"on": true, "off": false}
	evaluator := func(f func(memprovider.InMemoryFlag, openfeature.FlattenedContext) (any, openfeature.ProviderResolutionDetail)) memprovider.ContextEvaluator {
		return &f
	}
	pick := func(name string, f memprovider.InMemoryFlag) (any, openfeature.ProviderResolutionDetail) {
		return f.Variants[name], openfeature.ProviderResolutionDetail{Reason: openfeature.TargetingMatchReason, Variant: name}
	}
	rule := evaluator(func(f memprovider.InMemoryFlag, ctx openfeature.FlattenedContext) (any, openfeature.ProviderResolutionDetail) {
		if country, _ := ctx["country"].(string); country == "DE" {
			return pick("on", f)
		}
		return pick("off", f)
	})
	rollout := evaluator(func(f memprovider.InMemoryFlag, ctx openfeature.FlattenedContext) (any, openfeature.ProviderResolutionDetail) {
		key, _ := ctx["targetingKey"].(string)
		if uint64(murmur3.StringSum32(key))*100>>32 < 50 {
			return pick("on", f)
		}
		return pick("off", f)
	})
	return memprovider.NewInMemoryProvider(map[string]memprovider.InMemoryFlag{
		"static":  {Key: "static", State: memprovider.Enabled, DefaultVariant: "on", Variants: variants},
		"rule":    {Key: "rule", State: memprovider.Enabled, DefaultVariant: "off", Variants: variants, ContextEvaluator: rule},
		"rollout": {Key: "rollout", State: memprovider.Enabled, DefaultVariant: "off", Variants: variants, ContextEvaluator: rollout},
	})
}

func BenchmarkBool(b *testing.B) {
	set := setOf(b, flag.Update{Flags: benchFlags})
	peer, flat := memProvider(), openfeature.FlattenedContext(benchContext)
	for _, key := range []string{"static", "rule", "rollout"} {
		b.Run("peer=memprovider/flag="+key, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				peer.BooleanEvaluation(context.Background(), key, false, flat)
			}
		})
		b.Run("peer=plimsoll/flag="+key, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				set.Bool(key, false, benchContext)
			}
		})
	}
}

func BenchmarkBoolParallel(b *testing.B) {
	set := setOf(b, flag.Update{Flags: benchFlags})
	for _, key := range []string{"static", "rule", "rollout"} {
		for procs := 1; procs <= runtime.GOMAXPROCS(0); procs *= 2 {
			b.Run(fmt.Sprintf("flag=%s/procs=%d", key, procs), func(b *testing.B) {
				before := runtime.GOMAXPROCS(procs)
				defer runtime.GOMAXPROCS(before)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						set.Bool(key, false, benchContext)
					}
				})
			})
		}
	}
}

func BenchmarkBoolShed(b *testing.B) {
	for _, level := range []degrade.Level{0, 400_000, 1_000_000, 2_000_000} {
		set := setOf(b, flag.Update{Flags: benchFlags, Level: &degrade.LevelState{Auto: level, Seed: "0123456789abcdef"}})
		b.Run("level="+level.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				set.Bool("tiered", false, benchContext)
			}
		})
	}
}

func manyFlags(n int) []flag.Source {
	sources := make([]flag.Source, n)
	for i := range sources {
		sources[i] = flag.Source{Key: fmt.Sprintf("team-%d.feature-%d", i%100, i), JSON: string([]byte(staticFlag))}
	}
	return sources
}

func BenchmarkLoad100k(b *testing.B) {
	sources := manyFlags(100_000)
	b.ReportAllocs()
	for b.Loop() {
		setOf(b, flag.Update{Flags: sources})
	}
}

// BenchmarkHeap100k reports the heap per simple flag, its key and text included.
func BenchmarkHeap100k(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		set := setOf(b, flag.Update{Flags: manyFlags(100_000)})
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/100_000, "B/flag")
		runtime.KeepAlive(set)
	}
}

func BenchmarkChangeIn100k(b *testing.B) {
	set := setOf(b, flag.Update{Flags: manyFlags(100_000)})
	change := flag.Update{Flags: []flag.Source{{Key: "team-7.feature-7", JSON: ruleFlag}}}
	b.ReportAllocs()
	for b.Loop() {
		set.With(change, time.Unix(0, 0))
	}
}

// A snapshot of what the set has already.
func BenchmarkSnapshotIn100k(b *testing.B) {
	u := flag.Update{Reset: true, Flags: manyFlags(100_000)}
	set := setOf(b, u)
	b.ReportAllocs()
	for b.Loop() {
		set.With(u, time.Unix(0, 0))
	}
}

func BenchmarkLevelIn100k(b *testing.B) {
	set := setOf(b, flag.Update{Flags: manyFlags(100_000)})
	change := flag.Update{Level: &degrade.LevelState{Auto: 400_000, Seed: "0123456789abcdef"}}
	b.ReportAllocs()
	for b.Loop() {
		set.With(change, time.Unix(0, 0))
	}
}

// What counting costs, and what is saved by not looking the flag up.
func BenchmarkBoolCounted(b *testing.B) {
	set := setOf(b, flag.Update{Flags: benchFlags})
	counted := set.Counted(flag.NewCounts())
	for _, key := range []string{"static", "rule", "rollout"} {
		for name, s := range map[string]*flag.Set{"no": set, "yes": counted} {
			b.Run("flag="+key+"/counted="+name+"/found=each time", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s.Bool(key, false, benchContext)
				}
			})
			place := s.Find(key)
			b.Run("flag="+key+"/counted="+name+"/found=before", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s.BoolAt(place, false, benchContext)
				}
			})
		}
	}
}
