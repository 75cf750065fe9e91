package shelf

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/follow"
)

const (
	suffix   = ".flags"
	previous = ".1" // after suffix: the generation before
	// writeEvery is the least time between two writes; writeShare keeps the time
	// that writing takes at a twentieth.
	writeEvery = time.Second
	writeShare = 20
	// retryEvery is after how long a write is tried again that failed, or for
	// which another had the lock.
	retryEvery = time.Minute
	// keepOthers is how long the files of stores are kept that are not followed
	// any more.
	keepOthers = 30 * 24 * time.Hour
	// maxReasons bounds what is remembered of the failures that were logged.
	maxReasons = 100
)

var errLocked = errors.New("another provider has the lock")

// A Shelf keeps one namespace in a folder: for each store, the newest state and
// the one before it. Put may be called concurrently with Run.
type Shelf struct {
	dir, namespace string
	log            *slog.Logger

	mu sync.Mutex
	// pending is what is to be written; Set is nil: nothing.
	pending Saved
	// lowered is when an earlier position was adopted, which pending may put in
	// place of a later one that was saved before.
	lowered time.Time
	// wake has room for one: something is pending.
	wake chan struct{}

	// What follows belongs to Load and Run.

	lock *os.File // nil: not taken
	// mine is what this shelf knows a file to hold, and stamp by what it knows
	// that the file is still the same.
	mine    *plimsollv1.CachedSnapshot
	stamp   fs.FileInfo
	reasons map[string]bool // that were logged since a write succeeded
	latest  time.Time       // when, by its own words, the newest file was saved; known while there is a lock
}

// New is the shelf of a namespace in a folder, which is made when it is needed.
// The namespace is named as it is asked for, empty where the server chooses.
func New(dir, namespace string, log *slog.Logger) *Shelf {
	return &Shelf{dir: dir, namespace: namespace, log: log, wake: make(chan struct{}, 1)}
}

// label is the namespace in names of files. No namespace has an underscore.
func (s *Shelf) label() string {
	if s.namespace == "" {
		return "_"
	}
	return s.namespace
}

// path is the file of a store. Its name is split at the last hyphen, so no name
// of a store has one.
func (s *Shelf) path(store string) string {
	name := store
	if name == "" || len(name) > 64 || strings.Trim(name, "0123456789abcdef") != "" {
		sum := sha256.Sum256([]byte(store))
		name = "x" + hex.EncodeToString(sum[:16])
	}
	return filepath.Join(s.dir, s.label()+"-"+name+suffix)
}

// paths are the files of all stores, without previous generations.
func (s *Shelf) paths() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var list []string
	seen := map[string]bool{}
	for _, e := range entries {
		name, ok := strings.CutSuffix(strings.TrimSuffix(e.Name(), previous), suffix)
		i := strings.LastIndexByte(name, '-')
		if path := filepath.Join(s.dir, name+suffix); ok && i >= 0 && name[:i] == s.label() && !seen[path] {
			seen[path] = true
			list = append(list, path)
		}
	}
	return list, nil
}

// Load is the state that was saved last; false if there is none. What cannot be
// used is logged and left as it is.
func (s *Shelf) Load() (Saved, bool) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		s.fails(err)
		return Saved{}, false
	}
	paths, err := s.paths()
	if err != nil {
		s.log.Warn("the cache cannot be read: starting without it", "folder", s.dir, "err", err)
		return Saved{}, false
	}
	var newest Saved
	now := time.Now()
	for _, path := range paths {
		if saved, ok := s.load(path, now); ok && (newest.Set == nil || saved.at.After(newest.at)) {
			newest = saved
		}
	}
	return newest, newest.Set != nil
}

// load reads the file of a store, or the generation before it.
func (s *Shelf) load(path string, now time.Time) (Saved, bool) {
	for _, file := range []string{path, path + previous} {
		saved, err := readFile(file, now)
		if err == nil {
			err = s.owns(path, saved.namespace, saved.Store)
		}
		switch {
		case err == nil:
			return saved, true
		case !errors.Is(err, fs.ErrNotExist):
			s.log.Warn("a file of the cache is ignored", "file", file, "err", err)
		}
	}
	return Saved{}, false
}

// owns tells whether a file belongs to this shelf.
func (s *Shelf) owns(path, namespace, store string) error {
	if namespace != s.namespace {
		return fmt.Errorf("it holds namespace %q", namespace)
	}
	if s.path(store) != path {
		return fmt.Errorf("it holds store %q", store)
	}
	return nil
}

