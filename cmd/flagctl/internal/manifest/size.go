package manifest

import (
	"fmt"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// CheckSize adds a warning where all the flags together, as the flagd JSON that
// a server would make of them at now, are more than flagd's providers take by
// default. A bundle with errors is not looked at.
func (b *Bundle) CheckSize(now time.Time) {
	if len(b.Errors()) > 0 || len(b.files) == 0 {
		return
	}
	set, _ := flag.Empty().With(b.Document().Update(flag.V2), now)
	size := len(set.ComposeAll())
	if size < flag.LargeComposed {
		return
	}
	file := b.files[0]
	if len(b.files) > 1 {
		file = fmt.Sprintf("%d files together", len(b.files))
	}
	b.faults = append(b.faults, Fault{file, flag.Fault{
		Severity: flag.Warning,
		Message:  fmt.Sprintf("as flagd JSON this has %.1f MiB; flagd providers that evaluate in process take 4 MiB by default", float64(size)/(1<<20)),
		Hint:     "split it into several namespaces, or raise the limit in those providers",
	}})
}
