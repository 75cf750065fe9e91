package degrade

import "slices"

// Lint says what is questionable about the plan together with the features, as
// warnings sorted by path: names that lead nowhere or to two things, features
// that are shed in vain, never, or before one that needs them, circles of
// features, and dependencies that nothing needs. It does not repeat what Check
// says. Paths into a feature lead to its flag: $.flags["new-ui"].degradation.
func (p Plan) Lint(features []Feature) []Finding {
	l := linter{Map: NewMap(p, features)}
	l.dependencyNames()
	l.unused()
	l.loops()
	for i := 0; i < len(l.features) && len(l.out.list) < maxGathered; i++ {
		l.tier(i)
		l.variant(i)
		l.dependsOn(i)
	}
	return l.out.sorted()
}

// linter looks at the map of a plan.
type linter struct {
	*Map
	out findings
}

// path leads to a field of a feature's degradation block.
func (l *linter) path(feature int, field string) string {
	return "$.flags[" + quote(l.features[feature].Key) + "].degradation." + field
}

// tier reports one that the plan does not have.
func (l *linter) tier(i int) {
	if f := &l.features[i]; l.ranks[i] < 0 {
		l.out.warnf(l.path(i, "tier"), suggest(f.Tier, l.tiers), "there is no tier %s: feature %s is never shed", quote(f.Tier), quote(f.Key))
	}
}

// variant reports a feature that is shed in vain.
func (l *linter) variant(i int) {
	if f := &l.features[i]; f.Enabled && l.ranks[i] > 0 && f.sheddingChangesNothing() {
		l.out.warnf(l.path(i, "degradedVariant"), "name a cheaper variant",
			"shedding feature %s saves nothing: %s is what it serves anyway", quote(f.Key), quote(f.Degraded))
	}
}

// dependsOn reports names that lead nowhere, and features that are shed before
// one that needs them.
func (l *linter) dependsOn(i int) {
	f := &l.features[i]
	for at, name := range f.DependsOn {
		path := indexed(l.path(i, "dependsOn"), at)
		switch other := int(l.node[name]); {
		case other == l.dependencies+i:
			l.out.warnf(path, "leave it out", "feature %s depends on itself", quote(f.Key))
		case other >= l.dependencies:
			l.shedBefore(i, other-l.dependencies, path)
		case other >= l.planned:
			l.out.warnf(path, l.out.suggest(name, l.known, "add it to the plan's dependencies"), "%s, which feature %s depends on, is no dependency of the plan and no other feature", quote(name), quote(f.Key))
		}
	}
}

// known are the names that a feature may depend on.
func (l *linter) known() []string {
	return slices.Concat(l.names[:l.planned], l.names[l.dependencies:])
}

// shedBefore reports a feature that needs one of a less important tier.
func (l *linter) shedBefore(i, other int, path string) {
	rank, otherRank := l.ranks[i], l.ranks[other]
	if rank < 0 || otherRank <= rank {
		return
	}
	f, g := &l.features[i], &l.features[other]
	hint := "give " + quote(g.Key) + " the tier " + quote(f.Tier) + ", or make " + quote(f.Key) + " do without it"
	if rank == 0 {
		l.out.warnf(path, hint, "critical feature %s (tier %s is never shed) depends on the sheddable feature %s (tier %s)", quote(f.Key), f.Tier, quote(g.Key), g.Tier)
		return
	}
	l.out.warnf(path, hint, "feature %s (tier %s) depends on feature %s (tier %s), which is shed before it", quote(f.Key), f.Tier, quote(g.Key), g.Tier)
}

// dependencyNames reports names that are a dependency's and a feature's.
func (l *linter) dependencyNames() {
	for i := range l.features {
		if name := l.features[i].Key; int(l.node[name]) < l.planned {
			l.out.warnf(dependencyPath(name), "rename one of them", "dependency %s is called as a feature is: features that depend on the name need the dependency", quote(name))
		}
	}
}

// unused reports dependencies that nothing needs. Without any features there is
// nothing yet that could.
func (l *linter) unused() {
	if len(l.features) == 0 {
		return
	}
	for n := range l.planned {
		if len(l.users[n]) == 0 {
			l.out.warnf(dependencyPath(l.names[n]), "leave it out, or name it in the dependsOn of what needs it", "no feature and no other dependency needs %s", quote(l.names[n]))
		}
	}
}

// loops reports features that depend on each other in a circle.
func (l *linter) loops() {
	needs := slices.Clone(l.needs)
	clear(needs[:l.dependencies]) // the circles of dependencies are Check's
	loops, more := circles(needs)
	for _, loop := range loops {
		i, next := int(loop[0])-l.dependencies, l.names[loop[1]]
		path := indexed(l.path(i, "dependsOn"), slices.Index(l.features[i].DependsOn, next))
		l.out.warnf(path, "leave out one of the steps", "features depend on each other in a circle: %s", l.circle(loop))
	}
	if more {
		l.out.warnf("$.flags", "mend these first", "there are more than %d circles of features: the rest is not listed", maxCircles)
	}
}
