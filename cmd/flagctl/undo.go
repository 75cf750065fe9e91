package main

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func newUndo(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "undo [CHANGE]",
		Short: "Take back a whole change",
		Long: `Take back a whole change of any kind, if nothing that it touched has moved since;
else the exit code is 4, and who moved it is told. Later changes that were taken
back themselves do not count. Undoing an undo is a redo. An override or hold that
has lapsed meanwhile is not revived.

Without a change, it is your newest one: doing that twice takes back two
changes.`,
		Example: `  flagctl undo
  flagctl undo 4XZ6H3QO5J2T7K4W5S3PLYB2NA --dry-run`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := atMostOne(cmd, args); err != nil {
				return err
			}
			if len(args) > 0 && (args[0] == "" || len(args[0]) > 64) {
				return usage("the id of a change has 1 to 64 characters")
			}
			return nil
		},
		ValidArgsFunction: c.completeChange,
		RunE: func(cmd *cobra.Command, args []string) error {
			id := ""
			if len(args) > 0 {
				id = args[0]
			}
			return c.undo(cmd.Context(), id)
		},
	}
	c.globals.bindChange(cmd)
	return cmd
}

// undoJSON is the result for programs.
type undoJSON struct {
	Undone  undoneChangeJSON `json:"undone"`
	Objects []undoneJSON     `json:"objects"`
	changedJSON
}

// undoneChangeJSON is the change that was taken back.
type undoneChangeJSON struct {
	ChangeID string     `json:"changeId"`
	Verb     string     `json:"verb"`
	Time     *time.Time `json:"time"`
	Actor    string     `json:"actor"`
	Reason   string     `json:"reason,omitempty"`
}

type undoneJSON struct {
	Object  string `json:"object"`
	Removed bool   `json:"removed,omitempty"`
	Lapsed  bool   `json:"lapsed,omitempty"`
}

func (c *cli) undo(ctx context.Context, change string) error {
	if err := c.connect(); err != nil {
		return err
	}
	doing := "undo"
	if change != "" {
		doing = "undo " + change
	}
	id, look := c.newChange()
	res, err := c.client.Degradation.Undo(ctx, connect.NewRequest(&plimsollv1.UndoRequest{
		Namespace: c.namespace(), ChangeId: change, DryRun: c.globals.dryRun, Change: c.change(id),
	}))
	if err != nil {
		return c.failedChange(doing, err, id, look)
	}
	done := c.made(ctx, doing, res.Msg.GetChange(), res.Msg.GetEffects())
	return c.finish(ctx, done, func() { c.printUndone(res.Msg) }, func(common changedJSON) any {
		m := res.Msg
		out := undoJSON{
			Undone:  undoneChangeJSON{m.GetUndoneChangeId(), m.GetUndoneVerb(), instant(m.GetUndoneTime()), m.GetUndoneActor().GetName(), m.GetUndoneReason()},
			Objects: make([]undoneJSON, 0, len(m.GetObjects())), changedJSON: common,
		}
		for _, o := range m.GetObjects() {
			out.Objects = append(out.Objects, undoneJSON{o.GetObject(), o.GetRemoved(), o.GetLapsed()})
		}
		return out
	})
}

func (c *cli) printUndone(res *plimsollv1.UndoResponse) {
	verb := "taken back"
	if c.globals.dryRun {
		verb = "would be taken back"
	}
	text := fmt.Sprintf("%s: %s by %s at %s", verb, output.Bold(output.Clean(res.GetUndoneVerb())), actorText(res.GetUndoneActor()),
		output.Time(res.GetUndoneTime().AsTime()))
	if res.GetUndoneReason() != "" {
		text += ", reason: " + reasonCell(res.GetUndoneReason())
	}
	c.print.Printf("%s%s\n", text, output.Faint(", change "+output.Clean(res.GetUndoneChangeId())))
	shown := res.GetObjects()[:min(len(res.GetObjects()), mostShown)]
	for _, o := range shown {
		became := "as before"
		switch {
		case o.GetLapsed():
			became = output.Warn("removed: what it held before has lapsed meanwhile")
		case o.GetRemoved():
			became = "removed"
		}
		c.print.Printf("  %s: %s\n", output.Clean(o.GetObject()), became)
	}
	c.printMore(len(res.GetObjects()) - len(shown))
}
