package flag

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// checker walks a parsed text, keeps the path it is at, and gathers faults.
type checker struct {
	text   string
	env    Env
	base   string   // what the path starts with; "" is $
	path   []string // pieces of the path below it
	faults Faults
	at     []int // offsets of the faults, to sort them by
	lines  []int // offsets of the starts of the lines, filled at the first fault
	full   bool  // no more faults are taken
	warned int   // how many of the faults are warnings
	hints  int   // how many names were looked for among the known ones
	// evaluators and segments are those of the document itself; nil when the text
	// is no document.
	evaluators, segments map[string]bool
}

// Pieces of a path.
var identifier = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

func (c *checker) push(name string) {
	if identifier.MatchString(name) {
		c.path = append(c.path, "."+name)
		return
	}
	c.pushQuoted(name)
}

func (c *checker) pushQuoted(name string) {
	c.path = append(c.path, "["+quote(name)+"]")
}

func (c *checker) pushIndex(i int) {
	c.path = append(c.path, "["+strconv.Itoa(i)+"]")
}

func (c *checker) pop() { c.path = c.path[:len(c.path)-1] }

// where is the present path.
func (c *checker) where() string {
	base := c.base
	if base == "" {
		base = "$"
	}
	return base + strings.Join(c.path, "")
}

// errorf reports an error at an offset of the text, on the present path.
func (c *checker) errorf(at int, hint, format string, args ...any) {
	if c.full {
		return
	}
	c.report(Error, at, hint, fmt.Sprintf(format, args...))
}

func (c *checker) warnf(at int, hint, format string, args ...any) {
	if c.full || c.warned > maxFaults {
		return
	}
	c.report(Warning, at, hint, fmt.Sprintf(format, args...))
}

func (c *checker) report(s Severity, at int, hint, message string) {
	f := Fault{Severity: s, Path: c.where(), Message: message, Hint: hint}
	if s == Warning {
		// Warnings, however many, do not hide an error.
		if c.warned == maxFaults {
			f = Fault{Severity: Warning, Path: "$", Message: fmt.Sprintf("more than %d warnings: the rest is not listed", maxFaults)}
		}
		c.warned++
	} else if len(c.faults)-c.warned == maxFaults {
		c.full = true
		f = Fault{Path: "$", Message: fmt.Sprintf("more than %d faults: the rest is not listed", maxFaults), Hint: "mend these first"}
	}
	f.Line, f.Column = c.place(at)
	c.faults = append(c.faults, f)
	c.at = append(c.at, at)
}

// place turns an offset into line and column.
func (c *checker) place(at int) (line, column int) {
	if c.lines == nil {
		c.lines = []int{0}
		for i := range len(c.text) {
			if c.text[i] == '\n' {
				c.lines = append(c.lines, i+1)
			}
		}
	}
	line = sort.SearchInts(c.lines, at+1)
	return line, 1 + utf8.RuneCountInString(c.text[c.lines[line-1]:min(at, len(c.text))])
}

// sorted are the faults in the order of the text.
func (c *checker) sorted() Faults {
	order := make([]int, len(c.faults))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(i, j int) bool { return c.at[order[i]] < c.at[order[j]] })
	var out Faults
	for _, i := range order {
		out = append(out, c.faults[i])
	}
	return out
}

// parse reads the text as JSON; what is wrong with it as such becomes faults.
func (c *checker) parse() (n jsonNode, p jsonParser, ok bool) {
	n, p = parseJSON(c.text)
	for _, e := range p.soft {
		c.syntax(e, &n)
	}
	if p.hard != nil {
		c.syntax(*p.hard, &n)
		return n, p, false
	}
	return n, p, true
}

// syntax reports a fault of the JSON itself, on the path of the innermost value
// that is known to hold it.
func (c *checker) syntax(e syntaxError, root *jsonNode) {
	depth := len(c.path)
	c.descend(root, e.at)
	c.errorf(e.at, e.hint, "%s", e.message)
	c.path = c.path[:depth]
}

// descend lengthens the path to the innermost value of n that holds an offset.
func (c *checker) descend(n *jsonNode, at int) {
	for i := range n.items {
		item := &n.items[i]
		begin := item.start
		if n.kind == jsonObject {
			begin = item.nameAt
		}
		if at < begin || (item.end != 0 && at >= item.end) {
			continue
		}
		switch {
		case n.kind == jsonArray:
			c.pushIndex(i)
		case len(c.path) == 1 && c.path[0] == ".flags":
			c.pushQuoted(item.name)
		default:
			c.push(item.name)
		}
		c.descend(item, at)
		return
	}
}

// want reports a value that is not of one of the kinds.
func (c *checker) want(n *jsonNode, what string, kinds ...jsonKind) bool {
	if slices.Contains(kinds, n.kind) {
		return true
	}
	c.errorf(n.start, "", "this is %s; %s is wanted", n.kind, what)
	return false
}

// fields calls the function of each known member of an object, on the member's
// path, and reports the unknown members with the nearest known name.
func (c *checker) fields(n *jsonNode, what string, known map[string]func(*jsonNode)) {
	for i := range n.items {
		item := &n.items[i]
		c.push(item.name)
		if check, ok := known[item.name]; ok {
			if check != nil {
				check(item)
			}
		} else if !c.full {
			c.unknown(item.nameAt, "field of "+what, item.name, sortedKeys(known))
		}
		c.pop()
	}
}

// unknown reports a name that is none of the known ones.
func (c *checker) unknown(at int, what, name string, known []string) {
	c.errorf(at, c.suggest(name, func() []string { return known }), "unknown %s %s", what, quote(name))
}

// maxHints bounds the names of one text that are compared with all known ones: the
// work grows with both.
const maxHints = 20

// suggest is a hint like that of the function, while there are few unknown names.
func (c *checker) suggest(name string, known func() []string) string {
	if c.full || c.hints >= maxHints {
		return ""
	}
	c.hints++
	return suggest(name, known())
}

// nearest is the nearest known name, while there are few unknown ones.
func (c *checker) nearest(name string, known func() []string) string {
	if c.full || c.hints >= maxHints {
		return ""
	}
	c.hints++
	return Nearest(name, known())
}

// suggest is a hint that names the nearest known name, or all when there are
// few.
func suggest(name string, known []string) string {
	const few = 12
	switch near := Nearest(name, known); {
	case near != "":
		return "did you mean " + quote(near) + "?"
	case len(known) == 0:
		return "there are none"
	case len(known) <= few:
		return "there are " + strings.Join(known, ", ")
	default:
		return ""
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
