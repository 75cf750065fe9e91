package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// serverBinary builds the server once for all scripts. The folder is that of
// the test's own binary, which the go command removes.
var serverBinary = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), "plimsoll-server")
	out, err := exec.Command("go", "build", "-o", path, "github.com/plimsoll-dev/plimsoll/cmd/server").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return path, nil
})

// running are the servers by process id.
var running sync.Map

// serverProcess is a server that was started.
type serverProcess struct {
	url  string
	cmd  *exec.Cmd
	log  *bytes.Buffer
	once sync.Once
	end  error
}

const serverDeadline = 60 * time.Second

// startServer starts a server and waits until it is ready.
func startServer(dataDir, address string) (*serverProcess, error) {
	binary, err := serverBinary()
	if err != nil {
		return nil, err
	}
	s := &serverProcess{cmd: exec.Command(binary, "--listen", address, "--data-dir", dataDir, "--zone", "eu-1"), log: new(bytes.Buffer)}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	line := make(chan string, 1)
	go func() { // ends with the process
		text, _ := bufio.NewReader(stdout).ReadString('\n')
		line <- text
	}()
	select {
	case text := <-line:
		url, ok := strings.CutPrefix(strings.TrimSpace(text), "ready ")
		if !ok {
			s.kill()
			return nil, fmt.Errorf("the server said %q and not that it is ready\n%s", text, s.log)
		}
		s.url = url
		return s, nil
	case <-time.After(serverDeadline):
		s.kill()
		return nil, fmt.Errorf("the server was not ready within %s\n%s", serverDeadline, s.log)
	}
}

// stop asks the server to end and waits for it.
func (s *serverProcess) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.AfterFunc(serverDeadline, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	return s.wait()
}

// kill ends the server at once.
func (s *serverProcess) kill() {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		panic(err)
	}
	_ = s.wait()
}

func (s *serverProcess) wait() error {
	s.once.Do(func() { s.end = s.cmd.Wait() })
	return s.end
}
