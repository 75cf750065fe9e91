package flag

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"pgregory.net/rapid"
)

// recompose loads what a set writes out, as a plain flagd document, into a new
// set of the same generation.
func recompose(t interface{ Fatalf(string, ...any) }, s *Set) *Set {
	text := s.ComposeAll()
	doc, faults := ParseDocument([]byte(text), Env{})
	if doc == nil {
		t.Fatalf("the composed document has faults: %v\n%s", faults, text)
	}
	u := Update{Reset: true, Settings: &Settings{Bucketing: s.Settings().Bucketing, Metadata: doc.Metadata}}
	for _, d := range doc.Flags {
		u.Flags = append(u.Flags, Source{d.Key(), d.JSON()})
	}
	plain, problems := Empty().With(u, time.Unix(0, 0))
	if len(problems) > 0 {
		t.Fatalf("the composed document does not compile: %v\n%s", problems, text)
	}
	return plain
}

// What a set writes out serves the same variants as the set itself, to every
// context with a key; and to one without, unless a share is drawn.
func TestComposedAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := flagGenerator{newGenerator(rapid.Uint64().Draw(t, "seed")), map[string]bool{}}
		s, problems := Empty().With(g.update(), time.Unix(0, 0))
		if len(problems) > 0 {
			t.Fatalf("does not compile: %v", problems)
		}
		plain := recompose(t, s)
		for range 10 {
			ctx := g.context()
			for key := range s.Keys() {
				want, got := s.Any(key, ctx), plain.Any(key, ctx)
				if got.Variant != want.Variant || got.HasValue != want.HasValue || got.ErrorCode != want.ErrorCode {
					text, _ := s.Compose(key)
					t.Fatalf("%s with %s\nnative   %q %s %s\ncomposed %q %s %s\n%s", key, encode(ctx),
						want.Variant, want.Reason, want.ErrorCode, got.Variant, got.Reason, got.ErrorCode, text)
				}
			}
		}
	})
}

// A composer writes any succession of sets as each set does by itself.
func TestComposerAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := flagGenerator{newGenerator(rapid.Uint64().Draw(t, "seed")), map[string]bool{}}
		var c Composer
		sets := []*Set{Empty()}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			s, u := sets[len(sets)-1], g.update()
			switch g.IntN(5) {
			case 0: // all anew
			case 1: // some flags, old and new, and what is over
				u = Update{Flags: u.Flags[:g.IntN(len(u.Flags)+1)], RemovedFlags: []string{"flag 3"}, RemovedOverrides: []string{"flag 0", "flag 1"}, Revision: 7}
			case 2:
				u = Update{Level: u.Level, Revision: 7}
			case 3:
				u = Update{OpenGuards: u.OpenGuards, ClosedGuards: []string{"cache"}, Evaluators: u.Evaluators, Overrides: u.Overrides, Revision: 7}
			case 4:
				u = Update{Settings: u.Settings, Segments: u.Segments, Revision: 7}
			}
			s, _ = s.With(u, time.Unix(0, 0))
			sets = append(sets, s)
			if g.IntN(4) == 0 {
				s = sets[g.IntN(len(sets))] // one that somebody has kept
			}
			if got, want := c.ComposeAll(s), s.ComposeAll(); got != want {
				t.Fatalf("composed on the one before:\n%s\nby itself:\n%s", got, want)
			}
		}
	})
}

