package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	defaultWait = 30 * time.Second
	// The server is asked again after firstPoll, and then ever less often, up
	// to every longestPoll.
	firstPoll   = 100 * time.Millisecond
	longestPoll = 500 * time.Millisecond
	// newFor is how long a server does not know yet who is there: processes that
	// lost its predecessor come back within 8 s, and report every 10 s.
	newFor = 18 * time.Second
	// sendFor is how long streams that do not report are given to be sent it.
	sendFor = time.Second
	// mostLaggards is how many processes are named that lag behind.
	mostLaggards = 20
)

// bindWait registers --wait for a command that changes what apps get.
func (g *globals) bindWait(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&g.wait, "wait", false, "wait until every live process has applied it; exit code 5 if not all have")
	cmd.Flags().DurationVar(&g.waitTimeout, "wait-timeout", defaultWait, "longest `duration` to wait; implies --wait")
	must(cmd.RegisterFlagCompletionFunc("wait-timeout", cobra.NoFileCompletions))
}

// checkWait says what is wrong with the flags of bindWait, and puts into effect
// what one of them implies.
func (g *globals) checkWait(cmd *cobra.Command) error {
	if limit := cmd.Flags().Lookup("wait-timeout"); limit == nil {
		return nil
	} else if limit.Changed && !cmd.Flags().Changed("wait") {
		g.wait = true
	}
	switch {
	case g.waitTimeout <= 0:
		return usage("--wait-timeout must be more than 0, such as 30s")
	case g.wait && g.dryRun:
		return usage("--wait does not go with --dry-run, which changes nothing")
	}
	return nil
}

// concluded is a change that was made, or that was not needed.
type concluded struct {
	doing   string               // such as "set new-ui"
	at      *plimsollv1.Position // after it; without a revision: the newest
	changed bool                 // false: all stood so already
	partly  bool                 // the rest of it failed: that is told, and nothing is waited for
}

// conclude prints what became of a change: show does for people, value is it for
// programs. With --wait it then waits for the processes to apply it; people see
// the change before that, and programs get one value at the end.
func (c *cli) conclude(ctx context.Context, done concluded, show func(), value func(*waitJSON) any) error {
	people, wait := c.print.People(), c.globals.wait && !done.partly
	if people {
		show()
	}
	switch {
	case people && !wait:
		return nil
	case !wait:
		return c.print.Value(value(nil))
	}
	_ = c.print.Flush() // who reads along learns of the change now; run tells of a failure
	w := c.await(ctx, done)
	if people {
		w.show()
	} else if err := c.print.Value(value(w.json())); err != nil {
		return err
	}
	return w.failure(ctx)
}

// waiter follows one change through the fleet.
type waiter struct {
	*cli
	concluded
	began time.Time
	took  time.Duration // until it ended

	last *plimsollv1.GetRolloutResponse // the newest answer; nil: none yet
	lost *remote.Error                  // why there is no newer one; nil: there is
}

// await asks how far the change has come until it is everywhere, the time is
// over, or the server refuses to tell.
func (c *cli) await(ctx context.Context, done concluded) *waiter {
	w := &waiter{cli: c, concluded: done, began: c.now()}
	ctx, cancel := context.WithTimeout(ctx, c.globals.waitTimeout)
	defer cancel()
	pause := firstPoll
	for w.ask(ctx); !w.over(ctx); w.ask(ctx) {
		c.print.Progress(w.progress())
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(pause*5/4, longestPoll)
	}
	c.print.Progress("")
	w.took = c.now().Sub(w.began)
	return w
}

// ask takes in one answer. A call that the end of waiting cuts short says
// nothing new; the server may be quicker than this end to notice that.
func (w *waiter) ask(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	end, _ := ctx.Deadline()
	cut := end.Sub(w.now()) <= w.globals.timeout
	res, err := w.client.Fleet.GetRollout(ctx, connect.NewRequest(&plimsollv1.GetRolloutRequest{
		Namespace: w.namespace(), Revision: w.at.GetRevision(), MaxLaggards: mostLaggards,
	}))
	switch {
	case err == nil && w.elsewhere(res.Msg.GetPosition()):
		w.lost = &remote.Error{Message: "the server has another store now"}
	case err == nil:
		w.last, w.lost = res.Msg, nil
		if w.at.GetRevision() == 0 {
			w.at = res.Msg.GetPosition() // what comes after it is not waited for
		}
	case ctx.Err() != nil || cut && connect.CodeOf(err) == connect.CodeDeadlineExceeded:
	default:
		w.lost = w.client.Explain(err)
	}
}

// elsewhere tells whether a position is one of another store, whose revisions do
// not compare.
func (w *waiter) elsewhere(at *plimsollv1.Position) bool {
	return w.at.GetStoreId() != "" && (at.GetStoreId() != w.at.GetStoreId() || at.GetEpoch() != w.at.GetEpoch())
}

