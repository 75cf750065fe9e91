package ui

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// ListClients answers in pages of at most 50.
func (w *world) ListClients(_ context.Context, req *connect.Request[plimsollv1.ListClientsRequest]) (*connect.Response[plimsollv1.ListClientsResponse], error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return nil, w.broken
	}
	out := &plimsollv1.ListClientsResponse{Live: uint32(len(w.clients)), Position: w.position(), Servers: []*plimsollv1.FleetServer{
		{Id: "one", Address: "https://one:8013", Version: "1.2.3", Clients: uint32(len(w.clients)), Position: w.position(), ReportingFor: durationpb.New(time.Hour), SilentStreams: 3, Foreign: []*plimsollv1.ForeignClients{
			{Protocol: plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_FLAGD_SYNC, Streams: 3, Sent: 2},
			{Protocol: plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_OFREP, LastAskedAge: durationpb.New(time.Second)},
			{Protocol: 99, Streams: 1, Sent: 1},
		}},
		{Id: "two", Address: hostile, Unreachable: "no route to " + hostile, Clients: 7},
	}}
	from := 0
	_, _ = fmt.Sscan(req.Msg.GetPageToken(), &from)
	to := min(from+50, len(w.clients))
	for _, c := range w.clients[from:to] {
		out.Clients = append(out.Clients, proto.CloneOf(c))
	}
	if to < len(w.clients) {
		out.NextPageToken = fmt.Sprint(to)
	}
	return connect.NewResponse(out), nil
}

const hostile = "<script>alert('x')</script>\u202e\"&\u200f" + `${x}` + "🦀"

func client(n int, more func(*plimsollv1.FleetClient)) *plimsollv1.FleetClient {
	c := &plimsollv1.FleetClient{
		Client:  &plimsollv1.ClientInfo{Service: []string{"cart", "web"}[n%2], InstanceId: fmt.Sprintf("instance-%03d", n), Agent: "plimsoll-go/1", Zone: []string{"", "a", "b"}[n%3]},
		Applied: &plimsollv1.Position{Revision: 5}, Connected: true, Source: plimsollv1.FlagSource_FLAG_SOURCE_STREAM, ReportedAge: durationpb.New(time.Second),
	}
	if more != nil {
		more(c)
	}
	return c
}

// get is a page of a console.
func get(t *testing.T, c *Console, path string) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	r.Host = "127.0.0.1"
	rec := httptest.NewRecorder()
	c.ServeHTTP(rec, r)
	if rec.Code != http.StatusOK {
		t.Fatalf("%s: status %d: %s", path, rec.Code, rec.Body)
	}
	return rec.Body.String()
}

// harmless fails if something hostile got into a page as it is.
func harmless(t *testing.T, page string) {
	t.Helper()
	for _, bad := range []string{"<script>alert", "style=\"", "onclick"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}

func TestTheFleetIsShownFilteredAndPaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a")
		for i := range 130 {
			w.clients = append(w.clients, client(i, nil))
		}
		w.clients[7] = client(7, func(c *plimsollv1.FleetClient) {
			c.Client.Service, c.Client.Zone, c.Client.Agent = hostile, hostile, hostile
			c.Lagging, c.LaggingFor, c.Connected, c.LocalOverrides = true, durationpb.New(90*time.Second), false, 2
			c.Source, c.ReportedAge = plimsollv1.FlagSource_FLAG_SOURCE_UNSPECIFIED, durationpb.New(14*time.Second)
		})
		c := w.console(t)
		defer c.Close()
		page := get(t, c, "/ns/default/fleet")
		harmless(t, page)
		for _, want := range []string{"130 of 130 processes", "page 1 of 2", "https://one:8013", "1.2.3", "unreachable", "What its processes have applied is not known", "2 local overrides", "3 streams that do not report", "newest revision sent to 2 of 3 streams", "Last asked <time", "sent to 1 of 1 stream", "nowhere yet", "no stream", "late, last", "behind", `topic=fleet%3A"`} {
			if !strings.Contains(page, want) {
				t.Errorf("the page lacks %q", want)
			}
		}
		_, list, _ := strings.Cut(page, `class="processes"`)
		_, first, _ := strings.Cut(list, "<tr id=")
		if first, _, _ = strings.Cut(first, "</tr>"); !strings.Contains(first, elementID("instance-007")) {
			t.Error("the one that lags is not the first")
		}
		for query, want := range map[string]string{
			"service=cart": "65 of 130", "zone=a": "42 of 130", "service=cart&zone=a": "21 of 130", "q=INSTANCE-01": "10 of 130", "q=nobody": "0 of 130",
			"state=lagging": "1 of 130", "state=offline": "1 of 130", "state=late": "1 of 130", "state=fallback": "1 of 130", "state=overridden": "1 of 130",
			"page=99": "page 2 of 2", "service=gone": `<option value="gone" selected>`, "service=" + url.QueryEscape(hostile): "1 of 130",
		} {
			page := get(t, c, "/ns/default/fleet?"+query)
			harmless(t, page)
			if !strings.Contains(page, want) {
				t.Errorf("%s lacks %q", query, want)
			}
		}
	})
}

func TestAnEmptyFleetSaysWhatToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWorld("a").console(t)
		defer c.Close()
		if page := get(t, c, "/ns/default/fleet"); !strings.Contains(page, "No process evaluates flags") {
			t.Error("an empty fleet is not told")
		}
	})
}

func TestTheFleetIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a")
		for i := range 10 {
			w.clients = append(w.clients, client(i, nil))
		}
		c := w.console(t)
		defer c.Close()
		get(t, c, "/ns/default/fleet?service=web")
		_, rm, err := c.current(t.Context(), "default")
		if err != nil {
			t.Fatal(err)
		}
		v := rm.visit("fleet", "service=web")
		defer rm.leave(v)
		time.Sleep(2 * usagePause)
		_, seen := sent(t, rm, v, 1)
		change := func(n int, to *plimsollv1.FleetClient) patch {
			w.mu.Lock()
			w.clients[n] = to
			w.mu.Unlock()
			time.Sleep(fleetPause + time.Second)
			var p patch
			p, seen = sent(t, rm, v, seen)
			return p
		}
		row := "row-" + elementID("instance-003")
		p := change(3, client(3, func(c *plimsollv1.FleetClient) { c.LocalOverrides = 1 }))
		if rows := rowsOf(p); len(rows) != 1 || rows[0] != row || p.HTML["processes"] != "" || p.Reload {
			t.Errorf("one process changed; sent are rows %v, the list %v", rows, p.HTML["processes"] != "")
		}
		// Reports that come when they should change nothing.
		if p := change(3, client(3, func(c *plimsollv1.FleetClient) { c.LocalOverrides, c.ReportedAge = 1, durationpb.New(9*time.Second) })); len(p.HTML) != 0 {
			t.Errorf("a report changed %v", p.HTML)
		}
		// What lags comes to the top: the list is another.
		if p := change(5, client(5, func(c *plimsollv1.FleetClient) { c.Lagging = true })); p.HTML["processes"] == "" {
			t.Errorf("a process lags; sent is %v", p.HTML)
		}
		if p := change(4, client(4, func(c *plimsollv1.FleetClient) { c.LocalOverrides = 9 })); len(rowsOf(p)) != 0 {
			t.Errorf("a process that the filter leaves out sent %v", rowsOf(p))
		}
		w.breakWith(connect.NewError(connect.CodeUnavailable, fmt.Errorf("no answer from %s", hostile)))
		time.Sleep(2 * fleetPause)
		p, _ = sent(t, rm, v, seen)
		if text := p.HTML["fleet-figures"]; !strings.Contains(text, "could not be asked") {
			t.Errorf("the page does not tell why it is old: %v", text)
		}
		harmless(t, p.HTML["fleet-figures"])
	})
}

func TestMomentsStayWhereOnlyTheAnswerTookItsTime(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	before := []process{{id: "a", behindSince: at, reported: at}, {id: "b", behindSince: at}, {id: "c"}}
	now := []process{{id: "a", behindSince: at.Add(time.Second), reported: at.Add(10 * time.Second)}, {id: "b"}, {id: "c", behindSince: at}, {id: "d", behindSince: at}}
	steady(now, before)
	want := []process{{id: "a", behindSince: at, reported: at.Add(10 * time.Second)}, {id: "b"}, {id: "c", behindSince: at}, {id: "d", behindSince: at}}
	if !slices.Equal(now, want) {
		t.Errorf("got %v, want %v", now, want)
	}
}
