package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/manifest"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/textdiff"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/yamldoc"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

const planHelp = `A plan is a file of YAML or JSON:

  tiers: [critical, important, standard, optional]
  dependencies:
    orders-db: {description: where orders are kept, dependsOn: [network]}
    network: {}

Tiers are the priorities, the most important one first, which is never shed.
Dependencies are what features need; flags name them in their dependsOn.`

func newPlan(c *cli) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "plan",
		Short: "Show, change and check the plan: tiers and dependencies",
		Long:  "Show, change and check what the namespace has decided about its degradation.\n\n" + planHelp,
	})
	cmd.AddCommand(newPlanGet(c), newPlanApply(c), newPlanLint(c))
	return cmd
}

func newPlanGet(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "get",
		Short:   "Print the plan as a file that apply takes",
		Long:    "Print the plan as YAML, or with -o json as JSON, as `flagctl plan apply` takes it.",
		Example: `  flagctl plan get > plan.yaml`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.planGet(cmd.Context())
		},
	}
}

// bindPlanFile registers -f for the one file of a plan.
func bindPlanFile(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "file", "f", "", "`file` with the plan, or -")
	must(cmd.MarkFlagFilename("file", "json", "yaml", "yml"))
}

func newPlanApply(c *cli) *cobra.Command {
	var path string
	var base int64
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Replace the plan",
		Long: `Replace the whole plan by that of a file, after showing how they differ. If
somebody else changes it at the same time, the exit code is 4. Tiers cannot be
changed while the level is above 0, and none can go that a flag names.

` + planHelp,
		Example: `  flagctl plan apply -f plan.yaml --dry-run
  flagctl plan apply -f plan.yaml --reason "the cart has a database of its own"`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkBase(base); err != nil {
				return err
			}
			p, err := c.readPlan(cmd, "apply the plan", path)
			if err != nil {
				return err
			}
			return c.planApply(cmd.Context(), p, base)
		},
	}
	bindPlanFile(cmd, &path)
	cmd.Flags().Int64Var(&base, "base-revision", 0, "only if the plan is still at this `revision`")
	c.globals.bindChange(cmd)
	return cmd
}

func newPlanLint(c *cli) *cobra.Command {
	var path string
	var offline, strict bool
	cmd := &cobra.Command{
		Use:   "lint -f FILE",
		Short: "Check a plan, and what the flags make of it",
		Long: `Check a plan and print everything that is wrong with it, with its place in the
file. With the namespace as it stands, also why apply would refuse it, such as a
tier that would go and is still named by flags, and what is questionable: a
critical feature that depends on one that is shed, a name that leads nowhere, a
dependency that nobody needs. --offline leaves that out, and needs no server.

` + planHelp,
		Example: `  flagctl plan lint -f plan.yaml -n shop
  flagctl plan lint -f plan.yaml --offline`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return needFiles(cmd, nil)
			}
			return c.planLint(cmd.Context(), path, offline, strict)
		},
	}
	bindPlanFile(cmd, &path)
	cmd.Flags().BoolVar(&offline, "offline", false, "only what can be told without a server")
	cmd.Flags().BoolVar(&strict, "strict", false, "treat warnings as errors")
	return cmd
}

// readPlan reads a plan that is to be used, and prints what keeps it from that.
func (c *cli) readPlan(cmd *cobra.Command, doing, path string) (*manifest.PlanFile, error) {
	if path == "" {
		return nil, needFiles(cmd, nil)
	}
	p, err := manifest.ReadPlan(path, c.in)
	if err != nil {
		return nil, &failure{code: exitFailed, doing: doing, why: err}
	}
	if len(p.Errors) == 0 {
		return p, nil
	}
	if !c.print.People() {
		if err := c.print.Value(lintToJSON(p.Errors, nil)); err != nil {
			return nil, err
		}
	} else {
		for _, f := range p.Errors {
			c.print.Notef("%s", faultLine(f))
		}
	}
	return nil, &failure{code: exitFailed, doing: doing, why: fmt.Errorf("%s in the plan; nothing was sent", output.Count(len(p.Errors), "error"))}
}

