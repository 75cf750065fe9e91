package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections have no buffers: what the client does
// not read, the server cannot write.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, open := <-p
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error { return nil }

func (p pipes) Addr() net.Addr { return new(net.TCPAddr) }

func (p pipes) dial() net.Conn {
	client, server := net.Pipe()
	p <- server
	return client
}

// serveOnPipes starts a patient server; t is in a bubble of synctest.
func serveOnPipes(t *testing.T, h http.HandlerFunc) pipes {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: patient(h), Protocols: protocols}
	l := make(pipes)
	var work sync.WaitGroup
	work.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() {
		close(l)
		_ = srv.Close()
		work.Wait()
	})
	return l
}

// twice writes once, and again when told to.
func twice(again <-chan struct{}, failed chan<- error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out := http.NewResponseController(w)
		_, _ = io.ReadAll(r.Body)
		_, err := io.WriteString(w, "one\n")
		if err == nil {
			err = out.Flush()
		}
		if err == nil {
			<-again
			if _, err = io.WriteString(w, "two\n"); err == nil {
				err = out.Flush()
			}
		}
		failed <- err
	}
}

func TestAStreamThatIsIdleIsNotEnded(t *testing.T) {
	for _, p := range []protocol{protocolHTTP1, protocolH2C} {
		t.Run(string(p), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				again, failed := make(chan struct{}), make(chan error, 1)
				c := &rawConn{conn: serveOnPipes(t, twice(again, failed)).dial()}
				defer c.conn.Close()
				c.in = bufio.NewReader(c.conn)
				request := c.post
				if p == protocolH2C {
					request = c.postH2C
				}
				if err := request("/", "text/plain", []byte("x")); err != nil {
					t.Fatal(err)
				}
				for i, want := range []string{"one\n", "two\n"} {
					if i > 0 {
						time.Sleep(10 * writeTimeout)
						again <- struct{}{}
					}
					if got, err := c.body.ReadString('\n'); got != want || err != nil {
						t.Fatalf("%q, %v; want %q", got, err, want)
					}
				}
				if err := <-failed; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestAWriteThatNobodyReadsFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		again, failed := make(chan struct{}), make(chan error, 1)
		conn := serveOnPipes(t, twice(again, failed)).dial()
		defer conn.Close()
		in := bufio.NewReader(conn)
		fmt.Fprint(conn, getRoot)
		for line := ""; line != "one\n"; {
			var err error
			if line, err = in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		// The timer of the first write still runs when the second begins.
		time.Sleep(writeTimeout / 2)
		again <- struct{}{}
		began := time.Now()
		if err := <-failed; err == nil {
			t.Error("a write that nobody reads succeeds")
		}
		if took := time.Since(began); took != writeTimeout {
			t.Errorf("it takes %s to fail; want %s", took, writeTimeout)
		}
	})
}

const getRoot = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

// TestAnAnswerThatNobodyReadsIsGivenUp: it is small enough that net/http holds
// it until the handler is over.
func TestAnAnswerThatNobodyReadsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serveOnPipes(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "small") }).dial()
		defer conn.Close()
		fmt.Fprint(conn, getRoot)
		time.Sleep(writeTimeout + time.Second)
		if got, err := io.ReadAll(conn); len(got) > 0 || err != nil {
			t.Errorf("the server still writes %q, %v; want the end of the connection", got, err)
		}
	})
}

func TestAConnectionIsKeptBetweenRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := strings.Repeat("x", 10_000)
		conn := serveOnPipes(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, large) }).dial()
		defer conn.Close()
		in := bufio.NewReader(conn)
		for range 3 {
			fmt.Fprint(conn, getRoot)
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			if string(got) != large || err != nil {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			_ = resp.Body.Close()
			time.Sleep(3 * writeTimeout)
		}
	})
}
