package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// standing is how deep a namespace is in degradation at an instant, and why.
type standing struct {
	now       time.Time // by the server's clock
	state     degrade.LevelState
	level     degrade.Level
	pinned    bool
	tiers     []*plimsollv1.TierState // most important first
	holds     []*plimsollv1.Hold
	overrides []*plimsollv1.Override
}

// standingAt is what follows at an instant, by the server's clock, from what the
// server told at that time or earlier. What has lapsed since is still among the
// holds and overrides, and counts no more.
func standingAt(res *plimsollv1.GetDegradationResponse, now time.Time) *standing {
	s := &standing{
		now: now, state: degrade.LevelState{Auto: degrade.Level(res.GetAutoMillionths())},
		holds: res.GetHolds(), overrides: res.GetOverrides(),
	}
	for _, h := range s.holds {
		hold := degrade.Hold{Name: h.GetName(), Floor: (*degrade.Level)(h.FloorMillionths), Ceiling: (*degrade.Level)(h.CeilingMillionths)}
		if h.GetExpiresAt() != nil {
			hold.ExpiresAt = h.GetExpiresAt().AsTime()
		}
		s.state.Holds = append(s.state.Holds, hold)
	}
	s.level, s.pinned = s.state.At(now), s.state.Pinned(now)
	for _, t := range res.GetTiers() {
		s.tiers = append(s.tiers, &plimsollv1.TierState{
			Name: t.GetName(), Rank: t.GetRank(), FlagCount: t.GetFlagCount(),
			ShedMillionths: degrade.ShedFraction(s.level, int(t.GetRank()), len(res.GetTiers())-1),
		})
	}
	return s
}

// lapsed tells whether what ends then has ended.
func (s *standing) lapsed(end *timestamppb.Timestamp) bool {
	return end != nil && !s.now.Before(end.AsTime())
}

// left is how long something lasts still, in a cell of a table.
func (s *standing) left(end *timestamppb.Timestamp) string {
	switch {
	case end == nil:
		return "no end"
	case s.lapsed(end):
		return output.Warn("lapsed")
	default:
		return output.Span(end.AsTime().Sub(s.now))
	}
}

// deepest is the level at which everything is shed that can be.
func (s *standing) deepest() degrade.Level {
	return degrade.Level(max(len(s.tiers)-1, 0)) * degrade.One
}

// bound is what a hold does, in words.
func bound(h *plimsollv1.Hold) string {
	floor, ceiling := degrade.Level(h.GetFloorMillionths()), degrade.Level(h.GetCeilingMillionths())
	switch {
	case h.FloorMillionths != nil && h.CeilingMillionths != nil && floor == ceiling:
		return "exactly " + floor.String()
	case h.FloorMillionths != nil && h.CeilingMillionths != nil:
		return "from " + floor.String() + " to " + ceiling.String()
	case h.FloorMillionths != nil:
		return "at least " + floor.String()
	case h.CeilingMillionths != nil:
		return "at most " + ceiling.String()
	default:
		return "nothing"
	}
}

// untilText says until when something lasts: "until 14:05 (in 30 min)", "" for
// what has no end. Its last minutes are told to the second.
func untilText(end *timestamppb.Timestamp, now time.Time) string {
	if end == nil {
		return ""
	}
	at, left := end.AsTime(), end.AsTime().Sub(now)
	layout := "15:04"
	switch day := now.Local().Format(time.DateOnly); {
	case at.Local().Format(time.DateOnly) != day:
		layout = "2006-01-02 15:04"
	case left < 2*time.Minute:
		layout = time.TimeOnly
	}
	return fmt.Sprintf("until %s (in %s)", at.Local().Format(layout), output.Span(left))
}

