package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// Server is a server of the store, as it has registered.
type Server struct {
	// ID is random, drawn anew by each process.
	ID string
	// Info is what it says of itself. It is shared and must not be modified.
	Info *plimsollv1.StoredServer
}

// NewServerID draws the id of a server process.
func NewServerID() string { return randomHex(8) }

const (
	// serverTTL is how long a server that has died is still listed. etcd knows
	// whole seconds only.
	serverTTL = 10 * time.Second
	// renewEvery is how often a server says that it lives: twice in vain, and
	// it still is in time.
	renewEvery = serverTTL / 4
	// revokeTimeout bounds how long a server takes to sign off.
	revokeTimeout = 2 * time.Second
	// lostFor is how long a server is remembered whose entry has ended without
	// its signing off. By then, its clients have found another.
	lostFor = 30 * time.Second
)

// roster are the servers, by id. It is immutable.
type roster struct {
	live map[string]*plimsollv1.StoredServer
	lost map[string]lostServer
}

// lostServer is one that is listed no more, and has not signed off.
type lostServer struct {
	info *plimsollv1.StoredServer
	at   time.Time
}

// listed is the roster once the servers that are listed are live. Those that
// were before are lost.
func (r *roster) listed(live map[string]*plimsollv1.StoredServer, now time.Time) *roster {
	lost := make(map[string]lostServer)
	for id, l := range r.lost {
		if live[id] == nil && now.Sub(l.at) < lostFor {
			lost[id] = l
		}
	}
	for id, info := range r.live {
		if live[id] == nil {
			lost[id] = lostServer{info, now}
		}
	}
	return &roster{live, lost}
}

// Servers are the servers that are registered, sorted by id. While etcd is out
// of reach, they are those last seen.
func (s *Store) Servers() []Server {
	servers := s.servers.Load().live
	out := make([]Server, 0, len(servers))
	for _, id := range slices.Sorted(maps.Keys(servers)) {
		out = append(out, Server{id, servers[id]})
	}
	return out
}

// LostServers are the servers whose entries have ended within the last 30 s
// without their signing off, sorted by id: they were killed, or cut off from
// etcd, and may still have clients. One that has a successor at its address is
// none.
func (s *Store) LostServers() []Server {
	r := s.servers.Load()
	taken := make(map[string]bool, len(r.live))
	for _, info := range r.live {
		taken[info.GetAddress()] = true
	}
	now := s.now()
	var out []Server
	for _, id := range slices.Sorted(maps.Keys(r.lost)) {
		if l := r.lost[id]; now.Sub(l.at) < lostFor && !taken[l.info.GetAddress()] {
			out = append(out, Server{id, l.info})
		}
	}
	return out
}

// Register keeps a server registered until ctx ends, and then signs it off. It
// goes on trying while etcd is out of reach, and registers anew when its entry
// was lost. Others under the same address are taken for its predecessors, and
// removed. It calls tried once, after the first attempt.
func (s *Store) Register(ctx context.Context, server Server, tried func()) {
	r := registration{Store: s, server: server}
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		r.note(ctx, r.renew(ctx))
		if first {
			tried()
		}
		select {
		case <-ctx.Done():
			r.revoke()
			return
		case <-tick.C:
		}
	}
}

// errDisplaced means that another server has registered under one's address.
var errDisplaced = errors.New("another server has registered under the same address: give each its own with --advertise")

// registration is one server's entry. Only the goroutine of Register uses it.
type registration struct {
	*Store
	server Server
	lease  clientv3.LeaseID // 0: none
	failed bool
}

// note logs that registering does not work, or works again.
func (r *registration) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	switch {
	case err != nil && !r.failed:
		r.log.Warn("this server could not be registered; others do not know of it until it can", "address", r.server.Info.GetAddress(), "error", err)
	case err == nil && r.failed:
		r.log.Info("this server is registered now", "address", r.server.Info.GetAddress())
	}
	r.failed = err != nil
}

