package ui

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	fleetTopic       = "fleet"
	processesPerPage = 100
	// processPage is how many processes are read at a time, and maxProcesses how
	// many in all.
	processPage  = 10_000
	maxProcesses = 50_000
	// fleetPace is how many processes a room reads a second, at most.
	fleetPace = 5_000
	// reportDue is when the next report of a process is late: they report every
	// 10 s.
	reportDue = 12 * time.Second
	// settling is how long a server that has just started may not know all that
	// report to it.
	settling = 15 * time.Second
	// askedPace is how often the page shows that somebody has asked again.
	askedPace = 15 * time.Second
	// fleetWait is how long a page waits for the fleet to answer.
	fleetWait = 2 * time.Second
)

// process is a process as the page shows it. What grows older by itself is kept
// as a moment, so that equal states are equal.
type process struct {
	id, service, instance, agent, zone, server string
	// revision is the one it has applied; 0: none yet.
	revision           int64
	lagging, connected bool
	// behindSince is when the first revision that it lacks was there; zero: not
	// known.
	behindSince time.Time
	// reported is when it last reported; zero: when it should.
	reported  time.Time
	source    plimsollv1.FlagSource
	overrides uint32
}

// server is one of the servers, in the same way.
type server struct {
	id, address, zone, version, unreachable string
	started                                 time.Time
	clients, silent                         uint32
	revision                                int64
	// fresh: it has just started, and may not know yet who is there.
	fresh   bool
	foreign [len(foreignNames)]foreign
}

// foreign are a server's clients of one of the protocols of foreignNames.
type foreign struct {
	streams, sent uint32
	// asked is when one last asked without a stream, as of askedPace; zero: never.
	asked time.Time
}

// foreignNames are the protocols whose clients do not report, by
// plimsollv1.ForeignProtocol.
var foreignNames = [...]string{
	plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_UNSPECIFIED:      "another protocol",
	plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_FLAGD_SYNC:       "flagd sync",
	plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_FLAGD_EVALUATION: "flagd evaluation",
	plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_OFREP:            "OFREP",
}

// known tells whether there is anything to say of them.
func (f foreign) known() bool { return f.streams > 0 || !f.asked.IsZero() }

// fleetState is what the servers have told of the fleet. It is immutable.
type fleetState struct {
	live      uint32
	servers   []server
	processes []process // by service and instance
	// services and zones are those of the processes, sorted.
	services, zones []string
	// asked is when they were asked for.
	asked time.Time
	// trouble is why the processes could not be asked for; "": they were.
	trouble string
}

// freshUntil is until when it does not pay to ask again.
func (f *fleetState) freshUntil() time.Time {
	if f == nil {
		return time.Time{}
	}
	return f.asked.Add(time.Duration(len(f.processes)) * time.Second / fleetPace)
}

// watched tells whether somebody looks at a page of a topic. The caller holds
// rm.mu.
func (rm *room) watched(topic string) bool {
	now := rm.c.Now()
	for key, t := range rm.topics {
		if name, _ := splitTopic(key); name == topic && (t.visitors > 0 || now.Sub(t.used) <= topicRest) {
			return true
		}
	}
	return false
}

// askProcesses asks for the processes, and tells whether what the page shows has
// changed.
func (rm *room) askProcesses(ctx context.Context, v *View) bool {
	before := v.Processes
	next := rm.c.readProcesses(ctx, v.Namespace, before)
	v.Processes = next
	return before == nil || before.trouble != next.trouble || before.live != next.live ||
		!slices.Equal(before.servers, next.servers) || !slices.Equal(before.processes, next.processes)
}

// readProcesses reads the whole fleet of a namespace.
func (c *Console) readProcesses(ctx context.Context, ns string, before *fleetState) *fleetState {
	now := c.Now()
	f := &fleetState{asked: now}
	for token := ""; len(f.processes) < maxProcesses; {
		got, err := call(ctx, c, c.Fleet.ListClients, &plimsollv1.ListClientsRequest{Namespace: ns, PageSize: processPage, PageToken: token})
		if err != nil {
			if before != nil {
				old := *before
				f, old.asked = &old, now
			}
			f.trouble = "The servers could not be asked for their processes: " + explain(err).Message
			return f
		}
		if token == "" {
			f.live = got.GetLive()
			for _, s := range got.GetServers() {
				f.servers = append(f.servers, serverOf(s, now))
			}
		}
		for _, p := range got.GetClients() {
			f.processes = append(f.processes, processOf(p, now))
		}
		if token = got.GetNextPageToken(); token == "" {
			break
		}
	}
	if before != nil {
		steady(f.processes, before.processes)
	}
	services, zones := make(map[string]bool), make(map[string]bool)
	for i := range f.processes {
		services[f.processes[i].service], zones[f.processes[i].zone] = true, true
	}
	f.services, f.zones = sortedNames(services), sortedNames(zones)
	return f
}

