package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
	"github.com/plimsoll-dev/plimsoll/store"
)

const (
	// askTimeout bounds how long a peer has to answer.
	askTimeout = 2 * time.Second
	// dialTimeout bounds how long it takes to find out that it is not there.
	dialTimeout = time.Second
	// maxPeerAnswer bounds an answer: 50 000 processes with long names.
	maxPeerAnswer = 64 << 20
	// maxPeerConns bounds the connections to one peer.
	maxPeerConns = 8
)

// Peers are this server and the others of its store: it registers there while
// it serves, asks the others, and answers them (plimsoll.v1.PeerService). It is
// safe for concurrent use.
type Peers struct {
	store     *store.Store
	registry  *Registry
	self      store.Server
	key       *sharedKey
	transport *http.Transport
	now       func() time.Time

	mu   sync.Mutex
	byID map[string]*peer

	leave   context.CancelFunc
	serving sync.WaitGroup
	joined  chan struct{}
}

// peer is another server.
type peer struct {
	server store.Server
	rpc    plimsollv1connect.PeerServiceClient

	// Guarded by Peers.mu: why it could not be asked the last time, since when,
	// and what it last told of each namespace.
	err       error
	lostSince time.Time
	last      map[string]contact
}

// contact is what a peer told, and when.
type contact struct {
	at time.Time
	// reported are its live processes, with when each last reported to it.
	reported map[string]time.Time
}

// NewPeers makes self one of the servers of the registry's store. Join lets
// the others know; Close ends it.
func NewPeers(r *Registry, self store.Server) *Peers {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &Peers{
		store: r.store, registry: r, self: self, key: newSharedKey(r.store.PeerKey, time.Now), now: time.Now,
		transport: &http.Transport{
			// No proxy: servers reach each other directly.
			DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, TLSHandshakeTimeout: dialTimeout,
			Protocols: protocols, MaxConnsPerHost: maxPeerConns, MaxIdleConnsPerHost: maxPeerConns, MaxIdleConns: 32 * maxPeerConns,
			IdleConnTimeout: time.Minute, DisableCompression: true,
		},
		byID: make(map[string]*peer), leave: func() {}, joined: make(chan struct{}),
	}
}

// Self is this server.
func (p *Peers) Self() store.Server { return p.self }

// Join registers this server, and keeps it registered until Leave. It is called
// once.
func (p *Peers) Join() {
	ctx, cancel := context.WithCancel(context.Background())
	p.leave = cancel
	p.serving.Go(func() {
		p.store.Register(ctx, p.self, func() {
			// So that it is at hand should etcd go away. If it cannot be had, whoever
			// needs it will say so.
			_, _ = p.key.get(ctx)
			close(p.joined)
		})
	})
}

// Joined is closed once this server has tried to register, whether or not it
// could.
func (p *Peers) Joined() <-chan struct{} { return p.joined }

// Leave signs this server off, so that the others do not ask it any more.
func (p *Peers) Leave() {
	p.leave()
	p.serving.Wait()
}

// Close leaves, and closes connections to the others.
func (p *Peers) Close() {
	p.Leave()
	p.transport.CloseIdleConnections()
}

// Handler serves plimsoll.v1.PeerService to those who sign their requests, with
// the path to mount it.
func (p *Peers) Handler(opts ...connect.HandlerOption) (path string, handler http.Handler) {
	path, next := plimsollv1connect.NewPeerServiceHandler(p, append(opts, connect.WithReadMaxBytes(maxPeerRequest))...)
	return path, &verifying{next: next, key: p.key, self: p.self.ID, now: p.now, errors: connect.NewErrorWriter(opts...)}
}

