package degrade

import (
	"strings"
	"unicode/utf8"
)

// maxNearest is the longest name that Nearest compares, in bytes.
const maxNearest = 64

// Nearest is the one of names that is closest to name by edit distance, "" if
// none is close enough to be what was meant. Of equally close ones the first.
func Nearest(name string, names []string) string {
	if len(name) > maxNearest {
		return ""
	}
	best, nearest := max(1, utf8.RuneCountInString(name)/3)+1, ""
	for _, candidate := range names {
		if len(candidate) > maxNearest {
			continue
		}
		if d := editDistance(name, candidate, best); d < best {
			best, nearest = d, candidate
		}
	}
	return nearest
}

// editDistance is the number of characters to insert, delete, replace or swap
// with their neighbour to get from a to b (optimal string alignment); limit, when
// it is not less than that.
func editDistance(a, b string, limit int) int {
	s, t := []rune(a), []rune(b)
	if max(len(s)-len(t), len(t)-len(s)) >= limit {
		return limit
	}
	before, prev, row := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(s); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > limit { // a swap may still go on from the row before
			return limit
		}
		before, prev, row = prev, row, before
	}
	return min(prev[len(t)], limit)
}

// suggest is a hint at what an unknown name may have meant: the nearest known
// one, or all of them when they are few.
func suggest(name string, known []string) string {
	const few = 12
	switch near := Nearest(name, known); {
	case near != "":
		return "did you mean " + quote(near) + "?"
	case len(known) == 0:
		return "there are none"
	case len(known) <= few:
		return "there are " + strings.Join(known, ", ")
	default:
		return ""
	}
}
