package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The fan-out is measured between processes, so that each server's CPU time,
// memory and open files are its own. They are this test binary, started again
// in a role, and take orders on standard input: one JSON object each way.

const (
	// roleEnv names the role of a process of the fan-out benchmark.
	roleEnv = "PLIMSOLL_FANOUT_ROLE"
	// profileEnv names a folder for the servers' CPU profiles; empty: none.
	profileEnv = "PLIMSOLL_FANOUT_PROFILE"

	roleFloor     = "floor"
	roleCandidate = "candidate"
	roleClients   = "clients"
)

// order is what a process is to do. The fields are those of the operation.
type order struct {
	Op string
	// Flags in the namespace (opServe).
	Flags int
	// N is the size of the message in bytes (opPublish), or how many writes to
	// make (opWrites).
	N int
	// Clients to connect (opConnect).
	Clients clientsConfig
}

const (
	opServe   = "serve"   // start; answers Addr and Since
	opPublish = "publish" // floor: one message of N bytes; answers Start
	opChange  = "change"  // candidate: change a flag; answers Call and Start
	opLevel   = "level"   // candidate: fix the level; answers Call and Start
	opWrites  = "writes"  // candidate: N changes that no stream sees
	opUsage   = "usage"   // answers CPU
	opMemory  = "memory"  // answers Memory, after a collection
	opConnect = "connect" // clients: connect and wait for the first message
	opQuiet   = "quiet"   // clients: wait until no heartbeat is due for a while
	opRound   = "round"   // clients: wait for the next change; answers P50, P99, Wire and Size
	opReport  = "report"  // clients: a report of every client
)

// answer is what came of an order. Instants are in ns of Unix time, which all
// processes of a machine share.
type answer struct {
	Err string
	// Addr is where the server listens.
	Addr string
	// Since is the server's position, encoded.
	Since []byte
	// Call is when the write began, Start when the server had the change.
	Call, Start int64
	// CPU time used so far.
	CPU time.Duration
	// Memory is the resident memory that no file backs, in bytes.
	Memory int64
	// P50 and P99 are when so many per cent of the clients had the message.
	P50, P99 int64
	// Wire is how many bytes came over each connection on average.
	Wire float64
	// Size of the message itself, in bytes.
	Size int
}

// TestMain calls it: a process with a role never runs tests.
func playRole(role string) int {
	debug.SetTraceback("all")
	var handle func(order) (answer, error)
	switch role {
	case roleFloor:
		handle = new(floor).handle
	case roleCandidate:
		handle = (&candidate{writes: make(map[string]int)}).handle
	case roleClients:
		handle = new(clients).handle
	default:
		fmt.Fprintf(os.Stderr, "%s=%s is no role\n", roleEnv, role)
		return 2
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	defer pprof.StopCPUProfile()
	for {
		var o order
		if err := in.Decode(&o); errors.Is(err, io.EOF) {
			return 0
		} else if err != nil {
			fmt.Fprintln(os.Stderr, role, "reads its orders:", err)
			return 1
		}
		a, err := common(role, o, handle)
		if err != nil {
			a.Err = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return 1
		}
	}
}

// common carries out what every process can do.
func common(role string, o order, handle func(order) (answer, error)) (answer, error) {
	switch o.Op {
	case opUsage:
		var ru syscall.Rusage
		err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
		return answer{CPU: time.Duration(ru.Utime.Nano() + ru.Stime.Nano())}, err
	case opMemory:
		// A collection shrinks a stack that is mostly unused to half its size.
		for range 4 {
			debug.FreeOSMemory()
		}
		n, err := anonymousMemory()
		return answer{Memory: n}, err
	case opServe:
		if dir := os.Getenv(profileEnv); dir != "" {
			f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.pprof", role, os.Getpid())))
			if err != nil {
				return answer{}, err
			}
			if err := pprof.StartCPUProfile(f); err != nil {
				return answer{}, err
			}
		}
	}
	return handle(o)
}

// anonymousMemory is what of the resident memory no file backs: etcd maps its
// database, which is no cost of a stream.
func anonymousMemory() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("/proc/self/status has no RssAnon")
}

// child is a process in a role, as the benchmark sees it.
type child struct {
	role    string
	tb      testing.TB
	orders  *json.Encoder
	answers chan answer // closed when the process's output ends
	stderr  *syncBuffer
}

// orderTimeout only a broken process exceeds.
const orderTimeout = 3 * time.Minute

func startChild(tb testing.TB, role string) *child {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Dir = tb.TempDir() // the candidate's data
	c := &child{role: role, tb: tb, answers: make(chan answer, 1), stderr: new(syncBuffer)}
	cmd.Stderr = c.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	c.orders = json.NewEncoder(in)
	go func() {
		defer close(c.answers)
		for dec := json.NewDecoder(out); ; {
			var a answer
			if dec.Decode(&a) != nil {
				return
			}
			c.answers <- a
		}
	}()
	tb.Cleanup(func() {
		_ = in.Close() // the process ends with its orders
		giveUp := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		defer giveUp.Stop()
		for range c.answers { // until the output's end, as Wait wants it
		}
		_ = cmd.Wait()
	})
	return c
}

// tell gives an order without waiting for its answer, which hear returns.
func (c *child) tell(o order) {
	c.tb.Helper()
	if err := c.orders.Encode(o); err != nil {
		c.tb.Fatalf("order %s to %s: %v\n%s", o.Op, c.role, err, c.stderr)
	}
}

func (c *child) hear() answer {
	c.tb.Helper()
	select {
	case a, open := <-c.answers:
		if !open || a.Err != "" {
			c.tb.Fatalf("%s: %s\n%s", c.role, cmp.Or(a.Err, "the process has ended"), c.stderr)
		}
		return a
	case <-time.After(orderTimeout):
		c.tb.Fatalf("%s has not answered within %s\n%s", c.role, orderTimeout, c.stderr)
	}
	return answer{}
}

func (c *child) do(o order) answer {
	c.tb.Helper()
	c.tell(o)
	return c.hear()
}
