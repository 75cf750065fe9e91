package flag_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// Versions of a set are read and made at the same time. The race detector is what
// this is for.
func TestConcurrentUse(t *testing.T) {
	base := flag.Update{
		Flags: []flag.Source{{Key: "a", JSON: tiered}, {Key: "b", JSON: rolloutFlag}, {Key: "c", JSON: `{"state":"ENABLED",` + onOff + `,"targeting":{"if":[{"segment":"s"},"on"]},"metadata":{"k":1},"degradation":{}}`}},
		// A rule that is another rule's root, and shared by both.
		Evaluators: []flag.Source{{Key: "e", JSON: `{"in":[{"var":"x"},["a","b"]]}`}},
		Segments:   []flag.Source{{Key: "s", JSON: `{"if":[true,{"$ref":"e"}]}`}},
		Settings:   &flag.Settings{Metadata: `{"set":1}`},
		Level:      &degrade.LevelState{Auto: 400_000, Seed: "5eed"},
	}
	first := setOf(t, base)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			s := first
			for i := range 300 {
				s, _ = s.With(flag.Update{
					Segments: []flag.Source{{Key: "s", JSON: `{"if":[true,{"$ref":"e"}]}`}},
					Level:    &degrade.LevelState{Auto: degrade.Level(i * 3000), Seed: "5eed"},
					Flags:    []flag.Source{{Key: fmt.Sprint("new ", i), JSON: tiered}},
				}, noon)
				for _, set := range []*flag.Set{first, s, s.Tagged(fmt.Sprint("worker ", worker)), s.At(noon.Add(time.Duration(i)))} {
					for _, key := range []string{"a", "b", "c"} {
						if r := set.Bool(key, true, keyed(fmt.Sprint(i))); r.ErrorCode != "" {
							t.Errorf("%s: %+v", key, r)
						}
					}
				}
				s.ChangedKeys(first)
			}
		})
	}
	wg.Wait()
	if first.Len() != 3 {
		t.Errorf("the first version has %d flags now", first.Len())
	}
}

// Who refers to a rule is known, rules in between included.
func TestUsers(t *testing.T) {
	s := setOf(t, flag.Update{
		Evaluators: []flag.Source{{Key: "e", JSON: `{"var":"x"}`}},
		Segments:   []flag.Source{{Key: "s", JSON: `{"!":[{"$ref":"e"}]}`}},
		Flags:      []flag.Source{{Key: "f", JSON: `{"state":"ENABLED",` + onOff + `,"targeting":{"if":[{"segment":"s"},"on",{"$ref":"e"},"off"]}}`}, {Key: "g", JSON: staticFlag}},
	})
	if got := fmt.Sprint(s.EvaluatorUsers("e"), s.SegmentUsers("s"), s.SegmentUsers("nope")); got != `[f segments["s"]] [f] []` {
		t.Errorf("users: %s", got)
	}
	s = next(t, s, flag.Update{RemovedFlags: []string{"f"}})
	if got := fmt.Sprint(s.EvaluatorUsers("e"), s.SegmentUsers("s")); got != `[segments["s"]] []` {
		t.Errorf("users once the flag is gone: %s", got)
	}
}
