package sdk_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/plimsoll-dev/plimsoll/sdk"
)

// useFile hands OpenFeature a provider that has no server.
func (a *app) useFile(path string) {
	a.t.Helper()
	p, err := sdk.NewProvider(sdk.WithFile(path), sdk.WithLogger(slog.New(slog.NewTextHandler(&lockedWriter{a}, nil))))
	if err != nil {
		a.t.Fatal(err)
	}
	a.provider = p
	began := time.Now()
	a.start()
	if d := time.Since(began); d != 0 {
		a.t.Errorf("Init took %s", d)
	}
	a.after(time.Second)
	a.told()
}

// replace puts a new version in a file's place. All versions differ in size, as
// tests take less time than a file system tells apart.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestFlagsFromAFile(t *testing.T) {
	path := document(t, `{"flags":{"f":`+on+`,"g":`+on+`}}`)
	inBubble(t, func(t *testing.T, a *app) {
		a.useFile(path)
		a.wantSource("f", true, nil)
		a.wantState(openfeature.ReadyState)

		replace(t, path, `{"flags":{"f":`+off+`,"g":`+on+`}}`)
		a.after(time.Second)
		a.wantSource("f", false, nil)
		if kinds, events := a.told(); len(kinds) != 1 || kinds[0] != openfeature.ProviderConfigChange || events[0].FlagChanges[0] != "f" {
			t.Errorf("told %v %+v, want a change of f", kinds, events)
		}

		// One with faults is logged with all of them, once, and nothing changes.
		replace(t, path, `{"flags":{"f":{"state":"ON"},"g":{"state":"OFF"}}}`)
		a.after(time.Minute)
		a.wantSource("f", false, nil)
		if a.wrote("level=ERROR") != 1 || a.wrote(`[\"f\"].state`) != 1 || a.wrote(`[\"g\"].state`) != 1 || a.wrote("last good version is served") != 1 {
			t.Errorf("want one error that names both faults:\n%s", a.logged())
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		a.after(time.Minute)
		a.wantSource("f", false, nil)
		a.wantState(openfeature.ReadyState)
		if a.wrote("level=ERROR") != 2 {
			t.Errorf("want one error more:\n%s", a.logged())
		}
		replace(t, path, `{"flags":{"h":`+on+`}}`)
		a.after(time.Second)
		a.wantSource("h", true, nil)
		if kinds, _ := a.told(); len(kinds) != 1 {
			t.Errorf("told %v, want the change alone", kinds)
		}

		// It goes on after a shutdown.
		a.leave()
		replace(t, path, `{"flags":{"h":`+off+`}} `)
		a.start()
		a.wantSource("h", false, nil)
	})
}

// A file that is not there, or is broken, is no error: it is taken once it can be.
func TestFileThatIsNotThereYet(t *testing.T) {
	for name, text := range map[string]string{
		"missing": "", "broken": `{"flags":`, "YAML": "flags: {}\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "flags.json")
			if text != "" {
				path = document(t, text)
			}
			inBubble(t, func(t *testing.T, a *app) {
				a.useFile(path)
				if d := a.bool("f", true); !d.Value || d.Reason != openfeature.DefaultReason || d.ErrorCode != "" {
					t.Errorf("f is %+v, want the default", d)
				}
				a.after(time.Minute)
				if a.wrote("level=ERROR") != 1 || a.wrote("the file cannot be used") != 1 || a.wrote(path) == 0 {
					t.Errorf("want one error:\n%s", a.logged())
				}
				if name == "YAML" && a.wrote("flagctl export -o json") != 1 {
					t.Errorf("the log does not say what to do:\n%s", a.logged())
				}
				replace(t, path, `{"flags":{"f":`+off+`}}`)
				a.after(time.Second)
				a.wantSource("f", false, nil)
				a.wantState(openfeature.ReadyState)
			})
		})
	}
}

// A flag that does not compile keeps its last good version; the others move on.
func TestFlagOfAFileThatDoesNotCompile(t *testing.T) {
	const lost = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","targeting":{"if":[{"segment":"elsewhere"},"on","off"]}}`
	path := document(t, `{"flags":{"f":`+on+`,"g":`+on+`}}`)
	inBubble(t, func(t *testing.T, a *app) {
		a.useFile(path)
		replace(t, path, `{"flags":{"f":`+lost+`,"g":`+off+`}}`)
		a.after(time.Minute)
		a.wantSource("f", true, nil)
		a.wantSource("g", false, nil)
		if a.wrote("do not compile") != 1 || a.wrote("level=WARN") != 1 {
			t.Errorf("want one error and one warning:\n%s", a.logged())
		}
	})
}

// A file of the cache will do too.
func TestFlagsFromAFileOfTheCache(t *testing.T) {
	dir := t.TempDir()
	inBubble(t, func(t *testing.T, a *app) {
		a.server.Put(map[string]string{"f": on})
		a.start()
		a.leave()
		files, err := filepath.Glob(filepath.Join(dir, "*.flags"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		a.useFile(files[0])
		a.wantSource("f", true, nil)
	}, sdk.WithCacheDir(dir))
}
