package store_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/plimsoll-dev/plimsoll/store"
)

// TestADamagedSnapshotIsIgnored opens a replica without etcd on a snapshot
// file that was damaged in several ways: it must not start from it, nor fail.
func TestADamagedSnapshotIsIgnored(t *testing.T) {
	url, cache := freeURL(t), t.TempDir()
	member := listeningMember(t, t.TempDir(), url)
	s := openExternal(t, url, cache)
	await(t, s.Ready(), "the store")
	mustCreate(t, s, "f", boolFlag)
	s.Close()
	if err := member.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "default.snapshot")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	flipped := append([]byte{}, good...)
	flipped[len(flipped)/2] ^= 1
	for name, content := range map[string][]byte{
		"empty": {}, "truncated": good[:len(good)-3], "one bit flipped": flipped, "foreign": []byte("hello, world\n"), "header only": good[:20],
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			s := openExternal(t, url, cache)
			defer s.Close()
			select {
			case <-s.Ready():
				t.Error("it started from the damaged file")
			default:
			}
			if _, err := s.Snapshot("default"); err == nil {
				t.Error("it serves the damaged file")
			}
		})
	}
	t.Run("under another name", func(t *testing.T) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(cache, "shop.snapshot"), good, 0o600); err != nil {
			t.Fatal(err)
		}
		s := openExternal(t, url, cache)
		defer s.Close()
		if names := s.Namespaces(); len(names) != 0 {
			t.Errorf("it serves %v", names)
		}
	})
}

func TestAFullDiskRefusesWritesAndServesReads(t *testing.T) {
	member := startMember(t, t.TempDir())
	full := false
	s := openOn(t, member, func(o *store.Options) {
		o.Room = func() error {
			if full {
				return store.ErrFull
			}
			return member.Room()
		}
	})
	mustCreate(t, s, "f", boolFlag)
	full = true
	if _, _, err := s.CreateFlag(t.Context(), "default", "g", boolFlag, by("ann")); err == nil {
		t.Error("a write was taken")
	}
	if _, err := s.CreateNamespace(t.Context(), "shop", nil, by("ann")); err == nil {
		t.Error("a namespace was created")
	}
	if !exists(snapshot(t, s), "f") || exists(snapshot(t, s), "g") {
		t.Error("reads do not show what was written")
	}
	if s.Health().NoRoom == nil {
		t.Error("the health does not tell")
	}
	full = false
	mustCreate(t, s, "g", boolFlag)
}
