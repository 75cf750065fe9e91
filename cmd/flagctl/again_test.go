package main

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
)

// hostile are texts that a shell, a terminal or JSON takes for something else.
var hostile = []string{
	"plain", "", " ", "a b", "it's", `"`, `\`, `\n`, "$HOME", "`id`", "a;b", "*", "größe", "世界 😀", "-x", "a\nb", "\x1b[31m", "\u202e", "\u009b", "'\n\\'", "EOF",
}

// TestQuotedWords: what is printed to be pasted into a shell means the same
// there, and cannot work on the terminal that shows it.
func TestQuotedWords(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	line := quotedWords(append([]string{"printf", `%s\0`}, hostile...))
	if output.Clean(line) != line {
		t.Errorf("does not print as it is: %q", line)
	}
	cmd := exec.CommandContext(t.Context(), bash, "-c", line)
	cmd.Env = []string{"LC_ALL=C.UTF-8"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(got) != len(hostile) {
		t.Fatalf("%d words, want %d: %q", len(got), len(hostile), got)
	}
	for i, want := range hostile {
		if got[i] != want {
			t.Errorf("the shell reads %q, want %q", got[i], want)
		}
	}
}

// TestPrintableJSON: it prints as it is, and still is the same JSON.
func TestPrintableJSON(t *testing.T) {
	for _, s := range append(hostile, "\U000e0001", "\u2028") {
		text := printableJSON(jsonText(s))
		if output.Clean(text) != text {
			t.Errorf("does not print as it is: %q", text)
		}
		var got string
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != s {
			t.Errorf("%s is %q, want %q (%v)", text, got, s, err)
		}
	}
}
