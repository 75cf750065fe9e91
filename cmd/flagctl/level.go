package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func newLevel(c *cli) *cobra.Command {
	var explain bool
	cmd := &cobra.Command{
		Use:   "level",
		Short: "Show how deep the namespace is in degradation, or set it",
		Long: `Show the level: 0 sheds nothing; 1 sheds the least important tier, 2 the next one
too, and so on; what is between sheds a share of a tier. It follows from what is
wanted automatically, and from the holds of operators:

  level = max(floors, min(automatic, ceilings))

--explain shows each hold, and which one decides.`,
		Example: `  flagctl level
  flagctl level --explain
  flagctl level set 1.5 --for 30m --reason "load test"
  flagctl level set auto`,
		Args: unknownVerb,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.level(cmd.Context(), explain)
		},
	}
	cmd.Flags().BoolVar(&explain, "explain", false, "show how it comes about")
	cmd.AddCommand(newLevelSet(c))
	return cmd
}

func newLevelSet(c *cli) *cobra.Command {
	var lasts lasting
	cmd := &cobra.Command{
		Use:   "set LEVEL|auto",
		Short: "Fix the level, or give it back to automatic shedding",
		Long: `Fix the level: all other holds are removed, and nothing is shed or brought back
automatically until "level set auto", which removes all holds.`,
		Example: `  flagctl level set 1.25 --for 30m
  flagctl level set 0 --reason "shedding does more harm than good"
  flagctl level set auto`,
		Args:              exactly("LEVEL"),
		ValidArgsFunction: fixed("auto", "0", "0.5", "1", "2", "3"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &plimsollv1.SetLevelRequest{Duration: lasts.proto()}
			if args[0] == "auto" {
				if lasts.d != nil {
					return usage("--for does not go with auto, which removes all holds")
				}
				return c.setLevel(cmd.Context(), req)
			}
			level, err := parseLevel(args[0])
			if err != nil {
				return err
			}
			req.LevelMillionths = (*uint32)(&level)
			return c.setLevel(cmd.Context(), req)
		},
	}
	bindFor(cmd, &lasts)
	c.globals.bindChange(cmd)
	cmd.SetFlagErrorFunc(negativeLevel)
	return cmd
}

func parseLevel(s string) (degrade.Level, error) {
	level, err := degrade.ParseLevel(s)
	if err != nil {
		return 0, &failure{code: exitUsage, why: err, hint: `give a number such as 0.4 or 2, or "auto"`}
	}
	return level, nil
}

// negativeLevel says of a level below 0 that it is none: it looks like a flag.
func negativeLevel(cmd *cobra.Command, err error) error {
	var missing *pflag.NotExistError
	if errors.As(err, &missing) {
		if s := missing.GetSpecifiedShortnames(); strings.IndexAny(s, ".0123456789") == 0 {
			_, err := parseLevel("-" + s)
			return err
		}
	}
	return unknownFlag(cmd, err)
}

// levelJSON is the level for programs. Decides names the hold that the level
// is that of; it is left out where the level is the automatic one.
type levelJSON struct {
	Namespace string        `json:"namespace"`
	Position  positionJSON  `json:"position"`
	Level     degrade.Level `json:"level"`
	Auto      degrade.Level `json:"auto"`
	Deepest   degrade.Level `json:"deepest"`
	Pinned    bool          `json:"pinned"`
	Decides   string        `json:"decides,omitempty"`
	Tiers     []tierJSON    `json:"tiers"`
	Holds     []holdJSON    `json:"holds"`
}

func (c *cli) level(ctx context.Context, explain bool) error {
	if err := c.connect(); err != nil {
		return err
	}
	res, err := c.client.Degradation.GetDegradation(ctx, connect.NewRequest(&plimsollv1.GetDegradationRequest{Namespace: c.namespace()}))
	if err != nil {
		return c.failed("show the level", err)
	}
	c.remember(seen{degradation: res.Msg})
	s := standingAt(res.Msg, res.Msg.GetNow().AsTime())
	if !c.print.People() {
		return c.print.Value(levelJSON{
			c.namespaceName(), positionOf(res.Msg.GetPosition()), s.level, s.state.Auto, s.deepest(), s.pinned, s.reckon().decides, s.tiersJSON(), s.holdsJSON(),
		})
	}
	c.printPinned(s)
	c.print.Printf("%s\n", s.levelLine())
	c.printTiers(s)
	if explain {
		c.explainLevel(s)
	} else {
		c.printHolds(s)
	}
	return nil
}

// reckoning is how the level comes about.
type reckoning struct {
	floor, ceiling *plimsollv1.Hold // the highest floor, the lowest ceiling; nil: none
	decides        string           // the hold that the level is that of; "": none, it is the automatic one
}

