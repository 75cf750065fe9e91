package flag

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

// Parse reads and checks the definition of one flag. The definition is non-nil
// if and only if no fault is an error. Paths start at $, the flag itself.
func Parse(key string, text []byte, env Env) (*Definition, Faults) {
	d, _, faults := parseFlag(key, string(text), env)
	return d, faults
}

// parseFlag is Parse that also hands out the tree, for compiling its targeting.
func parseFlag(key, text string, env Env) (*Definition, jsonNode, Faults) {
	c := &checker{text: text, env: env}
	c.key(0, key)
	if len(text) > MaxDefinition {
		c.errorf(0, "move long lists into segments", "the definition has %d bytes; at most %d are allowed", len(text), MaxDefinition)
		return nil, jsonNode{}, c.sorted()
	}
	root, p, ok := c.parse()
	if !ok {
		return nil, root, c.sorted()
	}
	d := c.flag(key, &root)
	faults := c.sorted()
	if len(faults.Errors()) > 0 {
		return nil, root, faults
	}
	if p.loose {
		// Once more, so that nothing keeps the longer text alive.
		d, root, _ = parseFlag(key, compactJSON(text), env)
		return d, root, faults
	}
	d.text = text
	return d, root, faults
}

// flag checks the flag at n. What it returns is usable only if no error was
// reported; its text is still empty.
func (c *checker) flag(key string, n *jsonNode) *Definition {
	d := &Definition{key: key, fallback: -1, degraded: -1}
	if !c.want(n, "an object with the flag's fields", jsonObject) {
		return d
	}
	c.flagFields(n, d)
	for _, name := range [...]string{"state", "variants"} {
		if n.member(name) == nil {
			c.errorf(n.start, "", "the field %q is missing", name)
		}
	}
	c.flagDefault(n, d)
	if targeting := n.member("targeting"); d.targeted && len(d.variants) > 0 && targeting.kind == jsonObject {
		c.push("targeting")
		c.outcome(targeting, d)
		c.pop()
	}
	if block := n.member("degradation"); block != nil && block.kind == jsonObject {
		c.push("degradation")
		c.flagDegraded(block, d)
		c.pop()
	}
	return d
}

var flagFieldNames = []string{"defaultVariant", "degradation", "key", "metadata", "plimsoll", "state", "targeting", "variants"}

// flagFields checks each member of a flag by itself.
func (c *checker) flagFields(n *jsonNode, d *Definition) {
	for i := range n.items {
		item := &n.items[i]
		c.push(item.name)
		switch item.name {
		case "state":
			c.flagState(item, d)
		case "variants":
			c.flagVariants(item, d)
		case "defaultVariant":
			c.want(item, "the name of a variant, or null", jsonString, jsonNull)
		case "targeting":
			d.targeted = c.flagTargeting(item, d)
		case "metadata":
			d.metadata = c.metadata(item)
		case "degradation":
			d.degradation = c.degradation(item)
		case "plimsoll":
			d.info = c.info(item)
		case "key":
			c.errorf(item.nameAt, "leave it out", `the field "key" belongs only to the flags of an array`)
		default:
			c.unknown(item.nameAt, "field of a flag", item.name, flagFieldNames)
		}
		c.pop()
	}
}

func (c *checker) flagState(n *jsonNode, d *Definition) {
	if !c.want(n, `"ENABLED" or "DISABLED"`, jsonString) {
		return
	}
	switch n.str {
	case "ENABLED":
		d.enabled = true
	case "DISABLED":
	default:
		c.errorf(n.start, suggest(strings.ToUpper(n.str), []string{"ENABLED", "DISABLED"}), "unknown state %s", quote(n.str))
	}
}

func (c *checker) flagVariants(n *jsonNode, d *Definition) {
	if !c.want(n, "an object of variants by name", jsonObject) {
		return
	}
	if len(n.items) == 0 {
		c.errorf(n.start, "", "a flag needs at least one variant")
		return
	}
	d.variants = make([]variant, len(n.items))
	for i := range n.items {
		item := &n.items[i]
		if identifier.MatchString(item.name) {
			c.path = append(c.path, "."+item.name)
		} else {
			c.pushQuoted(item.name)
		}
		if item.name == "" {
			c.errorf(item.nameAt, "", "a variant's name must not be empty")
		}
		typ := c.variant(item, &d.variants[i])
		switch {
		case d.typ == 0:
			d.typ = typ
		case typ != 0 && typ != d.typ:
			c.errorf(item.start, "all variants of a flag have one type", "this is a %s, but variants before it are %ss", typ, d.typ)
		}
		c.pop()
	}
}

// maxSafeInteger is the largest integer that every client can hold: a double
// counts up to here without gaps.
const maxSafeInteger = 1<<53 - 1

func unsafeInteger(f float64) bool {
	return f == math.Trunc(f) && math.Abs(f) > maxSafeInteger && !math.IsInf(f, 0)
}

