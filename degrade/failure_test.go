package degrade_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/plimsoll-dev/plimsoll/degrade"
	"pgregory.net/rapid"
)

// shop is a plan and features where everything that may happen does.
func shop() (degrade.Plan, []degrade.Feature) {
	return planOf(needs("net"), needs("db", "net"), needs("cache", "net"), needs("payments", "db"), needs("mail")), []degrade.Feature{
		feature("checkout", "critical", "payments", "cache"),
		changed(feature("search", "important", "db"), func(f *degrade.Feature) { f.Guard, f.Owner = "db", "ann" }),
		changed(feature("login", "critical", "db"), func(f *degrade.Feature) { f.Default, f.Guard = "off", "db" }),
		changed(feature("banner", "optional", "search"), func(f *degrade.Feature) { f.Default, f.Targeted = "off", true }),
		changed(feature("beta", "optional", "search"), func(f *degrade.Feature) { f.Enabled = false }),
		feature("beta-hints", "optional", "beta"),
		feature("strange", "gold", "search", "elsewhere"),
		feature("plain", "standard"),
	}
}

// text is a failure as a few lines.
func text(f degrade.Failure) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s feature=%v falls=%v worst=%s/%d\n", f.Name, f.IsFeature, f.Falls, f.WorstTier, f.WorstRank)
	for _, h := range f.Hits {
		fmt.Fprintf(&b, "%s/%d %s, serves %q, %s\n", h.Feature.Key, h.Rank, h.Outcome, h.Serves, strings.Join(h.Via, " → "))
	}
	return b.String()
}

func TestIfFails(t *testing.T) {
	m := degrade.NewMap(shop())
	for name, want := range map[string]string{
		"net": `net feature=false falls=[cache db payments] worst=critical/0
checkout/0 degrades by hand, serves "off", net → cache → checkout
login/0 breaks, serves "", net → db → login
search/1 degrades by itself, serves "off", net → db → search
banner/3 degrades by hand, serves "off", net → db → search → banner
beta/3 already off, serves "", net → db → search → beta
strange/-1 degrades by hand, serves "off", net → db → search → strange
`,
		"payments": `payments feature=false falls=[] worst=critical/0
checkout/0 degrades by hand, serves "off", payments → checkout
`,
		"mail": "mail feature=false falls=[] worst=/-1\n",
		"elsewhere": `elsewhere feature=false falls=[] worst=gold/-1
strange/-1 degrades by hand, serves "off", elsewhere → strange
`,
		"search": `search feature=true falls=[] worst=optional/3
banner/3 degrades by hand, serves "off", search → banner
beta/3 already off, serves "", search → beta
strange/-1 degrades by hand, serves "off", search → strange
`,
		"beta": `beta feature=true falls=[] worst=optional/3
beta-hints/3 degrades by hand, serves "off", beta → beta-hints
`,
		"plain": "plain feature=true falls=[] worst=/-1\n",
	} {
		f, err := m.IfFails(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, text(f)); diff != "" {
			t.Errorf("%s fails (-want +got):\n%s", name, diff)
		}
	}
	if f, err := m.IfFails("paymnts"); err == nil || err.Error() != `"paymnts" is no dependency and no feature (did you mean "payments"?)` {
		t.Errorf("an unknown name: %v, %v", f, err)
	}
	if f, err := m.IfFails("db"); err != nil || f.Hits[2].Feature.Owner != "ann" {
		t.Errorf("the owner of search is lost: %v, %v", f, err)
	}
}

// Only what is off already is hit: no tier is the worst.
func TestIfFailsHitsWhatIsOff(t *testing.T) {
	off := changed(feature("new", "critical", "db"), func(f *degrade.Feature) { f.Enabled = false })
	f, err := degrade.NewMap(planOf(needs("db")), []degrade.Feature{off}).IfFails("db")
	if err != nil || len(f.Hits) != 1 || f.WorstTier != "" || f.WorstRank != -1 {
		t.Errorf("%+v, %v", f, err)
	}
}

