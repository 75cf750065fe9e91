package flag

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

// Trace is how one evaluation came to its answer: each stage in the order of
// precedence up to the one that decided, and each operation of the targeting
// with its inputs and outcome.
type Trace struct {
	// Key is the flag's.
	Key string
	// Result is the answer that is explained.
	Result[any]
	// Stages are what was looked at, the last one being what decided.
	Stages []Stage
	// Targeting are the operations of the targeting, if it was evaluated.
	Targeting []*Step
}

// MarshalJSON is the trace as one object, with the fields of the answer among its
// own; value is left out when there is none.
func (t *Trace) MarshalJSON() ([]byte, error) {
	r := &t.Result
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // that is for the encoder around this one to decide
	err := enc.Encode(struct {
		Key       string         `json:"key"`
		Value     any            `json:"value,omitempty"`
		Variant   string         `json:"variant,omitempty"`
		Reason    Reason         `json:"reason"`
		ErrorCode ErrorCode      `json:"errorCode,omitempty"`
		Message   string         `json:"message,omitempty"`
		Metadata  map[string]any `json:"metadata,omitempty"`
		Stages    []Stage        `json:"stages"`
		Targeting []*Step        `json:"targeting,omitempty"`
	}{t.Key, r.Value, r.Variant, r.Reason, r.ErrorCode, r.Message, r.Metadata, t.Stages, t.Targeting})
	return b.Bytes(), err
}

// Stage is one of the things that decide what a flag serves.
type Stage struct {
	// Name is override, state, level, guard, targeting or default.
	Name string `json:"name"`
	// Finding says what it came to.
	Finding string `json:"finding"`
}

// Explain evaluates a flag like Any and says how the answer came about. It is
// for people: it compiles the flag anew and allocates freely.
func (s *Set) Explain(key string, ctx map[string]any) *Trace {
	frozen := *s
	frozen.counts = nil // nobody is served
	now := s.clock()
	frozen.clock = func() time.Time { return now }
	if s.draw != nil {
		draw := s.draw()
		frozen.draw = func() uint32 { return draw }
	}
	t := &Trace{Key: key, Result: frozen.Any(key, ctx)}
	if f, ok := s.flags.get(key); ok {
		frozen.explain(t, f, ctx)
	} else {
		t.stage("definition", "%s", t.Result.Message)
	}
	return t
}

func (t *Trace) stage(name, format string, args ...any) {
	t.Stages = append(t.Stages, Stage{name, fmt.Sprintf(format, args...)})
}

// explain walks the stages as answer does.
func (s *Set) explain(t *Trace, f *served, ctx map[string]any) {
	d := f.def
	if f.override != nil {
		t.stage("override", "an operator pinned the flag to %s", quote(d.variants[f.override.variant].name))
		return
	}
	if o, ok := s.overrides.get(f.def.key); ok {
		t.stage("override", "it names the variant %s, which is gone: it counts for nothing", quote(o.Variant))
	} else {
		t.stage("override", "none")
	}
	if !d.enabled {
		t.stage("state", "DISABLED: callers use their own default")
		return
	}
	t.stage("state", "ENABLED")
	if s.explainLevel(t, f, ctx) || s.explainGuard(t, f) {
		return
	}
	if f.rule != nil {
		s.explainTargeting(t, f, ctx)
		if t.Result.Reason != ReasonDefault {
			return
		}
	} else {
		t.stage("targeting", "none")
	}
	if name, ok := d.DefaultVariant(); ok {
		t.stage("default", "%s", quote(name))
	} else {
		t.stage("default", "there is no default variant: callers use their own default")
	}
}

// explainLevel says what the level does to the flag, and whether it decided.
func (s *Set) explainLevel(t *Trace, f *served, ctx map[string]any) bool {
	v := s.view
	switch {
	case f.def.degradation == nil:
		t.stage("level", "the flag has no degradation block: it is never shed")
		return false
	case f.rank <= 0:
		t.stage("level", "tier %s is never shed", f.def.degradation.Tier)
		return false
	case v.fractions[f.rank] == 0:
		t.stage("level", "%s: nothing of tier %s is shed", v.level, f.def.degradation.Tier)
		return false
	}
	shed := s.sheds(v.fractions[f.rank], ctx)
	outcome := "this context is not among it"
	if shed {
		outcome = "this context is among it and gets " + quote(f.def.degradation.DegradedVariant)
	}
	percent := float64(v.fractions[f.rank]) / float64(degrade.One/100)
	t.stage("level", "%s: %v %% of tier %s is shed; %s", v.level, percent, f.def.degradation.Tier, outcome)
	return shed
}

