package shelf

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/follow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	on       = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}`
	off      = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`
	optional = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","degradation":{"tier":"low"}}`
	bad      = `{"state":"ENABLED","variants":{"on":true},"defaultVariant":"gone"}`
)

// set is one with a flag f, at a position.
func set(epoch uint64, revision int64) *flag.Set {
	s, _ := flag.Empty().With(flag.Update{
		Reset: true, Epoch: epoch, Revision: revision, Flags: []flag.Source{{Key: "f", JSON: on}},
	}, time.Now())
	return s
}

// rich is a set with something of every kind.
func rich(now time.Time) *flag.Set {
	floor, ceiling := degrade.Level(500_000), degrade.Level(1_500_000)
	s := flag.Empty()
	for i, u := range []flag.Update{
		{
			Reset: true,
			Flags: []flag.Source{
				{Key: "f", JSON: on}, {Key: "g", JSON: off}, {Key: "shed", JSON: optional}, {Key: "broken", JSON: on},
				{Key: "ruled", JSON: `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","targeting":{"if":[{"segment":"staff"},"off",{"$ref":"eu"}]}}`},
			},
			Evaluators: []flag.Source{{Key: "eu", JSON: `{"if":[{"==":[{"var":"region"},"eu"]},"off","on"]}`}},
			Segments:   []flag.Source{{Key: "staff", JSON: `{"==":[{"var":"role"},"staff"]}`}},
			Settings:   &flag.Settings{Bucketing: flag.V1, Tiers: degrade.Tiers{"high", "low"}, Metadata: `{"team":"a"}`},
		},
		{Overrides: []flag.Override{{Key: "f", Variant: "off"}}},
		{Overrides: []flag.Override{{Key: "g", Variant: "on", ExpiresAt: now.Add(time.Hour)}}},
		{Level: &degrade.LevelState{Auto: 250_000, Seed: "5eed", Holds: []degrade.Hold{
			{Name: "h", Floor: &floor, ExpiresAt: now.Add(2 * time.Hour)}, {Name: "i", Ceiling: &ceiling},
		}}},
		{Flags: []flag.Source{{Key: "broken", JSON: bad}}},
	} {
		u.Epoch, u.Revision = 2, int64(10*(i+1))
		s, _ = s.With(u, now)
	}
	return s
}

// answers are what a set serves, in a few contexts.
func answers(s *flag.Set) (list []flag.Result[any]) {
	for _, key := range slices.Sorted(s.Keys()) {
		for _, ctx := range []map[string]any{nil, {"targetingKey": "u"}, {"role": "staff"}, {"region": "eu"}} {
			list = append(list, s.Any(key, ctx))
		}
	}
	return list
}

// journal is a log that can be searched.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), text)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// keep runs a shelf until the returned function is called, or the test ends.
func keep(t *testing.T, s *Shelf) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// save writes a state at once.
func save(t *testing.T, dir, namespace, store string, s *flag.Set, lowered bool) {
	t.Helper()
	shelf := New(dir, namespace, slog.New(slog.DiscardHandler))
	shelf.Put(s, store, lowered)
	if !shelf.write() {
		t.Fatal("not written")
	}
	shelf.release()
}

// loaded is the revision that a start finds; -1 for nothing.
func loaded(dir, namespace string) int64 {
	saved, ok := New(dir, namespace, slog.New(slog.DiscardHandler)).Load()
	if !ok {
		return -1
	}
	return saved.Set.Revision()
}

func wantLoaded(t *testing.T, dir, namespace string, want int64) {
	t.Helper()
	if got := loaded(dir, namespace); got != want {
		t.Fatalf("a start finds revision %d, want %d", got, want)
	}
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

const store1 = "00112233445566778899aabbccddeeff"

func TestWhatIsSavedIsLoaded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "cache")
	now := time.Now()
	before := rich(now)
	save(t, dir, "shop", store1, before, false)
	saved, ok := New(dir, "shop", slog.New(slog.DiscardHandler)).Load()
	if !ok || saved.Store != store1 {
		t.Fatalf("loaded %+v, %v", saved, ok)
	}
	after := saved.Set
	if after.Epoch() != 2 || after.Revision() != 50 || after.Level() != before.Level() {
		t.Errorf("loaded %d/%d at level %s", after.Epoch(), after.Revision(), after.Level())
	}
	if a, b := answers(after), answers(before); !reflect.DeepEqual(a, b) {
		t.Errorf("answers\n%+v\nwant\n%+v", a, b)
	}
	if !reflect.DeepEqual(after.Problems(), before.Problems()) || len(after.Problems()) != 1 {
		t.Errorf("problems %v, want %v", after.Problems(), before.Problems())
	}
	a, _ := after.NextExpiry()
	b, _ := before.NextExpiry()
	if !a.Equal(b) || !reflect.DeepEqual(after.Settings(), before.Settings()) {
		t.Errorf("expiry %s, settings %+v; want %s, %+v", a, after.Settings(), b, before.Settings())
	}
	if got := names(t, dir); !slices.Equal(got, []string{"shop-" + store1 + ".flags", "shop.lock"}) {
		t.Errorf("files %q", got)
	}
	for path, want := range map[string]fs.FileMode{dir: 0o700 | fs.ModeDir, filepath.Join(dir, "shop-"+store1+".flags"): 0o600, filepath.Join(dir, "shop.lock"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %s, want %s (%v)", path, info.Mode(), want, err)
		}
	}
}

