package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write the expected outputs of the scripts anew")

// programs are what scripts can run beside what the machine has.
var programs = map[string]func(){"flagctl": main}

func TestMain(m *testing.M) { testscript.Main(m, programs) }

// TestScripts runs the scripts of testdata/script: they are the specification
// of the command line, against a real server.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("TZ", "UTC")
			env.Setenv("PLIMSOLL_ACTOR", "alice@laptop")
			env.Setenv("PLIMSOLL_FLAGCTL_CACHE", filepath.Join(env.WorkDir, ".cache"))
			env.Setenv("PLIMSOLL_FLAGCTL_CONFIG", filepath.Join(env.WorkDir, ".contexts.yaml"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server": serverCommand,
			"exits":  exitsCommand,
			"mask":   maskCommand,
			"field":  fieldCommand,
			"until":  untilCommand,
			"many":   manyCommand,
			"bytes":  bytesCommand,
			"serve":  serveCommand,

			"process": processCommand,
		},
	})
}

// serverCommand is "server start [ADDRESS]", which sets PLIMSOLL_SERVER,
// "server stop" (SIGTERM) and "server kill" (SIGKILL). The data directory is
// the same each time.
func serverCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: server start [ADDRESS] | stop | kill")
	}
	pidFile := ts.MkAbs(".server.pid")
	if args[0] == "start" {
		address := "127.0.0.1:0"
		if len(args) > 1 {
			address = args[1]
		}
		s, err := startServer(ts.MkAbs(".data"), address)
		ts.Check(err)
		ts.Defer(s.kill)
		ts.Check(os.WriteFile(pidFile, []byte(strconv.Itoa(s.cmd.Process.Pid)), 0o600))
		running.Store(s.cmd.Process.Pid, s)
		ts.Setenv("PLIMSOLL_SERVER", s.url)
		ts.Setenv("ADDRESS", strings.TrimPrefix(s.url, "http://"))
		return
	}
	pid, err := strconv.Atoi(ts.ReadFile(".server.pid"))
	ts.Check(err)
	found, _ := running.Load(pid)
	s, ok := found.(*serverProcess)
	if !ok {
		ts.Fatalf("no server runs")
	}
	switch args[0] {
	case "stop":
		ts.Check(s.stop())
	case "kill":
		s.kill()
	default:
		ts.Fatalf("unknown: server %s", args[0])
	}
}

// exitsCommand is "exits CODE PROGRAM [ARGUMENT...]": the program must end with
// exactly that code.
func exitsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGUMENT...]")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// masks are what differs from run to run.
var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z| [+-]\d\d:\d\d)`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "HASH"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "STORE"},
	{regexp.MustCompile(`\b([0-9a-f]{16}|[A-Z2-7]{26})\b`), "CHANGE"},
	{regexp.MustCompile(`(revision"?:? +)\d+(, not \d+)?`), "${1}N"},
	{regexp.MustCompile(`http://127\.0\.0\.1:\d+`), "SERVER"},
	{regexp.MustCompile(`  (now|\d+s)\n`), "  AGE\n"},
	{regexp.MustCompile(`(?m)^(now|\d+[sm]) +`), "AGE  "},
	{regexp.MustCompile(`\b(until|or) (\d{4}-\d\d-\d\d )?\d\d:\d\d(:\d\d)? \(in`), "$1 CLOCK (in"},
	{regexp.MustCompile(`as of (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d`), "as of CLOCK"},
	{regexp.MustCompile(`([,)]) \d+(\.\d)? m?s ago`), "$1 SPAN ago"},
	{regexp.MustCompile(`\b(within|slowest) \d+(\.\d+)? (ms|s)\b`), "${1} SPAN"},
}

// maskCommand is "mask stdout|stderr": the last output goes to the file masked,
// without what differs from run to run.
func maskCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mask stdout|stderr")
	}
	text := ts.ReadFile(args[0])
	for _, m := range masks {
		text = m.pattern.ReplaceAllString(text, m.with)
	}
	ts.Check(os.WriteFile(ts.MkAbs("masked"), []byte(text), 0o600))
}

// fieldCommand is "field NAME PATH": the value at a path of the JSON on the last
// standard output goes to an environment variable.
func fieldCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: field NAME PATH")
	}
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	dec.UseNumber()
	var v any
	ts.Check(dec.Decode(&v))
	for step := range strings.SplitSeq(args[1], ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[step]
		case []any:
			i, err := strconv.Atoi(step)
			ts.Check(err)
			v = at[i]
		}
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

// untilCommand is "until PATTERN FILE": it waits until the file, which another
// process writes, matches.
func untilCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: until PATTERN FILE")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	deadline := time.Now().Add(30 * time.Second)
	for {
		text, err := os.ReadFile(ts.MkAbs(args[1]))
		if err == nil && pattern.Match(text) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not match %q within 30 s; it has\n%s", args[1], args[0], text)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// serveCommand is "serve FOLDER": serves its files over HTTP, at the URL that it
// sets as FILES; below /slow/ nothing is ever answered.
func serveCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serve FOLDER")
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(ts.MkAbs(args[0]))))
	mux.HandleFunc("/slow/", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	ts.Defer(server.Close)
	ts.Setenv("FILES", server.URL)
}

// manyCommand is "many COUNT FILE": a document with that many flags.
func manyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: many COUNT FILE")
	}
	count, err := strconv.Atoi(args[0])
	ts.Check(err)
	var b bytes.Buffer
	b.WriteString(`{"segments":{"s":true},"flags":{`)
	for i := range count {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"flag-%05d":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":{"if":[{"segment":"s"},"on"]},"plimsoll":{"description":%q}}`, i, strings.Repeat("x", 200))
	}
	b.WriteString("}}")
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b.Bytes(), 0o600))
}

// bytesCommand is "bytes FILE QUOTED": writes a file from a string in Go's
// notation, for what a script cannot hold.
func bytesCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bytes FILE QUOTED")
	}
	text, err := strconv.Unquote(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}
