package lastseen_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/lastseen"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const server = "http://a:8013"

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func level(n uint32) lastseen.Copy {
	return lastseen.Copy{Degradation: &plimsollv1.GetDegradationResponse{LevelMillionths: n}, DegradationAt: noon}
}

func save(t *testing.T, dir, server, namespace string, c lastseen.Copy) {
	t.Helper()
	if err := lastseen.Save(dir, server, namespace, c); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, dir, server, namespace string) *lastseen.Copy {
	t.Helper()
	c, err := lastseen.Load(dir, server, namespace)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// copies are the files that hold a copy.
func copies(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestParts: what was not seen now stays as it was seen before.
func TestParts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	if c := load(t, dir, server, ""); c != nil || lastseen.Has(dir, server, "") {
		t.Fatalf("there is a copy before anything was seen: %v", c)
	}
	save(t, dir, server, "", level(400_000))
	failures := &plimsollv1.GetFailureMapResponse{Features: []*plimsollv1.Feature{{FlagKey: "recs"}}}
	save(t, dir, server, "", lastseen.Copy{Map: failures, MapAt: noon.Add(time.Hour)})
	save(t, dir, server, "", lastseen.Copy{
		Status: &plimsollv1.GetStatusResponse{Version: "1"}, Changes: []*plimsollv1.AuditRecord{{Seq: 3}, {Seq: 2}},
	})
	later := level(0)
	later.DegradationAt = noon.Add(2 * time.Hour)
	save(t, dir, server, "", later)
	want := &lastseen.Copy{
		Status:      &plimsollv1.GetStatusResponse{Version: "1"},
		Degradation: &plimsollv1.GetDegradationResponse{}, DegradationAt: noon.Add(2 * time.Hour),
		Map: failures, MapAt: noon.Add(time.Hour),
		Changes: []*plimsollv1.AuditRecord{{Seq: 3}, {Seq: 2}},
	}
	if diff := cmp.Diff(want, load(t, dir, server, ""), protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !lastseen.Has(dir, server, "") || lastseen.Has(dir, server, "shop") || lastseen.Has(dir, "http://b:8013", "") {
		t.Error("a copy is of one namespace of one server")
	}
}

func TestOnlyForTheOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	save(t, dir, server, "shop", level(1))
	save(t, dir, server, "shop", level(2))
	for path, want := range map[string]os.FileMode{dir: 0o700, copies(t, dir)[0]: 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v (%v)", path, info.Mode().Perm(), want, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("what is left beside the copy: %v, %v", entries, err)
	}
}

// TestBounded: those that were seen longest ago go, and files of others stay.
func TestBounded(t *testing.T) {
	dir := t.TempDir()
	others := filepath.Join(dir, "notes.json")
	left := filepath.Join(dir, strings.Repeat("a", 32)+".json.partial-1")
	for _, name := range []string{others, left} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, noon, noon); err != nil {
			t.Fatal(err)
		}
	}
	for i := range lastseen.MaxFiles + 3 {
		ns := fmt.Sprint("ns-", i)
		before := copies(t, dir)
		save(t, dir, server, ns, level(1))
		for _, path := range copies(t, dir) { // the clock of a file system may be coarse
			if !slices.Contains(before, path) {
				at := noon.Add(time.Duration(i) * time.Minute)
				if err := os.Chtimes(path, at, at); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if n := len(copies(t, dir)); n != lastseen.MaxFiles+1 {
		t.Errorf("%d files, want %d copies and one of others", n, lastseen.MaxFiles)
	}
	for i := range lastseen.MaxFiles + 3 {
		if got, want := lastseen.Has(dir, server, fmt.Sprint("ns-", i)), i >= 3; got != want {
			t.Errorf("ns-%d is there: %v, want %v", i, got, want)
		}
	}
	if _, err := os.Stat(others); err != nil {
		t.Error("a file of others is gone")
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("what a writer left half-way is still there")
	}
}

// TestBroken: a copy that cannot be read is told, and is replaced by the next.
func TestBroken(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "no JSON": "x", "cut": `{"format":1,"ser`, "other version": `{"format":2,"server":"http://a:8013"}`,
		"other server": `{"format":1,"server":"http://b:8013"}`, "no message": `{"format":1,"server":"http://a:8013","degradation":"/w=="}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			save(t, dir, server, "", level(1))
			if err := os.WriteFile(copies(t, dir)[0], []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if c, err := lastseen.Load(dir, server, ""); err == nil {
				t.Errorf("read as %v", c)
			}
			save(t, dir, server, "", level(7))
			if got := load(t, dir, server, "").Degradation.GetLevelMillionths(); got != 7 {
				t.Errorf("level %d, want 7", got)
			}
		})
	}
}

// TestTogether: whoever reads while others write finds a whole copy.
func TestTogether(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, server, "", level(1))
	var writing sync.WaitGroup
	for i := range 4 {
		writing.Go(func() {
			for range 20 {
				if err := lastseen.Save(dir, server, "", level(uint32(i+1))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 50 {
		if c := load(t, dir, server, ""); c.Degradation.GetLevelMillionths() == 0 {
			t.Error("a copy without what was seen")
		}
	}
	writing.Wait()
}