// Put has a state written soon. It does not block, and only the newest state
// counts. One at an earlier position than what the file has is not written,
// unless it is lowered: adopted in place of the later one.
func (s *Shelf) Put(set *flag.Set, store string, lowered bool) {
	s.mu.Lock()
	if lowered {
		s.lowered = time.Now()
	} else if store != s.pending.Store {
		s.lowered = time.Time{}
	}
	s.pending = Saved{Set: set, Store: store, namespace: s.namespace}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run writes what is put until the context ends, then the newest once more, and
// lets go of the lock.
func (s *Shelf) Run(ctx context.Context) {
	defer s.release()
	pause := time.NewTimer(0)
	defer pause.Stop()
	pause.Stop()
	resting, retry := false, false
	for {
		wake := s.wake
		if resting {
			wake = nil
		}
		select {
		case <-ctx.Done():
			s.write()
			return
		case <-wake:
		case <-pause.C:
			if !retry {
				resting = false
				continue
			}
		}
		began := time.Now()
		retry = !s.write()
		rest := max(writeEvery, writeShare*time.Since(began))
		if retry {
			rest = max(rest, retryEvery)
		}
		resting = true
		pause.Reset(rest)
	}
}

func (s *Shelf) release() {
	if s.lock != nil {
		_ = s.lock.Close() // nothing was written to it
		s.lock = nil
	}
	s.mine, s.stamp = nil, nil
}

// write writes what is pending; false if it has to be tried again.
func (s *Shelf) write() (done bool) {
	s.mu.Lock()
	saved, lowered := s.pending, s.lowered
	s.mu.Unlock()
	if saved.Set == nil {
		return true
	}
	if err := s.save(saved, lowered); err != nil {
		s.fails(err)
		return false
	}
	s.mu.Lock()
	if s.pending.Set == saved.Set && s.pending.Store == saved.Store {
		s.pending, s.lowered = Saved{}, time.Time{}
	}
	s.mu.Unlock()
	return true
}

// fails logs why the cache is not written, once for each reason.
func (s *Shelf) fails(err error) {
	text := err.Error()
	if s.reasons[text] {
		return
	}
	if s.reasons == nil || len(s.reasons) >= maxReasons {
		s.reasons = map[string]bool{}
	}
	s.reasons[text] = true
	if errors.Is(err, errLocked) {
		s.log.Info("another provider uses the cache of the namespace: this one reads it and does not write", "folder", s.dir)
		return
	}
	s.log.Warn("the cache cannot be written: going on without it, and a start without a server would find an older state or none", "folder", s.dir, "err", err)
}

// save brings a state to disk, unless what is there is as good.
func (s *Shelf) save(saved Saved, lowered time.Time) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if s.lock == nil {
		lock, err := tryLock(filepath.Join(s.dir, s.label()+".lock"))
		if err != nil {
			return err
		}
		s.lock, s.latest = lock, s.newest()
	}
	path := s.path(saved.Store)
	kept := path + previous
	switch there := s.holds(path); {
	case there == nil: // what cannot be read is not worth keeping
		kept = ""
	case compare(there.GetPosition(), saved.Set) > 0:
		// A time to come is of a clock that was ahead: it does not tell.
		if at := there.GetConfirmedAt().AsTime(); !at.Before(lowered) && !at.After(time.Now()) || lowered.IsZero() {
			return nil
		}
		// Neither what is there nor what was before exists any more.
		if err := os.Remove(kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		kept = ""
	case compare(there.GetPosition(), saved.Set) == 0 && there.GetPosition().GetFingerprint() == saved.Set.Fingerprint() &&
		!there.GetConfirmedAt().AsTime().Before(s.latest):
		return nil
	}
	// Later than all that was there, whatever the clock says: the latest is what
	// the next start begins with.
	saved.at = time.Now()
	if !saved.at.After(s.latest) {
		saved.at = s.latest.Add(time.Nanosecond)
	}
	s.latest = saved.at
	s.mine, s.stamp = nil, nil
	if err := writeFile(path, filepath.Join(s.dir, "."+s.label()+".tmp"), kept, saved); err != nil {
		return err
	}
	s.remember(path, saved.header())
	if len(s.reasons) > 0 {
		s.reasons = nil
		s.log.Info("the cache is written again", "folder", s.dir)
	}
	s.removeOld(path, time.Now())
	return nil
}

// holds is the header of a good file; nil if there is none. A file that was
// written by this shelf, and not touched since, is not read again.
func (s *Shelf) holds(path string) *plimsollv1.CachedSnapshot {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	if s.stamp != nil && os.SameFile(s.stamp, info) && s.stamp.ModTime().Equal(info.ModTime()) && s.stamp.Size() == info.Size() {
		return s.mine
	}
	header, err := verify(path)
	if err != nil || s.owns(path, header.GetNamespace(), header.GetPosition().GetStoreId()) != nil {
		return nil
	}
	s.remember(path, header)
	return header
}

// newest is when the newest file of all stores was saved, by its own words.
func (s *Shelf) newest() (latest time.Time) {
	paths, err := s.paths()
	if err != nil {
		return latest
	}
	for _, path := range paths {
		if at, ok := savedAt(path); ok && at.After(latest) {
			latest = at
		}
	}
	return latest
}

func (s *Shelf) remember(path string, header *plimsollv1.CachedSnapshot) {
	s.mine = header
	s.stamp, _ = os.Stat(path) // nil: it is read again
}

// compare is positive if the position is later than the set's.
func compare(p *plimsollv1.Position, set *flag.Set) int {
	return cmp.Or(cmp.Compare(p.GetEpoch(), set.Epoch()), cmp.Compare(p.GetRevision(), set.Revision()))
}

// removeOld removes what was kept of other stores long ago.
func (s *Shelf) removeOld(written string, now time.Time) {
	paths, err := s.paths()
	if err != nil {
		return
	}
	for _, path := range paths {
		if path == written {
			continue
		}
		for _, file := range []string{path, path + previous} {
			if at, ok := savedAt(file); ok && now.Sub(at) > keepOthers {
				_ = os.Remove(file) // it is tried again after the next write
			}
		}
	}
}

// savedAt is when a file was saved, by its own words if it can be read.
func savedAt(path string) (time.Time, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}, false
	}
	if header, err := verify(path); err == nil {
		return header.GetConfirmedAt().AsTime(), true
	}
	return info.ModTime(), true
}

// Better is the one to start from: of the same store the one at the later
// position, else the cache, which is what this machine was really served. Either
// may have no set.
func Better(cache, bootstrap Saved) (best Saved, source string) {
	switch {
	case bootstrap.Set == nil, cache.Set != nil && (bootstrap.Store != cache.Store || !follow.Newer(bootstrap.Set, cache.Set)):
		return cache, follow.Cache
	default:
		return bootstrap, follow.Bootstrap
	}
}