// Whatever the sources of a set have is saved: a field that is new to updates must
// be saved too, or be named here.
func TestEveryFieldOfAnUpdateIsSaved(t *testing.T) {
	dir, now := t.TempDir(), time.Now().UTC().Round(0)
	before, _ := rich(now).With(flag.Update{
		Epoch: 2, Revision: 60, Fingerprint: 7,
		Evaluators: []flag.Source{{Key: "bad", JSON: `{"no-such-operator":[1]}`}}, RemovedEvaluators: []string{"eu"},
		Segments: []flag.Source{{Key: "bad", JSON: `{"no-such-operator":[1]}`}}, RemovedSegments: []string{"staff"},
		OpenGuards: []flag.OpenGuard{{Name: "db"}},
	}, now)
	save(t, dir, "shop", store1, before, false)
	saved, _ := New(dir, "shop", slog.New(slog.DiscardHandler)).Load()
	want, got := slices.Collect(before.Sources()), slices.Collect(saved.Set.Sources())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the sources of what was saved: %s", diff)
	}
	for i := range reflect.TypeFor[flag.Update]().NumField() {
		name := reflect.TypeFor[flag.Update]().Field(i).Name
		switch name {
		case "RemovedFlags", "RemovedOverrides": // what is gone is not in a set
			continue
		case "OpenGuards", "ClosedGuards": // are of a process
			continue
		}
		if !slices.ContainsFunc(want, func(u flag.Update) bool { return !reflect.ValueOf(u).Field(i).IsZero() }) {
			t.Errorf("no source has %s: it is not saved, or not tested", name)
		}
	}
}

// What a hold or an override had until its end counts no longer at a later start.
func TestLoadedWhenThingsHaveExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		save(t, dir, "", store1, rich(time.Now()), false)
		time.Sleep(3 * time.Hour)
		saved, _ := New(dir, "", slog.New(slog.DiscardHandler)).Load()
		if r := saved.Set.Bool("g", true, nil); r.Value || r.Reason != flag.ReasonStatic {
			t.Errorf("g is %+v, want its override over", r)
		}
		if r := saved.Set.Bool("f", true, nil); r.Value || r.Reason != flag.ReasonOverride || r.Metadata["revision"] != int64(20) {
			t.Errorf("f is %+v, want it overridden at revision 20", r)
		}
		if l := saved.Set.Level(); l != 250_000 {
			t.Errorf("level %s, want 0.25", l)
		}
	})
}

func TestNamesOfFiles(t *testing.T) {
	dir := t.TempDir()
	for i, c := range []struct{ namespace, store string }{
		{"shop", store1}, {"shop-eu", store1}, {"", store1}, {"default", store1},
		{"shop-eu", "../../etc/passwd"}, {"shop", "a-b"}, {"shop", ""},
	} {
		save(t, dir, c.namespace, c.store+"", set(1, int64(i+1)), false)
		if c.store == "" {
			continue // a file without a store cannot be read back
		}
		wantLoaded(t, dir, c.namespace, int64(i+1))
	}
	if n := len(names(t, dir)); n != 7+4 { // four locks
		t.Errorf("%d files, want 11: %q", n, names(t, dir))
	}
	if parent := names(t, filepath.Dir(dir)); len(parent) != 1 {
		t.Errorf("something was written outside the folder: %q", parent)
	}
}

func TestNothingToLoad(t *testing.T) {
	j := &journal{}
	if _, ok := New(filepath.Join(t.TempDir(), "new"), "shop", j.logger()).Load(); ok || j.text.Len() > 0 {
		t.Errorf("found something in an empty folder, or logged:\n%s", &j.text)
	}
}

