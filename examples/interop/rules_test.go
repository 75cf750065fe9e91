package interop

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// flags is the set that the server serves: one flag of each type, flags whose
// rules use each operator, and what is switched, shed and killed.
const flags = `{
  "$evaluators": {"staff": {"ends_with": [{"var": "email"}, "@example.com"]}},
  "flags": {
    "a-bool": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"},
    "a-string": {"state": "ENABLED", "variants": {"greeting": "Grüße ☀"}, "defaultVariant": "greeting"},
    "an-int": {"state": "ENABLED", "variants": {"many": 123456}, "defaultVariant": "many"},
    "a-float": {"state": "ENABLED", "variants": {"half": 0.5}, "defaultVariant": "half"},
    "an-object": {"state": "ENABLED", "variants": {"full": {"name": "x", "size": 2.5}}, "defaultVariant": "full"},
    "a-nested-object": {"state": "ENABLED", "variants": {"full": {"name": "x", "deep": {"list": [1, "two", true]}}}, "defaultVariant": "full"},
    "is-disabled": {"state": "DISABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"},
    "rule-plan": {"state": "ENABLED", "variants": {"gold": "g", "other": "o"}, "defaultVariant": "other",
      "targeting": {"if": [{"in": [{"var": "plan"}, ["pro", "team"]]}, "gold", null]}},
    "rule-staff": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
      "targeting": {"if": [{"$ref": "staff"}, "on", "off"]}},
    "rule-age": {"state": "ENABLED", "variants": {"young": 1, "middle": 2, "old": 3}, "defaultVariant": "middle",
      "targeting": {"if": [{"<": [{"var": "age"}, 25]}, "young", {">=": [{"var": "age"}, 60]}, "old", "middle"]}},
    "rule-version": {"state": "ENABLED", "variants": {"new": 2.5, "old": 1.5}, "defaultVariant": "old",
      "targeting": {"if": [{"and": [{"sem_ver": [{"var": "version"}, ">=", "2.1.0"]}, {"!": [{"starts_with": [{"var": "version"}, "3."]}]}]}, "new", "old"]}},
    "rule-beta": {"state": "ENABLED", "variants": {"full": {"beta": true}, "none": {"beta": false}}, "defaultVariant": "none",
      "targeting": {"if": [{"==": [{"var": "beta"}, true]}, "full", "none"]}},
    "split-key": {"state": "ENABLED", "variants": {"a": "a", "b": "b", "c": "c", "d": "d"}, "defaultVariant": "a",
      "targeting": {"fractional": [["a", 25], ["b", 25], ["c", 25], ["d", 25]]}},
    "split-email": {"state": "ENABLED", "variants": {"a": "a", "b": "b", "c": "c"}, "defaultVariant": "a",
      "targeting": {"fractional": [{"var": "email"}, ["a", 10], ["b", 30], ["c", 60]]}},
    "dimmed": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on",
      "degradation": {"tier": "optional", "degradedVariant": "off"}},
    "killed": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on",
      "degradation": {"tier": "standard", "degradedVariant": "off"}},
    "switched": {"state": "ENABLED", "variants": {"a": "a", "b": "b"}, "defaultVariant": "a"}
  }
}`

// nestedFlag is a flag whose object has another within it.
const nestedFlag = "a-nested-object"

// question is a line for an example.
type question struct {
	Flag    string         `json:"flag"`
	Type    string         `json:"type"`
	Default any            `json:"default"`
	Context map[string]any `json:"context,omitempty"`
	Wait    string         `json:"wait,omitempty"`
}

// answer is what an example answers.
type answer struct {
	Flag      string `json:"flag"`
	Value     any    `json:"value"`
	Variant   string `json:"variant"`
	Reason    string `json:"reason"`
	ErrorCode string `json:"errorCode"`
	Event     string `json:"event"`
}

// defaults are of each type, and differ from all that the flags serve.
var defaults = map[string]any{"bool": false, "string": "none", "int": float64(7), "float": 7.5, "object": map[string]any{}}

func ask(key, typ string, context map[string]any) question {
	return question{Flag: key, Type: typ, Default: defaults[typ], Context: context}
}

// plainQuestions ask for the flags without rules.
func plainQuestions() []question {
	who := map[string]any{"targetingKey": "someone"}
	return []question{
		ask("a-bool", "bool", who), ask("a-string", "string", who), ask("an-int", "int", who),
		ask("a-float", "float", who), ask("an-object", "object", who), ask(nestedFlag, "object", who), ask("is-disabled", "bool", who),
	}
}

// ruled are the flags with rules that are the same in every generation.
var ruled = [][2]string{
	{"rule-plan", "string"}, {"rule-staff", "bool"}, {"rule-age", "int"}, {"rule-version", "float"}, {"rule-beta", "object"},
}

// ruleQuestions are n contexts, the same in every run, for rules without buckets.
func ruleQuestions(n int) []question {
	random := rand.New(rand.NewPCG(8, 16))
	out := make([]question, n)
	for i := range out {
		out[i] = ask(ruled[i%len(ruled)][0], ruled[i%len(ruled)][1], randomContext(random))
	}
	return out
}

// splitQuestions are n contexts for buckets.
func splitQuestions(n int) []question {
	random := rand.New(rand.NewPCG(23, 42))
	out := make([]question, n)
	for i := range out {
		out[i] = ask([]string{"split-key", "split-email"}[i%2], "string", randomContext(random))
	}
	return out
}

// shedQuestions ask for the flag that is shed, for n keys.
func shedQuestions(n int) []question {
	out := make([]question, n)
	for i := range out {
		out[i] = ask("dimmed", "bool", map[string]any{"targetingKey": fmt.Sprint("user-", i)})
	}
	return out
}

func randomContext(random *rand.Rand) map[string]any {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	version := fmt.Sprintf("%d.%d.%d", random.IntN(4), random.IntN(4), random.IntN(10)) + pick("", "", "-rc.1")
	return map[string]any{
		"targetingKey": fmt.Sprintf("user-%d", random.IntN(1_000_000)),
		"email":        fmt.Sprintf("u%d@%s", random.IntN(1_000_000), pick("example.com", "example.org", "mail.example.com")),
		"plan":         pick("free", "pro", "team", "Pro", ""),
		"age":          float64(random.IntN(90)),
		"version":      version,
		"beta":         random.IntN(2) == 0,
	}
}

// generation is the one in which all answers fit their questions; "" if there
// is none.
func generation(t *testing.T, questions []question, answers []answer) string {
	t.Helper()
	document, faults := flag.ParseDocument([]byte(flags), flag.Env{})
	if document == nil {
		t.Fatal(faults)
	}
	for _, bucketing := range []flag.Bucketing{flag.V1, flag.V2, flag.V3} {
		set, problems := flag.Empty().With(document.Update(bucketing), time.Unix(1, 0))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		same := 0
		for i, q := range questions {
			if set.String(q.Flag, "none", q.Context).Variant == answers[i].Variant {
				same++
			}
		}
		if same == len(questions) {
			return strings.ToLower(bucketing.String())
		}
	}
	return ""
}
