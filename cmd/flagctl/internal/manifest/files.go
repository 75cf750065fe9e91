package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxFile is the largest file that is read: twice what a namespace can hold.
const maxFile = 256 << 20

// stdinName is how faults name standard input.
const stdinName = "<stdin>"

// open reads everything that the paths name, as far as it can be read.
func open(paths []string, stdin io.Reader) ([]source, error) {
	var out []source
	usedStdin := false
	for _, path := range paths {
		if path != "-" {
			out = append(out, sourcesOf(path)...)
			continue
		}
		if usedStdin {
			return nil, errors.New("- (standard input) is named twice")
		}
		usedStdin = true
		text, err := readLimited(stdin, maxFile)
		out = append(out, source{name: stdinName, text: text, err: err})
	}
	return out, nil
}

// sourcesOf is the file at a path, or, for a folder, the documents below it.
func sourcesOf(path string) []source {
	info, err := os.Stat(path)
	if err != nil {
		return []source{{name: path, err: cause(err)}}
	}
	if !info.IsDir() {
		return []source{readFile(path)}
	}
	var out []source
	_ = filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			out = append(out, source{name: name, err: cause(err)})
			return nil // the rest may be readable
		}
		if strings.HasPrefix(e.Name(), ".") && name != path {
			if e.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if !e.IsDir() && slices.Contains([]string{".json", ".yaml", ".yml"}, strings.ToLower(filepath.Ext(name))) {
			out = append(out, readFile(name))
		}
		return nil
	})
	if len(out) == 0 {
		out = []source{{name: path, err: errors.New("there is no .json, .yaml or .yml file in it")}}
	}
	return out
}

func readFile(name string) source {
	f, err := os.Open(name)
	if err != nil {
		return source{name: name, err: cause(err)}
	}
	defer func() { _ = f.Close() }() // only read from
	text, err := readLimited(f, maxFile)
	return source{name: name, kind: strings.ToLower(filepath.Ext(name)), text: text, err: err}
}

// cause leaves out of an error which call it was and on which path.
func cause(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

func readLimited(r io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, cause(err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("it is larger than %d MiB: split it", limit>>20)
	}
	return text, nil
}
