package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var randomID = regexp.MustCompile(`"changeId": "[A-Z2-7]{26}"`)

// golden compares got, but for its change id, with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = randomID.ReplaceAllString(got, `"changeId": "CHANGE"`)
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}
