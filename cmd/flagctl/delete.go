package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func newDelete(c *cli) *cobra.Command {
	var base int64
	var segment, evaluator string
	cmd := &cobra.Command{
		Use:   "delete FLAG...",
		Short: "Delete flags, a segment or an evaluator",
		Long: `Delete flags. Apps use the default in their own code from then on. What was
deleted is printed as the command that restores it. On a terminal it asks
first; if any of the flags does not exist, none is deleted.

With --segment or --evaluator, delete a rule that flags share instead. One that
is still used is refused, with the names of its users.`,
		Example: `  flagctl delete old-ui older-ui --reason "launched long ago"
  flagctl delete --segment beta-testers`,
		Args: func(cmd *cobra.Command, args []string) error {
			if segment != "" || evaluator != "" {
				return noArguments(cmd, args)
			}
			if err := atLeastOne(cmd, args); err != nil {
				return err
			}
			return checkKeys(args)
		},
		ValidArgsFunction: c.completeFlags,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case segment != "" && evaluator != "":
				return usage("--segment and --evaluator do not go together")
			case segment != "":
				return c.deleteRule(cmd.Context(), segmentNamed(segment))
			case evaluator != "":
				return c.deleteRule(cmd.Context(), evaluatorNamed(evaluator))
			}
			if err := checkBase(base); err != nil {
				return err
			}
			if base != 0 && len(args) > 1 {
				return usage("--base-revision goes with a single flag")
			}
			return c.delete(cmd.Context(), args, base)
		},
	}
	cmd.Flags().Int64Var(&base, "base-revision", 0, "only if the flag is still at this `revision`")
	cmd.Flags().StringVar(&segment, "segment", "", "delete the segment of this `name`")
	cmd.Flags().StringVar(&evaluator, "evaluator", "", "delete the evaluator of this `name`")
	c.globals.bindReason(cmd)
	c.globals.bindDryRun(cmd)
	c.globals.bindYes(cmd)
	c.globals.bindWait(cmd)
	return cmd
}

// deletedJSON is the result for programs.
type deletedJSON struct {
	Deleted  []string `json:"deleted"`
	DryRun   bool     `json:"dryRun,omitempty"`
	ChangeID string   `json:"changeId,omitempty"`
	Revision int64    `json:"revision,omitempty"`
	Restore  string   `json:"restore"`

	Wait *waitJSON `json:"wait,omitempty"`
}

func (c *cli) delete(ctx context.Context, keys []string, base int64) error {
	if err := c.connect(); err != nil {
		return err
	}
	flags, err := c.getFlags(ctx, keys)
	if err != nil {
		return err
	}
	if base != 0 {
		flags[0].Revision = base // the server compares
	}
	deleted, out := flags, deletedJSON{DryRun: c.globals.dryRun}
	var at *plimsollv1.Position
	if !out.DryRun {
		question := fmt.Sprintf("delete %s from namespace %s?", output.Clean(strings.Join(keys, ", ")), c.namespaceName())
		if err := c.confirm(ctx, question); err != nil {
			return err
		}
		out.ChangeID = rand.Text()
		deleted, at, err = c.deleteFlags(ctx, flags, out.ChangeID)
		out.Revision = at.GetRevision()
	}
	if len(deleted) == 0 {
		return err
	}
	c.describeDeleted(deleted, &out)
	done := concluded{doing: "delete " + strings.Join(out.Deleted, ", "), at: at, changed: true, partly: err != nil}
	concludeErr := c.conclude(ctx, done, func() { c.printDeleted(&out) }, func(w *waitJSON) any {
		out.Wait = w
		return out
	})
	return cmp.Or(concludeErr, err)
}

// getFlags reads flags, each once.
func (c *cli) getFlags(ctx context.Context, keys []string) ([]*plimsollv1.Flag, error) {
	var flags []*plimsollv1.Flag
	for i, key := range keys {
		if slices.Contains(keys[:i], key) {
			continue
		}
		f, err := c.getFlag(ctx, key)
		if err != nil {
			return nil, c.failed("delete "+key, err)
		}
		flags = append(flags, f)
	}
	return flags, nil
}

// deleteFlags deletes one flag after the other, as one change, provided that
// each still is what it was when it was read. It returns those that are gone, and
// the namespace's position after that.
func (c *cli) deleteFlags(ctx context.Context, flags []*plimsollv1.Flag, changeID string) (gone []*plimsollv1.Flag, at *plimsollv1.Position, err error) {
	for i, f := range flags {
		res, err := c.client.Flags.DeleteFlag(ctx, connect.NewRequest(&plimsollv1.DeleteFlagRequest{
			Namespace: c.namespace(), Key: f.GetKey(), BaseRevision: f.GetRevision(), Change: c.change(changeID),
		}))
		if err != nil {
			return flags[:i], at, c.failedChange("delete "+f.GetKey(), err, changeID, c.again([]string{"history"}, f.GetKey()))
		}
		at = res.Msg.GetChange().GetPosition()
	}
	return flags, at, nil
}

// describeDeleted fills in what was deleted, and how it comes back.
func (c *cli) describeDeleted(flags []*plimsollv1.Flag, out *deletedJSON) {
	definitions := make(map[string]string, len(flags))
	for _, f := range flags {
		out.Deleted = append(out.Deleted, f.GetKey())
		definitions[f.GetKey()] = f.GetDefinition()
	}
	out.Restore = c.applyAgain(definitions)
}

func (c *cli) printDeleted(out *deletedJSON) {
	for _, key := range out.Deleted {
		if out.DryRun {
			c.print.Printf("%s: would be deleted (dry run: nothing was changed)\n", output.Bold(output.Clean(key)))
		} else {
			c.print.Printf("%s: deleted\n", output.Bold(output.Clean(key)))
		}
	}
	c.print.Printf("restore with:\n%s\n", out.Restore)
}
