package store_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

// model is a namespace as the verbs are meant to leave it: plain values, each
// with the number of the change that it stands at.
type model struct {
	now     time.Time
	objects map[string]modelObject
	changes []*modelChange
	seed    string
	zero    time.Time // since when the level is 0; zero: it is not
	fresh   bool
}

type modelObject struct {
	value any   // modelFlag, modelOverride, modelHold or modelPlan
	as    []int // the changes that it is as after: its own, and older ones where it is an undo
}

type (
	modelFlag     struct{ tier, variant string }
	modelOverride struct {
		variant string
		ends    time.Time
	}
	modelHold struct {
		floor, ceiling int64 // ceiling -1: none
		ends           time.Time
	}
	modelPlan struct{ dependency string }
)

type modelChange struct {
	id, verb, actor string
	undoes          *modelChange
	before          map[string]any   // nil values: it did not exist
	left            map[string]int   // 0: it is gone
	stood           map[string][]int // where it was before
}

// modelVariants are those of every flag; the second one is the degraded one.
var modelVariants = []string{"full", "less"}

func ends(v any) time.Time {
	switch v := v.(type) {
	case modelOverride:
		return v.ends
	case modelHold:
		return v.ends
	}
	return time.Time{}
}

func (m *model) lapsed(v any) bool { return !ends(v).IsZero() && !m.now.Before(ends(v)) }

// live is a value, nil if there is none or its time is over.
func (m *model) live(name string) any {
	if o, ok := m.objects[name]; ok && !m.lapsed(o.value) {
		return o.value
	}
	return nil
}

