package main

import (
	"bytes"
	"errors"
	"flag"
	"strings"
	"testing"
)

// TestParse: what is asked for is given, what is wrong is refused, and both are
// told how it is meant.
func TestParse(t *testing.T) {
	t.Setenv("PLIMSOLL_SERVER", "http://flags.test:8013")
	for _, tt := range []struct {
		args        string
		want        config
		said        string // how what is printed begins
		help, fails bool
	}{
		{args: "", want: config{server: "http://flags.test:8013"}},
		{args: "--server http://127.0.0.1:9 --cache /tmp/flags", want: config{"http://127.0.0.1:9", "/tmp/flags"}},
		{args: "--help", fails: true, help: true, said: "Usage of hello:"},
		{args: "--sever x", fails: true, said: "flag provided but not defined: -sever\nUsage of hello:"},
		{args: "http://127.0.0.1:9", fails: true, said: "hello takes no arguments, and got \"http://127.0.0.1:9\"\nUsage of hello:"},
	} {
		var out bytes.Buffer
		cfg, err := parse(strings.Fields(tt.args), &out)
		if cfg != tt.want || (err != nil) != tt.fails || errors.Is(err, flag.ErrHelp) != tt.help {
			t.Errorf("%q: %+v, %v", tt.args, cfg, err)
		}
		if !strings.HasPrefix(out.String(), tt.said) || (tt.said == "") != (out.Len() == 0) {
			t.Errorf("%q: it says %q, want %q", tt.args, &out, tt.said)
		}
	}
}
