package fleet

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/validate"
	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
	"github.com/plimsoll-dev/plimsoll/store"
)

// node is a server, as far as its fleet is concerned.
type node struct {
	*Service
	http     *httptest.Server
	draining chan struct{}
}

// newNode starts a server over a store, which is registered at once.
func newNode(t testing.TB, member *store.Embedded) *node {
	t.Helper()
	s := newStore(t, member)
	r := NewRegistry(s, Metrics{})
	mux := http.NewServeMux()
	n := &node{http: httptest.NewServer(mux), draining: make(chan struct{})}
	peers := NewPeers(r, store.Server{ID: store.NewServerID(), Info: &plimsollv1.StoredServer{Address: n.http.URL + "/", Zone: "north"}})
	n.Service = &Service{Store: s, Registry: r, Peers: peers, Draining: n.draining}
	mux.Handle(peers.Handler(connect.WithInterceptors(validate.NewInterceptor())))
	peers.Join()
	t.Cleanup(func() {
		peers.Close()
		r.Close()
		n.http.Close()
	})
	return n
}

func (n *node) id() string { return n.Peers.Self().ID }

// sees waits until the node knows so many servers.
func (n *node) sees(t testing.TB, servers int) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		changed := n.Store.Changed()
		if len(n.Store.Servers()) == servers {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("after 30 s it knows %v", n.Store.Servers())
		}
	}
}

func (n *node) report(t testing.TB, req *plimsollv1.ReportRequest) {
	t.Helper()
	if _, err := n.Report(t.Context(), connect.NewRequest(req)); err != nil {
		t.Fatal(err)
	}
}

func (n *node) list(t testing.TB, req *plimsollv1.ListClientsRequest) *plimsollv1.ListClientsResponse {
	t.Helper()
	resp, err := n.ListClients(t.Context(), connect.NewRequest(req))
	if err != nil {
		t.Fatal(err)
	}
	return resp.Msg
}

func (n *node) rollout(t testing.TB, req *plimsollv1.GetRolloutRequest) *plimsollv1.GetRolloutResponse {
	t.Helper()
	resp, err := n.GetRollout(t.Context(), connect.NewRequest(req))
	if err != nil {
		t.Fatal(err)
	}
	return resp.Msg
}

func newest(t testing.TB, s *store.Store) *plimsollv1.Position {
	t.Helper()
	snap, err := s.Snapshot("default")
	if err != nil {
		t.Fatal(err)
	}
	return snap.Position()
}

