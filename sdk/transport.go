package sdk

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	idleTimeout      = 30 * time.Second
)

// newTransport speaks HTTP/1.1 alone, over TLS too: a connection for the one
// stream is the cheapest for the server, which saves goroutines and buffers.
// There is no limit on the whole response, which has no end.
func newTransport(t *tls.Config) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:     t,
		TLSHandshakeTimeout: handshakeTimeout,
		Protocols:           &protocols,
		IdleConnTimeout:     idleTimeout,
	}
}

// maxReadyLine is how much of the answer to /readyz is read.
const maxReadyLine = 1 << 10

// ready asks a server whether it is well: one that is in trouble says so in place
// of "ok".
func ready(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	line, err := bufio.NewReader(io.LimitReader(response.Body, maxReadyLine)).ReadString('\n')
	if line = strings.TrimSpace(line); response.StatusCode != http.StatusOK || line != "ok" {
		return fmt.Errorf("the server is not ready: %s: %q", response.Status, line)
	}
	if err != nil && err != io.EOF { //nolint:errorlint // a reader returns it as it is
		return err
	}
	return nil
}
