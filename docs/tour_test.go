// Package docs keeps the README honest: its tour is walked against a real
// server, and what is printed is compared with what the README shows.
package docs

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what is printed into the README")

const (
	readme = "../README.md"
	// patience is how long the tour waits for any single thing.
	patience = 30 * time.Second
)

// TestTour runs the commands of the README's tour in order:
//
//   - a console block holds commands after "$ " and what they print
//   - a text block holds what the app's terminal prints next
//   - a yaml block is a file, named by the comment in its first line
//   - a comment "tour: stop the server" or "tour: start the server" does that
//
// Times, ages, sizes and ids differ from run to run and are not compared.
// With -update the README gets what was printed.
func TestTour(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	w := newWalk(t)
	var out strings.Builder
	inTour := false
	for p := range parts(string(text)) {
		if p.heading != "" {
			inTour = p.heading == "Five minutes"
		}
		if inTour {
			p = w.take(p)
		}
		out.WriteString(p.String())
	}
	if w.commands < 5 {
		t.Errorf("the tour has %d commands: is it still where this test looks for it?", w.commands)
	}
	if *update {
		if err := os.WriteFile(readme, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// part is a fenced block, or a line outside of one.
type part struct {
	heading string // of a line that is one
	line    string
	kind    string // of a block
	body    []string
}

func (p part) String() string {
	if p.kind == "" {
		return p.line + "\n"
	}
	return "```" + p.kind + "\n" + strings.Join(append(p.body, "```"), "\n") + "\n"
}

func parts(text string) func(yield func(part) bool) {
	return func(yield func(part) bool) {
		var block *part
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			kind, fence := strings.CutPrefix(line, "```")
			var p part
			switch {
			case fence && block == nil:
				block = &part{kind: kind}
				continue
			case fence:
				p, block = *block, nil
			case block != nil:
				block.body = append(block.body, line)
				continue
			default:
				p.line = line
				p.heading, _ = strings.CutPrefix(line, "## ")
				if p.heading == line {
					p.heading = ""
				}
			}
			if !yield(p) {
				return
			}
		}
	}
}

// walk is a walk in progress.
type walk struct {
	t        *testing.T
	dir      string // where the commands run
	bin      string
	address  string
	env      []string
	server   *process
	app      *process
	commands int
}

func newWalk(t *testing.T) *walk {
	w := &walk{t: t, dir: t.TempDir(), bin: t.TempDir(), address: freeAddress(t)}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", w.bin+"/", "../cmd/server", "../cmd/flagctl", "../examples/hello")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.env = append(os.Environ(),
		"PATH="+w.bin+string(os.PathListSeparator)+os.Getenv("PATH"),
		"HOME="+t.TempDir(), "XDG_CONFIG_HOME=", "PLIMSOLL_CONFIG=", "PLIMSOLL_FLAGCTL_CONFIG=", "PLIMSOLL_CONTEXT=", "PLIMSOLL_NAMESPACE=", "PLIMSOLL_TOKEN=",
		"PLIMSOLL_ACTOR=ada@laptop", "PLIMSOLL_SERVER=http://"+w.address)
	return w
}

// freeAddress is an address that is free now, and most likely in a moment.
func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// take walks one part and returns it as it should be.
func (w *walk) take(p part) part {
	w.t.Helper()
	switch {
	case p.kind == "console":
		p.body = w.console(p.body)
	case p.kind == "text":
		p.body = w.compare("the app", p.body, w.app.lines(w.t, len(p.body)))
	case p.kind == "yaml":
		name := strings.TrimPrefix(p.body[0], "# ")
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(strings.Join(p.body, "\n")+"\n"), 0o600); err != nil {
			w.t.Fatal(err)
		}
	case strings.Contains(p.line, "tour: stop the server"):
		w.server.stop(w.t)
	case strings.Contains(p.line, "tour: start the server"):
		w.startServer(1)
	}
	return p
}

// console runs a block's commands and returns the block with what they print.
func (w *walk) console(body []string) []string {
	w.t.Helper()
	var out []string
	for len(body) > 0 {
		command, ok := strings.CutPrefix(body[0], "$ ")
		if !ok {
			w.t.Fatalf("not a command: %q", body[0])
		}
		end := 1
		for end < len(body) && !strings.HasPrefix(body[end], "$ ") {
			end++
		}
		out = append(out, body[0])
		out = append(out, w.compare(command, body[1:end], w.run(command, end-1))...)
		body = body[end:]
	}
	return out
}

