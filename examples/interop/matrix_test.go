package interop

import (
	"fmt"
	"strings"
)

// row is what was found out about an example.
type row struct {
	example
	untested                  string // why
	types, found              string // found is the generation
	same, sameBuckets, pushed string
	shedKeys                  string
	meanwhile, restarted      string
	notes                     []string
}

func (r *row) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

const preface = `# Providers of other languages

` + "`make interop`" + ` writes this page, and CI fails where it is not what a run finds. It runs the examples of each language (` + "`examples/`" + `), with OpenFeature's own SDKs and providers, against one real server, and compares with the native Go provider.

- **Set**: the generation of ` + "`fractional`" + ` that the namespace is set to. **Answers**: the one that the answers are given in. With rpc and ofrep it is the server that evaluates, in the set's; a provider that evaluates in process has its own.
- **Types**: bool, string, int, float and object are served, and a disabled flag yields the default.
- **Same answers, same buckets**: how many of the generated contexts get the native provider's value and variant, from rules without and with ` + "`fractional`" + `. Where the provider's generation is the set's, all of them must.
- **Push**: a change arrives without polling. A kill and a shed arrive as well, or the run fails.
- **Shed 40 %**: the keys that get the degraded variant of a flag whose tier is shed by 40 %. Where the provider's generation is the set's they must be the native provider's; else as many are shed.
- **Server away**: what is answered meanwhile. **Restart**: changes are followed again after it.

To have the same users in the same buckets in every process, choose the namespace's generation for the provider that evaluates in process: ` + "`flagctl namespace create NAME --bucketing v1`" + `.

Python's OFREP provider takes no reason that OpenFeature does not list. It gets ` + "`TARGETING_MATCH`" + ` for ` + "`DEGRADED`" + ` and ` + "`OVERRIDE`" + ` ([ofrep.md](ofrep.md)).

| language | provider | mode | set | answers | types | same answers | same buckets | push | shed 40 % | server away | restart |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
`

// page is the document.
func page(rows []row, generated string) string {
	var b, remarks strings.Builder
	b.WriteString(preface)
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s %s | %s | %s | ", r.language.name, r.provider.name, r.version, r.mode, r.set)
		if r.untested != "" {
			fmt.Fprintf(&b, "untested: %s | | | | | | | |\n", r.untested)
			continue
		}
		b.WriteString(strings.Join([]string{r.found, r.types, r.same, r.sameBuckets, r.pushed, r.shedKeys, r.meanwhile, r.restarted}, " | ") + " |\n")
		if len(r.notes) > 0 {
			fmt.Fprintf(&remarks, "- %s, %s, %s, set %s: %s.\n", r.language.name, r.provider.name, r.mode, r.set, strings.Join(r.notes, "; "))
		}
	}
	if remarks.Len() > 0 {
		b.WriteString("\n## Remarks\n\n" + remarks.String())
	}
	return b.String() + generated
}

// firstDifference is the first line that two texts do not share.
func firstDifference(a, b string) (x, y string) {
	left, right := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(left), len(right)) {
		x, y = "", ""
		if i < len(left) {
			x = left[i]
		}
		if i < len(right) {
			y = right[i]
		}
		if x != y {
			break
		}
	}
	return x, y
}

// tail is the end of a log.
func tail(log string) string { return log[max(0, len(log)-3000):] }
