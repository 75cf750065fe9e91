package api

import (
	"errors"
	"strconv"
	"time"

	"connectrpc.com/connect"
)

// Metadata that comes with the end of a stream and says what to do next.
const (
	// MetaReconnect: elsewhere means that this server is going away or is
	// behind.
	MetaReconnect = "Plimsoll-Reconnect"
	// MetaBehind is this server's epoch/revision where it is lower than what
	// the client has seen of the same store, and confirmed by etcd.
	MetaBehind = "Plimsoll-Behind"
	// MetaRetryAfter is how many seconds to wait before coming back.
	MetaRetryAfter = "Plimsoll-Retry-After"
)

// Draining ends a stream of a server that is shutting down.
func Draining() error {
	err := connect.NewError(connect.CodeUnavailable, errors.New("draining: this server is shutting down; reconnect to another"))
	err.Meta().Set(MetaReconnect, "elsewhere")
	return err
}

// TooMany refuses work that the server has no capacity for now.
func TooMany(what string, retry time.Duration) error {
	err := connect.NewError(connect.CodeResourceExhausted, errors.New("too many "+what+" at once; try again later"))
	err.Meta().Set(MetaRetryAfter, strconv.Itoa(max(1, int(retry.Seconds()))))
	return err
}
