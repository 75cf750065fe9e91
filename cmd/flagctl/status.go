package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/lastseen"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	// besideTimeout bounds what status tells beside the state itself; a server
	// has asked the others for its part by then.
	besideTimeout = 3 * time.Second
	// recentChanges is how many changes status shows. One that was made in many
	// transactions has many records: up to changePages pages are read.
	recentChanges = 5
	changePages   = 3
)

func newStatus(c *cli) *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the namespace stands: level, overrides, holds, fleet, changes",
		Long: `Show how the namespace stands: how much of each tier is shed, which flags are
overridden and which bounds are on the level, by whom, why and for how long
still, whether the processes have the newest revision, and the newest changes.
"flagctl" alone shows the same.

When the server cannot be reached, what was last seen is shown, marked as stale
and with what has lapsed since, and the exit code is 3.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.status(cmd.Context(), verbose)
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "also show how the server and its store are")
	return cmd
}

// statusJSON is the result for programs.
type statusJSON struct {
	Server      string       `json:"server"`
	Version     string       `json:"version"`
	StartedAt   *time.Time   `json:"startedAt,omitempty"`
	Store       storeJSON    `json:"store"`
	Namespace   string       `json:"namespace"`
	Position    positionJSON `json:"position"`
	Flags       uint32       `json:"flags"`
	Level       string       `json:"level"`
	Overrides   uint32       `json:"overrides"`
	Streams     uint32       `json:"streams"`
	Warnings    []string     `json:"warnings"`
	Description string       `json:"description,omitempty"`
	Bucketing   string       `json:"bucketing"`

	staleJSON
	*degradationJSON
	Fleet   *fleetJSON   `json:"fleet,omitempty"`
	Changes []changeJSON `json:"changes"`
}

// degradationJSON is left out where the server does not know of it.
type degradationJSON struct {
	Auto       degrade.Level    `json:"auto"`
	Pinned     bool             `json:"pinned"`
	Tiers      []tierJSON       `json:"tiers"`
	Holds      []holdJSON       `json:"holds"`
	Overridden []overriddenJSON `json:"overridden"`
}

type storeJSON struct {
	Kind string `json:"kind"`
	// ConfirmedAge is in seconds.
	ConfirmedAge float64 `json:"confirmedAge"`
	ReadOnly     bool    `json:"readOnly"`
	Bytes        int64   `json:"bytes"`
}

type positionJSON struct {
	StoreID  string `json:"storeId"`
	Epoch    uint64 `json:"epoch"`
	Revision int64  `json:"revision"`
}

// fleetJSON is how far the newest revision has come.
type fleetJSON struct {
	Revision int64        `json:"revision"`
	Live     uint32       `json:"live"`
	Applied  uint32       `json:"applied"`
	Unknown  uint32       `json:"unknown"`
	Sent     uint32       `json:"sent"`
	Servers  []serverJSON `json:"servers"`
}

// changeJSON is a change of the audit log, without what it wrote.
type changeJSON struct {
	ChangeID string     `json:"changeId"`
	Time     *time.Time `json:"time"`
	Actor    string     `json:"actor"`
	Verb     string     `json:"verb"`
	Reason   string     `json:"reason,omitempty"`
	DueAt    *time.Time `json:"dueAt,omitempty"` // of what ended by itself
	Objects  []string   `json:"objects"`
}

// view is everything that status shows. What could not be had is nil.
type view struct {
	status   *plimsollv1.GetStatusResponse
	standing *standing
	rollout  *plimsollv1.GetRolloutResponse
	changes  []*plimsollv1.AuditRecord // the newest of each change, newest first

	notes []string // what could not be had, and why
	asOf  time.Time
	why   error // why it is a copy; nil: it is none
}

func (c *cli) status(ctx context.Context, verbose bool) error {
	if err := c.connectOrRecall(); err != nil {
		return err
	}
	v, err := c.look(ctx)
	if err != nil {
		failed := c.failed("status", err)
		last := c.recall(failed)
		if last == nil || last.Degradation == nil || last.Status == nil {
			return failed
		}
		v, err = c.lookBack(last, whyUnreachable(failed)), c.answeredStale(failed)
	}
	if !c.print.People() {
		if err := c.print.Value(c.statusToJSON(v)); err != nil {
			return err
		}
		return err
	}
	c.printStatus(v, verbose)
	return err
}

// look asks the server for everything at once, and keeps what it tells.
func (c *cli) look(ctx context.Context) (*view, error) {
	v := &view{}
	var (
		got       seen
		statusErr error
		asking    sync.WaitGroup
		mu        sync.Mutex
	)
	beside, cancel := context.WithTimeout(ctx, besideTimeout)
	defer cancel()
	ask := func(what string, call func(context.Context) error) {
		asking.Go(func() {
			if err := call(beside); err != nil {
				mu.Lock()
				defer mu.Unlock()
				why := c.client.Explain(err).Message
				if errors.Is(beside.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
					why = fmt.Sprintf("no answer within %s", besideTimeout)
				}
				v.notes = append(v.notes, what+": "+why)
			}
		})
	}
	asking.Go(func() {
		res, err := c.client.Admin.GetStatus(ctx, connect.NewRequest(&plimsollv1.GetStatusRequest{Namespace: c.namespace()}))
		if statusErr = err; err == nil {
			got.status = res.Msg
		} else {
			cancel()
		}
	})
	ask("the level is not known", func(ctx context.Context) error {
		res, err := c.client.Degradation.GetDegradation(ctx, connect.NewRequest(&plimsollv1.GetDegradationRequest{Namespace: c.namespace()}))
		if err == nil {
			got.degradation = res.Msg
		}
		return err
	})
	ask("the fleet is not known", func(ctx context.Context) error {
		res, err := c.client.Fleet.GetRollout(ctx, connect.NewRequest(&plimsollv1.GetRolloutRequest{Namespace: c.namespace(), MaxLaggards: 1}))
		if err == nil {
			v.rollout = res.Msg
		}
		return err
	})
	ask("the newest changes are not known", func(ctx context.Context) (err error) {
		got.changes, err = c.newestChanges(ctx)
		return err
	})
	asking.Go(func() { // only for the copy: without it, the copy keeps the one that it has
		if res, err := c.client.Degradation.GetFailureMap(beside, connect.NewRequest(&plimsollv1.GetFailureMapRequest{Namespace: c.namespace()})); err == nil {
			got.failureMap = res.Msg
		}
	})
	asking.Wait()
	if statusErr != nil {
		return nil, statusErr
	}
	c.remember(got)
	slices.Sort(v.notes)
	v.status, v.changes = got.status, got.changes
	if got.degradation != nil {
		v.standing = standingAt(got.degradation, got.degradation.GetNow().AsTime())
	}
	return v, nil
}

// newestChanges are the newest records of the newest changes.
func (c *cli) newestChanges(ctx context.Context) ([]*plimsollv1.AuditRecord, error) {
	out := []*plimsollv1.AuditRecord{}
	req := &plimsollv1.ListRecordsRequest{Namespace: c.namespace(), Limit: recentChanges}
	for range changePages {
		res, err := c.client.Audit.ListRecords(ctx, connect.NewRequest(req))
		if err != nil {
			return nil, err
		}
		for _, r := range res.Msg.GetRecords() {
			if len(out) == 0 || out[len(out)-1].GetChangeId() != r.GetChangeId() {
				out = append(out, r)
			}
		}
		if req.BeforeSeq = res.Msg.GetNextBeforeSeq(); req.BeforeSeq == 0 || len(out) >= recentChanges {
			break
		}
	}
	return out[:min(len(out), recentChanges)], nil
}

// lookBack is what was last seen, with what follows from it now.
func (c *cli) lookBack(last *lastseen.Copy, why error) *view {
	now := last.Degradation.GetNow().AsTime().Add(c.now().Sub(last.DegradationAt))
	status := last.Status
	if at := last.Degradation.GetPosition(); alike(at, status.GetPosition()) && at.GetRevision() > status.GetPosition().GetRevision() {
		status = proto.CloneOf(status)
		status.Position = at // a verb has seen it since
	}
	return &view{status: status, standing: standingAt(last.Degradation, now), changes: last.Changes, asOf: last.DegradationAt, why: why}
}

func alike(a, b *plimsollv1.Position) bool {
	return a.GetStoreId() == b.GetStoreId() && a.GetEpoch() == b.GetEpoch()
}

func (c *cli) statusToJSON(v *view) statusJSON {
	s := v.status
	out := statusJSON{
		Server: c.client.Server(), Version: s.GetVersion(), StartedAt: instant(s.GetStartedAt()),
		Store:     storeJSON{s.GetStoreKind(), s.GetConfirmedAge().AsDuration().Seconds(), s.GetReadOnly(), s.GetStoreBytes()},
		Namespace: s.GetNamespace().GetName(), Position: positionOf(s.GetPosition()), Flags: s.GetNamespace().GetFlagCount(),
		Level: degrade.Level(s.GetLevelMillionths()).String(), Overrides: s.GetOverrideCount(), Streams: s.GetStreams(),
		Warnings: append(append([]string{}, s.GetWarnings()...), v.notes...), Description: s.GetNamespace().GetSettings().GetDescription(),
		Bucketing: bucketingText(s.GetNamespace().GetSettings().GetBucketing()),
		Changes:   make([]changeJSON, 0, len(v.changes)),
	}
	if v.why != nil {
		out.staleJSON = staleSince(v.asOf, v.why)
	}
	if d := v.standing; d != nil {
		out.Level, out.Overrides = d.level.String(), uint32(d.liveOverrides())
		out.degradationJSON = &degradationJSON{d.state.Auto, d.pinned, d.tiersJSON(), d.holdsJSON(), d.overridesJSON()}
	}
	if r := v.rollout; r != nil {
		out.Fleet = &fleetJSON{r.GetPosition().GetRevision(), r.GetLive(), r.GetApplied(), r.GetUnknown(), r.GetSent(), serversToJSON(r.GetServers())}
	}
	for _, r := range v.changes {
		one := changeJSON{r.GetChangeId(), instant(r.GetTime()), r.GetActor().GetName(), r.GetVerb(), r.GetReason(), instant(r.GetDueAt()), make([]string, 0, len(r.GetObjects()))}
		for _, o := range r.GetObjects() {
			one.Objects = append(one.Objects, o.GetObject())
		}
		out.Changes = append(out.Changes, one)
	}
	return out
}

func positionOf(p *plimsollv1.Position) positionJSON {
	return positionJSON{p.GetStoreId(), p.GetEpoch(), p.GetRevision()}
}

func (c *cli) printStatus(v *view, verbose bool) {
	if v.why != nil {
		c.printStale(v.asOf, v.why)
	}
	s := v.status
	if verbose {
		c.printServer(v)
	} else {
		c.print.Printf("namespace %s at %s, %s, revision %d%s\n", output.Bold(output.Clean(s.GetNamespace().GetName())), output.Clean(c.client.Server()),
			output.Count(int(s.GetNamespace().GetFlagCount()), "flag"), s.GetPosition().GetRevision(), readOnlyText(s))
	}
	if d := v.standing; d == nil {
		c.print.Printf("level %s, %s\n", degrade.Level(s.GetLevelMillionths()), output.Count(int(s.GetOverrideCount()), "override"))
	} else {
		c.print.Printf("\n")
		c.printPinned(d)
		c.print.Printf("%s%s\n", d.levelLine(), map[bool]string{true: output.Faint(" (nothing is shed)")}[d.level == 0])
		c.printTiers(d)
		if len(d.overrides) > 0 {
			c.print.Printf("\n")
			c.printOverrides(d)
		}
		if len(d.holds) > 0 {
			c.print.Printf("\n")
			c.printHolds(d)
		}
	}
	c.print.Printf("\n")
	if v.rollout != nil {
		c.printFleet(v.rollout)
	}
	c.printChanges(v)
	for _, w := range s.GetWarnings() {
		c.print.Printf("%s %s\n", output.Warn("warning:"), output.Clean(w))
	}
	for _, note := range v.notes {
		c.print.Printf("%s %s\n", output.Warn("note:"), output.Clean(note))
	}
}

func readOnlyText(s *plimsollv1.GetStatusResponse) string {
	if s.GetReadOnly() {
		return output.Bad(", READ-ONLY")
	}
	return ""
}

// printServer tells how the server and its store are.
func (c *cli) printServer(v *view) {
	s := v.status
	store := fmt.Sprintf("%s, confirmed %.1f s ago", output.Clean(s.GetStoreKind()), s.GetConfirmedAge().AsDuration().Seconds())
	if s.GetStoreBytes() > 0 {
		store += ", " + sizeText(s.GetStoreBytes())
	}
	up := ""
	if s.GetStartedAt() != nil && v.why == nil {
		up = ", up " + output.Age(s.GetStartedAt().AsTime(), c.now())
	}
	p := s.GetPosition()
	c.print.Fields([][2]string{
		{"server", output.Bold(output.Clean(c.client.Server())) + ", version " + output.Clean(s.GetVersion()) + up},
		{"store", store + readOnlyText(s)},
		{"namespace", output.Clean(s.GetNamespace().GetName()) + ", " + output.Count(int(s.GetNamespace().GetFlagCount()), "flag")},
		{"position", fmt.Sprintf("revision %d, epoch %d, store %s", p.GetRevision(), p.GetEpoch(), output.Clean(p.GetStoreId()))},
		{"streams", fmt.Sprint(s.GetStreams())},
	})
}

// printFleet tells how many processes have the newest revision.
func (c *cli) printFleet(r *plimsollv1.GetRolloutResponse) {
	live, applied := int(r.GetLive()), int(r.GetApplied())
	text := "no process reports"
	switch {
	case live > 0 && applied >= live:
		text = fmt.Sprintf("%s of %s applied the newest revision", output.Number(applied), haveProcesses(live))
	case live > 0:
		text = output.Warn(fmt.Sprintf("%s of %s applied the newest revision", output.Number(applied), haveProcesses(live))) +
			fmt.Sprintf(": `%s` tells which", c.again([]string{"clients", "--lagging"}))
	}
	switch all := silentStreams(r.GetServers()); {
	case int(r.GetSent()) < all:
		text += "; " + sentText("the newest revision", r)
	case r.GetSent() > 0:
		text += "; " + silentText(int(r.GetSent()))
	}
	c.print.Printf("fleet: %s\n", text)
	if n := int(r.GetUnknown()); n > 0 {
		c.print.Printf("%s\n", output.Warn(unknownText(n, r.GetServers())))
	}
	c.warnUnreachable(r.GetServers())
}

// haveProcesses is a number of processes with the verb.
func haveProcesses(n int) string {
	if n == 1 {
		return "1 process has"
	}
	return processesText(n) + " have"
}

func (c *cli) printChanges(v *view) {
	if len(v.changes) == 0 {
		return
	}
	rows := make([][]string, 0, len(v.changes))
	for _, r := range v.changes {
		rows = append(rows, []string{
			output.Age(r.GetTime().AsTime(), c.now()), actorText(r.GetActor()), output.Clean(r.GetVerb()), objectText(r.GetObjects()), reasonCell(whyText(r)),
			output.Faint(output.Clean(r.GetChangeId())),
		})
	}
	c.print.Table([]string{"AGO", "BY", "CHANGE", "OBJECTS", "REASON", "ID"}, rows, "REASON", "ID", "OBJECTS")
}

// sizeText is a number of bytes in the unit that people would use.
func sizeText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	size, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB"}
	i := -1
	for size >= unit && i < len(units)-1 {
		size /= unit
		i++
	}
	return fmt.Sprintf("%.1f %s", size, units[i])
}
