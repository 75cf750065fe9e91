package sdk

import (
	"crypto/tls"
	"net"
	"net/http"
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
