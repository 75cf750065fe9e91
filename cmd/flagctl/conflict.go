package main

import (
	"fmt"
	"strings"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/textdiff"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// printConflicts shows for every conflict who won it, and how what was refused
// differs from what stands now. place adds where the object is defined; it may
// be nil.
func (c *cli) printConflicts(conflicts []*plimsollv1.Conflict, place func(object string) string) {
	for _, k := range conflicts {
		object := k.GetObject()
		if place != nil {
			object += place(object)
		}
		c.print.Notef("%s %s", output.Warn("conflict:"), output.Clean(object+" was "+whoWon(k)))
		if k.GetRefusedDefinition() == "" {
			continue
		}
		c.print.Notef("%s", output.Bad("--- as it stands"))
		c.print.Notef("%s", output.Good("+++ as you want it"))
		for _, line := range textdiff.JSON(k.GetCurrentDefinition(), k.GetRefusedDefinition()) {
			c.print.Notef("%s", diffLine(line))
		}
	}
}

// conflictHint says how to see what was changed.
func (c *cli) conflictHint(e *remote.Error) string {
	for _, k := range e.Conflicts {
		if key, ok := strings.CutPrefix(k.GetObject(), "flags/"); ok {
			return fmt.Sprintf("`%s` shows what was changed", c.again([]string{"history"}, key))
		}
	}
	for _, k := range e.Conflicts {
		return fmt.Sprintf("`%s` shows what was changed", c.again([]string{"audit", "--object", k.GetObject()}))
	}
	return e.Hint
}

// whoWon says who changed it, when and why.
func whoWon(k *plimsollv1.Conflict) string {
	var b strings.Builder
	if k.GetCurrentRevision() == 0 {
		b.WriteString("deleted")
	} else {
		b.WriteString("changed")
	}
	if name := k.GetActor().GetName(); name != "" {
		fmt.Fprintf(&b, " by %s", name)
	}
	if k.GetTime() != nil {
		fmt.Fprintf(&b, " at %s", output.Time(k.GetTime().AsTime()))
	}
	if k.GetVerb() != "" {
		fmt.Fprintf(&b, " (%s)", k.GetVerb())
	}
	if k.GetReason() != "" {
		fmt.Fprintf(&b, ", reason %q", k.GetReason())
	}
	switch {
	case k.GetBaseRevision() != 0 && k.GetCurrentRevision() != 0:
		fmt.Fprintf(&b, "; revision %d, not %d", k.GetCurrentRevision(), k.GetBaseRevision())
	case k.GetCurrentRevision() != 0:
		fmt.Fprintf(&b, "; revision %d", k.GetCurrentRevision())
	}
	return b.String()
}

// diffLine is a line of a diff in its colour.
func diffLine(l textdiff.Line) string {
	text := "  " + string(l.Op) + " " + output.Clean(l.Text)
	switch l.Op {
	case textdiff.Added:
		return output.Good(text)
	case textdiff.Removed:
		return output.Bad(text)
	case textdiff.Skipped:
		return output.Faint("    " + l.Text)
	default:
		return text
	}
}
