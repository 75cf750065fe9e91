package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// root is the top of the tree, and work where everything is built.
var (
	root = must(filepath.Abs("../.."))
	work = filepath.Join(root, ".build", "interop")
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// server is the process that all examples talk to; it keeps its address and
// data when it is started again.
type server struct {
	address, dataDir, origin string
	cmd                      *exec.Cmd
	log                      *bytes.Buffer
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (s *server) start(t *testing.T) {
	t.Helper()
	s.cmd = exec.Command(filepath.Join(work, "server"), "--listen", s.address, "--data-dir", s.dataDir, "--ofrep-cors-origin", s.origin)
	s.log = new(bytes.Buffer)
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan bool, 1)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "ready ") {
				ready <- true
			}
		}
		close(ready)
	}()
	select {
	case ok := <-ready:
		if !ok {
			t.Fatalf("the server ended before it was ready:\n%s", s.log)
		}
	case <-time.After(time.Minute):
		t.Fatal("the server was not ready within a minute")
	}
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// flagctl runs a command against the server.
func (s *server) flagctl(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(work, "flagctl"), append(args, "--server", "http://"+s.address)...)
	cmd.Stdin = strings.NewReader(flags)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("flagctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// app is a running example.
type app struct {
	cmd     *exec.Cmd
	in      *bufio.Writer
	mu      sync.Mutex // in
	close   func() error
	answers chan answer
	log     *bytes.Buffer
	late    bool // an answer is still to come, so that the next would be of another question
}

// launch starts an example; it is ended with the test.
func launch(t *testing.T, e example, s *server) *app {
	t.Helper()
	cmd := exec.Command(e.command[0], e.command[1:]...)
	cmd.Dir = filepath.Join(root, "examples", e.folder)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.origin, "http://"))
	cmd.Env = append(os.Environ(), "PLIMSOLL_SERVER="+s.address, "PLIMSOLL_MODE="+e.mode, "PORT="+port)
	if e.set != ours { // where flagd's providers look for a selector
		cmd.Env = append(cmd.Env, "FLAGD_SOURCE_SELECTOR="+namespaceOf(e.set))
	}
	a := &app{cmd: cmd, answers: make(chan answer, 100), log: new(bytes.Buffer)}
	cmd.Stderr = a.log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.in, a.close = bufio.NewWriter(in), in.Close
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(a.answers)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var got answer
			if json.Unmarshal(lines.Bytes(), &got) != nil {
				continue // something that a library has to say
			}
			select {
			case a.answers <- got:
			case <-over:
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = a.close()
		timer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		close(over)
		_ = cmd.Wait()
		timer.Stop()
	})
	return a
}

// ask puts questions and returns as many answers.
func (a *app) ask(limit time.Duration, questions ...question) ([]answer, error) {
	if a.late {
		return nil, errors.New("the app has not answered what it was asked before")
	}
	go func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		encoder := json.NewEncoder(a.in)
		for _, q := range questions {
			if encoder.Encode(q) != nil {
				return // the app has ended, which the reader sees
			}
		}
		_ = a.in.Flush()
	}()
	deadline := time.After(limit)
	out := make([]answer, 0, len(questions))
	for range questions {
		select {
		case got, open := <-a.answers:
			if !open {
				return out, fmt.Errorf("the app ended after %d of %d answers", len(out), len(questions))
			}
			out = append(out, got)
		case <-deadline:
			a.late = true
			return out, fmt.Errorf("only %d of %d answers within %s", len(out), len(questions), limit)
		}
	}
	return out, nil
}

// until asks one question again and again until the answer is right. With
// events it asks only after the provider has told of a change.
func (a *app) until(limit time.Duration, q question, byEvents bool, right func(answer) bool) (events bool, err error) {
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for end := time.Now().Add(limit); time.Now().Before(end); {
		if byEvents {
			got, err := a.ask(time.Until(end), question{Wait: "change"})
			if err != nil {
				return events, fmt.Errorf("no event: %w", err)
			}
			byEvents = got[0].Event == "change"
			events = byEvents
		} else {
			<-pause.C
		}
		got, err := a.ask(time.Minute, q)
		if err != nil {
			return events, err
		}
		if right(got[0]) {
			return events, nil
		}
	}
	return events, fmt.Errorf("%s is not what it should be within %s", q.Flag, limit)
}
