package output_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
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

// printed is what write writes to a printer that is no terminal.
func printed(t *testing.T, format output.Format, environ []string, write func(*output.Printer)) string {
	t.Helper()
	var out bytes.Buffer
	p := output.New(&out, &bytes.Buffer{}, environ)
	p.Format = format
	write(p)
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func table(p *output.Printer) {
	p.Table([]string{"KEY", "STATE", "OWNER"}, [][]string{
		{"new-ui", output.Warn("DISABLED"), "web"},
		{"größe", output.Good("ENABLED"), ""},
		{"世界", "", "team with a long name"},
		{output.Clean("bad\x1b[31m\nkey"), "ENABLED", output.Clean("\u202eevil")},
	})
	p.Fields([][2]string{{"server", output.Bold("http://127.0.0.1:8013")}, {"level", "0"}, {"", "second line"}})
}

func TestTablePlain(t *testing.T) {
	golden(t, "table.txt", printed(t, output.Table, nil, table))
}

// TestTableColour: CLICOLOR_FORCE stands for a terminal with colours.
func TestTableColour(t *testing.T) {
	golden(t, "table.ansi", printed(t, output.Table, []string{"TERM=xterm", "CLICOLOR_FORCE=1"}, table))
}

func TestNoColour(t *testing.T) {
	for _, environ := range [][]string{{"TERM=xterm", "CLICOLOR_FORCE=1", "NO_COLOR=1"}, {"TERM=dumb"}} {
		if got := printed(t, output.Table, environ, table); strings.Contains(got, "\x1b") {
			t.Errorf("with %v there are escape sequences: %q", environ, got)
		}
	}
}

func TestValue(t *testing.T) {
	v := struct {
		Name string         `json:"name"`
		Rule map[string]any `json:"rule"`
	}{"<a & b>", map[string]any{"==": []any{1, "on"}}}
	write := func(p *output.Printer) {
		if err := p.Value(v); err != nil {
			t.Error(err)
		}
	}
	golden(t, "value.json", printed(t, output.JSON, nil, write))
	golden(t, "value.yaml", printed(t, output.YAML, nil, write))
}

func TestLine(t *testing.T) {
	write := func(p *output.Printer) {
		for i := range 2 {
			if err := p.Line(map[string]int{"seq": i}); err != nil {
				t.Error(err)
			}
		}
	}
	if got, want := printed(t, output.JSON, nil, write), "{\"seq\":0}\n{\"seq\":1}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := printed(t, output.YAML, nil, write), "---\nseq: 0\n---\nseq: 1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "/dev/stdout", Err: errors.New("no space left on device")}
}

// TestFullDisk: a result that cannot be written is told once, at the end.
func TestFullDisk(t *testing.T) {
	var notes bytes.Buffer
	p := output.New(fullDisk{}, &notes, nil)
	p.Printf("%s", strings.Repeat("x", 100<<10))
	if err := p.Value(1); err != nil {
		t.Errorf("Value: %v", err)
	}
	if err := p.Flush(); err == nil || err.Error() != "write the result: no space left on device" {
		t.Errorf("Flush: %v", err)
	}
	if p.Notef("still heard"); notes.String() != "still heard\n" {
		t.Errorf("notes %q", notes.String())
	}
}

func TestFormat(t *testing.T) {
	var f output.Format
	if err := f.Set("yaml"); err != nil || f != output.YAML {
		t.Errorf("Set(yaml): %v, %v", f, err)
	}
	if err := f.Set("xml"); err == nil || !strings.Contains(err.Error(), "table, json, yaml") {
		t.Errorf("Set(xml): %v", err)
	}
}

