package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

// listing serves processes page by page.
type listing struct {
	plimsollv1connect.UnimplementedFleetServiceHandler
	processes []*plimsollv1.FleetClient
	servers   []*plimsollv1.FleetServer
	page      int // how many a page has at most
	pages     int // how many were asked for
	err       error
}

func (l *listing) ListClients(_ context.Context, req *connect.Request[plimsollv1.ListClientsRequest]) (*connect.Response[plimsollv1.ListClientsResponse], error) {
	l.pages++
	if l.err != nil && l.pages > 1 {
		return nil, l.err
	}
	lagging := slices.DeleteFunc(slices.Clone(l.processes), func(p *plimsollv1.FleetClient) bool { return !p.GetLagging() })
	shown := l.processes
	if req.Msg.GetLaggingOnly() {
		shown = lagging
	}
	from, _ := strconv.Atoi(cmp.Or(req.Msg.GetPageToken(), "0"))
	to := min(from+l.page, len(shown))
	res := &plimsollv1.ListClientsResponse{
		Clients: shown[from:to], Live: uint32(len(l.processes)), Lagging: uint32(len(lagging)), Position: at(4711), Servers: l.servers,
	}
	if to < len(shown) {
		res.NextPageToken = strconv.Itoa(to)
	}
	return connect.NewResponse(res), nil
}

func (l *listing) url(t *testing.T) string {
	mux := http.NewServeMux()
	mux.Handle(plimsollv1connect.NewFleetServiceHandler(l))
	return serve(t, mux)
}

// process is a live process of a service that has applied a revision.
func process(service string, n int, revision int64) *plimsollv1.FleetClient {
	p := &plimsollv1.FleetClient{
		Client:   &plimsollv1.ClientInfo{InstanceId: fmt.Sprintf("%08x-and-more", n), Service: service, Agent: "plimsoll-go/0.1.0", Zone: "eu-1"},
		ServerId: "aaaaaaaaaaaaaaaa", Applied: at(revision), AppliedAge: durationpb.New(90 * time.Second), ReportedAge: durationpb.New(2 * time.Second),
		Connected: true, Source: plimsollv1.FlagSource_FLAG_SOURCE_STREAM, KnownFor: durationpb.New(time.Hour),
	}
	if revision < 4711 {
		p.Lagging, p.LaggingFor = true, durationpb.New(12*time.Second)
	}
	return p
}

// smallFleet has every kind of process, and a server that cannot be reached.
func smallFleet() *listing {
	lost := process("shop", 4, 4700)
	lost.Applied, lost.AppliedAge, lost.LaggingFor = nil, nil, nil
	lost.Source, lost.Connected, lost.ServerId = plimsollv1.FlagSource_FLAG_SOURCE_UNSPECIFIED, false, "bbbbbbbbbbbbbbbb"
	cached := process("search", 3, 4600)
	cached.Source, cached.Connected, cached.Client.Zone, cached.LocalOverrides = plimsollv1.FlagSource_FLAG_SOURCE_CACHE, false, "", 2
	return &listing{
		page: 2,
		processes: []*plimsollv1.FleetClient{
			process("cart", 1, 4711), process("cart\x1b[31m", 2, 4711), cached, lost,
		},
		servers: []*plimsollv1.FleetServer{
			{Id: "aaaaaaaaaaaaaaaa", Address: "http://a:8013", Zone: "eu-1", Version: "v1", Clients: 3, SilentStreams: 11, Position: at(4711), Foreign: []*plimsollv1.ForeignClients{
				{Protocol: plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_FLAGD_SYNC, Streams: 2, Sent: 2},
				{Protocol: plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_OFREP, Streams: 8, Sent: 8, LastAskedAge: durationpb.New(12*time.Second + 345*time.Millisecond)},
			}},
			{Id: "bbbbbbbbbbbbbbbb", Address: "http://b:8013", Version: "v1", Clients: 1, SilentStreams: 1, Position: at(4711), Foreign: []*plimsollv1.ForeignClients{
				{Protocol: plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_OFREP, Streams: 1, LastAskedAge: durationpb.New(3 * time.Second)},
				{Protocol: 99, LastAskedAge: durationpb.New(time.Hour)},
			}},
			{Id: "cccccccccccccccc", Address: "http://c:8013", Zone: "eu-2", Unreachable: "connection refused", Clients: 14},
		},
	}
}

func TestClients(t *testing.T) {
	l := smallFleet()
	r := runFlagctl(t.Context(), t, l.url(t), "clients")
	r.want(t, exitDone)
	golden(t, "clients.txt", r.stdout)
	if want := "warning: server cccccccc at http://c:8013 in zone eu-2 cannot be reached: connection refused; 14 processes reported to it\n"; r.stderr != want {
		t.Errorf("stderr %q, want %q", r.stderr, want)
	}
	if l.pages != 2 {
		t.Errorf("%d pages were asked for, want 2", l.pages)
	}
}

