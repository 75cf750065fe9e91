package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// This file has what the verbs of an incident have in common: kill, restore,
// shed, level set and undo.

// lookAfter is the longest time that is spent on looking how the namespace
// stands after a change: the change has been made, and is to be told.
const lookAfter = time.Second

// bindChange registers the flags of a command that changes degradation.
func (g *globals) bindChange(cmd *cobra.Command) {
	g.bindReason(cmd)
	g.bindDryRun(cmd)
	g.bindWait(cmd)
}

// lasting is how long something lasts; a nil one has no end. It is a
// pflag.Value.
type lasting struct{ d *time.Duration }

// bindFor registers --for.
func bindFor(cmd *cobra.Command, l *lasting) {
	cmd.Flags().Var(l, "for", "how long, such as 90s, 30m, 2h or 1d12h; after that it ends by itself (default: no end)")
	must(cmd.RegisterFlagCompletionFunc("for", fixed("15m", "30m", "1h", "4h", "1d")))
}

// Set reads Go's durations, and days before them.
func (l *lasting) Set(s string) error {
	rest, total := strings.TrimPrefix(s, "-"), time.Duration(0)
	if days, after, ok := strings.Cut(rest, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n >= 0 && n <= 1e5) || strings.HasPrefix(after, "-") {
			return fmt.Errorf("%q is no duration such as 30m, 2h or 1d12h", s)
		}
		total, rest = time.Duration(n*24*float64(time.Hour)), after
	}
	if rest != "" || total == 0 {
		d, err := time.ParseDuration(rest)
		if err != nil {
			return fmt.Errorf("%q is no duration such as 30m, 2h or 1d12h", s)
		}
		total += d
	}
	if total <= 0 || strings.HasPrefix(s, "-") {
		return fmt.Errorf("%s is an expiry in the past", s)
	}
	l.d = &total
	return nil
}

// String is the duration as Go writes it.
func (l *lasting) String() string {
	if l.d == nil {
		return ""
	}
	return l.d.String()
}

// Type is the word for it in help texts.
func (l *lasting) Type() string { return "duration" }

func (l *lasting) proto() *durationpb.Duration {
	if l.d == nil {
		return nil
	}
	return durationpb.New(*l.d)
}

// changedJSON is what the results of all these verbs have for programs.
type changedJSON struct {
	Changed  bool         `json:"changed"`
	DryRun   bool         `json:"dryRun,omitempty"`
	ChangeID string       `json:"changeId,omitempty"`
	Revision int64        `json:"revision,omitempty"`
	Undo     string       `json:"undo,omitempty"`
	Effects  *effectsJSON `json:"effects,omitempty"`
	// Pinned is whether automatic shedding is off after the change; left out
	// where that is not known.
	Pinned *bool `json:"pinned,omitempty"`

	Wait *waitJSON `json:"wait,omitempty"`
}

// effectsJSON is what a change does to answers.
type effectsJSON struct {
	LevelBefore degrade.Level `json:"levelBefore"`
	LevelAfter  degrade.Level `json:"levelAfter"`
	FlagCount   uint32        `json:"flagCount"`
	// Evaluations were reported in the window, in seconds; Changed of them would
	// have had another answer.
	Evaluations uint64           `json:"evaluations"`
	Changed     uint64           `json:"changed"`
	Window      *float64         `json:"window,omitempty"`
	Flags       []flagEffectJSON `json:"flags"`
}

type flagEffectJSON struct {
	Flag           string        `json:"flag"`
	Tier           string        `json:"tier,omitempty"`
	DegradedBefore degrade.Level `json:"degradedBefore"`
	DegradedAfter  degrade.Level `json:"degradedAfter"`
	Variant        string        `json:"variant,omitempty"`
	Evaluations    uint64        `json:"evaluations"`
	Changed        uint64        `json:"changed"`
}

func effectsToJSON(e *plimsollv1.Effects) *effectsJSON {
	out := &effectsJSON{
		LevelBefore: degrade.Level(e.GetLevelBeforeMillionths()), LevelAfter: degrade.Level(e.GetLevelAfterMillionths()),
		FlagCount: e.GetFlagCount(), Evaluations: e.GetEvaluations(), Changed: e.GetChanged(), Window: inSeconds(e.GetWindow()),
		Flags: make([]flagEffectJSON, 0, len(e.GetFlags())),
	}
	for _, f := range e.GetFlags() {
		out.Flags = append(out.Flags, flagEffectJSON{
			f.GetFlagKey(), f.GetTier(), degrade.Level(f.GetDegradedBeforeMillionths()), degrade.Level(f.GetDegradedAfterMillionths()),
			f.GetVariant(), f.GetEvaluations(), f.GetChanged(),
		})
	}
	return out
}

// changed is one change of degradation that was made, or rehearsed.
type changed struct {
	doing   string // such as "kill recs"
	result  *plimsollv1.ChangeResult
	effects *plimsollv1.Effects // nil: there are none to tell
	after   *standing           // nil: not known
}

