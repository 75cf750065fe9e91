package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// early answers without a look at the request.
func early(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "early") }

func TestARequestThatDoesNotArriveIsAnsweredInTime(t *testing.T) {
	handlers := map[string]http.HandlerFunc{
		"answers early": early,
		"answers with a status alone": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
		},
		"streams": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "early")
			_ = http.NewResponseController(w).Flush()
		},
		"reads": func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			fmt.Fprint(w, err)
		},
	}
	for name, handler := range handlers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := serveOnPipes(t, handler).dial()
				defer conn.Close()
				began := time.Now()
				fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx")
				_ = conn.SetReadDeadline(began.Add(10 * readTimeout))
				got, err := io.ReadAll(conn)
				if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 2") {
					t.Errorf("%q, %v; want an answer and the end of the connection", got, err)
				}
				// net/http closes such a connection half a second after its end.
				if took := time.Since(began); took > readTimeout+time.Second {
					t.Errorf("it takes %s", took)
				}
			})
		})
	}
}

func TestAnAnswerReachesAClientWhoseRequestNobodyWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serveOnPipes(t, early).dial()
		defer conn.Close()
		in := bufio.NewReader(conn)
		const size = 10 << 20
		for range 2 { // and the connection lives on
			fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", size)
			if _, err := io.CopyN(conn, zeros{}, size); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			if string(got) != "early" || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
			_ = resp.Body.Close()
		}
	})
}

// A client that waits to be told to send its body is answered without it; once it
// was told, its body has as long as any other.
func TestARequestThatExpectsToBeToldToContinue(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n"
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		within  time.Duration
	}{
		"not told": {early, time.Second},
		"told": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = r.Body.Read(make([]byte, 1))
			early(w, r)
		}, readTimeout + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := serveOnPipes(t, c.handler).dial()
				defer conn.Close()
				began := time.Now()
				fmt.Fprint(conn, head)
				in := bufio.NewReader(conn)
				if name == "told" {
					if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
						t.Fatalf("%q, %v", line, err)
					}
					fmt.Fprint(conn, "x")
				}
				_ = conn.SetReadDeadline(began.Add(10 * readTimeout))
				for line := ""; line != "early"; { // the end of the answer
					got, err := in.ReadString('y')
					if err != nil {
						t.Fatalf("%q, %v", got, err)
					}
					line = got[max(0, len(got)-5):]
				}
				if took := time.Since(began); took > c.within {
					t.Errorf("it is answered after %s", took)
				}
				if _, err := io.ReadAll(in); err != nil || time.Since(began) > readTimeout+time.Second {
					t.Errorf("the connection ends after %s, %v", time.Since(began), err)
				}
			})
		})
	}
}

// Over HTTP/2 an answer may begin while the request goes on, for longer than a
// request may otherwise take.
func TestARequestAndItsAnswerMayGoOnTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := make(chan error, 1)
		l := serveOnPipes(t, func(w http.ResponseWriter, r *http.Request) {
			early(w, r)
			_ = http.NewResponseController(w).Flush()
			_, err := r.Body.Read(make([]byte, 1))
			failed <- err
		})
		h2c := new(http.Protocols)
		h2c.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: h2c, DialContext: func(context.Context, string, string) (net.Conn, error) { return l.dial(), nil }}
		defer transport.CloseIdleConnections()
		body, rest := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/", body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		select {
		case err := <-failed:
			t.Errorf("the request ends with %v", err)
		case <-time.After(3 * readTimeout):
			_, _ = io.WriteString(rest, "x")
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		_ = rest.Close()
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestALargeAnswerMayTakeLongerThanOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := strings.Repeat("x", 16*maxPiece)
		failed := make(chan error, 1)
		conn := serveOnPipes(t, func(w http.ResponseWriter, _ *http.Request) {
			_, err := io.WriteString(w, large)
			failed <- err
		}).dial()
		defer conn.Close()
		fmt.Fprint(conn, getRoot)
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		for left := int64(len(large)); left > 0; left -= maxPiece {
			time.Sleep(writeTimeout / 2)
			if _, err := io.CopyN(io.Discard, resp.Body, maxPiece); err != nil {
				t.Fatalf("%s, with %d bytes to come: %v", err, left, <-failed)
			}
		}
		if err := <-failed; err != nil {
			t.Error(err)
		}
	})
}
