package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/config"
)

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "flagctl.yaml")
	want := &config.File{Current: "prod", Contexts: map[string]config.Context{
		"prod": {Server: "https://flags.example.com", Namespace: "shop", TokenFile: "/home/alice/a: token"},
		"none": {},
	}}
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"none", "prod"}, got.Names()); diff != "" {
		t.Error(diff)
	}
}

func TestSaveNarrowsMode(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "flagctl.yaml")
	if err := os.WriteFile(path, []byte("current: a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (&config.File{Current: "b"}).Save(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("mode %o, want 600", mode)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("%d files are left, want the configuration alone", len(entries))
	}
}

// TestSaveFailureKeepsOld: when the new file cannot be put in place, the old
// one stands as it was.
func TestSaveFailureKeepsOld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flagctl.yaml")
	if err := os.MkdirAll(filepath.Join(path, "a-folder-in-its-place"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := (&config.File{Current: "b"}).Save(path); err == nil {
		t.Fatal("saved over a folder")
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("%d entries are left, want the folder alone", len(entries))
	}
}

func TestLoadMissingIsEmpty(t *testing.T) {
	f, err := config.Load(filepath.Join(t.TempDir(), "none.yaml"))
	if err != nil || f.Current != "" || len(f.Contexts) != 0 {
		t.Errorf("got %+v, %v, want an empty configuration", f, err)
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown field", "contexts:\n  prod:\n    sever: x\n", `flagctl.yaml:3:5: unknown field "sever"`},
		{"wrong type", "contexts: 1\n", "flagctl.yaml:1:"},
		{"no YAML", "contexts: [\n", "flagctl.yaml:1:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "flagctl.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := config.Load(path)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, tt.want)
			}
		})
	}
}

func TestPath(t *testing.T) {
	t.Setenv("PLIMSOLL_FLAGCTL_CONFIG", "/somewhere/else.yaml")
	if got, err := config.Path(); err != nil || got != "/somewhere/else.yaml" {
		t.Errorf("Path() = %q, %v", got, err)
	}
	t.Setenv("PLIMSOLL_FLAGCTL_CONFIG", "")
	t.Setenv("XDG_CONFIG_HOME", "/xdg")
	t.Setenv("HOME", "/home/alice")
	if got, err := config.Path(); err != nil || filepath.Base(filepath.Dir(got)) != "plimsoll" || filepath.Base(got) != "flagctl.yaml" {
		t.Errorf("Path() = %q, %v", got, err)
	}
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "prod", "eu-1.shop_x"} {
		if err := config.CheckName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "-", "-a", "a b", "a\nb", "é", strings.Repeat("a", 64)} {
		if config.CheckName(bad) == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
