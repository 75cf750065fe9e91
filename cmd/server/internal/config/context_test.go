package config

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// What is added to the context of flagd's clients can be given in every way that
// settings can: repeated flags, one variable, a list in the file.
func TestContextSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.yaml")
	if err := os.WriteFile(file, []byte("context-value: [region=eu, stage=prod]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"region": "eu", "stage": "prod"}
	for _, tc := range []struct {
		name string
		args []string
		env  string
	}{
		{"flags", []string{"--context-value", "region=eu", "--context-value", "stage=prod"}, ""},
		{"environment", nil, "region=eu,stage=prod"},
		{"file", []string{"--config", file}, ""},
		{"flags win", []string{"--context-value", "region=eu,stage=prod"}, "region=us"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c Config
			fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
			c.Bind(fs)
			if err := fs.Parse(tc.args); err != nil {
				t.Fatal(err)
			}
			lookup := func(name string) (string, bool) {
				return tc.env, name == "PLIMSOLL_CONTEXT_VALUE" && tc.env != ""
			}
			if err := c.Complete(fs, lookup); err != nil || !maps.Equal(c.ContextValues, want) {
				t.Errorf("%v, %v", c.ContextValues, err)
			}
		})
	}
	for value, want := range map[string]string{"=x": "has no key"} {
		var c Config
		fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
		c.Bind(fs)
		if err := fs.Parse([]string{"--context-value", value}); err != nil {
			t.Fatal(err)
		}
		if err := c.Complete(fs, func(string) (string, bool) { return "", false }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// A request with both of two headers for one key would mean now one, now the other.
func TestTwoHeadersForOneKeyAreRefused(t *testing.T) {
	for value, want := range map[string]string{
		"X-A=who,X-B=who": `X-A and X-B both give "who"`, "X-A=who,x-a=who": `both give "who"`, "X-A=who,X-B=other": "", "X-A=": "is not a header and a key",
	} {
		var c Config
		fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
		c.Bind(fs)
		if err := fs.Parse([]string{"--context-from-header", value}); err != nil {
			t.Fatal(err)
		}
		err := c.Complete(fs, func(string) (string, bool) { return "", false })
		if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", value, err)
		}
	}
	var c Config
	fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
	c.Bind(fs)
	if err := fs.Parse([]string{"--context-value", `"list=a,b"`}); err != nil || c.ContextValues["list"] != "a,b" {
		t.Errorf("a value with a comma: %v, %v", c.ContextValues, err)
	}
}
