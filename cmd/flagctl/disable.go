package main

import (
	"github.com/spf13/cobra"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func newDisable(c *cli) *cobra.Command {
	return newState(c, stateChange{
		verb: "disable", opposite: "enable", state: stateDisabled, proto: plimsollv1.FlagState_FLAG_STATE_DISABLED,
		short: "Take a flag out of evaluation",
		long: `Set the state of a flag to DISABLED: apps use the default in their own code.
To switch a feature off, set its variant instead.`,
	})
}
