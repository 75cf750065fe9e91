package main

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
	"github.com/plimsoll-dev/plimsoll/store"
)

func (p *process) fleet(opts ...connect.ClientOption) plimsollv1connect.FleetServiceClient {
	return plimsollv1connect.NewFleetServiceClient(http.DefaultClient, p.url, opts...)
}

func (p *process) rollout(t testing.TB, revision int64) *plimsollv1.GetRolloutResponse {
	t.Helper()
	resp, err := p.fleet().GetRollout(short(t), connect.NewRequest(&plimsollv1.GetRolloutRequest{Revision: revision}))
	if err != nil {
		t.Fatal(err)
	}
	return resp.Msg
}

func TestReportsComeOverEveryProtocol(t *testing.T) {
	p := spawn(t, t.TempDir(), "--demo")
	watch, err := p.sync().Watch(short(t), connect.NewRequest(&plimsollv1.WatchRequest{Client: &plimsollv1.ClientInfo{InstanceId: "Connect, HTTP/1.1"}}))
	if err != nil || !watch.Receive() {
		t.Fatal(err)
	}
	defer func() { _ = watch.Close() }()
	at := watch.Msg().GetPosition()
	h2 := h2c(t)
	for _, tc := range []struct {
		name string
		http *http.Client
		opts []connect.ClientOption
	}{
		{"Connect, HTTP/1.1", http.DefaultClient, nil},
		{"Connect with JSON", http.DefaultClient, []connect.ClientOption{connect.WithProtoJSON()}},
		{"Connect with gzip", http.DefaultClient, []connect.ClientOption{connect.WithSendGzip()}},
		{"Connect, h2c", h2, nil},
		{"gRPC", h2, []connect.ClientOption{connect.WithGRPC()}},
		{"gRPC-Web, HTTP/1.1", http.DefaultClient, []connect.ClientOption{connect.WithGRPCWeb()}},
	} {
		client := plimsollv1connect.NewSyncServiceClient(tc.http, p.url, tc.opts...)
		report := func(req *plimsollv1.ReportRequest) error {
			_, err := client.Report(short(t), connect.NewRequest(req))
			return err
		}
		if err := report(&plimsollv1.ReportRequest{
			Client: &plimsollv1.ClientInfo{InstanceId: tc.name, Service: "test"}, Seq: 1, Applied: at, AppliedAge: durationpb.New(time.Second),
			Evaluations: []*plimsollv1.EvaluationCounts{{FlagKey: "checkout", Outcomes: []*plimsollv1.OutcomeCount{{Variant: "on", Reason: "STATIC", Count: 5}}}},
		}); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		for what, bad := range map[string]struct {
			req  *plimsollv1.ReportRequest
			code connect.Code
		}{
			"without a client":              {&plimsollv1.ReportRequest{Seq: 1}, connect.CodeInvalidArgument},
			"without an instance":           {&plimsollv1.ReportRequest{Client: &plimsollv1.ClientInfo{Service: "x"}, Seq: 1}, connect.CodeInvalidArgument},
			"without a number":              {&plimsollv1.ReportRequest{Client: &plimsollv1.ClientInfo{InstanceId: "x"}}, connect.CodeInvalidArgument},
			"of a time before":              {&plimsollv1.ReportRequest{Client: &plimsollv1.ClientInfo{InstanceId: "x"}, Seq: 1, AppliedAge: durationpb.New(-1)}, connect.CodeInvalidArgument},
			"to a namespace that is not":    {&plimsollv1.ReportRequest{Namespace: "nowhere", Client: &plimsollv1.ClientInfo{InstanceId: "x"}, Seq: 1}, connect.CodeNotFound},
			"of an event without a name":    {&plimsollv1.ReportRequest{Client: &plimsollv1.ClientInfo{InstanceId: "x"}, Seq: 1, Tracked: []*plimsollv1.TrackedEvent{{Count: 1}}}, connect.CodeInvalidArgument},
			"of an instance with long name": {&plimsollv1.ReportRequest{Client: &plimsollv1.ClientInfo{InstanceId: strings.Repeat("x", 65)}, Seq: 1}, connect.CodeInvalidArgument},
		} {
			if err := report(bad.req); connect.CodeOf(err) != bad.code {
				t.Errorf("%s: a report %s: %v", tc.name, what, err)
			}
		}
	}
	for _, opts := range [][]connect.ClientOption{nil, {connect.WithHTTPGet()}, {connect.WithProtoJSON()}} {
		resp, err := p.fleet(opts...).ListClients(short(t), connect.NewRequest(&plimsollv1.ListClientsRequest{}))
		if err != nil || resp.Msg.GetLive() != 6 || resp.Msg.GetLagging() != 0 || len(resp.Msg.GetServers()) != 1 {
			t.Errorf("%v, %v", resp, err)
			continue
		}
		for _, c := range resp.Msg.GetClients() {
			if c.GetConnected() != (c.GetClient().GetInstanceId() == "Connect, HTTP/1.1") || c.GetAppliedAge().AsDuration() < time.Second {
				t.Errorf("%v", c)
			}
		}
	}
	usage, err := p.fleet().GetUsage(short(t), connect.NewRequest(&plimsollv1.GetUsageRequest{FlagKeys: []string{"checkout"}}))
	if err != nil || len(usage.Msg.GetFlags()) != 1 || usage.Msg.GetFlags()[0].GetOutcomes()[0].GetCount() != 30 {
		t.Errorf("usage %v, %v", usage, err)
	}
	if _, body := get(t, p.url+"/metrics"); !strings.Contains(body, `plimsoll_clients{namespace="default"} 6`) ||
		!strings.Contains(body, `plimsoll_evaluations_total{namespace="default",reason="STATIC",tier="critical"} 30`) {
		t.Error("the metrics do not tell of it")
	}
}

