package store_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/store"
)

// report adds the p99 of the durations to a benchmark's output.
func report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

// BenchmarkWrite is a change of one flag with its audit record and head, until
// it is acknowledged and visible here; beside it a bare put of the same size.
func BenchmarkWrite(b *testing.B) {
	member := startMember(b, b.TempDir())
	s := openOn(b, member)
	one := func(i int) string {
		return fmt.Sprintf(`{"state":"ENABLED","variants":{"n":%d},"defaultVariant":"n"}`, i)
	}
	if _, _, err := s.CreateFlag(b.Context(), "default", "f", one(-1), by("ann")); err != nil {
		b.Fatal(err)
	}
	var n atomic.Int64
	write := func(ns string) error {
		def := one(int(n.Add(1)))
		_, _, err := s.UpdateFlag(b.Context(), ns, "f", store.FlagUpdate{Definition: &def}, by("ann"))
		return err
	}
	measure := func(b *testing.B, op func() error) {
		took := make([]time.Duration, 0, b.N)
		for b.Loop() {
			start := time.Now()
			if err := op(); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
		}
		report(b, took)
	}
	b.Run("plimsoll", func(b *testing.B) { measure(b, func() error { return write("default") }) })
	b.Run("etcd-put", func(b *testing.B) {
		measure(b, func() error {
			_, err := member.Client().Put(b.Context(), "/bench", one(int(n.Add(1))))
			return err
		})
	})
	for i := range 8 {
		ns := fmt.Sprintf("ns-%d", i)
		if _, err := s.CreateNamespace(b.Context(), ns, nil, by("ann")); err != nil {
			b.Fatal(err)
		}
		if _, _, err := s.CreateFlag(b.Context(), ns, "f", one(-1), by("ann")); err != nil {
			b.Fatal(err)
		}
	}
	parallel := func(b *testing.B, op func(worker int) error) {
		var worker atomic.Int64
		b.SetParallelism(4)
		b.RunParallel(func(pb *testing.PB) {
			w := int(worker.Add(1) - 1)
			for pb.Next() {
				if err := op(w); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	}
	b.Run("plimsoll-8-namespaces", func(b *testing.B) {
		parallel(b, func(w int) error { return write(fmt.Sprintf("ns-%d", w%8)) })
	})
	b.Run("etcd-put-8-keys", func(b *testing.B) {
		parallel(b, func(w int) error {
			_, err := member.Client().Put(b.Context(), fmt.Sprintf("/bench/%d", w%8), one(int(n.Add(1))))
			return err
		})
	})
}

// BenchmarkWatchToSnapshot is the time from a write's acknowledgement by etcd
// on one server until another server's snapshot shows it.
func BenchmarkWatchToSnapshot(b *testing.B) {
	member := startMember(b, b.TempDir())
	writer, reader := openOn(b, member), openOn(b, member)
	mustCreate(b, writer, "f", boolFlag)
	took := make([]time.Duration, 0, b.N)
	on := []bool{true, false}
	for i := 0; b.Loop(); i++ {
		res, _, err := writer.UpdateFlag(b.Context(), "default", "f", store.FlagUpdate{Enabled: &on[i%2]}, by("ann"))
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if res.Changed {
			eventually(b, reader, "the reader sees it", func() bool {
				return snapshot(b, reader).Revision() >= res.Position.GetRevision()
			})
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// fill applies n simple flags.
func fill(t testing.TB, s *store.Store, n int) {
	t.Helper()
	if _, err := s.Apply(t.Context(), "default", document(t, n, numbered), store.ApplyOptions{}, by("ann")); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkChangeIn100000 is one change of a namespace of 100 000 flags, etcd
// included.
func BenchmarkChangeIn100000(b *testing.B) {
	s := newStore(b)
	fill(b, s, 100_000)
	i := 0
	for b.Loop() {
		i++
		def := fmt.Sprintf(`{"state":"ENABLED","variants":{"n":%d},"defaultVariant":"n"}`, i)
		if _, _, err := s.UpdateFlag(b.Context(), "default", "flag-00042", store.FlagUpdate{Definition: &def}, by("ann")); err != nil {
			b.Fatal(err)
		}
	}
}

// TestSnapshotsShareStructure bounds what one change allocates by what it
// would take to copy even a small part of the set.
func TestSnapshotsShareStructure(t *testing.T) {
	s := newStore(t)
	const n = 10_000
	fill(t, s, n)
	i := 0
	got := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			i++
			def := fmt.Sprintf(`{"state":"ENABLED","variants":{"n":%d},"defaultVariant":"n"}`, i)
			if _, _, err := s.UpdateFlag(b.Context(), "default", "flag-00042", store.FlagUpdate{Definition: &def}, by("ann")); err != nil {
				b.Fatal(err)
			}
		}
	})
	// A copied map of 10 000 flags alone would be over 500 kB.
	if bytes := got.AllocedBytesPerOp(); bytes > 200_000 {
		t.Errorf("one change in %d flags allocates %d bytes", n, bytes)
	}
}
