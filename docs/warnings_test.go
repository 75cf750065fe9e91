package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var logged = regexp.MustCompile(`[lL]og(?:ger)?\.(?:Warn|Error)(?:Context)?\((?:\w+, )?"([^"]+)"`)

// TestWarningsAreExplained finds every warning that a server can log and wants
// each in the table of operations.md, at least up to its first semicolon.
func TestWarningsAreExplained(t *testing.T) {
	operations, err := os.ReadFile("operations.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, folder := range []string{"../store", "../cmd/server"} {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range logged.FindAllStringSubmatch(string(source), -1) {
				found++
				message, _, _ := strings.Cut(m[1], ";")
				if !strings.Contains(string(operations), "`"+message) {
					t.Errorf("%s logs %q, which operations.md does not explain", path, m[1])
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 10 {
		t.Errorf("only %d warnings were found: does the pattern still match?", found)
	}
}
