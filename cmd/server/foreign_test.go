package main

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	evaluationv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v1"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v1/evaluationv1connect"
	evaluationv2 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v2"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v2/evaluationv2connect"
	syncv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/sync/v1"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/sync/v1/syncv1connect"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// What the server evaluates for clients of flagd and of OFREP counts as the
// fleet's usage, whichever way they ask.
func TestEvaluationsOfForeignClientsAreUsage(t *testing.T) {
	t.Parallel()
	p := spawn(t, t.TempDir())
	flags := map[string]string{"Boolean": `true`, "String": `"x"`, "Float": `0.5`, "Int": `5`, "Object": `{"a":1}`}
	for kind, value := range flags {
		create(t, p, "", kind, fmt.Sprintf(`{"state":"ENABLED","variants":{"v":%s},"defaultVariant":"v"}`, value))
	}
	create(t, p, "", "off", `{"state":"DISABLED","variants":{"v":true},"defaultVariant":"v"}`)
	if _, err := p.admin().CreateNamespace(short(t), connect.NewRequest(&plimsollv1.CreateNamespaceRequest{Name: "timed"})); err != nil {
		t.Fatal(err)
	}
	create(t, p, "timed", "new-year", `{"state":"ENABLED","variants":{"v":true,"w":false},"defaultVariant":"w","targeting":{"if":[{">":[{"var":"$flagd.timestamp"},5]},"v"]}}`)
	ask := func(path, body string, header ...string) {
		t.Helper()
		if code, answer := do(t, post(t, p.url+path, body), header...); code != 200 && code != 304 {
			t.Fatalf("%s: %d %s", path, code, answer)
		}
	}
	for kind := range flags {
		for _, service := range []string{evaluationv1connect.ServiceName, evaluationv2connect.ServiceName} {
			ask("/"+service+"/Resolve"+kind, `{"flagKey":"`+kind+`"}`)
		}
		ask(ofrepFlags+"/"+kind, `{}`)
	}
	ask(evaluationv1connect.ServiceResolveAllProcedure, `{}`)
	ask(ofrepFlags, `{}`)
	ask(ofrepFlags, `{}`, "If-None-Match", "*") // is not evaluated
	ask(ofrepFlags, `{}`, "Plimsoll-Namespace", "timed")
	if code, _ := do(t, post(t, p.url+ofrepFlags+"/nope", `{}`)); code != 404 {
		t.Errorf("an unknown flag: %d", code)
	}

	want := map[string]uint64{"off - DISABLED": 2}
	for kind := range flags {
		want[kind+" v STATIC"] = 5
	}
	for ns, want := range map[string]map[string]uint64{"default": want, "timed": {"new-year v TARGETING_MATCH": 1}} {
		var got map[string]uint64
		var unknown uint64
		// The server counts together what it has evaluated every few seconds.
		for deadline := time.Now().Add(time.Minute); !maps.Equal(got, want); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("usage of %s is %v, want %v", ns, got, want)
			}
			usage, err := p.fleet().GetUsage(short(t), connect.NewRequest(&plimsollv1.GetUsageRequest{Namespace: ns}))
			if err != nil {
				t.Fatal(err)
			}
			got, unknown = make(map[string]uint64), usage.Msg.GetUnknownFlags()
			for _, f := range usage.Msg.GetFlags() {
				if f.GetLastEvaluatedAge() == nil {
					t.Errorf("it is not known when %s was last evaluated", f.GetFlagKey())
				}
				for _, o := range f.GetOutcomes() {
					variant := o.GetVariant()
					if variant == "" {
						variant = "-"
					}
					got[strings.Join([]string{f.GetFlagKey(), variant, o.GetReason()}, " ")] = o.GetCount()
				}
			}
		}
		if wanted := map[string]uint64{"default": 1, "timed": 0}[ns]; unknown != wanted {
			t.Errorf("%d evaluations of unknown flags of %s, want %d", unknown, ns, wanted)
		}
	}
}

