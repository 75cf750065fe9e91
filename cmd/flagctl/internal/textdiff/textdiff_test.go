package textdiff_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/textdiff"
)

func render(diff []textdiff.Line) string {
	var b strings.Builder
	for _, l := range diff {
		b.WriteString(string(l.Op) + l.Text + "\n")
	}
	return b.String()
}

func TestJSON(t *testing.T) {
	tests := []struct{ name, before, after, want string }{
		{"same but for space", `{"a":1}`, "{ \"a\" : 1 }", ""},
		{"both none", "", "", ""},
		{"created", "", `{"a":1}`, "+{\n+  \"a\": 1\n+}\n"},
		{"removed", `{"a":1}`, "", "-{\n-  \"a\": 1\n-}\n"},
		{"changed in the middle", `{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7}`, `{"a":1,"b":2,"c":3,"d":0,"e":5,"f":6,"g":7}`, `~…
   "b": 2,
   "c": 3,
-  "d": 4,
+  "d": 0,
   "e": 5,
   "f": 6,
~…
`},
		{"two places", `{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7}`, `{"a":0,"b":2,"c":3,"d":4,"e":5,"f":6,"x":7}`, ` {
-  "a": 1,
+  "a": 0,
   "b": 2,
   "c": 3,
~…
   "e": 5,
   "f": 6,
-  "g": 7
+  "x": 7
 }
`},
		{"no JSON", "a\nb", "a\nc", " a\n-b\n+c\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, render(textdiff.JSON(tt.before, tt.after))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestHugeDifference: texts with nothing in common are compared in bounded
// memory and shown as wholly replaced.
func TestHugeDifference(t *testing.T) {
	list := func(n int) string {
		text, err := json.Marshal(make([]struct{ A int }, n))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	before, after := list(6000), strings.ReplaceAll(list(6000), "0", "1")
	removed, added := 0, 0
	for _, l := range textdiff.JSON(before, after) {
		switch l.Op {
		case textdiff.Removed:
			removed++
		case textdiff.Added:
			added++
		}
	}
	if removed < 6000 || removed != added {
		t.Errorf("%d lines removed and %d added, want all of them", removed, added)
	}
}

// TestApplies: taking a diff's removed lines out and putting its added lines in
// turns the one text into the other.
func TestApplies(t *testing.T) {
	words := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 12)
	rapid.Check(t, func(t *rapid.T) {
		before := words.Draw(t, "before")
		after := words.Draw(t, "after")
		var old, now []string
		for _, l := range textdiff.JSON(strings.Join(before, "\n"), strings.Join(after, "\n")) {
			if l.Op == textdiff.Skipped {
				return // folded: the lines are not there to be compared
			}
			if l.Op != textdiff.Added {
				old = append(old, l.Text)
			}
			if l.Op != textdiff.Removed {
				now = append(now, l.Text)
			}
		}
		if len(old) == 0 && len(now) == 0 {
			old, now = before, before
		}
		if diff := cmp.Diff(before, old); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(after, now); diff != "" {
			t.Fatal(diff)
		}
	})
}
