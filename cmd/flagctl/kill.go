package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// maxKill is how many flags a server takes in one change.
const maxKill = 100

func newKill(c *cli) *cobra.Command {
	req := &plimsollv1.KillRequest{}
	var lasts lasting
	cmd := &cobra.Command{
		Use:   "kill FLAG... | --label NAME=VALUE",
		Short: "Pin flags to their degraded variant",
		Long: `Pin flags to their degraded variant, or to the one that --variant names, for
everybody: an override, which comes before the flag's state and rules. With
--label, all flags that have the label; with several, all of them. All are
killed in one change, or none.

A flag without a degradation block has no degraded variant, and needs
--variant. restore brings flags back.`,
		Example: `  flagctl kill recommendations --for 30m --reason "ranker is down"
  flagctl kill --label team=search --wait
  flagctl kill banner --variant plain --dry-run`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(req.GetLabels()) > 0 && len(args) > 0:
				return usage("kill takes flags or --label, not both")
			case len(req.GetLabels()) == 0 && len(args) == 0:
				return &failure{code: exitUsage, why: fmt.Errorf("%s needs a FLAG, or --label", cmd.CommandPath()), hint: "usage: " + cmd.UseLine()}
			case len(args) > maxKill:
				return usage(fmt.Sprintf("%d flags are named; one change kills at most %d: do it in parts, or shed their tier", len(args), maxKill))
			}
			return checkKeys(args)
		},
		ValidArgsFunction: c.completeFlags,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("variant") && req.GetVariant() == "" {
				return usage("--variant must not be empty")
			}
			req.FlagKeys, req.Duration = args, lasts.proto()
			return c.kill(cmd.Context(), req)
		},
	}
	cmd.Flags().StringVar(&req.Variant, "variant", "", "the `variant` to serve (default: each flag's degraded variant)")
	must(cmd.RegisterFlagCompletionFunc("variant", c.completeVariant))
	bindLabels(cmd, &req.Labels, "flags with this label (repeatable)")
	bindFor(cmd, &lasts)
	c.globals.bindChange(cmd)
	return cmd
}

// killJSON is the result for programs.
type killJSON struct {
	Killed []overriddenJSON `json:"killed"`
	changedJSON
}

func (c *cli) kill(ctx context.Context, req *plimsollv1.KillRequest) error {
	if err := c.connect(); err != nil {
		return err
	}
	doing := "kill " + strings.Join(req.GetFlagKeys(), ", ")
	if len(req.GetLabels()) > 0 {
		doing = "kill flags by label"
	}
	doing = output.Cut(doing, briefReason)
	id, look := c.newChange()
	req.Namespace, req.DryRun, req.Change = c.namespace(), c.globals.dryRun, c.change(id)
	res, err := c.client.Degradation.Kill(ctx, connect.NewRequest(req))
	if err != nil {
		return c.failedKill(doing, err, req, look)
	}
	done := c.made(ctx, doing, res.Msg.GetChange(), res.Msg.GetEffects())
	return c.finish(ctx, done, func() { c.printKilled(res.Msg.GetOverrides()) }, func(common changedJSON) any {
		return killJSON{overridesToJSON(res.Msg.GetOverrides()), common}
	})
}

// failedKill is why nothing was killed. Where flags have no degraded variant, it
// says how to name one.
func (c *cli) failedKill(doing string, err error, req *plimsollv1.KillRequest, look string) error {
	failed := c.failedChange(doing, err, req.GetChange().GetChangeId(), look)
	var f *failure
	var e *remote.Error
	if errors.As(failed, &f) && errors.As(failed, &e) && e.Code() == connect.CodeFailedPrecondition && strings.Contains(e.Message, "degraded variant") {
		command := []string{"kill", "--variant", "VARIANT"}
		for _, name := range slices.Sorted(maps.Keys(req.GetLabels())) {
			command = append(command, "--label", name+"="+req.GetLabels()[name])
		}
		f.hint = fmt.Sprintf("`%s`", c.again(command, req.GetFlagKeys()...))
	}
	return failed
}

// printKilled says what is served now, by variant.
func (c *cli) printKilled(overrides []*plimsollv1.Override) {
	if len(overrides) == 0 {
		return
	}
	byVariant := make(map[string][]string)
	for _, o := range overrides {
		byVariant[o.GetVariant()] = append(byVariant[o.GetVariant()], o.GetFlagKey())
	}
	var served []string
	for _, variant := range slices.Sorted(maps.Keys(byVariant)) {
		served = append(served, output.Bold(output.Clean(variant))+" ("+fewNames(byVariant[variant])+")")
	}
	verb := "killed"
	if c.globals.dryRun {
		verb = "would be killed"
	}
	o := overrides[0]
	if until := untilText(o.GetExpiresAt(), o.GetCreatedAt().AsTime()); until != "" {
		verb += " " + until
	}
	c.print.Printf("%s %s, serving: %s\n", output.Count(len(overrides), "flag"), verb, strings.Join(served, ", "))
}
