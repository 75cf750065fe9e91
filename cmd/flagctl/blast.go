package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func newBlast(c *cli) *cobra.Command {
	var level string
	cmd := &cobra.Command{
		Use:   "blast DEPENDENCY|FLAG | --level LEVEL",
		Short: "Show what a failure hits, or what a level turns off",
		Long: `Show what a failure would hit: the dependencies that fall with it, the features
that break, and those that dim, by themselves or by hand. It follows from the
plan and from what the flags depend on; nothing is changed.

With --level, show which features a level sheds. When the server cannot be
reached, the answer is from what was last seen, marked as stale, and the exit
code is 3.`,
		Example: `  flagctl blast orders-db
  flagctl blast recommendations -o json
  flagctl blast --level 1.25`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case cmd.Flags().Changed("level") && len(args) > 0:
				return usage("blast takes a name or --level, not both")
			case cmd.Flags().Changed("level"):
				return nil
			default:
				return checkCount(cmd, args, 1, 1)
			}
		},
		ValidArgsFunction: c.completeNeeded,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return c.blast(cmd.Context(), args[0])
			}
			l, err := degrade.ParseLevel(level)
			if err != nil {
				return usage("--level: " + err.Error())
			}
			return c.blastLevel(cmd.Context(), l)
		},
	}
	cmd.Flags().StringVar(&level, "level", "", "show what this `level` turns off")
	must(cmd.RegisterFlagCompletionFunc("level", fixed("0.5", "1", "1.5", "2", "2.5", "3")))
	return cmd
}

// failureMap is the map of the namespace, as the server tells it or as it was
// last seen.
type failureMap struct {
	*degrade.Map
	tiers degrade.Tiers
	asOf  time.Time
	stale error // why it is a copy; nil: it is none
	end   error // how the command is to end
}

func (c *cli) failureMap(ctx context.Context, doing string) (*failureMap, error) {
	if err := c.connectOrRecall(); err != nil {
		return nil, err
	}
	res, err := c.client.Degradation.GetFailureMap(ctx, connect.NewRequest(&plimsollv1.GetFailureMapRequest{Namespace: c.namespace()}))
	if err == nil {
		c.remember(seen{failureMap: res.Msg})
		return newFailureMap(res.Msg), nil
	}
	failed := c.failed(doing, err)
	last := c.recall(failed)
	if last == nil || last.Map == nil {
		return nil, failed
	}
	m := newFailureMap(last.Map)
	m.asOf, m.stale = last.MapAt, whyUnreachable(failed)
	m.end = c.answeredStale(failed)
	return m, nil
}

func newFailureMap(res *plimsollv1.GetFailureMapResponse) *failureMap {
	plan := planOf(res.GetPlan())
	return &failureMap{Map: degrade.NewMap(plan, featuresOf(res.GetFeatures())), tiers: plan.Tiers}
}

// planOf is a plan of the API as package degrade takes it.
func planOf(plan *plimsollv1.Plan) degrade.Plan {
	var out degrade.Plan
	for _, t := range plan.GetTiers() {
		out.Tiers = append(out.Tiers, t.GetName())
	}
	for _, d := range plan.GetDependencies() {
		out.Dependencies = append(out.Dependencies, degrade.Dependency{Name: d.GetName(), Description: d.GetDescription(), DependsOn: d.GetDependsOn()})
	}
	return out
}

func featuresOf(features []*plimsollv1.Feature) []degrade.Feature {
	out := make([]degrade.Feature, 0, len(features))
	for _, f := range features {
		out = append(out, degrade.Feature{
			Key: f.GetFlagKey(), Tier: f.GetTier(), Degraded: f.GetDegradedVariant(), Default: f.GetDefaultVariant(), Targeted: f.GetTargeted(),
			Enabled: f.GetEnabled(), DependsOn: f.GetDependsOn(), Guard: f.GetGuard(), Owner: f.GetOwner(),
		})
	}
	return out
}

// blastJSON is what a failure hits, for programs.
type blastJSON struct {
	Name      string    `json:"name"`
	Kind      string    `json:"kind"`
	Falls     []string  `json:"falls"`
	Hits      []hitJSON `json:"hits"`
	WorstTier string    `json:"worstTier,omitempty"`
	staleJSON
}

type hitJSON struct {
	Flag    string   `json:"flag"`
	Tier    string   `json:"tier"`
	Rank    int      `json:"rank"`
	Outcome string   `json:"outcome"`
	Serves  string   `json:"serves,omitempty"`
	Via     []string `json:"via"`
	Owner   string   `json:"owner,omitempty"`
}

// outcomeJSON are the outcomes' names for programs.
var outcomeJSON = map[degrade.Outcome]string{
	degrade.DegradesByItself: "degradesByItself",
	degrade.DegradesByHand:   "degradesByHand",
	degrade.Breaks:           "breaks",
	degrade.AlreadyOff:       "alreadyOff",
}

func (c *cli) blast(ctx context.Context, name string) error {
	doing := "blast " + name
	m, err := c.failureMap(ctx, doing)
	if err != nil {
		return err
	}
	f, err := m.IfFails(name)
	if err != nil {
		return &failure{code: exitFailed, doing: doing, why: err}
	}
	kind := "dependency"
	if f.IsFeature {
		kind = "flag"
	}
	if !c.print.People() {
		out := blastJSON{Name: f.Name, Kind: kind, Falls: append([]string{}, f.Falls...), Hits: make([]hitJSON, 0, len(f.Hits)), WorstTier: f.WorstTier}
		for _, h := range f.Hits {
			out.Hits = append(out.Hits, hitJSON{h.Feature.Key, h.Feature.Tier, h.Rank, outcomeJSON[h.Outcome], h.Serves, h.Via, h.Feature.Owner})
		}
		if m.stale != nil {
			out.staleJSON = staleSince(m.asOf, m.stale)
		}
		if err := c.print.Value(out); err != nil {
			return err
		}
		return m.end
	}
	if m.stale != nil {
		c.printStale(m.asOf, m.stale)
	}
	c.printBlast(kind, &f)
	return m.end
}

