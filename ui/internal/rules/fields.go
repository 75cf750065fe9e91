package rules

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxVariants bounds the variants that a form shows.
const maxVariants = 100

// Fields is a definition as a form, except its targeting.
type Fields struct {
	Disabled bool
	Variants []Variant
	// Default is the default variant; "": callers use their own default.
	Default string
	// Description, Owner and Expires are those of the block plimsoll; Labels are
	// its labels, a line k=v each.
	Description, Owner, Expires, Labels string
	// Degradable: it has a degradation block, with these. DependsOn is separated
	// by commas.
	Degradable                       bool
	Tier, Degraded, DependsOn, Guard string
}

// Variant is a variant as it stands in a form: its value is typed like that of a
// condition.
type Variant struct {
	Name, Value string
	// Was is the name before it was typed over; "": it is new.
	Was string
}

// ReadFields reads a definition. The error says which member is none that a form
// can show.
func ReadFields(o *Object) (Fields, error) {
	var f Fields
	r := reader{}
	f.Disabled = r.text(o, "state") == "DISABLED"
	f.Default = r.text(o, "defaultVariant")
	if variants := r.child(o, "variants"); variants != nil {
		for _, name := range variants.names {
			if !plain(name) || len(f.Variants) == maxVariants {
				r.fail(fmt.Errorf("the variant %s does not fit into a form", clipped(name)))
			}
			f.Variants = append(f.Variants, Variant{Name: name, Was: name, Value: variantText(variants.Get(name))})
		}
	}
	if info := r.child(o, "plimsoll"); info != nil {
		f.Description, f.Owner, f.Expires = r.text(info, "description"), r.text(info, "owner"), r.text(info, "expires")
		if labels := r.child(info, "labels"); labels != nil {
			var lines []string
			for _, k := range labels.names {
				v := r.text(labels, k)
				if !plain(k) || (v != "" && !plain(v)) || strings.ContainsAny(k, "=") {
					r.fail(fmt.Errorf("the label %s does not fit into a form", clipped(k)))
				}
				lines = append(lines, k+"="+v)
			}
			f.Labels = strings.Join(lines, "\n")
		}
	}
	if deg := r.child(o, "degradation"); deg != nil {
		f.Degradable = true
		f.Tier, f.Degraded, f.Guard = r.text(deg, "tier"), r.text(deg, "degradedVariant"), r.text(deg, "guard")
		f.DependsOn = r.list(deg, "dependsOn")
	}
	for _, s := range []string{f.Default, f.Owner, f.Expires, f.Tier, f.Degraded, f.Guard} {
		if s != "" && !plain(s) {
			r.fail(fmt.Errorf("%s does not fit into a field", clipped(s)))
		}
	}
	f.Description = strings.TrimSpace(lines(f.Description))
	return f, r.err
}

// reader remembers the first error.
type reader struct{ err error }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) text(o *Object, name string) string {
	s, err := o.text(name)
	if err != nil {
		r.fail(err)
	}
	return s
}

func (r *reader) child(o *Object, name string) *Object {
	c, err := o.child(name)
	if err != nil {
		r.fail(err)
	}
	return c
}

func (r *reader) list(o *Object, name string) string {
	raw := o.Get(name)
	if raw == "" || raw == "null" {
		return ""
	}
	var names []string
	if err := json.Unmarshal([]byte(raw), &names); err != nil {
		r.fail(fmt.Errorf("%s is no list of names", name))
		return ""
	}
	for _, n := range names {
		if !plain(n) || strings.Contains(n, ",") {
			r.fail(fmt.Errorf("the name %s in %s does not fit into a field", clipped(n), name))
		}
	}
	return strings.Join(names, ", ")
}

// variantText is a variant's value as it is typed; objects and lists are
// indented.
func variantText(raw string) string {
	if strings.HasPrefix(raw, "{") || strings.HasPrefix(raw, "[") {
		return Pretty(raw)
	}
	text := fieldText(raw, OpEqual)
	if text != raw && strings.ContainsAny(text[:1], `{[`) {
		return raw // typed without quotes it would be taken for JSON
	}
	return text
}

// variantValue reads what was typed.
func variantValue(s string) (string, error) {
	s = strings.TrimSpace(s)
	if json.Valid([]byte(s)) {
		return compact(s), nil
	}
	if s == "" {
		return `""`, nil
	}
	if strings.ContainsAny(s[:1], `{["`) {
		_, err := ReadObject(s)
		return "", fmt.Errorf("it begins like JSON but is none: %w", err)
	}
	return quote(strings.ToValidUTF8(s, "")), nil
}

// VariantField is what the fields of a variant begin with.
func VariantField(i int) string { return "variant." + strconv.Itoa(i) }

// Encode puts the fields into a form.
func (f Fields) Encode(form url.Values) {
	form.Set("disabled", strconv.FormatBool(f.Disabled))
	for i, v := range f.Variants {
		at := VariantField(i)
		form.Set(at+".name", v.Name)
		form.Set(at+".value", v.Value)
		form.Set(at+".was", v.Was)
	}
	form.Set("default", f.Default)
	form.Set("description", f.Description)
	form.Set("owner", f.Owner)
	form.Set("expires", f.Expires)
	form.Set("labels", f.Labels)
	if f.Degradable {
		form.Set("degradable", "true")
	}
	form.Set("tier", f.Tier)
	form.Set("degraded", f.Degraded)
	form.Set("dependson", f.DependsOn)
	form.Set("guard", f.Guard)
}

