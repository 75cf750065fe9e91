package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/pflag"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
)

// again is a command line of flagctl that works on the same server and
// namespace: flags of this run that chose them are repeated. Command is the
// verb, perhaps with flags; operands may begin with a dash.
func (c *cli) again(command []string, operands ...string) string {
	if slices.ContainsFunc(operands, func(o string) bool { return strings.HasPrefix(o, "-") }) {
		operands = append([]string{"--"}, operands...)
	}
	return quotedWords(slices.Concat([]string{"flagctl"}, c.chosen("server", "namespace", "token-file"), command, operands))
}

// againAnywhere is again for a command that works on no namespace.
func (c *cli) againAnywhere(command []string, operands ...string) string {
	return quotedWords(slices.Concat([]string{"flagctl"}, c.chosen("server", "token-file"), command, operands))
}

// applyAgain is a command line that brings flags back to their definitions.
func (c *cli) applyAgain(definitions map[string]string) string {
	flags := make([]string, 0, len(definitions))
	for _, key := range slices.Sorted(maps.Keys(definitions)) {
		flags = append(flags, jsonText(key)+":"+definitions[key])
	}
	return fmt.Sprintf("%s <<'EOF'\n{\"flags\":{%s}}\nEOF", c.again([]string{"apply", "--force", "-f", "-"}), printableJSON(strings.Join(flags, ",")))
}

// chosen are those of the named flags that this run was given.
func (c *cli) chosen(names ...string) []string {
	var out []string
	c.root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed && slices.Contains(names, f.Name) {
			out = append(out, "--"+f.Name, f.Value.String())
		}
	})
	return out
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// quotedWords is a command line for a POSIX shell. A word with characters that
// do not print is written with their escapes, which bash, zsh and ksh know.
func quotedWords(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		switch {
		case plainWord.MatchString(w):
			quoted[i] = w
		case output.Clean(w) != w:
			quoted[i] = "$'" + strings.ReplaceAll(output.Clean(strings.ReplaceAll(w, `\`, `\\`)), "'", `\'`) + "'"
		default:
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// printableJSON is JSON text with everything that does not print escaped, so
// that it can be shown on a terminal and is still the same JSON.
func printableJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// jsonText is a value as compact JSON, with the characters that people write
// left as they are.
func jsonText(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err)) // only values that always encode come here
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// quotedList is a list of names as a message repeats them.
func quotedList(names []string) string {
	const most = 8
	quoted := make([]string, 0, most)
	for i, n := range names {
		if i == most {
			quoted = append(quoted, fmt.Sprintf("and %d more", len(names)-most))
			break
		}
		quoted = append(quoted, fmt.Sprintf("%q", n))
	}
	return strings.Join(quoted, ", ")
}
