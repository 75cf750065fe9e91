package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

// fanout is one measurement: a message to n streams, over the candidate and
// over the floor.
type fanout struct {
	name     string
	protocol protocol
	streams  int
	flags    int
	change   string // the order that makes the change
	rounds   int
}

const (
	// warmups come before the rounds that count; the first tells how large the
	// message is.
	warmups = 3
	// settle is how long servers and clients get to fall asleep again.
	settle = 50 * time.Millisecond
)

// BenchmarkFanout measures how long one change takes to reach every stream,
// each on a connection of its own, and what that and an idle stream cost. The
// floor is a bare net/http server of server-sent events that sends as many
// bytes. Floor and candidate take turns, change by change, since one after the
// other the same program differs from itself by some 40 %. All times are
// medians over the rounds. It prints a table at its end.
func BenchmarkFanout(b *testing.B) {
	var cases []fanout
	for _, c := range []struct {
		name     string
		protocol protocol
		flags    int
		change   string
	}{
		{"change/HTTP1", protocolHTTP1, 10, opChange},
		{"change/h2c", protocolH2C, 10, opChange},
		{"level/HTTP1", protocolHTTP1, 10_000, opLevel},
	} {
		for _, n := range []int{1000, 5000, 10_000} {
			cases = append(cases, fanout{c.name, c.protocol, n, c.flags, c.change, max(20, 40_000/n)})
		}
	}
	var table bytes.Buffer
	out := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "fan-out\tstreams\trounds\tB/change\tfloor p50\tp99 ms\tserver p50\tp99 ms\tp50 ratio\tp99 ratio\tp99 from write ms\tfloor µs CPU\tserver µs CPU\tCPU ratio\tfloor KiB\tserver KiB/stream\t")
	for _, c := range cases {
		b.Run(fmt.Sprintf("%s/%d", c.name, c.streams), func(b *testing.B) {
			needFiles(b, c.streams)
			var r result
			for b.Loop() {
				r = c.measure(b)
			}
			r.report(b)
			r.row(out, c)
		})
	}
	if out.Flush(); table.Len() > 0 {
		fmt.Fprintf(os.Stdout, "\n%s\n", table.String())
	}
}

// needFiles skips what a process's limit of open files forbids. Go raises the
// soft limit to the hard one by itself.
func needFiles(b *testing.B, streams int) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	if want := uint64(streams) + 200; limit.Max < want {
		b.Skipf("the server's process may open %d files, and needs %d: raise the hard limit (ulimit -Hn)", limit.Max, want)
	}
}

// result are medians over the rounds.
type result struct {
	floor, server side
	// fromWrite is the server's P99 counted from the call of the store.
	fromWrite time.Duration
	wire      float64 // bytes on each connection
}

type side struct {
	p50, p99 time.Duration
	cpu      time.Duration // for each stream
	memory   float64       // bytes for each stream
}

func (c fanout) measure(b *testing.B) result {
	floor, server := c.start(b, roleFloor, protocolEvents), c.start(b, roleCandidate, c.protocol)
	const writes = 20
	write := server.cpu(func() { server.process.do(order{Op: opWrites, N: writes}) }) / writes
	floor.connect()
	server.connect()
	var r result
	var fromWrite, wire []float64
	size := 100
	for i := range warmups + c.rounds {
		server.clients.do(order{Op: opQuiet})
		turns := []func(){
			func() { floor.round(order{Op: opPublish, N: size}, 0) },
			func() {
				started, arrived := server.round(order{Op: c.change}, write)
				fromWrite, wire = append(fromWrite, float64(arrived.P99-started.Call)), append(wire, arrived.Wire)
				size = arrived.Size
			},
		}
		if i%2 == 1 {
			slices.Reverse(turns)
		}
		for _, turn := range turns {
			turn()
		}
	}
	r.floor, r.server = floor.result(), server.result()
	r.fromWrite, r.wire = time.Duration(median(fromWrite[warmups:])), median(wire[warmups:])
	return r
}

// contender is a server and its clients.
type contender struct {
	process, clients *child
	config           clientsConfig
	before           int64 // memory without clients

	p50, p99, used []float64 // ns, by round
}

func (c fanout) start(b *testing.B, role string, p protocol) *contender {
	o := &contender{process: startChild(b, role), clients: startChild(b, roleClients)}
	at := o.process.do(order{Op: opServe, Flags: c.flags})
	o.config = clientsConfig{Addr: at.Addr, Since: at.Since, Protocol: p, Streams: c.streams}
	return o
}

func (o *contender) connect() {
	o.before = o.process.do(order{Op: opMemory}).Memory
	o.clients.do(order{Op: opConnect, Clients: o.config})
}

// cpu is what the server's process uses during f.
func (o *contender) cpu(f func()) time.Duration {
	before := o.process.do(order{Op: opUsage}).CPU
	f()
	return o.process.do(order{Op: opUsage}).CPU - before
}

// round makes one change and waits until every client has it. The CPU time
// counts without that of the write.
func (o *contender) round(change order, write time.Duration) (started, arrived answer) {
	used := o.cpu(func() {
		o.clients.tell(order{Op: opRound})
		started = o.process.do(change)
		arrived = o.clients.hear()
		time.Sleep(settle)
	})
	o.p50 = append(o.p50, float64(arrived.P50-started.Start))
	o.p99 = append(o.p99, float64(arrived.P99-started.Start))
	o.used = append(o.used, float64(used-write)/float64(o.config.Streams))
	return started, arrived
}