// A constant that a rule of its own yields may stand where the same constant,
// written out, is refused: what is composed is taken all the same, and serves the
// same.
func TestComposedConstants(t *testing.T) {
	rules := map[string]string{
		"number": `7`, "text": `"on"`, "nothing": `null`, "truth": `true`, "path": `"$flagd.nowhere"`, "version": `"no version"`,
		"chain": `{"$ref":"number"}`,
	}
	var evaluators []Source
	for name, text := range rules {
		evaluators = append(evaluators, Source{name, text})
	}
	ref := func(name string) string { return `{"$ref":"` + name + `"}` }
	for _, rule := range []string{
		ref("text"), ref("number"), ref("nothing"), ref("truth"),
		`{"if":[{"starts_with":[` + ref("number") + `,"x"]},"on","off"]}`,
		`{"if":[{"ends_with":["x",` + ref("chain") + `]},"on","off"]}`,
		`{"if":[{"starts_with":` + ref("text") + `},"on","off"]}`,
		`{"if":[{"sem_ver":["1.0.0",` + ref("text") + `,"1.0.0"]},"on","off"]}`,
		`{"if":[{"sem_ver":[` + ref("version") + `,"=",` + ref("truth") + `]},"on","off"]}`,
		`{"if":[{"sem_ver":` + ref("version") + `},"on","off"]}`,
		`{"if":[{"var":` + ref("path") + `},"on","off"]}`,
		`{"if":[{"var":[` + ref("path") + `,1]},"on","off"]}`,
		`{"fractional":[["on",` + ref("text") + `],["off",1]]}`,
		`{"fractional":[` + ref("number") + `,["on",` + ref("number") + `],[` + ref("text") + `,1]]}`,
		`{"fractional":["x",` + ref("number") + `,["on",1]]}`,
		`{"fractional":` + ref("text") + `}`,
		`{"if":[{"substr":` + ref("text") + `},"on","off"]}`,
		`{"if":[{"-":` + ref("number") + `},"on","off"]}`,
	} {
		source := Source{"f", `{"state":"ENABLED","variants":{"on":1,"off":2,"7":3,"true":4},"defaultVariant":"off","targeting":` + rule + `,"degradation":{"tier":"optional","degradedVariant":"7"}}`}
		for _, level := range []degrade.Level{0, 400_000} {
			s := setWith(t, Update{Flags: []Source{source}, Evaluators: evaluators, Level: &degrade.LevelState{Auto: level, Seed: "5eed"}})
			plain := recompose(t, s)
			for i := range 20 {
				ctx := map[string]any{targetingKey: targetingKeyAt(i)}
				if want, got := s.Any("f", ctx), plain.Any("f", ctx); got.Variant != want.Variant || got.ErrorCode != want.ErrorCode {
					text, _ := s.Compose("f")
					t.Errorf("%s at level %d: %q %s natively, %q %s composed\n%s", rule, level, want.Variant, want.ErrorCode, got.Variant, got.ErrorCode, text)
				}
			}
		}
	}
}

// Raising the level never un-sheds anyone, and rank 0 is never shed.
func TestSheddingIsMonotone(t *testing.T) {
	flagOf := func(tier string) Source {
		return Source{tier, `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","degradation":{"tier":"` + tier + `"}}`}
	}
	tiers := degrade.DefaultTiers()
	var flags []Source
	for _, tier := range tiers {
		flags = append(flags, flagOf(tier))
	}
	rapid.Check(t, func(t *rapid.T) {
		settings := &Settings{Bucketing: rapid.SampledFrom([]Bucketing{V1, V2, V3}).Draw(t, "generation")}
		seed := rapid.StringMatching("[0-9a-f]{16}").Draw(t, "seed")
		low := rapid.Uint32Range(0, 3_000_000).Draw(t, "level")
		high := rapid.Uint32Range(low, 3_000_000).Draw(t, "raised to")
		ctx := map[string]any{targetingKey: rapid.StringN(1, 30, -1).Draw(t, "key")}
		at := func(level uint32) *Set {
			s, _ := Empty().With(Update{Flags: flags, Settings: settings, Level: &degrade.LevelState{Auto: degrade.Level(level), Seed: seed}}, time.Unix(0, 0))
			return s
		}
		before, after := at(low), at(high)
		for rank, tier := range tiers {
			was, is := before.Bool(tier, true, ctx).Reason == ReasonDegraded, after.Bool(tier, true, ctx).Reason == ReasonDegraded
			if was && !is {
				t.Fatalf("%s with key %q is shed at %d and not at %d", tier, ctx[targetingKey], low, high)
			}
			if rank == 0 && (was || is) {
				t.Fatalf("rank 0 is shed at %d or %d", low, high)
			}
			if rank > 0 && is && rank+1 < len(tiers) && after.Bool(tiers[rank+1], true, ctx).Reason != ReasonDegraded {
				t.Fatalf("at %d %s is shed for %q, but %s is not", high, tier, ctx[targetingKey], tiers[rank+1])
			}
		}
	})
}

