package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// BenchmarkConsole is what people who look cost the server: a page of a large
// namespace, and many consoles that stand open while much changes.
func BenchmarkConsole(b *testing.B) {
	b.Run("page/10000", benchmarkConsolePage)
	b.Run("open/500", benchmarkOpenConsoles)
}

// benchmarkConsolePage is the first page of 10 000 flags, and how many bytes of
// it go over the wire.
func benchmarkConsolePage(b *testing.B) {
	p := spawn(b, b.TempDir())
	load(b, p, 10_000)
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: time.Minute}
	size := 0
	get := func() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, p.url+"/ns/default/flags", nil)
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Encoding") != "gzip" {
			b.Fatalf("GET flags: %s, encoding %q: %v", resp.Status, resp.Header.Get("Content-Encoding"), err)
		}
		if size = len(body); size == 0 {
			b.Fatal("the page is empty")
		}
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		if page, err := io.ReadAll(z); err != nil || !bytes.Contains(page, []byte("10\u202f000 flags")) {
			b.Fatalf("this is not the page of 10 000 flags: %v", err)
		}
	}
	first := time.Now()
	get() // nobody has looked at the namespace before
	b.Logf("the very first page took %v", time.Since(first).Round(time.Millisecond))
	for b.Loop() {
		get()
	}
	b.ReportMetric(float64(size)/1000, "kB-gzip")
}

const (
	openConsoles      = 500
	consoleChanges    = 10 // a second
	consoleChangesFor = 10 * time.Second
)

// benchmarkOpenConsoles holds event streams open to the list of flags while
// changes arrive. It tells the server's CPU time by wall time, as cores, beside
// what the same changes cost with nobody looking, and the memory that the
// consoles add.
func benchmarkOpenConsoles(b *testing.B) {
	for b.Loop() {
		p := spawn(b, b.TempDir())
		load(b, p, 1000)
		bare := changesCost(b, p)
		before := residentBytes(b, p.cmd.Process.Pid)
		patches := openEventStreams(b, p)
		cores := changesCost(b, p)
		after := residentBytes(b, p.cmd.Process.Pid)
		b.ReportMetric(cores, "cores")
		b.ReportMetric(bare, "cores-unseen")
		b.ReportMetric(float64(after-before)/1e6, "MB-added")
		b.ReportMetric(float64(patches())/openConsoles, "patches/console")
		p.kill()
	}
}

// openEventStreams opens the consoles' streams, and waits until each has been
// greeted. The function returned tells how many patches have come in all.
func openEventStreams(b *testing.B, p *process) func() int {
	b.Helper()
	transport := &http.Transport{}
	b.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	var mu sync.Mutex
	patches := 0
	greeted := make(chan error, openConsoles)
	for range openConsoles {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, p.url+"/ns/default/events?topic=flags", nil)
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			resp, err := client.Do(req)
			if err != nil {
				greeted <- err
				return
			}
			defer func() { _ = resp.Body.Close() }()
			seen := false
			lines := bufio.NewScanner(resp.Body)
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				if !strings.HasPrefix(lines.Text(), "event: ") {
					continue
				}
				if !seen {
					seen = true
					greeted <- nil
				}
				if lines.Text() == "event: patch" {
					mu.Lock()
					patches++
					mu.Unlock()
				}
			}
			if !seen {
				greeted <- fmt.Errorf("a stream ended before it began: %s", resp.Status)
			}
		}()
	}
	for range openConsoles {
		select {
		case err := <-greeted:
			if err != nil {
				b.Fatal(err)
			}
		case <-time.After(time.Minute):
			b.Fatal("not all consoles were greeted within a minute")
		}
	}
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return patches
	}
}

// changesCost makes the changes, and returns how many cores the server used.
func changesCost(b *testing.B, p *process) float64 {
	b.Helper()
	cpu, start := cpuTime(b, p.cmd.Process.Pid), time.Now()
	tick := time.NewTicker(time.Second / consoleChanges)
	defer tick.Stop()
	for i := 0; time.Since(start) < consoleChangesFor; i++ {
		variant := []string{"on", "off"}[i/50%2]
		if _, err := p.flags().UpdateFlag(b.Context(), connect.NewRequest(&plimsollv1.UpdateFlagRequest{
			Key: fmt.Sprintf("flag-%06d", i%50), Update: &plimsollv1.UpdateFlagRequest_DefaultVariant{DefaultVariant: variant},
		})); err != nil {
			b.Fatal(err)
		}
		<-tick.C
	}
	return (cpuTime(b, p.cmd.Process.Pid) - cpu).Seconds() / time.Since(start).Seconds()
}

// cpuTime is what a process has used, of which the kernel counts hundredths of a
// second.
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	// The name, in parentheses, may hold anything; user and system time are the
	// 12th and 13th field after it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
