package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	// cacheMagic begins every file of the cache, and names its format.
	cacheMagic  = "plimsoll-snapshot-1\n"
	cacheSuffix = ".snapshot"
	tempPattern = ".tmp-*"
	// confirmedFile holds the time at which etcd last confirmed what the other
	// files hold. It is written at least this often.
	confirmedFile = "confirmed"
	confirmEvery  = time.Minute
	// cacheEvery is how often the cache is written at most.
	cacheEvery = 5 * time.Second
)

// diskCache keeps the last snapshot of every namespace in a folder, a file
// each: magic, SHA-256 of what follows, an encoded CachedSnapshot. Files are
// replaced atomically; what cannot be read is ignored with a logged reason.
type diskCache struct {
	dir    string
	log    *slog.Logger
	unlock func()
	// written is the snapshot that each file holds.
	written map[string]*Snapshot
}

func openDiskCache(dir string, log *slog.Logger) (*diskCache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the snapshot folder: %w", err)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w: is another server using the same data directory?", dir, err)
	}
	// What a crash left behind half-written; the lock says that nobody else
	// writes here.
	if left, err := filepath.Glob(filepath.Join(dir, tempPattern)); err == nil {
		for _, path := range left {
			_ = os.Remove(path) // it is tried again at the next start
		}
	}
	return &diskCache{dir: dir, log: log, unlock: unlock, written: make(map[string]*Snapshot)}, nil
}

func (c *diskCache) close() { c.unlock() }

// confirmedAt is when etcd last confirmed what the cache holds.
func (c *diskCache) confirmedAt() (time.Time, error) {
	text, err := os.ReadFile(filepath.Join(c.dir, confirmedFile))
	if err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339Nano, string(text))
}

func (c *diskCache) path(ns string) string { return filepath.Join(c.dir, ns+cacheSuffix) }

// load reads every file that can be read.
func (c *diskCache) load() []*plimsollv1.CachedSnapshot {
	files, err := filepath.Glob(filepath.Join(c.dir, "*"+cacheSuffix))
	if err != nil {
		return nil
	}
	var out []*plimsollv1.CachedSnapshot
	for _, path := range files {
		snap, err := readCached(path)
		if err == nil && snap.GetNamespace() != strings.TrimSuffix(filepath.Base(path), cacheSuffix) {
			err = fmt.Errorf("it holds namespace %q", snap.GetNamespace())
		}
		if err != nil {
			c.log.Warn("a cached snapshot is ignored", "file", path, "error", err)
			continue
		}
		out = append(out, snap)
	}
	return out
}

func readCached(path string) (*plimsollv1.CachedSnapshot, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rest, ok := strings.CutPrefix(string(data), cacheMagic)
	if !ok || len(rest) < sha256.Size {
		return nil, errors.New("it is not a snapshot file, or was cut off")
	}
	sum, body := rest[:sha256.Size], rest[sha256.Size:]
	if got := sha256.Sum256([]byte(body)); string(got[:]) != sum {
		return nil, errors.New("its checksum is wrong")
	}
	snap := new(plimsollv1.CachedSnapshot)
	if err := proto.Unmarshal([]byte(body), snap); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return snap, nil
}

func (c *diskCache) save(snap *Snapshot, confirmed time.Time) error {
	cached := &plimsollv1.CachedSnapshot{Position: snap.Position(), Namespace: snap.namespace, ConfirmedAt: timestamppb.New(confirmed)}
	head, err := proto.Marshal(snap.head)
	if err != nil {
		return fmt.Errorf("encode the head: %w", err)
	}
	cached.Objects = append(cached.Objects, &plimsollv1.CachedObject{Key: objHead, Value: head, ModRevision: snap.headRev})
	for o := range snap.Objects() {
		cached.Objects = append(cached.Objects, &plimsollv1.CachedObject{Key: o.Name, Value: o.Value, ModRevision: o.ModRevision})
	}
	body, err := proto.Marshal(cached)
	if err != nil {
		return fmt.Errorf("encode the snapshot: %w", err)
	}
	sum := sha256.Sum256(body)
	return replaceFile(c.path(snap.namespace), []byte(cacheMagic), sum[:], body)
}

// replaceFile writes a file of mode 0600 so that after a crash either the old
// or the new content is there.
func replaceFile(path string, parts ...[]byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPattern)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	for _, p := range parts {
		if _, err := f.Write(p); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return f.Close()
}

// startFromCache fills the view from disk. It is replaced as soon as etcd can
// be listed.
func (s *Store) startFromCache() {
	view := make(map[string]*Snapshot)
	var oldest time.Time
	for _, cached := range s.cache.load() {
		id := &plimsollv1.StoredIdentity{Id: cached.GetPosition().GetStoreId(), Epoch: cached.GetPosition().GetEpoch()}
		snap := newSnapshot(cached.GetNamespace(), id)
		var muts []mutation
		var head *plimsollv1.StoredHead
		for _, o := range cached.GetObjects() {
			if o.GetKey() == objHead {
				head = decodeHead(o.GetValue())
				continue
			}
			muts = append(muts, mutation{Object{Name: o.GetKey(), Value: present(o.GetValue()), ModRevision: o.GetModRevision()}})
		}
		next, problems := snap.next(muts, head, cached.GetPosition().GetRevision(), s.now())
		next.history = history{from: next.point()}
		s.report(next, problems)
		view[cached.GetNamespace()] = next
		s.identity.Store(id)
		if at := cached.GetConfirmedAt().AsTime(); oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	if len(view) == 0 {
		return
	}
	s.view.Store(&view)
	s.stale.Store(true)
	if at, err := s.cache.confirmedAt(); err == nil && at.After(oldest) {
		oldest = at
	}
	s.confirmedAt.Store(&oldest)
	s.readyOnce.Do(func() { close(s.ready) })
	s.log.Warn("starting from the last snapshot on disk, read-only until etcd answers", "namespaces", len(view), "as_of", oldest)
}

// writeCache keeps the files current until ctx ends, and once more then.
func (s *Store) writeCache(ctx context.Context) {
	for {
		changed := s.Changed()
		s.saveView()
		select {
		case <-ctx.Done():
			s.saveView()
			return
		case <-changed:
		case <-time.After(confirmEvery):
		}
		select {
		case <-ctx.Done():
		case <-time.After(cacheEvery):
		}
	}
}

// saveView writes the namespaces that have changed since they were written.
func (s *Store) saveView() {
	if s.stale.Load() {
		return
	}
	view := *s.view.Load()
	var confirmed time.Time
	if at := s.confirmedAt.Load(); at != nil {
		confirmed = *at
	}
	for ns, snap := range view {
		if s.cache.written[ns] == snap {
			continue
		}
		if err := s.cache.save(snap, confirmed); err != nil {
			s.log.Warn("the snapshot on disk could not be written; a start without etcd would serve an older one", "namespace", ns, "error", err)
			continue
		}
		s.cache.written[ns] = snap
	}
	if len(view) == 0 {
		return // not listed yet
	}
	if err := replaceFile(filepath.Join(s.cache.dir, confirmedFile), []byte(confirmed.UTC().Format(time.RFC3339Nano))); err != nil {
		s.log.Warn("the time of the snapshot on disk could not be written", "error", err)
	}
	files, _ := filepath.Glob(filepath.Join(s.cache.dir, "*"+cacheSuffix))
	for _, path := range files {
		ns := strings.TrimSuffix(filepath.Base(path), cacheSuffix)
		if view[ns] != nil {
			continue
		}
		delete(s.cache.written, ns)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("the snapshot of a deleted namespace could not be removed", "file", path, "error", err)
		}
	}
}