// A key is shed from the level just above its bucket on: in each generation,
// by the set itself and by what it writes out. The bucket is worked out apart.
func TestShedBoundary(t *testing.T) {
	const keys, parts = 1_500, uint64(degrade.One)
	source := Source{"f", `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","degradation":{"tier":"optional"}}`}
	for _, generation := range []Bucketing{V1, V2, V3} {
		base := setWith(t, Update{Flags: []Source{source}, Settings: &Settings{Bucketing: generation}})
		for i := range keys {
			key := targetingKeyAt(i)
			hash := secondMurmur([]byte("5eed:" + key))
			if generation == V3 {
				hash = secondMurmur([]byte(cborOf("5eed:" + key)))
			}
			bucket := uint64(hash) * parts >> 32
			if generation == V1 {
				bucket = uint64(max(int64(int32(hash)), -int64(int32(hash)))) * parts / math.MaxInt32
			}
			ctx := map[string]any{targetingKey: key}
			for level, want := range map[uint64]string{bucket: "on", bucket + 1: "off"} {
				s, _ := base.With(Update{Level: &degrade.LevelState{Auto: degrade.Level(level), Seed: "5eed"}}, time.Unix(0, 0))
				if got := s.Bool("f", true, ctx); got.Variant != want {
					t.Fatalf("generation %s, key %q in bucket %d at level %d: %s, want %s", generation, key, bucket, level, got.Variant, want)
				}
				text, _ := s.Compose("f")
				plain := setWith(t, Update{Flags: []Source{{"f", text}}, Settings: &Settings{Bucketing: generation}})
				if got := plain.Bool("f", true, ctx); got.Variant != want {
					t.Fatalf("generation %s, key %q in bucket %d at level %d, composed: %s, want %s", generation, key, bucket, level, got.Variant, want)
				}
			}
		}
	}
	// The first generation has whole buckets only at the ends.
	for _, c := range []struct {
		hash  uint32
		first int64
		in    bool
	}{{0, 0, false}, {0, 1, true}, {math.MaxInt32, 1_000_000, false}, {math.MaxInt32 - 1, 1_000_000, true}} {
		if got := inFirst(V1, c.hash, c.first, int64(parts)); got != c.in {
			t.Errorf("hash %d in the first %d: %v", c.hash, c.first, got)
		}
	}
}

