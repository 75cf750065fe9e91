package shelf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// The members of a document's metadata that say which state it is.
const (
	metaStore    = "plimsoll.store"
	metaEpoch    = "plimsoll.epoch"
	metaRevision = "plimsoll.revision"
)

// Read reads a file of the cache's format, or a flagd document. The error has
// every fault of a document; what is worth a warning is in warnings, and a flag
// that does not compile is a problem of the set. A document of no store is at
// position 0/0. It is built on a set, such as the one of the version before, whose
// last good versions it keeps.
func Read(path string, base *flag.Set, now time.Time) (s Saved, warnings error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return Saved{}, nil, err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, len(anyMagic))
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return Saved{}, nil, err
	}
	if string(head[:n]) == anyMagic {
		s, err = readFile(path, now)
		return s, nil, err
	}
	text, err := io.ReadAll(io.LimitReader(io.MultiReader(bytes.NewReader(head[:n]), f), maxFile+1))
	switch {
	case err != nil:
		return Saved{}, nil, err
	case len(text) > maxFile:
		return Saved{}, nil, fmt.Errorf("it has more than %d bytes", int64(maxFile))
	}
	return document(text, base, now)
}

func document(text []byte, base *flag.Set, now time.Time) (s Saved, warnings error, err error) {
	if start := bytes.TrimSpace(text); len(start) == 0 || start[0] != '{' {
		return Saved{}, nil, errors.New("it is no JSON document: YAML is not read here, `flagctl export -o json` writes a namespace as JSON")
	}
	doc, faults := flag.ParseDocument(text, flag.Env{})
	if doc == nil {
		return Saved{}, nil, faults
	}
	if w := faults.Warnings(); len(w) > 0 {
		warnings = w
	}
	u := flag.Update{Reset: true, Settings: &flag.Settings{}}
	if doc.HasMetadata {
		if s.Store, u.Epoch, u.Revision, u.Settings.Metadata, err = position(doc.Metadata); err != nil {
			return Saved{}, nil, err
		}
	}
	for _, d := range doc.Flags {
		u.Flags = append(u.Flags, flag.Source{Key: d.Key(), JSON: d.JSON()})
	}
	for _, r := range doc.Evaluators {
		u.Evaluators = append(u.Evaluators, flag.Source{Key: r.Name(), JSON: r.JSON()})
	}
	for _, r := range doc.Segments {
		u.Segments = append(u.Segments, flag.Source{Key: r.Name(), JSON: r.JSON()})
	}
	s.Set, _ = base.With(u, now)
	return s, warnings, nil
}

// position takes the position out of a document's metadata; rest is what is left.
func position(metadata string) (store string, epoch uint64, revision int64, rest string, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(metadata), &members); err != nil {
		return "", 0, 0, "", fmt.Errorf("$.metadata: %w", err)
	}
	var faults []error
	take := func(name, want string, parse func(text string) error) {
		raw, ok := members[name]
		delete(members, name)
		if ok && parse(string(raw)) != nil {
			faults = append(faults, fmt.Errorf("$.metadata[%q]: %s is not %s", name, raw, want))
		}
	}
	take(metaStore, "a string", func(text string) error { return json.Unmarshal([]byte(text), &store) })
	take(metaEpoch, "a whole number", func(text string) (err error) {
		epoch, err = strconv.ParseUint(text, 10, 64)
		return err
	})
	take(metaRevision, "a whole number", func(text string) (err error) {
		n, err := strconv.ParseUint(text, 10, 63)
		revision = int64(n)
		return err
	})
	if err := errors.Join(faults...); err != nil {
		return "", 0, 0, "", err
	}
	if store == "" {
		epoch, revision = 0, 0
	}
	if len(members) > 0 {
		text, err := json.Marshal(members)
		if err != nil {
			return "", 0, 0, "", fmt.Errorf("$.metadata: %w", err)
		}
		rest = string(text)
	}
	return store, epoch, revision, rest, nil
}