func TestClean(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain text, größe 世界 😀", "plain text, größe 世界 😀"},
		{"a\nb\tc", `a\nb\tc`},
		{"\x1b[31mred", `\x1b[31mred`},
		{"\u202eright to left\u2066", `\u202eright to left\u2066`},
		{"\u009b31m", `\u009b31m`},
		{"\xff", `\ufffd`},
		{"no\u00a0break", `no\u00a0break`},
	}
	for _, tt := range tests {
		if got := output.Clean(tt.in); got != tt.want {
			t.Errorf("Clean(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestAge(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		ago  time.Duration
		want string
	}{
		{-time.Hour, "now"}, {0, "now"}, {time.Second, "1s"}, {59 * time.Second, "59s"}, {time.Minute, "1m"}, {59 * time.Minute, "59m"},
		{time.Hour, "1h"}, {47 * time.Hour, "47h"}, {48 * time.Hour, "2d"}, {400 * 24 * time.Hour, "400d"},
	}
	for _, tt := range tests {
		if got := output.Age(now.Add(-tt.ago), now); got != tt.want {
			t.Errorf("%v ago is %q, want %q", tt.ago, got, tt.want)
		}
	}
	if got := output.Age(time.Time{}, now); got != "" {
		t.Errorf("no time is %q", got)
	}
}

func TestPretty(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"short", `{"a":[1,2],"b":"x, y: z\""}`, `{"a": [1, 2], "b": "x, y: z\""}`},
		{"loose", "{ \"a\" :\n 1 }", `{"a": 1}`},
		{"scalar", `"x"`, `"x"`},
		{"long", `{"if":[{"in":[{"var":"country"},["DE","AT","CH","FR","IT","ES"]]},"on",{"fractional":[["on",10],["off",90]]}]}`, `{
  "if": [
    {"in": [{"var": "country"}, ["DE", "AT", "CH", "FR", "IT", "ES"]]},
    "on",
    {"fractional": [["on", 10], ["off", 90]]}
  ]
}`},
		{"a long string stays in its line", `["` + strings.Repeat("x", 100) + `"]`, "[\n  \"" + strings.Repeat("x", 100) + "\"\n]"},
		{"what does not print", "{\"a\":\"\u009b\"}", `{"a": "\u009b"}`},
		{"no JSON", "x\ny", `x\ny`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, output.Pretty([]byte(tt.in))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNarrow: columns are left out in the order that is given, as many as it
// takes, and never those that are not named.
func TestNarrow(t *testing.T) {
	write := func(p *output.Printer) {
		p.Table([]string{"KEY", "TYPE", "OWNER"}, [][]string{{"new-ui", output.Warn("bool"), "team-web"}, {"größe", "string", ""}}, "TYPE", "OWNER", "NONE")
	}
	const (
		wide   = "KEY     TYPE    OWNER\nnew-ui  bool    team-web\ngröße   string\n"
		narrow = "KEY     OWNER\nnew-ui  team-web\ngröße\n"
		key    = "KEY\nnew-ui\ngröße\n"
	)
	tests := []struct{ columns, want string }{
		{"24", wide}, {"23", narrow}, {"16", narrow}, {"15", key}, {"1", key}, {"0", wide}, {"-5", wide}, {"many", wide}, {"", wide},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, printed(t, output.Table, []string{"COLUMNS=" + tt.columns}, write)); diff != "" {
			t.Errorf("COLUMNS=%s (-want +got):\n%s", tt.columns, diff)
		}
	}
}

// TestProgressElsewhere: what is no terminal gets no progress.
func TestProgressElsewhere(t *testing.T) {
	var out, notes bytes.Buffer
	p := output.New(&out, &notes, []string{"TERM=xterm", "CLICOLOR_FORCE=1"})
	p.Progress("waiting")
	p.Progress("")
	if out.Len()+notes.Len() > 0 {
		t.Errorf("stdout %q, stderr %q", out.String(), notes.String())
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[int]string{0: "0", 996: "996", 1003: "1 003", 50000: "50 000", 123456: "123 456", 1234567: "1 234 567"} {
		if got := output.Number(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "1 ms"}, {0, "1 ms"}, {41 * time.Millisecond, "41 ms"}, {999 * time.Millisecond, "999 ms"}, {999600 * time.Microsecond, "1.0 s"},
		{1240 * time.Millisecond, "1.2 s"}, {9940 * time.Millisecond, "9.9 s"}, {9960 * time.Millisecond, "10 s"}, {12 * time.Second, "12 s"},
		{119 * time.Second, "119 s"}, {2 * time.Minute, "2 min"}, {119 * time.Minute, "119 min"}, {7 * time.Hour, "7 h"},
		{2*time.Minute - time.Millisecond, "2 min"}, {2*time.Hour - time.Millisecond, "2 h"}, {36 * time.Hour, "36 h"}, {48*time.Hour - time.Second, "2 d"}, {30 * 24 * time.Hour, "30 d"},
	}
	for _, tt := range tests {
		if got := output.Span(tt.d); got != tt.want {
			t.Errorf("%v is %q, want %q", tt.d, got, tt.want)
		}
	}
}

func TestPercent(t *testing.T) {
	for millionths, want := range map[uint32]string{0: "0 %", 1: "0.0001 %", 125_000: "12.5 %", 400_000: "40 %", 999_999: "99.9999 %", 1_000_000: "100 %"} {
		if got := output.Percent(millionths); got != want {
			t.Errorf("%d is %q, want %q", millionths, got, want)
		}
	}
}

func TestPart(t *testing.T) {
	tests := []struct {
		part, whole uint64
		want        string
	}{
		{0, 0, "0 %"}, {0, 7, "0 %"}, {5785, 48210, "12 %"}, {1, 1_000_000, "less than 0.1 %"}, {3, 1000, "0.3 %"}, {50, 1000, "5 %"},
		{999_999, 1_000_000, "over 99 %"}, {985, 1000, "98 %"}, {7, 7, "100 %"},
	}
	for _, tt := range tests {
		if got := output.Part(tt.part, tt.whole); got != tt.want {
			t.Errorf("%d of %d is %q, want %q", tt.part, tt.whole, got, tt.want)
		}
	}
}

func TestCut(t *testing.T) {
	for s, want := range map[string]string{"": "", "four": "four", "öäüß": "öäüß", "öäüßx": "öäü…"} {
		if got := output.Cut(s, 4); got != want {
			t.Errorf("%q is %q, want %q", s, got, want)
		}
	}
}

// TestBar: nothing and all are exactly that, and nothing else looks like them.
func TestBar(t *testing.T) {
	p := output.New(new(bytes.Buffer), new(bytes.Buffer), []string{"LANG=C.UTF-8"})
	for millionths, want := range map[uint32]string{
		0: "----------", 1: "#---------", 400_000: "####------", 449_999: "####------", 450_000: "#####-----", 999_999: "#########-", 1_000_000: "##########",
	} {
		if got := p.Bar(millionths, 10); !strings.HasSuffix(stripped(got), want) || len(stripped(got)) != 10 {
			t.Errorf("%d is %q, want %q", millionths, got, want)
		}
	}
	for width := range 3 {
		if got := stripped(p.Bar(500_000, width)); len(got) != width {
			t.Errorf("%q is not %d wide", got, width)
		}
	}
}

// stripped is a text without its styles.
func stripped(s string) string { return regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(s, "") }
