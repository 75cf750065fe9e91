package flag

import (
	"strings"

	"golang.org/x/mod/semver"
)

// canonicalVersion is a version as x/mod/semver takes it: with a leading v and
// without build metadata. A leading v or V is accepted, and so are partial
// versions: 1 is 1.0.0 and 1.2 is 1.2.0.
func canonicalVersion(s string) (string, bool) {
	if strings.HasPrefix(s, "V") {
		s = "v" + s[1:]
	}
	if !strings.HasPrefix(s, "v") {
		s = "v" + s
	}
	c := semver.Canonical(s)
	return c, c != ""
}

// compareVersions is what sem_ver does with two canonical versions; ok is false
// for an unknown comparison.
func compareVersions(a, comparison, b string) (holds, ok bool) {
	switch comparison {
	case "=":
		return semver.Compare(a, b) == 0, true
	case "!=":
		return semver.Compare(a, b) != 0, true
	case "<":
		return semver.Compare(a, b) < 0, true
	case "<=":
		return semver.Compare(a, b) <= 0, true
	case ">":
		return semver.Compare(a, b) > 0, true
	case ">=":
		return semver.Compare(a, b) >= 0, true
	case "^":
		return semver.Major(a) == semver.Major(b), true
	case "~":
		return semver.MajorMinor(a) == semver.MajorMinor(b), true
	default:
		return false, false
	}
}
