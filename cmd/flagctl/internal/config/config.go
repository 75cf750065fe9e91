// Package config keeps flagctl's named contexts: which server and which
// namespace a name stands for, and where the token for it lies. They are in
// one YAML file that only its owner can read.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/goccy/go-yaml"
)

// Context is what a name stands for. Empty fields leave the choice to flags,
// environment and defaults.
type Context struct {
	// Server is the server's URL.
	Server string `yaml:"server,omitempty"`
	// Namespace is the namespace that commands work on.
	Namespace string `yaml:"namespace,omitempty"`
	// TokenFile is the path of a file that holds the token. The token itself
	// is never kept here.
	TokenFile string `yaml:"token-file,omitempty"`
}

// File is the whole configuration.
type File struct {
	// Current is the name of the context in use; empty: none.
	Current string `yaml:"current,omitempty"`
	// Contexts by name.
	Contexts map[string]Context `yaml:"contexts,omitempty"`
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// CheckName says what is wrong with the name of a context, if anything.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("%q is no name for a context: it takes 1 to 63 letters, digits, dots, dashes and underscores, and begins with a letter or digit", name)
	}
	return nil
}

// Path is where the configuration lies: $PLIMSOLL_FLAGCTL_CONFIG, else
// flagctl.yaml in the folder plimsoll of the user's configuration directory.
// (PLIMSOLL_CONFIG is taken: it names the configuration of the server.)
func Path() (string, error) {
	if path := os.Getenv("PLIMSOLL_FLAGCTL_CONFIG"); path != "" {
		return path, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the configuration directory: %w", err)
	}
	return filepath.Join(dir, "plimsoll", "flagctl.yaml"), nil
}

// Load reads the configuration. A file that does not exist is an empty one.
func Load(path string) (*File, error) {
	f := &File{Contexts: make(map[string]Context)}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the contexts: %w", err)
	}
	if err := yaml.UnmarshalWithOptions(text, f, yaml.DisallowUnknownField()); err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			pos := at.GetToken().Position
			return nil, fmt.Errorf("read the contexts: %s:%d:%d: %s", path, pos.Line, pos.Column, at.GetMessage())
		}
		return nil, fmt.Errorf("read the contexts: %s: %w", path, err)
	}
	if f.Contexts == nil {
		f.Contexts = make(map[string]Context)
	}
	return f, nil
}

// Names are the names of the contexts, sorted.
func (f *File) Names() []string { return slices.Sorted(maps.Keys(f.Contexts)) }

// Save writes the configuration with mode 0600: into a new file beside it that
// then takes its place, so that a reader finds either the old or the new one.
func (f *File) Save(path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("save the contexts: %w", err)
		}
	}()
	text, err := yaml.Marshal(f)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".flagctl-*") // created with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // of no effect once it was renamed
	_, werr := tmp.Write(text)
	serr := tmp.Sync()
	cerr := tmp.Close()
	if err := cmp.Or(werr, serr, cerr); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
