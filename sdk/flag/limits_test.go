package flag

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// bounded fails a test whose work takes unreasonably long: the bound is wide, it
// is there to tell bounded from unbounded.
func bounded(t *testing.T, what string, work func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s does not come to an end", what)
	}
}

const flagHead = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":`

// Hostile texts end in an error, in bounded time.
func TestHostileRules(t *testing.T) {
	nested := func(open, inner, closing string, n int) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(closing, n)
	}
	for what, c := range map[string]struct{ targeting, want string }{
		"10 000 levels of !":         {nested(`{"!":`, "1", "}", 10_000), "nested deeper than 512 levels"},
		"10 000 levels of lists":     {nested(`[`, "", "]", 10_000), "nested deeper than 512 levels"},
		"10 000 levels, never ended": {strings.Repeat(`{"!":[`, 10_000), "nested deeper than 512 levels"},
		"64 KiB of text":             {`{"==":[{"var":"x"},"` + strings.Repeat("x", 64<<10) + `"]}`, "at most 65536 are allowed"},
		"a number too large":         {`{">":[{"var":"x"},1e999]}`, "too large for a double"},
		"a number of many digits":    {`{">":[{"var":"x"},` + strings.Repeat("9", 400) + `]}`, "too large for a double"},
		"weights beyond 2^31":        {`{"fractional":[["on",2147483648]]}`, "a whole number from 0 to 2147483647"},
		"weights that add up beyond": {`{"fractional":[["on",2147483647],["off",1]]}`, "the weights add up to 2147483648"},
		"a fraction of a weight":     {`{"fractional":[["on",0.5]]}`, "a whole number"},
		"no value":                   {``, "a value cannot start with"},
	} {
		bounded(t, what, func() {
			d, faults := Parse("f", []byte(flagHead+c.targeting+"}"), Env{})
			if d != nil || !strings.Contains(faults.Error(), c.want) {
				t.Errorf("%s: %v", what, faults)
			}
			s, problems := Empty().With(Update{Flags: []Source{{"f", flagHead + c.targeting + "}"}}}, time.Unix(0, 0))
			if len(problems) != 1 || s.Bool("f", true, nil).ErrorCode != ParseError {
				t.Errorf("%s: problems %v", what, problems)
			}
		})
	}
	// As deep and as large as is allowed works.
	for what, targeting := range map[string]string{
		"500 levels": nested(`{"if":[true,`, `"on"`, "]}", 250),
		"64 KiB":     `{"if":[{"in":[{"var":"x"},["` + strings.Repeat(`abcdefg","`, 6_500) + `"]]},"on"]}`,
	} {
		s, problems := Empty().With(Update{Flags: []Source{{"f", flagHead + targeting + "}"}}}, time.Unix(0, 0))
		if len(problems) > 0 {
			t.Errorf("%s: %v", what, problems)
			continue
		}
		if r := s.Bool("f", false, map[string]any{"x": "abcdefg"}); !r.Value {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

// Rules that double with every reference are refused before they are written
// out.
func TestReferencesDoNotExplode(t *testing.T) {
	double := func(n int) []Source {
		rules := []Source{{"r0", `{"==":[{"var":"x"},"` + strings.Repeat("x", 1000) + `"]}`}}
		for i := 1; i < n; i++ {
			rules = append(rules, Source{fmt.Sprint("r", i), fmt.Sprintf(`{"and":[{"$ref":"r%d"},{"$ref":"r%d"}]}`, i-1, i-1)})
		}
		return rules
	}
	chain := func(n int) []Source {
		rules := []Source{{"r0", `{"var":"x"}`}}
		for i := 1; i < n; i++ {
			rules = append(rules, Source{fmt.Sprint("r", i), fmt.Sprintf(`{"!":[{"$ref":"r%d"}]}`, i-1)})
		}
		return rules
	}
	for what, c := range map[string]struct {
		rules []Source
		want  string
	}{
		"doubling": {double(60), "more than 131072 elements"},
		"a chain":  {chain(3000), "nested deeper than 1024 levels"},
	} {
		bounded(t, what, func() {
			s, problems := Empty().With(Update{Evaluators: c.rules}, time.Unix(0, 0))
			if !strings.Contains(fmt.Sprint(problems), c.want) {
				t.Errorf("%s: %v", what, problems)
			}
			s, _ = s.With(Update{Flags: []Source{{"f", flagHead + `{"if":[{"$ref":"r5"},"on"]}}`}}}, time.Unix(0, 0))
			if text, ok := s.Compose("f"); !ok || len(text) > 1<<20 {
				t.Errorf("%s: composed %v, %d bytes", what, ok, len(text))
			}
		})
	}
}

// A rule that multiplies work with the context ends in PARSE_ERROR.
func TestStepLimit(t *testing.T) {
	long := make([]any, 2_000)
	for i := range long {
		long[i] = float64(i)
	}
	text := strings.Repeat("x", 1<<20)
	ctx := map[string]any{"xs": long, "big": text, "named": foreignStrings{text, text}}
	for what, rule := range map[string]string{
		"loops in loops":     `{"some":[{"map":[{"var":"xs"},{"reduce":[{"var":"xs"},{"+":[{"var":"current"},{"var":"accumulator"}]},0]}]},false]}`,
		"doubling text":      `{"reduce":[{"var":"xs"},{"cat":[{"var":"accumulator"},{"var":"accumulator"}]},"xx"]}`,
		"doubling lists":     `{"reduce":[{"var":"xs"},{"merge":[{"var":"accumulator"},{"var":"accumulator"}]},[1,2]]}`,
		"nesting lists":      `{"cat":[{"reduce":[{"var":"xs"},[{"var":"accumulator"},{"var":"accumulator"}],"x"]}]}`,
		"long text in loops": `{"map":[{"reduce":[{"var":"xs"},{"merge":[{"var":"accumulator"},["` + strings.Repeat("y", 1000) + `"]]},[]]},{"in":["z",{"cat":[{"var":""},{"var":""}]}]}]}`,
	} {
		bounded(t, what, func() {
			s := setWith(t, Update{Flags: []Source{{"f", flagHead + rule + "}"}}})
			nestedCtx := map[string]any{"xs": long, "big": text}
			if what == "loops in loops" {
				inner := make([]any, len(long))
				for i := range inner {
					inner[i] = map[string]any{"xs": long}
				}
				nestedCtx["xs"] = inner
			}
			r := s.Bool("f", true, nestedCtx)
			if r.ErrorCode != ParseError && r.ErrorCode != General {
				t.Errorf("%s: %+v", what, r)
			}
			if what != "nesting lists" && what != "long text in loops" && (r.ErrorCode != ParseError || !strings.Contains(r.Message, "more than 1048576 steps")) {
				t.Errorf("%s: %s %s", what, r.ErrorCode, r.Message)
			}
			if got := s.Explain("f", nestedCtx); len(got.Text()) > 4<<20 {
				t.Errorf("%s: a trace of %d bytes", what, len(got.Text()))
			}
		})
	}
	s := setWith(t, Update{Flags: []Source{{"f", flagHead + `{"if":[{"in":["xy",{"var":"big"}]},"on"]}}`}}})
	if r := s.Bool("f", true, ctx); r.ErrorCode != "" {
		t.Errorf("a megabyte searched once: %+v", r)
	}
}

// Long text that is read again and again uses up the steps, and nothing much is
// done once they are: the count stops where the limit was passed.
func TestStepLimitOfText(t *testing.T) {
	many := func(op, arg string) string { return `{"` + op + `":[` + strings.Repeat(arg+",", 299) + arg + `]}` }
	members := strings.Repeat(`"abcdefg",`, 20) + `"x"`
	for _, rule := range []string{
		`{"reduce":[{"var":"xs"},{"if":[{"+":[{"var":"accumulator"}]},{"var":"accumulator"},{"var":"accumulator"}]},{"var":"s"}]}`,
		`{"reduce":[{"var":"xs"},{"if":[{"-":[{"var":"accumulator"}]},{"var":"accumulator"},{"var":"accumulator"}]},{"var":"s"}]}`,
		`{"reduce":[{"var":"xs"},{"if":[{"in":[{"var":"accumulator"},[` + members + `]]},1,{"var":"accumulator"}]},{"var":"s"}]}`,
		many("max", `{"var":"s"}`), many("min", `{"var":"s"}`), many("+", `{"var":"s"}`), many("*", `{"var":"s"}`),
		many("cat", `{"+":[{"var":"s"}]}`), many("merge", `{"-":[{"var":"s"}]}`), many("or", `{"<":[{"var":"s"},1e999]}`),
		many("missing", `{"*":[{"var":"s"}]}`), many("or", `{"!==":[{"var":"s"},{"var":"same"}]}`),
	} {
		rule = strings.ReplaceAll(rule, "1e999", "-1")
		for what, s := range map[string]string{
			"blanks": strings.Repeat(" ", 1<<20), "digits": strings.Repeat("7", 1<<20), "wide blanks": strings.Repeat("\u3000", 1<<20/3), "others": strings.Repeat("x", 1<<20),
		} {
			bounded(t, rule[:20]+" over "+what, func() {
				set := setWith(t, Update{Flags: []Source{{"f", flagHead + rule + "}"}}})
				f, _ := set.flags.get("f")
				ctx := map[string]any{"xs": make([]any, 2_000), "s": s, "same": strings.Clone(s)}
				e := evaluation{set: set, flag: f.def, ctx: ctx, steps: maxSteps, scope: value{kind: kindRoot}}
				if a := set.conclude(f, &e, e.eval(f.rule.root)); a.failed == nil || a.failed.code != ParseError {
					t.Errorf("%.40s over %s: %+v", rule, what, a)
				}
				if e.steps >= 0 || e.steps < -4*len(s)/bytesPerStep {
					t.Errorf("%.40s over %s: %d steps are left", rule, what, e.steps)
				}
			})
		}
	}
}

// White space is JavaScript's, however it is looked for.
func TestSpace(t *testing.T) {
	const spaces = "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
	for r := range rune(0x11000) {
		if isSpace(r) != strings.ContainsRune(spaces, r) {
			t.Errorf("U+%04X: %v", r, isSpace(r))
		}
	}
	for _, s := range []string{"", " ", spaces, spaces + "7" + spaces, "7", " 7 8 ", "\xa07\xa0", "\xff", " \u00a0é\u3000"} {
		if got := trimRightSpace(trimLeftSpace(s)); got != strings.Trim(s, spaces) {
			t.Errorf("%q becomes %q", s, got)
		}
	}
}

// foreignStrings is a named type that only reflection can read.
type foreignStrings []string

// Lists and objects that contain themselves do no harm.
func TestCyclicContext(t *testing.T) {
	list := []any{nil, nil, "x"}
	list[0], list[1] = list, list
	object := map[string]any{}
	object["self"], object["list"] = object, list
	foreign := map[foreignName]any{}
	foreign["self"] = foreign
	ctx := map[string]any{"l": list, "o": object, "f": foreign, targetingKey: "k"}
	ctx["ctx"] = ctx
	for _, rule := range []string{
		`{"cat":[{"var":"l"}]}`, `{"==":[{"var":"l"},"x"]}`, `{"<":[{"var":"l"},{"var":"l"}]}`, `{"+":[{"var":"l"},1]}`, `{"in":["x",{"var":"l"}]}`,
		`{"var":"o.self.self.self.list.0.0.2"}`, `{"var":"f.self.self"}`, `{"var":"ctx.ctx.l.2"}`, `{"merge":[{"var":"l"},{"var":"l"}]}`,
		`{"fractional":[{"var":"o"},["on",1]]}`, `{"fractional":[{"var":"l"},["on",1]]}`, `{"fractional":[{"var":""},["on",1]]}`, `{"fractional":[{"var":"f"},["on",1]]}`,
		`{"map":[{"var":"l"},{"cat":[{"var":""}]}]}`, `{"var":""}`, `{"missing":[{"var":"l"}]}`, `{"substr":[{"var":"l"},1]}`, `{"max":[{"var":"l"}]}`,
	} {
		for _, generation := range []Bucketing{V1, V2, V3} {
			bounded(t, rule, func() {
				s := setWith(t, Update{Settings: &Settings{Bucketing: generation}, Flags: []Source{{"f", flagHead + rule + "}"}}})
				s.Bool("f", false, ctx)
				s.Explain("f", ctx).Text()
			})
		}
	}
	v, err := evalRule(`{"fractional":[{"var":"o"},["on",1]]}`, ctx, V3)
	if err != nil || v.kind != kindNull {
		t.Errorf("bucketing by an object that contains itself: %v, %v; want null", encode(lossless(v, nil)), err)
	}
}

type foreignName string

// What the values of a context of Go's own types count as.
func TestContextTypes(t *testing.T) {
	type named struct{ A int }
	text, number := foreignName("text"), 7
	moment, digits := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), json.Number("12")
	for _, c := range []struct {
		value any
		want  string // as JSON, with text for numbers
	}{
		{nil, `null`}, {true, `true`}, {"s", `"s"`}, {1.5, `1.5`}, {float32(0.5), `0.5`},
		{int(-7), `-7`}, {int8(-7), `-7`}, {int16(-7), `-7`}, {int32(-7), `-7`}, {int64(-7), `-7`},
		{uint(7), `7`}, {uint8(7), `7`}, {uint16(7), `7`}, {uint32(7), `7`}, {uint64(7), `7`}, {uintptr(7), `7`},
		{int64(math.MaxInt64), `9223372036854776000`}, {uint64(math.MaxUint64), `18446744073709552000`},
		{json.Number("12"), `12`}, {json.Number("1.5e3"), `1500`}, {json.Number("x"), `"x"`}, {json.Number("1e999"), `Infinity`},
		{math.NaN(), `NaN`}, {math.Inf(-1), `-Infinity`},
		{time.Date(2030, 1, 2, 3, 4, 5, 600_000_000, time.UTC), `"2030-01-02T03:04:05.6Z"`},
		{[]any{1, "a", nil}, `[1, "a", null]`}, {[]string{"a", "b"}, `["a", "b"]`}, {[]int{1, 2}, `[1, 2]`}, {[]int64{1}, `[1]`}, {[]float64{1.5}, `[1.5]`}, {[]bool{true}, `[true]`},
		{[]map[string]any{{}}, `[an object]`}, {map[string]any{"a": 1}, `an object`},
		{text, `"text"`}, {&text, `"text"`}, {&number, `7`}, {(*int)(nil), `null`}, {foreignStrings{"a"}, `["a"]`}, {[2]int{1, 2}, `[1, 2]`}, {[]byte("a"), `[97]`},
		{map[foreignName]int{"a": 1}, `an object`}, {map[int]int{1: 1}, `null`},
		{named{1}, `null`}, {func() {}, `null`}, {make(chan int), `null`}, {complex(1, 1), `null`}, {[]foreignName{"x"}, `["x"]`},
		{&moment, `"2030-01-02T03:04:05Z"`}, {&digits, `12`}, {[]*json.Number{&digits}, `[12]`}, {(*time.Time)(nil), `null`},
		{[]any{foreignName("x"), &number}, `["x", 7]`},
	} {
		ctx := map[string]any{"v": c.value}
		v, err := evalRule(`{"var":"v"}`, ctx, V2)
		if err != nil {
			t.Fatal(err)
		}
		if got := readable(lossless(v, ctx)); got != c.want {
			t.Errorf("%T %v counts as %s, want %s", c.value, c.value, got, c.want)
		}
	}
	ctx := map[string]any{"m": map[foreignName]any{"k": map[string]int{"n": 5}}}
	if v, err := evalRule(`{"var":"m.k.n"}`, ctx, V2); err != nil || v.num != 5 {
		t.Errorf("a path through maps of other types: %v, %v", v, err)
	}
	// Beyond ±2^53 only v3 tells integers apart.
	spread := `{"fractional":[{"var":"id"},["a",1],["b",1],["c",1],["d",1],["e",1],["f",1],["g",1],["h",1]]}`
	seen := map[string]bool{}
	for i := range int64(20) {
		v, err := evalRule(spread, map[string]any{"id": int64(1)<<60 + i}, V3)
		if err != nil {
			t.Fatal(err)
		}
		seen[v.str()] = true
	}
	if len(seen) < 4 {
		t.Errorf("twenty integers near 2^60 fall into %d buckets of 8", len(seen))
	}
}

func TestWholeContext(t *testing.T) {
	ctx := map[string]any{"a": 1, "$flagd": map[string]any{"flagKey": "forged", "timestamp": 1}}
	for rule, want := range map[string]string{
		`{"var":"$flagd.flagKey"}`:               `"` + testKey + `"`,
		`{"var":"$flagd.timestamp"}`:             `1700000000`,
		`{"var":["$flagd.other","d"]}`:           `"d"`,
		`{"cat":[{"var":""}]}`:                   `"[object Object]"`,
		`{"var":["",1]}`:                         `an object`,
		`{"!!":[{"var":""}]}`:                    `true`,
		`{"==":[{"var":"$flagd"},{"var":""}]}`:   `false`,
		`{"map":[[1],{"var":"$flagd.flagKey"}]}`: `[null]`,
	} {
		v, err := evalRule(rule, ctx, V2)
		if err != nil {
			t.Fatal(err)
		}
		if got := readable(lossless(v, ctx)); got != want {
			t.Errorf("%s is %s, want %s", rule, got, want)
		}
	}
	// As a bucketing value it is its attributes, with ours in place of theirs.
	var e evaluation
	e.flag, e.ctx, e.steps = &Definition{key: testKey}, map[string]any{"$flagd": 1}, maxSteps
	e.set = Empty().WithClock(func() time.Time { return time.Unix(7, 0) })
	got, _ := e.appendCBOR(nil, value{kind: kindRoot}, 0)
	if want := cborOf(map[string]any{"$flagd": map[string]any{"flagKey": testKey, "timestamp": 7}}); string(got) != want {
		t.Errorf("the context is %x, want %x", got, want)
	}
}

func TestListOutcome(t *testing.T) {
	s := setWith(t, Update{Flags: []Source{{"f", flagHead + `{"merge":["on"]}}`}, {"g", flagHead + `{"var":"o"}}`}}})
	for key, want := range map[string]string{"f": `yields "on"`, "g": `yields "[object Object]"`} {
		if r := s.Bool(key, true, map[string]any{"o": map[string]any{"a": 1}}); r.ErrorCode != General || !strings.Contains(r.Message, want) {
			t.Errorf("%s: %+v", key, r)
		}
	}
}

func TestFailure(t *testing.T) {
	s := setWith(t, Update{Flags: []Source{{"f", flagHead + `{"reduce":[{"var":"xs"},{"cat":[{"var":"accumulator"},{"var":"accumulator"}]},"x"]}}`}}})
	r := s.Bool("f", true, map[string]any{"xs": make([]any, 100)})
	if r.ErrorCode != ParseError || r.Reason != ReasonError || !r.Value || r.HasValue {
		t.Errorf("%+v", r)
	}
}
