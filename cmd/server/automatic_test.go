package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	syncv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/sync/v1"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/sync/v1/syncv1connect"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

// policy moves the level as the controller does: it writes that and the head, and
// nothing else.
type policy struct {
	t      *testing.T
	client *clientv3.Client
}

func newPolicy(t *testing.T, endpoints []string) *policy {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return &policy{t, client}
}

// move returns the revision of the move.
func (p *policy) move(millionths uint32) int64 {
	p.t.Helper()
	const level, head = store.Prefix + "ns/default/level", store.Prefix + "ns/default/head"
	read := func(key string) []byte {
		got, err := p.client.Get(short(p.t), key)
		if err != nil {
			p.t.Fatal(err)
		}
		if len(got.Kvs) == 0 {
			p.t.Fatalf("there is no %s", key)
		}
		return got.Kvs[0].Value
	}
	stored := new(plimsollv1.StoredLevel)
	if err := proto.Unmarshal(read(level), stored); err != nil {
		p.t.Fatal(err)
	}
	stored.AutoMillionths = millionths
	value, err := proto.Marshal(stored)
	if err != nil {
		p.t.Fatal(err)
	}
	done, err := p.client.Txn(short(p.t)).Then(clientv3.OpPut(level, string(value)), clientv3.OpPut(head, string(read(head)))).Commit()
	if err != nil {
		p.t.Fatal(err)
	}
	return done.Header.Revision
}

// A level that moves by itself all the time reaches the streams of flagd's sync
// and of OFREP every 5 s at most, and the last move does reach them.
func TestAutomaticMovesDoNotFloodStreams(t *testing.T) {
	t.Parallel()
	const pace = 5 * time.Second
	_, endpoints := startCluster(t)
	p := spawn(t, t.TempDir(), "--etcd", strings.Join(endpoints, ","))
	create(t, p, "", "f", sheddable)
	create(t, p, "", "g", strings.Replace(sheddable, "optional", "standard", 1))
	policy := newPolicy(t, endpoints)

	sync := serverStream(t, grpcTo(t, p.url), syncv1connect.FlagSyncServiceSyncFlagsProcedure, &syncv1.SyncFlagsRequest{})
	served := func() (f, g string) {
		t.Helper()
		var set struct {
			Flags map[string]struct{ DefaultVariant string }
		}
		if err := json.Unmarshal([]byte(receive[syncv1.SyncFlagsResponse](t, sync).GetFlagConfiguration()), &set); err != nil {
			t.Fatal(err)
		}
		return set.Flags["f"].DefaultVariant, set.Flags["g"].DefaultVariant
	}
	served()
	ids := changes(t, p.url, "")
	next(t, ids)

	began := time.Now()
	var last int64
	const moves = 50
	for i := range moves {
		last = policy.move(uint32(i+1) * 1_000_000 / moves)
	}
	// bound is how many messages a stream may have got by now: the first move goes
	// out at once, and one more may stand at either end.
	bound := func() int { return 2 + int(time.Since(began)/pace) }
	for n := 1; ; n++ {
		f, _ := served()
		if n > bound() {
			t.Fatalf("%d sets were sent within %s", n, time.Since(began))
		}
		if f == "off" { // all of its tier is shed
			break
		}
	}
	told := ""
	for n := 1; !strings.Contains(told, fmt.Sprintf(".%d.", last)); n++ {
		if told = next(t, ids); n > bound() {
			t.Fatalf("%d events were sent within %s", n, time.Since(began))
		}
	}
	// Whoever was told of the move is shown it.
	code, body := do(t, post(t, p.url+ofrepFlags+"?flagConfigEtag="+url.QueryEscape(told), `{"context":{"targetingKey":"u"}}`))
	if code != http.StatusOK || !strings.Contains(body, `"variant":"off"`) {
		t.Errorf("%d %s", code, body)
	}
	// A person does not wait behind a policy.
	policy.move(500_000)
	if _, err := p.degradation().Kill(short(t), connect.NewRequest(&plimsollv1.KillRequest{FlagKeys: []string{"g"}})); err != nil {
		t.Fatal(err)
	}
	if _, g := served(); g != "off" {
		if _, g = served(); g != "off" { // the first one may have been the move, whose turn it was
			t.Error("two sets came after a kill, and neither has it")
		}
	}
}