// In dependsOn, and when somebody asks, a name is a dependency first.
func TestIfFailsNameOfBoth(t *testing.T) {
	m := degrade.NewMap(planOf(needs("search")), []degrade.Feature{feature("search", "optional", "search"), feature("hints", "standard", "search")})
	f, err := m.IfFails("search")
	want := "search feature=false falls=[] worst=standard/2\n" +
		"hints/2 degrades by hand, serves \"off\", search → hints\n" +
		"search/3 degrades by hand, serves \"off\", search → search\n"
	if err != nil || text(f) != want {
		t.Errorf("%s, %v; want %s", text(f), err, want)
	}
}

// The middle of a long way is left out, and a long way takes no long time.
func TestIfFailsLongWay(t *testing.T) {
	features := []degrade.Feature{feature("f00000", "standard", "db")}
	for i := range 20_000 {
		features = append(features, feature(fmt.Sprintf("f%05d", i+1), "standard", features[i].Key))
	}
	features[0].DependsOn = append(features[0].DependsOn, "f20000")
	m := degrade.NewMap(planOf(), features)
	f, err := m.IfFails("db")
	if err != nil || len(f.Hits) != 20_001 {
		t.Fatalf("%d hits, %v", len(f.Hits), err)
	}
	if way := f.Hits[62].Via; len(way) != 64 || slices.Contains(way, "…") || way[63] != "f00062" {
		t.Errorf("64 names are %v", way)
	}
	way := strings.Join(f.Hits[20_000].Via, " ")
	if len(f.Hits[20_000].Via) != 64 || !strings.HasPrefix(way, "db f00000 f00001 ") || !strings.Contains(way, " f00029 … f19969 ") || !strings.HasSuffix(way, " f19999 f20000") {
		t.Errorf("20 001 names are %s", way)
	}
	if found := planOf().Lint(features); len(found) != 2 { // db, and the circle
		t.Errorf("%v", lines(found))
	}
}

// drawShop draws a plan and features that need each other at random, by few names,
// in circles, by names of both, and of none.
func drawShop(t *rapid.T) (degrade.Plan, []degrade.Feature) {
	name := rapid.SampledFrom([]string{"d0", "d1", "d2", "d3", "f0", "f1", "f2", "f3", "f4", "both", "u0", "u1"})
	tier := rapid.SampledFrom([]string{"critical", "important", "standard", "optional", "gold"})
	variant := rapid.SampledFrom([]string{"off", "on"})
	several := rapid.SliceOfN(name, 0, 4)
	var p degrade.Plan
	p.Tiers = degrade.DefaultTiers()
	for _, n := range []string{"d0", "d1", "d2", "d3", "both"} {
		if rapid.Bool().Draw(t, n) {
			p.Dependencies = append(p.Dependencies, degrade.Dependency{Name: n, DependsOn: several.Draw(t, n+" needs")})
		}
	}
	var features []degrade.Feature
	for _, key := range []string{"f0", "f1", "f2", "f3", "f4", "both"} {
		if !rapid.Bool().Draw(t, key+" exists") {
			continue
		}
		features = append(features, degrade.Feature{
			Key: key, Tier: tier.Draw(t, "tier"), Degraded: "off", Default: variant.Draw(t, "default"),
			Targeted: rapid.Bool().Draw(t, "targeted"), Enabled: rapid.IntRange(0, 3).Draw(t, "enabled") > 0,
			DependsOn: several.Draw(t, "depends on"), Guard: rapid.SampledFrom([]string{"", "g"}).Draw(t, "guard"),
		})
	}
	return p, features
}

// reference is the failure map, slowly: what fails is repeated until nothing is
// added, in rounds, so that the round tells the length of the way.
type reference struct {
	plan     degrade.Plan
	features []degrade.Feature
}

func (r reference) dependency(name string) bool {
	return slices.ContainsFunc(r.plan.Dependencies, func(d degrade.Dependency) bool { return d.Name == name })
}

func (r reference) feature(name string) bool {
	return slices.ContainsFunc(r.features, func(f degrade.Feature) bool { return f.Key == name })
}

// node tells dependencies from features of one name.
func (r reference) node(name string) string {
	if r.dependency(name) || !r.feature(name) {
		return "dependency " + name
	}
	return "feature " + name
}

