package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The OpenFeature command line, at the version that is tried.
const (
	cliModule  = "github.com/open-feature/cli"
	cliVersion = "v0.3.16"
)

// installCLI builds it out of its own module, so that nothing of it gets into
// ours.
func installCLI(t *testing.T) *installation {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(out)), filepath.FromSlash(cliModule)+"@"+cliVersion)
	return install(t, t.TempDir(), []string{"GOWORK=off"},
		[]string{"go", "mod", "download", cliModule + "@" + cliVersion},
		[]string{"go", "build", "-C", source, "-o", work + "/", "./cmd/openfeature"})
}

// accessors is a language that typed accessors are generated for.
type accessors struct {
	name, generator string
	args            []string
	needs           []string // the examples whose installation the check needs
	plain           bool     // only of flags that are no objects
	check           []string
	checked         string // in words
}

var generated = []accessors{
	{
		name: "Go", generator: "go", args: []string{"--package-name", "main"},
		checked: "compiled and run: each type is what the native provider answers",
	},
	{
		name: "Node", generator: "nodejs", needs: []string{"node", "browser"},
		check: []string{
			root + "/examples/browser/node_modules/.bin/esbuild", "openfeature.ts",
			"--bundle", "--platform=node", "--outfile=bundle.js", "--log-level=error",
		},
		checked: "bundled with its SDK",
	},
	{
		name: "Python", generator: "python", needs: []string{"python"},
		check:   []string{work + "/python/bin/python", "-I", "-c", loadAccessors},
		checked: "loaded with its SDK",
	},
	{
		name: "Java", generator: "java", needs: []string{"java"}, plain: true,
		check:   []string{"javac", "-d", "classes", "-cp", root + "/examples/java/target/lib/*", "OpenFeature.java"},
		checked: "compiled, from flags that are no objects: for those it generates what does not compile",
	},
}

// loadAccessors loads the generated module by its path, since its name is the
// SDK's own.
const loadAccessors = `
import importlib.util
spec = importlib.util.spec_from_file_location("accessors", "openfeature.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.GeneratedClient
`

// useAccessors is the program by which Go's accessors are called.
const useAccessors = `package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/plimsoll-dev/plimsoll/sdk"
)

func main() {
	provider, err := sdk.NewProvider(sdk.WithEndpoints("http://" + os.Getenv("PLIMSOLL_SERVER")))
	if err != nil {
		log.Fatal(err)
	}
	ctx, who := context.Background(), openfeature.NewEvaluationContext("someone", nil)
	if err := openfeature.SetProviderWithContextAndWait(ctx, provider); err != nil {
		log.Fatal(err)
	}
	defer openfeature.Shutdown()
	answers := map[string]any{}
%s	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		log.Fatal(err)
	}
}
`

// runCLI has the command line pull the manifest from the server and generate
// accessors, and returns what the page tells of it.
func runCLI(t *testing.T, s *server, n native, i *installation, installed map[string]*installation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## Typed accessors\n\nThe OpenFeature command line (%s %s) pulls the manifest from the server and generates from it.\n\n| language | accessors |\n| --- | --- |\n", cliModule, cliVersion)
	if err := i.wait(); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(work, "accessors")
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cli := filepath.Join(work, "openfeature")
	if err := command(ctx, folder, nil, cli, "pull", "--no-prompt", "--provider-url", "http://"+s.address); err != nil {
		t.Fatal(err)
	}
	for _, g := range generated {
		t.Run(g.generator, func(t *testing.T) {
			for _, other := range g.needs {
				if i := installed[other]; i == nil || i.wait() != nil {
					fmt.Fprintf(&b, "| %s | untested: there is no SDK of %s here |\n", g.name, g.name)
					t.Skipf("examples/%s is not installed", other)
				}
			}
			manifest := "flags.json"
			if g.plain {
				manifest = withoutObjects(t, folder, manifest)
			}
			if err := command(ctx, folder, nil, append([]string{cli, "generate", g.generator, "--manifest", manifest, "--output", g.generator}, g.args...)...); err != nil {
				t.Fatal(err)
			}
			if g.generator == "go" {
				useInGo(t, filepath.Join(folder, "go"), s, n)
			} else if err := command(ctx, filepath.Join(folder, g.generator), []string{"NODE_PATH=" + root + "/examples/node/node_modules"}, g.check...); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "| %s | %s |\n", g.name, g.checked)
		})
	}
	return b.String()
}

// withoutObjects writes a manifest without the flags whose values are objects.
func withoutObjects(t *testing.T, folder, name string) string {
	t.Helper()
	var manifest struct {
		Flags map[string]map[string]any `json:"flags"`
	}
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(manifest.Flags, func(_ string, f map[string]any) bool { return f["flagType"] == "object" })
	if text, err = json.Marshal(manifest); err != nil {
		t.Fatal(err)
	}
	name = "plain.json"
	if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// useInGo calls the accessors of all flags without rules.
func useInGo(t *testing.T, folder string, s *server, n native) {
	t.Helper()
	var calls strings.Builder
	wanted := map[string]any{}
	for _, q := range plainQuestions() {
		name := ""
		for word := range strings.SplitSeq(q.Flag, "-") {
			name += strings.ToUpper(word[:1]) + word[1:]
		}
		fmt.Fprintf(&calls, "\tanswers[%q] = %s.Value(ctx, who)\n", q.Flag, name)
		wanted[q.Flag] = n.ask(q).Value
	}
	wanted["is-disabled"] = true // an accessor's default is the flag's default variant
	if err := os.WriteFile(filepath.Join(folder, "main.go"), fmt.Appendf(nil, useAccessors, calls.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", ".")
	cmd.Dir, cmd.Env = folder, append(os.Environ(), "PLIMSOLL_SERVER="+s.address)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the program that calls the accessors: %v\n%s", err, log.String())
	}
	var answers map[string]any
	if err := json.Unmarshal(out, &answers); err != nil {
		t.Fatalf("the program that calls the accessors: %v\n%s", err, out)
	}
	if !reflect.DeepEqual(answers, wanted) {
		t.Errorf("the accessors say %v, natively %v", answers, wanted)
	}
}
