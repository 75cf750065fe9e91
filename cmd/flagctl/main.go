// Command flagctl is the operator's command line of Plimsoll.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version is set by the release build.
var version = ""

// grace is how long a command that was interrupted may take to say where it
// stands. Reading standard input or a large file takes no notice of being
// interrupted.
const grace = time.Second

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code := make(chan int, 1)
	go func() { code <- newCLI(os.Stdin, os.Stdout, os.Stderr, os.Environ()).run(ctx, os.Args[1:]) }()
	select {
	case n := <-code:
		return n
	case <-ctx.Done():
	}
	stop() // a second signal ends the process at once
	select {
	case n := <-code:
		return n
	case <-time.After(grace):
		fmt.Fprintln(os.Stderr, "flagctl: interrupted")
		return exitFailed
	}
}
