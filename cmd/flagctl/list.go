package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// listPage is how many flags one request asks for; the server sends fewer if
// they are large.
const listPage = 5000

func newList(c *cli) *cobra.Command {
	var tier string
	var labels map[string]string
	cmd := &cobra.Command{
		Use:   "list [PREFIX]",
		Short: "List flags",
		Long: `List the flags of a namespace, sorted by key; with a prefix, those whose keys
begin with it.`,
		Example: `  flagctl list
  flagctl list checkout- --tier optional --label team=web
  flagctl list -o json`,
		Args:              atMostOne,
		ValidArgsFunction: c.completeFlag,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &plimsollv1.ListFlagsRequest{Tier: tier, Labels: labels}
			if len(args) > 0 {
				req.KeyPrefix = args[0]
			}
			return c.list(cmd.Context(), req)
		},
	}
	cmd.Flags().StringVar(&tier, "tier", "", "only flags of this `tier`")
	bindLabels(cmd, &labels, "only flags with this label (repeatable)")
	must(cmd.RegisterFlagCompletionFunc("tier", c.completeTiers))
	return cmd
}

// bindLabels registers --label.
func bindLabels(cmd *cobra.Command, labels *map[string]string, usage string) {
	cmd.Flags().StringToStringVar(labels, "label", nil, usage)
	f := cmd.Flags().Lookup("label")
	f.Usage = strings.Replace(f.Usage, "label", "label, as `name=value`", 1)
	f.DefValue = "" // nothing to tell
}

func (c *cli) list(ctx context.Context, req *plimsollv1.ListFlagsRequest) error {
	if err := c.connect(); err != nil {
		return err
	}
	req.Namespace, req.PageSize = c.namespace(), listPage
	flags, err := c.allFlags(ctx, req)
	if err != nil {
		return c.failed("list the flags", err)
	}
	if !c.print.People() {
		out := struct {
			Flags []flagJSON `json:"flags"`
		}{make([]flagJSON, 0, len(flags))}
		for _, f := range flags {
			out.Flags = append(out.Flags, flagToJSON(f))
		}
		return c.print.Value(out)
	}
	if len(flags) == 0 {
		c.print.Notef("no flags in namespace %s%s", c.namespaceName(), filterText(req))
		return nil
	}
	c.print.Table([]string{"KEY", "TYPE", "STATE", "DEFAULT", "TIER", "OWNER", "UPDATED"}, flagRows(flags, c.now()),
		"OWNER", "UPDATED", "TYPE", "TIER")
	return nil
}

// allFlags reads every page.
func (c *cli) allFlags(ctx context.Context, req *plimsollv1.ListFlagsRequest) ([]*plimsollv1.Flag, error) {
	var out []*plimsollv1.Flag
	for {
		res, err := c.client.Flags.ListFlags(ctx, connect.NewRequest(req))
		if err != nil {
			return nil, err
		}
		out = append(out, res.Msg.GetFlags()...)
		if req.PageToken = res.Msg.GetNextPageToken(); req.PageToken == "" {
			return out, nil
		}
	}
}

func filterText(req *plimsollv1.ListFlagsRequest) string {
	var parts []string
	if req.GetKeyPrefix() != "" {
		parts = append(parts, fmt.Sprintf("begin with %q", req.GetKeyPrefix()))
	}
	if req.GetTier() != "" {
		parts = append(parts, fmt.Sprintf("are of tier %q", req.GetTier()))
	}
	if len(req.GetLabels()) > 0 {
		parts = append(parts, "have the labels")
	}
	if len(parts) == 0 {
		return ""
	}
	return " " + strings.Join(parts, " and ")
}

func flagRows(flags []*plimsollv1.Flag, now time.Time) [][]string {
	rows := make([][]string, 0, len(flags))
	for _, f := range flags {
		s := summarize(f.GetDefinition())
		rows = append(rows, []string{
			output.Clean(f.GetKey()), s.valueType(), stateText(s.State), defaultText(f, &s),
			output.Clean(s.tier()), output.Clean(s.Plimsoll.Owner), output.Age(f.GetUpdatedAt().AsTime(), now),
		})
	}
	return rows
}

func stateText(state string) string {
	if state == stateDisabled {
		return output.Warn(state)
	}
	return output.Clean(state)
}

// defaultText is the default variant, and what stands before it.
func defaultText(f *plimsollv1.Flag, s *summary) string {
	text := output.Clean(s.defaultName())
	if text == "" {
		text = output.Faint("(caller's)")
	}
	if s.targeted() {
		text += output.Faint(" +rules")
	}
	if o := f.GetOverride(); o != nil {
		text += output.Warn(" overridden: " + output.Clean(o.GetVariant()))
	}
	if f.GetProblem() != "" {
		text += output.Bad(" does not compile")
	}
	return text
}