// pinNotice warns, where a pin is in force, that nothing is shed by itself; ""
// where none is.
func (c *cli) pinNotice(s *standing) string {
	if !s.pinned {
		return ""
	}
	text := fmt.Sprintf("AUTOMATIC SHEDDING OFF until `%s`", c.again([]string{"level", "set", "auto"}))
	for _, h := range s.holds {
		if h.GetName() == degrade.Pin && h.GetExpiresAt() != nil {
			text += ", or " + strings.TrimPrefix(untilText(h.GetExpiresAt(), s.now), "until ")
		}
	}
	return text
}

func (c *cli) printPinned(s *standing) {
	if text := c.pinNotice(s); text != "" {
		c.print.Printf("%s\n", output.Bad(output.Clean(text)))
	}
}

const (
	usualWidth  = 80 // of the lines, where it is not known
	longestBar  = 40
	shortestBar = 6
	// briefReason is how much of a reason is shown beside other things.
	briefReason = 60
)

// printTiers shows how much of each tier is shed, as a bar each.
func (c *cli) printTiers(s *standing) {
	name, tail := 0, 0
	tails := make([]string, len(s.tiers))
	for i, t := range s.tiers {
		name = max(name, len(t.GetName()))
		tails[i] = output.Count(int(t.GetFlagCount()), "flag")
		if t.GetRank() == 0 {
			tails[i] += ", never shed"
		}
		tail = max(tail, len(tails[i]))
	}
	const percent = len("99.9999 %")
	fixed := name + percent + 3*len("  ")
	width := cmp.Or(c.print.Width(), usualWidth)
	if width-fixed-tail < shortestBar {
		clear(tails)
		tail = 0
	}
	bar := min(max(width-fixed-tail, shortestBar), longestBar)
	for i, t := range s.tiers {
		share := output.Percent(t.GetShedMillionths())
		shown := fmt.Sprintf("%*s", percent, share)
		if t.GetShedMillionths() > 0 {
			shown = output.Warn(shown)
		}
		line := fmt.Sprintf("%-*s  %s  %s", name, output.Clean(t.GetName()), c.print.Bar(t.GetShedMillionths(), bar), shown)
		if tails[i] != "" {
			line += "  " + output.Faint(tails[i])
		}
		c.print.Printf("%s\n", line)
	}
}

// levelLine is the level in one line.
func (s *standing) levelLine() string {
	text := output.Bold("level " + s.level.String())
	if s.level > 0 {
		text = output.Bold(output.Warn("level " + s.level.String()))
	}
	return fmt.Sprintf("%s of %s, automatic %s", text, s.deepest(), s.state.Auto)
}

// printHolds shows the bounds on the level, what matters least left out where
// there is little room.
func (c *cli) printHolds(s *standing) {
	if len(s.holds) == 0 {
		return
	}
	rows := make([][]string, 0, len(s.holds))
	for _, h := range s.holds {
		rows = append(rows, []string{output.Clean(h.GetName()), bound(h), actorText(h.GetActor()), s.left(h.GetExpiresAt()), reasonCell(h.GetReason())})
	}
	c.print.Table([]string{"HOLD", "LEVEL", "BY", "LEFT", "REASON"}, rows, "REASON", "BY")
}

func (c *cli) printOverrides(s *standing) {
	if len(s.overrides) == 0 {
		return
	}
	shown := s.overrides[:min(len(s.overrides), mostShown)]
	rows := make([][]string, 0, len(shown))
	for _, o := range shown {
		rows = append(rows, []string{output.Clean(o.GetFlagKey()), output.Clean(o.GetVariant()), actorText(o.GetActor()), s.left(o.GetExpiresAt()), reasonCell(o.GetReason())})
	}
	c.print.Table([]string{"OVERRIDE", "SERVES", "BY", "LEFT", "REASON"}, rows, "REASON", "BY")
	c.printMore(len(s.overrides) - len(shown))
}

// mostShown is how many of many things people are shown.
const mostShown = 20

// printMore says how many things are not shown.
func (c *cli) printMore(n int) {
	if n > 0 {
		c.print.Printf("%s\n", output.Faint(fmt.Sprintf("… and %s more: -o json has them all", output.Number(n))))
	}
}

