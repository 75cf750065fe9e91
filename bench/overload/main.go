// Overload measures what a saturated server still serves, and to whom: a server
// of eight slots of 10 ms behind an admission controller, and a client that
// sends it more than it can do, at Poisson times that do not depend on its
// answers. The controllers are ours without any setting, with and without the
// deadline that callers send along, which the others have no use for, and
// failsafe-go's adaptive limiter with its prioritizer, by default and tuned by hand.
//
// The client is this process; each server is a child of it. It prints a table,
// says which targets are met, and draws the step experiment.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

const (
	slots   = 8
	service = 10 * time.Millisecond
	nominal = 800                    // requests a second that the slots could do
	inTime  = 100 * time.Millisecond // an answer is good within this
	tiers   = 4
)

func main() {
	serve := flag.String("serve", "", "be the server behind this controller, until standard input ends")
	svg := flag.String("svg", "", "write the chart of the step experiment to this file")
	settle := flag.Duration("settle", 3*time.Second, "how long a load lasts before it is measured")
	long := flag.Duration("measure", 5*time.Second, "how long it is measured")
	flag.Parse()
	var err error
	if *serve != "" {
		err = serveUntilEOF(*serve)
	} else {
		err = experiment(*svg, *settle, *long)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "overload:", err)
		os.Exit(1)
	}
}