// kindsOfHits are the outcomes in the order in which they are told.
var kindsOfHits = []struct {
	outcome degrade.Outcome
	title   string
	style   func(string) string
}{
	{degrade.Breaks, "breaks", output.Bad},
	{degrade.DegradesByHand, "dims by hand", output.Warn},
	{degrade.DegradesByItself, "dims by itself", output.Good},
	{degrade.AlreadyOff, "is off already", output.Faint},
}

func (c *cli) printBlast(kind string, f *degrade.Failure) {
	name := output.Bold(output.Clean(f.Name))
	if len(f.Hits)+len(f.Falls) == 0 {
		c.print.Printf("if the %s %s fails, nothing falls with it\n", kind, name)
		return
	}
	worst := "no feature changes"
	if f.WorstTier != "" {
		worst = "worst tier hit: " + output.Bold(output.Clean(f.WorstTier))
	}
	c.print.Printf("if the %s %s fails: %s hit; %s\n", kind, name, output.Count(len(f.Hits), "feature"), worst)
	if len(f.Falls) > 0 {
		c.print.Printf("falls with it: %s\n", output.Clean(strings.Join(f.Falls, ", ")))
	}
	var byHand []string
	for _, k := range kindsOfHits {
		var rows [][]string
		for _, h := range f.Hits {
			if h.Outcome != k.outcome {
				continue
			}
			if k.outcome == degrade.DegradesByHand {
				byHand = append(byHand, h.Feature.Key)
			}
			rows = append(rows, []string{
				"  " + output.Clean(h.Feature.Key), output.Clean(h.Feature.Tier), output.Clean(h.Serves), output.Clean(strings.Join(h.Via, " → ")), output.Clean(h.Feature.Owner),
			})
		}
		if len(rows) == 0 {
			continue
		}
		shown := rows[:min(len(rows), mostShown)]
		c.print.Printf("%s\n", k.style(fmt.Sprintf("%s (%d):", k.title, len(rows))))
		c.print.Table([]string{"  FLAG", "TIER", "SERVES", "BECAUSE", "OWNER"}, shown, "OWNER", "BECAUSE", "SERVES")
		c.printMore(len(rows) - len(shown))
	}
	if n := len(byHand); n > 0 && n <= mostEffects {
		c.print.Printf("by hand: %s\n", c.again([]string{"kill"}, byHand...))
	}
}

// blastLevelJSON is what a level turns off, for programs.
type blastLevelJSON struct {
	Level degrade.Level `json:"level"`
	Tiers []dimJSON     `json:"tiers"`
	staleJSON
}

type dimJSON struct {
	Tier     string           `json:"tier"`
	Rank     int              `json:"rank"`
	Shed     degrade.Level    `json:"shed"`
	Features []dimFeatureJSON `json:"features"`
}

type dimFeatureJSON struct {
	Flag   string `json:"flag"`
	Serves string `json:"serves"`
	Owner  string `json:"owner,omitempty"`
}

func (c *cli) blastLevel(ctx context.Context, level degrade.Level) error {
	doing := "blast --level " + level.String()
	m, err := c.failureMap(ctx, doing)
	if err != nil {
		return err
	}
	if _, err := degrade.PinHold(level, m.tiers); err != nil {
		return &failure{code: exitFailed, doing: doing, why: err}
	}
	dims := m.AtLevel(level)
	if !c.print.People() {
		out := blastLevelJSON{Level: level, Tiers: make([]dimJSON, 0, len(dims))}
		for _, d := range dims {
			one := dimJSON{d.Tier, d.Rank, degrade.Level(d.Shed), make([]dimFeatureJSON, 0, len(d.Features))}
			for _, f := range d.Features {
				one.Features = append(one.Features, dimFeatureJSON{f.Key, f.Degraded, f.Owner})
			}
			out.Tiers = append(out.Tiers, one)
		}
		if m.stale != nil {
			out.staleJSON = staleSince(m.asOf, m.stale)
		}
		if err := c.print.Value(out); err != nil {
			return err
		}
		return m.end
	}
	if m.stale != nil {
		c.printStale(m.asOf, m.stale)
	}
	c.printBlastLevel(level, dims)
	return m.end
}

func (c *cli) printBlastLevel(level degrade.Level, dims []degrade.TierDim) {
	hit := 0
	var rows [][]string
	for _, d := range dims {
		if d.Shed == 0 {
			continue
		}
		hit += len(d.Features)
		for _, f := range d.Features {
			rows = append(rows, []string{output.Clean(f.Key), output.Clean(d.Tier), output.Percent(d.Shed), output.Clean(f.Degraded), output.Clean(f.Owner)})
		}
	}
	c.print.Printf("level %s sheds %s\n", output.Bold(level.String()), output.Count(hit, "feature"))
	for _, d := range dims {
		if d.Shed > 0 {
			c.print.Printf("%s: %s of %s\n", output.Bold(output.Clean(d.Tier)), output.Percent(d.Shed), output.Count(len(d.Features), "feature"))
		}
	}
	shown := rows[:min(len(rows), mostShown)]
	if len(shown) > 0 {
		c.print.Table([]string{"FLAG", "TIER", "SHED", "SERVES", "OWNER"}, shown, "OWNER", "TIER")
		c.printMore(len(rows) - len(shown))
	}
}