func reasonCell(reason string) string { return output.Clean(output.Cut(reason, briefReason)) }

// tierJSON, holdJSON and overriddenJSON are for programs. Levels and shares are
// decimal numbers as texts, exactly.
type tierJSON struct {
	Name  string        `json:"name"`
	Rank  uint32        `json:"rank"`
	Shed  degrade.Level `json:"shed"`
	Flags uint32        `json:"flags"`
}

type holdJSON struct {
	Name      string         `json:"name"`
	Floor     *degrade.Level `json:"floor,omitempty"`
	Ceiling   *degrade.Level `json:"ceiling,omitempty"`
	Reason    string         `json:"reason,omitempty"`
	Actor     string         `json:"actor,omitempty"`
	CreatedAt *time.Time     `json:"createdAt,omitempty"`
	ExpiresAt *time.Time     `json:"expiresAt,omitempty"`
	ChangeID  string         `json:"changeId,omitempty"`
	Lapsed    bool           `json:"lapsed,omitempty"`
}

type overriddenJSON struct {
	Flag      string     `json:"flag"`
	Variant   string     `json:"variant"`
	Reason    string     `json:"reason,omitempty"`
	Actor     string     `json:"actor,omitempty"`
	CreatedAt *time.Time `json:"createdAt,omitempty"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	ChangeID  string     `json:"changeId,omitempty"`
	Lapsed    bool       `json:"lapsed,omitempty"`
}

func (s *standing) tiersJSON() []tierJSON {
	out := make([]tierJSON, 0, len(s.tiers))
	for _, t := range s.tiers {
		out = append(out, tierJSON{t.GetName(), t.GetRank(), degrade.Level(t.GetShedMillionths()), t.GetFlagCount()})
	}
	return out
}

func (s *standing) holdsJSON() []holdJSON {
	out := holdsToJSON(s.holds)
	for i, h := range s.holds {
		out[i].Lapsed = s.lapsed(h.GetExpiresAt())
	}
	return out
}

func (s *standing) overridesJSON() []overriddenJSON {
	out := overridesToJSON(s.overrides)
	for i, o := range s.overrides {
		out[i].Lapsed = s.lapsed(o.GetExpiresAt())
	}
	return out
}

// liveOverrides is how many overrides are in force.
func (s *standing) liveOverrides() int {
	n := 0
	for _, o := range s.overrides {
		if !s.lapsed(o.GetExpiresAt()) {
			n++
		}
	}
	return n
}

func holdsToJSON(holds []*plimsollv1.Hold) []holdJSON {
	out := make([]holdJSON, 0, len(holds))
	for _, h := range holds {
		out = append(out, *holdToJSON(h))
	}
	return out
}

// holdToJSON is nil where there is no hold.
func holdToJSON(h *plimsollv1.Hold) *holdJSON {
	if h == nil {
		return nil
	}
	return &holdJSON{
		Name: h.GetName(), Floor: (*degrade.Level)(h.FloorMillionths), Ceiling: (*degrade.Level)(h.CeilingMillionths),
		Reason: h.GetReason(), Actor: h.GetActor().GetName(), CreatedAt: instant(h.GetCreatedAt()), ExpiresAt: instant(h.GetExpiresAt()), ChangeID: h.GetChangeId(),
	}
}

func overridesToJSON(overrides []*plimsollv1.Override) []overriddenJSON {
	out := make([]overriddenJSON, 0, len(overrides))
	for _, o := range overrides {
		out = append(out, overriddenJSON{
			Flag: o.GetFlagKey(), Variant: o.GetVariant(), Reason: o.GetReason(), Actor: o.GetActor().GetName(),
			CreatedAt: instant(o.GetCreatedAt()), ExpiresAt: instant(o.GetExpiresAt()), ChangeID: o.GetChangeId(),
		})
	}
	return out
}
