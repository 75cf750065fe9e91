package rules

import (
	"slices"
	"strconv"
	"strings"
)

// Edit does what a button of the editor says, VERB:PLACE, such as add-rule,
// remove-rule:2, up-rule:2, down-rule:2, add-cond:2, add-group:2, add-cond:2.1
// (within the group that is condition 1), remove-cond:2.1, add-share:2,
// add-share:else, remove-share:else.0. It tells whether it knew the button and
// what it names; what is at its limit stays as it is.
func (m *Model) Edit(do string) bool {
	verb, place, _ := strings.Cut(do, ":")
	if verb == "add-rule" && place == "" {
		if len(m.Rules) < maxRules {
			m.Rules = append(m.Rules, Rule{When: Group{Conds: []Cond{blank()}}, Then: Result{Kind: ServeDefault}})
		}
		return true
	}
	last, isElse := strings.CutPrefix(place, FieldElse)
	if isElse {
		at, ok := indexes(strings.TrimPrefix(last, "."))
		return ok && editShares(&m.Else, verb, at)
	}
	at, ok := indexes(place)
	if !ok || len(at) == 0 || at[0] >= len(m.Rules) {
		return false
	}
	i, rule := at[0], &m.Rules[at[0]]
	switch verb {
	case "remove-rule":
		m.Rules = slices.Delete(m.Rules, i, i+1)
	case "up-rule":
		if i > 0 {
			m.Rules[i-1], m.Rules[i] = m.Rules[i], m.Rules[i-1]
		}
	case "down-rule":
		if i+1 < len(m.Rules) {
			m.Rules[i+1], m.Rules[i] = m.Rules[i], m.Rules[i+1]
		}
	case "add-share", "remove-share":
		return editShares(&rule.Then, verb, at[1:])
	default:
		return editConds(&rule.When, verb, at[1:], true)
	}
	return true
}

// blank is a condition that is yet to be filled in.
func blank() Cond { return Cond{Op: OpEqual, Values: []string{`""`}} }

// indexes reads numbers with points between them.
func indexes(s string) ([]int, bool) {
	if s == "" {
		return nil, true
	}
	var out []int
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return nil, false
		}
		out = append(out, n)
	}
	return out, true
}

func editConds(g *Group, verb string, at []int, outer bool) bool {
	removing := verb == "remove-cond"
	if len(at) > 0 && at[0] >= len(g.Conds) {
		return false
	}
	switch {
	case len(at) == 0 && verb == "add-cond":
		if len(g.Conds) < maxConds {
			g.Conds = append(g.Conds, blank())
		}
	case len(at) == 0 && verb == "add-group" && outer:
		if len(g.Conds) < maxConds {
			g.Conds = append(g.Conds, Cond{Op: OpGroup, Group: &Group{Any: !g.Any, Conds: []Cond{blank(), blank()}}})
		}
	case len(at) == 1 && removing:
		g.Conds = slices.Delete(g.Conds, at[0], at[0]+1)
	case len(at) > 0 && outer && g.Conds[at[0]].Op == OpGroup:
		inner := g.Conds[at[0]].Group
		if !editConds(inner, verb, at[1:], false) {
			return false
		}
		if len(inner.Conds) == 0 {
			g.Conds = slices.Delete(g.Conds, at[0], at[0]+1)
		}
	default:
		return false
	}
	return true
}

func editShares(r *Result, verb string, at []int) bool {
	switch {
	case r.Kind != ServeSplit:
		return false
	case verb == "add-share" && len(at) == 0:
		if len(r.Shares) < maxShares {
			r.Shares = append(r.Shares, Share{})
		}
	case verb == "remove-share" && len(at) == 1 && at[0] < len(r.Shares):
		r.Shares = slices.Delete(r.Shares, at[0], at[0]+1)
	default:
		return false
	}
	return true
}
