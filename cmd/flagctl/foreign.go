package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// foreignJSON are the clients of another protocol for programs.
type foreignJSON struct {
	Protocol     string   `json:"protocol"`
	Streams      uint32   `json:"streams"`
	Sent         uint32   `json:"sent"`
	LastAskedAge *float64 `json:"lastAskedAge,omitempty"`
}

// foreignProtocols are the words for other protocols; of programs, and of people.
var foreignProtocols = map[plimsollv1.ForeignProtocol][2]string{
	plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_FLAGD_SYNC:       {"flagd-sync", "flagd sync"},
	plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_FLAGD_EVALUATION: {"flagd-evaluation", "flagd evaluation"},
	plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_OFREP:            {"ofrep", "OFREP"},
}

func protocolText(p plimsollv1.ForeignProtocol) [2]string {
	if text, ok := foreignProtocols[p]; ok {
		return text
	}
	return [2]string{"unknown", "unknown"} // of a newer server
}

// foreignClients sums up what all servers tell of the clients of each protocol.
func foreignClients(servers []*plimsollv1.FleetServer) []*plimsollv1.ForeignClients {
	var out []*plimsollv1.ForeignClients
	for _, s := range servers {
		for _, c := range s.GetForeign() {
			i := slices.IndexFunc(out, func(have *plimsollv1.ForeignClients) bool { return have.GetProtocol() == c.GetProtocol() })
			if i < 0 {
				i = len(out)
				out = append(out, &plimsollv1.ForeignClients{Protocol: c.GetProtocol()})
			}
			sum := out[i]
			sum.Streams, sum.Sent, sum.LastAskedAge = sum.GetStreams()+c.GetStreams(), sum.GetSent()+c.GetSent(), shorter(sum.GetLastAskedAge(), c.GetLastAskedAge())
		}
	}
	slices.SortFunc(out, func(a, b *plimsollv1.ForeignClients) int { return cmp.Compare(a.GetProtocol(), b.GetProtocol()) })
	return out
}

// shorter is the shorter one of two lengths of time, of which either may be
// unknown.
func shorter(a, b *durationpb.Duration) *durationpb.Duration {
	if a == nil || b != nil && b.AsDuration() < a.AsDuration() {
		return b
	}
	return a
}

func foreignToJSON(servers []*plimsollv1.FleetServer) []foreignJSON {
	out := []foreignJSON{}
	for _, c := range foreignClients(servers) {
		out = append(out, foreignJSON{protocolText(c.GetProtocol())[0], c.GetStreams(), c.GetSent(), inSeconds(c.GetLastAskedAge())})
	}
	return out
}

// printForeign tells of the clients that do not report, by their protocol.
func (c *cli) printForeign(servers []*plimsollv1.FleetServer) {
	var rows [][]string
	for _, f := range foreignClients(servers) {
		sent := strconv.Itoa(int(f.GetSent()))
		if f.GetSent() < f.GetStreams() {
			sent = output.Warn(sent)
		}
		asked := ""
		if f.GetLastAskedAge() != nil {
			asked = output.Span(f.GetLastAskedAge().AsDuration()) + " ago"
		}
		rows = append(rows, []string{protocolText(f.GetProtocol())[1], output.Number(int(f.GetStreams())), sent, asked})
	}
	if len(rows) > 0 {
		c.print.Table([]string{"PROTOCOL", "STREAMS", "SENT", "LAST ASKED"}, rows)
	}
}

// silentStreams is how many streams do not report, as far as servers tell.
func silentStreams(servers []*plimsollv1.FleetServer) int {
	n := 0
	for _, s := range servers {
		n += int(s.GetSilentStreams())
	}
	return n
}

// sentText tells how many of the streams that do not report were sent it, which is
// a revision; empty: there are none.
func sentText(it string, r *plimsollv1.GetRolloutResponse) string {
	sent := int(r.GetSent())
	all := max(sent, silentStreams(r.GetServers()))
	switch {
	case all == 0:
		return ""
	case sent < all:
		return output.Warn(fmt.Sprintf("%s of %s were sent %s", output.Number(sent), silentText(all), it))
	case all == 1:
		return silentText(1) + " was sent " + it
	default:
		return silentText(all) + " were sent " + it
	}
}
