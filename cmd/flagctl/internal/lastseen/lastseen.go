// Package lastseen keeps what flagctl last saw of each namespace, in a file of
// the user's cache folder each, so that an operator still has it when the server
// cannot be reached.
package lastseen

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	// MaxFiles is how many namespaces are kept, those that were seen last.
	MaxFiles = 64
	// maxBytes is the largest copy that is written or read: the failure map of
	// 100 000 flags.
	maxBytes = 64 << 20
	// format is the version of the files; others are not read.
	format = 1
	// leftover is after how long a file that was not written to its end is one
	// that nobody writes any more.
	leftover = time.Hour

	suffix, partial = ".json", ".partial-"
)

// Copy is what was seen of one namespace. Its parts may be of different times;
// a part that was never seen is nil.
type Copy struct {
	Status        *plimsollv1.GetStatusResponse
	Degradation   *plimsollv1.GetDegradationResponse
	DegradationAt time.Time // by this machine's clock
	Map           *plimsollv1.GetFailureMapResponse
	MapAt         time.Time
	// Changes are audit records without what the objects held.
	Changes []*plimsollv1.AuditRecord
}

// Folder is where the copies lie: $PLIMSOLL_FLAGCTL_CACHE, else the folder
// plimsoll/flagctl of the user's cache.
func Folder() (string, error) {
	if dir := os.Getenv("PLIMSOLL_FLAGCTL_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	return filepath.Join(dir, "plimsoll", "flagctl"), nil
}

// file is a copy as it is written.
type file struct {
	Format        int       `json:"format"`
	Server        string    `json:"server"`
	Namespace     string    `json:"namespace"`
	Status        []byte    `json:"status,omitzero"`
	Degradation   []byte    `json:"degradation,omitzero"`
	DegradationAt time.Time `json:"degradationAt,omitzero"`
	Map           []byte    `json:"map,omitzero"`
	MapAt         time.Time `json:"mapAt,omitzero"`
	Changes       [][]byte  `json:"changes,omitempty"`
}

// Load reads the copy of a namespace of a server, by its URL. Without one it is
// nil.
func Load(dir, server, namespace string) (*Copy, error) {
	path := pathOf(dir, server, namespace)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was last seen: %w", err)
	}
	c, err := decode(text, server, namespace)
	if err != nil {
		return nil, fmt.Errorf("read what was last seen: %s: %w", path, err)
	}
	return c, nil
}

// Has tells whether there is a copy of a namespace of a server.
func Has(dir, server, namespace string) bool {
	_, err := os.Stat(pathOf(dir, server, namespace))
	return err == nil
}

func decode(text []byte, server, namespace string) (*Copy, error) {
	if len(text) > maxBytes {
		return nil, fmt.Errorf("it has more than %d bytes", maxBytes)
	}
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, err
	}
	if f.Format != format || f.Server != server || f.Namespace != namespace {
		return nil, errors.New("it was written by another version of flagctl, or is of another server")
	}
	c := &Copy{DegradationAt: f.DegradationAt, MapAt: f.MapAt}
	var err error
	if f.Status != nil {
		c.Status = new(plimsollv1.GetStatusResponse)
		err = errors.Join(err, proto.Unmarshal(f.Status, c.Status))
	}
	if f.Degradation != nil {
		c.Degradation = new(plimsollv1.GetDegradationResponse)
		err = errors.Join(err, proto.Unmarshal(f.Degradation, c.Degradation))
	}
	if f.Map != nil {
		c.Map = new(plimsollv1.GetFailureMapResponse)
		err = errors.Join(err, proto.Unmarshal(f.Map, c.Map))
	}
	for _, text := range f.Changes {
		r := new(plimsollv1.AuditRecord)
		err = errors.Join(err, proto.Unmarshal(text, r))
		c.Changes = append(c.Changes, r)
	}
	return c, err
}

// Save keeps the parts of a copy that are not nil, beside the other parts of the
// copy that is there. A reader finds either the old one or the new one, and only
// the owner can read it. Where there are too many copies, those that were seen
// longest ago go.
func Save(dir, server, namespace string, c Copy) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep what was seen: %w", err)
		}
	}()
	if c.Status == nil || c.Degradation == nil || c.Map == nil || c.Changes == nil {
		// A copy that cannot be read is replaced.
		if old, err := Load(dir, server, namespace); err == nil && old != nil {
			c.keep(old)
		}
	}
	text, err := encode(c, server, namespace)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := pathOf(dir, server, namespace)
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+partial+"*") // created with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // of no effect once it was renamed
	_, werr := tmp.Write(text)
	// It is not synced: after a crash of the machine, a copy that is lost or
	// broken is as good as none, and everybody would wait for it.
	if err := cmp.Or(werr, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return prune(dir)
}

// keep takes over the parts that were not seen now.
func (c *Copy) keep(old *Copy) {
	c.Status = cmp.Or(c.Status, old.Status)
	if c.Degradation == nil {
		c.Degradation, c.DegradationAt = old.Degradation, old.DegradationAt
	}
	if c.Map == nil {
		c.Map, c.MapAt = old.Map, old.MapAt
	}
	if c.Changes == nil {
		c.Changes = old.Changes
	}
}

func encode(c Copy, server, namespace string) ([]byte, error) {
	f := file{Format: format, Server: server, Namespace: namespace, DegradationAt: c.DegradationAt, MapAt: c.MapAt}
	var err error
	marshal := func(m proto.Message) []byte {
		text, merr := proto.Marshal(m)
		err = cmp.Or(err, merr)
		return append([]byte{}, text...) // not nil: it was seen
	}
	if c.Status != nil {
		f.Status = marshal(c.Status)
	}
	if c.Degradation != nil {
		f.Degradation = marshal(c.Degradation)
	}
	if c.Map != nil {
		f.Map = marshal(c.Map)
	}
	for _, r := range c.Changes {
		f.Changes = append(f.Changes, marshal(r))
	}
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(f)
	if err == nil && len(text) > maxBytes {
		err = fmt.Errorf("%d bytes are too many", len(text))
	}
	return text, err
}

func pathOf(dir, server, namespace string) string {
	sum := sha256.Sum256([]byte(server + "\x00" + namespace))
	return filepath.Join(dir, hex.EncodeToString(sum[:16])+suffix)
}

// prune removes the oldest copies beyond MaxFiles, and what writers left that
// were stopped half-way. Other files are left alone.
func prune(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	type copied struct {
		name string
		seen time.Time
	}
	var copies []copied
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // another flagctl has removed it
		}
		switch stem, _, ok := strings.Cut(e.Name(), suffix); {
		case !ok || len(stem) != 32:
		case strings.HasSuffix(e.Name(), suffix):
			copies = append(copies, copied{e.Name(), info.ModTime()})
		case strings.Contains(e.Name(), partial) && time.Since(info.ModTime()) > leftover:
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	slices.SortFunc(copies, func(a, b copied) int { return b.seen.Compare(a.seen) })
	for _, c := range copies[min(len(copies), MaxFiles):] {
		if err := os.Remove(filepath.Join(dir, c.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