// named are the objects of a kind, sorted.
func (m *model) named(kind string) []string {
	var out []string
	for name := range m.objects {
		if strings.HasPrefix(name, kind) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (m *model) level() int64 {
	floor, ceiling := int64(0), int64(1<<40)
	for _, name := range m.named("holds/") {
		if h, ok := m.live(name).(modelHold); ok {
			floor = max(floor, h.floor)
			if h.ceiling >= 0 {
				ceiling = min(ceiling, h.ceiling)
			}
		}
	}
	return max(floor, min(0, ceiling)) // the policies want 0
}

// write makes a change; a nil value removes. It returns nil if there is nothing
// to do.
func (m *model) write(id, verb, actor string, undoes *modelChange, values map[string]any) *modelChange {
	c := &modelChange{id: id, verb: verb, actor: actor, undoes: undoes, before: make(map[string]any), left: make(map[string]int), stood: make(map[string][]int)}
	for name, value := range values {
		old, had := m.objects[name]
		if !had && value == nil {
			continue
		}
		c.before[name], c.stood[name] = old.value, old.as
		if value == nil {
			delete(m.objects, name)
			c.left[name] = 0
			continue
		}
		at := len(m.changes) + 1
		is := modelObject{value, []int{at}}
		if undoes != nil {
			is.as = append(is.as, undoes.stood[name]...)
		}
		m.objects[name] = is
		c.left[name] = at
	}
	if len(c.left) == 0 {
		return nil
	}
	m.changes = append(m.changes, c)
	for name := range c.left {
		if strings.HasPrefix(name, "holds/") {
			m.settle()
			break
		}
	}
	return c
}

func (m *model) settle() {
	switch above := m.level() > 0; {
	case above:
		m.zero, m.fresh = time.Time{}, false
	case m.zero.IsZero():
		m.zero = m.now
	}
}

// expire is what the servers do at an instant: what has lapsed goes, and a seed
// that was used goes ten minutes after.
func (m *model) expire() (draws bool) {
	gone := make(map[string]any)
	for name, o := range m.objects {
		if m.lapsed(o.value) {
			gone[name] = nil
		}
	}
	m.write("", "expire", "system", nil, gone)
	if m.fresh || m.zero.IsZero() || m.now.Before(m.zero.Add(10*time.Minute)) {
		return false
	}
	m.fresh = true
	m.changes = append(m.changes, &modelChange{verb: "seed.draw", actor: "system"})
	return true
}

// inForce tells whether no undo that is in force has taken a change back.
func (m *model) inForce(c *modelChange) bool {
	for _, later := range m.changes {
		if later.undoes == c && m.inForce(later) {
			return false
		}
	}
	return true
}

// newest is the change that undo takes back without being told.
func (m *model) newest(actor string) *modelChange {
	for _, c := range slices.Backward(m.changes) {
		if c.actor == actor && c.undoes == nil && m.inForce(c) {
			return c
		}
	}
	return nil
}

// undo says what taking a change back writes; false if that is refused.
func (m *model) undo(c *modelChange) (map[string]any, bool) {
	if c == nil || c.actor == "system" {
		return nil, false
	}
	values := make(map[string]any)
	for name, left := range c.left {
		if is, exists := m.objects[name]; exists != (left != 0) || exists && !slices.Contains(is.as, left) {
			return nil, false
		}
		values[name] = c.before[name]
		if m.lapsed(values[name]) {
			values[name] = nil
		}
	}
	then := &model{now: m.now, objects: maps.Clone(m.objects)}
	for name, value := range values {
		if value == nil {
			delete(then.objects, name)
		} else {
			then.objects[name] = modelObject{value: value}
		}
	}
	for name := range values {
		_, key, _ := strings.Cut(name, "/")
		if then.live("overrides/"+key) != nil && then.live("flags/"+key) == nil {
			return nil, false
		}
	}
	return values, true
}

// serves is the variant of a flag, "" where that is up to the bucket.
func (m *model) serves(key string) string {
	f, ok := m.live("flags/" + key).(modelFlag)
	if !ok {
		return "none"
	}
	if ov, ok := m.live("overrides/" + key).(modelOverride); ok {
		return ov.variant
	}
	rank := slices.Index(degrade.DefaultTiers(), f.tier)
	switch shed := min(max(m.level()-int64(3-rank)*1_000_000, 0), 1_000_000); {
	case rank == 0 || shed == 0:
		return f.variant
	case shed == 1_000_000:
		return "less"
	default:
		return ""
	}
}

// lab is a real namespace and its model, side by side.
type lab struct {
	*testing.T
	rapid  *rapid.T
	clock  *clock
	member *store.Embedded
	store  *store.Store
	ns     string
	model  *model
}

// open opens the store, with room for a namespace for each of many checks.
func (l *lab) open() {
	l.store = openOn(l.T, l.member, l.clock.set, func(o *store.Options) { o.Limits.Namespaces = 1 << 20 })
}

func (l *lab) snapshot() *store.Snapshot {
	snap, err := l.store.Snapshot(l.ns)
	if err != nil {
		l.rapid.Fatal(err)
	}
	return snap
}

// did records a verb in the model, and fails unless the store agrees about
// whether anything was changed, or that it was refused.
func (l *lab) did(verb, actor string, undoes *modelChange, values map[string]any, allowed bool, res store.Result, err error) {
	if allowed != (err == nil) {
		l.rapid.Fatalf("%s by %s: allowed %v, but: %v", verb, actor, allowed, err)
	}
	if !allowed {
		return
	}
	c := l.model.write(res.ChangeID, verb, actor, undoes, values)
	if (c != nil) != res.Changed {
		l.rapid.Fatalf("%s by %s: changed %v, want %v", verb, actor, res.Changed, c != nil)
	}
}

func (l *lab) lasts() (*time.Duration, time.Time) {
	minutes := rapid.IntRange(0, 20).Draw(l.rapid, "minutes")
	if minutes == 0 {
		return nil, time.Time{}
	}
	return lasts(time.Duration(minutes) * time.Minute), l.model.now.Add(time.Duration(minutes) * time.Minute)
}

var (
	labKeys   = []string{"checkout", "search", "recs", "extra"}
	labActors = []string{"ann", "bob"}
)

// step does one random thing.
func (l *lab) step() {
	t, m, ctx := l.rapid, l.model, l.Context()
	who := rapid.SampledFrom(labActors).Draw(t, "who")
	key := rapid.SampledFrom(labKeys).Draw(t, "key")
	hasFlag, overridden := m.live("flags/"+key) != nil, m.live("overrides/"+key) != nil
	switch rapid.SampledFrom([]string{"kill", "restore", "restore all", "shed", "level", "auto", "set", "create", "delete", "plan", "undo", "undo", "undo newest", "time", "time", "restart"}).Draw(t, "verb") {
	case "kill":
		variant := rapid.SampledFrom(modelVariants).Draw(t, "variant")
		lasts, until := l.lasts()
		e, err := l.store.Kill(ctx, l.ns, store.Kill{Keys: []string{key, "search"}, Variant: variant, Lasts: lasts}, false, by(who))
		ov := modelOverride{variant, until}
		l.did("override.set", who, nil, map[string]any{"overrides/" + key: ov, "overrides/search": ov}, hasFlag, e.Result, err)
	case "restore":
		e, err := l.store.Restore(ctx, l.ns, []string{key}, false, by(who))
		l.did("override.remove", who, nil, map[string]any{"overrides/" + key: nil}, hasFlag || overridden, e.Result, err)
	case "restore all":
		values := make(map[string]any)
		for _, name := range append(m.named("holds/"), m.named("overrides/")...) {
			values[name] = nil
		}
		e, err := l.store.Restore(ctx, l.ns, nil, false, by(who))
		l.did("restore", who, nil, values, true, e.Result, err)
	case "shed":
		rank := rapid.IntRange(1, 3).Draw(t, "rank")
		tier := degrade.DefaultTiers()[rank]
		share := rapid.SampledFrom([]uint32{0, 1, 400_000, 1_000_000}).Draw(t, "share")
		lasts, until := l.lasts()
		verb, hold := "hold.set", any(modelHold{int64(3-rank)*1_000_000 + int64(share), -1, until})
		if share == 0 {
			verb, hold, lasts = "hold.remove", nil, nil
		}
		e, err := l.store.Shed(ctx, l.ns, tier, share, lasts, false, by(who))
		l.did(verb, who, nil, map[string]any{"holds/shed-" + tier: hold}, true, e.Result, err)
	case "level", "auto":
		values := make(map[string]any)
		for _, name := range m.named("holds/") {
			values[name] = nil
		}
		verb, lasts := "level.auto", (*time.Duration)(nil)
		to := rapid.SampledFrom([]*degrade.Level{nil, level("0"), level("1"), level("1.25"), level("3"), level("3.5")}).Draw(t, "level")
		if to != nil {
			verb = "level.set"
			var until time.Time
			lasts, until = l.lasts()
			values["holds/pin"] = modelHold{int64(*to), int64(*to), until}
		}
		e, err := l.store.SetLevel(ctx, l.ns, to, lasts, false, by(who))
		l.did(verb, who, nil, values, to == nil || *to <= 3_000_000, e.Result, err)
	case "set":
		variant := rapid.SampledFrom(modelVariants).Draw(t, "variant")
		res, _, err := l.store.UpdateFlag(ctx, l.ns, key, store.FlagUpdate{DefaultVariant: &variant}, by(who))
		values := make(map[string]any)
		if f, ok := m.live("flags/" + key).(modelFlag); ok && f.variant != variant {
			values["flags/"+key] = modelFlag{f.tier, variant}
		}
		l.did("flag.set_default", who, nil, values, hasFlag, res, err)
	case "create":
		res, _, err := l.store.CreateFlag(ctx, l.ns, key, dimmable("optional", ""), by(who))
		l.did("flag.create", who, nil, map[string]any{"flags/" + key: modelFlag{"optional", "full"}}, !hasFlag, res, err)
	case "delete":
		res, err := l.store.DeleteFlag(ctx, l.ns, "extra", 0, by(who))
		allowed := m.live("flags/extra") != nil && m.live("overrides/extra") == nil
		l.did("flag.delete", who, nil, map[string]any{"flags/extra": nil}, allowed, res, err)
	case "plan":
		dependency := rapid.SampledFrom([]string{"db", "cache"}).Draw(t, "dependency")
		values := make(map[string]any)
		if m.objects["plan"].value != any(modelPlan{dependency}) {
			values["plan"] = modelPlan{dependency}
		}
		e, err := l.store.SetPlan(ctx, l.ns, planOf(defaultTiers, dependency), 0, false, by(who))
		l.did("plan.set", who, nil, values, true, e.Result, err)
	case "undo":
		if len(m.changes) == 0 {
			return
		}
		if c := rapid.SampledFrom(m.changes).Draw(t, "change"); c.id != "" {
			values, ok := m.undo(c)
			u, err := l.store.Undo(ctx, l.ns, c.id, false, by(who))
			l.did("undo", who, c, values, ok, u.Result, err)
		}
	case "undo newest":
		c := m.newest(who)
		values, ok := m.undo(c)
		u, err := l.store.Undo(ctx, l.ns, "", false, by(who))
		if err == nil && (c == nil || u.Record.GetChangeId() != c.id) {
			t.Fatalf("undone is %v, want %v", u.Record, c)
		}
		l.did("undo", who, c, values, ok, u.Result, err)
	case "time":
		l.clock.advance(time.Duration(rapid.IntRange(1, 12).Draw(t, "minutes")) * time.Minute)
		m.now = l.clock.now()
		l.agree("as time passes") // before anything is recorded of it
		l.store.ExpireDue(ctx)
		if m.expire() {
			if seed := l.snapshot().LevelState().GetSeed(); seed == m.seed {
				t.Fatal("the seed was not drawn anew")
			}
			m.seed = l.snapshot().LevelState().GetSeed()
		}
	case "restart":
		l.store.Close()
		l.open()
	}
}

// agree compares what is in force: the level and what is served.
func (l *lab) agree(when string) {
	snap := l.snapshot()
	set := snap.Set(l.model.now)
	if int64(set.Level()) != l.model.level() {
		l.rapid.Fatalf("%s the level is %s, want %d", when, set.Level(), l.model.level())
	}
	for _, key := range labKeys {
		got := set.String(key, "none", map[string]any{"targetingKey": "user-7"})
		if want := l.model.serves(key); want != "" && (got.Variant != want && got.Value != want) {
			l.rapid.Fatalf("%s %s serves %+v, want %s", when, key, got, want)
		}
	}
}

// agreeOnState compares what is stored.
func (l *lab) agreeOnState() {
	snap, m := l.snapshot(), l.model
	var have []string
	for o := range snap.Objects() {
		if o.Name != "settings" && o.Name != "level" {
			have = append(have, o.Name)
		}
	}
	if want := slices.Sorted(maps.Keys(m.objects)); !slices.Equal(have, want) {
		l.rapid.Fatalf("stored are %v, want %v", have, want)
	}
	for name, o := range m.objects {
		_, key, _ := strings.Cut(name, "/")
		var got, want string
		switch v := o.value.(type) {
		case modelOverride:
			ov, _ := snap.Override(key, time.Time{})
			got, want = fmt.Sprint(ov.GetVariant(), ov.GetExpiresAt().GetSeconds()), fmt.Sprint(v.variant, seconds(v.ends))
		case modelHold:
			h, _ := snap.Hold(key, time.Time{})
			ceiling := int64(-1)
			if h.CeilingMillionths != nil {
				ceiling = int64(h.GetCeilingMillionths())
			}
			got, want = fmt.Sprint(h.GetFloorMillionths(), ceiling, h.GetExpiresAt().GetSeconds()), fmt.Sprint(v.floor, v.ceiling, seconds(v.ends))
		case modelPlan:
			p, _ := snap.Plan()
			for _, d := range p.GetDependencies() {
				got += d.GetName()
			}
			want = v.dependency
		}
		if got != want {
			l.rapid.Fatalf("%s is %s, want %s", name, got, want)
		}
	}
	level := storedLevel(l.T, snap)
	if level.GetSeed() != m.seed || level.GetSeedFresh() != m.fresh || (level.GetZeroSince() == nil) != m.zero.IsZero() ||
		(!m.zero.IsZero() && !level.GetZeroSince().AsTime().Equal(m.zero)) {
		l.rapid.Fatalf("the object level is %v; want seed %s, fresh %v, at 0 since %v", level, m.seed, m.fresh, m.zero)
	}
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// agreeOnLog compares the log with the changes, and its replay with the state.
func (l *lab) agreeOnLog(first int) {
	var have, want []string
	for rec := range allRecords(l.T, l.store, l.ns) {
		have = append(have, rec.GetVerb()+" "+rec.GetActor().GetName()+" "+rec.GetUndoesChangeId())
	}
	for _, c := range l.model.changes {
		undoes := ""
		if c.undoes != nil {
			undoes = c.undoes.id
		}
		want = append(want, c.verb+" "+c.actor+" "+undoes)
	}
	if !slices.Equal(have[first:], want) {
		l.rapid.Fatalf("the log has %v\nwant %v", have[first:], want)
	}
	replay(l.T, l.store, l.ns)
}

// TestDegradationAgreesWithItsModel does random things to a namespace, by two
// actors and the servers, over time and restarts, and to a simple model of it.
func TestDegradationAgreesWithItsModel(t *testing.T) {
	l := &lab{T: t, clock: newClock(), member: startMember(t, t.TempDir())}
	l.open()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		l.rapid, l.ns = rt, fmt.Sprintf("lab-%d", n)
		if _, err := l.store.CreateNamespace(t.Context(), l.ns, &plimsollv1.Settings{}, by("eve")); err != nil {
			rt.Fatal(err)
		}
		defer l.leave()
		l.model = &model{now: l.clock.now(), zero: l.clock.now(), fresh: true, objects: map[string]modelObject{"plan": {value: modelPlan{}}}}
		l.model.seed = l.snapshot().LevelState().GetSeed()
		first := 1
		for key, tier := range map[string]string{"checkout": "critical", "search": "standard", "recs": "optional"} {
			if _, _, err := l.store.CreateFlag(t.Context(), l.ns, key, dimmable(tier, ""), by("eve")); err != nil {
				rt.Fatal(err)
			}
			l.model.objects["flags/"+key] = modelObject{value: modelFlag{tier, "full"}}
			first++
		}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			l.step()
			l.agree("after a step")
			l.agreeOnState()
		}
		l.agreeOnLog(first)
	})
}

// leave ends what would go on to expire beside the namespaces to come.
func (l *lab) leave() {
	if _, err := l.store.Restore(l.Context(), l.ns, nil, false, by("eve")); err != nil && !errors.Is(err, store.ErrClosed) {
		l.rapid.Errorf("restore %s: %v", l.ns, err)
	}
}
