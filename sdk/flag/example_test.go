package flag_test

import (
	"fmt"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

func ExampleSet() {
	set, problems := flag.Empty().With(flag.Update{
		Flags: []flag.Source{{Key: "recommendations", JSON: `{
			"state": "ENABLED",
			"variants": {"on": true, "off": false},
			"defaultVariant": "off",
			"targeting": {"if": [{"in": [{"var": "country"}, ["DE", "AT"]]}, "on"]},
			"degradation": {"tier": "optional"}
		}`}},
	}, time.Now())
	fmt.Println(len(problems), "problems")

	ctx := map[string]any{"targetingKey": "user-1", "country": "DE"}
	r := set.Bool("recommendations", false, ctx)
	fmt.Println(r.Value, r.Variant, r.Reason)

	// Shed everything optional.
	set, _ = set.With(flag.Update{Level: &degrade.LevelState{Auto: degrade.One}}, time.Now())
	r = set.Bool("recommendations", false, ctx)
	fmt.Println(r.Value, r.Variant, r.Reason)
	// Output:
	// 0 problems
	// true on TARGETING_MATCH
	// false off DEGRADED
}

func ExampleParseDocument() {
	_, faults := flag.ParseDocument([]byte(`{"flags": {"new-ui": {
  "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "onn", "targetting": {}
}}}`), flag.Env{})
	for _, fault := range faults {
		fmt.Println(fault)
	}
	// Output:
	// 2:81: $.flags["new-ui"].defaultVariant: there is no variant "onn" (did you mean "on"?)
	// 2:88: $.flags["new-ui"].targetting: unknown field of a flag "targetting" (did you mean "targeting"?)
}

func ExampleSet_Explain() {
	set, _ := flag.Empty().With(flag.Update{Flags: []flag.Source{{Key: "f", JSON: `{"state": "ENABLED", "variants": {"on": true, "off": false},
		"defaultVariant": "off", "targeting": {"if": [{">=": [{"var": "age"}, 18]}, "on"]}}`}}}, time.Now())
	fmt.Print(set.Explain("f", map[string]any{"age": 17}).Text())
	// Output:
	// f: false, variant "off", reason DEFAULT
	//   override   none
	//   state      ENABLED
	//   level      the flag has no degradation block: it is never shed
	//   targeting  it yields null: it leaves the choice open
	//     if false, null → null   at $.targeting.if
	//       >= 17, 18 → false   at $.targeting.if[0][">="]
	//         var "age" → 17   at $.targeting.if[0][">="][0].var
	//   default    "off"
}