func TestAServerAnswersForAllServers(t *testing.T) {
	member := newMember(t)
	a, b := newNode(t, member), newNode(t, member)
	a.sees(t, 2)
	b.sees(t, 2)
	before := newest(t, a.Store)
	for i := range 5 {
		a.report(t, request(fmt.Sprint("at-a-", i), 1, before))
		b.report(t, request(fmt.Sprint("at-b-", i), 1, before, func(r *plimsollv1.ReportRequest) { r.Client.Service = "cart" }))
	}
	res, _, err := a.Store.CreateFlag(t.Context(), "default", "f", twoVariants, store.Change{})
	if err != nil {
		t.Fatal(err)
	}
	a.report(t, request("at-a-0", 2, res.Position, evaluated("f", "on", "STATIC", 1)))
	b.waitFor(t, res.Position)
	b.report(t, request("at-b-0", 2, res.Position, func(r *plimsollv1.ReportRequest) { r.Client.Service = "cart" }, evaluated("f", "on", "STATIC", 2), tracked("buy", 1, 2)))
	b.report(t, request("at-a-1", 9, res.Position)) // it has moved
	left := b.Registry.Watching("default", nil, nil)
	defer left()

	roll := a.rollout(t, &plimsollv1.GetRolloutRequest{Revision: res.Position.GetRevision(), MaxLaggards: 3})
	if roll.GetLive() != 10 || roll.GetApplied() != 3 || roll.GetUnknown() != 0 || roll.GetSent() != 1 || len(roll.GetLaggards()) != 3 ||
		roll.GetP50() == nil || roll.GetSlowest().AsDuration() < roll.GetP50().AsDuration() || !proto.Equal(roll.GetPosition(), res.Position) {
		t.Errorf("rollout %v", roll)
	}
	if servers := roll.GetServers(); len(servers) != 2 || servers[0].GetId() != a.id() || servers[1].GetId() != b.id() ||
		servers[1].GetUnreachable() != "" || servers[1].GetClients() != 6 || servers[1].GetZone() != "north" || !proto.Equal(servers[1].GetPosition(), res.Position) {
		t.Errorf("servers %v", servers)
	}
	usage, err := a.GetUsage(t.Context(), connect.NewRequest(&plimsollv1.GetUsageRequest{}))
	if err != nil || len(usage.Msg.GetFlags()) != 1 || usage.Msg.GetFlags()[0].GetOutcomes()[0].GetCount() != 3 || usage.Msg.GetTracked()[0].GetSum() != 2 {
		t.Errorf("usage %v, %v", usage, err)
	}
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprint(strings.Repeat("x", 200), i)
	}
	many[7] = "f"
	usage, err = a.GetUsage(t.Context(), connect.NewRequest(&plimsollv1.GetUsageRequest{FlagKeys: many}))
	if err != nil || usage.Msg.GetFlags()[0].GetOutcomes()[0].GetCount() != 3 || usage.Msg.GetServers()[1].GetUnreachable() != "" {
		t.Errorf("usage of many flags %v, %v", usage, err)
	}

	all := a.list(t, &plimsollv1.ListClientsRequest{})
	if all.GetLive() != 10 || all.GetLagging() != 7 || len(all.GetClients()) != 10 || all.GetNextPageToken() != "" {
		t.Errorf("clients %v", all)
	}
	var names, paged []string
	for _, c := range all.GetClients() {
		names = append(names, c.GetClient().GetService()+"/"+c.GetClient().GetInstanceId())
		if moved := c.GetClient().GetInstanceId() == "at-a-1"; moved && (c.GetServerId() != b.id() || c.GetLagging()) {
			t.Errorf("the one that moved: %v", c)
		}
	}
	if !slices.IsSorted(names) || names[0] != "cart/at-b-0" {
		t.Errorf("order %v", names)
	}
	for token := ""; ; {
		page := b.list(t, &plimsollv1.ListClientsRequest{PageSize: 3, PageToken: token})
		for _, c := range page.GetClients() {
			paged = append(paged, c.GetClient().GetService()+"/"+c.GetClient().GetInstanceId())
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if !slices.Equal(paged, names) {
		t.Errorf("page by page %v, at once %v", paged, names)
	}
	if lagging := a.list(t, &plimsollv1.ListClientsRequest{LaggingOnly: true}); len(lagging.GetClients()) != 7 || lagging.GetLive() != 10 {
		t.Errorf("lagging %v", lagging)
	}
}

// waitFor waits until the node's store has reached a position.
func (n *node) waitFor(t testing.TB, p *plimsollv1.Position) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		snap, err := n.Store.Snapshot("default")
		if err != nil {
			t.Fatal(err)
		}
		if snap.Revision() >= p.GetRevision() {
			return
		}
		select {
		case <-snap.Superseded():
		case <-deadline:
			t.Fatalf("after 30 s it is at %v", snap.Position())
		}
	}
}

