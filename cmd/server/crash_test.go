package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

func counterFlag(n int) string {
	return fmt.Sprintf(`{"state":"ENABLED","variants":{"n":%d},"defaultVariant":"n"}`, n)
}

func counterOf(t testing.TB, definition string) int {
	t.Helper()
	var def struct{ Variants struct{ N int } }
	if err := json.Unmarshal([]byte(definition), &def); err != nil {
		t.Fatal(err)
	}
	return def.Variants.N
}

// TestAKilledServerLosesNoAcknowledgedWrite kills the server in the middle of
// several streams of writes, again and again on the same data directory.
func TestAKilledServerLosesNoAcknowledgedWrite(t *testing.T) {
	dir := t.TempDir()
	const writers = 4
	acked := make([]int, writers) // the last value that was acknowledged
	sent := make([]int, writers)  // the last value that was sent
	for round, killAfter := range []int64{1, 37, 120} {
		p := spawn(t, dir)
		var writes atomic.Int64
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for {
					sent[w]++
					if err := writeCounter(p.flags(), w, sent[w]); err != nil {
						return
					}
					acked[w] = sent[w]
					if writes.Add(1) == killAfter {
						p.kill()
					}
				}
			})
		}
		wg.Wait()
		p = spawn(t, dir)
		for w := range writers {
			got := storedCounter(t, p.flags(), w)
			if got < acked[w] || got > sent[w] {
				t.Errorf("round %d, writer %d: the store has %d; %d was acknowledged, %d sent", round, w, got, acked[w], sent[w])
			}
			sent[w] = got
		}
		replayLog(t, p)
		if err := p.stop(); err != nil {
			t.Errorf("round %d: the server ended with %v\n%s", round, err, p.stderr)
		}
	}
}

func writeCounter(c plimsollv1connect.FlagServiceClient, writer, n int) error {
	key, def := fmt.Sprintf("writer-%d", writer), counterFlag(n)
	if n == 1 {
		_, err := c.CreateFlag(context.Background(), connect.NewRequest(&plimsollv1.CreateFlagRequest{Key: key, Definition: def}))
		return err
	}
	_, err := c.UpdateFlag(context.Background(), connect.NewRequest(&plimsollv1.UpdateFlagRequest{
		Key: key, Update: &plimsollv1.UpdateFlagRequest_Definition{Definition: def},
	}))
	return err
}

