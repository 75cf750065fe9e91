package ui

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	processesPerPage = 100
	// processPage is how many processes are read at a time, and maxProcesses how
	// many in all.
	processPage  = 10_000
	maxProcesses = 50_000
)

// fleetView is the page of the fleet.
type fleetView struct {
	live, lagging uint32
	servers       []*plimsollv1.FleetServer
	rollout       *plimsollv1.GetRolloutResponse
	position      int64

	service, zone string
	laggingOnly   bool
	services      []string
	zones         []string
	found         int
	page, pages   int
	shown         []*plimsollv1.FleetClient
}

func fleetPage(ctx context.Context, q *request) {
	q.expect("fleet")
	f, err := readFleet(ctx, q)
	if err != nil {
		q.fail(err)
		return
	}
	q.render(ctx, http.StatusOK, frame{Title: "Fleet", Nav: "fleet", Topic: "fleet"}, fleetContent(q.view, f))
}

func readFleet(ctx context.Context, q *request) (*fleetView, error) {
	query := q.r.URL.Query()
	f := &fleetView{service: query.Get("service"), zone: query.Get("zone"), laggingOnly: query.Get("lagging") != ""}
	var all []*plimsollv1.FleetClient
	for token := ""; len(all) < maxProcesses; {
		got, err := call(ctx, q.c, q.c.Fleet.ListClients, &plimsollv1.ListClientsRequest{Namespace: q.ns, PageSize: processPage, PageToken: token, LaggingOnly: f.laggingOnly})
		if err != nil {
			return nil, err
		}
		f.live, f.lagging, f.servers, f.position = got.GetLive(), got.GetLagging(), got.GetServers(), got.GetPosition().GetRevision()
		all = append(all, got.GetClients()...)
		if token = got.GetNextPageToken(); token == "" {
			break
		}
	}
	var err error
	if f.rollout, err = call(ctx, q.c, q.c.Fleet.GetRollout, &plimsollv1.GetRolloutRequest{Namespace: q.ns}); err != nil {
		return nil, err
	}
	f.choose(all, query)
	return f, nil
}

// choose filters the processes, and takes those of a page.
func (f *fleetView) choose(all []*plimsollv1.FleetClient, query url.Values) {
	services, zones := make(map[string]bool), make(map[string]bool)
	var found []*plimsollv1.FleetClient
	for _, c := range all {
		service, zone := c.GetClient().GetService(), c.GetClient().GetZone()
		if !services[service] {
			services[service] = true
			f.services = append(f.services, service)
		}
		if zone != "" && !zones[zone] {
			zones[zone] = true
			f.zones = append(f.zones, zone)
		}
		if (f.service == "" || f.service == service) && (f.zone == "" || f.zone == zone) {
			found = append(found, c)
		}
	}
	slices.Sort(f.services)
	slices.Sort(f.zones)
	slices.SortStableFunc(found, func(a, b *plimsollv1.FleetClient) int { // those that lag come first
		if a.GetLagging() != b.GetLagging() {
			if a.GetLagging() {
				return -1
			}
			return 1
		}
		return 0
	})
	f.found = len(found)
	f.pages = max(1, (f.found+processesPerPage-1)/processesPerPage)
	page, err := strconv.Atoi(query.Get("page"))
	if err != nil {
		page = 1
	}
	f.page = max(1, min(page, f.pages))
	from := (f.page - 1) * processesPerPage
	f.shown = found[from:min(from+processesPerPage, f.found)]
}

// url is the address of another page of the list.
func (f *fleetView) url(ns string, page int) string {
	lagging := ""
	if f.laggingOnly {
		lagging = "1"
	}
	return nsURL(ns, "fleet", "service", f.service, "zone", f.zone, "lagging", lagging, "page", strconv.Itoa(page))
}

// renderFleet has the page loaded anew, in place, when the room has asked the
// fleet and something has moved, or its figures have aged.
func renderFleet(_ *Console, prev, next *View, _ string, emit emit) {
	if prev != nil && prev.Fleet != next.Fleet {
		emit("*", nil)
	}
}

// sourceText is where a process has its flags from.
func sourceText(s plimsollv1.FlagSource) string {
	text := strings.ToLower(strings.TrimPrefix(s.String(), "FLAG_SOURCE_"))
	if text == "unspecified" {
		return "live"
	}
	return text
}

// shortID is an id as people tell it apart.
func shortID(id string) string { return clip(id, 10) }
