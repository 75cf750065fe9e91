package rules

import (
	"strconv"
	"strings"
)

// JSON is the targeting as compact JSONLogic; "" for the empty Model, which is no
// targeting at all. Parse reads it back to the same Model if that is in normal
// form, which all Models of Parse and Decode are.
func (m Model) JSON() string {
	var b strings.Builder
	switch {
	case len(m.Rules) > 0:
		b.WriteString(`{"if":[`)
		for i, r := range m.Rules {
			if i > 0 {
				b.WriteByte(',')
			}
			r.When.write(&b)
			b.WriteByte(',')
			r.Then.write(&b)
		}
		if m.Else.Kind != ServeDefault {
			b.WriteByte(',')
			m.Else.write(&b)
		}
		b.WriteString(`]}`)
	case m.Else.Kind == ServeSplit:
		m.Else.write(&b)
	case m.Else.Kind == ServeVariant:
		b.WriteString(`{"if":[true,`)
		m.Else.write(&b)
		b.WriteString(`]}`)
	}
	return b.String()
}

func (g Group) write(b *strings.Builder) {
	switch len(g.Conds) {
	case 0:
		b.WriteString("true")
		return
	case 1:
		g.Conds[0].write(b)
		return
	}
	if g.Any {
		b.WriteString(`{"or":[`)
	} else {
		b.WriteString(`{"and":[`)
	}
	for i, c := range g.Conds {
		if i > 0 {
			b.WriteByte(',')
		}
		c.write(b)
	}
	b.WriteString(`]}`)
}

func (c Cond) write(b *strings.Builder) {
	if c.Op == OpHas {
		// JSONLogic asks what is missing.
		c.Not = !c.Not
	}
	if c.Not {
		b.WriteString(`{"!":[`)
		defer b.WriteString(`]}`)
	}
	attribute := `{"var":` + quote(c.Name) + `}`
	value := strings.Join(c.Values, ",")
	switch version, isVersion := strings.CutPrefix(string(c.Op), semVerPrefix); {
	case c.Op == OpGroup:
		c.Group.write(b)
	case c.Op.TakesName():
		b.WriteString(`{` + quote(string(c.Op)) + `:` + quote(c.Name) + `}`)
	case c.Op == OpHas:
		b.WriteString(`{"missing":[` + quote(c.Name) + `]}`)
	case c.Op == OpTrue:
		b.WriteString(`{"!!":[` + attribute + `]}`)
	case c.Op == OpIn:
		b.WriteString(`{"in":[` + attribute + `,[` + value + `]]}`)
	case c.Op == OpContains:
		b.WriteString(`{"in":[` + value + `,` + attribute + `]}`)
	case isVersion:
		b.WriteString(`{"sem_ver":[` + attribute + `,` + quote(version) + `,` + value + `]}`)
	default:
		b.WriteString(`{` + quote(string(c.Op)) + `:[` + attribute + `,` + value + `]}`)
	}
}

func (r Result) write(b *strings.Builder) {
	switch r.Kind {
	case ServeVariant:
		b.WriteString(quote(r.Variant))
	case ServeSplit:
		b.WriteString(`{"fractional":[`)
		sep := ""
		if r.By != "" {
			by := `{"var":` + quote(r.By) + `}`
			if r.Salted {
				by = `{"cat":[{"var":"` + flagKeyPath + `"},` + by + `]}`
			}
			b.WriteString(by)
			sep = ","
		}
		for _, s := range r.Shares {
			b.WriteString(sep + `[` + quote(s.Variant) + `,` + strconv.FormatInt(s.Weight, 10) + `]`)
			sep = ","
		}
		b.WriteString(`]}`)
	default:
		b.WriteString("null")
	}
}
