package flag

import (
	"fmt"
	"math/rand/v2"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

// generator makes random rules, contexts and flags. The same seed makes the
// same ones.
type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator {
	return generator{rand.New(rand.NewPCG(seed, 0x706c696d736f6c6c))}
}

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

// texts are strings that conversions treat differently.
var texts = []string{"", "a", "b", "c", "DE", "ab", "abc", "on", "off", "0", "1", "01", " 7 ", "1.5", "-3", "1e3", ".5", "5.", "12abc", "true", "null",
	"NaN", "Infinity", "-Infinity", "0x1F", "0b11", "héllo", "日本", "𝒳y", "a,b", "1,2", "[object Object]"}

func (g generator) text() string { return pick(g, texts...) }

func (g generator) number() any {
	return pick[any](g, 0, 1, 2, 3, -1, 7, 10, 42, 0.5, -2.5, 1e21, 1e-7, 123456789, 2147483648)
}

func (g generator) scalar() any {
	switch g.IntN(6) {
	case 0:
		return nil
	case 1:
		return g.IntN(2) == 0
	case 2, 3:
		return g.number()
	default:
		return g.text()
	}
}

func (g generator) list(depth int) []any {
	list := make([]any, g.IntN(4))
	for i := range list {
		if depth > 0 && g.IntN(4) == 0 {
			list[i] = g.list(depth - 1)
		} else {
			list[i] = g.scalar()
		}
	}
	return list
}

// data is a context with attributes of every kind under known names; some are
// missing at times.
func (g generator) data() map[string]any {
	m := map[string]any{
		"s": g.text(), "t": g.text(), "n": g.number(), "m": g.number(), "b": g.IntN(2) == 0, "z": nil,
		"xs": g.list(1), "ns": []any{g.number(), g.number()}, "ss": []any{g.text(), g.text(), g.text()},
		"o":            map[string]any{"k": g.scalar(), "l": g.list(0), "p": map[string]any{"q": g.scalar()}},
		"os":           []any{map[string]any{"k": g.number()}, map[string]any{"k": g.text()}},
		"email":        pick(g, "ann@example.com", "bob@shop.de", "x"),
		"version":      pick(g, "1.2.3", "v1.2.4", "2.0.0-rc.1", "1", "1.2", "1.2.3.4", "x", "1.10.0", "2.0.0+build"),
		"targetingKey": fmt.Sprintf("user-%d", g.IntN(1000)),
	}
	for _, name := range []string{"s", "n", "xs", "o", "targetingKey"} {
		if g.IntN(12) == 0 {
			delete(m, name)
		}
	}
	return m
}

var paths = []any{"s", "t", "n", "m", "b", "z", "xs", "ns", "ss", "o", "os", "o.k", "o.l", "o.p.q", "xs.0", "os.1.k", "missing", "o.missing.k", "z.k", "", 0}

func op(name string, args ...any) any { return map[string]any{name: args} }

// rule is a rule of JSONLogic's own operations over anything at all.
func (g generator) rule(depth int) any {
	if depth == 0 || g.IntN(6) == 0 {
		switch g.IntN(5) {
		case 0:
			return g.scalar()
		case 1:
			return g.list(0)
		case 2:
			return op("var", pick(g, paths...), g.scalar())
		default:
			return map[string]any{"var": pick(g, paths...)}
		}
	}
	sub := func() any { return g.rule(depth - 1) }
	many := func(least int) []any {
		args := make([]any, least+g.IntN(3))
		for i := range args {
			args[i] = sub()
		}
		return args
	}
	switch name := pick(g, "==", "===", "!=", "!==", "<", "<=", ">", ">=", "!", "!!", "if", "and", "or", "+", "-", "*", "/", "%", "max", "min",
		"cat", "substr", "in", "merge", "missing", "missing_some", "map", "filter", "reduce", "all", "some", "none", "log", "var", "list"); name {
	case "<", "<=":
		return map[string]any{name: many(3)[:2+g.IntN(2)]}
	case "!", "!!", "log":
		arg := sub()
		if _, bracketed := arg.([]any); bracketed || g.IntN(2) == 0 {
			return op(name, arg)
		}
		return map[string]any{name: arg}
	case "if", "and", "or", "+", "*", "max", "min", "merge":
		return map[string]any{name: many(1)}
	case "cat":
		return map[string]any{name: many(0)}
	case "-":
		return map[string]any{name: many(2)[:1+g.IntN(2)]}
	case "substr":
		return map[string]any{name: append([]any{sub(), g.number()}, []any{g.number()}[:g.IntN(2)]...)}
	case "missing":
		return map[string]any{name: []any{pick(g, paths...), pick(g, paths...), g.text()}}
	case "missing_some":
		return op(name, g.IntN(3), []any{pick(g, paths...), pick(g, paths...)})
	case "map", "filter", "all", "some", "none":
		return op(name, g.listRule(depth-1), g.body(depth-1))
	case "reduce":
		return op(name, g.listRule(depth-1), pick(g, op("+", map[string]any{"var": "current"}, map[string]any{"var": "accumulator"}),
			op("cat", map[string]any{"var": "accumulator"}, map[string]any{"var": "current"}), sub()), g.scalar())
	case "var":
		return op(name, sub(), g.scalar())
	case "list":
		return many(0)
	default:
		return op(name, sub(), sub())
	}
}

func (g generator) listRule(depth int) any {
	if g.IntN(5) == 0 {
		return g.rule(max(depth, 0))
	}
	return pick[any](g, map[string]any{"var": "xs"}, map[string]any{"var": "ns"}, map[string]any{"var": "ss"}, map[string]any{"var": "os"}, g.list(1))
}

// body is a rule over the elements of a list.
func (g generator) body(depth int) any {
	item := pick[any](g, map[string]any{"var": ""}, map[string]any{"var": "k"}, map[string]any{"var": []any{}})
	switch g.IntN(4) {
	case 0:
		return item
	case 1:
		return op(pick(g, "==", ">", "+", "cat", "in"), item, g.scalar())
	case 2:
		return op("!", item)
	default:
		return g.rule(max(depth, 0))
	}
}

// Cases in which flagd's JavaScript evaluator is known to answer otherwise; see
// DIFFERENCES.md.
const (
	caseNotASCII   = "bucketing-not-ascii"
	caseNullValue  = "bucketing-null"
	caseNullWeight = "weight-null"
	caseNullSubstr = "substr-null"
)

// flagGenerator makes flags as people write them, and notes the known cases that
// they touch.
type flagGenerator struct {
	generator
	cases map[string]bool
}

// context is one with attributes whose types the rules below expect.
func (g flagGenerator) context() map[string]any {
	m := map[string]any{
		"country": pick(g.generator, "DE", "FR", "US", "日本"), "plan": pick(g.generator, "free", "gold", ""),
		"age": g.IntN(100), "score": float64(g.IntN(1000)) / 8, "beta": g.IntN(2) == 0,
		"email":   pick(g.generator, "ann@example.com", "bob@shop.de", "zoë@shop.de"),
		"version": pick(g.generator, "1.2.3", "v1.2.4", "V2.0.0", "2.0.0-rc.1", "1", "1.2", "1.2.3.4", "none", "1.10.0", "2.0.0+build"),
		"roles":   []any{pick(g.generator, "admin", "editor"), "viewer"},
		"sizes":   []any{g.IntN(10), g.IntN(10), g.IntN(10)},
		"address": map[string]any{"city": pick(g.generator, "Bonn", "Köln"), "zip": "53111"},
	}
	if g.IntN(8) > 0 {
		m["targetingKey"] = pick(g.generator, fmt.Sprintf("user-%d", g.IntN(1_000_000)), fmt.Sprintf("%d", g.Uint64()), "x")
	}
	if g.IntN(6) == 0 {
		delete(m, pick(g.generator, "country", "plan", "beta", "email", "address"))
	}
	return m
}

func at(path string) any { return map[string]any{"var": path} }

// condition yields true or false.
func (g flagGenerator) condition(depth int) any {
	if depth > 0 {
		switch g.IntN(5) {
		case 0:
			return op("and", g.condition(depth-1), g.condition(depth-1))
		case 1:
			return op("or", g.condition(depth-1), g.condition(depth-1), g.condition(0))
		case 2:
			return op("!", g.condition(depth-1))
		}
	}
	version := func() any {
		return pick[any](g.generator, at("version"), "1.2.3", "2.0.0", "1.10.0", "v1.3", "1")
	}
	switch g.IntN(18) {
	case 16:
		return op(pick(g.generator, "<", "<=", ">", ">=", "==", "!=", "==="), g.numeric(2), g.numeric(1))
	case 17:
		return op("in", "x", op("merge", at("roles"), []any{pick(g.generator, "x", "y")}, "z"))
	case 0:
		return op(pick(g.generator, "==", "!=", "===", "!=="), at("country"), pick(g.generator, "DE", "FR", "XX"))
	case 1:
		return op("==", pick(g.generator, "free", "gold"), at("plan"))
	case 2:
		return op(pick(g.generator, "<", "<=", ">", ">=", "==", "!="), at("age"), g.IntN(100))
	case 3:
		return op("<=", g.IntN(50), at("age"), 50+g.IntN(50))
	case 4:
		return op("in", at("country"), []any{"DE", "FR", "日本"})
	case 5:
		return op("in", pick(g.generator, "@shop.de", "ann", "zoë"), at("email"))
	case 6:
		return op(pick(g.generator, "starts_with", "ends_with"), at(pick(g.generator, "email", "country", "age")), pick(g.generator, "ann", "@shop.de", "DE", ""))
	case 7, 8:
		return op("sem_ver", version(), pick(g.generator, "=", "!=", "<", "<=", ">", ">=", "~", "^"), version())
	case 9:
		return op("!!", at(pick(g.generator, "beta", "plan", "roles", "address")))
	case 10:
		return op(pick(g.generator, "some", "all", "none"), at("roles"), op("==", at(""), pick(g.generator, "admin", "viewer")))
	case 11:
		return op(pick(g.generator, "some", "all", "none"), at("sizes"), op(">", at(""), g.IntN(10)))
	case 12:
		return op(">", op("reduce", at("sizes"), op("+", at("current"), at("accumulator")), 0), g.IntN(30))
	case 13:
		return op("==", op("cat", at("address.city"), "-", at("address.zip")), "Bonn-53111")
	case 14:
		return op("==", op("substr", at("email"), 0, 3), "ann")
	default:
		return op("==", op("%", at("age"), 2), g.IntN(2))
	}
}

// numeric yields a number.
func (g flagGenerator) numeric(depth int) any {
	if depth > 0 {
		a, b := g.numeric(depth-1), g.numeric(depth-1)
		switch g.IntN(7) {
		case 0:
			return op("+", a, b, g.numeric(0))
		case 1:
			return op("-", a, b)
		case 2:
			return op("-", a)
		case 3:
			return op("*", a, b)
		case 4:
			return op("/", a, pick(g.generator, 2, 4, -3))
		case 5:
			return op("%", a, pick(g.generator, 2, 7, -3))
		case 6:
			return op(pick(g.generator, "max", "min"), a, b, g.numeric(0))
		}
	}
	return pick[any](g.generator, at("age"), at("score"), at("sizes.1"), g.IntN(50), float64(g.IntN(400))/8)
}

var variantNames = []string{"on", "off", "red", "true", "false", "7"}

// outcome yields the name of a variant, null, and at times neither.
func (g flagGenerator) outcome(depth int) any {
	if depth > 0 {
		switch g.IntN(4) {
		case 0, 1:
			args := []any{g.condition(1), g.outcome(depth - 1)}
			if g.IntN(4) == 0 {
				args = append(args, g.condition(1), g.outcome(depth-1))
			}
			if g.IntN(5) > 0 {
				args = append(args, g.outcome(depth-1))
			}
			return map[string]any{"if": args}
		case 2:
			return g.fractional(depth - 1)
		}
	}
	switch g.IntN(12) {
	case 0:
		return nil
	case 1:
		return g.IntN(2) == 0
	case 2:
		return 7
	case 3:
		return "none-such"
	case 4:
		return g.condition(1)
	case 5:
		return at("plan")
	default:
		return pick(g.generator, variantNames...)
	}
}

func (g flagGenerator) fractional(depth int) any {
	var args []any
	switch g.IntN(8) {
	case 0:
		args = append(args, op("cat", at("$flagd.flagKey"), at("email")))
		g.cases[caseNotASCII] = true
	case 1:
		args = append(args, at("country"))
		g.cases[caseNotASCII], g.cases[caseNullValue] = true, true
	case 2:
		args = append(args, op("cat", "salt", at("targetingKey")))
	}
	for range 1 + g.IntN(4) {
		bucket := []any{pick[any](g.generator, "on", "off", "red", nil, true, 7)}
		if depth > 0 && g.IntN(4) == 0 {
			bucket[0] = g.outcome(depth - 1)
		}
		switch g.IntN(10) {
		case 0:
		case 1:
			bucket = append(bucket, at("age"))
		case 2:
			bucket = append(bucket, op("-", at("age"), 50))
		case 3:
			bucket = append(bucket, at("score"))
		case 4:
			bucket = append(bucket, nil)
			g.cases[caseNullWeight] = true
		default:
			bucket = append(bucket, pick[any](g.generator, 0, 1, 25, 50, 100, 1_000_000, 500_000_000))
		}
		args = append(args, bucket)
	}
	return map[string]any{"fractional": args}
}

// flag is a whole flag; its values are strings.
func (g flagGenerator) flag() map[string]any {
	variants := map[string]any{}
	for _, name := range variantNames {
		variants[name] = "value of " + name
	}
	f := map[string]any{"state": "ENABLED", "variants": variants}
	if g.IntN(10) == 0 {
		f["state"] = "DISABLED"
	}
	if g.IntN(6) > 0 {
		f["defaultVariant"] = pick(g.generator, variantNames...)
	}
	if g.IntN(8) > 0 {
		if targeting, ok := g.outcome(3).(map[string]any); ok {
			f["targeting"] = targeting
		}
	}
	return f
}

// update is a snapshot of a few flags that use rules, tiers, guards and
// overrides, at any level.
func (g flagGenerator) update() Update {
	u := Update{
		Reset: true, Revision: 7,
		Evaluators: []Source{{"adult", encode(op(">=", at("age"), 18))}, {"local", encode(g.condition(1))}},
		Segments:   []Source{{"vip", encode(op("and", map[string]any{"$ref": "adult"}, g.condition(1)))}},
		Settings:   &Settings{Bucketing: pick(g.generator, V1, V2, V3), Metadata: pick(g.generator, "", `{"flagSetId":"shop","n":1.5}`)},
		Level:      &degrade.LevelState{Auto: degrade.Level(pick(g.generator, 0, 1, 250_000, 499_999, 500_000, 999_999, 1_000_000, 1_700_000, 3_000_000)), Seed: fmt.Sprintf("%016x", g.Uint64())},
	}
	if g.IntN(3) == 0 {
		u.OpenGuards = []OpenGuard{{Name: "db"}}
	}
	for i := range 4 {
		key := fmt.Sprintf("flag %d", i)
		f := g.flag()
		if g.IntN(3) > 0 {
			rule := pick[any](g.generator, map[string]any{"$ref": "local"}, map[string]any{"segment": "vip"}, op("!", map[string]any{"segment": "vip"}))
			f["targeting"] = op("if", rule, g.outcome(1), g.outcome(2))
		}
		if g.IntN(5) > 0 {
			f["degradation"] = map[string]any{
				"tier": pick(g.generator, "critical", "important", "standard", "optional"), "degradedVariant": "off", "guard": pick(g.generator, "db", "cache"),
			}
		}
		if g.IntN(2) == 0 {
			f["metadata"] = map[string]any{"team": "a"}
			f["plimsoll"] = map[string]any{"owner": "ann"}
		}
		if g.IntN(6) == 0 {
			u.Overrides = append(u.Overrides, Override{Key: key, Variant: pick(g.generator, variantNames...)})
		}
		u.Flags = append(u.Flags, Source{key, encode(f)})
	}
	return u
}
