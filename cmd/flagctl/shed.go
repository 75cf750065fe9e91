package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func newShed(c *cli) *cobra.Command {
	var percent string
	var lasts lasting
	cmd := &cobra.Command{
		Use:   "shed TIER",
		Short: "Shed a share of a tier, and all of the less important ones",
		Long: `Shed a tier, or a share of its traffic, and with it all tiers that are less
important: a hold under the level. Each tier has one such hold, and the highest
counts. --percent 0 lifts the hold again. The most important tier is never shed.

The same share of users is shed in all flags and all processes; raising the
share only adds users.`,
		Example: `  flagctl shed optional --for 30m --reason "database is slow"
  flagctl shed standard --percent 25 --wait
  flagctl shed standard --percent 0`,
		Args:              exactly("TIER"),
		ValidArgsFunction: c.completeSheddable,
		RunE: func(cmd *cobra.Command, args []string) error {
			share, err := parsePercent(percent)
			if err != nil {
				return err
			}
			if share == 0 && lasts.d != nil {
				return usage("--for does not go with --percent 0, which lifts the hold")
			}
			return c.shed(cmd.Context(), args[0], share, lasts)
		},
	}
	cmd.Flags().StringVar(&percent, "percent", "100", "`share` of the tier to shed, from 0 to 100, with up to four decimals")
	must(cmd.RegisterFlagCompletionFunc("percent", fixed("0", "10", "25", "50", "75", "100")))
	bindFor(cmd, &lasts)
	c.globals.bindChange(cmd)
	return cmd
}

var plainPercent = regexp.MustCompile(`^([0-9]{1,9})(?:\.([0-9]{1,4}))? ?%?$`)

// parsePercent reads a percentage as millionths.
func parsePercent(s string) (uint32, error) {
	m := plainPercent.FindStringSubmatch(s)
	if m == nil {
		return 0, usage(fmt.Sprintf("--percent is a number from 0 to 100 with up to four decimals, such as 25 or 0.5, and is %q", s))
	}
	n, err := strconv.ParseUint(m[1]+(m[2] + "0000")[:4], 10, 64)
	if err != nil || n > uint64(degrade.One) {
		return 0, usage(fmt.Sprintf("--percent is at most 100, and is %s", s))
	}
	return uint32(n), nil
}

// shedJSON is the result for programs.
type shedJSON struct {
	Tier  string        `json:"tier"`
	Share degrade.Level `json:"share"`
	Hold  *holdJSON     `json:"hold,omitempty"`
	changedJSON
}

func (c *cli) shed(ctx context.Context, tier string, share uint32, lasts lasting) error {
	if tier == "" || len(tier) > 63 {
		return usage("a tier has 1 to 63 characters")
	}
	if err := c.connect(); err != nil {
		return err
	}
	doing := "shed " + tier
	id, look := c.newChange()
	res, err := c.client.Degradation.Shed(ctx, connect.NewRequest(&plimsollv1.ShedRequest{
		Namespace: c.namespace(), Tier: tier, ShareMillionths: share, Duration: lasts.proto(), DryRun: c.globals.dryRun, Change: c.change(id),
	}))
	if err != nil {
		return c.failedChange(doing, err, id, look)
	}
	done := c.made(ctx, doing, res.Msg.GetChange(), res.Msg.GetEffects())
	return c.finish(ctx, done, func() { c.printShed(done, tier, share, res.Msg.GetHold()) }, func(common changedJSON) any {
		return shedJSON{tier, degrade.Level(share), holdToJSON(res.Msg.GetHold()), common}
	})
}

func (c *cli) printShed(done *changed, tier string, share uint32, hold *plimsollv1.Hold) {
	name := output.Bold(output.Clean(tier))
	would := ""
	if c.globals.dryRun {
		would = "would be "
	}
	switch {
	case hold != nil:
		text := strings.TrimSpace(fmt.Sprintf("%s: %s%s shed %s", name, would, output.Percent(share), untilText(hold.GetExpiresAt(), hold.GetCreatedAt().AsTime())))
		c.print.Printf("%s\n", text)
		if level := degrade.Level(done.effects.GetLevelAfterMillionths()); level > degrade.Level(hold.GetFloorMillionths()) {
			c.print.Notef("%s the level is %s anyway: `%s` tells why", output.Warn("note:"), level, c.again([]string{"level", "--explain"}))
		}
	case done.result.GetChanged() || c.globals.dryRun:
		c.print.Printf("%s: the hold that sheds it %slifted\n", name, map[bool]string{true: "would be ", false: "was "}[c.globals.dryRun])
	default:
		c.print.Printf("%s: there is no hold that sheds it\n", name)
	}
}