func (w *waiter) over(ctx context.Context) bool {
	return w.complete() && w.told() || w.refused() || ctx.Err() != nil
}

// complete tells whether every live process has applied the change. That is not
// known while a server is new, or cannot be reached and has never told who
// reports to it.
func (w *waiter) complete() bool {
	return w.last != nil && w.lost == nil && w.last.GetApplied() >= w.last.GetLive() && w.last.GetUnknown() == 0 && w.newest() == nil &&
		!slices.ContainsFunc(w.last.GetServers(), func(s *plimsollv1.FleetServer) bool {
			return s.GetUnreachable() != "" && s.GetClients() == 0
		})
}

// told tells whether every stream that does not report was sent the change, or
// has had its time for that: they are not waited for any longer, as the client's
// end may be what is slow.
func (w *waiter) told() bool {
	return int(w.last.GetSent()) >= silentStreams(w.last.GetServers()) || w.now().Sub(w.began) >= sendFor
}

// newest is the server that was started last, if it does not know yet who is
// there. One that does not tell for how long it has been taking reports needs no
// time for that: it has created its store, or is an older one.
func (w *waiter) newest() *plimsollv1.FleetServer {
	var found *plimsollv1.FleetServer
	for _, s := range w.last.GetServers() {
		age := s.GetReportingFor()
		if age != nil && age.AsDuration() <= newFor && (found == nil || age.AsDuration() < found.GetReportingFor().AsDuration()) {
			found = s
		}
	}
	return found
}

// newText says why a server does not know who is there; empty: every one does.
func (w *waiter) newText() string {
	s := w.newest()
	if s == nil {
		return ""
	}
	name := "the server"
	if len(w.last.GetServers()) > 1 {
		name += " at " + output.Clean(s.GetAddress())
	}
	return fmt.Sprintf("%s was started %s ago: it does not know yet who is there", name, output.Span(s.GetReportingFor().AsDuration()))
}

// refused tells whether asking again is of no use.
func (w *waiter) refused() bool { return w.lost != nil && !worthRetrying(w.lost) }

func (w *waiter) progress() string {
	waited := output.Span(w.now().Sub(w.began))
	switch {
	case w.lost != nil:
		return fmt.Sprintf("waiting: %s; trying again, %s", w.lost.Message, waited)
	case w.last == nil:
		return ""
	case w.last.GetUnknown() > 0:
		return fmt.Sprintf("waiting: %s applied it, %s unknown, %s", w.share(), output.Number(int(w.last.GetUnknown())), waited)
	case w.last.GetApplied() >= w.last.GetLive() && w.newest() != nil:
		return fmt.Sprintf("waiting: %s, %s", w.newText(), waited)
	default:
		return fmt.Sprintf("waiting: %s applied it, %s", w.share(), waited)
	}
}

// share is how many of the processes, with their verb.
func (w *waiter) share() string {
	verb := "have"
	if w.last.GetLive() == 1 {
		verb = "has"
	}
	return fmt.Sprintf("%s of %s %s", output.Number(int(w.last.GetApplied())), processesText(int(w.last.GetLive())), verb)
}

// show prints how far the change has come, as far as that is known.
func (w *waiter) show() {
	if w.last == nil || w.lost != nil {
		return
	}
	r := w.last
	if r.GetLive() == 0 && r.GetUnknown() == 0 {
		w.print.Printf("no process reports to this server yet\n")
	} else {
		w.print.Printf("applied by %s of %s%s\n", output.Number(int(r.GetApplied())), processesText(int(r.GetLive())), speedText(r))
	}
	if text := sentText("it", r); text != "" {
		w.print.Printf("%s\n", text)
	}
	if n := int(r.GetUnknown()); n > 0 {
		w.print.Printf("%s\n", output.Warn(unknownText(n, r.GetServers())))
	}
	w.showLaggards()
	w.warnUnreachable(r.GetServers())
}

// speedText is how long the processes took.
func speedText(r *plimsollv1.GetRolloutResponse) string {
	if r.GetSlowest() == nil {
		return ""
	}
	span := func(d *durationpb.Duration) string { return output.Span(d.AsDuration()) }
	return fmt.Sprintf("; half within %s, 99 %% within %s, the slowest %s", span(r.GetP50()), span(r.GetP99()), span(r.GetSlowest()))
}