func TestAPeerThatCannotBeReachedIsNamed(t *testing.T) {
	member := newMember(t)
	a, b := newNode(t, member), newNode(t, member)
	a.sees(t, 2)
	for i := range 3 {
		b.report(t, request(fmt.Sprint("p", i), 1, nil))
	}
	if roll := a.rollout(t, &plimsollv1.GetRolloutRequest{}); roll.GetLive() != 3 || len(a.Peers.Warnings()) != 0 {
		t.Fatalf("while it can be reached: %v, %v", roll, a.Peers.Warnings())
	}
	b.http.Close()
	roll := a.rollout(t, &plimsollv1.GetRolloutRequest{})
	if roll.GetLive() != 0 || roll.GetUnknown() != 3 || roll.GetServers()[1].GetClients() != 3 || roll.GetServers()[1].GetUnreachable() == "" || roll.GetServers()[1].GetPosition() != nil {
		t.Errorf("%v", roll)
	}
	if w := a.Peers.Warnings(); len(w) != 1 || !strings.Contains(w[0], b.id()) || !strings.Contains(w[0], b.http.URL) || !strings.Contains(w[0], "cannot be reached") {
		t.Errorf("warnings %q", w)
	}
	b.Peers.Leave()
	a.sees(t, 1)
	if roll := a.rollout(t, &plimsollv1.GetRolloutRequest{}); len(roll.GetServers()) != 1 || roll.GetUnknown() != 0 || len(a.Peers.Warnings()) != 0 {
		t.Errorf("when it has signed off: %v, %v", roll, a.Peers.Warnings())
	}
}

func TestAPeerWhoseEntryEndsIsRemembered(t *testing.T) {
	member := newMember(t)
	a, b := newNode(t, member), newNode(t, member)
	a.sees(t, 2)
	for _, id := range []string{"moves", "stays"} {
		b.report(t, request(id, 1, newest(t, b.Store)))
	}
	if roll := a.rollout(t, &plimsollv1.GetRolloutRequest{}); roll.GetLive() != 2 {
		t.Fatalf("at first: %v", roll)
	}
	// It is killed, and its lease ends.
	b.http.Close()
	if _, err := member.Client().Delete(t.Context(), store.Prefix+"servers/"+b.id()); err != nil {
		t.Fatal(err)
	}
	a.sees(t, 1)
	roll := a.rollout(t, &plimsollv1.GetRolloutRequest{})
	if roll.GetUnknown() != 2 || len(roll.GetServers()) != 2 || roll.GetServers()[1].GetUnreachable() == "" || roll.GetServers()[1].GetReportingFor() != nil {
		t.Errorf("when its entry has ended: %v", roll)
	}
	a.report(t, request("moves", 2, newest(t, a.Store)))
	if roll := a.rollout(t, &plimsollv1.GetRolloutRequest{}); roll.GetUnknown() != 1 || roll.GetApplied() != 1 {
		t.Errorf("when one has moved: %v", roll)
	}
	a.report(t, request("stays", 2, newest(t, a.Store)))
	if roll := a.rollout(t, &plimsollv1.GetRolloutRequest{}); roll.GetUnknown() != 0 || roll.GetApplied() != 2 {
		t.Errorf("when both have moved: %v", roll)
	}
}

func TestAPeerIsNotToBlameForAnImpatientCaller(t *testing.T) {
	member := newMember(t)
	a := newNode(t, member)
	asked, release := make(chan struct{}, 10), make(chan struct{})
	stuck := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{}; <-release }))
	defer stuck.Close()
	defer close(release)
	other := NewPeers(a.Registry, store.Server{ID: store.NewServerID(), Info: &plimsollv1.StoredServer{Address: stuck.URL}})
	other.Join()
	defer other.Close()
	a.sees(t, 2)
	gone, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }() // ends with the first call
	if _, err := a.ListClients(gone, connect.NewRequest(&plimsollv1.ListClientsRequest{})); connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("who hangs up gets %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := a.ListClients(short, connect.NewRequest(&plimsollv1.ListClientsRequest{})); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("who has no time gets %v", err)
	}
	if w := a.Peers.Warnings(); len(w) != 0 {
		t.Errorf("warnings %q", w)
	}
}

func TestAPeerThatHangsIsGivenUp(t *testing.T) {
	member := newMember(t)
	a := newNode(t, member)
	release := make(chan struct{})
	stuck := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer stuck.Close()
	defer close(release)
	other := NewPeers(a.Registry, store.Server{ID: store.NewServerID(), Info: &plimsollv1.StoredServer{Address: stuck.URL}})
	other.Join()
	defer other.Close()
	a.sees(t, 2)
	if roll := a.rollout(t, &plimsollv1.GetRolloutRequest{}); !strings.Contains(roll.GetServers()[1].GetUnreachable(), "did not answer within 2s") {
		t.Errorf("%v", roll.GetServers()[1])
	}
}