// newChange draws the id of a change, and says how to look for it where its
// answer is lost.
func (c *cli) newChange() (id, look string) {
	id = rand.Text()
	return id, c.again([]string{"audit", "--change", id})
}

// made takes in a change that was answered, and looks how the namespace stands
// after it.
func (c *cli) made(ctx context.Context, doing string, result *plimsollv1.ChangeResult, effects *plimsollv1.Effects) *changed {
	done := &changed{doing: doing, result: result, effects: effects}
	if c.globals.dryRun {
		return done
	}
	ctx, cancel := context.WithTimeout(ctx, lookAfter)
	defer cancel()
	res, err := c.client.Degradation.GetDegradation(ctx, connect.NewRequest(&plimsollv1.GetDegradationRequest{Namespace: c.namespace()}))
	if err == nil {
		c.remember(seen{degradation: res.Msg})
		done.after = standingAt(res.Msg, res.Msg.GetNow().AsTime())
	}
	return done
}

func (c *cli) changeJSON(done *changed) changedJSON {
	out := changedJSON{Changed: done.result.GetChanged(), DryRun: c.globals.dryRun}
	if done.effects != nil {
		out.Effects = effectsToJSON(done.effects)
	}
	if done.result.GetChanged() {
		out.ChangeID, out.Revision, out.Undo = done.result.GetChangeId(), done.result.GetPosition().GetRevision(), c.undoCommand(done.result)
	}
	if done.after != nil {
		out.Pinned = &done.after.pinned
	}
	return out
}

func (c *cli) undoCommand(result *plimsollv1.ChangeResult) string {
	return c.again([]string{"undo"}, result.GetChangeId())
}

// finish tells of a change: words say what happened, value makes of what all
// these verbs tell programs what this one does. With --wait it waits.
func (c *cli) finish(ctx context.Context, done *changed, words func(), value func(changedJSON) any) error {
	common := c.changeJSON(done)
	show := func() {
		words()
		c.printEffects(done)
		switch {
		case c.globals.dryRun:
			c.print.Printf("dry run: nothing was changed\n")
		case done.result.GetChanged():
			c.print.Printf("undo: %s\n", common.Undo)
		default:
			c.print.Printf("nothing was changed\n")
		}
		if done.after != nil {
			c.printPinned(done.after)
		}
	}
	return c.conclude(ctx, concluded{doing: done.doing, at: done.result.GetPosition(), changed: done.result.GetChanged()}, show, func(w *waitJSON) any {
		common.Wait = w
		return value(common)
	})
}

// mostEffects is how many flags people are told of one by one.
const mostEffects = 12

// printEffects tells which flags get other answers, and for which share of the
// traffic.
func (c *cli) printEffects(done *changed) {
	e := done.effects
	if e == nil {
		return
	}
	if e.GetLevelBeforeMillionths() != e.GetLevelAfterMillionths() {
		c.print.Printf("level: %s → %s\n", degrade.Level(e.GetLevelBeforeMillionths()), output.Bold(degrade.Level(e.GetLevelAfterMillionths()).String()))
	}
	if e.GetFlagCount() == 0 {
		if done.result.GetChanged() || c.globals.dryRun {
			c.print.Printf("no flag gets other answers\n")
		}
		return
	}
	shown := e.GetFlags()[:min(len(e.GetFlags()), mostEffects)]
	rows := make([][]string, 0, len(shown))
	for _, f := range shown {
		serves := output.Clean(f.GetVariant())
		if serves == "" {
			serves = output.Faint("(its rules)")
		}
		rows = append(rows, []string{
			output.Clean(f.GetFlagKey()), output.Clean(f.GetTier()),
			output.Percent(f.GetDegradedBeforeMillionths()) + " → " + output.Percent(f.GetDegradedAfterMillionths()),
			serves, changedText(f.GetChanged(), f.GetEvaluations()),
		})
	}
	c.print.Table([]string{"FLAG", "TIER", "DEGRADED", "TO", "CHANGES"}, rows, "TIER", "TO", "CHANGES")
	c.printMore(int(e.GetFlagCount()) - len(shown))
	c.print.Printf("%s\n", trafficText(e))
}

// changedText is how many of one flag's evaluations get another answer.
func changedText(changed, evaluations uint64) string {
	if evaluations == 0 {
		return output.Faint("none reported")
	}
	return fmt.Sprintf("%s of %s", output.Part(changed, evaluations), output.Number(int(evaluations)))
}

// trafficText is which share of the traffic of a namespace gets other answers.
func trafficText(e *plimsollv1.Effects) string {
	if e.GetEvaluations() == 0 {
		return "traffic: no evaluations reported yet"
	}
	return fmt.Sprintf("traffic: about %s of the %s evaluations of the last %s",
		output.Part(e.GetChanged(), e.GetEvaluations()), output.Number(int(e.GetEvaluations())), output.Span(e.GetWindow().AsDuration()))
}
