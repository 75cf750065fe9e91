package main

import (
	"github.com/spf13/cobra"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

func newEnable(c *cli) *cobra.Command {
	return newState(c, stateChange{
		verb: "enable", opposite: "disable", state: stateEnabled, proto: plimsollv1.FlagState_FLAG_STATE_ENABLED,
		short: "Let a flag be evaluated again",
		long:  "Set the state of a flag to ENABLED: apps get what its rules say.",
	})
}

// stateChange is what tells enable and disable apart.
type stateChange struct {
	verb, opposite, state, short, long string
	proto                              plimsollv1.FlagState
}

func newState(c *cli, to stateChange) *cobra.Command {
	var base int64
	cmd := &cobra.Command{
		Use:               to.verb + " FLAG",
		Short:             to.short,
		Long:              to.long,
		Example:           "  flagctl " + to.verb + ` new-ui --reason "see ticket 12"`,
		Args:              exactly("FLAG"),
		ValidArgsFunction: c.completeFlag,
		RunE: func(cmd *cobra.Command, args []string) error {
			key := args[0]
			return c.edit(cmd.Context(), edit{
				key: key, field: "state", base: base, wanted: to.state,
				value:        func(s *summary) string { return s.State },
				request:      &plimsollv1.UpdateFlagRequest{Update: &plimsollv1.UpdateFlagRequest_State{State: to.proto}},
				rewrite:      func(text string) (string, error) { return flag.WithState(text, to.state == stateEnabled) },
				undo:         func(string) []string { return []string{to.opposite, key} },
				verbForError: to.verb + " " + key,
			})
		},
	}
	bindEdit(c, cmd, &base)
	return cmd
}