func TestFleetServicesAreListed(t *testing.T) {
	p := spawn(t, t.TempDir())
	stream := grpcreflect.NewClient(h2c(t), p.url, connect.WithGRPC()).NewStream(short(t))
	defer func() { _, _ = stream.Close() }()
	names, err := stream.ListServices()
	if err != nil || !slices.Contains(names, plimsollv1connect.FleetServiceName) || slices.Contains(names, plimsollv1connect.PeerServiceName) {
		t.Errorf("reflection: %v, %v", names, err)
	}
	for _, name := range []string{plimsollv1connect.FleetServiceName, plimsollv1connect.PeerServiceName} {
		if code, body := do(t, post(t, p.url+"/grpc.health.v1.Health/Check", fmt.Sprintf(`{"service":%q}`, name))); code != 200 || !strings.Contains(body, "SERVING") {
			t.Errorf("health of %s: %d %s", name, code, body)
		}
	}
	if code, body := do(t, post(t, p.url+plimsollv1connect.PeerServiceGetShareProcedure, `{"namespace":"default"}`)); code != 403 || !strings.Contains(body, "not signed") {
		t.Errorf("an unsigned request: %d %s", code, body)
	}
}

func TestWrongAddressesOfServersAreRefused(t *testing.T) {
	for _, address := range []string{"10.0.0.1:8013", "ftp://a", "http://", "http://user@a", "http://a?b=c"} {
		p := launch(t, "--data-dir", filepath.Join(t.TempDir(), "data"), "--advertise", address)
		if err := p.wait(); err == nil || !strings.Contains(p.stderr.String(), "--advertise") {
			t.Errorf("%s: %v, %s", address, err, p.stderr)
		}
	}
}

// freeEtcdURL is a URL on which a member may listen.
func freeEtcdURL(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return "http://" + l.Addr().String()
}