func TestAnotherServerAtAPeersAddressIsNoAnswer(t *testing.T) {
	member := newMember(t)
	a, b := newNode(t, member), newNode(t, member)
	ghost := NewPeers(a.Registry, store.Server{ID: store.NewServerID(), Info: &plimsollv1.StoredServer{Address: b.http.URL}})
	ghost.Join()
	defer ghost.Close()
	a.sees(t, 3)
	unreachable := 0
	for _, s := range a.rollout(t, &plimsollv1.GetRolloutRequest{}).GetServers() {
		if s.GetId() == ghost.Self().ID && strings.Contains(s.GetUnreachable(), "does not match") {
			unreachable++
		}
	}
	if unreachable != 1 {
		t.Errorf("%v", a.rollout(t, &plimsollv1.GetRolloutRequest{}).GetServers())
	}
}

func TestServersAgreeOnANewKey(t *testing.T) {
	member := newMember(t)
	a, b := newNode(t, member), newNode(t, member)
	a.sees(t, 2)
	asks := func() string { return a.rollout(t, &plimsollv1.GetRolloutRequest{}).GetServers()[1].GetUnreachable() }
	if why := asks(); why != "" {
		t.Fatal(why)
	}
	if _, err := member.Client().Delete(t.Context(), store.Prefix+"secrets/peers"); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{a, b} { // as if a second had passed
		n.Peers.key.turn <- struct{}{}
		n.Peers.key.readAt = time.Time{}
		<-n.Peers.key.turn
	}
	// b alone has read the new one; a learns of it when it is refused.
	old, err := b.Peers.key.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if fresh := b.Peers.key.renewed(t.Context(), old); slices.Equal(fresh, old) {
		t.Fatal("the key is still the old one")
	}
	if why := asks(); why != "" {
		t.Error(why)
	}
}

func TestCallersWithoutASignatureAreDenied(t *testing.T) {
	n := newNode(t, newMember(t))
	for _, opts := range [][]connect.ClientOption{nil, {connect.WithProtoJSON()}, {connect.WithGRPCWeb()}} {
		_, err := plimsollv1connect.NewPeerServiceClient(http.DefaultClient, n.http.URL, opts...).
			GetShare(t.Context(), connect.NewRequest(&plimsollv1.GetShareRequest{Namespace: "default"}))
		if connect.CodeOf(err) != connect.CodePermissionDenied || !strings.Contains(err.Error(), "not signed") {
			t.Errorf("%v", err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestARevisionThatDoesNotComeIsUnavailable(t *testing.T) {
	n := newNode(t, newMember(t))
	_, err := n.GetRollout(t.Context(), connect.NewRequest(&plimsollv1.GetRolloutRequest{Revision: newest(t, n.Store).GetRevision() + 1000}))
	if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "try again") {
		t.Errorf("%v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.GetRollout(gone, connect.NewRequest(&plimsollv1.GetRolloutRequest{Revision: 1 << 40})); connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("for a caller that is gone: %v", err)
	}
}

func TestBadReportsAreRefused(t *testing.T) {
	n := newNode(t, newMember(t))
	refused := func(req *plimsollv1.ReportRequest, code connect.Code) {
		t.Helper()
		if _, err := n.Report(t.Context(), connect.NewRequest(req)); connect.CodeOf(err) != code {
			t.Errorf("%v: %v", req, err)
		}
	}
	refused(request("", 1, nil), connect.CodeInvalidArgument)
	refused(&plimsollv1.ReportRequest{Namespace: "nowhere", Client: &plimsollv1.ClientInfo{InstanceId: "p"}, Seq: 1}, connect.CodeNotFound)
	close(n.draining)
	refused(request("p", 1, nil), connect.CodeUnavailable)
}