func (o *contender) result() side {
	after := o.process.do(order{Op: opMemory}).Memory
	return side{
		p50: time.Duration(median(o.p50[warmups:])), p99: time.Duration(median(o.p99[warmups:])),
		cpu:    time.Duration(median(o.used[warmups:])),
		memory: float64(after-o.before) / float64(o.config.Streams),
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func (r result) report(b *testing.B) {
	b.ReportMetric(0, "ns/op") // the time of the whole means nothing
	b.ReportMetric(r.wire, "B/change")
	b.ReportMetric(ms(r.floor.p99), "floor-p99-ms")
	b.ReportMetric(ms(r.server.p99), "p99-ms")
	b.ReportMetric(float64(r.server.p50)/float64(r.floor.p50), "p50-ratio")
	b.ReportMetric(float64(r.server.p99)/float64(r.floor.p99), "p99-ratio")
	b.ReportMetric(float64(r.server.cpu)/float64(r.floor.cpu), "CPU-ratio")
	b.ReportMetric(r.server.memory/(1<<10), "KiB/stream")
}

func (r result) row(out *tabwriter.Writer, c fanout) {
	fmt.Fprintf(out, "%s\t%d\t%d\t%.0f\t%.1f\t%.1f\t%.1f\t%.1f\t%.2f\t%.2f\t%.1f\t%.1f\t%.1f\t%.2f\t%.1f\t%.1f\t\n",
		c.name, c.streams, c.rounds, r.wire,
		ms(r.floor.p50), ms(r.floor.p99), ms(r.server.p50), ms(r.server.p99),
		float64(r.server.p50)/float64(r.floor.p50), float64(r.server.p99)/float64(r.floor.p99),
		ms(r.fromWrite), us(r.floor.cpu), us(r.server.cpu), float64(r.server.cpu)/float64(r.floor.cpu),
		r.floor.memory/(1<<10), r.server.memory/(1<<10))
}

// BenchmarkReports measures what the second connection of a client costs, over
// which it reports: idle, and for each report.
func BenchmarkReports(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			needFiles(b, n)
			server := fanout{streams: n, flags: 10}.start(b, roleCandidate, protocolReport)
			server.connect()
			server.clients.do(order{Op: opReport}) // the first makes the process known
			var used time.Duration
			for b.Loop() {
				used += server.cpu(func() { server.clients.do(order{Op: opReport}) })
			}
			after := server.process.do(order{Op: opMemory}).Memory
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(us(used)/float64(n*b.N), "µs-CPU/report")
			b.ReportMetric(float64(after-server.before)/float64(n)/(1<<10), "KiB/client")
		})
	}
}

// TestBytesOnTheWireDoNotDependOnTheNumberOfFlags changes one flag, and then
// the level, in sets of several sizes, and counts what comes over a
// connection.
func TestBytesOnTheWireDoNotDependOnTheNumberOfFlags(t *testing.T) {
	srv, err := compose(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.close)
	c := &candidate{server: srv, writes: make(map[string]int)}
	ctx := short(t)
	sizes := map[string]int{"ten": 10, "thousand": 1000, "ten-thousand": 10_000}
	for ns, n := range sizes {
		if _, err := srv.store.CreateNamespace(ctx, ns, nil, store.Change{}); err != nil {
			t.Fatal(err)
		}
		if err := applyFlags(ctx, srv.store, ns, n); err != nil {
			t.Fatal(err)
		}
	}
	// Revisions count in all namespaces together, and small ones have fewer
	// bytes.
	for srv.revision(t, "ten") < 1<<7 {
		if err := c.change(ctx, "ten"); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []protocol{protocolHTTP1, protocolH2C} {
		changes, levels := make(map[string]int64), make(map[string]int64)
		for ns := range sizes {
			if err := c.change(ctx, ns); err != nil { // its last revision is a long one then
				t.Fatal(err)
			}
			var wire atomic.Int64
			conn, err := dialRaw(srv.addr, &wire)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.conn.Close() })
			snap, err := srv.store.Snapshot(ns)
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.open(p, &plimsollv1.WatchRequest{Namespace: ns, Since: snap.Position()}); err != nil {
				t.Fatal(err)
			}
			changes[ns] = conn.bytesOf(t, &wire, func() error { return c.change(ctx, ns) })
			levels[ns] = conn.bytesOf(t, &wire, func() error { return c.level(ctx, ns) })
		}
		if r := srv.revision(t, "ten"); r >= 1<<14 {
			t.Fatalf("revision %d has more bytes than the first", r)
		}
		t.Logf("%s: a change has %v bytes, a level %v", p, changes, levels)
		if n := changes["ten"]; n == 0 || n > 200 || changes["thousand"] != n || changes["ten-thousand"] != n {
			t.Errorf("%s: bytes of one change by size of the set: %v; want the same, and at most 200", p, changes)
		}
		if n := levels["ten"]; n == 0 || n >= 200 || levels["thousand"] != n || levels["ten-thousand"] != n {
			t.Errorf("%s: bytes of one level by size of the set: %v; want the same, and below 200", p, levels)
		}
	}
}

func (s *composed) revision(t *testing.T, ns string) int64 {
	t.Helper()
	snap, err := s.store.Snapshot(ns)
	if err != nil {
		t.Fatal(err)
	}
	return snap.Revision()
}

// bytesOf is how many bytes the message of a change has on the wire. A change
// that is told together with a heartbeat does not count.
func (c *rawConn) bytesOf(t *testing.T, wire *atomic.Int64, change func() error) int64 {
	t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(openTimeout)); err != nil {
		t.Fatal(err)
	}
	for {
		before := wire.Load()
		if err := change(); err != nil {
			t.Fatal(err)
		}
		alone := true
		for {
			kind, _, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			if kind != eventHeartbeat {
				break
			}
			alone = false
		}
		// What ends a chunk stays in the buffer until the next is read.
		if alone && c.body.Buffered() == 0 && c.in.Buffered() <= len("\r\n") {
			return wire.Load() - before
		}
	}
}
