package flag

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write golden files anew")

// difference is a rule that implementations in the field answer differently.
type difference struct {
	what, rule, context string
	why                 string
}

// differences are all that are known. What each implementation answers is not
// written here but asked, and the table in DIFFERENCES.md is made of it.
var differences = []difference{
	{"two lists or objects compared", `{"==":[{"var":"xs"},{"var":"xs"}]}`, `{"xs":[1]}`, "JavaScript compares identity, which data does not have: never equal"},
	{"a list or object sought in a list", `{"in":[{"var":"xs"},[[1]]]}`, `{"xs":[1]}`, "as above: never found"},
	{"a list compared with text", `{"==":[{"var":"xs"},"1,2"]}`, `{"xs":[1,2]}`, "as the reference"},
	{"an empty list compared with text", `{"==":[[],""]}`, ``, "as the reference"},
	{"length of text", `{"var":"s.length"}`, `{"s":"abc"}`, "a property of JavaScript's strings and not of the data: null"},
	{"length of a list", `{"var":"xs.length"}`, `{"xs":[1,2]}`, "as above"},
	{"a letter of text", `{"var":"s.0"}`, `{"s":"abc"}`, "as above"},
	{"what objects inherit", `{"var":"constructor.name"}`, `{}`, "as above; data only"},
	{"index past the end", `{"var":"xs.9"}`, `{"xs":[1]}`, "as the reference"},
	{"path through text", `{"var":["s.k","d"]}`, `{"s":"abc"}`, "as the reference"},
	{"default for a value that is null", `{"var":["z",1]}`, `{"z":null}`, "as flagd: a null counts as absent"},
	{"key with a dot", `{"var":"a.b"}`, `{"a.b":1}`, "as the reference: a dot always descends"},
	{"number as path", `{"var":0}`, `{"0":"zero"}`, "as the reference"},
	{"missing and empty text", `{"missing":["e","n"]}`, `{"e":"","n":0}`, "as flagd: empty text is there"},
	{"missing and null", `{"missing":["z","n"]}`, `{"z":null,"n":0}`, "as the reference: null is missing"},
	{"missing_some with a text", `{"missing_some":[1,"abc"]}`, `{}`, "the reference takes the length of the text; here it is a list of one"},
	{"missing with a list as one of several keys", `{"missing":["x",["n","d"]]}`, `{"n":1}`, "the reference reads it as path and default; here it is a path"},
	{"if with one argument", `{"if":["x"]}`, ``, "as the reference"},
	{"if without else", `{"if":[false,"x"]}`, ``, "as the reference: null"},
	{"truth of an empty object", `{"!!":[{"var":"o"}]}`, `{"o":{}}`, "as flagd: false"},
	{"truth of an empty list", `{"!!":[[]]}`, ``, "as the reference"},
	{`truth of "0"`, `{"!!":["0"]}`, ``, "as the reference"},
	{"! of a list, not bracketed", `{"!":{"var":"xs"}}`, `{"xs":[0,1]}`, "as the reference: the list is the argument"},
	{"! of a list, bracketed", `{"!":[{"var":"xs"}]}`, `{"xs":[0,1]}`, "as the reference"},
	{"and of null", `{"and":[true,null]}`, ``, "as the reference: the first false argument"},
	{"and of numbers", `{"and":[3,2]}`, ``, "as the reference: the last argument"},
	{"or without a true argument", `{"or":[0,""]}`, ``, "as the reference: the last argument"},
	{"text that is no number compared with a number", `{"<":["a",1]}`, ``, "as the reference: not less, not greater, not equal"},
	{"text that is no number equal to a number", `{"==":["a",0]}`, ``, "as the reference"},
	{"null compared with a number", `{"<":[null,1]}`, ``, "as the reference: null counts as 0"},
	{"null equal to 0", `{"==":[null,0]}`, ``, "as the reference: null only equals null"},
	{"false equal to null", `{"==":[false,null]}`, ``, "as the reference: null only equals null"},
	{"null at least 0", `{">=":[null,0]}`, ``, "as the reference: null counts as 0"},
	{"empty text equal to 0", `{"==":["",0]}`, ``, "as the reference"},
	{"hexadecimal text", `{"==":["0x1F",31]}`, ``, "as the reference"},
	{"bool equal to number", `{"==":[true,1]}`, ``, "as the reference"},
	{"bool equal to text", `{"==":[true,"true"]}`, ``, "as the reference: true counts as 1"},
	{"between", `{"<":[1,2,2]}`, ``, "as the reference"},
	{"texts beyond U+FFFF in order", `{"<":["𝒳","～"]}`, ``, "as the reference: by UTF-16 code units"},
	{"+ of null", `{"+":[1,null]}`, ``, "as the reference: parseFloat of null is NaN"},
	{"- of null", `{"-":[1,null]}`, ``, "as the reference: null counts as 0"},
	{"* of null", `{"*":[2,null]}`, ``, "as the reference"},
	{"+ of a missing attribute", `{"+":[1,{"var":"x"}]}`, `{}`, "as the reference"},
	{"+ of text that starts with a number", `{"+":["1a",1]}`, ``, "as the reference: parseFloat reads the start"},
	{"- of text that starts with a number", `{"-":["1a",1]}`, ``, "as the reference: the whole text must be a number"},
	{"+ of bools", `{"+":[true,true]}`, ``, "as the reference"},
	{"* of one argument", `{"*":["2"]}`, ``, "as flagd: made a number"},
	{"+ of empty text", `{"+":["",1]}`, ``, "as flagd: counts as 0"},
	{"division by zero", `{"/":[1,0]}`, ``, "as the reference: Infinity, which names no variant"},
	{"% by zero", `{"%":[1,0]}`, ``, "as the reference: NaN"},
	{"% of a negative number", `{"%":[-5,3]}`, ``, "as the reference: the sign of the dividend"},
	{"max of nothing", `{"max":[]}`, ``, "as the reference: −Infinity"},
	{"max of text", `{"max":["3",2]}`, ``, "as the reference"},
	{"max of a list, not bracketed", `{"max":{"var":"xs"}}`, `{"xs":[1,2]}`, "as flagd: the list holds the arguments"},
	{"+ of a list, not bracketed", `{"+":{"var":"xs"}}`, `{"xs":[1,2]}`, "as flagd: the list holds the arguments; so with - * / % min cat substr and flagd's own"},
	{"cat of a list, not bracketed", `{"cat":{"var":"xs"}}`, `{"xs":[1,2]}`, "as flagd"},
	{"sem_ver of a list, not bracketed", `{"sem_ver":{"var":"xs"}}`, `{"xs":["1.2.3","=","v1.2.3"]}`, "as flagd"},
	{"== of a list, not bracketed", `{"==":{"var":"xs"}}`, `{"xs":[1,1]}`, "as the reference: the list is the first argument; so with < in if and or ! !!; refused when it is loaded"},
	{"cat of a bool", `{"cat":["a",true]}`, ``, "as the reference"},
	{"cat of null", `{"cat":["a",null,"b"]}`, ``, "as the reference: null is empty"},
	{"cat of a missing attribute", `{"cat":["a",{"var":"x"},"b"]}`, `{}`, "as the reference"},
	{"cat with space at the end", `{"cat":["a"," "]}`, ``, "as the reference; the Go library trims, so a targeting key that ends in space is shed otherwise by flagd"},
	{"cat of a list", `{"cat":["a",{"var":"xs"}]}`, `{"xs":[1,[2,3]]}`, "as the reference: joined by commas"},
	{"cat of a large number", `{"cat":[1e21]}`, ``, "as the reference"},
	{`"" in ""`, `{"in":["",""]}`, ``, "as the reference: nothing is in nothing"},
	{"number in text", `{"in":[2,"123"]}`, ``, "as the reference"},
	{"null in text", `{"in":[null,"null"]}`, ``, "as the reference"},
	{"null in a list", `{"in":[null,[1,null]]}`, ``, "as the reference"},
	{"number in a list of texts", `{"in":[1,["1"]]}`, ``, "as the reference: strictly equal"},
	{"in a number", `{"in":[1,123]}`, ``, "as the reference"},
	{"substr from beyond the end", `{"substr":["abc",5]}`, ``, "as the reference"},
	{"substr from before the start", `{"substr":["abc",-5]}`, ``, "as the reference"},
	{"substr cut by more than there is", `{"substr":["abc",1,-5]}`, ``, "as the reference"},
	{"substr of null", `{"substr":[null,0,3]}`, ``, `as the reference: the text "null"`},
	{"substr of a number", `{"substr":[12345,1,2]}`, ``, "as the reference"},
	{"substr with a negative length as text", `{"substr":["abc",0,"-1"]}`, ``, "the reference glues the text to the length; here it is a number"},
	{"substr beyond U+FFFF", `{"substr":["𝒳yz",0,2]}`, ``, "as the reference: counts UTF-16 code units"},
	{"substr of half a character", `{"substr":["𝒳yz",1]}`, ``, "half a character is U+FFFD: Go's text is UTF-8"},
	{"map over null", `{"map":[{"var":"x"},1]}`, `{}`, "as the reference"},
	{"filter over text", `{"filter":[{"var":"s"},true]}`, `{"s":"abc"}`, "as the reference"},
	{"reduce over null", `{"reduce":[{"var":"x"},{"+":[{"var":"current"},{"var":"accumulator"}]},7]}`, `{}`, "as the reference: the initial value"},
	{"reduce without an initial value", `{"reduce":[[1,2],{"var":"current"}]}`, ``, "as the reference: it starts with null"},
	{"all with a constant test", `{"all":[[1,2],true]}`, ``, "as the reference"},
	{"all with a test that is no bool", `{"all":[[1,2],{"var":""}]}`, ``, "as the reference"},
	{"all over nothing", `{"all":[[],true]}`, ``, "as the reference: false"},
	{"all over null", `{"all":[{"var":"x"},true]}`, `{}`, "as the reference"},
	{"some with a constant test", `{"some":[[1],"x"]}`, ``, "as the reference"},
	{"none with a constant test", `{"none":[[1],0]}`, ``, "as the reference"},
	{"none over null", `{"none":[{"var":"x"},true]}`, `{}`, "as the reference"},
	{"outer data inside a list operation", `{"filter":[[1,2],{"==":[{"var":""},{"var":"n"}]}]}`, `{"n":1}`, "as the reference: only the element is seen"},
	{"fractional by text that is not ASCII", `{"fractional":[{"var":"city"},["a",1],["b",1],["c",1],["d",1],["e",1],["f",1],["g",1]]}`, `{"city":"Málaga","targetingKey":"k"}`, "flagd's Go hashes UTF-8, its JavaScript UTF-16 code units; here UTF-8"},
	{"fractional by null", `{"fractional":[{"var":"x"},["a",1],["b",1]]}`, `{"targetingKey":"k"}`, "as flagd's Go: by flag key and targeting key"},
	{"fractional with weight null", `{"fractional":[["a",null],["b",0]]}`, `{"targetingKey":"k"}`, "as flagd's Go: 1"},
	{"fractional with a weight that is not whole", `{"fractional":[["a",1.5],["b",1]]}`, `{"targetingKey":"k"}`, "null; refused when it is loaded"},
	{"fractional with a negative weight", `{"fractional":[["a",-1],["b",1]]}`, `{"targetingKey":"k"}`, "counts as 0; a warning when it is loaded"},
	{"fractional without a targeting key", `{"fractional":[["a",1]]}`, `{}`, "null"},
	{"starts_with of a number", `{"starts_with":[{"var":"n"},"1"]}`, `{"n":12}`, "null: not both are text"},
	{"sem_ver of four parts", `{"sem_ver":[{"var":"v"},"=","1.2.3"]}`, `{"v":"1.2.3.4"}`, "null"},
	{"sem_ver of a partial version", `{"sem_ver":[{"var":"v"},"=","1.2.0"]}`, `{"v":"V1.2"}`, "missing parts are 0"},
	{"sem_ver of a number", `{"sem_ver":[{"var":"v"},"=","1.5.0"]}`, `{"v":1.5}`, "its text"},
	{"sem_ver with build metadata", `{"sem_ver":["1.2.3+a","=","1.2.3+b"]}`, ``, "ignored, as semver says"},
	{"sem_ver with space around", `{"sem_ver":[{"var":"v"},"=","1.2.3"]}`, `{"v":" 1.2.3"}`, "as flagd's Go: no version"},
	{"sem_ver with a leading zero", `{"sem_ver":[{"var":"v"},"=","1.0.0"]}`, `{"v":"01"}`, "as flagd's Go: no version"},
}

