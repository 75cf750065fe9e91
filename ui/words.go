package ui

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// count is a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(uint64(max(0, n))) + " " + many
}

// number groups digits by threes with thin spaces that do not break.
func number(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// shedText is a share of millionths in percent.
func shedText(millionths uint32) string {
	return strconv.FormatFloat(math.Round(float64(millionths)/1000)/10, 'f', -1, 64) + "\u202f%"
}

func percentText(p float64) string {
	switch {
	case p > 0 && p < 1:
		return "<\u202f1\u202f%"
	case p > 99 && p < 100:
		return ">\u202f99\u202f%"
	}
	return strconv.Itoa(int(math.Round(p))) + "\u202f%"
}

func levelText(millionths uint32) string { return degrade.Level(millionths).String() }

// machineTime is a time as <time datetime> wants it; clockTime as people read
// it where no script makes it relative.
func machineTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func clockTime(t time.Time) string { return t.UTC().Format("2 Jan 15:04:05") + " UTC" }

// windowText is a length of time in words.
func windowText(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d\u202fms", d.Milliseconds())
	case d < 2*time.Minute:
		return count(int(d.Round(time.Second)/time.Second), "second", "seconds")
	case d < 2*time.Hour:
		return count(int(d.Round(time.Minute)/time.Minute), "minute", "minutes")
	case d < 48*time.Hour:
		return count(int(d.Round(time.Hour)/time.Hour), "hour", "hours")
	}
	return count(int(d.Hours()/24), "day", "days")
}

// verbs of the audit log in words.
var verbs = map[string]string{
	"flag.create": "created", "flag.update": "changed", "flag.delete": "deleted", "flag.enable": "enabled", "flag.disable": "disabled", "flag.set_default": "changed the default of",
	"override.set": "killed", "override.remove": "restored", "restore": "restored everything",
	"hold.set": "shed", "hold.remove": "stopped shedding", "level.set": "fixed the level", "level.auto": "gave the level back",
	"plan.set": "changed the plan", "apply": "applied a file", "undo": "undid a change", "expire": "ended on time",
	"namespace.create": "created the namespace",
}

// verbText is a verb of the audit log in words; one it does not know, as it is.
func verbText(verb string) string {
	if text, ok := verbs[verb]; ok {
		return text
	}
	return strings.ReplaceAll(verb, ".", " ")
}

// actorText is who did something.
func actorText(a *plimsollv1.Actor) string {
	if a.GetName() == "" {
		return "unknown"
	}
	return a.GetName()
}

// objectsText names what a record touched, at most three; what its verb says
// alone is left out.
func objectsText(rec *plimsollv1.AuditRecord) string {
	var names []string
	for _, o := range rec.GetObjects() {
		kind, name, found := strings.Cut(o.GetObject(), "/")
		switch {
		case found && kind == "holds":
			names = append(names, strings.TrimPrefix(name, "shed-"))
		case found:
			names = append(names, clip(name, 80))
		case len(rec.GetObjects()) > 1 && kind != "level":
			names = append(names, kind)
		}
	}
	if len(names) > 3 {
		return strings.Join(names[:3], ", ") + fmt.Sprintf(" and %d more", len(names)-3)
	}
	return strings.Join(names, ", ")
}

// flagOfRecord is the flag that a record is about, if it is about one.
func flagOfRecord(rec *plimsollv1.AuditRecord) (string, bool) {
	if len(rec.GetObjects()) != 1 {
		return "", false
	}
	kind, name, _ := strings.Cut(rec.GetObjects()[0].GetObject(), "/")
	return name, kind == "flags" || kind == "overrides"
}

// holdText is what a hold does to the level.
func holdText(h *plimsollv1.Hold) string {
	switch {
	case h.FloorMillionths != nil && h.CeilingMillionths != nil && h.GetFloorMillionths() == h.GetCeilingMillionths():
		return "level fixed at " + levelText(h.GetFloorMillionths())
	case h.FloorMillionths != nil && h.CeilingMillionths != nil:
		return "level between " + levelText(h.GetFloorMillionths()) + " and " + levelText(h.GetCeilingMillionths())
	case h.FloorMillionths != nil:
		return "level at least " + levelText(h.GetFloorMillionths())
	default:
		return "level at most " + levelText(h.GetCeilingMillionths())
	}
}

// undoable tells whether a record can be taken back from the list of changes.
func undoable(rec *plimsollv1.AuditRecord) bool {
	return rec.GetVerb() != "expire" && !strings.HasPrefix(rec.GetVerb(), "namespace.") && rec.GetActor().GetName() != "system"
}
