package sdk

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/follow"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/shelf"
)

// lookEvery is how often a file is looked at.
const lookEvery = time.Second

var errNoFile = errors.New("the file has not been read yet")

// fileFollower follows a file as a follow.Follower does servers: it tells the same
// observer. What was read last stays while the file is gone or has faults.
type fileFollower struct {
	path    string
	log     *slog.Logger
	observe func(follow.Change)

	state follow.State
	// seen is the file that was read last, good or not; nil: there was none.
	seen fs.FileInfo
	// told is the last failure that was logged; empty after a success.
	told string
	// reported is what was said about flags that do not compile.
	reported string
}

func newFileFollower(path string, log *slog.Logger, observe func(follow.Change)) *fileFollower {
	return &fileFollower{path: path, log: log, observe: observe, state: follow.State{Trouble: errNoFile}}
}

// Run looks at the file until the context ends.
func (f *fileFollower) Run(ctx context.Context) {
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-every.C:
			f.look()
			f.expire(now)
		}
	}
}

// look reads the file if it is not the one that was read last.
func (f *fileFollower) look() {
	info, err := os.Stat(f.path)
	switch {
	case err != nil:
		f.seen = nil
		f.fails(err)
		return
	case f.seen != nil && os.SameFile(f.seen, info) && f.seen.ModTime().Equal(info.ModTime()) && f.seen.Size() == info.Size():
		return
	}
	f.seen = info
	// Built on what is served: a flag that does not compile keeps its last good
	// version.
	base := f.state.Set
	if base == nil {
		base = flag.Empty()
	}
	saved, warnings, err := shelf.Read(f.path, base, time.Now())
	if err != nil {
		f.fails(err)
		return
	}
	f.told = ""
	if warnings != nil {
		f.log.Warn("the file is not as it should be", "file", f.path, "faults", warnings)
	}
	f.take(saved)
}

// fails logs why the file cannot be used, once in a row, and tells those who wait
// for it.
func (f *fileFollower) fails(err error) {
	if f.told != err.Error() {
		f.told = err.Error()
		if f.state.Set == nil {
			f.log.Error("the file cannot be used: callers get their own defaults", "file", f.path, "faults", err)
		} else {
			f.log.Error("the file cannot be used: its last good version is served", "file", f.path, "faults", err)
		}
	}
	if f.state.Set == nil && f.state.Trouble.Error() != err.Error() {
		f.become(follow.State{Trouble: err}, true)
	}
}

// take serves what was read.
func (f *fileFollower) take(saved shelf.Saved) {
	set := saved.Set
	problems := ""
	for _, p := range set.Problems() {
		problems += p.Key + ": " + p.Faults.Error() + "\n"
	}
	if problems != f.reported {
		f.reported = problems
		if problems != "" {
			f.log.Error("flags of the file do not compile: the last good version of each is served", "file", f.path, "faults", problems)
		}
	}
	f.log.Info("serving the flags of the file", "file", f.path, "flags", set.Len())
	f.become(follow.State{Set: set, Store: saved.Store}, false)
}

func (f *fileFollower) become(next follow.State, failed bool) {
	c := follow.Change{Old: f.state, New: next, Failed: failed}
	f.state = next
	f.observe(c)
}

// expire lets what is over end: a file of the cache may have overrides.
func (f *fileFollower) expire(now time.Time) {
	if f.state.Set == nil {
		return
	}
	if set := f.state.Set.At(now); set != f.state.Set {
		f.become(follow.State{Set: set, Store: f.state.Store}, false)
	}
}
