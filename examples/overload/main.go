// Overload shows what admission does for a server that gets more requests than
// it can serve. It runs two shops in one process, each with 8 slots in which a
// page takes 40 ms, one with admission in front of it and one without, and asks
// both of them for the same pages over HTTP, in an open loop: visitors do not
// wait for each other. A page counts if it comes within 500 ms.
//
//	go run ./examples/overload                  # 20 s, with 5 times the load that fits
//	go run ./examples/overload --load 2 --duration 1m
//	go run ./examples/overload --plain          # lines instead of a picture
//
// It ends by itself, or on Ctrl-C. There is nothing to tune in the shop that has
// admission: it finds out by itself how much the shop can do.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/charmbracelet/x/term"
)

func main() {
	s, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	} else if err != nil {
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s.plain = s.plain || !term.IsTerminal(os.Stdout.Fd())
	if err := run(ctx, os.Stdout, s); err != nil {
		fmt.Fprintln(os.Stderr, "overload:", err)
		os.Exit(1)
	}
}

type settings struct {
	duration time.Duration
	load     float64 // at the height, in times what the shop can do
	plain    bool
}

func parse(args []string, errs io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("overload", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.DurationVar(&s.duration, "duration", 20*time.Second, "how long to run, 4s to 1h")
	flags.Float64Var(&s.load, "load", 5, "the load at its height, in times what the shop can do, up to 10")
	flags.BoolVar(&s.plain, "plain", false, "print lines, as where the output is no terminal")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	var err error
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("there are only flags, no arguments such as %q", flags.Arg(0))
	case s.duration < 4*time.Second || s.duration > time.Hour:
		err = fmt.Errorf("--duration %s: choose 4s to 1h", s.duration)
	case !(s.load > 0 && s.load <= 10):
		err = fmt.Errorf("--load %g: choose more than 0 and up to 10", s.load)
	}
	if err != nil {
		fmt.Fprintln(errs, "overload:", err)
	}
	return s, err
}

// run starts both shops, sends them visitors, and shows what they get.
func run(ctx context.Context, out io.Writer, s settings) error {
	controller, admitted, err := withAdmission(page())
	if err != nil {
		return err
	}
	with, err := open(admitted)
	if err != nil {
		return err
	}
	defer with.close()
	without, err := open(page())
	if err != nil {
		return err
	}
	defer without.close()

	ctx, cancel := context.WithTimeout(ctx, s.duration)
	defer cancel()
	v := &visitors{
		shops: [2]asker{with.ask, without.ask}, height: s.load, length: s.duration,
		random: rand.New(rand.NewPCG(rand.Uint64(), 0)),
	}
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		show(ctx, out, v, controller, s)
	}()
	v.come(ctx)
	<-shown
	summary(out, v)
	return nil
}
