package stream

import (
	"context"
	"net/http"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

// Handler serves SyncService's Watch over every protocol, with the path to
// mount it.
func (h *Hub) Handler(opts ...connect.HandlerOption) (path string, handler http.Handler) {
	opts = append(opts,
		connect.WithCodec(protoCodec{}), connect.WithCodec(jsonCodec{}),
		connect.WithReadMaxBytes(maxRequest),
		// A client offers gzip by default, and compressing each message for
		// each stream would cost several times what the stream itself does.
		connect.WithCompressMinBytes(1<<30),
	)
	rest := connect.NewServerStreamHandler(plimsollv1connect.SyncServiceWatchProcedure,
		func(ctx context.Context, req *connect.Request[plimsollv1.WatchRequest], stream *connect.ServerStream[message]) error {
			return h.watch(ctx, req.Msg, stream.Send)
		}, opts...)
	return "/" + plimsollv1connect.SyncServiceName + "/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != plimsollv1connect.SyncServiceWatchProcedure:
			http.NotFound(w, r)
		case isPlainConnect(r):
			h.serveConnect(w, r)
		default:
			rest.ServeHTTP(w, r)
		}
	})
}
