package flag

import (
	"slices"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

// What has changed and changed back between two sets is touched, though nothing
// differs; what stayed is not.
func TestTouchedKeys(t *testing.T) {
	now := time.Unix(1000, 0)
	text := func(key, variant, more string) Source {
		return Source{key, `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"` + variant + `"` + more + `}`}
	}
	const shedable = `,"degradation":{"tier":"optional","guard":"g"}`
	level := func(auto degrade.Level) *degrade.LevelState { return &degrade.LevelState{Auto: auto, Seed: "s"} }
	for name, c := range map[string]struct {
		before, there, back Update
		want                []string
	}{
		"a definition": {Update{}, Update{Flags: []Source{text("a", "off", "")}}, Update{Flags: []Source{text("a", "on", "")}}, []string{"a"}},
		"a flag that goes and comes": {
			Update{}, Update{RemovedFlags: []string{"a"}}, Update{Flags: []Source{text("a", "on", "")}}, []string{"a"},
		},
		"a flag that comes and goes": {
			Update{}, Update{Flags: []Source{text("z", "on", "")}}, Update{RemovedFlags: []string{"z"}}, []string{"z"},
		},
		"an override of which nothing is left": {
			Update{}, Update{Overrides: []Override{{Key: "a", Variant: "off", ExpiresAt: now}}}, Update{RemovedOverrides: []string{"a"}}, nil,
		},
		"a level that falls and rises": {Update{Level: level(500_000)}, Update{Level: level(0)}, Update{Level: level(500_000)}, []string{"s"}},
		"a guard that closes and opens": {
			Update{OpenGuards: []OpenGuard{{Name: "g"}}}, Update{ClosedGuards: []string{"g"}}, Update{OpenGuards: []OpenGuard{{Name: "g"}}}, []string{"s"},
		},
		"metadata of the set": {
			Update{}, Update{Settings: &Settings{Metadata: `{"v":1}`}}, Update{Settings: &Settings{}}, []string{"a", "b", "s"},
		},
		"nothing": {Update{}, Update{}, Update{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			revision := int64(1)
			step := func(s *Set, u Update) *Set {
				revision++
				u.Epoch, u.Revision = 1, revision
				next, problems := s.With(u, now)
				if len(problems) > 0 {
					t.Fatal(problems)
				}
				return next
			}
			first := step(Empty(), Update{Flags: []Source{text("a", "on", ""), text("b", "on", ""), text("s", "on", shedable)}})
			first = step(first, Update{Flags: []Source{text("old", "on", "")}})
			first = step(first, Update{RemovedFlags: []string{"old"}})
			first = step(first, c.before)
			last := step(step(first, c.there), c.back)
			if got := last.ChangedKeys(first); len(got) > 0 {
				t.Fatalf("%v differ: the case is none", got)
			}
			if got := last.TouchedKeys(first); !slices.Equal(got, c.want) {
				t.Errorf("touched %v, want %v", got, c.want)
			}
			if got := last.TouchedKeys(last); len(got) > 0 {
				t.Errorf("a set touches %v of itself", got)
			}
		})
	}
}

func TestOnlySomeRemovedFlagsAreRemembered(t *testing.T) {
	s := Empty()
	for i := range 2 * maxRemoved {
		var u Update
		if u.Revision = int64(i + 1); i%2 == 0 {
			u.Flags = []Source{{"f", `{"state":"ENABLED","variants":{"on":true}}`}}
		} else {
			u.RemovedFlags = []string{"f"}
		}
		s, _ = s.With(u, time.Unix(0, 0))
	}
	u := Update{Revision: 10_000}
	for range maxRemoved {
		u.RemovedFlags = append(u.RemovedFlags, "f")
	}
	if s, _ = s.With(u, time.Unix(0, 0)); len(s.removed) > maxRemoved {
		t.Errorf("%d are remembered", len(s.removed))
	}
}