// GetShare implements plimsollv1connect.PeerServiceHandler.
func (p *Peers) GetShare(_ context.Context, req *connect.Request[plimsollv1.GetShareRequest]) (*connect.Response[plimsollv1.GetShareResponse], error) {
	out := &plimsollv1.GetShareResponse{ServerId: p.self.ID}
	s, err := p.registry.share(req.Msg.GetNamespace(), req.Msg.GetRevision(), req.Msg.GetUsage(), req.Msg.GetFlagKeys())
	if missing := (*store.NotFoundError)(nil); errors.As(err, &missing) {
		return connect.NewResponse(out), nil
	}
	if err != nil {
		return nil, api.Error(err)
	}
	out.Position, out.SilentStreams, out.Window = s.position.message(), s.allSilent(), durationpb.New(s.window)
	out.Usage, out.UnknownFlags, out.Tracked = s.usage, s.unknown, s.tracked
	out.ReportingFor, out.Refused = known(s.reportingFor), uint32(s.refused)
	out.Foreign = s.foreign
	if req.Msg.GetClients() {
		for i := range s.members {
			m := s.members[i].message()
			m.ServerId = p.self.ID
			out.Clients = append(out.Clients, m)
		}
	}
	return connect.NewResponse(out), nil
}

// answer is what became of asking one peer.
type answer struct {
	server store.Server
	// share is nil where it could not be asked, which err explains; last is what
	// it told when it last could. stale: that was so long before it was lost that
	// others may have come to it since.
	share *share
	err   error
	last  contact
	stale bool
}

