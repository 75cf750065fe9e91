package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/open-feature/go-sdk/openfeature"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
	"github.com/plimsoll-dev/plimsoll/sdk"
)

// patience is how long a test waits for any single thing.
const patience = 60 * time.Second

// until waits for a condition.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s until %s", patience, what)
		}
	}
}

// free is an address that nobody listens on.
func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// member is a member of an etcd cluster, and how to end it, which may be done twice.
type member struct {
	*embed.Etcd
	end func()
}

// startCluster starts an etcd cluster of three members.
func startCluster(t testing.TB) (members []member, clients []string) {
	t.Helper()
	for {
		members, clients, err := tryCluster(t)
		switch {
		case err == nil:
			return members, clients
		case !errors.Is(err, syscall.EADDRINUSE): // by a connection, since it was free
			t.Fatal(err)
		}
	}
}

func tryCluster(t testing.TB) (members []member, clients []string, err error) {
	t.Helper()
	const size = 3
	defer func() {
		if err != nil {
			for _, m := range members {
				m.end()
			}
		}
	}()
	var peers [size]url.URL
	var initial []string
	for i := range peers {
		peers[i] = url.URL{Scheme: "http", Host: free(t)}
		initial = append(initial, fmt.Sprintf("m%d=%s", i, peers[i].String()))
	}
	for i := range peers {
		client := url.URL{Scheme: "http", Host: free(t)}
		clients = append(clients, client.String())
		cfg := embed.NewConfig()
		cfg.Name, cfg.Dir = fmt.Sprint("m", i), t.TempDir()
		cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peers[i]}, []url.URL{peers[i]}
		cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
		cfg.InitialCluster = strings.Join(initial, ",")
		cfg.UnsafeNoFsync = true // no test of these crashes the machine
		cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
		m, err := embed.StartEtcd(cfg)
		if err != nil {
			return members, nil, err
		}
		end := sync.OnceFunc(m.Close)
		t.Cleanup(end)
		members = append(members, member{m, end})
	}
	for _, m := range members {
		select {
		case <-m.Server.ReadyNotify():
		case <-time.After(patience):
			t.Fatalf("the etcd cluster was not ready within %s", patience)
		}
	}
	return members, clients, nil
}

// leader is the index of the member that leads.
func leader(members []member) int {
	for i, m := range members {
		if m.Server.Lead() == uint64(m.Server.MemberID()) {
			return i
		}
	}
	return -1
}

const numbers = 2000

// numbered is a flag with numbered variants, of which the first is served.
func numbered() string {
	var variants []string
	for i := range numbers {
		variants = append(variants, fmt.Sprintf(`"v%d":%d`, i, i))
	}
	return `{"state":"ENABLED","variants":{` + strings.Join(variants, ",") + `},"defaultVariant":"v0"}`
}