// TestClientsNarrow: what matters most stays as long as there is room for it.
func TestClientsNarrow(t *testing.T) {
	url := smallFleet().url(t)
	for columns, header := range map[int]string{
		200: "SERVICE INSTANCE ZONE SERVER REVISION LAG SOURCE REPORTED", 70: "SERVICE INSTANCE ZONE SERVER REVISION LAG SOURCE",
		65: "SERVICE INSTANCE ZONE REVISION LAG SOURCE", 55: "SERVICE INSTANCE ZONE REVISION LAG", 48: "SERVICE INSTANCE REVISION LAG", 40: "SERVICE INSTANCE LAG", 10: "SERVICE INSTANCE LAG",
	} {
		t.Setenv("PLIMSOLL_SERVER", url)
		var stdout, stderr lockedBuffer
		newCLI(strings.NewReader(""), &stdout, &stderr, []string{fmt.Sprintf("COLUMNS=%d", columns)}).run(t.Context(), []string{"clients"})
		first, _, _ := strings.Cut(stdout.String(), "\n")
		if got := strings.Join(strings.Fields(first), " "); got != header {
			t.Errorf("%d columns: %s, want %s", columns, got, header)
		}
	}
}

func TestClientsLagging(t *testing.T) {
	r := runFlagctl(t.Context(), t, smallFleet().url(t), "clients", "--lagging")
	r.want(t, exitDone)
	if strings.Contains(r.stdout, "cart") || strings.Count(r.stdout, "behind") != 3 {
		t.Errorf("stdout %s", r.stdout)
	}
}

func TestClientsLimit(t *testing.T) {
	l := &listing{page: 1000, servers: []*plimsollv1.FleetServer{{Id: "aaaaaaaaaaaaaaaa"}}}
	for i := range 1003 {
		l.processes = append(l.processes, process("shop", i, 4711))
	}
	l.processes[1002] = process("shop", 1002, 4000)
	url := l.url(t)
	const sum = "1 003 live, 1 behind; newest revision 4711; 1 server\n"
	for _, tt := range []struct {
		args  []string
		shown int
		rest  string
	}{
		{nil, 100, "… and 903 more: --limit 0 shows all\n"},
		{[]string{"--limit", "2"}, 2, "… and 1 001 more: --limit 0 shows all\n"},
		{[]string{"--limit", "0"}, 1003, ""},
		{[]string{"--limit", "1003"}, 1003, ""},
		{[]string{"--lagging"}, 1, ""},
	} {
		r := runFlagctl(t.Context(), t, url, append([]string{"clients"}, tt.args...)...)
		r.want(t, exitDone)
		if n := strings.Count(r.stdout, "shop "); n != tt.shown || !strings.HasSuffix(r.stdout, "\n"+tt.rest+sum) {
			t.Errorf("%v: %d processes are shown, and then %q", tt.args, n, r.stdout[max(0, len(r.stdout)-150):])
		}
		if lines := strings.Split(r.stdout, "\n"); !strings.Contains(lines[1], "000003ea") {
			t.Errorf("%v: the one that lags is not the first: %s", tt.args, lines[1])
		}
	}
	runFlagctl(t.Context(), t, url, "clients", "--limit", "-1").want(t, exitUsage, "--limit must be at least 1, or 0 for all")
}

// TestClientsNone: no table without a process, but what there is to say.
func TestClientsNone(t *testing.T) {
	l := &listing{page: 1000, servers: []*plimsollv1.FleetServer{{Id: "aaaaaaaaaaaaaaaa", SilentStreams: 1}}}
	r := runFlagctl(t.Context(), t, l.url(t), "clients")
	r.want(t, exitDone)
	if want := "no live process; newest revision 4711; 1 server; 1 stream that does not report\n"; r.stdout != want {
		t.Errorf("stdout %q, want %q", r.stdout, want)
	}
	l.processes = []*plimsollv1.FleetClient{process("shop", 1, 4711)}
	r = runFlagctl(t.Context(), t, l.url(t), "clients", "--lagging")
	if want := "1 live, none behind; newest revision 4711; 1 server; 1 stream that does not report\n"; r.stdout != want {
		t.Errorf("stdout %q, want %q", r.stdout, want)
	}
}

// TestClientsJSON: programs get everything, whatever the limit.
func TestClientsJSON(t *testing.T) {
	r := runFlagctl(t.Context(), t, smallFleet().url(t), "clients", "-o", "json", "--limit", "1")
	r.want(t, exitDone)
	golden(t, "clients.json", r.stdout)
}

// TestClientsHalf: a page that cannot be had is a failure, and no half of a list
// is printed.
func TestClientsHalf(t *testing.T) {
	l := smallFleet()
	l.err = connect.NewError(connect.CodeUnavailable, errors.New("draining"))
	r := runFlagctl(t.Context(), t, l.url(t), "clients")
	r.want(t, exitFailed, "flagctl: list the processes: draining")
	if r.stdout != "" {
		t.Errorf("stdout %q", r.stdout)
	}
}
