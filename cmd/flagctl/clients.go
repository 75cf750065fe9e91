package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	// clientsPage is how many processes one request asks for.
	clientsPage = 5000
	// shortID is how much of a random id is shown: enough to tell processes
	// apart, and to search the whole one by.
	shortID = 8
)

func newClients(c *cli) *cobra.Command {
	var lagging bool
	var limit int
	cmd := &cobra.Command{
		Use:   "clients",
		Short: "Show the processes that evaluate flags, and what they have applied",
		Long: `Show the live processes of the namespace: those that reported within 15 s, to
any server. Those that have not applied the newest revision come first, with how
long they have lacked it.

flagd's and OFREP's clients do not report. Of them it is shown by protocol how many
streams are open, how many of these were sent the newest revision, and how long ago
one last asked without a stream.

Where the terminal is narrow, columns are left out. JSON and YAML have every
process, whatever --limit says.`,
		Example: `  flagctl clients
  flagctl clients --lagging
  flagctl clients -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usage("--limit must be at least 1, or 0 for all")
			}
			return c.clients(cmd.Context(), lagging, limit)
		},
	}
	cmd.Flags().BoolVar(&lagging, "lagging", false, "only those that have not applied the newest revision")
	cmd.Flags().IntVar(&limit, "limit", 100, "how many `processes` to show at most; 0: all")
	return cmd
}

// clientsJSON is the result for programs.
type clientsJSON struct {
	Position positionJSON `json:"position"`
	Live     uint32       `json:"live"`
	Lagging  uint32       `json:"lagging"`
	Clients  []clientJSON `json:"clients"`
	// Foreign are the clients that do not report.
	Foreign []foreignJSON `json:"foreign"`
	Servers []serverJSON  `json:"servers"`
}

// clientJSON is a process for programs. Times are in seconds.
type clientJSON struct {
	Service        string        `json:"service"`
	Instance       string        `json:"instance"`
	Agent          string        `json:"agent,omitempty"`
	Zone           string        `json:"zone,omitempty"`
	Server         string        `json:"server"`
	Applied        *positionJSON `json:"applied"`
	AppliedAge     *float64      `json:"appliedAge,omitempty"`
	AppliedAfter   *float64      `json:"appliedAfter,omitempty"`
	Lagging        bool          `json:"lagging"`
	LaggingFor     *float64      `json:"laggingFor,omitempty"`
	Source         string        `json:"source"`
	Connected      bool          `json:"connected"`
	ReportedAge    *float64      `json:"reportedAge,omitempty"`
	KnownFor       *float64      `json:"knownFor,omitempty"`
	LocalOverrides uint32        `json:"localOverrides,omitempty"`
}

// serverJSON is a server for programs.
type serverJSON struct {
	ID            string        `json:"id"`
	Address       string        `json:"address"`
	Zone          string        `json:"zone,omitempty"`
	Version       string        `json:"version,omitempty"`
	StartedAt     *time.Time    `json:"startedAt,omitempty"`
	Unreachable   string        `json:"unreachable,omitempty"`
	Clients       uint32        `json:"clients"`
	SilentStreams uint32        `json:"silentStreams"`
	Position      *positionJSON `json:"position"`
}

// sources are the words for where a process has its flags from.
var sources = map[plimsollv1.FlagSource]string{
	plimsollv1.FlagSource_FLAG_SOURCE_UNSPECIFIED: "none",
	plimsollv1.FlagSource_FLAG_SOURCE_STREAM:      "stream",
	plimsollv1.FlagSource_FLAG_SOURCE_MEMORY:      "memory",
	plimsollv1.FlagSource_FLAG_SOURCE_CACHE:       "cache",
	plimsollv1.FlagSource_FLAG_SOURCE_BOOTSTRAP:   "bootstrap",
}

func clientToJSON(p *plimsollv1.FleetClient) clientJSON {
	return clientJSON{
		Service: p.GetClient().GetService(), Instance: p.GetClient().GetInstanceId(), Agent: p.GetClient().GetAgent(), Zone: p.GetClient().GetZone(),
		Server: p.GetServerId(), Applied: optionalPosition(p.GetApplied()),
		AppliedAge: inSeconds(p.GetAppliedAge()), AppliedAfter: inSeconds(p.GetAppliedAfter()),
		Lagging: p.GetLagging(), LaggingFor: inSeconds(p.GetLaggingFor()),
		Source: cmp.Or(sources[p.GetSource()], "unknown"), Connected: p.GetConnected(),
		ReportedAge: inSeconds(p.GetReportedAge()), KnownFor: inSeconds(p.GetKnownFor()), LocalOverrides: p.GetLocalOverrides(),
	}
}

func clientsToJSON(processes []*plimsollv1.FleetClient) []clientJSON {
	out := make([]clientJSON, 0, len(processes))
	for _, p := range processes {
		out = append(out, clientToJSON(p))
	}
	return out
}

func serversToJSON(servers []*plimsollv1.FleetServer) []serverJSON {
	out := make([]serverJSON, 0, len(servers))
	for _, s := range servers {
		out = append(out, serverJSON{
			s.GetId(), s.GetAddress(), s.GetZone(), s.GetVersion(), instant(s.GetStartedAt()), s.GetUnreachable(),
			s.GetClients(), s.GetSilentStreams(), optionalPosition(s.GetPosition()),
		})
	}
	return out
}

func optionalPosition(p *plimsollv1.Position) *positionJSON {
	if p == nil {
		return nil
	}
	out := positionOf(p)
	return &out
}

// inSeconds is a length of time for JSON; nil if it is not known.
func inSeconds(d *durationpb.Duration) *float64 {
	if d == nil {
		return nil
	}
	s := d.AsDuration().Seconds()
	return &s
}

func (c *cli) clients(ctx context.Context, laggingOnly bool, limit int) error {
	if err := c.connect(); err != nil {
		return err
	}
	processes, sum, err := c.allClients(ctx, laggingOnly)
	if err != nil {
		return c.failed("list the processes", err)
	}
	slices.SortStableFunc(processes, func(a, b *plimsollv1.FleetClient) int {
		switch {
		case a.GetLagging() == b.GetLagging():
			return 0 // the server has sorted them
		case a.GetLagging():
			return -1
		default:
			return 1
		}
	})
	if !c.print.People() {
		return c.print.Value(clientsJSON{
			positionOf(sum.GetPosition()), sum.GetLive(), sum.GetLagging(), clientsToJSON(processes), foreignToJSON(sum.GetServers()), serversToJSON(sum.GetServers()),
		})
	}
	shown := processes
	if limit > 0 && len(shown) > limit {
		shown = shown[:limit]
	}
	if len(shown) > 0 {
		c.print.Table([]string{"SERVICE", "INSTANCE", "ZONE", "SERVER", "REVISION", "LAG", "SOURCE", "REPORTED"}, clientRows(shown, sum.GetServers()),
			"REPORTED", "SERVER", "SOURCE", "ZONE", "REVISION")
	}
	if more := len(processes) - len(shown); more > 0 {
		c.print.Printf("%s\n", output.Faint(fmt.Sprintf("… and %s more: --limit 0 shows all", output.Number(more))))
	}
	c.printForeign(sum.GetServers())
	c.print.Printf("%s\n", fleetText(sum))
	c.warnUnreachable(sum.GetServers())
	return nil
}

// allClients reads every page. What the last one says of the whole is the
// newest, and is returned beside the processes.
func (c *cli) allClients(ctx context.Context, laggingOnly bool) ([]*plimsollv1.FleetClient, *plimsollv1.ListClientsResponse, error) {
	req := &plimsollv1.ListClientsRequest{Namespace: c.namespace(), LaggingOnly: laggingOnly, PageSize: clientsPage}
	var out []*plimsollv1.FleetClient
	for {
		res, err := c.client.Fleet.ListClients(ctx, connect.NewRequest(req))
		if err != nil {
			return nil, nil, err
		}
		out = append(out, res.Msg.GetClients()...)
		if req.PageToken = res.Msg.GetNextPageToken(); req.PageToken == "" {
			return out, res.Msg, nil
		}
	}
}

func clientRows(processes []*plimsollv1.FleetClient, servers []*plimsollv1.FleetServer) [][]string {
	zones := make(map[string]string, len(servers))
	for _, s := range servers {
		zones[s.GetId()] = s.GetZone()
	}
	rows := make([][]string, 0, len(processes))
	for _, p := range processes {
		reported := ""
		if p.GetReportedAge() != nil {
			reported = output.Span(p.GetReportedAge().AsDuration()) + " ago"
		}
		rows = append(rows, []string{
			output.Clean(p.GetClient().GetService()), instanceText(p), output.Clean(p.GetClient().GetZone()),
			output.Clean(cmp.Or(zones[p.GetServerId()], first(p.GetServerId(), shortID))),
			revisionText(p), lagText(p), sourceText(p.GetSource()), reported,
		})
	}
	return rows
}

// first is a text of at most n characters.
func first(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}

func instanceText(p *plimsollv1.FleetClient) string {
	return output.Clean(first(p.GetClient().GetInstanceId(), shortID))
}

func revisionText(p *plimsollv1.FleetClient) string {
	if p.GetApplied() == nil {
		return output.Warn("none")
	}
	return fmt.Sprint(p.GetApplied().GetRevision())
}

func lagText(p *plimsollv1.FleetClient) string {
	switch {
	case !p.GetLagging():
		return "current"
	case p.GetLaggingFor() == nil:
		return output.Warn("behind")
	default:
		return output.Warn("behind " + output.Span(p.GetLaggingFor().AsDuration()))
	}
}

func sourceText(source plimsollv1.FlagSource) string {
	text := cmp.Or(sources[source], "unknown")
	if source != plimsollv1.FlagSource_FLAG_SOURCE_STREAM {
		return output.Warn(text)
	}
	return text
}

// fleetText sums up a namespace's processes in one line.
func fleetText(sum *plimsollv1.ListClientsResponse) string {
	parts := []string{"no live process"}
	if sum.GetLive() > 0 {
		parts = []string{output.Number(int(sum.GetLive())) + " live, none behind"}
	}
	if n := sum.GetLagging(); n > 0 {
		parts = []string{output.Number(int(sum.GetLive())) + " live, " + output.Warn(output.Number(int(n))+" behind")}
	}
	parts = append(parts, fmt.Sprintf("newest revision %d", sum.GetPosition().GetRevision()), output.Count(len(sum.GetServers()), "server"))
	if silent := silentStreams(sum.GetServers()); silent > 0 {
		parts = append(parts, silentText(silent))
	}
	return strings.Join(parts, "; ")
}

// silentText counts streams of which nobody knows what was applied.
func silentText(n int) string {
	if n == 1 {
		return "1 stream that does not report"
	}
	return output.Number(n) + " streams that do not report"
}

// processesText is a number of processes.
func processesText(n int) string {
	if n == 1 {
		return "1 process"
	}
	return output.Number(n) + " processes"
}

// warnUnreachable names the servers whose processes are not known of.
func (c *cli) warnUnreachable(servers []*plimsollv1.FleetServer) {
	for _, s := range servers {
		if s.GetUnreachable() == "" {
			continue
		}
		name := "server " + first(s.GetId(), shortID) + " at " + s.GetAddress()
		if s.GetZone() != "" {
			name += " in zone " + s.GetZone()
		}
		text := fmt.Sprintf("%s cannot be reached: %s", name, s.GetUnreachable())
		if n := int(s.GetClients()); n > 0 {
			text += fmt.Sprintf("; %s reported to it", processesText(n))
		}
		c.print.Notef("%s %s", output.Warn("warning:"), output.Clean(text))
	}
}
