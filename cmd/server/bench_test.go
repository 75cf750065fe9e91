package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// BenchmarkStart is the time from exec to ready, with the resident memory then
// and the heap's share of it.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{10, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := b.TempDir()
			p := spawn(b, dir)
			load(b, p, n)
			if err := p.stop(); err != nil {
				b.Fatal(err)
			}
			var rss int64
			for b.Loop() {
				p := spawn(b, dir)
				b.StopTimer()
				rss = residentBytes(b, p.cmd.Process.Pid)
				if err := p.stop(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(rss)/(1<<20), "MiB-RSS")
		})
	}
}

// load applies n flags in requests of a size that the server takes.
func load(b *testing.B, p *process, n int) {
	b.Helper()
	const each = 20_000
	for from := 0; from < n; from += each {
		var doc strings.Builder
		doc.WriteString(`{"flags":{`)
		for i := from; i < min(n, from+each); i++ {
			if i > from {
				doc.WriteByte(',')
			}
			fmt.Fprintf(&doc, `"flag-%06d":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`, i)
		}
		doc.WriteString(`}}`)
		if _, err := p.flags().Apply(b.Context(), connect.NewRequest(&plimsollv1.ApplyRequest{Document: doc.String()})); err != nil {
			b.Fatal(err)
		}
	}
}

// residentBytes reads a process's resident memory a moment after its start,
// when the collector has had its first turns.
func residentBytes(b *testing.B, pid int) int64 {
	b.Helper()
	time.Sleep(2 * time.Second) // a measurement, not a condition
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("resident memory is read from /proc")
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb << 10
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
