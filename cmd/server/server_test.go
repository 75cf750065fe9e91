package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

func get(t testing.TB, url string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(short(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, req, header...)
}

func do(t testing.TB, req *http.Request, header ...string) (int, string) {
	t.Helper()
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func create(t testing.TB, p *process, ns, key, definition string) *plimsollv1.Flag {
	t.Helper()
	resp, err := p.flags().CreateFlag(short(t), connect.NewRequest(&plimsollv1.CreateFlagRequest{Namespace: ns, Key: key, Definition: definition}))
	if err != nil {
		t.Fatal(err)
	}
	return resp.Msg.GetFlag()
}

const onOff = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`

func TestOperationsRoutes(t *testing.T) {
	p := spawn(t, t.TempDir(), "--demo")
	for path, want := range map[string]string{
		"/livez": "ok", "/readyz": "ok", "/": "Plimsoll", "/metrics": `plimsoll_namespace_flags{namespace="default"} 10`,
	} {
		if code, body := get(t, p.url+path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("GET %s: %d %.200s\nwant %q", path, code, body, want)
		}
	}
	if code, _ := get(t, p.url+"/debug/pprof/"); code == 200 {
		t.Error("profiles are served on the main listener")
	}
	if code, _ := get(t, p.url+"/nowhere"); code != 404 {
		t.Errorf("GET /nowhere: %d", code)
	}
}

func TestEveryProtocolOnOnePort(t *testing.T) {
	p := spawn(t, t.TempDir(), "--demo")
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
		t.Run(tc.name, func(t *testing.T) {
			flags := plimsollv1connect.NewFlagServiceClient(tc.http, p.url, tc.opts...)
			resp, err := flags.GetFlag(short(t), connect.NewRequest(&plimsollv1.GetFlagRequest{Key: "checkout"}))
			if err != nil || !strings.Contains(resp.Msg.GetFlag().GetDefinition(), "Taking orders") {
				t.Errorf("GetFlag: %v, %v", resp, err)
			}
			watch, err := plimsollv1connect.NewSyncServiceClient(tc.http, p.url, tc.opts...).Watch(short(t), connect.NewRequest(&plimsollv1.WatchRequest{}))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = watch.Close() }()
			if !watch.Receive() {
				t.Fatal(watch.Err())
			}
			if chunk := watch.Msg().GetSnapshot(); !chunk.GetLast() || len(chunk.GetObjects().GetFlags()) != 10 {
				t.Errorf("the stream begins with %v", watch.Msg())
			}
			watch, err = plimsollv1connect.NewSyncServiceClient(tc.http, p.url, tc.opts...).Watch(short(t), connect.NewRequest(&plimsollv1.WatchRequest{Namespace: "nowhere"}))
			if err == nil {
				for watch.Receive() {
				}
				err = watch.Err()
			}
			if connect.CodeOf(err) != connect.CodeNotFound {
				t.Errorf("watching a namespace that does not exist: %v", err)
			}
		})
	}
}

func TestHealthAndReflection(t *testing.T) {
	p := spawn(t, t.TempDir())
	code, body := do(t, post(t, p.url+"/grpc.health.v1.Health/Check", `{"service":"plimsoll.v1.SyncService"}`))
	if code != 200 || !strings.Contains(body, "SERVING") {
		t.Errorf("health: %d %s", code, body)
	}
	if code, _ := do(t, post(t, p.url+"/grpc.health.v1.Health/Check", `{"service":"nothing"}`)); code != 404 {
		t.Errorf("health of an unknown service: %d", code)
	}
	stream := grpcreflect.NewClient(h2c(t), p.url, connect.WithGRPC()).NewStream(short(t))
	defer func() { _, _ = stream.Close() }()
	names, err := stream.ListServices()
	if err != nil || !strings.Contains(fmt.Sprint(names), "plimsoll.v1.FlagService") {
		t.Errorf("reflection: %v, %v", names, err)
	}
}

func post(t testing.TB, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(short(t), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return req
}

func TestHostAndOriginRules(t *testing.T) {
	p := spawn(t, t.TempDir(), "--host", "flags.shop.example")
	call := func(header ...string) int {
		code, _ := do(t, post(t, p.url+plimsollv1connect.AdminServiceListNamespacesProcedure, `{}`), header...)
		return code
	}
	own := strings.TrimPrefix(p.url, "http://")
	for _, tc := range []struct {
		name   string
		header []string
		want   int
	}{
		{"its address", nil, 200},
		{"localhost", []string{"Host", "localhost:8013"}, 200},
		{"a configured name", []string{"Host", "FLAGS.shop.example"}, 200},
		{"a name that was rebound to this machine", []string{"Host", "evil.example:8013"}, 421},
		{"a page of its own", []string{"Origin", p.url}, 200},
		{"a page of another site", []string{"Origin", "https://evil.example"}, 403},
		{"a sandboxed page", []string{"Origin", "null"}, 403},
		{"a page of another port", []string{"Origin", "http://" + own + "0"}, 403},
	} {
		if got := call(tc.header...); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
	if code, _ := get(t, p.url+"/livez", "Host", "10.1.2.3:8013"); code != 200 {
		t.Errorf("a health check by address: %d", code)
	}
}

func TestNamespaceOfARequest(t *testing.T) {
	p := spawn(t, t.TempDir())
	if _, err := p.admin().CreateNamespace(short(t), connect.NewRequest(&plimsollv1.CreateNamespaceRequest{Name: "shop"})); err != nil {
		t.Fatal(err)
	}
	create(t, p, "shop", "in-shop", onOff)
	for _, tc := range []struct {
		name, field, header, selector string
		code                          connect.Code
	}{
		{name: "field", field: "shop"},
		{name: "header", header: "shop"},
		{name: "both agree", field: "shop", header: "shop"},
		{name: "selector wins over the field", field: "default", selector: "shop"},
		{name: "field and header disagree", field: "shop", header: "default", code: connect.CodePermissionDenied},
		{name: "default has no such flag", code: connect.CodeNotFound},
		{name: "no such namespace", field: "shopp", code: connect.CodeNotFound},
		{name: "not a name", field: "Shop!", code: connect.CodeInvalidArgument},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := connect.NewRequest(&plimsollv1.GetFlagRequest{Namespace: tc.field, Key: "in-shop"})
			if tc.header != "" {
				req.Header().Set("Plimsoll-Namespace", tc.header)
			}
			if tc.selector != "" {
				req.Header().Set("Flagd-Selector", tc.selector)
			}
			_, err := p.flags().GetFlag(short(t), req)
			if tc.code == 0 && err != nil || tc.code != 0 && connect.CodeOf(err) != tc.code {
				t.Errorf("%v", err)
			}
			if tc.code == connect.CodePermissionDenied && !(strings.Contains(err.Error(), `"shop"`) && strings.Contains(err.Error(), `"default"`)) {
				t.Errorf("%v does not name both", err)
			}
		})
	}
}

func details[M any](t testing.TB, err error) *M {
	t.Helper()
	var rpc *connect.Error
	if !errors.As(err, &rpc) {
		t.Fatalf("%v is not an RPC error", err)
	}
	for _, d := range rpc.Details() {
		if v, err := d.Value(); err == nil {
			if m, ok := any(v).(*M); ok {
				return m
			}
		}
	}
	t.Fatalf("%v has no such detail", err)
	return nil
}

func TestBadInputGetsOneClearError(t *testing.T) {
	p := spawn(t, t.TempDir())
	flags := p.flags()
	made := create(t, p, "", "taken", onOff)
	on := &plimsollv1.UpdateFlagRequest_DefaultVariant{DefaultVariant: "on"}
	if _, err := flags.UpdateFlag(short(t), connect.NewRequest(&plimsollv1.UpdateFlagRequest{Key: "taken", Update: on})); err != nil {
		t.Fatal(err)
	}
	createWith := func(definition string) error {
		_, err := flags.CreateFlag(short(t), connect.NewRequest(&plimsollv1.CreateFlagRequest{Key: "new", Definition: definition}))
		return err
	}
	update := func(m *plimsollv1.UpdateFlagRequest) error {
		_, err := flags.UpdateFlag(short(t), connect.NewRequest(m))
		return err
	}
	for _, tc := range []struct {
		name string
		err  error
		code connect.Code
		want string
	}{
		{"no key", update(&plimsollv1.UpdateFlagRequest{Update: on}), connect.CodeInvalidArgument, "key"},
		{"nothing to change", update(&plimsollv1.UpdateFlagRequest{Key: "taken"}), connect.CodeInvalidArgument, "update"},
		{"unknown field", createWith(`{"state":"ENABLED","varaints":{"on":true},"variants":{"on":true},"defaultVariant":"on"}`), connect.CodeInvalidArgument, "variants"},
		{"wrong type", createWith(`{"state":1,"variants":{"on":true},"defaultVariant":"on"}`), connect.CodeInvalidArgument, "$.state"},
		{"duplicate key", createWith(`{"state":"ENABLED","state":"DISABLED","variants":{"on":true},"defaultVariant":"on"}`), connect.CodeInvalidArgument, "state"},
		{"10 MiB", createWith(`{"state":"ENABLED","variants":{"a":"` + strings.Repeat("x", 10<<20) + `"},"defaultVariant":"a"}`), connect.CodeInvalidArgument, "65536"},
		{"20 MiB", createWith(strings.Repeat("x", 20<<20)), connect.CodeResourceExhausted, ""},
		{"not JSON", createWith(`{"state":`), connect.CodeInvalidArgument, ""},
		{"stale revision", update(&plimsollv1.UpdateFlagRequest{Key: "taken", Update: on, BaseRevision: made.GetRevision()}), connect.CodeFailedPrecondition, "anonymous"},
		{"unknown variant", update(&plimsollv1.UpdateFlagRequest{Key: "taken", Update: &plimsollv1.UpdateFlagRequest_DefaultVariant{DefaultVariant: "onn"}}), connect.CodeInvalidArgument, `"on"`},
		{"unknown flag", update(&plimsollv1.UpdateFlagRequest{Key: "takne", Update: on}), connect.CodeNotFound, `"taken"`},
	} {
		if connect.CodeOf(tc.err) != tc.code || !strings.Contains(fmt.Sprint(tc.err), tc.want) {
			t.Errorf("%s: %.300v\nwant %v with %q", tc.name, tc.err, tc.code, tc.want)
		}
	}
	faults := details[plimsollv1.FaultList](t, createWith("{\n  \"state\": \"ON\",\n  \"variants\": {\"on\": true, \"off\": 1},\n  \"defaultVariant\": \"of\"\n}"))
	if len(faults.GetFaults()) < 3 || faults.GetFaults()[0].GetLine() != 2 {
		t.Errorf("faults %v, want all three with their lines", faults)
	}
	if status, err := p.admin().GetStatus(short(t), connect.NewRequest(&plimsollv1.GetStatusRequest{})); err != nil || status.Msg.GetNamespace().GetFlagCount() != 1 {
		t.Errorf("status after all that: %v, %v", status, err)
	}
}

func TestTheAuditLogNamesTheCaller(t *testing.T) {
	p := spawn(t, t.TempDir())
	req := connect.NewRequest(&plimsollv1.CreateFlagRequest{Key: "f", Definition: onOff, Change: &plimsollv1.ChangeInfo{ChangeId: "c-1", Reason: "trying"}})
	req.Header().Set("Plimsoll-Actor", "alice@laptop")
	req.Header().Set("Plimsoll-Origin", "flagctl")
	if _, err := p.flags().CreateFlag(short(t), req); err != nil {
		t.Fatal(err)
	}
	resp, err := p.audit().ListRecords(short(t), connect.NewRequest(&plimsollv1.ListRecordsRequest{Object: "flags/f"}))
	if err != nil || len(resp.Msg.GetRecords()) != 1 {
		t.Fatalf("%v, %v", resp, err)
	}
	rec := resp.Msg.GetRecords()[0]
	if a := rec.GetActor(); a.GetName() != "alice@laptop" || a.GetOrigin() != "flagctl" || a.GetVerified() {
		t.Errorf("actor %v", a)
	}
	if rec.GetReason() != "trying" || rec.GetChangeId() != "c-1" || rec.GetObjects()[0].GetAfterJson() != onOff {
		t.Errorf("record %v", rec)
	}
}

func TestAnOrderlyShutdownSendsStreamsElsewhere(t *testing.T) {
	p := spawn(t, t.TempDir())
	type ended struct {
		name string
		err  error
	}
	ends := make(chan ended, 4)
	h2 := h2c(t)
	for name, client := range map[string]plimsollv1connect.SyncServiceClient{
		"Connect": p.sync(), "gRPC": plimsollv1connect.NewSyncServiceClient(h2, p.url, connect.WithGRPC()),
	} {
		watch, err := client.Watch(short(t), connect.NewRequest(&plimsollv1.WatchRequest{}))
		if err != nil || !watch.Receive() {
			t.Fatal(name, err)
		}
		go func() {
			for watch.Receive() {
			}
			ends <- ended{name, watch.Err()}
		}()
	}
	tail, err := p.audit().TailRecords(short(t), connect.NewRequest(&plimsollv1.TailRecordsRequest{}))
	if err != nil || !tail.Receive() {
		t.Fatal(err)
	}
	go func() {
		for tail.Receive() {
		}
		ends <- ended{"TailRecords", tail.Err()}
	}()
	if err := p.stop(); err != nil {
		t.Errorf("the server ended with %v\n%s", err, p.stderr)
	}
	for range 3 {
		end := <-ends
		var rpc *connect.Error
		if !errors.As(end.err, &rpc) || rpc.Code() != connect.CodeUnavailable || rpc.Meta().Get("Plimsoll-Reconnect") != "elsewhere" {
			t.Errorf("%s ended with %v, %v", end.name, end.err, rpc.Meta())
		}
	}
}

func TestWrongConfigurationIsRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "server.yaml")
	if err := os.WriteFile(file, []byte("lisen: 127.0.0.1:0\nlog-format: xml\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	used := spawn(t, t.TempDir())
	for _, tc := range []struct {
		name string
		args []string
		want []string
	}{
		{"not loopback", []string{"--listen", "0.0.0.0:0"}, []string{"--insecure"}},
		{"all that is wrong at once", []string{"--config", file, "--max-streams", "0"}, []string{`"lisen"`, `"xml"`, "--max-streams 0"}},
		{"a listener for a member that is not there", []string{"--etcd", "http://127.0.0.1:1", "--etcd-listen-client", "http://127.0.0.1:2"}, []string{"embedded"}},
		{"not a URL", []string{"--etcd", "127.0.0.1:2379"}, []string{"https://10.0.0.1:2379"}},
		{"a port in use", []string{"--listen", strings.TrimPrefix(used.url, "http://")}, []string{"in use", "--listen"}},
		{"another port in use", []string{"--listen", "127.0.0.1:0", "--flagd-sync-listen", strings.TrimPrefix(used.url, "http://")}, []string{"in use", "--flagd-sync-listen"}},
		{"another listener that is not loopback", []string{"--ofrep-listen", "0.0.0.0:0"}, []string{"--ofrep-listen", "--insecure"}},
		{"no header", []string{"--context-from-header", "X Region=region"}, []string{"X-Region=region"}},
		{"a directory in use", []string{"--listen", "127.0.0.1:0", "--data-dir", used.cmd.Args[2]}, []string{"another server"}},
		{"an argument", []string{"run"}, []string{"run"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := launch(t, append([]string{"--data-dir", filepath.Join(dir, "data")}, tc.args...)...)
			if err := p.wait(); err == nil {
				t.Fatal("it started")
			}
			for _, want := range tc.want {
				if !strings.Contains(p.stderr.String(), want) {
					t.Errorf("it said %s\nwant %q in it", p.stderr, want)
				}
			}
		})
	}
}

func TestEveryFlagHasAnEnvironmentVariable(t *testing.T) {
	t.Setenv("PLIMSOLL_DEMO", "true")
	p := spawn(t, t.TempDir())
	resp, err := p.flags().ListFlags(short(t), connect.NewRequest(&plimsollv1.ListFlagsRequest{KeysOnly: true}))
	if err != nil || len(resp.Msg.GetFlags()) != 10 {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestDemoFlagsGoOnlyIntoAnEmptyNamespace(t *testing.T) {
	dir := t.TempDir()
	p := spawn(t, dir)
	create(t, p, "", "mine", onOff)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	p = spawn(t, dir, "--demo")
	resp, err := p.flags().ListFlags(short(t), connect.NewRequest(&plimsollv1.ListFlagsRequest{}))
	if err != nil || len(resp.Msg.GetFlags()) != 1 {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestListingIsPagedAndFiltered(t *testing.T) {
	p := spawn(t, t.TempDir(), "--demo")
	var keys []string
	for token := ""; ; {
		resp, err := p.flags().ListFlags(short(t), connect.NewRequest(&plimsollv1.ListFlagsRequest{PageSize: 3, PageToken: token}))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range resp.Msg.GetFlags() {
			keys = append(keys, f.GetKey())
		}
		if token = resp.Msg.GetNextPageToken(); token == "" {
			break
		}
	}
	if len(keys) != 10 || keys[0] != "checkout" || keys[9] != "welcome-banner" {
		t.Errorf("keys %v", keys)
	}
	for _, tc := range []struct {
		req  *plimsollv1.ListFlagsRequest
		want string
	}{
		{&plimsollv1.ListFlagsRequest{Tier: "optional"}, "[image-quality recommendation-count recommendations]"},
		{&plimsollv1.ListFlagsRequest{KeyPrefix: "re", Labels: map[string]string{"kind": "operational"}}, "[recommendations reviews]"},
	} {
		resp, err := p.flags().ListFlags(short(t), connect.NewRequest(tc.req))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range resp.Msg.GetFlags() {
			got = append(got, f.GetKey())
		}
		if fmt.Sprint(got) != tc.want {
			t.Errorf("%v: %v, want %s", tc.req, got, tc.want)
		}
	}
}

func TestAStreamEndsWithItsDeadline(t *testing.T) {
	p := spawn(t, t.TempDir())
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	watch, err := p.sync().Watch(ctx, connect.NewRequest(&plimsollv1.WatchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	for watch.Receive() {
	}
	if connect.CodeOf(watch.Err()) != connect.CodeDeadlineExceeded {
		t.Errorf("ended with %v", watch.Err())
	}
}