// A file that was cut off anywhere, or has a wrong bit, is ignored for the one
// before.
func TestFilesThatAreDamaged(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "shop", store1, set(1, 1), false)
	save(t, dir, "shop", store1, rich(time.Now()), false)
	path := filepath.Join(dir, "shop-"+store1+".flags")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantLoaded(t, dir, "shop", 50)
	damage := func(what string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := readFile(path, time.Now()); err == nil {
			t.Fatalf("%s: read as %d/%d", what, s.Set.Epoch(), s.Set.Revision())
		}
		if _, err := verify(path); err == nil {
			t.Fatalf("%s: found to be whole", what)
		}
	}
	for n := range good {
		if n%100 == 0 || n < 200 || n > len(good)-100 {
			damage(fmt.Sprintf("cut off after %d bytes of %d", n, len(good)), good[:n])
		}
	}
	j := &journal{}
	saved, ok := New(dir, "shop", j.logger()).Load()
	if !ok || saved.Set.Revision() != 1 || j.count("is ignored") != 1 || j.count("checksum") != 1 {
		t.Errorf("loaded %v, want the generation before and one warning:\n%s", ok, &j.text)
	}
	for i := range good {
		flipped := bytes.Clone(good)
		flipped[i] ^= 1 << (i % 8)
		damage(fmt.Sprintf("bit %d of byte %d flipped", i%8, i), flipped)
	}
	damage("something appended", append(bytes.Clone(good), 0))
	damage("twice", append(bytes.Clone(good), good...))

	// The next write replaces it, and does not keep it.
	save(t, dir, "shop", store1, set(1, 2), false)
	wantLoaded(t, dir, "shop", 2)
	if s, err := readFile(path+previous, time.Now()); err != nil || s.Set.Revision() != 1 {
		t.Errorf("the generation before is %v, want the good one", err)
	}
}

func TestFilesThatAreNotOurs(t *testing.T) {
	for _, test := range []struct {
		name, log string
		put       func(t *testing.T, dir, path string)
	}{
		{"of another namespace", `holds namespace \"other\"`, func(t *testing.T, dir, path string) {
			save(t, dir, "other", store1, set(1, 9), false)
			if err := os.Rename(filepath.Join(dir, "other-"+store1+".flags"), path); err != nil {
				t.Fatal(err)
			}
		}},
		{"of another store", `holds store \"ffff\"`, func(t *testing.T, dir, path string) {
			save(t, dir, "shop", "ffff", set(1, 9), false)
			if err := os.Rename(filepath.Join(dir, "shop-ffff.flags"), path); err != nil {
				t.Fatal(err)
			}
		}},
		{"of an older version", "another version", func(t *testing.T, _, path string) {
			if err := os.WriteFile(path, []byte("plimsoll-flags-0\n"+strings.Repeat("x", 100)), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"empty", "not a file of the cache", func(t *testing.T, _, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"something else", "not a file of the cache", func(t *testing.T, _, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("lorem ipsum "), 100), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"a folder", "no regular file", func(t *testing.T, _, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"too large", "at most", func(t *testing.T, _, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, maxFile+1); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "shop-"+store1+".flags")
			test.put(t, dir, path)
			j := &journal{}
			if _, ok := New(dir, "shop", j.logger()).Load(); ok {
				t.Error("it was loaded")
			}
			if j.count("level=WARN") != 1 || j.count(test.log) != 1 || j.count(path) != 1 {
				t.Errorf("want one warning that says %q:\n%s", test.log, &j.text)
			}
			if _, err := os.Lstat(path); err != nil {
				t.Errorf("it was not left as it is: %v", err)
			}
			if test.name == "a folder" {
				return
			}
			save(t, dir, "shop", store1, set(1, 2), false)
			wantLoaded(t, dir, "shop", 2)
		})
	}
}

// A crash between the steps of a write leaves a state that can be started from.
func TestCrashesWithinAWrite(t *testing.T) {
	dir := t.TempDir()
	path, temp := filepath.Join(dir, "shop-"+store1+".flags"), filepath.Join(dir, ".shop.tmp")
	save(t, dir, "shop", store1, set(1, 1), false)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(temp, whole[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	wantLoaded(t, dir, "shop", 1)
	if err := os.Rename(path, path+previous); err != nil {
		t.Fatal(err)
	}
	wantLoaded(t, dir, "shop", 1)
	save(t, dir, "shop", store1, set(1, 2), false)
	wantLoaded(t, dir, "shop", 2)
	if _, err := os.Stat(temp); err == nil {
		t.Error("what the crash left is still there")
	}
	// A link that somebody put there is not written through.
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, temp); err != nil {
		t.Fatal(err)
	}
	save(t, dir, "shop", store1, set(1, 3), false)
	if b, _ := os.ReadFile(victim); string(b) != "mine" {
		t.Errorf("the target of a link was overwritten with %d bytes", len(b))
	}
	wantLoaded(t, dir, "shop", 3)
}

func TestNeverReplacedByALowerPosition(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "shop", store1, set(2, 100), false)
	for _, lower := range []*flag.Set{set(2, 99), set(1, 500)} {
		save(t, dir, "shop", store1, lower, false)
		wantLoaded(t, dir, "shop", 100)
	}
	save(t, dir, "shop", store1, set(3, 1), false)
	wantLoaded(t, dir, "shop", 1)

	// But one that was adopted replaces it, and what is even later.
	save(t, dir, "shop", store1, set(3, 10), false)
	save(t, dir, "shop", store1, set(3, 5), true)
	wantLoaded(t, dir, "shop", 5)
	if got := names(t, dir); len(got) != 2 {
		t.Errorf("files %q, want no generation of a state that does not exist any more", got)
	}
	save(t, dir, "shop", store1, set(3, 6), false)
	wantLoaded(t, dir, "shop", 6)
}

// Another process has moved on since this one adopted a lower state.
func TestLoweredDoesNotOutliveWhatIsSavedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := New(dir, "shop", slog.New(slog.DiscardHandler))
		first.Put(set(1, 100), store1, false)
		first.write()
		second := New(dir, "shop", slog.New(slog.DiscardHandler))
		second.Put(set(1, 50), store1, true)
		if second.write() {
			t.Fatal("both have the lock")
		}
		time.Sleep(time.Minute)
		first.Put(set(1, 60), store1, true)
		first.write()
		first.release()
		second.write()
		second.release()
		wantLoaded(t, dir, "shop", 60)
	})
}

func TestTwoWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first, j := New(dir, "shop", slog.New(slog.DiscardHandler)), &journal{}
		second := New(dir, "shop", j.logger())
		stop := keep(t, first)
		keep(t, second)
		first.Put(set(1, 1), store1, false)
		synctest.Wait()
		for i := range 5 {
			second.Put(set(1, int64(10+i)), store1, false)
			time.Sleep(10 * time.Second)
			wantLoaded(t, dir, "shop", 1)
		}
		if j.count("another provider uses the cache") != 1 || j.count("level=WARN") != 0 {
			t.Errorf("want one line in the log:\n%s", &j.text)
		}
		// Another namespace in the folder is nobody's business.
		save(t, dir, "shop-eu", store1, set(1, 1), false)
		wantLoaded(t, dir, "shop-eu", 1)
		// The other takes over when the first is gone.
		stop()
		time.Sleep(retryEvery)
		synctest.Wait()
		wantLoaded(t, dir, "shop", 14)
		second.Put(set(1, 15), store1, false)
		time.Sleep(2 * time.Second)
		wantLoaded(t, dir, "shop", 15)
	})
}

func TestWhenItIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := New(dir, "shop", slog.New(slog.DiscardHandler))
		stop := keep(t, s)
		s.Put(set(1, 1), store1, false)
		synctest.Wait()
		wantLoaded(t, dir, "shop", 1) // at once after quiet
		for i := range 5 {
			s.Put(set(1, int64(2+i)), store1, false)
			time.Sleep(100 * time.Millisecond)
			wantLoaded(t, dir, "shop", 1)
		}
		time.Sleep(500*time.Millisecond + 1)
		synctest.Wait()
		wantLoaded(t, dir, "shop", 6) // the newest alone, within a second
		if saved, err := readFile(s.path(store1)+previous, time.Now()); err != nil || saved.Set.Revision() != 1 {
			t.Errorf("the generation before is not the one that was written before: %v", err)
		}
		time.Sleep(10 * time.Second)
		s.Put(set(1, 7), store1, false)
		synctest.Wait()
		wantLoaded(t, dir, "shop", 7)
		s.Put(set(1, 8), store1, false)
		stop()
		wantLoaded(t, dir, "shop", 8) // at the end
	})
}

func TestUnchangedIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		save(t, dir, "shop", store1, set(1, 1), false)
		path := filepath.Join(dir, "shop-"+store1+".flags")
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		save(t, dir, "shop", store1, set(1, 1), false)
		if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
			t.Error("the same position was written again")
		}
	})
}

