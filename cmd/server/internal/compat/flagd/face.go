// Package flagd serves the protocols of flagd's clients: evaluation v1 and v2,
// and sync v1. What they get is a namespace's effective set, so that an app in
// any language degrades with those that use Plimsoll's own provider.
//
// Calls go through connect-go (resolve.go, v1.go, v2.go, sync.go). Streams are
// written from bytes that are encoded once for all of them (ready.go), in the
// framing of each protocol (framing.go).
package flagd

import (
	"context"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	evaluationv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v1"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v1/evaluationv1connect"
	evaluationv2 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v2"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v2/evaluationv2connect"
	syncv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/sync/v1"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/sync/v1/syncv1connect"
)

// maxRequest bounds a request, most of which is its evaluation context.
const maxRequest = 1 << 20

// Services are the names of what is served, for reflection and health.
var Services = []string{evaluationv1connect.ServiceName, evaluationv2connect.ServiceName, syncv1connect.FlagSyncServiceName}

// Face serves flagd's protocols. It is safe for concurrent use.
type Face struct{ sets *effective.Sets }

// New makes a face over the sets of all namespaces.
func New(sets *effective.Sets) *Face { return &Face{sets} }

// Mount adds the routes to mux, over gRPC, gRPC-Web and Connect.
func (f *Face) Mount(mux *http.ServeMux, opts ...connect.HandlerOption) {
	opts = append([]connect.HandlerOption{
		connect.WithReadMaxBytes(maxRequest),
		// A client offers gzip by default; compressing each message for each
		// stream would cost several times what the stream itself does.
		connect.WithCompressMinBytes(1 << 30),
	}, opts...)
	events := func(ctx context.Context, _ proto.Message, send sink) error { return f.eventStream(ctx, send) }

	path, handler := evaluationv1connect.NewServiceHandler(&v1{f}, opts...)
	mux.Handle(path, handler)
	mux.Handle(evaluationv1connect.ServiceEventStreamProcedure, &readyStream{
		rest: handler, serve: events, request: func() proto.Message { return new(evaluationv1.EventStreamRequest) },
	})
	path, handler = evaluationv2connect.NewServiceHandler(&v2{f}, opts...)
	mux.Handle(path, handler)
	mux.Handle(evaluationv2connect.ServiceEventStreamProcedure, &readyStream{
		rest: handler, serve: events, request: func() proto.Message { return new(evaluationv2.EventStreamRequest) },
	})
	path, handler = syncv1connect.NewFlagSyncServiceHandler(&syncing{f}, opts...)
	mux.Handle(path, handler)
	mux.Handle(syncv1connect.FlagSyncServiceSyncFlagsProcedure, &readyStream{
		rest: handler, request: func() proto.Message { return new(syncv1.SyncFlagsRequest) },
		serve: func(ctx context.Context, req proto.Message, send sink) error {
			return f.syncFlags(ctx, req.(*syncv1.SyncFlagsRequest).GetSelector(), send)
		},
	})
}
