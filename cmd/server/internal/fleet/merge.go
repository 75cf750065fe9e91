package fleet

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// view is a namespace's fleet, as far as servers could be asked.
type view struct {
	shares  []*share
	members []member // merged, in no order
	servers []*plimsollv1.FleetServer
	// unknown counts the processes of which nothing is known now.
	unknown uint32
}

// gather asks this server and its peers, and merges what they know. Whether a
// process lags is decided here, by target.
func (s *Service) gather(ctx context.Context, req *plimsollv1.GetShareRequest, target position) (*view, error) {
	answers, err := s.Peers.ask(ctx, req)
	if err != nil {
		return nil, api.Error(err)
	}
	own, err := s.Registry.share(req.GetNamespace(), req.GetRevision(), req.GetUsage(), req.GetFlagKeys())
	if err != nil {
		return nil, api.Error(err)
	}
	own.server = s.Peers.self.ID
	for i := range own.members {
		own.members[i].server = own.server
	}
	v := &view{shares: []*share{own}, servers: []*plimsollv1.FleetServer{described(s.Peers.self, own)}}
	for _, a := range answers {
		server := described(a.server, a.share)
		if a.share == nil {
			server.Unreachable, server.Clients = a.err.Error(), uint32(len(a.last.reported))
		} else {
			v.shares = append(v.shares, a.share)
		}
		v.servers = append(v.servers, server)
	}
	v.members = merged(v.shares, target)
	v.unknown = unknown(v.shares, answers, s.Peers.now())
	return v, nil
}

// merged are the processes of all shares, each once: one that has moved from
// one server to another counts for both for a while.
func merged(shares []*share, target position) []member {
	n := 0
	for _, s := range shares {
		n += len(s.members)
	}
	head := target
	for _, s := range shares {
		if s.position.store == head.store && !head.reaches(s.position) {
			head = s.position
		}
	}
	byID := make(map[string]int, n)
	out := make([]member, 0, n)
	for _, s := range shares {
		for _, m := range s.members {
			if m.lagging = m.applied.lags(target, head); m.lagging {
				m.appliedAfter = -1
			} else {
				m.laggingFor = -1
			}
			i, known := byID[m.client.GetInstanceId()]
			switch {
			case !known:
				byID[m.client.GetInstanceId()] = len(out)
				out = append(out, m)
			case m.supersedes(&out[i]):
				out[i] = m
			}
		}
	}
	return out
}

// supersedes tells which of two accounts of one process is the better one: that
// of the higher position of one store, then the one that is younger.
func (m *member) supersedes(other *member) bool {
	if ahead := m.applied.reaches(other.applied); ahead != other.applied.reaches(m.applied) && m.applied.store == other.applied.store {
		return ahead
	}
	return m.reportedAge < other.reportedAge
}

// lagging counts the processes that have not applied the target.
func (v *view) lagging() int {
	n := 0
	for i := range v.members {
		if v.members[i].lagging {
			n++
		}
	}
	return n
}

// unknown counts the processes of which nothing is known now: those that were
// refused, and those of servers that could not be asked. Of the latter, one
// that has since reported elsewhere is known.
func unknown(shares []*share, answers []answer, now time.Time) uint32 {
	n := 0
	for _, s := range shares {
		n += s.refused
	}
	elsewhere := make(map[string]time.Time) // by process, its newest report
	for _, s := range shares {
		for i := range s.members {
			m := &s.members[i]
			if at := now.Add(-m.reportedAge); at.After(elsewhere[m.client.GetInstanceId()]) {
				elsewhere[m.client.GetInstanceId()] = at
			}
		}
	}
	for _, a := range answers {
		if a.share != nil {
			continue
		}
		if a.stale {
			n += len(a.last.reported)
			continue
		}
		for id, at := range a.last.reported {
			if !elsewhere[id].After(at) {
				n++
			}
		}
	}
	return uint32(n)
}

// sent counts the streams of those who do not report that were sent the target.
func (v *view) sent(target position) uint32 {
	n := 0
	for _, s := range v.shares {
		if s.position.reaches(target) { // they walk a chain, and are never paced
			n += s.silent
		}
		_, sent := s.foreignStreams()
		n += sent
	}
	return uint32(n)
}

// usage sums up what was evaluated, of some flags or of all, and tracked.
func (v *view) usage(keys []string) *plimsollv1.GetUsageResponse {
	out := new(plimsollv1.GetUsageResponse)
	var window time.Duration
	wanted := make(map[string]bool, len(keys))
	for _, key := range keys {
		wanted[key] = true
	}
	flags := make(map[string]*plimsollv1.FlagUsage)
	events := make(map[string]*plimsollv1.TrackedEvent)
	for _, s := range v.shares {
		window = max(window, s.window)
		out.UnknownFlags = sum(out.UnknownFlags, s.unknown)
		for _, f := range s.usage {
			if len(keys) > 0 && !wanted[f.GetFlagKey()] {
				continue
			}
			if known := flags[f.GetFlagKey()]; known != nil {
				addFlag(known, f)
			} else {
				flags[f.GetFlagKey()] = f
			}
		}
		for _, e := range s.tracked {
			if known := events[e.GetName()]; known != nil {
				known.Count, known.Sum = sum(known.GetCount(), e.GetCount()), sum(known.GetSum(), e.GetSum())
			} else {
				events[e.GetName()] = e
			}
		}
	}
	out.Window = durationpb.New(window)
	for _, key := range slices.Sorted(maps.Keys(flags)) {
		f := flags[key]
		slices.SortFunc(f.Outcomes, func(a, b *plimsollv1.OutcomeCount) int {
			return cmp.Or(cmp.Compare(b.GetCount(), a.GetCount()), strings.Compare(a.GetVariant(), b.GetVariant()), strings.Compare(a.GetReason(), b.GetReason()))
		})
		out.Flags = append(out.Flags, f)
	}
	for _, name := range slices.Sorted(maps.Keys(events)) {
		out.Tracked = append(out.Tracked, events[name])
	}
	return out
}

// addFlag adds one server's counts of a flag to another's.
func addFlag(to, from *plimsollv1.FlagUsage) {
	if age := from.GetLastEvaluatedAge(); age.AsDuration() < to.GetLastEvaluatedAge().AsDuration() {
		to.LastEvaluatedAge = age
	}
	for _, o := range from.GetOutcomes() {
		i := slices.IndexFunc(to.Outcomes, func(have *plimsollv1.OutcomeCount) bool {
			return have.GetVariant() == o.GetVariant() && have.GetReason() == o.GetReason()
		})
		if i < 0 {
			to.Outcomes = append(to.Outcomes, o)
			continue
		}
		to.Outcomes[i].Count = sum(to.Outcomes[i].GetCount(), o.GetCount())
	}
}
