package main

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

// TestMain builds the server once: crash behaviour is that of a process.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(playRole(role))
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "plimsoll-server-*")
		if err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		serverBinary = filepath.Join(dir, "server")
		if out, err := exec.Command("go", "build", "-o", serverBinary, ".").CombinedOutput(); err != nil {
			panic(string(out))
		}
		return m.Run()
	}())
}

var serverBinary string

// process is a server that runs.
type process struct {
	url    string
	cmd    *exec.Cmd
	stdout chan string
	stderr *syncBuffer
	once   sync.Once
	exit   error
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// spawn starts the serverBinary with a data directory and waits until it is ready.
func spawn(t testing.TB, dataDir string, args ...string) *process {
	t.Helper()
	p := launch(t, append([]string{"--data-dir", dataDir, "--listen", "127.0.0.1:0"}, args...)...)
	p.awaitReady(t)
	return p
}

// awaitReady waits until a launched server has said where it is.
func (p *process) awaitReady(t testing.TB) {
	t.Helper()
	select {
	case line, open := <-p.stdout:
		url, ok := strings.CutPrefix(line, "ready ")
		if !open || !ok {
			t.Fatalf("the server said %q\n%s", line, p.stderr)
		}
		p.url = url
	case <-time.After(60 * time.Second):
		t.Fatalf("the server was not ready within 60 s\n%s", p.stderr)
	}
}

func launch(t testing.TB, args ...string) *process {
	t.Helper()
	cmd := exec.Command(serverBinary, args...)
	p := &process{cmd: cmd, stdout: make(chan string, 100), stderr: new(syncBuffer)}
	cmd.Stderr = p.stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.stdout)
		for s := bufio.NewScanner(out); s.Scan(); {
			select {
			case p.stdout <- s.Text():
			default: // nobody reads more than this
			}
		}
	}()
	t.Cleanup(func() { p.kill() })
	return p
}

// kill ends the process as a crash would.
func (p *process) kill() { _ = p.cmd.Process.Kill(); _ = p.wait() }

// stop ends the process in order and returns how it ended.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.wait()
}

func (p *process) wait() error {
	p.once.Do(func() { p.exit = p.cmd.Wait() })
	return p.exit
}

func (p *process) flags(opts ...connect.ClientOption) plimsollv1connect.FlagServiceClient {
	return plimsollv1connect.NewFlagServiceClient(http.DefaultClient, p.url, opts...)
}

func (p *process) audit() plimsollv1connect.AuditServiceClient {
	return plimsollv1connect.NewAuditServiceClient(http.DefaultClient, p.url)
}

func (p *process) admin() plimsollv1connect.AdminServiceClient {
	return plimsollv1connect.NewAdminServiceClient(http.DefaultClient, p.url)
}

func (p *process) sync(opts ...connect.ClientOption) plimsollv1connect.SyncServiceClient {
	return plimsollv1connect.NewSyncServiceClient(http.DefaultClient, p.url, opts...)
}

// h2c is a client that speaks HTTP/2 without TLS, as gRPC wants it.
func h2c(t testing.TB) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// short is a context with a deadline that only a broken server exceeds.
func short(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