// flagdOperators are those the reference and the Go library do not have.
var flagdOperators = []string{"fractional", "starts_with", "ends_with", "sem_ver"}

func isFlagd(rule string) bool {
	for _, name := range flagdOperators {
		if strings.HasPrefix(rule, `{"`+name) {
			return true
		}
	}
	return false
}

const absent = "–"

// readable writes a lossless value in one line.
func readable(v any) string {
	switch v := v.(type) {
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = readable(v[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		if n, ok := v["n"].(string); ok {
			return n
		}
		if s, ok := v["s"]; ok {
			return encode(s)
		}
		return "an object"
	default:
		return encode(v)
	}
}

// readableGo writes what the Go library returned.
func readableGo(v any) string {
	if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return fmt.Sprint(f)
	}
	if _, ok := v.(map[string]any); ok {
		return "an object"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// TestDifferences asks every implementation for every known difference, and
// compares the answers with the table in DIFFERENCES.md.
func TestDifferences(t *testing.T) {
	var requests []peerRequest
	for _, d := range differences {
		data := contextOf(t, d.context)
		if data == nil {
			data = map[string]any{}
		}
		requests = append(requests, peerRequest{core: decode(t, d.rule), data: data}, peerRequest{rule: decode(t, d.rule), data: data})
	}
	answers := askPeers(t, requests)
	var b strings.Builder
	b.WriteString("| case | rule, context | Plimsoll | reference | Go library | flagd-core | why |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for i, d := range differences {
		data := requests[2*i].data
		got, err := evalRule(d.rule, data, V2)
		if err != nil {
			t.Fatalf("%s: %v", d.what, err)
		}
		ours := readable(lossless(got, data))
		core, reference, library := answerText(answers[2*i]), answerText(answers[2*i+1]), libraryText(t, d.rule, data)
		if isFlagd(d.rule) {
			reference, library = absent, absent
		}
		if strings.HasPrefix(d.why, "as the reference") && ours != reference {
			t.Errorf("%s: got %s, the reference says %s", d.what, ours, reference)
		}
		if strings.HasPrefix(d.why, "as flagd:") && (ours != core || (library != absent && ours != library)) {
			t.Errorf("%s: got %s, flagd's implementations say %s and %s", d.what, ours, library, core)
		}
		place := "`" + d.rule + "`"
		if d.context != "" {
			place += ", `" + d.context + "`"
		}
		row := []string{d.what, place, "`" + ours + "`", "`" + reference + "`", "`" + library + "`", "`" + core + "`", d.why}
		for j := range row {
			row[j] = strings.ReplaceAll(row[j], "`"+absent+"`", absent)
			row[j] = strings.ReplaceAll(row[j], "|", `\|`)
		}
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
	compareTable(t, b.String())
}

func answerText(a peerAnswer) string {
	if a.Error != "" {
		return "fails"
	}
	return readable(a.Value)
}

func libraryText(t *testing.T, rule string, data map[string]any) string {
	if isFlagd(rule) {
		return absent
	}
	v, err := askOracle(decode(t, rule), data)
	if err != nil {
		if strings.HasPrefix(err.Error(), "it panics") {
			return "panics"
		}
		return "fails"
	}
	return readableGo(v)
}

// compareTable compares the table with the one between the marks in
// DIFFERENCES.md, or writes it there.
func compareTable(t *testing.T, table string) {
	t.Helper()
	const file, begin, end = "DIFFERENCES.md", "<!-- table begins -->\n", "<!-- table ends -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	have, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has lost its marks", file)
	}
	if *update {
		if err := os.WriteFile(file, []byte(head+begin+table+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have != table {
		t.Errorf("the table in %s does not say what is the case; run go test -run TestDifferences -update, and read what changed.\nwant:\n%s", file, table)
	}
}