// ask asks all peers at once. It fails only if the caller does not wait for
// their answers, for which they are not to blame.
func (p *Peers) ask(ctx context.Context, req *plimsollv1.GetShareRequest) ([]answer, error) {
	if proto.Size(req) > maxPeerRequest {
		// Too many flags to name them all; who asked picks them out of all.
		req = proto.CloneOf(req)
		req.FlagKeys = nil
	}
	peers := p.others()
	answers := make([]answer, len(peers))
	cut := make([]error, len(peers))
	// The context tells of its deadline later than calls that end with it.
	deadline, bounded := ctx.Deadline()
	short := bounded && time.Until(deadline) < askTimeout
	var asked sync.WaitGroup
	for i, one := range peers {
		asked.Go(func() {
			resp, err := p.askOne(ctx, one, req)
			switch {
			case err != nil && ctx.Err() != nil:
				cut[i] = ctx.Err()
			case err != nil && short && late(err):
				cut[i] = context.DeadlineExceeded
			default:
				answers[i] = p.note(one, req, resp, err)
			}
		})
	}
	asked.Wait()
	for _, err := range cut {
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// others are the peers that are registered now, or were until recently and have
// not signed off.
func (p *Peers) others() []*peer {
	servers := append(p.store.Servers(), p.store.LostServers()...)
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*peer, 0, len(servers))
	byID := make(map[string]*peer, len(servers))
	for _, server := range servers {
		if server.ID == p.self.ID {
			continue
		}
		one := p.byID[server.ID]
		if one == nil {
			one = p.meet(server)
		}
		byID[server.ID] = one
		out = append(out, one)
	}
	p.byID = byID
	return out
}

func (p *Peers) meet(server store.Server) *peer {
	address := strings.TrimRight(server.Info.GetAddress(), "/")
	base := ""
	if u, err := url.Parse(address); err == nil {
		base = u.Path
	}
	client := &http.Client{
		Transport:     &signing{next: p.transport, key: p.key, callee: server.ID, base: base, now: p.now},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &peer{
		server: server, last: make(map[string]contact),
		rpc: plimsollv1connect.NewPeerServiceClient(client, address,
			connect.WithReadMaxBytes(maxPeerAnswer),
			// Compressing costs more time than it saves between servers.
			connect.WithAcceptCompression("gzip", nil, nil)),
	}
}

// askOne asks one peer; again, if it turns out that it has another key.
func (p *Peers) askOne(ctx context.Context, one *peer, req *plimsollv1.GetShareRequest) (*plimsollv1.GetShareResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	key, err := p.key.get(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := one.rpc.GetShare(ctx, connect.NewRequest(req))
	if connect.CodeOf(err) == connect.CodePermissionDenied {
		if fresh := p.key.renewed(ctx, key); string(fresh) != string(key) {
			resp, err = one.rpc.GetShare(ctx, connect.NewRequest(req))
		}
	}
	switch {
	case err != nil:
		return nil, err
	case resp.Msg.GetServerId() != one.server.ID:
		return nil, fmt.Errorf("server %s answers at its address", resp.Msg.GetServerId())
	}
	return resp.Msg, nil
}

// note remembers what became of asking a peer.
func (p *Peers) note(one *peer, req *plimsollv1.GetShareRequest, resp *plimsollv1.GetShareResponse, err error) answer {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if one.err = reason(err); one.err != nil {
		if one.lostSince.IsZero() {
			one.lostSince = now
		}
		last := one.last[req.GetNamespace()]
		return answer{server: one.server, err: one.err, last: last, stale: one.lostSince.Sub(last.at) > liveFor}
	}
	one.lostSince = time.Time{}
	s := shareOf(resp)
	switch {
	case len(s.members) > 0:
		reported := make(map[string]time.Time, len(s.members))
		for i := range s.members {
			reported[s.members[i].client.GetInstanceId()] = now.Add(-s.members[i].reportedAge)
		}
		one.last[req.GetNamespace()] = contact{now, reported}
	case req.GetClients():
		delete(one.last, req.GetNamespace())
	}
	return answer{server: one.server, share: s}
}

// late tells whether a call has failed for want of time.
func late(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || connect.CodeOf(err) == connect.CodeDeadlineExceeded || errors.As(err, &timeout) && timeout.Timeout()
}

// reason is why a peer could not be asked, in few words.
func reason(err error) error {
	var rpc *connect.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded), connect.CodeOf(err) == connect.CodeDeadlineExceeded:
		return fmt.Errorf("it did not answer within %s", askTimeout)
	case errors.As(err, &rpc):
		return errors.New(rpc.Message())
	default:
		return err
	}
}

// Warnings say which peers could not be reached when they were last asked.
func (p *Peers) Warnings() []string {
	var out []string
	peers := p.others()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range peers {
		if one.err != nil {
			out = append(out, fmt.Sprintf("server %s at %s cannot be reached: %v", one.server.ID, one.server.Info.GetAddress(), one.err))
		}
	}
	return out
}

// shareOf reads a peer's answer.
func shareOf(resp *plimsollv1.GetShareResponse) *share {
	s := &share{
		server: resp.GetServerId(), position: positionOf(resp.GetPosition()), members: make([]member, 0, len(resp.GetClients())),
		foreign: resp.GetForeign(), window: max(0, age(resp.GetWindow())),
		usage: resp.GetUsage(), unknown: resp.GetUnknownFlags(), tracked: resp.GetTracked(),
		reportingFor: age(resp.GetReportingFor()), refused: int(resp.GetRefused()),
	}
	open, _ := s.foreignStreams()
	s.silent = max(0, int(resp.GetSilentStreams())-open)
	for _, c := range resp.GetClients() {
		s.members = append(s.members, memberOf(c, resp.GetServerId()))
	}
	return s
}

// described is a server as the API tells it; s is nil for one that could not
// be asked.
func described(server store.Server, s *share) *plimsollv1.FleetServer {
	out := &plimsollv1.FleetServer{
		Id: server.ID, Address: server.Info.GetAddress(), Zone: server.Info.GetZone(),
		Version: server.Info.GetVersion(), StartedAt: server.Info.GetStartedAt(),
	}
	if s != nil {
		out.Clients, out.SilentStreams, out.Position = uint32(len(s.members)), s.allSilent(), s.position.message()
		out.Foreign = s.foreign
		out.ReportingFor = known(s.reportingFor)
	}
	return out
}