func (c *cli) getPlan(ctx context.Context) (*plimsollv1.GetPlanResponse, error) {
	res, err := c.client.Degradation.GetPlan(ctx, connect.NewRequest(&plimsollv1.GetPlanRequest{Namespace: c.namespace()}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func (c *cli) planGet(ctx context.Context) error {
	if err := c.connect(); err != nil {
		return err
	}
	res, err := c.getPlan(ctx)
	if err != nil {
		return c.failed("get the plan", err)
	}
	text := manifest.PlanJSON(planOf(res.GetPlan()))
	if c.print.Format == output.JSON {
		if info := res.GetInfo(); info.GetRevision() != 0 {
			c.print.Notef("%s", output.Faint(planAt(info)))
		}
		return c.print.Value(json.RawMessage(text))
	}
	yaml, err := yamldoc.FromJSON(text)
	if err != nil {
		return err
	}
	head := "# yaml-language-server: $schema=" + manifest.PlanSchema + "\n"
	if info := res.GetInfo(); info.GetRevision() != 0 {
		head += "# " + planAt(info) + "\n"
	}
	c.print.Raw([]byte(head + string(yaml)))
	return nil
}

// planAt says which plan it is.
func planAt(info *plimsollv1.PlanInfo) string {
	text := fmt.Sprintf("revision %d", info.GetRevision())
	if info.GetUpdatedAt() != nil {
		text += fmt.Sprintf(", written %s by %s", output.Time(info.GetUpdatedAt().AsTime()), actorText(info.GetUpdatedBy()))
	}
	return text
}

// planJSON is the result of apply for programs.
type planJSON struct {
	Plan     json.RawMessage `json:"plan"`
	Before   json.RawMessage `json:"before"`
	Warnings []faultJSON     `json:"warnings"`
	changedJSON
}

func (c *cli) planApply(ctx context.Context, p *manifest.PlanFile, base int64) error {
	const doing = "apply the plan"
	if err := c.connect(); err != nil {
		return err
	}
	current, err := c.getPlan(ctx)
	if err != nil {
		return c.failed(doing, err)
	}
	if base == 0 {
		base = current.GetInfo().GetRevision()
	}
	before, after := manifest.PlanJSON(planOf(current.GetPlan())), manifest.PlanJSON(p.Plan)
	id, look := c.newChange()
	res, err := c.client.Degradation.ApplyPlan(ctx, connect.NewRequest(&plimsollv1.ApplyPlanRequest{
		Namespace: c.namespace(), Plan: planMessage(p), BaseRevision: base, DryRun: c.globals.dryRun, Change: c.change(id),
	}))
	if err != nil {
		return c.failedPlan(doing, err, p, id, look)
	}
	var warnings []manifest.Fault
	for _, f := range res.Msg.GetFindings() {
		warnings = append(warnings, p.Locate(faultOf(f).Fault))
	}
	done := &changed{doing: doing, result: res.Msg.GetChange()}
	words := func() {
		for _, line := range textdiff.JSON(string(before), string(after)) {
			c.print.Printf("%s\n", diffLine(line))
		}
		for _, f := range warnings {
			c.print.Notef("%s", faultLine(f))
		}
		switch {
		case string(before) == string(after):
			c.print.Printf("the plan says that already\n")
		case done.result.GetChanged():
			c.print.Printf("the plan is applied (revision %d)\n", done.result.GetPosition().GetRevision())
		}
	}
	return c.finish(ctx, done, words, func(common changedJSON) any {
		return planJSON{after, before, lintToJSON(nil, warnings).Warnings, common}
	})
}

func planMessage(p *manifest.PlanFile) *plimsollv1.Plan {
	out := &plimsollv1.Plan{}
	plan := p.Plan.Canonical()
	for _, name := range plan.Tiers {
		out.Tiers = append(out.Tiers, &plimsollv1.Tier{Name: name})
	}
	for _, d := range plan.Dependencies {
		out.Dependencies = append(out.Dependencies, &plimsollv1.Dependency{Name: d.Name, Description: d.Description, DependsOn: d.DependsOn})
	}
	return out
}

// failedPlan is why a plan was not applied, with what the server found in it at
// its place in the file.
func (c *cli) failedPlan(doing string, err error, p *manifest.PlanFile, id, look string) error {
	e := c.client.Explain(err)
	for _, f := range e.Faults {
		c.print.Notef("%s", faultLine(p.Locate(faultOf(f).Fault)))
	}
	if n := len(e.Faults); n > 0 {
		e.Faults, e.Message = nil, output.Count(n, "fault")+" in the plan; nothing was changed"
	}
	return c.failedChange(doing, e, id, look)
}

func (c *cli) planLint(ctx context.Context, path string, offline, strict bool) error {
	const doing = "lint the plan"
	p, err := manifest.ReadPlan(path, c.in)
	if err != nil {
		return &failure{code: exitFailed, doing: doing, why: err}
	}
	var warnings []manifest.Fault
	if len(p.Errors) == 0 && !offline {
		if warnings, err = c.planWarnings(ctx, doing, p); err != nil {
			return err
		}
		if p.Errors, err = c.planRefusals(ctx, doing, p); err != nil {
			return err
		}
	}
	if c.print.People() {
		for _, f := range append(p.Errors[:len(p.Errors):len(p.Errors)], warnings...) {
			c.print.Printf("%s\n", faultLine(f))
		}
	} else if err := c.print.Value(lintToJSON(p.Errors, warnings)); err != nil {
		return err
	}
	total := fmt.Sprintf("%s and %s", output.Count(len(p.Errors), "error"), output.Count(len(warnings), "warning"))
	if len(p.Errors) > 0 || strict && len(warnings) > 0 {
		return &failure{code: exitFailed, doing: doing, why: errors.New(total)}
	}
	c.print.Notef("%s", total)
	return nil
}

// planWarnings is what is questionable about a plan together with the flags as
// they are on the server.
func (c *cli) planWarnings(ctx context.Context, doing string, p *manifest.PlanFile) ([]manifest.Fault, error) {
	if err := c.connect(); err != nil {
		return nil, err
	}
	res, err := c.client.Degradation.GetFailureMap(ctx, connect.NewRequest(&plimsollv1.GetFailureMapRequest{Namespace: c.namespace()}))
	if err != nil {
		failed := c.failed(doing, err)
		var f *failure
		if errors.As(failed, &f) && f.code == exitUnreachable {
			f.hint = "--offline checks the plan alone"
		}
		return nil, failed
	}
	var out []manifest.Fault
	for _, f := range p.Plan.Lint(featuresOf(res.Msg.GetFeatures())) {
		out = append(out, p.Locate(flag.Fault{Severity: flag.Warning, Path: f.Path, Message: f.Message, Hint: f.Hint}))
	}
	return out, nil
}

// planRefusals is why the server, as it stands, would not take a plan that is
// right in itself.
func (c *cli) planRefusals(ctx context.Context, doing string, p *manifest.PlanFile) ([]manifest.Fault, error) {
	_, err := c.client.Degradation.ApplyPlan(ctx, connect.NewRequest(&plimsollv1.ApplyPlanRequest{
		Namespace: c.namespace(), Plan: planMessage(p), DryRun: true,
	}))
	if err == nil {
		return nil, nil
	}
	e := c.client.Explain(err)
	var out []manifest.Fault
	for _, f := range e.Faults {
		out = append(out, p.Locate(faultOf(f).Fault))
	}
	if len(out) == 0 && e.Outcome == remote.Refused && e.Code() == connect.CodeFailedPrecondition {
		out = append(out, p.Locate(flag.Fault{Path: "$.tiers", Message: e.Message, Hint: e.Hint}))
	}
	if len(out) == 0 {
		return nil, c.failed(doing, e)
	}
	return out, nil
}