// Three servers over three members of etcd: whichever of them dies, no evaluation
// fails or goes back, the app moves over, and writes go on after the election.
func TestServersAndMembersDieUnderLoad(t *testing.T) {
	members, etcd := startCluster(t)
	var servers []*process
	for range 3 {
		servers = append(servers, spawn(t, t.TempDir(), "--etcd", strings.Join(etcd, ",")))
	}
	if _, err := servers[0].flags().CreateFlag(short(t), connect.NewRequest(&plimsollv1.CreateFlagRequest{Key: "n", Definition: numbered()})); err != nil {
		t.Fatal(err)
	}
	var endpoints []string
	for _, s := range servers {
		endpoints = append(endpoints, s.url)
	}
	log := new(syncBuffer)
	app, err := sdk.NewProvider(sdk.WithEndpoints(endpoints...), sdk.WithLogger(slog.New(slog.NewTextHandler(log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(app.Shutdown)
	if err := app.Init(openfeature.EvaluationContext{}); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	defer func() { cancel(); work.Wait() }()
	n := sdk.Int(app, "n", -1)
	until(t, "the app has the flag", func() bool { return n.Value(ctx, nil) >= 0 })
	for range 4 {
		work.Go(func() {
			var newest int64
			for ctx.Err() == nil {
				pinned := sdk.Pin(ctx)
				v, again := n.Value(pinned, nil), app.IntEvaluation(pinned, "n", -1, nil)
				if v < newest || again.Value != v || again.Error() != nil {
					t.Errorf("served %d, then %d (%v), after %d\n%s", v, again.Value, again.Error(), newest, log)
					return
				}
				newest = v
				time.Sleep(100 * time.Microsecond)
			}
		})
	}
	// One writer, by whichever server takes it. What was not acknowledged is
	// written again.
	var written, dead atomic.Int64 // dead: one bit for each server
	work.Go(func() {
		for at := 0; ctx.Err() == nil && written.Load() < numbers-1; {
			if dead.Load()&(1<<at) != 0 {
				at = (at + 1) % len(endpoints)
				continue
			}
			next := written.Load() + 1
			once, done := context.WithTimeout(ctx, 5*time.Second)
			_, err := plimsollv1connect.NewFlagServiceClient(http.DefaultClient, endpoints[at]).UpdateFlag(once, connect.NewRequest(&plimsollv1.UpdateFlagRequest{
				Key: "n", Update: &plimsollv1.UpdateFlagRequest_DefaultVariant{DefaultVariant: fmt.Sprint("v", next)},
			}))
			done()
			if err != nil {
				at = (at + 1) % len(endpoints)
				time.Sleep(50 * time.Millisecond)
				continue
			}
			written.Store(next)
			time.Sleep(5 * time.Millisecond)
		}
	})
	// progress waits until what is written from now on reaches the app.
	progress := func(after string) {
		t.Helper()
		want := written.Load() + 5
		until(t, "the app has what was written after "+after, func() bool { return n.Value(ctx, nil) >= want })
	}
	live := func() bool { return app.IntEvaluation(ctx, "n", -1, nil).FlagMetadata["source"] == nil }

	progress("the start")
	servers[0].kill()
	dead.Store(1)
	progress("the death of a server")
	until(t, "the app is live again", live)

	first := leader(members)
	if first < 0 {
		t.Fatal("the cluster has no leader")
	}
	members[first].Server.HardStop() // without handing over, as a crash would
	members[first].end()
	progress("the death of etcd's leader")
	until(t, "the app is live again", live)

	servers[1].kill()
	dead.Store(3)
	progress("the death of a second server")
	until(t, "the app is live again", live)
	servers[0] = respawn(t, t.TempDir(), servers[0].url, "--etcd", strings.Join(etcd, ","))
	dead.Store(2)
	progress("the return of a server")

	cancel()
	work.Wait()
	status := func(p *process) *plimsollv1.Position {
		res, err := p.admin().GetStatus(short(t), connect.NewRequest(&plimsollv1.GetStatusRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.GetPosition()
	}
	until(t, "both servers agree", func() bool {
		a, b := status(servers[0]), status(servers[2])
		return a.GetRevision() == b.GetRevision() && a.GetFingerprint() == b.GetFingerprint()
	})
	until(t, "the app has the last acknowledged write", func() bool { return n.Value(context.Background(), nil) >= written.Load() })
	chain, err := servers[2].audit().VerifyChain(short(t), connect.NewRequest(&plimsollv1.VerifyChainRequest{}))
	if err != nil || !chain.Msg.GetValid() {
		t.Errorf("the audit log: %v, %v", chain, err)
	}
}

// gate is a TCP proxy that can be shut: what is connected through it hears
// nothing any more, and nobody gets in.
type gate struct {
	addr string

	mu    sync.Mutex
	shut  bool
	conns []net.Conn
}

func openGate(t testing.TB, to string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{addr: l.Addr().String()}
	var copies sync.WaitGroup
	copies.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			g.mu.Lock()
			g.conns = append(g.conns, in, out)
			g.mu.Unlock()
			copies.Go(func() { g.pump(in, out) })
			copies.Go(func() { g.pump(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		g.mu.Lock()
		for _, c := range g.conns {
			_ = c.Close()
		}
		g.mu.Unlock()
		copies.Wait()
	})
	return g
}

// pump carries bytes; while the gate is shut they are lost.
func (g *gate) pump(from, to net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		g.mu.Lock()
		shut := g.shut
		g.mu.Unlock()
		if !shut && n > 0 {
			if _, werr := to.Write(b[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !shut {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	if shut {
		return
	}
	for _, c := range g.conns { // what was lost cannot be made up for
		_ = c.Close()
	}
	g.conns = nil
}

// A server that is cut off from etcd loses its clients to another within 30 s; when
// that is cut off as well, they say that they are stale; and when etcd is back, so
// are they.
func TestAServerThatIsCutOffLosesItsClients(t *testing.T) {
	t.Parallel()
	etcd := free(t)
	spawn(t, t.TempDir(), "--demo", "--etcd-listen-client", "http://"+etcd)
	gates := []*gate{openGate(t, etcd), openGate(t, etcd)}
	near := spawn(t, t.TempDir(), "--etcd", "http://"+gates[0].addr)
	far := spawn(t, t.TempDir(), "--etcd", "http://"+gates[1].addr)
	app, err := sdk.NewProvider(sdk.WithZone("here"), sdk.WithZoneEndpoints("here", near.url), sdk.WithZoneEndpoints("there", far.url),
		sdk.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(app.Shutdown)
	if err := app.Init(openfeature.EvaluationContext{}); err != nil {
		t.Fatal(err)
	}
	followed := func(p *process) bool {
		res, err := p.admin().GetStatus(short(t), connect.NewRequest(&plimsollv1.GetStatusRequest{}))
		return err == nil && res.Msg.GetStreams() > 0
	}
	source := func() any {
		return app.StringEvaluation(context.Background(), "welcome-banner", "", nil).FlagMetadata["source"]
	}
	until(t, "the near server is followed", func() bool { return followed(near) && source() == nil })

	gates[0].set(true)
	cut := time.Now()
	until(t, "the far server is followed", func() bool { return followed(far) })
	if took := time.Since(cut); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
	until(t, "the flags are live", func() bool { return source() == nil })

	gates[1].set(true)
	until(t, "the app says that it is stale", func() bool { return source() == "memory" })
	if d := app.StringEvaluation(context.Background(), "welcome-banner", "", nil); d.Variant != "plain" || d.Error() != nil {
		t.Errorf("a stale answer: %+v", d)
	}
	gates[0].set(false)
	gates[1].set(false)
	until(t, "the flags are live again", func() bool { return source() == nil })
}
