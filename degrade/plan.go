package degrade

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"unicode/utf8"
)

// Limits of a plan.
const (
	// MaxDependencies is how many dependencies a plan has at most.
	MaxDependencies = 1_000
	// MaxDependsOn is how many others one dependency names at most.
	MaxDependsOn = 100
	// maxDescription is the longest description, in characters.
	maxDescription = 1024
)

// dependencyName is the pattern of plan.proto.
var dependencyName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// Plan is what a namespace has decided about its degradation beforehand.
type Plan struct {
	// Tiers are the priorities.
	Tiers Tiers
	// Dependencies are what features depend on, in any order.
	Dependencies []Dependency
}

// Dependency is something outside of the features that they need: a service, a
// database, a network.
type Dependency struct {
	// Name is what features call it in their dependsOn.
	Name string
	// Description says what it is.
	Description string
	// DependsOn names the other dependencies that it needs itself.
	DependsOn []string
}

// Canonical is the plan as it is stored: a copy with its dependencies sorted by
// name, and each one's dependsOn sorted and without repetitions. Plans that mean
// the same have the same canonical form.
func (p Plan) Canonical() Plan {
	p.Tiers = slices.Clone(p.Tiers)
	p.Dependencies = slices.Clone(p.Dependencies)
	for i := range p.Dependencies {
		d := &p.Dependencies[i]
		d.DependsOn = slices.Clone(d.DependsOn)
		slices.Sort(d.DependsOn)
		d.DependsOn = slices.Compact(d.DependsOn)
	}
	slices.SortStableFunc(p.Dependencies, func(a, b Dependency) int { return cmp.Compare(a.Name, b.Name) })
	return p
}

// Check says what keeps the plan from being used, sorted by path: nil for a plan
// that can be. It needs no features, and looks at the plan in any order; an index
// in a path counts as the plan does.
func (p Plan) Check() []Finding {
	var out findings
	p.checkTiers(&out)
	if n := len(p.Dependencies); n > MaxDependencies {
		out.errorf("$.dependencies", "leave out what fails together with another one", "%d dependencies: there may be at most %d", n, MaxDependencies)
	}
	names := p.names()
	seen := make(map[string]bool, len(names))
	for _, d := range p.Dependencies {
		path := dependencyPath(d.Name)
		if !dependencyName.MatchString(d.Name) {
			out.errorf(path, "it is 1 to 63 of a-z, 0-9, '.', '_' and '-', and begins with a letter or digit", "%s is no name for a dependency", quote(d.Name))
		}
		if seen[d.Name] {
			out.errorf(path, "make them one, or rename one of them", "dependency %s is listed twice", quote(d.Name))
		}
		seen[d.Name] = true
		if n := utf8.RuneCountInString(d.Description); n > maxDescription {
			out.errorf(path+".description", "", "the description has %d characters; at most %d are allowed", n, maxDescription)
		}
		if n := len(d.DependsOn); n > MaxDependsOn {
			out.errorf(path+".dependsOn", "", "%d names: there may be at most %d", n, MaxDependsOn)
		}
		for i, name := range d.DependsOn {
			switch _, known := slices.BinarySearch(names, name); {
			case name == d.Name:
				out.errorf(indexed(path+".dependsOn", i), "leave it out", "dependency %s depends on itself", quote(name))
			case !known:
				out.errorf(indexed(path+".dependsOn", i), out.suggest(name, func() []string { return names }, "add it, or leave the name out"), "there is no dependency %s in the plan", quote(name))
			}
		}
	}
	p.checkCircles(&out)
	return out.sorted()
}

// checkTiers reports every fault of the tiers, where Validate stops at the first.
func (p Plan) checkTiers(out *findings) {
	if n := len(p.Tiers); n < MinTiers || n > MaxTiers {
		out.errorf("$.tiers", "", "%d tiers: there must be %d to %d", n, MinTiers, MaxTiers)
	}
	seen := make(map[string]bool, MaxTiers)
	for i, name := range p.Tiers {
		path := indexed("$.tiers", i)
		if !tierName(name) {
			out.errorf(path, fmt.Sprintf("it is 1 to %d of a-z, 0-9 and -", maxTierName), "%s is no name for a tier", quote(name))
		}
		if seen[name] {
			out.errorf(path, "", "tier %s is listed twice", quote(name))
		}
		seen[name] = true
	}
}

// checkCircles reports the ways in which dependencies need themselves.
func (p Plan) checkCircles(out *findings) {
	m := NewMap(p, nil)
	loops, more := circles(m.needs)
	for _, loop := range loops {
		text := m.circle(loop)
		name, next := m.names[loop[0]], m.names[loop[1]]
		at := slices.IndexFunc(p.Dependencies, func(d Dependency) bool { return d.Name == name && slices.Contains(d.DependsOn, next) })
		path := indexed(dependencyPath(name)+".dependsOn", slices.Index(p.Dependencies[at].DependsOn, next))
		out.errorf(path, "leave out one of the steps", "dependencies need each other in a circle: %s", text)
	}
	if more {
		out.errorf("$.dependencies", "mend these first", "there are more than %d circles: the rest is not listed", maxCircles)
	}
}

// names are the names of the dependencies, sorted, each once.
func (p Plan) names() []string {
	names := make([]string, len(p.Dependencies))
	for i, d := range p.Dependencies {
		names[i] = d.Name
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func dependencyPath(name string) string { return "$.dependencies[" + quote(name) + "]" }

func indexed(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
