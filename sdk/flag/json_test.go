package flag

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestJSONFaults(t *testing.T) {
	for _, c := range []struct {
		text    string
		at      int
		message string
	}{
		{``, 0, "ends where a value should be"},
		{`{"a":1`, 6, `before the closing '}'`},
		{`[1,2`, 4, `before the closing ']'`},
		{`[1 2]`, 3, "a comma or the closing ']' should be here"},
		{`[1,]`, 2, "comma before the closing ']'"},
		{`{"a":1,}`, 6, "comma before the closing '}'"},
		{`{a:1}`, 1, "name of a member should be here"},
		{`{"a" 1}`, 5, `colon should be here, after the name "a"`},
		{`{"a":}`, 5, "a value cannot start with '}'"},
		{`1 2`, 2, "text after the end"},
		{`01`, 0, "no number"}, {`1.`, 0, "no number"}, {`-`, 0, "no number"}, {`1e`, 0, "no number"}, {`+1`, 0, "cannot start with '+'"},
		{`tru`, 0, `unknown word "tru"`}, {`NaN`, 0, `unknown word "NaN"`}, {`'a'`, 0, "cannot start with '\\''"},
		{`"abc`, 0, "no closing quote"}, {`"a\`, 2, "inside an escape"}, {`"a\x"`, 2, "unknown escape"}, {`"\u12"`, 1, "unknown escape"},
		{"\"a\nb\"", 2, "control character"}, {"\"\\n\t\"", 3, "control character"},
		{"\ufeff{}", 0, "byte order mark"}, {"[\xff]", 1, "not valid UTF-8"},
		{strings.Repeat("[", 10_000), maxNesting, "deeper than 512"},
	} {
		_, p := parseJSON(c.text)
		name := c.text[:min(len(c.text), 20)]
		if p.hard == nil {
			t.Errorf("%q: no fault", name)
			continue
		}
		if p.hard.at != c.at || !strings.Contains(p.hard.message, c.message) {
			t.Errorf("%q: at %d %q, want at %d %q", name, p.hard.at, p.hard.message, c.at, c.message)
		}
	}
}

func TestJSONSoftFaults(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":1,"a":2}`:       `7 the name "a" is there twice`,
		"\"\xff\"":            "0 this string is not valid UTF-8",
		`"\ud800x"`:           "1 this escape is half of a surrogate pair",
		`"\udc00\ud800"`:      "1 this escape is half of a surrogate pair",
		manyMembers(100, "7"): `791 the name "k7" is there twice`,
	} {
		_, p := parseJSON(text)
		if p.hard != nil || len(p.soft) == 0 {
			t.Errorf("%.40q: hard %v, soft %v", text, p.hard, p.soft)
			continue
		}
		if got := fmt.Sprint(p.soft[0].at, " ", p.soft[0].message); got != want {
			t.Errorf("%.40q: %s, want %s", text, got, want)
		}
	}
}

// manyMembers is an object of n members and one more that has the name of one of
// them.
func manyMembers(n int, again string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		fmt.Fprintf(&b, `"k%d":0,`, i)
	}
	return b.String() + `"k` + again + `":0}`
}

// data is the tree as encoding/json would decode it.
func (n *jsonNode) data() any {
	var c checker
	return c.data(n)
}

// FuzzJSON: what the parser takes, encoding/json takes too and understands the
// same; what encoding/json takes, the parser takes unless it is one of the things
// it is stricter about. Compacting keeps the meaning.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e3,-0,"x\u00e9\ud83d\ude00\n",true,false,null]}`, ` [ ] `, `{"a":{"b":{}}}`, `"\ud800"`, `1e400`, "\"\xff\"", `{"a":1,"a":2}`, `[1,]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tree, p := parseJSON(text)
		valid := json.Valid([]byte(text))
		if p.hard == nil && !valid {
			t.Fatalf("%q is taken, but is no JSON", text)
		}
		if p.hard != nil {
			if valid && !strings.Contains(p.hard.message, "deeper") {
				t.Fatalf("%q is JSON, but is refused: %s", text, p.hard.message)
			}
			return
		}
		if len(p.soft) > 0 {
			return
		}
		var want, again any
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			return // a number that no double holds
		}
		if got := tree.data(); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q is %#v, want %#v", text, got, want)
		}
		if err := json.Unmarshal([]byte(compactJSON(text)), &again); err != nil || !reflect.DeepEqual(again, want) {
			t.Fatalf("%q compacted is %q, which is %#v (%v)", text, compactJSON(text), again, err)
		}
		if s, ok := want.(string); ok {
			if err := json.Unmarshal(appendQuoted(nil, s), &again); err != nil || again != want {
				t.Fatalf("%q quoted is %s", s, appendQuoted(nil, s))
			}
		}
	})
}
