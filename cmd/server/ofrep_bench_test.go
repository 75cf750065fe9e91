package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// ofrepUser is a context as an app sends it.
const ofrepUser = `{"context":{"targetingKey":"user-1","country":"de","plan":"team","age":42,"beta":true,"email":"ann@shop.example"}}`

// BenchmarkOFREP measures answers of OFREP, 64 requests in flight over HTTP/1.1,
// beside a bare net/http handler that reads the same request and writes the same
// bytes. The two take turns; clients and servers share this process.
func BenchmarkOFREP(b *testing.B) {
	srv, err := compose(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(srv.close)
	var doc strings.Builder
	for i := range 100 {
		fmt.Fprintf(&doc, `,"flag-%02d":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","metadata":{"team":"web"},
			"targeting":{"if":[{"and":[{"==":[{"var":"country"},"de"]},{"in":[{"var":"plan"},["pro","team"]]}]},"on"]}}`, i)
	}
	applyDocument(b, srv.store, `{"flags":{`+doc.String()[1:]+`}}`)
	const all = "/ofrep/v1/evaluate/flags"
	_, head, _ := exchange(b, srv.addr, all, "")
	tag := head.Get("ETag")
	for _, c := range []struct{ name, path, tag string }{
		{"single", all + "/flag-07", ""},
		{"bulk100", all, ""},
		{"304", all, tag},
	} {
		b.Run(c.name, func(b *testing.B) {
			status, head, body := exchange(b, srv.addr, c.path, c.tag)
			bare := serveBare(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				for _, name := range []string{"Content-Type", "Content-Length", "Etag"} {
					if v := head[name]; v != nil {
						w.Header()[name] = v
					}
				}
				w.WriteHeader(status)
				_, _ = w.Write(body)
			}))
			measureOFREP(b, bare, srv.addr, request(c.path, c.tag), len(body))
		})
	}
}

func measureOFREP(b *testing.B, bare, ours string, request []byte, size int) {
	const rounds, each = 20, 250 * time.Millisecond
	var floor, rate []float64
	var late []time.Duration
	floorConns, conns := keptAlive(b, bare), keptAlive(b, ours)
	sides := []func(){
		func() { n, _ := storm(b, floorConns, request, each); floor = append(floor, n) },
		func() { n, took := storm(b, conns, request, each); rate, late = append(rate, n), append(late, took...) },
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
	b.ReportMetric(float64(size), "B/body")
	b.ReportMetric(median(floor), "floor-requests/s")
	b.ReportMetric(median(rate), "requests/s")
	b.ReportMetric(median(rate)/median(floor), "ratio")
	b.ReportMetric(ms(late[len(late)*99/100]), "p99-ms")
}

// request is one request as it goes over the wire.
func request(path, tag string) []byte {
	condition := ""
	if tag != "" {
		condition = "If-None-Match: " + tag + "\r\n"
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s",
		path, condition, len(ofrepUser), ofrepUser)
}

// exchange makes one request.
func exchange(b *testing.B, addr, path, tag string) (status int, head http.Header, body []byte) {
	b.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(request(path, tag)); err != nil {
		b.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err != nil {
		b.Fatal(err)
	}
	return res.StatusCode, res.Header, body
}

// kept is a connection whose client does no more than it must, so that what is
// measured is the server.
type kept struct {
	conn net.Conn
	in   *bufio.Reader
}

func keptAlive(b *testing.B, addr string) []*kept {
	b.Helper()
	conns := make([]*kept, 64)
	for i := range conns {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		conns[i] = &kept{conn, bufio.NewReaderSize(conn, 32<<10)}
	}
	return conns
}

// ask makes one request and reads the whole answer, which has a length or no body.
func (k *kept) ask(request []byte) error {
	if _, err := k.conn.Write(request); err != nil {
		return err
	}
	length := 0
	for first := true; ; first = false {
		line, err := k.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch value, found := bytes.CutPrefix(line, []byte("Content-Length: ")); {
		case first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) && !bytes.HasPrefix(line, []byte("HTTP/1.1 304")):
			return fmt.Errorf("the answer is %s", line)
		case found:
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		case len(line) == 2:
			_, err = k.in.Discard(length)
			return err
		}
	}
}

// storm asks on all connections for a while, and returns the requests a second and
// how long each took.
func storm(b *testing.B, conns []*kept, request []byte, lasts time.Duration) (rate float64, took []time.Duration) {
	var asking sync.WaitGroup
	parts := make([][]time.Duration, len(conns))
	began := time.Now()
	for i, conn := range conns {
		asking.Go(func() {
			for at := time.Now(); at.Sub(began) < lasts; {
				if err := conn.ask(request); err != nil {
					b.Error(err)
					return
				}
				now := time.Now()
				parts[i], at = append(parts[i], now.Sub(at)), now
			}
		})
	}
	asking.Wait()
	every := slices.Concat(parts...)
	return float64(len(every)) / time.Since(began).Seconds(), every
}
