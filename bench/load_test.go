package bench

import (
	"runtime"
	"testing"
)

// manyFlags is how many flags BenchmarkLoad loads.
const manyFlags = 100_000

// BenchmarkLoad takes 100 000 flags from their JSON text to the first possible
// evaluation: static bools, or bools with one condition. heap-B/flag is what
// stays in memory for each.
func BenchmarkLoad(b *testing.B) {
	for _, kind := range []string{"static", "rule"} {
		b.Run("case="+kind+"/impl=launchdarkly", func(b *testing.B) {
			file := writeFile(b, manyLDFlags(kind, manyFlags))
			measureLoad(b, func() (loaded any, stop func()) {
				client := newLDClient(b, file)
				return client, func() {
					if err := client.Close(); err != nil {
						b.Error(err)
					}
				}
			})
		})
		b.Run("case="+kind+"/impl=plimsoll", func(b *testing.B) {
			sources := manyFlagSources(kind, manyFlags)
			measureLoad(b, func() (loaded any, stop func()) {
				return loadSources(b, sources), func() {}
			})
		})
	}
}

// measureLoad times load, and how much memory its result holds on to.
func measureLoad(b *testing.B, load func() (loaded any, stop func())) {
	var held int64
	for b.Loop() {
		b.StopTimer()
		before := liveHeap()
		b.StartTimer()
		loaded, stop := load()
		b.StopTimer()
		held += liveHeap() - before
		runtime.KeepAlive(loaded)
		stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(held)/float64(b.N)/manyFlags, "heap-B/flag")
}

// liveHeap is how many bytes are reachable.
func liveHeap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // a second time for what had a finalizer
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
