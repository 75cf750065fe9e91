package ofrep

import (
	"crypto/sha256"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// face is a state with what answers need of it beyond the set. It is immutable
// but for its listing and digest, which are made when first asked for.
type face struct {
	*effective.State
	version version

	once sync.Once
	list listing

	digesting sync.Once
	digested  [sha256.Size]byte

	mu sync.Mutex
	// quiet tells of some states before this one whether nothing has happened
	// since. It does not keep those in memory.
	quiet map[weak.Pointer[effective.State]]bool
}

// maxPasts bounds how many states before it a face knows.
const maxPasts = 8

// servesAs tells whether nothing of what is served has changed since an earlier
// state, not even for a while.
func (f *face) servesAs(earlier *face) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := weak.Make(earlier.State)
	if quiet, ok := f.quiet[key]; ok {
		return quiet
	}
	quiet := len(f.Flags.TouchedKeys(earlier.Flags)) == 0 && maps.Equal(f.Flags.Metadata(), earlier.Flags.Metadata())
	if f.quiet == nil {
		f.quiet = make(map[weak.Pointer[effective.State]]bool)
	}
	if len(f.quiet) < maxPasts {
		f.quiet[key] = quiet
	}
	return quiet
}

// listing is what bulk answers of a state have in common.
type listing struct {
	entries []entry
	timed   bool // answers may change with the time of day
}

// entry is a flag in bulk answers.
type entry struct {
	key   string
	known atomic.Pointer[[]known]
}

// known is an answer that was given before, with its text. While it is kept, no
// other map can have the address of its metadata.
type known struct {
	variant  string
	reason   flag.Reason
	metadata map[string]any
	at       uintptr // address of the metadata
	text     string
}

// maxKnown is how many answers of a flag are kept.
const maxKnown = 8

// append appends the answer of the flag.
func (e *entry) append(b []byte, r *flag.Result[string]) []byte {
	if r.ErrorCode != "" {
		return appendAnswer(appendString(append(b, `{"key":`...), e.key), r, "")
	}
	at := reflect.ValueOf(r.Metadata).Pointer()
	var list []known
	if p := e.known.Load(); p != nil {
		list = *p
	}
	for i := range list {
		if k := &list[i]; k.at == at && k.variant == r.Variant && k.reason == r.Reason {
			return append(b, k.text...)
		}
	}
	metadata := ""
	if len(r.Metadata) > 0 {
		metadata = string(appendMetadata(nil, r.Metadata))
	}
	begin := len(b)
	b = appendAnswer(appendString(append(b, `{"key":`...), e.key), r, metadata)
	if len(list) < maxKnown {
		more := append(slices.Clone(list), known{r.Variant, r.Reason, r.Metadata, at, string(b[begin:])})
		e.known.Store(&more)
	}
	return b
}

// listed makes the listing.
func (f *face) listed() *listing {
	f.once.Do(func() {
		keys := f.Flags.AllKeys()
		f.list.entries = make([]entry, len(keys))
		for i, key := range keys {
			f.list.entries[i].key = key
		}
		f.list.timed = f.Flags.TellsTime()
	})
	return &f.list
}

// digest is the same for states that answer alike.
func (f *face) digest() [sha256.Size]byte {
	f.digesting.Do(func() { f.digested = digestOf(f.State, f.version) })
	return f.digested
}

// faceKey is that of a state's face.
type faceKey struct{}

// faceOf is the face of a state.
func faceOf(s *effective.State) *face { return s.Memo(faceKey{}, makeFace).(*face) }

func makeFace(s *effective.State) any {
	return &face{State: s, version: versionOf(s.Position, s.Lapsed)}
}
