package flag

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// testKey is the key of the flag that single rules are evaluated for.
const testKey = "flag"

// compileRule compiles a rule without checking it first.
func compileRule(text string) (*program, error) {
	tree, p := parseJSON(text)
	if p.hard != nil {
		return nil, fmt.Errorf("no JSON: %s", p.hard.message)
	}
	c := &compiler{checker: checker{text: text}, resolve: Empty().build(Update{}, time.Time{}).resolve}
	program, faults := c.compile(&tree)
	if program == nil {
		return nil, faults
	}
	return program, nil
}

// evalRule evaluates a rule that has not been checked, in generation b.
func evalRule(text string, ctx map[string]any, b Bucketing) (value, error) {
	p, err := compileRule(text)
	if err != nil {
		return value{}, err
	}
	s, _ := Empty().With(Update{Settings: &Settings{Bucketing: b}}, time.Unix(0, 0))
	e := evaluation{
		set: s.WithClock(func() time.Time { return time.Unix(1_700_000_000, 0) }), flag: &Definition{key: testKey},
		ctx: ctx, steps: maxSteps, scope: value{kind: kindRoot},
	}
	v := e.eval(p.root)
	if e.exhausted() {
		return value{}, fmt.Errorf("steps used up")
	}
	return v, nil
}

// lossless is a value as JSON-like data that tells numbers like NaN apart:
// numbers are {"n": text}, strings {"s": text}, objects {"o": members}.
func lossless(v value, ctx map[string]any) any {
	switch v.kind {
	case kindNull:
		return nil
	case kindBool:
		return v.num != 0
	case kindNumber:
		return map[string]any{"n": string(appendNumber(nil, v.num))}
	case kindString:
		return map[string]any{"s": v.str()}
	case kindList:
		list := make([]any, v.length())
		for i := range list {
			list[i] = lossless(v.at(i), ctx)
		}
		return list
	default:
		e := evaluation{steps: maxSteps, ctx: ctx}
		members := map[string]any{}
		for _, m := range e.members(v) {
			if v.kind == kindRoot && m.name == flagdName {
				continue // only flagd has it
			}
			members[m.name] = lossless(m.value, ctx)
		}
		return map[string]any{"o": members}
	}
}

func decode(t testing.TB, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func encode(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprintf("%v", v)
	}
	return strings.TrimSpace(b.String())
}

func contextOf(t testing.TB, text string) map[string]any {
	t.Helper()
	if text == "" {
		return nil
	}
	m, ok := decode(t, text).(map[string]any)
	if !ok {
		t.Fatalf("%s is no object", text)
	}
	return m
}

// setWith is a set of flags that must compile.
func setWith(t testing.TB, u Update) *Set {
	t.Helper()
	s, problems := Empty().With(u, time.Unix(0, 0))
	if len(problems) > 0 {
		t.Fatalf("these do not compile: %v", problems)
	}
	return s
}
