package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	completeTimeout = 2 * time.Second // the shell waits for us
	completeMost    = 500             // more than anybody reads
)

// completer is what cobra calls to complete an argument or the value of a flag.
type completer = func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective)

// completeGlobals completes the values of the flags of all commands.
func completeGlobals(c *cli, root *cobra.Command) {
	must(root.RegisterFlagCompletionFunc("namespace", c.completeNamespaces))
	must(root.RegisterFlagCompletionFunc("output", fixed(output.Formats...)))
	must(root.RegisterFlagCompletionFunc("server", cobra.NoFileCompletions))
	must(root.RegisterFlagCompletionFunc("timeout", cobra.NoFileCompletions))
}

// must stops at a mistake in how the commands are put together.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func fixed(words ...string) completer {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeTiers offers the tiers of the namespace; without a server, those that
// every namespace has from the start.
func (c *cli) completeTiers(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names := []string(degrade.DefaultTiers())
	if s := c.askStanding(cmd); s != nil {
		names = nil
		for _, t := range s.tiers {
			names = append(names, t.GetName())
		}
	}
	return begunWith(begun, names)
}

// completeSheddable offers the tiers that can be shed.
func (c *cli) completeSheddable(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	if s := c.askStanding(cmd); s != nil {
		for _, t := range s.tiers {
			if t.GetRank() > 0 {
				names = append(names, t.GetName())
			}
		}
	}
	return begunWith(begun, names)
}

// completeOverridden offers the flags that have an override.
func (c *cli) completeOverridden(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []string
	if s := c.askStanding(cmd); s != nil {
		for _, o := range s.overrides {
			if !slices.Contains(args, o.GetFlagKey()) {
				names = append(names, o.GetFlagKey())
			}
		}
	}
	return begunWith(begun, names)
}

// completeNeeded offers what may fail: the dependencies of the plan, and the
// flags with a degradation block and what these need.
func (c *cli) completeNeeded(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel, ok := c.ask(cmd)
	defer cancel()
	if !ok || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	res, err := c.client.Degradation.GetFailureMap(ctx, connect.NewRequest(&plimsollv1.GetFailureMapRequest{Namespace: c.namespace()}))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, d := range res.Msg.GetPlan().GetDependencies() {
		names = append(names, d.GetName())
	}
	for _, f := range res.Msg.GetFeatures() {
		names = append(append(names, f.GetFlagKey()), f.GetDependsOn()...)
	}
	slices.Sort(names)
	return begunWith(begun, slices.Compact(names))
}

// completeVariant offers the variants of the flags that are named.
func (c *cli) completeVariant(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.completeFlagAndVariant(cmd, args[:1], begun)
}

// completeChange offers the ids of the newest changes, and what they did.
func (c *cli) completeChange(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel, ok := c.ask(cmd)
	defer cancel()
	if !ok || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	records, err := c.newestChanges(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []cobra.Completion
	for _, r := range records {
		if strings.HasPrefix(r.GetChangeId(), begun) {
			ids = append(ids, cobra.CompletionWithDesc(r.GetChangeId(), fmt.Sprintf("%s %s by %s", r.GetVerb(), objectText(r.GetObjects()), actorText(r.GetActor()))))
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// askStanding is how the namespace stands; nil if that cannot be had.
func (c *cli) askStanding(cmd *cobra.Command) *standing {
	ctx, cancel, ok := c.ask(cmd)
	defer cancel()
	if !ok {
		return nil
	}
	res, err := c.client.Degradation.GetDegradation(ctx, connect.NewRequest(&plimsollv1.GetDegradationRequest{Namespace: c.namespace()}))
	if err != nil {
		return nil
	}
	return standingAt(res.Msg, res.Msg.GetNow().AsTime())
}

// begunWith are the names that begin so, as many as anybody reads.
func begunWith(begun string, names []string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var out []cobra.Completion
	for _, name := range names {
		if strings.HasPrefix(name, begun) && len(out) < completeMost {
			out = append(out, name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// ask connects for a completion. A shell shows no errors, so there are none:
// without a server there is nothing to offer.
func (c *cli) ask(cmd *cobra.Command) (context.Context, context.CancelFunc, bool) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	return ctx, cancel, c.connect() == nil
}

// completeFlag offers the keys of flags for the first argument.
func (c *cli) completeFlag(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.completeFlags(cmd, args, begun)
}

// completeFlags offers the keys of flags that are not among the arguments yet.
func (c *cli) completeFlags(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel, ok := c.ask(cmd)
	defer cancel()
	if !ok {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	res, err := c.client.Flags.ListFlags(ctx, connect.NewRequest(&plimsollv1.ListFlagsRequest{
		Namespace: c.namespace(), KeyPrefix: begun, KeysOnly: true, PageSize: completeMost,
	}))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	given := make(map[string]bool, len(args))
	for _, a := range args {
		given[a] = true
	}
	var keys []cobra.Completion
	for _, f := range res.Msg.GetFlags() {
		if !given[f.GetKey()] {
			keys = append(keys, f.GetKey())
		}
	}
	return keys, cobra.ShellCompDirectiveNoFileComp
}

// completeFlagAndVariant offers keys, and then the variants of the flag.
func (c *cli) completeFlagAndVariant(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return c.completeFlag(cmd, args, begun)
	}
	ctx, cancel, ok := c.ask(cmd)
	defer cancel()
	if !ok {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	res, err := c.client.Flags.GetFlag(ctx, connect.NewRequest(&plimsollv1.GetFlagRequest{Namespace: c.namespace(), Key: args[0]}))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, v := range summarize(res.Msg.GetFlag().GetDefinition()).variants {
		if strings.HasPrefix(v.name, begun) {
			names = append(names, v.name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (c *cli) completeNamespaces(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel, ok := c.ask(cmd)
	defer cancel()
	if !ok {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	res, err := c.client.Admin.ListNamespaces(ctx, connect.NewRequest(&plimsollv1.ListNamespacesRequest{}))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, ns := range res.Msg.GetNamespaces() {
		if strings.HasPrefix(ns.GetName(), begun) {
			names = append(names, ns.GetName())
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeContexts offers the named contexts of the configuration.
func completeContexts(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	_, file, err := loadContexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return file.Names(), cobra.ShellCompDirectiveNoFileComp
}
