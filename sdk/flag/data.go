package flag

import (
	"slices"
	"strings"
)

// variable looks up a var.
func (e *evaluation) variable(n *node) value {
	if n.text != "" { // one name, the most common path
		return e.orDefault(e.property(e.scope, n.text), n)
	}
	path := n.path
	if !n.dotted {
		path = e.path(e.arg(n, 0))
	}
	if len(path) == 0 {
		return e.scope
	}
	return e.orDefault(e.lookup(path), n)
}

// orDefault is the value, or the default of the var when the value is null.
func (e *evaluation) orDefault(v value, n *node) value {
	if v.kind == kindNull && len(n.args) > 1 {
		return e.eval(n.args[1])
	}
	return v
}

// path splits a path; null and "" lead to everything that var can see.
func (e *evaluation) path(p value) []string {
	if p.kind == kindNull || (p.kind == kindString && p.str() == "") {
		return nil
	}
	text := e.text(p)
	if !e.charge(len(text) / bytesPerStep) {
		return nil
	}
	return strings.Split(text, ".")
}

// lookup follows a path from the scope; null where it leads to nothing.
func (e *evaluation) lookup(path []string) value {
	v := e.scope
	for _, name := range path {
		v = e.property(v, name)
	}
	return v
}

// property is the value of that name in v; null where there is none.
func (e *evaluation) property(v value, name string) value {
	switch v.kind {
	case kindRoot:
		if name == flagdName {
			return value{kind: kindObject, data: flagdScope{}}
		}
		return contextValue(e.ctx[name])
	case kindObject:
		return e.objectProperty(v, name)
	case kindList:
		if i, ok := listIndex(name); ok && i < v.length() {
			return v.at(i)
		}
	case kindFold:
		fold := v.data.(*foldScope)
		switch name {
		case "current":
			return fold.current
		case "accumulator":
			return fold.accumulator
		}
	}
	return value{}
}

func (e *evaluation) objectProperty(v value, name string) value {
	switch m := v.data.(type) {
	case map[string]any:
		return contextValue(m[name])
	case foreignMap:
		return m.get(name)
	case flagdScope:
		return e.flagd(name)
	default:
		return value{}
	}
}

// flagdName is where the facts about the evaluation itself are found.
const flagdName = "$flagd"

// flagdScope stands for the object of those facts.
type flagdScope struct{}

func (e *evaluation) flagd(name string) value {
	switch name {
	case "flagKey":
		return value{kind: kindString, data: &e.flag.key}
	case "timestamp":
		return numberValue(float64(e.set.clock().Unix()))
	default:
		return value{}
	}
}

// member is one named value of an object.
type member struct {
	name  string
	value value
}

// members are the named values of anything that is neither scalar nor list, in
// no order.
func (e *evaluation) members(v value) []member {
	switch v.kind {
	case kindRoot:
		list := mapMembers(e.ctx)
		list = slices.DeleteFunc(list, func(m member) bool { return m.name == flagdName })
		return append(list, member{flagdName, value{kind: kindObject, data: flagdScope{}}})
	case kindFold:
		fold := v.data.(*foldScope)
		return []member{{"current", fold.current}, {"accumulator", fold.accumulator}}
	}
	switch m := v.data.(type) {
	case map[string]any:
		return mapMembers(m)
	case foreignMap:
		return m.members()
	case flagdScope:
		return []member{{"flagKey", e.flagd("flagKey")}, {"timestamp", e.flagd("timestamp")}}
	default:
		return nil
	}
}

// memberCount is how many members there are, or may be, without gathering them.
func (e *evaluation) memberCount(v value) int {
	if v.kind == kindRoot {
		return len(e.ctx) + 1
	}
	switch m := v.data.(type) {
	case map[string]any:
		return len(m)
	case foreignMap:
		return m.Len()
	default:
		return 0 // of ours, which have two
	}
}

func mapMembers(m map[string]any) []member {
	list := make([]member, 0, len(m)+1)
	for name, x := range m {
		list = append(list, member{name, contextValue(x)})
	}
	return list
}

// listIndex is a name as the index of a list: written as JavaScript writes it.
func listIndex(name string) (int, bool) {
	const most = 9 // digits
	if name == "" || len(name) > most || (name[0] == '0' && len(name) > 1) {
		return 0, false
	}
	i := 0
	for _, c := range []byte(name) {
		if c < '0' || c > '9' {
			return 0, false
		}
		i = i*10 + int(c-'0')
	}
	return i, true
}

func (e *evaluation) missing(n *node) value {
	keys := e.evalAll(n.args)
	if len(keys) > 0 && keys[0].kind == kindList {
		return e.missingOf(keys[0])
	}
	return e.missingOf(listValue(keys))
}

// missingOf are the keys that lead to nothing or to null.
func (e *evaluation) missingOf(keys value) value {
	missing := []value{}
	for i, n := 0, keys.length(); i < n && e.charge(1); i++ {
		key := keys.at(i)
		if e.lookup(e.path(key)).kind == kindNull {
			missing = append(missing, key)
		}
	}
	return listValue(missing)
}

// missingSome is empty once enough of the keys are there.
func (e *evaluation) missingSome(n *node) value {
	need, options := e.number(e.arg(n, 0)), e.arg(n, 1)
	if options.kind != kindList {
		return e.missingOf(listValue([]value{options}))
	}
	missing := e.missingOf(options)
	if float64(options.length()-missing.length()) >= need {
		return listValue(nil)
	}
	return missing
}
