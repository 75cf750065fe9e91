package main

import (
	"bufio"
	"fmt"
	"io"
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
