package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func newGet(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "get FLAG",
		Short: "Show a flag",
		Long: `Show everything about one flag. With -o json or -o yaml: its definition alone,
as ` + "`flagctl create FLAG -f FILE`" + ` takes it.`,
		Example: `  flagctl get new-ui
  flagctl get new-ui -o yaml > new-ui.yaml`,
		Args:              exactly("FLAG"),
		ValidArgsFunction: c.completeFlag,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.get(cmd.Context(), args[0])
		},
	}
}

func (c *cli) get(ctx context.Context, key string) error {
	if err := c.connect(); err != nil {
		return err
	}
	f, err := c.getFlag(ctx, key)
	if err != nil {
		return c.failed("get "+key, err)
	}
	if !c.print.People() {
		return c.print.Value(json.RawMessage(f.GetDefinition()))
	}
	s := summarize(f.GetDefinition())
	c.print.Fields(c.describe(f, &s))
	for _, block := range []struct {
		name string
		json json.RawMessage
	}{{"targeting", s.Targeting}, {"metadata", s.Metadata}} {
		if text := strings.TrimSpace(string(block.json)); text != "" && text != "null" && text != "{}" {
			c.print.Printf("\n%s\n%s\n", output.Faint(block.name), output.Pretty(block.json))
		}
	}
	return nil
}

// getFlag reads one flag.
func (c *cli) getFlag(ctx context.Context, key string) (*plimsollv1.Flag, error) {
	res, err := c.client.Flags.GetFlag(ctx, connect.NewRequest(&plimsollv1.GetFlagRequest{Namespace: c.namespace(), Key: key}))
	if err != nil {
		return nil, err
	}
	return res.Msg.GetFlag(), nil
}

func (c *cli) describe(f *plimsollv1.Flag, s *summary) [][2]string {
	fields := [][2]string{
		{"key", output.Bold(output.Clean(f.GetKey()))},
		{"type", s.valueType()},
		{"state", stateText(s.State)},
	}
	optional := func(name, value string) {
		if value != "" {
			fields = append(fields, [2]string{name, value})
		}
	}
	optional("problem", output.Bad(output.Clean(f.GetProblem())))
	if o := f.GetOverride(); o != nil {
		optional("override", output.Warn(overrideText(o)))
	}
	for i, v := range s.variants {
		name := ""
		if i == 0 {
			name = "variants"
		}
		text := output.Clean(v.name) + " = " + output.Clean(v.json)
		if s.DefaultVariant != nil && v.name == *s.DefaultVariant {
			text += output.Good("  default")
		}
		fields = append(fields, [2]string{name, text})
	}
	if s.DefaultVariant == nil {
		optional("default", "none: apps use their own default")
	}
	if d := s.Degradation; d != nil {
		optional("tier", output.Clean(d.Tier))
		optional("degraded to", output.Clean(d.DegradedVariant))
		optional("depends on", output.Clean(strings.Join(d.DependsOn, ", ")))
		optional("guard", output.Clean(d.Guard))
	}
	optional("owner", output.Clean(s.Plimsoll.Owner))
	optional("expires", output.Clean(s.Plimsoll.Expires))
	optional("labels", output.Clean(labelText(s.Plimsoll.Labels)))
	optional("description", output.Clean(s.Plimsoll.Description))
	optional("created", output.Time(f.GetCreatedAt().AsTime()))
	optional("updated", fmt.Sprintf("%s by %s", output.Time(f.GetUpdatedAt().AsTime()), actorText(f.GetUpdatedBy())))
	optional("revision", fmt.Sprint(f.GetRevision()))
	return fields
}

func labelText(labels map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, name+"="+labels[name])
	}
	return strings.Join(parts, ", ")
}

// overrideText says what an override serves, until when, by whom and why.
func overrideText(o *plimsollv1.Override) string {
	text := o.GetVariant()
	if o.GetExpiresAt() != nil {
		text += " until " + output.Time(o.GetExpiresAt().AsTime())
	}
	if o.GetActor().GetName() != "" {
		text += " by " + o.GetActor().GetName()
	}
	if o.GetReason() != "" {
		text += fmt.Sprintf(" (%s)", o.GetReason())
	}
	return output.Clean(text)
}

// actorText is a name and where it acted from. A name that nobody has proven
// is told as it was claimed; so are all until there are tokens.
func actorText(a *plimsollv1.Actor) string {
	text := a.GetName()
	if a.GetOrigin() != "" {
		text += " (" + a.GetOrigin() + ")"
	}
	return output.Clean(text)
}
