package main

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func newRestore(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore [FLAG...]",
		Short: "Bring back what was killed, or everything",
		Long: `Remove the overrides of flags, so that they serve what their rules say again.

Without a flag, everything that operators have done is taken back: all overrides
and all holds on the level. What that is, is listed first, and on a terminal it
asks before it goes on.`,
		Example: `  flagctl restore recommendations
  flagctl restore --dry-run
  flagctl restore --yes --reason "incident 12 is over" --wait`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > maxKill {
				return usage(fmt.Sprintf("%d flags are named; one change restores at most %d: do it in parts", len(args), maxKill))
			}
			return checkKeys(args)
		},
		ValidArgsFunction: c.completeOverridden,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.restore(cmd.Context(), args)
		},
	}
	c.globals.bindYes(cmd)
	c.globals.bindChange(cmd)
	return cmd
}

// restoreJSON is the result for programs.
type restoreJSON struct {
	Overrides []overriddenJSON `json:"overrides"`
	Holds     []holdJSON       `json:"holds"`
	changedJSON
}

func (c *cli) restore(ctx context.Context, keys []string) error {
	if err := c.connect(); err != nil {
		return err
	}
	doing := "restore everything"
	if len(keys) > 0 {
		doing = output.Cut("restore "+strings.Join(keys, ", "), briefReason)
	}
	id, look := c.newChange()
	req := &plimsollv1.RestoreRequest{Namespace: c.namespace(), FlagKeys: keys, DryRun: c.globals.dryRun, Change: c.change(id)}
	if len(keys) == 0 && !c.globals.dryRun {
		if err := c.confirmRestore(ctx, doing); err != nil {
			return err
		}
	}
	res, err := c.client.Degradation.Restore(ctx, connect.NewRequest(req))
	if err != nil {
		return c.failedChange(doing, err, id, look)
	}
	done := c.made(ctx, doing, res.Msg.GetChange(), res.Msg.GetEffects())
	return c.finish(ctx, done, func() { c.printRestored(res.Msg, keys) }, func(common changedJSON) any {
		return restoreJSON{overridesToJSON(res.Msg.GetOverrides()), holdsToJSON(res.Msg.GetHolds()), common}
	})
}

// confirmRestore lists what would be removed and asks whether it is to be.
func (c *cli) confirmRestore(ctx context.Context, doing string) error {
	res, err := c.client.Degradation.GetDegradation(ctx, connect.NewRequest(&plimsollv1.GetDegradationRequest{Namespace: c.namespace()}))
	if err != nil {
		return c.failed(doing, err)
	}
	s := standingAt(res.Msg, res.Msg.GetNow().AsTime())
	if len(s.overrides)+len(s.holds) == 0 {
		return nil
	}
	if c.print.People() {
		c.printOverrides(s)
		c.printHolds(s)
	}
	return c.confirm(ctx, fmt.Sprintf("remove %s and %s from namespace %s?",
		output.Count(len(s.overrides), "override"), output.Count(len(s.holds), "hold"), c.namespaceName()))
}

func (c *cli) printRestored(res *plimsollv1.RestoreResponse, asked []string) {
	verb := "removed"
	if c.globals.dryRun {
		verb = "would be removed"
	}
	var parts []string
	if n := len(res.GetOverrides()); n > 0 {
		var names []string
		for _, o := range res.GetOverrides() {
			names = append(names, o.GetFlagKey())
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", output.Count(n, "override"), fewNames(names)))
	}
	if n := len(res.GetHolds()); n > 0 {
		var names []string
		for _, h := range res.GetHolds() {
			names = append(names, h.GetName())
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", output.Count(n, "hold"), fewNames(names)))
	}
	switch {
	case len(parts) > 0:
		c.print.Printf("%s %s\n", strings.Join(parts, " and "), verb)
	case len(asked) > 0:
		c.print.Printf("%s: no override\n", fewNames(asked))
	default:
		c.print.Printf("there are no overrides and no holds\n")
	}
}

// fewNames names things, as far as a line has room.
func fewNames(names []string) string {
	text := output.Clean(strings.Join(names[:min(len(names), mostEffects)], ", "))
	if more := len(names) - mostEffects; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