// explainGuard says whether the flag's guard is open.
func (s *Set) explainGuard(t *Trace, f *served) bool {
	name := f.guard()
	if name == "" {
		return false
	}
	if !s.guarded(f) {
		t.stage("guard", "%s is not open", quote(name))
		return false
	}
	t.stage("guard", "%s is open: %s is served", quote(name), quote(f.def.degradation.DegradedVariant))
	return true
}

// maxTracedSteps is how long a traced evaluation may be: as it was written, a rule
// takes more steps than as it was compiled.
const maxTracedSteps = 8 * maxSteps

func (s *Set) explainTargeting(t *Trace, f *served, ctx map[string]any) {
	root := &Step{}
	e := evaluation{set: s, flag: f.def, ctx: ctx, steps: maxSteps, scope: value{kind: kindRoot}}
	if t.Result.ErrorCode != ParseError {
		e.steps = maxTracedSteps
	}
	e.trace = &tracer{at: root, left: maxTraceSteps}
	v := e.eval(s.explainable(f))
	t.Targeting = root.Steps
	switch {
	case t.Result.ErrorCode != "":
		t.stage("targeting", "%s", t.Result.Message)
	case e.exhausted():
		t.stage("targeting", "it is too long to trace: the steps below end before it does")
	case v.kind == kindNull:
		t.stage("targeting", "it yields null: it leaves the choice open")
	default:
		t.stage("targeting", "it yields %s", e.render(v))
	}
}

// explainable is the flag's targeting compiled to be traced, against the rules
// that it was compiled against before.
func (s *Set) explainable(f *served) *node {
	tree, _ := parseJSON(f.def.text)
	c := &compiler{checker: checker{text: f.def.text, path: []string{".targeting"}}, resolve: f.rule.labelled(map[*compiledRule]*compiledRule{}), explain: true}
	p, _ := c.compile(tree.member("targeting"))
	if p == nil { // never: it has compiled before
		return f.rule.root
	}
	return p.root
}

// labelled resolves what a program refers to by the same rules compiled to be
// traced; those made are shared.
func (p *program) labelled(made map[*compiledRule]*compiledRule) func(string) (*compiledRule, string) {
	return func(id string) (*compiledRule, string) {
		used := p.rule(id)
		if used == nil {
			return nil, "there is no " + ruleLabel(id)
		}
		if again := made[used]; again != nil {
			return again, ""
		}
		tree, _ := parseJSON(used.rule.text)
		c := &compiler{checker: checker{text: used.rule.text, base: ruleLabel(id)}, resolve: used.program.labelled(made), explain: true}
		program, faults := c.compile(&tree)
		if program == nil {
			return nil, faults.Error()
		}
		made[used] = &compiledRule{id: id, rule: used.rule, program: program}
		return made[used], ""
	}
}

// Text is the trace for people, several lines.
func (t *Trace) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", t.Key, t.headline())
	for _, stage := range t.Stages {
		fmt.Fprintf(&b, "  %-10s %s\n", stage.Name, stage.Finding)
		if stage.Name == "targeting" {
			writeSteps(&b, t.Targeting, "    ")
		}
	}
	return b.String()
}

func (t *Trace) headline() string {
	r := t.Result
	switch {
	case r.ErrorCode != "":
		return fmt.Sprintf("no value, reason %s, %s: %s", r.Reason, r.ErrorCode, r.Message)
	case !r.HasValue:
		return fmt.Sprintf("no value, reason %s: the caller's default", r.Reason)
	}
	text, err := json.Marshal(r.Value)
	if err != nil {
		text = fmt.Append(nil, r.Value)
	}
	return fmt.Sprintf("%s, variant %s, reason %s", text, quote(r.Variant), r.Reason)
}

func writeSteps(b *strings.Builder, steps []*Step, indent string) {
	for _, s := range steps {
		fmt.Fprintf(b, "%s%s %s → %s", indent, s.Op, strings.Join(s.Inputs, ", "), s.Outcome)
		if s.Note != "" {
			fmt.Fprintf(b, "   %s", s.Note)
		}
		fmt.Fprintf(b, "   at %s\n", s.Path)
		writeSteps(b, s.Steps, indent+"  ")
	}
}

func sortMembers(list []member) {
	slices.SortFunc(list, func(a, b member) int { return strings.Compare(a.name, b.name) })
}