// fails is the round in which each node fails.
func (r reference) fails(name string) map[string]int {
	start := r.node(name)
	rounds := map[string]int{start: 0}
	for round := 1; ; round++ {
		added := map[string]int{}
		fail := func(node string, dependsOn []string, only func(string) bool) {
			for _, other := range dependsOn {
				needed := r.node(other)
				at, failed := rounds[needed]
				off := slices.ContainsFunc(r.features, func(f degrade.Feature) bool { return "feature "+f.Key == needed && !f.Enabled })
				if _, already := rounds[node]; failed && at == round-1 && !already && only(other) && (!off || needed == start) {
					added[node] = round
				}
			}
		}
		for _, d := range r.plan.Dependencies {
			fail("dependency "+d.Name, d.DependsOn, r.dependency)
		}
		for _, f := range r.features {
			fail("feature "+f.Key, f.DependsOn, func(other string) bool { return r.node(other) != "feature "+f.Key })
		}
		if len(added) == 0 {
			return rounds
		}
		maps.Copy(rounds, added)
	}
}

func (r reference) outcome(f degrade.Feature) (degrade.Outcome, string) {
	if !f.Enabled {
		return degrade.AlreadyOff, ""
	}
	if f.Default == f.Degraded && !f.Targeted {
		return degrade.Breaks, ""
	}
	if f.Guard != "" {
		return degrade.DegradesByItself, f.Degraded
	}
	return degrade.DegradesByHand, f.Degraded
}

// names are all that may be asked for.
func (r reference) names() []string {
	var names []string
	for _, d := range r.plan.Dependencies {
		names = append(names, d.Name)
	}
	for _, f := range r.features {
		names = append(append(names, f.Key), f.DependsOn...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// The map says what the reference says.
func TestMapAgreesWithReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, features := drawShop(t)
		r := reference{p, features}
		m := degrade.NewMap(p, features)
		if hits, tier := m.Reach("nothing"); hits != 0 || tier != "" {
			t.Fatalf("a name that nobody knows reaches %d features, %q", hits, tier)
		}
		if _, err := m.IfFails("nothing"); err == nil {
			t.Fatal("a name that nobody knows can fail")
		}
		for _, name := range r.names() {
			got, err := m.IfFails(name)
			if err != nil {
				t.Fatal(err)
			}
			if hits, tier := m.Reach(name); hits != len(got.Hits) || tier != got.WorstTier {
				t.Fatalf("%s reaches %d features, %q the worst; want %d, %q", name, hits, tier, len(got.Hits), got.WorstTier)
			}
			rounds := r.fails(name)
			if got.Name != name || got.IsFeature != strings.HasPrefix(r.node(name), "feature") {
				t.Fatalf("%s is %+v", name, got)
			}
			var falls []string
			for _, d := range p.Dependencies {
				if rounds["dependency "+d.Name] > 0 {
					falls = append(falls, d.Name)
				}
			}
			slices.Sort(falls)
			if !slices.Equal(falls, got.Falls) {
				t.Fatalf("%s fails, and with it %v; want %v", name, got.Falls, falls)
			}
			worst, hits := -1, 0
			for _, f := range features {
				if rounds["feature "+f.Key] > 0 {
					hits++
				}
			}
			if hits != len(got.Hits) {
				t.Fatalf("%s fails and hits %d features, want %d of %v", name, len(got.Hits), hits, rounds)
			}
			place := func(h degrade.Hit) string { return fmt.Sprintf("%d %s", (h.Rank+9)%9, h.Feature.Key) } // rank -1 is last
			for i, h := range got.Hits {
				checkHit(t, r, name, h, rounds["feature "+h.Feature.Key])
				if i > 0 && place(got.Hits[i-1]) >= place(h) {
					t.Fatalf("%s is before %s", place(got.Hits[i-1]), place(h))
				}
				if h.Outcome != degrade.AlreadyOff && h.Rank >= 0 && (worst < 0 || h.Rank < worst) {
					worst = h.Rank
				}
			}
			if got.WorstRank != worst || worst >= 0 && got.WorstTier != p.Tiers[worst] {
				t.Fatalf("%s fails; the worst is %s, %d, want %d", name, got.WorstTier, got.WorstRank, worst)
			}
		}
	})
}

