package flag

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Raw says the same as Any, and its value is the JSON of Any's.
func TestRawAgreesWithAny(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := flagGenerator{newGenerator(rapid.Uint64().Draw(t, "seed")), map[string]bool{}}
		s, _ := Empty().With(g.update(), time.Unix(0, 0))
		ctx := g.context()
		for _, key := range append(s.AllKeys(), "no such flag") {
			want, got := s.Any(key, ctx), s.Raw(key, ctx)
			var value any
			if got.HasValue {
				if err := json.Unmarshal([]byte(got.Value), &value); err != nil {
					t.Fatalf("%s: the value %q is no JSON: %v", key, got.Value, err)
				}
			}
			if !reflect.DeepEqual(value, want.Value) || got.Variant != want.Variant || got.Reason != want.Reason ||
				got.ErrorCode != want.ErrorCode || got.Message != want.Message || !reflect.DeepEqual(got.Metadata, want.Metadata) {
				t.Fatalf("%s: raw %+v, any %+v", key, got, want)
			}
		}
	})
}

func TestAllKeysAreSortedAndIncludeBrokenFlags(t *testing.T) {
	s, problems := Empty().With(Update{Flags: []Source{
		{"b", `{"state":"ENABLED","variants":{"a":1}}`},
		{"c", `{"state":"ENABLED"`},
		{"a", `{"state":"ENABLED","variants":{"a":1}}`},
	}}, time.Unix(0, 0))
	if len(problems) != 1 {
		t.Fatalf("problems: %v", problems)
	}
	if got := s.AllKeys(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("keys %q", got)
	}
	if r := s.Raw("c", nil); r.ErrorCode != ParseError {
		t.Errorf("the broken flag answers %+v", r)
	}
}

func TestTellsTime(t *testing.T) {
	for rule, want := range map[string]bool{
		`{"if":[{"==":[{"var":"country"},"DE"]},"a"]}`:                                        false,
		`{"if":[{">":[{"var":"$flagd.timestamp"},5]},"a"]}`:                                   true,
		`{"if":[{"==":[{"var":"$flagd.flagKey"},"f"]},"a"]}`:                                  false,
		`{"if":[{"in":["x",{"var":"$flagd"}]},"a"]}`:                                          true,
		`{"if":[{"var":""},"a"]}`:                                                             true,
		`{"if":[{"var":{"var":"path"}},"a"]}`:                                                 true,
		`{"fractional":[["a",1],["b",{"var":"$flagd.timestamp"}]]}`:                           true,
		`{"fractional":[{"cat":[{"var":"$flagd.timestamp"}]},["a",1],["b",1]]}`:               true,
		`{"fractional":[["a",1],["b",1]]}`:                                                    false,
		`{"if":[{"some":[{"var":"list"},{"==":[{"var":["$flagd.timestamp",1]},2]}]},"a"]}`:    true,
		`{"if":[{"segment":"late"},"a"]}`:                                                     true,
		`{"if":[{"missing":["email"]},"a"]}`:                                                  false,
		`{"if":[{"or":[{"==":[{"var":"x"},1]},{"<":[1,{"var":"$flagd.timestamp"},9]}]},"a"]}`: true,
	} {
		s, problems := Empty().With(Update{
			Segments: []Source{{"late", `{">":[{"var":"$flagd.timestamp"},100]}`}},
			Flags:    []Source{{"f", `{"state":"ENABLED","variants":{"a":1,"b":2},"defaultVariant":"b","targeting":` + rule + `}`}},
		}, time.Unix(0, 0))
		if len(problems) > 0 {
			t.Fatalf("%s: %v", rule, problems)
		}
		if got := s.TellsTime(); got != want {
			t.Errorf("%s: %t, want %t", rule, got, want)
		}
	}
}
