package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// cli is what all commands share in one run of the program.
type cli struct {
	in      io.Reader
	print   *output.Printer
	now     func() time.Time
	root    *cobra.Command
	globals globals
	running bool          // the command line is right, and its command runs
	silence time.Duration // how long a stream may say nothing
	noHelp  error         // why there is no help that was asked for

	client *remote.Client // made by connect
	target settings       // filled by connect
}

func newCLI(stdin io.Reader, stdout, stderr io.Writer, environ []string) *cli {
	c := &cli{in: stdin, print: output.New(stdout, stderr, environ), now: time.Now, silence: maxSilence}
	c.root = newRoot(c)
	return c
}

// run runs one command line and returns the exit code.
func (c *cli) run(ctx context.Context, args []string) int {
	c.root.SetArgs(args)
	err := checkUTF8(args)
	if err == nil {
		err = cmp.Or(c.root.ExecuteContext(ctx), c.noHelp)
	}
	if flushErr := c.print.Flush(); err == nil {
		err = flushErr
	}
	if err == nil {
		return exitDone
	}
	return c.report(err)
}

// checkUTF8 refuses arguments that no request could carry.
func checkUTF8(args []string) error {
	for _, a := range args {
		if !utf8.ValidString(a) {
			return usage(fmt.Sprintf("the argument %q is not valid UTF-8", a))
		}
	}
	return nil
}

// connect finds out which server and namespace are meant, and makes the client.
func (c *cli) connect() error {
	if c.client != nil {
		return nil
	}
	target, err := c.globals.resolve()
	if err != nil {
		return err
	}
	c.target = target
	c.dial(c.globals.timeout)
	return nil
}

// dial makes the client, whose calls take at most that long.
func (c *cli) dial(timeout time.Duration) {
	c.client = remote.New(remote.Target{
		Server: c.target.server, Token: c.target.token, Actor: c.target.actor, Timeout: timeout,
	})
}

// namespace is the namespace that requests name; "" leaves it to the server.
func (c *cli) namespace() string { return c.target.namespace }

// namespaceName is the namespace as people call it.
func (c *cli) namespaceName() string {
	if c.target.namespace == "" {
		return "default"
	}
	return c.target.namespace
}

// change is what is told of a change, with an id that the caller chose.
func (c *cli) change(id string) *plimsollv1.ChangeInfo {
	return &plimsollv1.ChangeInfo{ChangeId: id, Reason: c.globals.reason}
}

// interactive tells whether a person at a terminal can be asked.
func (c *cli) interactive() bool {
	f, ok := c.in.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

// confirm asks a person at a terminal before something is destroyed. Scripts
// are not asked: they have said what they want.
func (c *cli) confirm(ctx context.Context, question string) error {
	if c.globals.yes || !c.interactive() {
		return nil
	}
	c.print.Notef("%s [y/N]", question)
	answer := make(chan string, 1) // the reader may outlive the question, not the process
	go func() {
		var s string
		_, _ = readLine(c.in, &s)
		answer <- s
	}()
	select {
	case <-ctx.Done():
		return &failure{code: exitFailed, why: errors.New("interrupted; nothing was changed")}
	case s := <-answer:
		if s == "y" || s == "Y" || s == "yes" {
			return nil
		}
		return &failure{code: exitFailed, why: errors.New("not confirmed; nothing was changed")}
	}
}

// readLine reads up to the end of a line, byte by byte, so that nothing after
// it is taken away.
func readLine(r io.Reader, line *string) (int, error) {
	b := make([]byte, 1)
	for n := 0; ; n++ {
		if k, err := r.Read(b); err != nil || k == 0 || b[0] == '\n' {
			return n, err
		}
		if b[0] != '\r' {
			*line += string(b)
		}
	}
}
