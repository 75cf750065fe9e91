package interop

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// language is one of the examples, with the providers it has.
type language struct {
	name, folder string
	needs        []string   // commands
	install      [][]string // steps, run in the folder
	env          []string   // of the steps, beyond this process's
	command      []string
	manifest     string // where the providers' versions stand
	providers    []provider
}

type provider struct {
	name  string
	modes []string
	// own is the generation of fractional in which it evaluates in process.
	own string
	// nested says, by mode, what becomes of an object within an object, if it is
	// not served as it is.
	nested map[string]string
	// remarks are what else there is to know, by mode.
	remarks map[string]string
}

// Where installations go, seen from an example's folder.
const (
	pythonVenv = "../../.build/interop/python"
	protocVenv = "../../.build/interop/protoc"
	rustTarget = "../../.build/interop/rust"
)

var languages = []language{
	{
		name: "Node", folder: "node", needs: []string{"node", "npm"}, manifest: "package.json",
		install: [][]string{{"npm", "ci", "--ignore-scripts"}},
		command: []string{"node", "app.js", "--json"},
		providers: []provider{
			{name: "@openfeature/flagd-provider", modes: []string{"rpc", inProcess}, own: "v2"},
			{name: "@openfeature/ofrep-provider", modes: []string{"ofrep"}},
		},
	},
	{
		name: "Browser", folder: "browser", needs: []string{"node", "npm", chromium()}, manifest: "package.json",
		install:   [][]string{{"npm", "ci", "--ignore-scripts"}},
		command:   []string{"node", "app.js", "--json"},
		providers: []provider{{name: "@openfeature/ofrep-web-provider", modes: []string{"ofrep"}}},
	},
	{
		name: "Python", folder: "python", needs: []string{"python3"}, manifest: "requirements.txt",
		install: [][]string{
			{"python3", "-m", "venv", pythonVenv},
			{pythonVenv + "/bin/pip", "install", "--quiet", "-r", "requirements.txt"},
		},
		command: []string{pythonVenv + "/bin/python", "app.py", "--json"},
		providers: []provider{
			{name: "openfeature-provider-flagd", modes: []string{"rpc", inProcess}, own: "v3"},
			{name: "openfeature-provider-ofrep", modes: []string{"ofrep"}},
		},
	},
	{
		name: "Java", folder: "java", needs: []string{"java", "mvn"}, manifest: "pom.xml",
		install: [][]string{{
			"mvn", "--batch-mode", "--quiet", "compile", "dependency:copy-dependencies", "-DoutputDirectory=target/lib",
		}},
		command: []string{"java", "-cp", "target/classes:target/lib/*", "dev.plimsoll.example.App", "--json"},
		providers: []provider{
			{name: "flagd", modes: []string{"rpc", inProcess}, own: "v1"},
			{name: "ofrep", modes: []string{"ofrep"}},
		},
	},
	{
		name: "Rust", folder: "rust", needs: []string{"cargo", "cc", "python3"}, manifest: "Cargo.toml",
		// The provider's build needs protoc, which PyPI has for every platform.
		install: [][]string{
			{"python3", "-m", "venv", protocVenv},
			{protocVenv + "/bin/pip", "install", "--quiet", "--no-deps", "grpcio-tools==1.85.1"},
			{"sh", "-c", `printf '#!/bin/sh\nexec "$(dirname "$0")/python" -m grpc_tools.protoc "$@"\n' >"$PROTOC" && chmod +x "$PROTOC"`},
			{"cargo", "build", "--locked", "--quiet", "--target-dir", rustTarget},
		},
		env:     []string{"PROTOC=" + work + "/protoc/bin/protoc"},
		command: []string{rustTarget + "/debug/plimsoll-example", "--json"},
		providers: []provider{{
			name: "open-feature-flagd", modes: []string{"rpc", inProcess, "ofrep"}, own: "v3",
			nested:  map[string]string{"rpc": "becomes text, in Rust's notation", inProcess: "becomes text, in JSON"},
			remarks: map[string]string{"rpc": "its cache keeps an answer with reason STATIC for a minute, whatever changes meanwhile; the example turns it off"},
		}},
	},
}

const inProcess = "in-process"

// chromium is the command that the browser's example starts.
func chromium() string {
	if path := os.Getenv("CHROMIUM"); path != "" {
		return path
	}
	return "chromium"
}

// ours is the generation that a namespace has unless it is told otherwise.
const ours = "v2"

// example is a language's app with one provider in one mode, and the set that it
// is asked about, by its generation.
type example struct {
	language
	provider
	version, mode, set string
}

// examples are those of each provider in each mode; one that evaluates in a
// generation of its own is asked about a set of that one as well.
func (l language) examples() []example {
	var out []example
	text, _ := os.ReadFile(root + "/examples/" + l.folder + "/" + l.manifest)
	for _, p := range l.providers {
		version := "?"
		pattern := regexp.MustCompile(`(?s)\b` + regexp.QuoteMeta(strings.TrimPrefix(p.name, "@")) + `\b[^0-9]{1,40}?(\d+\.\d+\.\d+)`)
		if found := pattern.FindSubmatch(text); found != nil {
			version = string(found[1])
		}
		for _, mode := range p.modes {
			out = append(out, example{l, p, version, mode, ours})
			if mode == inProcess && p.own != ours {
				out = append(out, example{l, p, version, mode, p.own})
			}
		}
	}
	return out
}

// generation is the one that the answers are given in: the set's where the server
// evaluates.
func (e example) generation() string {
	if e.mode == inProcess {
		return e.own
	}
	return e.set
}

// namespaceOf is where the set of a generation is kept.
func namespaceOf(set string) string {
	if set == ours {
		return "default"
	}
	return "bucketing-" + set
}

// missing is the first command that the machine lacks; "" for none.
func (l language) missing() string {
	for _, name := range l.needs {
		if _, err := exec.LookPath(name); err != nil {
			return name
		}
	}
	return ""
}