func storedCounter(t testing.TB, c plimsollv1connect.FlagServiceClient, writer int) int {
	t.Helper()
	resp, err := c.GetFlag(short(t), connect.NewRequest(&plimsollv1.GetFlagRequest{Key: fmt.Sprintf("writer-%d", writer)}))
	if connect.CodeOf(err) == connect.CodeNotFound {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return counterOf(t, resp.Msg.GetFlag().GetDefinition())
}

// replayLog rebuilds the default namespace from its audit log, record by
// record, compares it with what the server serves, and has the chain verified.
func replayLog(t testing.TB, p *process) {
	t.Helper()
	verdict, err := p.audit().VerifyChain(short(t), connect.NewRequest(&plimsollv1.VerifyChainRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	if !verdict.Msg.GetValid() {
		t.Errorf("the chain does not verify: %s", verdict.Msg.GetProblem())
	}
	state := make(map[string][]byte)
	var all []*plimsollv1.AuditRecord
	for before := uint64(0); ; {
		resp, err := p.audit().ListRecords(short(t), connect.NewRequest(&plimsollv1.ListRecordsRequest{BeforeSeq: before, Limit: 500}))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, resp.Msg.GetRecords()...)
		if before = resp.Msg.GetNextBeforeSeq(); before == 0 {
			break
		}
	}
	for i := len(all) - 1; i >= 0; i-- {
		if want := uint64(len(all) - i); all[i].GetSeq() != want {
			t.Fatalf("record %d where %d should be", all[i].GetSeq(), want)
		}
		for _, o := range all[i].GetObjects() {
			if !bytes.Equal(state[o.GetObject()], o.GetBefore()) {
				t.Errorf("record %d: %s was something else before", all[i].GetSeq(), o.GetObject())
			}
			if o.After == nil {
				delete(state, o.GetObject())
			} else {
				state[o.GetObject()] = o.GetAfter()
			}
		}
	}
	compareWithLog(t, p, state)
}

func compareWithLog(t testing.TB, p *process, state map[string][]byte) {
	t.Helper()
	resp, err := p.flags().ListFlags(short(t), connect.NewRequest(&plimsollv1.ListFlagsRequest{PageSize: 5000}))
	if err != nil {
		t.Fatal(err)
	}
	served := make(map[string]string)
	for _, f := range resp.Msg.GetFlags() {
		served[f.GetKey()] = f.GetDefinition()
	}
	logged := 0
	for object, value := range state {
		key, isFlag := strings.CutPrefix(object, "flags/")
		if !isFlag {
			continue
		}
		logged++
		stored := new(plimsollv1.StoredFlag)
		if err := proto.Unmarshal(value, stored); err != nil {
			t.Fatal(err)
		}
		if served[key] != stored.GetDefinition() {
			t.Errorf("%s is served as %s and logged as %s", key, served[key], stored.GetDefinition())
		}
	}
	if logged != len(served) {
		t.Errorf("%d flags are served, %d logged", len(served), logged)
	}
}

// TestAKilledApplyIsFinishedByARerun kills the server while 5 000 flags are
// being applied.
func TestAKilledApplyIsFinishedByARerun(t *testing.T) {
	const n = 5000
	var doc strings.Builder
	doc.WriteString(`{"flags":{`)
	for i := range n {
		if i > 0 {
			doc.WriteByte(',')
		}
		fmt.Fprintf(&doc, `"flag-%04d":%s`, i, counterFlag(i))
	}
	doc.WriteString(`}}`)
	request := func() *connect.Request[plimsollv1.ApplyRequest] {
		return connect.NewRequest(&plimsollv1.ApplyRequest{Document: doc.String(), Change: &plimsollv1.ChangeInfo{ChangeId: "big-one"}})
	}
	dir := t.TempDir()
	p := spawn(t, dir)
	tail, err := p.audit().TailRecords(short(t), connect.NewRequest(&plimsollv1.TailRecordsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	client := p.flags()
	go func() {
		_, err := client.Apply(context.Background(), request())
		failed <- err
	}()
	for batches := 0; batches < 5 && tail.Receive(); {
		if tail.Msg().GetRecord() != nil {
			batches++
		}
	}
	p.kill()
	if err := <-failed; err == nil {
		t.Fatal("the apply was done before the server could be killed")
	}
	_ = tail.Close()

	p = spawn(t, dir)
	status, err := p.admin().GetStatus(short(t), connect.NewRequest(&plimsollv1.GetStatusRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	if got := status.Msg.GetNamespace().GetFlagCount(); got == 0 || got >= n {
		t.Fatalf("%d flags after the crash", got)
	}
	replayLog(t, p)
	done, err := p.flags().Apply(short(t), request())
	if err != nil {
		t.Fatal(err)
	}
	if got := len(done.Msg.GetObjects()); got != n {
		t.Errorf("the rerun speaks of %d flags", got)
	}
	replayLog(t, p)
	parts, err := p.flags().Export(short(t), connect.NewRequest(&plimsollv1.ExportRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	var exported strings.Builder
	messages := 0
	for ; parts.Receive(); messages++ {
		exported.WriteString(parts.Msg().GetDocumentPart())
	}
	if got := strings.Count(exported.String(), `"state"`); got != n || messages < 2 || !json.Valid([]byte(exported.String())) {
		t.Errorf("the export holds %d flags in %d messages, %v", got, messages, parts.Err())
	}
}
