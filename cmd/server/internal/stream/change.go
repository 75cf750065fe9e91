package stream

import (
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

const (
	// chunkBytes is how large a chunk of a snapshot becomes before the next one
	// begins: well below the 4 MiB that gRPC clients take by default.
	chunkBytes = 256 << 10
	// A change of more objects or bytes than this is told as a whole snapshot,
	// which is encoded once for everybody and comes in chunks.
	maxDeltaObjects = 1000
	maxDeltaBytes   = 1 << 20
)

// changes names what differs between a position and a snapshot of the same
// store; it reports false where that is not known, or too much for a delta.
func changes(since *plimsollv1.Position, to *store.Snapshot) ([]string, bool) {
	names, ok := to.ChangedSince(since)
	if !ok || len(names) > maxDeltaObjects {
		return nil, false
	}
	bytes := 0
	for _, name := range names {
		o, _ := to.Object(name)
		bytes += len(name) + len(o.Value)
	}
	return names, bytes <= maxDeltaBytes
}

// change tells what differs between the state at revision base and snap, given
// the names of the objects that do: one small level message where that is all.
func change(base int64, snap *store.Snapshot, names []string) *plimsollv1.WatchResponse {
	out := &plimsollv1.WatchResponse{Position: snap.Position(), BaseRevision: base}
	if store.LevelOnly(names) {
		out.Event = &plimsollv1.WatchResponse_Level{Level: snap.LevelState()}
		return out
	}
	out.Event = &plimsollv1.WatchResponse_Delta{Delta: snap.StateChange(names)}
	return out
}

// chunks is the whole of a snapshot, encoded.
func chunks(snap *store.Snapshot) ([]*message, error) {
	var out []*message
	names := make([]string, 0, 256)
	size := 0
	flush := func(last bool) error {
		part := snap.StateChange(names)
		if len(out) == 0 {
			part.Settings, part.Level = snap.SetSettings(), snap.LevelState()
		}
		m, err := encode(&plimsollv1.WatchResponse{
			Position: snap.Position(),
			Event: &plimsollv1.WatchResponse_Snapshot{Snapshot: &plimsollv1.SnapshotChunk{
				Index: uint32(len(out)), Last: last, Objects: part,
			}},
		})
		if err != nil {
			return err
		}
		out = append(out, m)
		names, size = names[:0], 0
		return nil
	}
	for o := range snap.Objects() {
		if size > chunkBytes {
			if err := flush(false); err != nil {
				return nil, err
			}
		}
		names = append(names, o.Name)
		size += len(o.Name) + len(o.Value)
	}
	if err := flush(true); err != nil {
		return nil, err
	}
	return out, nil
}