// DecodeFields reads a form. A variant that was given another name has it in the
// other fields too; renamed are the names that the targeting still has, and what
// they are now.
func DecodeFields(form url.Values) (f Fields, renamed map[string]string, problems []Problem) {
	d := decoder{form: form}
	renamed = make(map[string]string)
	f.Disabled = form.Get("disabled") == "true"
	seen := make(map[string]bool)
	for i := 0; i < maxVariants && form.Has(VariantField(i)+".name"); i++ {
		at := VariantField(i)
		v := Variant{Name: d.name(at+".name", "the variant"), Value: lines(form.Get(at + ".value")), Was: form.Get(at + ".was")}
		if seen[v.Name] && v.Name != "" {
			d.problem(at+".name", "There is a variant of this name already.")
		}
		seen[v.Name] = true
		if _, err := variantValue(v.Value); err != nil {
			d.problem(at+".value", "The value cannot be read: %v.", err)
		}
		if v.Was != "" && v.Was != v.Name && v.Name != "" {
			renamed[v.Was] = v.Name
		}
		f.Variants = append(f.Variants, v)
	}
	field := func(name string) string { return strings.TrimSpace(form.Get(name)) }
	variant := func(name string) string {
		s := field(name)
		if to, ok := renamed[s]; ok {
			return to
		}
		return s
	}
	f.Default, f.Degraded = variant("default"), variant("degraded")
	f.Description, f.Owner, f.Expires, f.Labels = strings.TrimSpace(lines(form.Get("description"))), field("owner"), field("expires"), lines(field("labels"))
	f.Degradable = form.Get("degradable") == "true"
	f.Tier, f.DependsOn, f.Guard = field("tier"), field("dependson"), field("guard")
	if _, err := readLabels(f.Labels); err != nil {
		d.problem("labels", "The label %v.", err)
	}
	return f, renamed, d.problems
}

// lines is what was typed into a field of several lines; browsers send CRLF.
func lines(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }

// readLabels reads a line k=v each.
func readLabels(s string) (*Object, error) {
	o := &Object{}
	for line := range strings.SplitSeq(s, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if !ok || k == "" {
			return nil, fmt.Errorf("%s is not of the form name=value", clipped(line))
		}
		o.Set(k, quote(v))
	}
	return o, nil
}

// Write brings a definition to what the fields say. Members that say so already
// stay as they were written, as do those that the fields do not know.
func (f Fields) Write(o *Object) {
	was, _ := ReadFields(o) // what cannot be read is written anew
	if f.Disabled != was.Disabled || o.Get("state") == "" {
		state := "ENABLED"
		if f.Disabled {
			state = "DISABLED"
		}
		o.Set("state", quote(state))
	}
	f.writeVariants(o)
	if f.Default != was.Default {
		o.setText("defaultVariant", f.Default)
	}
	f.writeInfo(o, was)
	f.writeDegradation(o, was)
}

func (f Fields) writeVariants(o *Object) {
	before, err := o.child("variants")
	if before == nil || err != nil {
		before = &Object{}
	}
	after := &Object{}
	for _, v := range f.Variants {
		old := before.Get(v.Was)
		if v.Was != "" && old != "" && variantText(old) == v.Value {
			after.Set(v.Name, old)
			continue
		}
		value, err := variantValue(v.Value)
		if err != nil {
			value = quote(v.Value)
		}
		after.Set(v.Name, value)
	}
	if after.Compact() != before.Compact() {
		o.Set("variants", after.Compact())
	}
}

func (f Fields) writeInfo(o *Object, was Fields) {
	if f.Description == was.Description && f.Owner == was.Owner && f.Expires == was.Expires && f.Labels == was.Labels {
		return
	}
	info, err := o.child("plimsoll")
	if info == nil || err != nil {
		info = &Object{}
	}
	for _, m := range []struct{ name, now, was string }{
		{"description", f.Description, was.Description}, {"owner", f.Owner, was.Owner}, {"expires", f.Expires, was.Expires},
	} {
		if m.now != m.was {
			info.setText(m.name, m.now)
		}
	}
	if f.Labels != was.Labels {
		if labels, err := readLabels(f.Labels); err == nil && len(labels.names) > 0 {
			info.Set("labels", labels.Compact())
		} else if err == nil {
			info.Delete("labels")
		}
	}
	setOrDelete(o, "plimsoll", info)
}

func (f Fields) writeDegradation(o *Object, was Fields) {
	if !f.Degradable {
		if was.Degradable {
			o.Delete("degradation")
		}
		return
	}
	deg, err := o.child("degradation")
	if deg == nil || err != nil {
		deg = &Object{}
	}
	for _, m := range []struct{ name, now, was string }{
		{"tier", f.Tier, was.Tier}, {"degradedVariant", f.Degraded, was.Degraded}, {"guard", f.Guard, was.Guard},
	} {
		if m.now != m.was {
			deg.setText(m.name, m.now)
		}
	}
	if f.DependsOn != was.DependsOn {
		var names []string
		for name := range strings.SplitSeq(f.DependsOn, ",") {
			if name = strings.TrimSpace(name); name != "" && !slices.Contains(names, quote(name)) {
				names = append(names, quote(name))
			}
		}
		if len(names) == 0 {
			deg.Delete("dependsOn")
		} else {
			deg.Set("dependsOn", "["+strings.Join(names, ",")+"]")
		}
	}
	// An empty block is one: it makes the flag one that can be shed.
	if !was.Degradable || deg.Compact() != compact(o.Get("degradation")) {
		o.Set("degradation", deg.Compact())
	}
}

func setOrDelete(o *Object, name string, child *Object) {
	if len(child.names) == 0 {
		o.Delete(name)
		return
	}
	o.Set(name, child.Compact())
}
