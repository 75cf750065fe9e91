package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/types/known/durationpb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

// processCommand is "process start NAME [silent | evaluates FLAG VARIANT COUNT]":
// something watches the flags of the server as a process of the service shop
// would, with NAME as its id, until "process stop NAME" or the end of the script.
// A silent one does not report; one that evaluates reports that many evaluations,
// once. After "process freeze NAME" it applies nothing more.
func processCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: process start NAME [silent] | freeze NAME | stop NAME")
	}
	key := ts.Getenv("WORK") + "/" + args[1]
	if args[0] == "start" {
		var counts []*plimsollv1.EvaluationCounts
		if len(args) == 6 && args[2] == "evaluates" {
			n, err := strconv.ParseUint(args[5], 10, 64)
			ts.Check(err)
			counts = []*plimsollv1.EvaluationCounts{{FlagKey: args[3], Outcomes: []*plimsollv1.OutcomeCount{{Variant: args[4], Reason: "STATIC", Count: n}}}}
		}
		p, err := startProcess(ts.Getenv("PLIMSOLL_SERVER"), args[1], slices.Contains(args, "silent"), counts)
		ts.Check(err)
		processes.Store(key, p)
		ts.Defer(p.stop)
		select {
		case <-p.known:
		case <-p.ended:
			ts.Fatalf("process %s: %v", args[1], p.err)
		case <-time.After(serverDeadline):
			ts.Fatalf("process %s did not come up within %s", args[1], serverDeadline)
		}
		return
	}
	found, _ := processes.Load(key)
	p, ok := found.(*watchingProcess)
	if !ok {
		ts.Fatalf("there is no process %s", args[1])
	}
	switch args[0] {
	case "freeze":
		p.frozen.Store(true)
	case "stop":
		p.stop()
	default:
		ts.Fatalf("unknown: process %s", args[0])
	}
}

// processes are those that were started, by script and name.
var processes sync.Map

// watchingProcess stands for an app's process.
type watchingProcess struct {
	sync   plimsollv1connect.SyncServiceClient
	who    *plimsollv1.ClientInfo
	silent bool
	counts []*plimsollv1.EvaluationCounts // of its first report
	newest int64                          // revision, when it was started
	frozen atomic.Bool

	cancel context.CancelFunc
	known  chan struct{} // closed once it has applied newest, and the server knows
	ended  chan struct{} // closed when it has ended
	err    error         // why it ended; to be read after that
}

// reportEvery keeps a process alive for the server, which waits for 15 s.
const reportEvery = 2 * time.Second

func startProcess(server, name string, silent bool, counts []*plimsollv1.EvaluationCounts) (*watchingProcess, error) {
	transport := &http.Transport{}
	client := &http.Client{Transport: transport}
	ctx, cancel := context.WithCancel(context.Background())
	status, err := plimsollv1connect.NewAdminServiceClient(client, server).GetStatus(ctx, connect.NewRequest(&plimsollv1.GetStatusRequest{}))
	if err != nil {
		cancel()
		return nil, err
	}
	p := &watchingProcess{
		sync:   plimsollv1connect.NewSyncServiceClient(client, server),
		who:    &plimsollv1.ClientInfo{InstanceId: name, Service: "shop", Agent: "script/1", Zone: "eu-1"},
		silent: silent, counts: counts, newest: status.Msg.GetPosition().GetRevision(),
		cancel: cancel, known: make(chan struct{}), ended: make(chan struct{}),
	}
	if silent {
		p.who.InstanceId = ""
	}
	go func() {
		defer close(p.ended)
		defer transport.CloseIdleConnections()
		p.err = p.run(ctx)
	}()
	return p, nil
}

// stop ends the process as a crash would: without a last report.
func (p *watchingProcess) stop() {
	p.cancel()
	<-p.ended
}

// run follows the stream, and reports every state and every reportEvery.
func (p *watchingProcess) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := p.sync.Watch(ctx, connect.NewRequest(&plimsollv1.WatchRequest{Client: p.who}))
	if err != nil {
		return err
	}
	positions, ended := make(chan *plimsollv1.Position), make(chan struct{})
	var why error // to be read after ended is closed
	go func() {   // ends with the stream, which ends with ctx
		defer close(ended)
		for stream.Receive() {
			select {
			case positions <- stream.Msg().GetPosition():
			case <-ctx.Done():
			}
		}
		why = errors.Join(errors.New("the stream ended"), stream.Err(), stream.Close())
	}()
	defer func() {
		cancel()
		<-ended
	}()
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	var applied *plimsollv1.Position
	var since time.Time
	for seq := uint64(1); ; seq++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return why
		case at := <-positions:
			if at.GetRevision() == applied.GetRevision() || p.frozen.Load() {
				continue
			}
			applied, since = at, time.Now()
		case <-tick.C:
		}
		if err := p.report(ctx, seq, applied, time.Since(since)); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
}

func (p *watchingProcess) report(ctx context.Context, seq uint64, applied *plimsollv1.Position, age time.Duration) error {
	if applied == nil {
		return nil
	}
	if !p.silent {
		if _, err := p.sync.Report(ctx, connect.NewRequest(&plimsollv1.ReportRequest{
			Client: p.who, Seq: seq, Applied: applied, AppliedAge: durationpb.New(age), Source: plimsollv1.FlagSource_FLAG_SOURCE_STREAM,
			Evaluations: p.counts,
		})); err != nil {
			return err
		}
		p.counts = nil
	}
	select {
	case <-p.known:
	default:
		if applied.GetRevision() >= p.newest {
			close(p.known)
		}
	}
	return nil
}
