package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	evaluationv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v1"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v1/evaluationv1connect"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/sync/v1/syncv1connect"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

// serveBare serves a handler over HTTP/1.1 and h2c with nothing around it.
func serveBare(b *testing.B, h http.Handler) (addr string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: h, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second}
	var work sync.WaitGroup
	work.Go(func() { _ = srv.Serve(l) })
	b.Cleanup(func() { _ = srv.Close(); work.Wait() })
	return l.Addr().String()
}

// BenchmarkFlagdResolveBoolean measures ResolveBoolean with a rule over gRPC, 64
// calls in flight over 8 connections, beside an empty Connect handler of the
// same method. The two take turns; client and servers share this process.
func BenchmarkFlagdResolveBoolean(b *testing.B) {
	srv, err := compose(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(srv.close)
	applyDocument(b, srv.store, `{"flags":{"f":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off",
		"targeting":{"if":[{"and":[{"==":[{"var":"country"},"de"]},{"in":[{"var":"plan"},["pro","team"]]}]},"on"]}}}}`)
	empty := connect.NewUnaryHandler(evaluationv1connect.ServiceResolveBooleanProcedure,
		func(context.Context, *connect.Request[evaluationv1.ResolveBooleanRequest]) (*connect.Response[evaluationv1.ResolveBooleanResponse], error) {
			return connect.NewResponse(&evaluationv1.ResolveBooleanResponse{}), nil
		})
	mux := http.NewServeMux()
	mux.Handle(evaluationv1connect.ServiceResolveBooleanProcedure, empty)
	const rounds, each = 20, 250 * time.Millisecond
	var floor, ours []float64
	var late []time.Duration
	at, bare := serverOf(b, srv.addr), serverOf(b, serveBare(b, mux))
	sides := []func(){
		func() { n, _ := hammer(b, bare, each); floor = append(floor, n) },
		func() { n, took := hammer(b, at, each); ours, late = append(ours, n), append(late, took...) },
	}
	for b.Loop() {
		for range rounds {
			for _, side := range sides {
				side()
			}
			slices.Reverse(sides)
		}
	}
	slices.Sort(late)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(floor), "floor-calls/s")
	b.ReportMetric(median(ours), "calls/s")
	b.ReportMetric(median(ours)/median(floor), "ratio")
	b.ReportMetric(ms(late[len(late)*99/100]), "p99-ms")
}

// serverOf are the connections to a server.
func serverOf(b *testing.B, addr string) []*grpc.ClientConn {
	conns := make([]*grpc.ClientConn, 8)
	for i := range conns {
		conns[i] = grpcTo(b, "http://"+addr)
	}
	return conns
}

// hammer calls with 64 in flight for a while, and returns the calls a second and
// how long each took.
func hammer(b *testing.B, conns []*grpc.ClientConn, lasts time.Duration) (rate float64, took []time.Duration) {
	const inFlight = 64
	values, err := structpb.NewStruct(map[string]any{"targetingKey": "user-1", "country": "de", "plan": "team", "age": 42, "beta": true})
	if err != nil {
		b.Fatal(err)
	}
	req := &evaluationv1.ResolveBooleanRequest{FlagKey: "f", Context: values}
	var calls sync.WaitGroup
	parts := make([][]time.Duration, inFlight)
	began := time.Now()
	for i := range inFlight {
		calls.Go(func() {
			out := new(evaluationv1.ResolveBooleanResponse)
			for at := time.Now(); at.Sub(began) < lasts; {
				if err := conns[i%len(conns)].Invoke(b.Context(), evaluationv1connect.ServiceResolveBooleanProcedure, req, out); err != nil {
					b.Error(err)
					return
				}
				now := time.Now()
				parts[i], at = append(parts[i], now.Sub(at)), now
			}
		})
	}
	calls.Wait()
	all := slices.Concat(parts...)
	return float64(len(all)) / time.Since(began).Seconds(), all
}

func applyDocument(b *testing.B, s *store.Store, document string) {
	b.Helper()
	doc, faults := flag.ParseDocument([]byte(document), flag.Env{})
	if faults.Err() != nil {
		b.Fatal(faults)
	}
	if _, err := s.Apply(b.Context(), store.DefaultNamespace, doc, store.ApplyOptions{}, store.Change{}); err != nil {
		b.Fatal(err)
	}
}

// bareStreams writes ready bytes to every stream: the least that it costs to
// send a set over gRPC's transport.
type bareStreams struct {
	mu    sync.Mutex
	data  []byte
	ready chan struct{}
}

func (s *bareStreams) publish(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = data
	close(s.ready)
	s.ready = make(chan struct{})
}