func (s *standing) reckon() reckoning {
	var r reckoning
	for _, h := range s.holds {
		if s.lapsed(h.GetExpiresAt()) {
			continue
		}
		if h.FloorMillionths != nil && (r.floor == nil || h.GetFloorMillionths() > r.floor.GetFloorMillionths()) {
			r.floor = h
		}
		if h.CeilingMillionths != nil && (r.ceiling == nil || h.GetCeilingMillionths() < r.ceiling.GetCeilingMillionths()) {
			r.ceiling = h
		}
	}
	bounded := s.state.Auto
	if r.ceiling != nil && degrade.Level(r.ceiling.GetCeilingMillionths()) < bounded {
		bounded, r.decides = degrade.Level(r.ceiling.GetCeilingMillionths()), r.ceiling.GetName()
	}
	if r.floor != nil && degrade.Level(r.floor.GetFloorMillionths()) > bounded {
		r.decides = r.floor.GetName()
	}
	if r.decides == "" && s.pinned {
		r.decides = degrade.Pin // at the automatic level, by chance or on purpose: that may move, and the pin stays
	}
	return r
}

// explainLevel tells each bound with who set it, why and for how long, and how
// the level follows from them.
func (c *cli) explainLevel(s *standing) {
	r := s.reckon()
	if len(s.holds) == 0 {
		c.print.Printf("no holds: the level is the automatic one\n")
		return
	}
	for _, h := range s.holds {
		mark := " "
		if h.GetName() == r.decides {
			mark = output.Warn("*")
		}
		end := "without an end"
		if h.GetExpiresAt() != nil {
			end = untilText(h.GetExpiresAt(), s.now)
		}
		text := fmt.Sprintf("%s hold %s: %s, by %s %s ago, %s", mark, output.Bold(output.Clean(h.GetName())), bound(h), actorText(h.GetActor()),
			output.Span(s.now.Sub(h.GetCreatedAt().AsTime())), end)
		if h.GetReason() != "" {
			text += ": " + output.Clean(h.GetReason())
		}
		c.print.Printf("%s\n", text)
	}
	inner := "automatic " + s.state.Auto.String()
	if r.ceiling != nil {
		inner = fmt.Sprintf("min(%s, ceiling %s of %s)", inner, degrade.Level(r.ceiling.GetCeilingMillionths()), output.Clean(r.ceiling.GetName()))
	}
	if r.floor != nil {
		inner = fmt.Sprintf("max(floor %s of %s, %s)", degrade.Level(r.floor.GetFloorMillionths()), output.Clean(r.floor.GetName()), inner)
	}
	c.print.Printf("level %s = %s\n", s.level, inner)
	if r.decides == "" {
		c.print.Printf("no hold decides: the level is the automatic one\n")
	} else {
		c.print.Printf("%s decides\n", output.Clean(r.decides))
	}
}

// setLevelJSON is the result for programs.
type setLevelJSON struct {
	// Level is what was asked for: a level, or auto.
	Level   string     `json:"level"`
	Hold    *holdJSON  `json:"hold,omitempty"`
	Removed []holdJSON `json:"removed"`
	changedJSON
}

func (c *cli) setLevel(ctx context.Context, req *plimsollv1.SetLevelRequest) error {
	if err := c.connect(); err != nil {
		return err
	}
	wanted := "auto"
	if req.LevelMillionths != nil {
		wanted = degrade.Level(req.GetLevelMillionths()).String()
	}
	doing := "set the level to " + wanted
	id, look := c.newChange()
	req.Namespace, req.DryRun, req.Change = c.namespace(), c.globals.dryRun, c.change(id)
	res, err := c.client.Degradation.SetLevel(ctx, connect.NewRequest(req))
	if err != nil {
		return c.failedChange(doing, err, id, look)
	}
	done := c.made(ctx, doing, res.Msg.GetChange(), res.Msg.GetEffects())
	return c.finish(ctx, done, func() { c.printLevelSet(wanted, res.Msg) }, func(common changedJSON) any {
		return setLevelJSON{wanted, holdToJSON(res.Msg.GetHold()), holdsToJSON(res.Msg.GetRemoved()), common}
	})
}

func (c *cli) printLevelSet(wanted string, res *plimsollv1.SetLevelResponse) {
	is := "is"
	if c.globals.dryRun {
		is = "would be"
	}
	if h := res.GetHold(); h != nil {
		c.print.Printf("%s\n", strings.TrimSpace(fmt.Sprintf("the level %s fixed at %s %s", is, output.Bold(wanted), untilText(h.GetExpiresAt(), h.GetCreatedAt().AsTime()))))
	} else {
		c.print.Printf("the level %s automatic\n", is)
	}
	var names []string
	for _, h := range res.GetRemoved() {
		names = append(names, h.GetName())
	}
	slices.SortFunc(names, cmp.Compare)
	if len(names) > 0 {
		verb := "removed"
		if c.globals.dryRun {
			verb = "would be removed"
		}
		c.print.Printf("%s %s: %s\n", output.Count(len(names), "other hold"), verb, fewNames(names))
	}
}