// run runs a command. One that does not end has lines many lines to print.
func (w *walk) run(command string, lines int) []string {
	w.t.Helper()
	w.commands++
	switch {
	case command == "make run":
		return w.startServer(lines)
	case command == "go run ./examples/hello":
		w.app = w.start(exec.Command(filepath.Join(w.bin, "hello")))
		return w.app.lines(w.t, lines)
	case strings.HasPrefix(command, "make build"):
		return nil // newWalk did
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", command)
	cmd.Dir, cmd.Env = w.dir, w.env
	// A command that fails does so on purpose; what it prints tells.
	printed, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		w.t.Fatalf("%s: %v\n%s", command, err, printed)
	}
	text := strings.ReplaceAll(string(printed), w.address, "127.0.0.1:8013")
	if text = strings.TrimRight(text, "\n"); text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// startServer starts what `make run` starts, and returns the first lines that
// it prints, of which one says that it is ready.
func (w *walk) startServer(lines int) []string {
	w.t.Helper()
	w.server = w.start(exec.Command(filepath.Join(w.bin, "server"), "--demo", "--listen", w.address))
	printed := w.server.lines(w.t, lines)
	for i, line := range printed {
		printed[i] = strings.ReplaceAll(line, w.address, "127.0.0.1:8013")
	}
	return printed
}

var (
	gaps     = regexp.MustCompile(`\s{2,}`)
	variable = regexp.MustCompile(strings.Join([]string{
		`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+\d\d:\d\d`, // a date
		`\b\d\d:\d\d(:\d\d)?\b`,                      // a time
		`\b(\d+(\.\d+)?(ms|s|m)|now)\b`,              // an age
		`none reported|\d+ % of \d+|traffic: .*`,     // what the app has reported so far
		`\b[0-9a-f]{16,64}\b`, `\b[A-Z2-7]{26}\b`,    // ids and hashes
		`\brevision \d+\b`,                    // etcd counts what servers register as well
		`\b\d+ of 100 visitors, shed for \d+`, // the seed is drawn anew
	}, "|"))
)

// compare fails unless got is want but for what differs from run to run. It
// returns what the README should show.
func (w *walk) compare(what string, want, got []string) []string {
	w.t.Helper()
	normal := func(lines []string) []string {
		var out []string
		for _, line := range lines {
			out = append(out, strings.TrimSpace(variable.ReplaceAllString(gaps.ReplaceAllString(line, " "), "*")))
		}
		return out
	}
	diff := cmp.Diff(normal(want), normal(got))
	if diff == "" {
		return want
	}
	if !*update {
		w.t.Errorf("%s prints something else than the README shows; -update takes it over (-README +printed):\n%s", what, diff)
	}
	return got
}

// process is a program that runs beside the tour.
type process struct {
	cmd    *exec.Cmd
	stdout chan string // closed at its end
	stderr bytes.Buffer
}

func (w *walk) start(cmd *exec.Cmd) *process {
	w.t.Helper()
	cmd.Dir, cmd.Env = w.dir, w.env
	p := &process{cmd: cmd, stdout: make(chan string, 100)}
	cmd.Stderr = &p.stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(p.stdout)
		for scan := bufio.NewScanner(pipe); scan.Scan(); {
			p.stdout <- scan.Text()
		}
	}()
	w.t.Cleanup(func() { p.stop(w.t) })
	return p
}

// lines waits for the next n lines.
func (p *process) lines(t *testing.T, n int) []string {
	t.Helper()
	timeout := time.After(patience)
	var got []string
	for len(got) < n {
		select {
		case line, ok := <-p.stdout:
			if !ok {
				t.Fatalf("%s ended after %q", p.cmd, got)
			}
			got = append(got, line)
		case <-timeout:
			t.Fatalf("%s has printed nothing but %q for %s", p.cmd, got, patience)
		}
	}
	return got
}

// stop interrupts the program, as Ctrl-C does, and waits for its end.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if p.cmd.ProcessState != nil {
		return
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Errorf("interrupt %s: %v", p.cmd, err)
	}
	for range p.stdout {
		continue // the rest is of no interest, but has to be taken
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", p.cmd, err, &p.stderr)
	}
}