func TestTwoServersAnswerForEachOthersProcesses(t *testing.T) {
	t.Parallel()
	etcd := freeEtcdURL(t)
	a := spawn(t, t.TempDir(), "--demo", "--etcd-listen-client", etcd, "--zone", "north")
	b := spawn(t, t.TempDir(), "--etcd", etcd)
	watch, err := b.sync().Watch(short(t), connect.NewRequest(&plimsollv1.WatchRequest{Client: &plimsollv1.ClientInfo{InstanceId: "app"}}))
	if err != nil || !watch.Receive() {
		t.Fatal(err)
	}
	defer func() { _ = watch.Close() }()
	seq := uint64(0)
	report := func() {
		t.Helper()
		seq++
		if _, err := b.sync().Report(short(t), connect.NewRequest(&plimsollv1.ReportRequest{
			Client: &plimsollv1.ClientInfo{InstanceId: "app", Service: "shop"}, Seq: seq, Applied: watch.Msg().GetPosition(), Source: plimsollv1.FlagSource_FLAG_SOURCE_STREAM,
			Evaluations: []*plimsollv1.EvaluationCounts{{FlagKey: "welcome-banner", Outcomes: []*plimsollv1.OutcomeCount{{Variant: "plain", Reason: "STATIC", Count: 1}}}},
		})); err != nil {
			t.Fatal(err)
		}
	}
	report()
	await(t, "a knows b", func() bool { return len(a.rollout(t, 0).GetServers()) == 2 })
	if roll := a.rollout(t, 0); roll.GetLive() != 1 || roll.GetApplied() != 1 || roll.GetServers()[0].GetZone() != "north" || roll.GetServers()[1].GetAddress() != b.url {
		t.Errorf("before the change %v", roll)
	}
	setDefault(t, a, "welcome-banner", "sale")
	revision := a.rollout(t, 0).GetPosition().GetRevision()
	if roll := a.rollout(t, revision); roll.GetLive() != 1 || roll.GetApplied() != 0 || len(roll.GetLaggards()) != 1 {
		t.Errorf("before the app has it %v", roll)
	}
	for watch.Msg().GetPosition().GetRevision() < revision {
		if !watch.Receive() {
			t.Fatal(watch.Err())
		}
	}
	report()
	if roll := a.rollout(t, revision); roll.GetApplied() != 1 || roll.GetSlowest() == nil || roll.GetUnknown() != 0 {
		t.Errorf("when the app has it %v", roll)
	}
	clients, err := a.fleet().ListClients(short(t), connect.NewRequest(&plimsollv1.ListClientsRequest{}))
	if err != nil || len(clients.Msg.GetClients()) != 1 || clients.Msg.GetClients()[0].GetServerId() != clients.Msg.GetServers()[1].GetId() || !clients.Msg.GetClients()[0].GetConnected() {
		t.Errorf("clients %v, %v", clients, err)
	}
	usage, err := a.fleet().GetUsage(short(t), connect.NewRequest(&plimsollv1.GetUsageRequest{}))
	if err != nil || len(usage.Msg.GetFlags()) != 1 || usage.Msg.GetFlags()[0].GetOutcomes()[0].GetCount() != 2 {
		t.Errorf("usage %v, %v", usage, err)
	}

	b.kill()
	roll := a.rollout(t, revision)
	if len(roll.GetServers()) != 2 || roll.GetServers()[1].GetUnreachable() == "" || roll.GetUnknown() != 1 || roll.GetLive() != 0 {
		t.Errorf("when b was killed %v", roll)
	}
	status, err := a.admin().GetStatus(short(t), connect.NewRequest(&plimsollv1.GetStatusRequest{}))
	if err != nil || !strings.Contains(strings.Join(status.Msg.GetWarnings(), "\n"), "at "+b.url+" cannot be reached") {
		t.Errorf("status %v, %v", status, err)
	}
	// Its app finds another server: nothing is unknown any more, though b is
	// still remembered.
	seq++
	if _, err := a.sync().Report(short(t), connect.NewRequest(&plimsollv1.ReportRequest{
		Client: &plimsollv1.ClientInfo{InstanceId: "app", Service: "shop"}, Seq: seq, Applied: watch.Msg().GetPosition(),
	})); err != nil {
		t.Fatal(err)
	}
	if roll := a.rollout(t, revision); roll.GetUnknown() != 0 || roll.GetApplied() != 1 || len(roll.GetServers()) != 2 {
		t.Errorf("when the app has moved %v", roll)
	}

	// One that ends in order signs off.
	c := respawn(t, t.TempDir(), b.url, "--etcd", etcd)
	await(t, "a knows c in b's place", func() bool {
		servers := a.rollout(t, 0).GetServers()
		return len(servers) == 2 && servers[1].GetUnreachable() == "" && servers[1].GetReportingFor() != nil
	})
	if err := c.stop(); err != nil {
		t.Errorf("c ended with %v\n%s", err, c.stderr)
	}
	if resp, err := etcdClient(t, etcd).Get(short(t), store.Prefix+"servers/", clientv3.WithPrefix()); err != nil || len(resp.Kvs) != 1 {
		t.Errorf("c has not signed off: %v, %v", resp, err)
	}
}

func etcdClient(t testing.TB, url string) *clientv3.Client {
	t.Helper()
	client, err := store.NewExternalClient(store.ExternalOptions{Endpoints: []string{url}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestAServerRemovesItsFormerSelf(t *testing.T) {
	t.Parallel()
	dir, etcd := t.TempDir(), freeEtcdURL(t)
	p := spawn(t, dir, "--etcd-listen-client", etcd)
	// As after a kill, but without a lease that would end some day.
	former, err := proto.Marshal(&plimsollv1.StoredServer{Address: p.url})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcdClient(t, etcd).Put(short(t), store.Prefix+"servers/former", string(former)); err != nil {
		t.Fatal(err)
	}
	await(t, "the server sees the other one", func() bool { return len(p.rollout(t, 0).GetServers()) == 2 })
	p.kill()
	p = respawn(t, dir, p.url)
	await(t, "the server has removed it", func() bool { return len(p.rollout(t, 0).GetServers()) == 1 })
}

// await waits until cond holds; it asks ten times a second.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 60 s until %s", what)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