// A state of the same position in another history takes its place.
func TestAnotherHistoryIsWritten(t *testing.T) {
	dir := t.TempDir()
	for _, print := range []uint64{7, 8} {
		s, _ := flag.Empty().With(flag.Update{Reset: true, Epoch: 1, Revision: 5, Fingerprint: print}, time.Now())
		save(t, dir, "shop", store1, s, false)
		saved, _ := New(dir, "shop", slog.New(slog.DiscardHandler)).Load()
		if got := saved.Set.Fingerprint(); got != print {
			t.Errorf("a start finds history %d, want %d", got, print)
		}
	}
}

func TestSeveralStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := New(dir, "shop", slog.New(slog.DiscardHandler))
		keep(t, s)
		put := func(store string, revision int64) {
			t.Helper()
			s.Put(set(1, revision), store, false)
			time.Sleep(2 * time.Second)
			wantLoaded(t, dir, "shop", revision) // what was saved last, not what is highest
		}
		put("aa", 100)
		put("aa", 101)
		put("bb", 5)
		put("aa", 101) // unchanged, but followed again
		put("cc", 7)
		save(t, dir, "other", "aa", set(1, 1), false)

		time.Sleep(keepOthers - time.Minute)
		put("cc", 8)
		if n := len(names(t, dir)); n != 8 { // aa and cc twice, bb, other, two locks
			t.Errorf("files %q", names(t, dir))
		}
		time.Sleep(2 * time.Minute)
		put("cc", 9)
		want := []string{"other-aa.flags", "other.lock", "shop-cc.flags", "shop-cc.flags.1", "shop.lock"}
		if got := names(t, dir); !slices.Equal(got, want) {
			t.Errorf("files %q, want %q: those of other stores are 30 days old", got, want)
		}
	})
}

// A folder that cannot be used is logged, once for each reason, and all goes on.
func TestFolderThatCannotBeUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		j := &journal{}
		s := New(filepath.Join(file, "cache"), "shop", j.logger())
		if _, ok := s.Load(); ok {
			t.Error("loaded something")
		}
		keep(t, s)
		for i := range 5 {
			s.Put(set(1, int64(i+1)), store1, false)
			time.Sleep(2 * time.Minute)
		}
		if j.count("level=WARN") != 1 || j.count("cannot be written") != 1 {
			t.Errorf("want one warning:\n%s", &j.text)
		}
	})
}

func TestWrittenAgainOnceItCanBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		obstacle := filepath.Join(dir, ".shop.tmp", "x") // for root too
		if err := os.MkdirAll(obstacle, 0o700); err != nil {
			t.Fatal(err)
		}
		j := &journal{}
		s := New(dir, "shop", j.logger())
		keep(t, s)
		s.Put(set(1, 1), store1, false)
		time.Sleep(10*time.Minute + 30*time.Second) // between two attempts
		wantLoaded(t, dir, "shop", -1)
		if j.count("level=WARN") != 1 {
			t.Errorf("want one warning:\n%s", &j.text)
		}
		if err := os.RemoveAll(filepath.Dir(obstacle)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(retryEvery)
		synctest.Wait()
		wantLoaded(t, dir, "shop", 1)
		if j.count("written again") != 1 {
			t.Errorf("the log does not say that it works again:\n%s", &j.text)
		}
	})
}

func TestBetter(t *testing.T) {
	at := func(store string, revision int64) Saved { return Saved{Store: store, Set: set(1, revision)} }
	for _, test := range []struct {
		name             string
		cache, bootstrap Saved
		want             string
	}{
		{"the later of one store", at("a", 5), at("a", 6), follow.Bootstrap},
		{"the cache if it is later", at("a", 7), at("a", 6), follow.Cache},
		{"the cache if they are the same", at("a", 6), at("a", 6), follow.Cache},
		{"the cache if the stores differ", at("a", 5), at("b", 6), follow.Cache},
		{"the cache if the bootstrap has no store", at("a", 5), at("", 0), follow.Cache},
		{"the bootstrap alone", Saved{}, at("", 0), follow.Bootstrap},
		{"the cache alone", at("a", 5), Saved{}, follow.Cache},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, source := Better(test.cache, test.bootstrap); source != test.want {
				t.Errorf("the %s, want the %s", source, test.want)
			}
		})
	}
	if best, _ := Better(Saved{}, Saved{}); best.Set != nil {
		t.Error("something out of nothing")
	}
}
