package ofrep

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// tagFormat changes whenever the bodies do for the same set and context, so that
// a client of an older server is not told that nothing has changed.
const tagFormat = 2

// version tells states of a namespace apart: all servers of a store that are at
// the same one serve the same.
type version struct {
	store       string // the store's id
	epoch       uint64
	revision    int64
	fingerprint uint64
	// lapsed is when the last of what has expired since did, in milliseconds
	// since 1970; 0: nothing has.
	lapsed int64
}

func versionOf(p *plimsollv1.Position, lapsed time.Time) version {
	v := version{store: p.GetStoreId(), epoch: p.GetEpoch(), revision: p.GetRevision(), fingerprint: p.GetFingerprint()}
	if !lapsed.IsZero() {
		v.lapsed = lapsed.UnixMilli()
	}
	return v
}

// String is the version as events carry it and refetches bring it back.
func (v version) String() string {
	return v.store + "." + strconv.FormatUint(v.epoch, 10) + "." + strconv.FormatInt(v.revision, 10) + "." +
		strconv.FormatUint(v.fingerprint, 16) + "." + strconv.FormatInt(v.lapsed, 10)
}

// parseVersion is the version that String wrote; false for any other text.
func parseVersion(text string) (v version, ok bool) {
	text = strings.Trim(strings.TrimPrefix(strings.TrimSpace(text), "W/"), `"`)
	parts := strings.Split(text, ".")
	if len(parts) != 5 || parts[0] == "" {
		return version{}, false
	}
	v.store = parts[0]
	var errs [4]error
	v.epoch, errs[0] = strconv.ParseUint(parts[1], 10, 64)
	v.revision, errs[1] = strconv.ParseInt(parts[2], 10, 64)
	v.fingerprint, errs[2] = strconv.ParseUint(parts[3], 16, 64)
	v.lapsed, errs[3] = strconv.ParseInt(parts[4], 10, 64)
	for _, err := range errs {
		if err != nil {
			return version{}, false
		}
	}
	return v, true
}

// reaches tells whether a state at v is at least as new as one at wanted. Of
// another store's nothing can be said but that this is not it.
func (v version) reaches(wanted version) bool {
	if v.store != wanted.store {
		return false
	}
	return cmp.Or(cmp.Compare(v.epoch, wanted.epoch), cmp.Compare(v.revision, wanted.revision), cmp.Compare(v.lapsed, wanted.lapsed)) >= 0
}

// digestOf is what all entity tags of a state have in common: what is served, where
// it says so, else the version. The end of an override and the removal of what is
// left of it are two versions, but serve the same.
func digestOf(s *effective.State, v version) [sha256.Size]byte {
	b := appendText([]byte{tagFormat}, s.Namespace)
	if served, ok := s.Flags.Digest(); ok {
		b = append(append(b, 's'), served[:]...)
	} else {
		b = appendText(append(b, 'v'), v.String())
	}
	return sha256.Sum256(b)
}

// entityTag is the tag of what a state answers to a context. What limited clients
// get may differ, and has a tag of its own.
func (f *face) entityTag(scratch []byte, ctx map[string]any, limited bool) string {
	digest := f.digest()
	scratch = append(scratch[:0], digest[:]...)
	if limited {
		scratch = append(scratch, 'l')
	}
	return tagOf(sha256.Sum256(appendCanonical(scratch, ctx)))
}

func tagOf(sum [sha256.Size]byte) string {
	var text [34]byte
	text[0], text[33] = '"', '"'
	hex.Encode(text[1:33], sum[:16])
	return string(text[:])
}

// appendCanonical appends a value of a context so that equal ones, and no others,
// are the same bytes: members by name, everything with its length.
func appendCanonical(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, 'n')
	case bool:
		if v {
			return append(b, 't')
		}
		return append(b, 'f')
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 'd'), math.Float64bits(v))
	case string:
		return appendText(append(b, 's'), v)
	case []any:
		b = binary.AppendUvarint(append(b, 'l'), uint64(len(v)))
		for _, item := range v {
			b = appendCanonical(b, item)
		}
		return b
	case map[string]any:
		b = binary.AppendUvarint(append(b, 'm'), uint64(len(v)))
		var room [16]string
		names := slices.AppendSeq(room[:0], maps.Keys(v))
		slices.Sort(names)
		for _, name := range names {
			b = appendCanonical(appendText(b, name), v[name])
		}
		return b
	default: // what the server itself puts into contexts
		text, err := json.Marshal(v)
		if err != nil {
			text = nil
		}
		return appendText(append(b, 'o'), string(text))
	}
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// noneMatch tells whether a tag is among those of an If-None-Match header, which
// compares weakly (RFC 9110, 13.1.2).
func noneMatch(headers []string, tag string) bool {
	for _, header := range headers {
		for one := range strings.SplitSeq(header, ",") {
			one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
			if one == "*" || one == tag || one == strings.Trim(tag, `"`) {
				return true
			}
		}
	}
	return false
}
