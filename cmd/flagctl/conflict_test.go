package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// TestManyConflicts: a change of many objects that has been overtaken does not
// flood the terminal.
func TestManyConflicts(t *testing.T) {
	for n, want := range map[int]string{1: "", 20: "", 21: "… and 1 more conflict\n", 51: "… and 31 more conflicts\n"} {
		var told bytes.Buffer
		c := newCLI(nil, &bytes.Buffer{}, &told, nil)
		e := new(remote.Error)
		for i := range n {
			e.Conflicts = append(e.Conflicts, &plimsollv1.Conflict{Object: fmt.Sprintf("flags/f%02d", i), CurrentRevision: 7})
		}
		c.reportConflicts(e)
		if err := c.print.Flush(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(told.String(), "conflict: flags/f"); got != min(n, 20) || !strings.HasSuffix(told.String(), want) || (want == "") == strings.Contains(told.String(), "more") {
			t.Errorf("%d conflicts: it says\n%s", n, &told)
		}
	}
}
