package interop

import (
	"fmt"
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
	command      []string
	manifest     string // where the providers' versions stand
	providers    []provider
}

type provider struct {
	name  string
	modes []string
}

var languages = []language{
	{
		name: "Node", folder: "node", needs: []string{"node", "npm"}, manifest: "package.json",
		install: [][]string{{"npm", "ci", "--ignore-scripts"}},
		command: []string{"node", "app.js", "--json"},
		providers: []provider{
			{"@openfeature/flagd-provider", []string{"rpc", "in-process"}},
			{"@openfeature/ofrep-provider", []string{"ofrep"}},
		},
	},
	{
		name: "Browser", folder: "browser", needs: []string{"node", "npm", "chromium"}, manifest: "package.json",
		install:   [][]string{{"npm", "ci", "--ignore-scripts"}},
		command:   []string{"node", "app.js", "--json"},
		providers: []provider{{"@openfeature/ofrep-web-provider", []string{"ofrep"}}},
	},
	{
		name: "Python", folder: "python", needs: []string{"python3"}, manifest: "requirements.txt",
		install: [][]string{
			{"python3", "-m", "venv", "../../.build/interop/python"},
			{"../../.build/interop/python/bin/pip", "install", "--quiet", "-r", "requirements.txt"},
		},
		command: []string{"../../.build/interop/python/bin/python", "app.py", "--json"},
		providers: []provider{
			{"openfeature-provider-flagd", []string{"rpc", "in-process"}},
			{"openfeature-provider-ofrep", []string{"ofrep"}},
		},
	},
	{
		name: "Java", folder: "java", needs: []string{"java", "mvn"}, manifest: "pom.xml",
		install: [][]string{{
			"mvn", "--batch-mode", "--quiet", "compile", "dependency:copy-dependencies", "-DoutputDirectory=target/lib",
		}},
		command: []string{"java", "-cp", "target/classes:target/lib/*", "dev.plimsoll.example.App", "--json"},
		providers: []provider{
			{"flagd", []string{"rpc", "in-process"}},
			{"ofrep", []string{"ofrep"}},
		},
	},
	{
		name: "Rust", folder: "rust", needs: []string{"cargo", "protoc"}, manifest: "Cargo.toml",
		install:   [][]string{{"cargo", "build", "--locked", "--quiet", "--target-dir", "../../.build/interop/rust"}},
		command:   []string{"../../.build/interop/rust/debug/plimsoll-example", "--json"},
		providers: []provider{{"open-feature-flagd", []string{"rpc", "in-process", "ofrep"}}},
	},
}

// example is a language's app with one provider in one mode.
type example struct {
	language
	provider, version, mode string
}

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
			out = append(out, example{l, p.name, version, mode})
		}
	}
	return out
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

// row is what was found out about an example.
type row struct {
	example
	untested                            string // why
	typesHold, generation               string
	same, sameBuckets, pushed, shedKeys string
	meanwhile, restarted                string
	notes                               []string
}

func (r *row) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func mark(holds bool) string {
	if holds {
		return "all"
	}
	return "no"
}

const preface = `# Providers of other languages

` + "`make interop`" + ` writes this page. It runs the examples of each language (` + "`examples/`" + `), with OpenFeature's own SDKs and providers, against one real server, and compares with the native Go provider.

- **Types**: bool, string, int, float and object are served, and a disabled flag yields the default.
- **Generation**: the generation of ` + "`fractional`" + ` in which the answers are given; the server's set is v2. With rpc and ofrep it is the server that evaluates.
- **Same answers, same buckets**: how many of the generated contexts get the native provider's value and variant, from rules without and with ` + "`fractional`" + `.
- **Push**: a change arrives without polling. A kill and a shed arrive as well, or the run fails.
- **Shed 40 %**: the share of keys that get the degraded variant of a flag whose tier is shed by 40 %, and whether they are the native provider's.
- **Server away**: what is answered meanwhile. **Restart**: changes are followed again after it.

| language | provider | mode | generation | types | same answers | same buckets | push | shed 40 % | server away | restart |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
`

// writeMatrix writes the document.
func writeMatrix(path string, rows []row) error {
	var b strings.Builder
	b.WriteString(preface)
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s %s | %s | ", r.name, r.provider, r.version, r.mode)
		if r.untested != "" {
			fmt.Fprintf(&b, "untested: %s | | | | | | | |\n", r.untested)
			continue
		}
		b.WriteString(strings.Join([]string{r.generation, r.typesHold, r.same, r.sameBuckets, r.pushed, r.shedKeys, r.meanwhile, r.restarted}, " | ") + " |\n")
	}
	for i, r := range rows {
		if len(r.notes) == 0 {
			continue
		}
		if i == 0 || !strings.Contains(b.String(), "\n## Remarks\n") {
			b.WriteString("\n## Remarks\n\n")
		}
		fmt.Fprintf(&b, "- %s, %s, %s: %s.\n", r.name, r.provider, r.mode, strings.Join(r.notes, "; "))
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// tail is the end of a log.
func tail(log string) string { return log[max(0, len(log)-3000):] }

// total is how many rows the matrix has.
func total() int {
	n := 0
	for _, l := range languages {
		n += len(l.examples())
	}
	return n
}
