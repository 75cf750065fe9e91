package interop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// installLimit is how long an installation may take: from nothing, over a network
// that is slow.
const installLimit = 12 * time.Minute

// installation is one that goes on in the background, while others' rows run.
type installation struct {
	done chan struct{}
	took time.Duration
	err  error // once done is closed
}

// install begins to run steps in a folder; they end with the test.
func install(t *testing.T, folder string, env []string, steps ...[]string) *installation {
	i := &installation{done: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), installLimit)
	var running sync.WaitGroup
	running.Go(func() {
		defer close(i.done)
		started := time.Now()
		for _, step := range steps {
			if i.err = command(ctx, folder, env, step...); i.err != nil {
				return
			}
		}
		i.took = time.Since(started)
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return i
}

// wait is for the end of the installation.
func (i *installation) wait() error {
	<-i.done
	return i.err
}

// command runs a step of an installation.
func command(ctx context.Context, folder string, env []string, step ...string) error {
	name := step[0]
	if filepath.Base(name) != name && !filepath.IsAbs(name) { // what a step before has installed
		name = filepath.Join(folder, name)
	}
	cmd := exec.CommandContext(ctx, name, step[1:]...)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), env...)
	cmd.WaitDelay = 10 * time.Second // what it started may hold its output open
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s in %s: %w\n%s", name, folder, err, tail(string(out)))
	}
	return nil
}
