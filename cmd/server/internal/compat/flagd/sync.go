package flagd

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	syncv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/sync/v1"
)

// syncing is flagd.sync.v1.FlagSyncService.
type syncing struct{ *Face }

// SyncFlags implements syncv1connect.FlagSyncServiceHandler.
func (s *syncing) SyncFlags(ctx context.Context, req *connect.Request[syncv1.SyncFlagsRequest], stream *connect.ServerStream[syncv1.SyncFlagsResponse]) error {
	return s.syncFlags(ctx, req.Msg.GetSelector(), func(m *message) error { return stream.Send(m.msg.(*syncv1.SyncFlagsResponse)) })
}

// FetchAllFlags implements syncv1connect.FlagSyncServiceHandler.
func (s *syncing) FetchAllFlags(ctx context.Context, req *connect.Request[syncv1.FetchAllFlagsRequest]) (*connect.Response[syncv1.FetchAllFlagsResponse], error) {
	ns, err := s.sets.Namespace(ctx, req.Msg.GetSelector())
	if err != nil {
		return nil, err
	}
	state, err := s.sets.Paced(ns)
	if err != nil {
		return nil, err
	}
	state.Asked(effective.FlagdSync)
	return connect.NewResponse(&syncv1.FetchAllFlagsResponse{FlagConfiguration: state.Document().JSON}), nil
}

// GetMetadata implements syncv1connect.FlagSyncServiceHandler.
func (s *syncing) GetMetadata(context.Context, *connect.Request[syncv1.GetMetadataRequest]) (*connect.Response[syncv1.GetMetadataResponse], error) {
	metadata := s.syncContext()
	if metadata == nil {
		metadata = &structpb.Struct{} // the Python and Java providers cannot start without one
	}
	return connect.NewResponse(&syncv1.GetMetadataResponse{Metadata: metadata}), nil
}

// syncContext is what clients add to every context; nil for nothing.
func (f *Face) syncContext() *structpb.Struct {
	values := f.sets.Context().Values
	if len(values) == 0 {
		return nil
	}
	out := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(values))}
	for name, value := range values {
		out.Fields[name] = structpb.NewStringValue(value)
	}
	return out
}

// syncFlags sends the set, and again whenever its document is another one. A
// client that takes long gets what is newest when it comes back.
func (f *Face) syncFlags(ctx context.Context, selector string, send sink) error {
	ns, err := f.sets.Namespace(ctx, selector)
	if err != nil {
		return err
	}
	stream, err := f.sets.Admit(ns, effective.FlagdSync)
	if err != nil {
		return err
	}
	defer stream.Leave()
	var sent *effective.Document
	for {
		state, over, err := f.sets.FollowPaced(ns)
		if err != nil {
			return err
		}
		if document := state.Document(); document != sent {
			m, err := f.encoded(document)
			if err != nil {
				return err
			}
			if err := send(m); err != nil {
				return err
			}
			sent = document
		}
		stream.Sent(state)
		select {
		case <-over:
		case <-ctx.Done():
			return ctx.Err()
		case <-f.sets.Draining():
			return api.Draining()
		}
	}
}

// documentKey is that of the message that carries a document.
type documentKey struct{}

type encodedDocument struct {
	message *message
	err     error
}

// encoded is the message with a document, encoded once for all streams.
func (f *Face) encoded(document *effective.Document) (*message, error) {
	made := document.Memo(documentKey{}, func(d *effective.Document) any {
		m, err := encode(&syncv1.SyncFlagsResponse{FlagConfiguration: d.JSON, SyncContext: f.syncContext()})
		return encodedDocument{m, err}
	}).(encodedDocument)
	return made.message, made.err
}
