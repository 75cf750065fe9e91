package flag_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// scalarRules are rules of each kind that is evaluated without allocating.
var scalarRules = map[string]string{
	"nothing":      `{}`,
	"equal":        `{"if":[{"==":[{"var":"country"},"DE"]},"on"]}`,
	"number":       `{"if":[{">=":[{"var":"age"},18]},"on"]}`,
	"between":      `{"if":[{"<":[1,{"var":"age"},50]},"on"]}`,
	"in list":      `{"if":[{"in":[{"var":"country"},["AT","CH","DE"]]},"on"]}`,
	"in long list": `{"if":[{"in":[{"var":"country"},["a","b","c","d","e","f","g","h","i","DE"]]},"on"]}`,
	"in text":      `{"if":[{"in":["@shop",{"var":"email"}]},"on"]}`,
	"logic":        `{"if":[{"and":[{"!":{"var":"none"}},{"or":[{"var":"none"},{"var":"beta"}]}]},"on"]}`,
	"ends":         `{"if":[{"ends_with":[{"var":"email"},".de"]},"on"]}`,
	"version":      `{"if":[{"sem_ver":[{"var":"version"},">=","v1.2.0"]},"on"]}`,
	"path":         `{"if":[{"==":[{"var":"address.lines.1"},"x"]},"on"]}`,
	"some":         `{"if":[{"some":[{"var":"roles"},{"==":[{"var":""},"admin"]}]},"on"]}`,
	"arithmetic":   `{"if":[{"==":[{"%":[{"+":[{"var":"age"},1]},2]},1]},"on"]}`,
	"clock":        `{"if":[{">":[{"var":"$flagd.timestamp"},5]},"on"]}`,
	"rollout":      `{"fractional":[["on",50],["off",50]]}`,
	"rollout by":   `{"fractional":[{"var":"email"},["on",50],["off",50]]}`,
	"segment":      `{"if":[{"segment":"vip"},"on"]}`,
	"bool":         `{"==":[{"var":"age"},1]}`,
}

// Scalar results allocate nothing, whatever decides them.
func TestNoAllocation(t *testing.T) {
	flagOf := func(targeting string) string {
		return `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","metadata":{"a":1},"degradation":{"tier":"optional","guard":"db"},"targeting":` + targeting + `}`
	}
	u := flag.Update{
		Segments: []flag.Source{{Key: "vip", JSON: `{"and":[{"var":"beta"},{"<":[{"var":"age"},100]}]}`}},
		Settings: &flag.Settings{Metadata: `{"set":"shop"}`},
		Level:    &degrade.LevelState{Seed: "5eed5eed5eed5eed"},
	}
	for key, rule := range scalarRules {
		u.Flags = append(u.Flags, flag.Source{Key: key, JSON: flagOf(rule)})
	}
	ctx := map[string]any{
		"targetingKey": "user-4711", "country": "DE", "age": 42, "beta": true, "email": "bob@shop.de", "version": "v1.3.0",
		"address": map[string]any{"lines": []any{"y", "x"}}, "roles": []string{"viewer", "admin"},
	}
	for _, generation := range []flag.Bucketing{flag.V1, flag.V2, flag.V3} {
		for _, level := range []degrade.Level{0, 400_000, 1_000_000} {
			u.Settings.Bucketing, u.Level.Auto = generation, level
			s := setOf(t, u)
			for _, set := range map[string]*flag.Set{
				"": s, "tagged": s.Tagged("cache"),
				"guarded":    next(t, s, flag.Update{OpenGuards: []flag.OpenGuard{{Name: "db"}}}),
				"overridden": next(t, s, flag.Update{Overrides: []flag.Override{{Key: "nothing", Variant: "on"}, {Key: "equal", Variant: "on"}}}),
			} {
				for key := range scalarRules {
					name := fmt.Sprintf("%s, generation %s, level %s", key, generation, level)
					if r := set.Bool(key, false, ctx); r.ErrorCode != "" && key != "bool" {
						t.Fatalf("%s: %+v", name, r)
					}
					if key == "version" && level < degrade.One {
						continue // a partial version is completed, which takes memory
					}
					if key == "bool" {
						continue // false names no variant: an error has a message
					}
					if n := testing.AllocsPerRun(20, func() { set.Bool(key, false, ctx) }); n != 0 {
						t.Errorf("%s: %v allocations", name, n)
					}
				}
			}
		}
	}
	scalars := setOf(t, flag.Update{Flags: []flag.Source{
		{Key: "s", JSON: `{"state":"ENABLED","variants":{"a":"text"},"defaultVariant":"a"}`},
		{Key: "n", JSON: `{"state":"ENABLED","variants":{"a":1.5},"defaultVariant":"a"}`},
		{Key: "off", JSON: `{"state":"DISABLED","variants":{"a":1.5},"defaultVariant":"a"}`},
	}})
	if n := testing.AllocsPerRun(100, func() {
		scalars.String("s", "", ctx)
		scalars.Float("n", 0, ctx)
		scalars.Int("n", 0, ctx)
		scalars.Any("s", ctx)
		scalars.Any("n", ctx)
		scalars.Int("off", 0, ctx)
	}); n != 0 {
		t.Errorf("strings and numbers: %v allocations", n)
	}
}

// TestHeapPerFlag holds the memory of a simple flag, its key and text included,
// to half of what a large set may cost; and one change to a small part of it.
func TestHeapPerFlag(t *testing.T) {
	const flags = 100_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s := setOf(t, flag.Update{Flags: manyFlags(flags)})
	if perFlag := (heap() - before) / flags; perFlag > 750 {
		t.Errorf("%d bytes a flag, want at most 750", perFlag)
	}
	change := flag.Update{Flags: []flag.Source{{Key: "team-7.feature-7", JSON: ruleFlag}}}
	if n := testing.AllocsPerRun(100, func() { s.With(change, noon) }); n > 300 {
		t.Errorf("one change of %d flags takes %v allocations, want at most 300", flags, n)
	}
	runtime.KeepAlive(s)
}
