package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	quotedFile = regexp.MustCompile("`([\\w./-]+\\.(?:go|proto|mod|md|yml))`")
	link       = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
)

// TestReferences makes sure that what the documents lead to is there: each link
// to a file of the repository, and each file that is named in code quotes,
// either by its path or, where the text around it says which folder, by its
// name alone.
func TestReferences(t *testing.T) {
	names := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != ".." && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		names[filepath.Base(path)] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	documents, err := filepath.Glob("../*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	exists := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}
	checked := 0
	for _, document := range append(documents, more...) {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if checked++; !exists(filepath.Join(filepath.Dir(document), m[1])) {
				t.Errorf("%s links to %s, which does not exist", document, m[1])
			}
		}
		for _, m := range quotedFile.FindAllStringSubmatch(string(text), -1) {
			name := m[1]
			checked++
			switch {
			case exists(filepath.Join("..", name)), !strings.Contains(name, "/") && names[name]:
			default:
				t.Errorf("%s names %s, which does not exist", document, name)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d references were found: do the patterns still match?", checked)
	}
}
