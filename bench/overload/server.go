package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A backend is the server's work: slots that a request holds for a time.
type backend struct {
	slots chan struct{}
	now   atomic.Int64 // slots that there are
	slow  atomic.Int64 // percent of the usual time
}

func (b *backend) work() {
	<-b.slots
	time.Sleep(service * time.Duration(b.slow.Load()) / 100)
	b.slots <- struct{}{}
}

func (b *backend) set(slots, slow int64) {
	b.slow.Store(slow)
	for n := b.now.Swap(slots); n != slots; {
		if n < slots {
			b.slots <- struct{}{}
			n++
		} else {
			<-b.slots
			n--
		}
	}
}

// serveUntilEOF is the child: it prints its address and serves.
func serveUntilEOF(name string) error {
	admit, err := newController(name)
	if err != nil {
		return err
	}
	b := &backend{slots: make(chan struct{}, 4*slots)}
	b.set(slots, 100)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = listener.Close()
	}()
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go b.serve(conn, admit)
	}
}

// serve answers one connection, until its client closes it.
func (b *backend) serve(conn net.Conn, admit controller) {
	defer func() { _ = conn.Close() }()
	answers := make(chan frame, 1024)
	var working, writing sync.WaitGroup
	writing.Go(func() { write(conn, answers) })
	reader := bufio.NewReaderSize(conn, 64<<10)
	for {
		f, err := readFrame(reader)
		if err != nil {
			break
		}
		working.Go(func() {
			f.status = b.answer(f, admit)
			answers <- f
		})
	}
	working.Wait()
	close(answers)
	writing.Wait()
}

func (b *backend) answer(f frame, admit controller) uint8 {
	switch f.op {
	case opSet:
		b.set(int64(f.value>>32), int64(f.value&math.MaxUint32))
	case opBare:
		b.work()
	default:
		end, err := admit(context.Background(), int(min(f.tier, tiers-1)), strconv.FormatUint(f.value, 10))
		if err != nil {
			return statusRefused
		}
		b.work()
		end()
	}
	return statusServed
}

// A child is a server in a process of its own.
type child struct {
	*client
	stdin   io.Closer
	command *exec.Cmd
}

func start(ctx context.Context, controller string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, self, "-serve", controller)
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = command.Process.Kill()
		_ = command.Wait()
		return nil, fmt.Errorf("the server did not say its address: %w", err)
	}
	conn, err := net.DialTimeout("tcp", strings.TrimSpace(address), 5*time.Second)
	if err != nil {
		_ = command.Process.Kill()
		_ = command.Wait()
		return nil, err
	}
	return &child{newClient(conn), stdin, command}, nil
}

func (c *child) stop() error {
	c.close()
	_ = c.stdin.Close()
	return c.command.Wait()
}