func (c *checker) variant(n *jsonNode, v *variant) Type {
	v.name, v.json = n.name, c.text[n.start:n.end]
	switch n.kind {
	case jsonBool:
		v.value = n.truth
		return Bool
	case jsonString:
		v.value = n.str
		return String
	case jsonNumber:
		f := c.finite(n)
		v.value = f
		if unsafeInteger(f) {
			c.errorf(n.start, "use a string variant", "whole numbers beyond ±%d are not the same number in every language", int64(maxSafeInteger))
		}
		return Number
	case jsonObject:
		v.value = c.data(n)
		return Object
	default:
		c.errorf(n.start, "", "a variant is a bool, a string, a number or an object, not %s", n.kind)
		return 0
	}
}

// finite is the value of a number that a double can hold.
func (c *checker) finite(n *jsonNode) float64 {
	f := n.number()
	if math.IsInf(f, 0) {
		c.errorf(n.start, "", "the number %s is too large for a double", quote(n.str))
	}
	return f
}

// data is the value at n as Go data: nil, bool, float64, string, []any or
// map[string]any.
func (c *checker) data(n *jsonNode) any {
	switch n.kind {
	case jsonBool:
		return n.truth
	case jsonNumber:
		f := c.finite(n)
		if unsafeInteger(f) { // some protocols carry its text, others a double
			c.warnf(n.start, "use a string", "whole numbers beyond ±%d are not the same number in every language", int64(maxSafeInteger))
		}
		return f
	case jsonString:
		return n.str
	case jsonArray:
		list := make([]any, len(n.items))
		for i := range n.items {
			list[i] = c.data(&n.items[i])
		}
		return list
	case jsonObject:
		m := make(map[string]any, len(n.items))
		for i := range n.items {
			m[n.items[i].name] = c.data(&n.items[i])
		}
		return m
	default:
		return nil
	}
}

func (c *checker) flagDefault(n *jsonNode, d *Definition) {
	def := n.member("defaultVariant")
	if def == nil || def.kind != jsonString {
		return
	}
	c.push("defaultVariant")
	defer c.pop()
	d.fallback = c.variantNamed(def, d)
}

// variantNamed is the index of the variant that the string at n names.
func (c *checker) variantNamed(n *jsonNode, d *Definition) int32 {
	i := d.variant(n.str)
	if i < 0 && len(d.variants) > 0 {
		c.errorf(n.start, c.suggest(n.str, d.Variants), "there is no variant %s", quote(n.str))
	}
	return i
}

// flagTargeting checks a targeting and tells whether there is any.
func (c *checker) flagTargeting(n *jsonNode, d *Definition) bool {
	if noTargeting(n) {
		return false
	}
	if c.want(n, "a rule", jsonObject) {
		d.refs = c.rule(n)
	}
	return true
}

// noTargeting tells whether a targeting says nothing.
func noTargeting(n *jsonNode) bool {
	return n == nil || n.kind == jsonNull || (n.kind == jsonObject && len(n.items) == 0)
}

// metadata checks metadata of a flag or a set; nil when there is none.
func (c *checker) metadata(n *jsonNode) map[string]any {
	if !c.want(n, "an object of strings, numbers and bools", jsonObject) || len(n.items) == 0 {
		return nil
	}
	m := make(map[string]any, len(n.items))
	for i := range n.items {
		item := &n.items[i]
		c.push(item.name)
		if item.name == "" {
			c.errorf(item.nameAt, "", "a name of metadata must not be empty")
		}
		if c.want(item, "a string, a number or a bool", jsonString, jsonNumber, jsonBool) {
			m[item.name] = c.data(item)
		}
		c.pop()
	}
	return m
}

// defaultTier is the tier of a degradation block that names none.
const defaultTier = "standard"

func (c *checker) degradation(n *jsonNode) *Degradation {
	if !c.want(n, "an object", jsonObject) {
		return nil
	}
	block := &Degradation{Tier: defaultTier}
	c.fields(n, "a degradation block", map[string]func(*jsonNode){
		"tier": func(n *jsonNode) {
			if c.want(n, "the name of a tier", jsonString) {
				block.Tier = n.str
				c.tier(n.start, n.str, "")
			}
		},
		"degradedVariant": func(n *jsonNode) {
			c.want(n, "the name of a variant", jsonString)
		},
		"dependsOn": func(n *jsonNode) { block.DependsOn = c.names(n) },
		"guard": func(n *jsonNode) {
			if c.want(n, "the name of a guard", jsonString) {
				block.Guard = n.str
				if n.str == "" {
					c.errorf(n.start, "leave the field out for none", "a guard's name must not be empty")
				}
			}
		},
	})
	if n.member("tier") == nil {
		c.tier(n.start, defaultTier, `the field "tier" is missing and its default does not exist here: `)
	}
	return block
}

// tier checks that a tier exists.
func (c *checker) tier(at int, name, prefix string) {
	tiers := c.env.Tiers
	if tiers == nil {
		if tiers = degrade.DefaultTiers(); !slices.Contains(tiers, name) {
			c.warnf(at, "", "the tier %s is none of the default ones (%s)", quote(name), strings.Join(tiers, ", "))
		}
		return
	}
	if !slices.Contains(tiers, name) {
		c.errorf(at, c.suggest(name, func() []string { return tiers }), "%sthere is no tier %s", prefix, quote(name))
	}
}