// checkHit fails unless a hit is as the reference has it, and its way is one.
func checkHit(t *rapid.T, r reference, name string, h degrade.Hit, round int) {
	outcome, serves := r.outcome(h.Feature)
	rank, ok := r.plan.Tiers.Rank(h.Feature.Tier)
	if !ok {
		rank = -1
	}
	if h.Outcome != outcome || h.Serves != serves || h.Rank != rank {
		t.Fatalf("%s fails: %+v, want %s, %q, %d", name, h, outcome, serves, rank)
	}
	if len(h.Via) != round+1 || round == 0 || h.Via[0] != name || h.Via[round] != h.Feature.Key {
		t.Fatalf("%s fails, and hits %s in %d steps; the way is %v", name, h.Feature.Key, round, h.Via)
	}
	for i, step := range h.Via[:round] {
		user := h.Via[i+1]
		needed := func(dependsOn []string) bool { return slices.Contains(dependsOn, step) }
		if !slices.ContainsFunc(r.features, func(f degrade.Feature) bool { return f.Key == user && needed(f.DependsOn) }) &&
			!slices.ContainsFunc(r.plan.Dependencies, func(d degrade.Dependency) bool { return d.Name == user && needed(d.DependsOn) }) {
			t.Fatalf("the way %v has the step from %s to %s, which does not need it", h.Via, step, user)
		}
	}
}

// The order of what it is made from does not matter, nor what becomes of it.
func TestMapDependsOnNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, features := drawShop(t)
		names := reference{p, features}.names()
		m := degrade.NewMap(p, features)
		var before []string
		for _, name := range names {
			f, _ := m.IfFails(name)
			before = append(before, text(f))
		}
		check, lint := p.Check(), p.Lint(features)
		other := degrade.NewMap(p.Canonical(), rapid.Permutation(features).Draw(t, "order"))
		slices.Reverse(p.Dependencies)
		if diff := cmp.Diff(lint, p.Lint(features)); diff != "" {
			t.Fatalf("%s", diff)
		}
		if len(p.Check()) != len(check) {
			t.Fatalf("%v and %v", check, p.Check())
		}
		levels := m.AtLevel(degrade.One)
		clear(features)
		clear(p.Tiers)
		if diff := cmp.Diff(levels, m.AtLevel(degrade.One)); diff != "" {
			t.Fatalf("%s", diff)
		}
		for i, name := range names {
			f, _ := m.IfFails(name)
			g, _ := other.IfFails(name)
			if text(f) != before[i] || text(g) != before[i] {
				t.Fatalf("%s\n%s\n%s", before[i], text(f), text(g))
			}
		}
	})
}

func TestAtLevel(t *testing.T) {
	m := degrade.NewMap(shop())
	var b strings.Builder
	for _, d := range m.AtLevel(1_250_000) {
		fmt.Fprintf(&b, "%s %d %d", d.Tier, d.Rank, d.Shed)
		for _, f := range d.Features {
			b.WriteString(" " + f.Key)
		}
		b.WriteString("\n")
	}
	want := "optional 3 1000000 banner beta-hints\nstandard 2 250000 plain\nimportant 1 0 search\ncritical 0 0 checkout login\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	if got := degrade.NewMap(degrade.Plan{}, nil).AtLevel(7); got != nil {
		t.Errorf("no tiers: %v", got)
	}
}

// AtLevel says of each tier what ShedFraction says.
func TestAtLevelAgreesWithShedFraction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, features := drawShop(t)
		p.Tiers = p.Tiers[:rapid.IntRange(2, 4).Draw(t, "tiers")]
		level := degrade.Level(rapid.Uint32Range(0, 8_000_000).Draw(t, "level"))
		dims := degrade.NewMap(p, features).AtLevel(level)
		if len(dims) != len(p.Tiers) {
			t.Fatalf("%d of %d tiers", len(dims), len(p.Tiers))
		}
		for i, d := range dims {
			if rank, ok := p.Tiers.Rank(d.Tier); !ok || rank != d.Rank || rank != len(dims)-1-i {
				t.Fatalf("tier %d is %+v", i, d)
			}
			if want := degrade.ShedFraction(level, d.Rank, p.Tiers.Sheddable()); d.Shed != want {
				t.Fatalf("%s is shed by %d, want %d", d.Tier, d.Shed, want)
			}
			var keys, want []string
			for _, f := range d.Features {
				keys = append(keys, f.Key)
			}
			for _, f := range features {
				if f.Tier == d.Tier && f.Enabled {
					want = append(want, f.Key)
				}
			}
			slices.Sort(want)
			if !slices.Equal(keys, want) {
				t.Fatalf("%s has %v, want %v", d.Tier, keys, want)
			}
		}
	})
}

