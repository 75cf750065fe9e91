package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// ensureIdentity returns the store's identity, and creates it together with
// the default namespace where etcd holds none yet. Of several servers that
// start at once, one creates it.
func (s *Store) ensureIdentity(ctx context.Context) (*plimsollv1.StoredIdentity, error) {
	for range 3 {
		resp, err := s.get(ctx, keyIdentity)
		if err != nil {
			return nil, wrapEtcd("read the store's identity", err)
		}
		if len(resp.Kvs) == 1 {
			id := new(plimsollv1.StoredIdentity)
			err := proto.Unmarshal(resp.Kvs[0].Value, id)
			if err == nil && id.GetId() == "" {
				err = errors.New("it has no id")
			}
			if err != nil {
				return nil, fmt.Errorf("key %s in etcd is not an identity: %w: is another program using this prefix?", keyIdentity, err)
			}
			return id, nil
		}
		if err := s.createIdentity(ctx); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("read the store's identity: %w: it is neither there nor can it be created", ErrUnavailable)
}

func (s *Store) createIdentity(ctx context.Context) error {
	id := &plimsollv1.StoredIdentity{Id: randomHex(16), Epoch: 1, CreatedAt: timestamppb.New(s.now())}
	value, err := proto.Marshal(id)
	if err != nil {
		return fmt.Errorf("encode the store's identity: %w", err)
	}
	change := Change{ID: NewChangeID(), Actor: systemActor(), Verb: "namespace.create", Reason: "the store was created"}
	t, err := s.namespaceTxn(DefaultNamespace, nil)
	if err != nil {
		return err
	}
	rec, ops, err := s.compose(DefaultNamespace, change, t, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := s.client.Load().Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(keyIdentity), "=", 0),
			clientv3.Compare(clientv3.CreateRevision(objectKey(DefaultNamespace, objHead)), "=", 0),
			clientv3.Compare(clientv3.CreateRevision(auditKey(DefaultNamespace, rec.GetSeq())), "=", 0)).
		Then(append(ops, clientv3.OpPut(keyIdentity, string(value)))...).
		Commit()
	if err == nil && resp.Succeeded {
		s.created.Store(true)
	}
	return wrapEtcd("create the store's identity", err)
}

// Created tells whether the store was created by this process: nobody can have
// used its flags before.
func (s *Store) Created() bool { return s.created.Load() }

// randomHex returns n random bytes in hexadecimal.
func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// NewChangeID draws the id of a change.
func NewChangeID() string { return randomHex(8) }

// systemActor is who the servers are in the audit log.
func systemActor() *plimsollv1.Actor {
	return &plimsollv1.Actor{Name: "system", Verified: true, Origin: "server"}
}