// renew says that the server lives, and registers it where it is not.
func (r *registration) renew(ctx context.Context) error {
	select {
	case <-r.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	client := r.client.Load()
	if client == nil {
		return ErrUnavailable
	}
	if r.lease == 0 {
		return r.enter(ctx, client)
	}
	renewCtx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	switch _, err := client.KeepAliveOnce(renewCtx, r.lease); {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return r.enter(ctx, client)
	case err != nil:
		return wrapEtcd("renew the registration", err)
	}
	resp, err := r.get(ctx, serverKey(r.server.ID), clientv3.WithCountOnly())
	if err != nil {
		return wrapEtcd("look for the registration", err)
	}
	if resp.Count == 1 {
		return nil
	}
	return r.enter(ctx, client)
}

// enter writes the server's entry under a new lease, and removes those of its
// predecessors. One that was removed itself does not take turns with its
// successor.
func (r *registration) enter(ctx context.Context, client *clientv3.Client) error {
	value, err := proto.Marshal(r.server.Info)
	if err != nil {
		return fmt.Errorf("encode the registration: %w", err)
	}
	was := r.lease != 0
	var ops []clientv3.Op
	found := make(map[string]*plimsollv1.StoredServer)
	if _, err := r.scan(ctx, prefixServers, 0, func(kv *mvccpb.KeyValue) { putServer(found, kv) }); err != nil {
		return wrapEtcd("list the servers", err)
	}
	for id, other := range found {
		if id != r.server.ID && other.GetAddress() == r.server.Info.GetAddress() {
			if was && other.GetStartedAt().AsTime().After(r.server.Info.GetStartedAt().AsTime()) {
				return errDisplaced
			}
			ops = append(ops, clientv3.OpDelete(serverKey(id)))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	lease, err := client.Grant(ctx, int64(serverTTL/time.Second))
	if err != nil {
		return wrapEtcd("ask for a lease", err)
	}
	ops = append(ops, clientv3.OpPut(serverKey(r.server.ID), string(value), clientv3.WithLease(lease.ID)))
	if _, err := client.Txn(ctx).Then(ops...).Commit(); err != nil {
		return wrapEtcd("register this server", err)
	}
	r.lease = lease.ID
	return nil
}

// revoke removes the entry. If that fails, it goes with its lease. Before that
// the entry is emptied: who sees it end knows then that the server has signed
// off.
func (r *registration) revoke() {
	client := r.client.Load()
	if client == nil || r.lease == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), revokeTimeout)
	defer cancel()
	_, _ = client.Put(ctx, serverKey(r.server.ID), "", clientv3.WithLease(r.lease))
	_, _ = client.Revoke(ctx, r.lease)
}

// putServer adds an entry; one that cannot be read, or has no address, is no
// server: it signs off.
func putServer(servers map[string]*plimsollv1.StoredServer, kv *mvccpb.KeyValue) {
	id, ok := splitServer(string(kv.Key))
	info := new(plimsollv1.StoredServer)
	if ok && proto.Unmarshal(kv.Value, info) == nil && info.GetAddress() != "" {
		servers[id] = info
	}
}

// peerKeySize is the size of the key that servers sign with, in bytes.
const peerKeySize = 32

// PeerKey is the key that the store's servers share. The first one that asks
// makes it.
func (s *Store) PeerKey(ctx context.Context) ([]byte, error) {
	for range 2 {
		resp, err := s.get(ctx, keyPeerSecret)
		if err != nil {
			return nil, wrapEtcd("read the servers' key", err)
		}
		if len(resp.Kvs) == 1 {
			secret := new(plimsollv1.StoredSecret)
			if err := proto.Unmarshal(resp.Kvs[0].Value, secret); err != nil || len(secret.GetValue()) != peerKeySize {
				return nil, fmt.Errorf("key %s in etcd holds no key of %d bytes: delete it, and the servers make a new one", keyPeerSecret, peerKeySize)
			}
			return secret.GetValue(), nil
		}
		if err := s.createPeerKey(ctx); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("read the servers' key: %w: it is neither there nor can it be created", ErrUnavailable)
}

func (s *Store) createPeerKey(ctx context.Context) error {
	secret := &plimsollv1.StoredSecret{Value: make([]byte, peerKeySize), CreatedAt: timestamppb.New(s.now())}
	rand.Read(secret.Value) // never fails
	value, err := proto.Marshal(secret)
	if err != nil {
		return fmt.Errorf("encode the servers' key: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err = s.client.Load().Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(keyPeerSecret), "=", 0)).
		Then(clientv3.OpPut(keyPeerSecret, string(value))).
		Commit()
	return wrapEtcd("create the servers' key", err)
}
