package main

import (
	"slices"

	"github.com/spf13/cobra"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

func newSet(c *cli) *cobra.Command {
	var base int64
	cmd := &cobra.Command{
		Use:   "set FLAG VARIANT",
		Short: "Change the default variant of a flag",
		Long: `Change the default variant of a flag: what everybody gets who is not targeted
otherwise. It fails with exit code 4 if somebody else changes the flag at the
same time.`,
		Example: `  flagctl set new-ui on --reason "launch"
  flagctl set new-ui on --wait
  flagctl set new-ui on --dry-run`,
		Args:              exactly("FLAG", "VARIANT"),
		ValidArgsFunction: c.completeFlagAndVariant,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, variant := args[0], args[1]
			return c.edit(cmd.Context(), edit{
				key: key, field: "defaultVariant", base: base, wanted: variant,
				value:   (*summary).defaultName,
				request: &plimsollv1.UpdateFlagRequest{Update: &plimsollv1.UpdateFlagRequest_DefaultVariant{DefaultVariant: variant}},
				check: func(s *summary) error {
					if slices.Contains(s.variantNames(), variant) {
						return nil
					}
					return unknownVariant(variant, s)
				},
				rewrite: func(text string) (string, error) { return flag.WithDefaultVariant(text, variant) },
				undo: func(old string) []string {
					if old == "" {
						return nil // no variant stands for having none
					}
					return []string{"set", key, old}
				},
				afterwards:   c.notServed,
				verbForError: "set " + key,
			})
		},
	}
	bindEdit(c, cmd, &base)
	return cmd
}

// bindEdit registers the flags that set, enable and disable have in common.
func bindEdit(c *cli, cmd *cobra.Command, base *int64) {
	cmd.Flags().Int64Var(base, "base-revision", 0, "only if the flag is still at this `revision`")
	c.globals.bindReason(cmd)
	c.globals.bindDryRun(cmd)
	c.globals.bindWait(cmd)
}
