package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/textdiff"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func newHistory(c *cli) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "history FLAG",
		Short: "Show who changed a flag, when, how and why",
		Long: `Show the changes of a flag, newest first, each with what it changed. A flag that
was deleted still has its history.`,
		Args:              exactly("FLAG"),
		ValidArgsFunction: c.completeFlag,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 {
				return usage("--limit must be at least 1")
			}
			return c.history(cmd.Context(), args[0], limit)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many `changes` at most")
	return cmd
}

func (c *cli) history(ctx context.Context, key string, limit int) error {
	doing := "show the history of " + key
	if err := c.connect(); err != nil {
		return err
	}
	object := "flags/" + key
	records, err := c.records(ctx, &plimsollv1.ListRecordsRequest{Namespace: c.namespace(), Object: object}, limit)
	if err != nil {
		return c.failed(doing, err)
	}
	if len(records) == 0 {
		if _, err := c.getFlag(ctx, key); err != nil {
			return c.failed(doing, err) // with the nearest key
		}
	}
	if !c.print.People() {
		out := struct {
			Key     string       `json:"key"`
			Records []recordJSON `json:"records"`
		}{key, make([]recordJSON, 0, len(records))}
		for _, r := range records {
			one := recordToJSON(r)
			one.Objects = one.Objects[:0]
			for _, o := range r.GetObjects() {
				if o.GetObject() == object {
					one.Objects = append(one.Objects, objectJSON{object, rawJSON(o.GetBeforeJson()), rawJSON(o.GetAfterJson())})
				}
			}
			out.Records = append(out.Records, one)
		}
		return c.print.Value(out)
	}
	for i, r := range records {
		if i > 0 {
			c.print.Printf("\n")
		}
		c.printRecord(r, object)
	}
	return nil
}

// printRecord prints what a record did to one object.
func (c *cli) printRecord(r *plimsollv1.AuditRecord, object string) {
	c.print.Printf("%s %s by %s, %s%s\n",
		output.Bold(fmt.Sprintf("revision %d", r.GetRevision())), output.Time(r.GetTime().AsTime()), actorText(r.GetActor()),
		output.Clean(r.GetVerb()), output.Faint(" change "+output.Clean(r.GetChangeId())))
	if why := whyText(r); why != "" {
		c.print.Printf("reason: %s\n", output.Clean(why))
	}
	for _, o := range r.GetObjects() {
		if o.GetObject() != object {
			continue
		}
		for _, line := range textdiff.JSON(o.GetBeforeJson(), o.GetAfterJson()) {
			c.print.Printf("%s\n", diffLine(line))
		}
	}
}