func sortedNames(set map[string]bool) (out []string) {
	for name := range set {
		if name != "" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func processOf(p *plimsollv1.FleetClient, now time.Time) process {
	who := p.GetClient()
	out := process{
		id: elementID(who.GetInstanceId()), service: who.GetService(), instance: who.GetInstanceId(), agent: who.GetAgent(), zone: who.GetZone(), server: p.GetServerId(),
		revision: p.GetApplied().GetRevision(), lagging: p.GetLagging(), connected: p.GetConnected(), source: p.GetSource(), overrides: p.GetLocalOverrides(),
	}
	if p.GetLagging() && p.GetLaggingFor() != nil {
		out.behindSince = now.Add(-p.GetLaggingFor().AsDuration()).Truncate(time.Second)
	}
	if age := p.GetReportedAge().AsDuration(); age > reportDue {
		out.reported = now.Add(-age).Truncate(time.Second)
	}
	return out
}

func serverOf(s *plimsollv1.FleetServer, now time.Time) server {
	out := server{
		id: s.GetId(), address: s.GetAddress(), zone: s.GetZone(), version: s.GetVersion(), unreachable: s.GetUnreachable(),
		clients: s.GetClients(), silent: s.GetSilentStreams(), revision: s.GetPosition().GetRevision(),
		fresh: s.GetUnreachable() == "" && s.GetReportingFor() != nil && s.GetReportingFor().AsDuration() < settling,
	}
	if s.GetStartedAt() != nil {
		out.started = s.GetStartedAt().AsTime()
	}
	for _, c := range s.GetForeign() {
		p := int(c.GetProtocol())
		if p < 0 || p >= len(out.foreign) {
			p = 0 // of a newer server
		}
		out.foreign[p] = foreign{streams: c.GetStreams(), sent: c.GetSent()}
		if age := c.GetLastAskedAge(); age != nil {
			out.foreign[p].asked = now.Add(-age.AsDuration()).Truncate(askedPace)
		}
	}
	return out
}

// steady keeps moments as they were where they differ only by how long the
// answer took.
func steady(now, before []process) {
	known := make(map[string]*process, len(before))
	for i := range before {
		known[before[i].id] = &before[i]
	}
	for i := range now {
		old, ok := known[now[i].id]
		if !ok {
			continue
		}
		for _, t := range [][2]*time.Time{{&now[i].behindSince, &old.behindSince}, {&now[i].reported, &old.reported}} {
			if away := t[0].Sub(*t[1]).Abs(); away <= 2*time.Second {
				*t[0] = *t[1]
			}
		}
	}
}

// fleetFilter is what the list of processes is asked for.
type fleetFilter struct {
	Query, Service, Zone, State string
	Page                        int
}

var processStates = [][2]string{{"", "any state"}, {"lagging", "lagging"}, {"offline", "without a stream"}, {"late", "report is late"}, {"fallback", "not from a live stream"}, {"overridden", "with local overrides"}}

func fleetFilterOf(v url.Values) fleetFilter {
	page, err := strconv.Atoi(v.Get("page"))
	if err != nil || page < 1 {
		page = 1
	}
	return fleetFilter{
		Query: clip(strings.TrimSpace(v.Get("q")), 200), Service: clip(v.Get("service"), 256), Zone: clip(v.Get("zone"), 128), State: clip(v.Get("state"), 20), Page: page,
	}
}

func (f fleetFilter) pairs() []string {
	page := ""
	if f.Page > 1 {
		page = strconv.Itoa(f.Page)
	}
	return []string{"q", f.Query, "service", f.Service, "zone", f.Zone, "state", f.State, "page", page}
}

// url is the address of another page of the list.
func (f fleetFilter) url(ns string, page int) string {
	f.Page = page
	return nsURL(ns, "fleet", f.pairs()...)
}

// topic is that of a page with this filter.
func (f fleetFilter) topic() string {
	_, query, _ := strings.Cut(nsURL("", "", f.pairs()...), "?")
	return fleetTopic + ":" + query
}

// takes tells whether a process is in the list.
func (f fleetFilter) takes(p *process, words []string) bool {
	if (f.Service != "" && p.service != f.Service) || (f.Zone != "" && p.zone != f.Zone) {
		return false
	}
	for _, w := range words {
		if !strings.Contains(strings.ToLower(p.service+" "+p.instance+" "+p.agent+" "+p.zone), w) {
			return false
		}
	}
	switch f.State {
	case "lagging":
		return p.lagging
	case "offline":
		return !p.connected
	case "late":
		return !p.reported.IsZero()
	case "fallback":
		return p.source != plimsollv1.FlagSource_FLAG_SOURCE_STREAM
	case "overridden":
		return p.overrides > 0
	}
	return true
}

// processList is a page of the list of processes.
type processList struct {
	filter       fleetFilter
	rows         []*process
	found, pages int
}

// processes are those that a filter takes, those that lag first.
func (v *View) processes(f fleetFilter) processList {
	out := processList{filter: f}
	if v.Processes == nil {
		out.pages = 1
		return out
	}
	words := strings.Fields(strings.ToLower(f.Query))
	for i := range v.Processes.processes {
		if p := &v.Processes.processes[i]; f.takes(p, words) {
			out.rows = append(out.rows, p)
		}
	}
	slices.SortStableFunc(out.rows, func(a, b *process) int { return cmp.Compare(rankOf(a.lagging), rankOf(b.lagging)) })
	out.found = len(out.rows)
	out.pages = max(1, (out.found+processesPerPage-1)/processesPerPage)
	out.filter.Page = max(1, min(f.Page, out.pages))
	from := (out.filter.Page - 1) * processesPerPage
	out.rows = out.rows[from:min(from+processesPerPage, out.found)]
	return out
}

func rankOf(first bool) int {
	if first {
		return 0
	}
	return 1
}

// same tells whether two lists have the same rows in the same order, so that the
// rows can be replaced one by one.
func (l processList) same(other processList) bool {
	return l.found == other.found && l.filter == other.filter && slices.EqualFunc(l.rows, other.rows, func(a, b *process) bool { return a.id == b.id })
}

func fleetPage(ctx context.Context, q *request) {
	f := fleetFilterOf(q.r.URL.Query())
	q.expect(f.topic())
	// The room asks the fleet only while somebody looks at it.
	start := q.c.Now()
	q.room.processesWanted.Store(true)
	q.room.touch()
	q.view = q.room.wait(ctx, fleetWait, func(v *View) bool { return !v.Processes.freshUntil().Before(start) })
	q.render(ctx, http.StatusOK, frame{Title: "Fleet", Nav: "fleet", Topic: f.topic()}, fleetContent(q.view, f))
}

// renderFleet emits what has changed of a page of the fleet: single rows, and
// the list if others are in it now.
func renderFleet(_ *Console, prev, next *View, arg string, emit emit) {
	query, err := url.ParseQuery(arg)
	if err != nil {
		return
	}
	emit("fleet-figures", fleetFigures(next))
	emit("fleet-servers", fleetServers(next))
	list := next.processes(fleetFilterOf(query))
	if prev == nil || !list.same(prev.processes(fleetFilterOf(query))) || (prev.Processes == nil) != (next.Processes == nil) {
		emit("processes", processes(next, list))
	}
	for _, p := range list.rows {
		emit("row-"+p.id, processRow(p))
	}
}

// sourceText is where a process has its flags from.
func sourceText(s plimsollv1.FlagSource) string {
	switch s {
	case plimsollv1.FlagSource_FLAG_SOURCE_STREAM:
		return "live stream"
	case plimsollv1.FlagSource_FLAG_SOURCE_MEMORY:
		return "memory, last seen"
	case plimsollv1.FlagSource_FLAG_SOURCE_CACHE:
		return "cache on disk"
	case plimsollv1.FlagSource_FLAG_SOURCE_BOOTSTRAP:
		return "bootstrap file"
	}
	return "nowhere yet: its own defaults"
}

// shortID is an id as people tell it apart.
func shortID(id string) string { return clip(id, 10) }
