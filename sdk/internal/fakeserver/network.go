// Package fakeserver is a SyncService for tests: its state and every move it
// makes are the test's, and it can be reached over a network in memory, so that
// tests run in a testing/synctest bubble.
package fakeserver

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
)

// Network connects clients and servers by pipes.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	hanging   map[string]bool
}

// NewNetwork is a network without servers.
func NewNetwork() *Network {
	return &Network{listeners: map[string]*listener{}, hanging: map[string]bool{}}
}

// Client is an HTTP/1.1 client on the network; its idle connections are closed
// at the end of the test.
func (n *Network) Client(t testing.TB) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	transport := &http.Transport{DialContext: n.dial, Protocols: &protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// Hang lets connections to a host hang, neither made nor refused, or not.
func (n *Network) Hang(host string, hang bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hanging[host] = hang
}

func (n *Network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	l, hangs := n.listeners[host], n.hanging[host]
	n.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if l != nil {
		client, server := net.Pipe()
		select {
		case l.accept <- server:
			return client, nil
		case <-l.closed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
}

func (n *Network) listen(host string) *listener {
	l := &listener{network: n, host: host, accept: make(chan net.Conn), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[host] = l
	return l
}

// listener accepts pipes.
type listener struct {
	network *Network
	host    string
	accept  chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	err := errors.New("closed already")
	l.once.Do(func() {
		err = nil
		close(l.closed)
		l.network.mu.Lock()
		defer l.network.mu.Unlock()
		if l.network.listeners[l.host] == l {
			delete(l.network.listeners, l.host)
		}
	})
	return err
}

func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.host, Net: "pipe"} }