func (s *bareStreams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	out := http.NewResponseController(w)
	for {
		s.mu.Lock()
		data, ready := s.data, s.ready
		s.mu.Unlock()
		if _, err := w.Write(data); err != nil {
			return
		}
		if out.Flush() != nil {
			return
		}
		select {
		case <-ready:
		case <-r.Context().Done():
			return
		}
	}
}

// syncClients are streams on connections of their own that do no more than read.
type syncClients struct {
	arrived chan time.Time
	last    []byte // the newest envelope that the first client has read
}

func connectSync(b *testing.B, addr string, n int) *syncClients {
	b.Helper()
	c := &syncClients{arrived: make(chan time.Time, n)}
	for i := range n {
		client := h2c(b) // with a connection of its own
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://"+addr+syncv1connect.FlagSyncServiceSyncFlagsProcedure, strings.NewReader("\x00\x00\x00\x00\x00"))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc")
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = resp.Body.Close() })
		go c.read(resp.Body, i == 0) // ends with its body
	}
	c.round(b)
	return c
}

func (c *syncClients) read(body io.Reader, keeps bool) {
	buf := make([]byte, 64<<10)
	for {
		var header [5]byte
		if _, err := io.ReadFull(body, header[:]); err != nil {
			return
		}
		size := int64(binary.BigEndian.Uint32(header[1:]))
		if keeps {
			envelope := make([]byte, len(header)+int(size))
			copy(envelope, header[:])
			if _, err := io.ReadFull(body, envelope[len(header):]); err != nil {
				return
			}
			c.last = envelope
		} else if _, err := io.CopyBuffer(onlyWriter{io.Discard}, io.LimitReader(body, size), buf); err != nil {
			return
		}
		c.arrived <- time.Now()
	}
}

// onlyWriter keeps io.CopyBuffer to its buffer.
type onlyWriter struct{ io.Writer }

// round waits until every client has got a message, and tells when.
func (c *syncClients) round(b *testing.B) []time.Time {
	b.Helper()
	all := make([]time.Time, 0, cap(c.arrived))
	timeout := time.After(time.Minute)
	for range cap(c.arrived) {
		select {
		case at := <-c.arrived:
			all = append(all, at)
		case <-timeout:
			b.Fatalf("%d of %d clients have the change after a minute", len(all), cap(c.arrived))
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// BenchmarkFlagdSync measures one change of a set of 1 000 flags until 1 000
// flagd sync streams have the whole set anew, from the call of the store on,
// beside writing as many bytes, which are ready, to as many bare streams over
// h2c. The two take turns; clients and servers share this process.
func BenchmarkFlagdSync(b *testing.B) {
	const streams, flags, rounds = 1000, 1000, 15
	srv, err := compose(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(srv.close)
	var doc strings.Builder
	for i := range flags {
		fmt.Fprintf(&doc, `,"flag-%04d":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":{"if":[{"==":[{"var":"country"},"de"]},"on"]},"degradation":{"tier":"optional"}}`, i)
	}
	applyDocument(b, srv.store, `{"flags":{`+doc.String()[1:]+`}}`)
	bare := &bareStreams{data: []byte("\x00\x00\x00\x00\x00"), ready: make(chan struct{})}
	floor, ours := connectSync(b, serveBare(b, bare), streams), connectSync(b, srv.addr, streams)
	var floorP99, ourP99, floorP50, ourP50 []float64
	at := func(all []time.Time, began time.Time, q int) float64 { return ms(all[(len(all)-1)*q/100].Sub(began)) }
	variants := []string{"off", "on"}
	i := 0
	for b.Loop() {
		for range rounds {
			i++
			began := time.Now()
			if _, _, err := srv.store.UpdateFlag(b.Context(), store.DefaultNamespace, "flag-0001", store.FlagUpdate{DefaultVariant: &variants[i%2]}, store.Change{}); err != nil {
				b.Fatal(err)
			}
			all := ours.round(b)
			ourP50, ourP99 = append(ourP50, at(all, began, 50)), append(ourP99, at(all, began, 99))
			time.Sleep(settle)
			began = time.Now()
			bare.publish(ours.last)
			all = floor.round(b)
			floorP50, floorP99 = append(floorP50, at(all, began, 50)), append(floorP99, at(all, began, 99))
			time.Sleep(settle)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(len(ours.last)), "B/change")
	b.ReportMetric(median(floorP50), "floor-p50-ms")
	b.ReportMetric(median(floorP99), "floor-p99-ms")
	b.ReportMetric(median(ourP50), "p50-ms")
	b.ReportMetric(median(ourP99), "p99-ms")
	b.ReportMetric(median(ourP99)/median(floorP99), "p99-ratio")
}