func (c *checker) names(n *jsonNode) []string {
	if !c.want(n, "an array of names", jsonArray) {
		return nil
	}
	var names []string
	for i := range n.items {
		item := &n.items[i]
		c.pushIndex(i)
		switch {
		case !c.want(item, "a name", jsonString):
		case item.str == "":
			c.errorf(item.start, "", "a name must not be empty")
		case slices.Contains(names, item.str):
			c.errorf(item.start, "", "%s is listed twice", quote(item.str))
		default:
			names = append(names, item.str)
		}
		c.pop()
	}
	return names
}

// flagDegraded finds the degraded variant: the one named, else the only one
// whose value is false or empty.
func (c *checker) flagDegraded(block *jsonNode, d *Definition) {
	if d.degradation == nil || len(d.variants) == 0 {
		return
	}
	if named := block.member("degradedVariant"); named != nil {
		if named.kind == jsonString {
			c.push("degradedVariant")
			d.degraded = c.variantNamed(named, d)
			c.pop()
		}
	} else {
		d.degraded = c.emptyVariant(block, d)
	}
	if d.degraded >= 0 {
		d.degradation.DegradedVariant = d.variants[d.degraded].name
	}
}

func (c *checker) emptyVariant(block *jsonNode, d *Definition) int32 {
	found := int32(-1)
	for i := range d.variants {
		if !d.variants[i].empty() {
			continue
		}
		if found >= 0 {
			c.errorf(block.start, "name the variant to serve when the flag is shed",
				`the field "degradedVariant" is missing, and both %s and %s could be meant`, quote(d.variants[found].name), quote(d.variants[i].name))
			return -1
		}
		found = int32(i)
	}
	if found < 0 {
		c.errorf(block.start, "name the variant to serve when the flag is shed",
			`the field "degradedVariant" is missing, and no variant is false or empty`)
	}
	return found
}

// empty tells whether the variant's value is false or empty.
func (v *variant) empty() bool {
	switch value := v.value.(type) {
	case bool:
		return !value
	case string:
		return value == ""
	case map[string]any:
		return len(value) == 0
	default:
		return false
	}
}

func (c *checker) info(n *jsonNode) *Info {
	if !c.want(n, "an object", jsonObject) {
		return nil
	}
	info := &Info{}
	text := func(to *string) func(*jsonNode) {
		return func(n *jsonNode) {
			if c.want(n, "a string", jsonString) {
				*to = n.str
			}
		}
	}
	c.fields(n, "a plimsoll block", map[string]func(*jsonNode){
		"owner":       text(&info.Owner),
		"description": text(&info.Description),
		"expires": func(n *jsonNode) {
			if !c.want(n, "a date such as 2030-01-31", jsonString) {
				return
			}
			info.Expires = n.str
			if _, err := time.Parse(time.DateOnly, n.str); err == nil {
				return
			}
			if _, err := time.Parse(time.RFC3339, n.str); err != nil {
				c.errorf(n.start, "write it as 2030-01-31 or 2030-01-31T12:00:00Z", "%s is no date", quote(n.str))
			}
		},
		"labels": func(n *jsonNode) {
			if !c.want(n, "an object of strings", jsonObject) {
				return
			}
			info.Labels = make(map[string]string, len(n.items))
			for i := range n.items {
				item := &n.items[i]
				c.push(item.name)
				if c.want(item, "a string", jsonString) {
					info.Labels[item.name] = item.str
				}
				c.pop()
			}
		},
	})
	return info
}

// WithState is the text of a flag with another state and everything else as it
// was.
func WithState(text string, enabled bool) (string, error) {
	state := `"DISABLED"`
	if enabled {
		state = `"ENABLED"`
	}
	return withMember(text, "state", state)
}

// WithDefaultVariant is the text of a flag with another default variant and
// everything else as it was. The variant must exist.
func WithDefaultVariant(text, name string) (string, error) {
	root, p := parseJSON(text)
	if p.hard == nil {
		if variants := root.member("variants"); variants == nil || variants.member(name) == nil {
			var names []string
			if variants != nil {
				for i := range variants.items {
					names = append(names, variants.items[i].name)
				}
			}
			return "", fmt.Errorf("there is no variant %s (%s)", quote(name), suggest(name, names))
		}
	}
	return withMember(text, "defaultVariant", string(appendQuoted(nil, name)))
}

// withMember replaces the value of a member of the object in text, or appends
// the member.
func withMember(text, name, value string) (string, error) {
	root, p := parseJSON(text)
	if p.hard != nil || root.kind != jsonObject {
		return "", fmt.Errorf("the flag's text is no JSON object")
	}
	if m := root.member(name); m != nil {
		return text[:m.start] + value + text[m.end:], nil
	}
	comma := ","
	if len(root.items) == 0 {
		comma = ""
	}
	last := root.end - 1
	return text[:last] + comma + string(appendQuoted(nil, name)) + ":" + value + text[last:], nil
}