func TestOutcomeString(t *testing.T) {
	if got := degrade.Outcome(9).String(); got != "Outcome(9)" {
		t.Error(got)
	}
}

// FuzzMap: whatever the plan and the features, nothing panics or hangs, and every
// way leads from what fails to what it hits. A line is "dependency NAME NEEDS…",
// "feature KEY TIER DEPENDS…", "off KEY TIER DEPENDS…" or "tiers NAMES…".
func FuzzMap(f *testing.F) {
	f.Add("dependency db net\ndependency net\nfeature checkout critical db\noff beta optional checkout\n")
	f.Add("tiers a\ndependency a a b\ndependency b a\ndependency b c\nfeature b x b\nfeature b y c d\nfeature c a c b")
	f.Add("tiers a a  b c d e f g h i\nfeature  \xff \x00\ndependency 1 \xff\nfeature a1 a a02 a2\nfeature a2 a a1")
	f.Fuzz(func(t *testing.T, input string) {
		if len(input) > 4<<10 {
			return
		}
		p := planOf()
		var features []degrade.Feature
		for line := range strings.Lines(input) {
			words := append(strings.Split(strings.TrimSuffix(line, "\n"), " "), "", "")
			switch words[0] {
			case "tiers":
				p.Tiers = words[1:]
			case "dependency":
				p.Dependencies = append(p.Dependencies, needs(words[1], words[2:]...))
			case "feature", "off":
				features = append(features, changed(feature(words[1], words[2], words[3:]...), func(f *degrade.Feature) { f.Enabled = words[0] == "feature" }))
			}
		}
		for _, findings := range [][]degrade.Finding{p.Check(), p.Lint(features)} {
			for _, f := range findings {
				if !strings.HasPrefix(f.Path, "$") || f.Message == "" {
					t.Fatalf("%+v", f)
				}
			}
		}
		keys := map[string]bool{}
		for _, f := range features {
			keys[f.Key] = true
		}
		repeated := len(keys) < len(features) // what the second of a key depends on is unknown
		m := degrade.NewMap(p, features)
		if got := m.AtLevel(7 * degrade.One); len(got) != len(p.Tiers) {
			t.Fatalf("%d of %d tiers", len(got), len(p.Tiers))
		}
		for _, name := range (reference{p, features}).names() {
			failure, err := m.IfFails(name)
			if err != nil && !repeated {
				t.Fatal(err)
			}
			for _, h := range failure.Hits {
				if last := len(h.Via) - 1; last < 1 || h.Via[0] != name || h.Via[last] != h.Feature.Key {
					t.Fatalf("%s fails, and hits %s by %q", name, h.Feature.Key, h.Via)
				}
			}
		}
	})
}

// large is 10 000 features over 1 000 dependencies, each of which needs a few
// others.
func large() (degrade.Plan, []degrade.Feature) {
	p := planOf()
	for i := range 1_000 {
		d := needs(fmt.Sprintf("d%d", i))
		for k := 1; k <= 3 && i > 0; k++ {
			d.DependsOn = append(d.DependsOn, fmt.Sprintf("d%d", i*k/(k+1)))
		}
		p.Dependencies = append(p.Dependencies, d)
	}
	var features []degrade.Feature
	for i := range 10_000 {
		f := feature(fmt.Sprintf("f%d", i), p.Tiers[i%len(p.Tiers)], fmt.Sprintf("d%d", i%1_000), fmt.Sprintf("d%d", i*7%1_000))
		if i > 100 {
			f.DependsOn = append(f.DependsOn, fmt.Sprintf("f%d", i-100))
		}
		features = append(features, f)
	}
	return p, features
}

func BenchmarkMap(b *testing.B) {
	p, features := large()
	m := degrade.NewMap(p, features)
	if f, _ := m.IfFails("d0"); len(f.Falls) != 999 || len(f.Hits) != 10_000 {
		b.Fatalf("d0 fails, and with it %d and %d", len(f.Falls), len(f.Hits))
	}
	for name, do := range map[string]func(){
		"New":     func() { degrade.NewMap(p, features) },
		"IfFails": func() { _, _ = m.IfFails("d0") },
		"Check":   func() { p.Check() },
		"Lint":    func() { p.Lint(features) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				do()
			}
		})
	}
}
