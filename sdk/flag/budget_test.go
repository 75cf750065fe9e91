package flag

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// dear is a set of flags of which each walks a list of the context.
func dear(t *testing.T, n int) *Set {
	t.Helper()
	u := Update{Reset: true}
	for i := range n {
		u.Flags = append(u.Flags, Source{fmt.Sprintf("f%04d", i), flagHead + `{"if":[{"some":[{"var":"list"},{"==":[{"var":""},-1]}]},"on","off"]}}`})
	}
	set, problems := Empty().With(u, time.Unix(0, 0))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

func TestARequestHasABudget(t *testing.T) {
	const flags = 30
	set := dear(t, flags)
	long := make([]any, 150_000)
	for i := range long {
		long[i] = float64(i)
	}
	request := set.ForRequest()
	answered := 0
	for _, key := range set.AllKeys() {
		r := request.Raw(key, map[string]any{"list": long})
		switch {
		case r.ErrorCode == "" && r.Variant == "off":
			answered++
		case r.ErrorCode == ParseError && strings.Contains(r.Message, "the flags of this request"):
			if !request.Spent() {
				t.Fatal("a flag is refused before the budget is spent")
			}
		default:
			t.Fatalf("%s: %+v", key, r)
		}
	}
	if answered == 0 || answered == flags {
		t.Errorf("%d of %d flags were answered", answered, flags)
	}
	// Each by itself is within its own bound, and the set knows of no request.
	if r := set.Raw("f0029", map[string]any{"list": long}); r.ErrorCode != "" || set.Spent() {
		t.Errorf("%+v", r)
	}
	// A flag that is too long by itself fails as ever, and what needs no steps
	// is served.
	if r := set.ForRequest().Raw("f0000", map[string]any{"list": make([]any, 2*maxSteps)}); !strings.Contains(r.Message, "the targeting takes more than") {
		t.Errorf("%+v", r)
	}
}

// Every flag of a large set has enough.
func TestTheBudgetGrowsWithTheSet(t *testing.T) {
	set := dear(t, 2000)
	list := make([]any, 20)
	request := set.ForRequest()
	if set.Taken() != 0 || request.Taken() != 0 {
		t.Error("steps were taken before there was anything to do")
	}
	for i, key := range set.AllKeys() {
		if i > 0 && request.Taken() < i*len(list) {
			t.Fatalf("%d flags took %d steps", i, request.Taken())
		}
		if r := request.Raw(key, map[string]any{"list": list}); r.ErrorCode != "" {
			t.Fatalf("%s: %+v", key, r)
		}
	}
	want := set.Raw("f0001", map[string]any{"list": list})
	if got := request.Raw("f0001", map[string]any{"list": list}); got.Variant != want.Variant || got.Reason != want.Reason {
		t.Errorf("%+v, want %+v", got, want)
	}
}
