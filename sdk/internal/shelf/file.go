package shelf

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/follow"
)

const (
	// magic begins every file of the cache, and names its format. The SHA-256 of
	// all that comes after the sum itself follows: messages, each preceded by its
	// length. The first is a CachedSnapshot without objects, the others are those
	// of follow.Record.
	magic = "plimsoll-flags-1\n"
	// anyMagic is how the magic of every version begins.
	anyMagic = "plimsoll-flags-"
	// maxFile bounds a file, in bytes: what a store may hold, and the lengths.
	maxFile = 1<<30 + 1<<26
	// maxMessage bounds one message of a file.
	maxMessage = 64 << 20
)

// Saved is a state as it is on disk.
type Saved struct {
	Set *flag.Set
	// Store is the identity of the store that the set comes from; empty: unknown.
	Store string
	// at is when it was saved, and namespace the one it was asked for as.
	at        time.Time
	namespace string
}

// header is what a file begins with.
func (s Saved) header() *plimsollv1.CachedSnapshot {
	return &plimsollv1.CachedSnapshot{
		Position: &plimsollv1.Position{
			StoreId: s.Store, Epoch: s.Set.Epoch(), Revision: s.Set.Revision(), Fingerprint: s.Set.Fingerprint(),
		},
		Namespace:   s.namespace,
		ConfirmedAt: timestamppb.New(s.at),
	}
}

// writeFile replaces a file so that after a crash, at any moment, the old or the
// new one is there. What was there before is kept under another name, or
// replaced if that is empty.
func writeFile(path, temp, kept string, s Saved) (err error) {
	// Whatever has the name, such as what a crash left, is not written through.
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // the error that counts is there already
			_ = os.Remove(temp)
		}
	}()
	if err := encode(f, s); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if kept != "" {
		if err := os.Rename(path, kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// encode writes the content of a file, with little memory.
func encode(f *os.File, s Saved) error {
	sum := sha256.New()
	buffered := bufio.NewWriterSize(f, 256<<10)
	if _, err := buffered.WriteString(magic); err != nil {
		return err
	}
	if _, err := buffered.Write(make([]byte, sha256.Size)); err != nil {
		return err
	}
	out := io.MultiWriter(buffered, sum)
	if _, err := protodelim.MarshalTo(out, s.header()); err != nil {
		return err
	}
	for m := range follow.Record(s.Set, s.Store) {
		if _, err := protodelim.MarshalTo(out, m); err != nil {
			return err
		}
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	_, err := f.WriteAt(sum.Sum(nil), int64(len(magic)))
	return err
}

// verify reads the header of a file of the cache and checks all of it.
func verify(path string) (*plimsollv1.CachedSnapshot, error) {
	var header *plimsollv1.CachedSnapshot
	err := readSummed(path, func(r *bufio.Reader) (err error) {
		header, err = readHeader(r)
		return err
	})
	return header, err
}

// readFile reads a file of the cache. What has expired by now does not count.
func readFile(path string, now time.Time) (s Saved, err error) {
	err = readSummed(path, func(r *bufio.Reader) error {
		header, err := readHeader(r)
		if err != nil {
			return err
		}
		s.at, s.namespace = header.GetConfirmedAt().AsTime(), header.GetNamespace()
		if s.Set, s.Store, err = follow.Replay(messages(r), now); err != nil {
			return err
		}
		p := header.GetPosition()
		if p.GetStoreId() != s.Store || p.GetEpoch() != s.Set.Epoch() || p.GetRevision() != s.Set.Revision() {
			return errors.New("its state is not the one that it announces")
		}
		return nil
	})
	return s, err
}

// readSummed lets a function read what comes after the sum, and holds it against
// that. What the function found counts only if there is no error.
func readSummed(path string, read func(*bufio.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("it is no regular file")
	case info.Size() > maxFile:
		return fmt.Errorf("it has %d bytes; at most %d are read", info.Size(), int64(maxFile))
	}
	head := make([]byte, len(magic)+sha256.Size)
	n, err := io.ReadFull(f, head)
	switch {
	case !bytes.HasPrefix(head[:n], []byte(anyMagic)):
		return errors.New("it is not a file of the cache")
	case err == nil && !bytes.HasPrefix(head, []byte(magic)):
		return errors.New("it is of another version of this library")
	case err != nil:
		return errors.New("it was cut off")
	}
	sum := sha256.New()
	r := bufio.NewReaderSize(io.TeeReader(f, sum), 256<<10)
	readErr := read(r)
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), head[len(magic):]) {
		return errors.New("its checksum is wrong: it was cut off or altered")
	}
	return readErr
}

var readOptions = protodelim.UnmarshalOptions{MaxSize: maxMessage}

func readHeader(r *bufio.Reader) (*plimsollv1.CachedSnapshot, error) {
	header := new(plimsollv1.CachedSnapshot)
	if err := readOptions.UnmarshalFrom(r, header); err != nil {
		return nil, fmt.Errorf("its header cannot be read: %w", err)
	}
	return header, nil
}

// messages are what follows the header.
func messages(r *bufio.Reader) iter.Seq2[*plimsollv1.WatchResponse, error] {
	return func(yield func(*plimsollv1.WatchResponse, error) bool) {
		for {
			m := new(plimsollv1.WatchResponse)
			err := readOptions.UnmarshalFrom(r, m)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				err = fmt.Errorf("a message cannot be read: %w", err)
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}