// foreign is what the server tells of clients that do not report.
func (p *process) foreign(t *testing.T) map[plimsollv1.ForeignProtocol]*plimsollv1.ForeignClients {
	t.Helper()
	resp, err := p.fleet().ListClients(short(t), connect.NewRequest(&plimsollv1.ListClientsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[plimsollv1.ForeignProtocol]*plimsollv1.ForeignClients)
	for _, c := range resp.Msg.GetServers()[0].GetForeign() {
		out[c.GetProtocol()] = c
	}
	return out
}

// Streams of other protocols are told of with what they were sent, and those who
// ask without one with when they did.
func TestForeignClientsAreTold(t *testing.T) {
	t.Parallel()
	p := spawn(t, t.TempDir())
	create(t, p, "", "f", sheddable)
	if got := p.foreign(t); len(got) != 0 {
		t.Errorf("at first: %v", got)
	}
	conn := grpcTo(t, p.url)
	sync := serverStream(t, conn, syncv1connect.FlagSyncServiceSyncFlagsProcedure, &syncv1.SyncFlagsRequest{})
	receive[syncv1.SyncFlagsResponse](t, sync)
	serverStream(t, conn, evaluationv1connect.ServiceEventStreamProcedure, &evaluationv1.EventStreamRequest{})
	serverStream(t, conn, evaluationv2connect.ServiceEventStreamProcedure, &evaluationv2.EventStreamRequest{})
	next(t, changes(t, p.url, ""))

	until := func(what string, streams map[plimsollv1.ForeignProtocol]uint32, asked ...plimsollv1.ForeignProtocol) {
		t.Helper()
		var got map[plimsollv1.ForeignProtocol]*plimsollv1.ForeignClients
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			got = p.foreign(t)
			good := true
			for protocol, n := range streams {
				good = good && got[protocol].GetStreams() == n && got[protocol].GetSent() == n
			}
			for _, protocol := range asked {
				good = good && got[protocol].GetLastAskedAge() != nil
			}
			if good {
				return
			}
		}
		t.Fatalf("%s: %v", what, got)
	}
	const (
		flagdSync       = plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_FLAGD_SYNC
		flagdEvaluation = plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_FLAGD_EVALUATION
		ofrep           = plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_OFREP
	)
	open := map[plimsollv1.ForeignProtocol]uint32{flagdSync: 1, flagdEvaluation: 2, ofrep: 1}
	until("with streams of each protocol", open)
	if got := p.foreign(t); got[ofrep].GetLastAskedAge() != nil {
		t.Errorf("a stream counts as a question: %v", got)
	}
	if _, err := p.degradation().Kill(short(t), connect.NewRequest(&plimsollv1.KillRequest{FlagKeys: []string{"f"}})); err != nil {
		t.Fatal(err)
	}
	until("after a kill", open)
	// A change that is none to a flagd client is not written to it, and counts.
	if _, err := p.degradation().SetLevel(short(t), connect.NewRequest(&plimsollv1.SetLevelRequest{})); err != nil {
		t.Fatal(err)
	}
	until("after a change without effect", open)
	if sent := p.rollout(t, 0).GetSent(); sent != 4 {
		t.Errorf("the newest revision was sent to %d streams", sent)
	}
	for _, path := range []string{ofrepFlags, syncv1connect.FlagSyncServiceFetchAllFlagsProcedure, evaluationv1connect.ServiceResolveAllProcedure} {
		if code, body := do(t, post(t, p.url+path, `{}`)); code != 200 {
			t.Fatalf("%s: %d %s", path, code, body)
		}
	}
	until("after questions", open, flagdSync, flagdEvaluation, ofrep)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	until("after streams have ended", map[plimsollv1.ForeignProtocol]uint32{flagdSync: 0, flagdEvaluation: 0, ofrep: 1}, flagdSync)
}
