package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	evaluationv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v1"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v1/evaluationv1connect"
	evaluationv2 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v2"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v2/evaluationv2connect"
	syncv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/sync/v1"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/sync/v1/syncv1connect"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// grpcTo is a connection of the gRPC library that most of flagd's clients use,
// or one like it.
func grpcTo(t testing.TB, url string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(url, "http://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, PermitWithoutStream: true}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// serverStream opens a stream and sends its one request.
func serverStream(t testing.TB, conn *grpc.ClientConn, procedure string, req proto.Message) grpc.ClientStream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	time.AfterFunc(time.Minute, cancel)
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, procedure, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(req); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	return stream
}

func receive[M any, P interface {
	*M
	proto.Message
}](t testing.TB, stream grpc.ClientStream) P {
	t.Helper()
	m := P(new(M))
	if err := stream.RecvMsg(m); err != nil {
		t.Fatal(err)
	}
	return m
}

const sheddable = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","degradation":{"tier":"optional"}}`

// A gRPC client evaluates, sees a change and a kill without asking, and finds
// the server again after its restart.
func TestAGRPCClientOfFlagd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := spawn(t, dir)
	create(t, p, "", "f", sheddable)
	conn := grpcTo(t, p.url)
	resolve := func() *evaluationv2.ResolveBooleanResponse {
		t.Helper()
		out := new(evaluationv2.ResolveBooleanResponse)
		err := conn.Invoke(short(t), evaluationv2connect.ServiceResolveBooleanProcedure, &evaluationv2.ResolveBooleanRequest{FlagKey: "f"}, out, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := resolve(); !got.GetValue() || got.GetReason() != "STATIC" {
		t.Errorf("%v", got)
	}
	sync := serverStream(t, conn, syncv1connect.FlagSyncServiceSyncFlagsProcedure, &syncv1.SyncFlagsRequest{})
	events := serverStream(t, conn, evaluationv1connect.ServiceEventStreamProcedure, &evaluationv1.EventStreamRequest{})
	if m := receive[syncv1.SyncFlagsResponse](t, sync); !strings.Contains(m.GetFlagConfiguration(), `"f":{`) {
		t.Errorf("%v", m)
	}
	if m := receive[evaluationv1.EventStreamResponse](t, events); m.GetType() != "provider_ready" {
		t.Errorf("%v", m)
	}
	if _, err := p.degradation().Kill(short(t), connect.NewRequest(&plimsollv1.KillRequest{FlagKeys: []string{"f"}})); err != nil {
		t.Fatal(err)
	}
	if m := receive[syncv1.SyncFlagsResponse](t, sync); !strings.Contains(m.GetFlagConfiguration(), `"defaultVariant":"off"`) {
		t.Errorf("after a kill: %v", m)
	}
	if m := receive[evaluationv1.EventStreamResponse](t, events); m.GetData().GetFields()["flags"].GetStructValue().GetFields()["f"] == nil {
		t.Errorf("after a kill: %v", m)
	}
	if got := resolve(); got.GetValue() || got.GetReason() != "OVERRIDE" {
		t.Errorf("after a kill: %v", got)
	}

	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []grpc.ClientStream{sync, events} {
		if err := s.RecvMsg(new(syncv1.SyncFlagsResponse)); status.Code(err) != codes.Unavailable {
			t.Errorf("a stream ended with %v when the server was stopped", err)
		}
	}
	again := launch(t, "--data-dir", dir, "--listen", strings.TrimPrefix(p.url, "http://"))
	again.awaitReady(t)
	sync = serverStream(t, conn, syncv1connect.FlagSyncServiceSyncFlagsProcedure, &syncv1.SyncFlagsRequest{})
	if m := receive[syncv1.SyncFlagsResponse](t, sync); !strings.Contains(m.GetFlagConfiguration(), `"defaultVariant":"off"`) {
		t.Errorf("after a restart: %v", m)
	}
	if got := resolve(); got.GetReason() != "OVERRIDE" {
		t.Errorf("after a restart: %v", got)
	}
	err := conn.Invoke(short(t), evaluationv2connect.ServiceResolveStringProcedure, &evaluationv2.ResolveStringRequest{FlagKey: "f"}, new(evaluationv2.ResolveStringResponse))
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "TYPE_MISMATCH") {
		t.Errorf("another type: %v", err)
	}
	if conn.GetState() != connectivity.Ready {
		t.Errorf("an error ended the connection: %v", conn.GetState())
	}
}

// Providers that use their protocols' own ports find the same server there, and
// the settings that flagd's users know do what they do there.
func TestListenersAndContextOfFlagd(t *testing.T) {
	t.Parallel()
	syncAddr, ofrepAddr := freeAddress(t), freeAddress(t)
	p := spawn(t, t.TempDir(), "--flagd-sync-listen", syncAddr, "--ofrep-listen", ofrepAddr,
		"--context-value", "region=eu", "--context-value", "stage=prod", "--context-from-header", "X-User=targetingKey")
	create(t, p, "", "f", `{"state":"ENABLED","variants":{"eu/prod/u7":"yes","none":"no"},"defaultVariant":"none",
		"targeting":{"cat":[{"var":"region"},"/",{"var":"stage"},"/",{"var":"targetingKey"}]}}`)
	for _, url := range []string{p.url, "http://" + syncAddr, "http://" + ofrepAddr} {
		conn := grpcTo(t, url)
		m := receive[syncv1.SyncFlagsResponse](t, serverStream(t, conn, syncv1connect.FlagSyncServiceSyncFlagsProcedure, &syncv1.SyncFlagsRequest{}))
		if fmt.Sprint(m.GetSyncContext().AsMap()) != "map[region:eu stage:prod]" {
			t.Errorf("%s: sync context %v", url, m.GetSyncContext())
		}
		values, _ := structpb.NewStruct(map[string]any{"region": "us"})
		out := new(evaluationv2.ResolveStringResponse)
		ctx := metadata.AppendToOutgoingContext(short(t), "x-user", "u7")
		if err := conn.Invoke(ctx, evaluationv2connect.ServiceResolveStringProcedure, &evaluationv2.ResolveStringRequest{FlagKey: "f", Context: values}, out); err != nil {
			t.Fatal(err)
		}
		if out.GetValue() != "yes" {
			t.Errorf("%s: %v", url, out)
		}
	}
}

// freeAddress is an address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
