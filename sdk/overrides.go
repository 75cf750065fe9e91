package sdk

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// overridePrefix begins the names of environment variables that override flags on
// a developer's machine.
const overridePrefix = "PLIMSOLL_OVERRIDE_"

// localOverrides are the overrides of the process's own environment.
type localOverrides struct {
	log *slog.Logger
	// variants by the name that a flag's key has in the environment.
	variants map[string]string
	// told are the warnings that were given.
	told map[string]bool
	// active is how many flags are overridden now.
	active atomic.Int64
}

// newLocalOverrides reads the overrides of an environment, and says which there
// are: they must not be left on by mistake.
func newLocalOverrides(environ []string, log *slog.Logger) *localOverrides {
	l := &localOverrides{log: log, variants: map[string]string{}, told: map[string]bool{}}
	for _, entry := range environ {
		if name, ok := strings.CutPrefix(entry, overridePrefix); ok {
			if name, variant, ok := strings.Cut(name, "="); ok && variant != "" {
				l.variants[name] = variant
			}
		}
	}
	if len(l.variants) > 0 {
		names := slices.Sorted(maps.Keys(l.variants))
		log.Warn("flags are overridden by the environment of this process, whatever servers say",
			"prefix", overridePrefix, "flags", strings.Join(names, " "))
	}
	return l
}

// overrideName is a flag's key in the name of a variable: in upper case, with _ in
// place of every byte that is not A-Z or 0-9.
func overrideName(key string) string {
	name := []byte(key)
	for i, b := range name {
		switch {
		case 'a' <= b && b <= 'z':
			name[i] = b - 'a' + 'A'
		case 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		default:
			name[i] = '_'
		}
	}
	return string(name)
}

// apply is a set with the overrides on top of its own. It must not be called
// concurrently.
func (l *localOverrides) apply(set *flag.Set) *flag.Set {
	if len(l.variants) == 0 {
		return set
	}
	u := flag.Update{Epoch: set.Epoch(), Revision: set.Revision(), Fingerprint: set.Fingerprint()}
	found := map[string]bool{}
	for key := range set.Keys() {
		name := overrideName(key)
		variant, ok := l.variants[name]
		if !ok {
			continue
		}
		found[name] = true
		d, _ := set.Lookup(key)
		if _, ok := d.Variant(variant); !ok {
			l.warn("an override of the environment names a variant that the flag does not have: it counts for nothing",
				"variable", overridePrefix+name, "variant", variant, "flag", key)
			continue
		}
		u.Overrides = append(u.Overrides, flag.Override{Key: key, Variant: variant})
	}
	for name := range l.variants {
		if !found[name] {
			l.warn("an override of the environment names no flag", "variable", overridePrefix+name)
		}
	}
	l.active.Store(int64(len(u.Overrides)))
	set, _ = set.With(u, time.Now())
	return set
}

// warn warns once for each variable and flag.
func (l *localOverrides) warn(message string, args ...any) {
	key := message
	for _, a := range args {
		key += "\x00" + a.(string)
	}
	if !l.told[key] {
		l.told[key] = true
		l.log.Warn(message, args...)
	}
}
