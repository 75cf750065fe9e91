package flag

import "github.com/plimsoll-dev/plimsoll/degrade"

// Nearest is the one of names that is closest to name by edit distance, "" if
// none is close enough to be what was meant. Of equally close ones the first.
func Nearest(name string, names []string) string { return degrade.Nearest(name, names) }
