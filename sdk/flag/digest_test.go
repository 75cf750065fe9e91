package flag

import (
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

func TestDigest(t *testing.T) {
	now := time.Unix(1000, 0)
	const text = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","degradation":{"tier":"optional","guard":"g"}}`
	first := Update{Epoch: 1, Revision: 5, Reset: true, Flags: []Source{{"a", text}, {"b", text}}, Level: &degrade.LevelState{Seed: "s"}}
	step := func(s *Set, revision int64, u Update) *Set {
		u.Epoch, u.Revision = 1, revision
		s, _ = s.With(u, now)
		return s
	}
	set := step(Empty(), 5, first)
	want, ok := set.Digest()
	if !ok {
		t.Fatal("there is none")
	}
	for what, same := range map[string]*Set{
		"at another revision":         step(Empty(), 9, first),
		"there and back":              step(step(set, 6, Update{RemovedFlags: []string{"b"}}), 7, Update{Flags: []Source{{"b", text}}}),
		"with another seed":           step(set, 6, Update{Level: &degrade.LevelState{Seed: "t"}}),
		"after an override":           step(step(set, 6, Update{Overrides: []Override{{Key: "a", Variant: "off"}}}), 7, Update{RemovedOverrides: []string{"a"}}),
		"with an override of no flag": step(set, 6, Update{Overrides: []Override{{Key: "x", Variant: "off"}}}),
	} {
		if got, ok := same.Digest(); !ok || got != want {
			t.Errorf("%s: another digest", what)
		}
	}
	rule := Update{Evaluators: []Source{{"e", `{"==":[1,1]}`}}}
	for what, other := range map[string]*Set{
		"a flag less":    step(set, 6, Update{RemovedFlags: []string{"b"}}),
		"a flag changed": step(set, 6, Update{Flags: []Source{{"b", flagHead + `null}`}}}),
		"a rule":         step(set, 6, rule),
		"metadata":       step(set, 6, Update{Settings: &Settings{Metadata: `{"v":1}`}}),
		"the generation": step(set, 6, Update{Settings: &Settings{Bucketing: V3}}),
	} {
		if got, ok := other.Digest(); !ok || got == want {
			t.Errorf("%s: the same digest, or none", what)
		}
	}
	for what, none := range map[string]*Set{
		"shed":       step(set, 6, Update{Level: &degrade.LevelState{Seed: "s", Auto: 1}}),
		"overridden": step(set, 6, Update{Overrides: []Override{{Key: "a", Variant: "off"}}}),
		"guarded":    step(set, 6, Update{OpenGuards: []OpenGuard{{Name: "g"}}}),
		"broken":     step(set, 6, Update{Flags: []Source{{"b", "{"}}}),
	} {
		if _, ok := none.Digest(); ok {
			t.Errorf("%s: a digest", what)
		}
	}
}