func TestCompose(t *testing.T) {
	s := setWith(t, Update{
		Evaluators: []Source{{"de", `{"==":[{"var":"country"},"DE"]}`}},
		Segments:   []Source{{"vip", `{"and":[{"$ref":"de"},{"var":"gold"}]}`}},
		Flags: []Source{
			{"a", `{"plimsoll":{"owner":"ann"},"variants":{"on":1.50,"off":0},"state":"ENABLED","metadata":{"k":"v"},"defaultVariant":"on","targeting":{"if":[{"segment":"vip"},"off"]},"degradation":{"tier":"optional","degradedVariant":"off"}}`},
			{"b", `{"state":"DISABLED","variants":{"on":true,"off":false},"defaultVariant":"on","degradation":{"tier":"optional"}}`},
			{"c", `{"state":"ENABLED","variants":{"on":true,"off":false},"degradation":{"tier":"optional"}}`},
			{"d", `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":null,"targeting":{}}`},
		},
		Settings: &Settings{Metadata: `{"flagSetId": "shop"}`},
	})
	level := func(l degrade.Level) Update {
		return Update{Level: &degrade.LevelState{Auto: l, Seed: "5eed"}}
	}
	const cond = `{"if":[{"if":[{"var":"targetingKey"},{"==":[{"fractional":[{"cat":["5eed:",{"var":"targetingKey"}]},["shed",400000],["kept",600000]]},"shed"]},false]},"off",`
	for _, c := range []struct {
		what   string
		update Update
		key    string
		want   string
	}{
		{"untouched but for what is Plimsoll's own, rules written out", Update{}, "a", `{"state":"ENABLED","variants":{"on":1.50,"off":0},"metadata":{"k":"v"},"defaultVariant":"on","targeting":{"if":[{"and":[{"==":[{"var":"country"},"DE"]},{"var":"gold"}]},"off"]}}`},
		{"disabled", level(1_000_000), "b", `{"state":"DISABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}`},
		{"without targeting", Update{}, "d", `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":null}`},
		{"wholly shed", level(1_000_000), "a", `{"state":"ENABLED","variants":{"on":1.50,"off":0},"metadata":{"k":"v"},"defaultVariant":"off"}`},
		{"a share shed", level(400_000), "a", `{"state":"ENABLED","variants":{"on":1.50,"off":0},"metadata":{"k":"v"},"defaultVariant":"on","targeting":` + cond + `{"if":[{"and":[{"==":[{"var":"country"},"DE"]},{"var":"gold"}]},"off"]}]}}`},
		{"a share shed, without default and targeting", level(400_000), "c", `{"state":"ENABLED","variants":{"on":true,"off":false},"targeting":` + cond + `null]}}`},
		{"overridden though disabled", Update{Overrides: []Override{{Key: "b", Variant: "off"}}}, "b", `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`},
	} {
		changed, problems := s.With(c.update, time.Unix(0, 0))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if got, ok := changed.Compose(c.key); !ok || got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.what, got, c.want)
		}
	}
	if _, ok := s.Compose("nope"); ok {
		t.Error("an unknown flag is composed")
	}
	all := s.ComposeAll()
	if !strings.HasPrefix(all, `{"flags":{"a":{`) || !strings.HasSuffix(all, `}},"metadata":{"flagSetId":"shop"}}`) {
		t.Errorf("the document is %s", all)
	}
	for _, gone := range []string{"segment", "$ref", "degradation", "plimsoll"} {
		if strings.Contains(all, gone) {
			t.Errorf("the document mentions %q: %s", gone, all)
		}
	}
}

// The order in which changes came does not show in the document.
func TestComposeAllIsCanonical(t *testing.T) {
	g := flagGenerator{newGenerator(11), map[string]bool{}}
	u := g.update()
	want := setWith(t, u).ComposeAll()
	backwards := u
	backwards.Flags = slices.Clone(u.Flags)
	slices.Reverse(backwards.Flags)
	s := setWith(t, Update{Evaluators: u.Evaluators, Segments: u.Segments, Flags: []Source{{"gone", u.Flags[0].JSON}}})
	backwards.Reset, backwards.RemovedFlags = false, []string{"gone"}
	s, _ = s.With(backwards, time.Unix(0, 0))
	if got := s.ComposeAll(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// flagd's own JavaScript evaluator sheds the same users as we do.
func TestComposedOnFlagdCore(t *testing.T) {
	var requests []peerRequest
	var want []Result[any]
	g := newGenerator(3)
	for len(requests) < 1_000 {
		fg := flagGenerator{g, map[string]bool{}}
		u := fg.update()
		u.Settings.Bucketing = V2
		s := setWith(t, u)
		for _, key := range slices.Sorted(s.Keys()) {
			ctx := fg.context()
			if ctx[targetingKey] == nil {
				ctx[targetingKey] = fmt.Sprint("user-", len(requests))
			}
			if ctx["email"] == nil {
				ctx["email"] = "ann@example.com" // or substr fails there
			}
			if len(fg.cases) > 0 || !s.flagIsOn(key) {
				continue
			}
			text, _ := s.Compose(key)
			// The bucketing of the flag's own fractional takes in its key.
			renamed := setWith(t, Update{Flags: []Source{{testKey, text}}})
			requests = append(requests, peerRequest{flag: decode(t, text), data: ctx})
			want = append(want, renamed.Any(testKey, ctx))
		}
	}
	for i, got := range askPeers(t, requests) {
		if got.Error != "" || got.Variant != want[i].Variant {
			t.Errorf("%s with %s: %q %s, want %q", encode(requests[i].flag), encode(requests[i].data), got.Variant, got.Error, want[i].Variant)
		}
	}
}

// flagIsOn tells whether a flag is served from its effective definition.
func (s *Set) flagIsOn(key string) bool {
	text, _ := s.Compose(key)
	return strings.HasPrefix(text, `{"state":"ENABLED"`)
}