// unknownText says of how many processes nothing is known, and why. Those that
// no server that cannot be reached has had were refused by one that can.
func unknownText(n int, servers []*plimsollv1.FleetServer) string {
	var addresses []string
	lost := 0
	for _, s := range servers {
		if s.GetUnreachable() != "" && s.GetClients() > 0 {
			lost += int(s.GetClients())
			addresses = append(addresses, output.Clean(s.GetAddress()))
		}
	}
	verb, to := "report", "a server that cannot be reached"
	if n == 1 {
		verb = "reports"
	}
	if len(addresses) > 1 {
		to = "servers that cannot be reached"
	}
	refused := max(0, n-lost)
	text := fmt.Sprintf("%s %s to %s (%s): unknown", processesText(n-refused), verb, to, strings.Join(addresses, ", "))
	switch {
	case lost == 0:
		return fmt.Sprintf("%s too many for a server to take their reports: unknown", processesText(n))
	case refused > 0:
		text += fmt.Sprintf("; %s too many for a server to take their reports: unknown", processesText(refused))
	}
	return text
}

func (w *waiter) showLaggards() {
	laggards := w.last.GetLaggards()
	if len(laggards) == 0 {
		return
	}
	if len(laggards) > mostLaggards {
		laggards = laggards[:mostLaggards]
	}
	rows := make([][]string, 0, len(laggards))
	for _, p := range laggards {
		rows = append(rows, []string{
			output.Clean(p.GetClient().GetService()), instanceText(p), output.Clean(p.GetClient().GetZone()), revisionText(p), lagText(p),
		})
	}
	w.print.Table([]string{"SERVICE", "INSTANCE", "ZONE", "REVISION", "LAG"}, rows, "ZONE", "REVISION")
	if more := int(w.last.GetLive()) - int(w.last.GetApplied()) - len(laggards); more > 0 {
		w.print.Printf("%s\n", output.Faint(fmt.Sprintf("… and %s more", output.Number(more))))
	}
}

// waitJSON is what came of waiting, for programs. Times are in seconds.
type waitJSON struct {
	Complete bool    `json:"complete"`
	Revision int64   `json:"revision,omitempty"`
	Waited   float64 `json:"waited"`
	// Problem is why nothing newer is known; empty: this is how it stands.
	Problem string `json:"problem,omitempty"`
	*rolloutJSON
}

// rolloutJSON is the newest answer; left out if there was none.
type rolloutJSON struct {
	Live     uint32       `json:"live"`
	Applied  uint32       `json:"applied"`
	Unknown  uint32       `json:"unknown"`
	Sent     uint32       `json:"sent"`
	P50      *float64     `json:"p50,omitempty"`
	P99      *float64     `json:"p99,omitempty"`
	Slowest  *float64     `json:"slowest,omitempty"`
	Laggards []clientJSON `json:"laggards"`
	Servers  []serverJSON `json:"servers"`
}

func (w *waiter) json() *waitJSON {
	out := &waitJSON{Complete: w.complete(), Revision: w.at.GetRevision(), Waited: w.took.Seconds()}
	if r := w.last; r != nil {
		out.rolloutJSON = &rolloutJSON{
			r.GetLive(), r.GetApplied(), r.GetUnknown(), r.GetSent(), inSeconds(r.GetP50()), inSeconds(r.GetP99()), inSeconds(r.GetSlowest()),
			clientsToJSON(r.GetLaggards()), serversToJSON(r.GetServers()),
		}
	}
	switch {
	case w.lost != nil:
		out.Problem = w.lost.Message
	case w.last == nil:
		out.Problem = w.noAnswer()
	}
	return out
}

func (w *waiter) noAnswer() string {
	return fmt.Sprintf("%s did not answer within %s", w.client.Server(), w.globals.waitTimeout)
}

// failure is why not every process is known to have applied the change; nil if
// every one is. The change itself stands in any case, so the exit code is never
// that of a change that failed.
func (w *waiter) failure(ctx context.Context) error {
	if w.complete() {
		return nil
	}
	f := &failure{code: exitUnconfirmed, doing: w.doing, hint: fmt.Sprintf("`%s` shows how it goes on", w.again([]string{"clients", "--lagging"}))}
	far := "it is not known who has applied it"
	if w.last != nil {
		far = w.share() + " applied it"
		if n := w.last.GetUnknown(); n > 0 {
			far += fmt.Sprintf(", of %s it is not known", output.Number(int(n)))
		}
		if text := w.newText(); text != "" {
			far += "; " + text
		}
	}
	fate := "the change was made and stays"
	if !w.changed {
		fate = "it stood so already"
	}
	var why string
	switch {
	case ctx.Err() != nil:
		why = "interrupted while waiting; " + far
	case w.refused():
		why, f.hint = "cannot wait: "+w.lost.Message, w.lost.Hint
	case w.lost != nil && w.last != nil:
		why = fmt.Sprintf("lost the server while waiting (%s); by its last answer, %s", w.lost.Message, far)
	case w.lost != nil:
		why = fmt.Sprintf("%s: %s", far, w.lost.Message)
	case w.last == nil:
		why = fmt.Sprintf("%s: %s", far, w.noAnswer())
	default:
		why = fmt.Sprintf("waited %s: %s", w.globals.waitTimeout, far)
	}
	f.why = errors.New(why + "; " + fate)
	return f
}
