package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// auditPage is how many records are read at a time: they hold whole
// definitions, twice.
const auditPage = 32

// RecordQuery selects audit records.
type RecordQuery struct {
	// Object, if set, selects records that touched it, such as flags/new-ui.
	Object string
	// ChangeID, if set, selects the records of one change.
	ChangeID string
	// BeforeSeq, if set, selects records before this sequence.
	BeforeSeq uint64
	// Limit is how many records to return at most; it must be positive.
	Limit int
	// MaxBytes, if set, ends a page with the record that exceeds it.
	MaxBytes int
	// Scan, if set, is how many records to look at at most.
	Scan int
}

func (q RecordQuery) matches(rec *plimsollv1.AuditRecord) bool {
	if q.ChangeID != "" && rec.GetChangeId() != q.ChangeID {
		return false
	}
	if q.Object == "" {
		return true
	}
	for _, o := range rec.GetObjects() {
		if o.GetObject() == q.Object {
			return true
		}
	}
	return false
}

// Records returns the records that a query selects, newest first, and the
// sequence to go on before; 0: there are no more.
func (s *Store) Records(ctx context.Context, ns string, q RecordQuery) ([]*plimsollv1.AuditRecord, uint64, error) {
	var out []*plimsollv1.AuditRecord
	bytes, seen := 0, 0
	next := uint64(0)
	err := s.walkBack(ctx, ns, q.BeforeSeq, func(rec *plimsollv1.AuditRecord, size int) bool {
		seen++
		if q.matches(rec) {
			out = append(out, rec)
			bytes += size
		}
		if len(out) == q.Limit || (q.MaxBytes > 0 && bytes > q.MaxBytes) || (q.Scan > 0 && seen == q.Scan) {
			next = moreBefore(rec.GetSeq())
			return false
		}
		return true
	})
	if err != nil {
		return nil, 0, err
	}
	return out, next, nil
}

// walkBack calls each for the records before a sequence (0: all), newest first,
// with what they take in bytes, until it returns false.
func (s *Store) walkBack(ctx context.Context, ns string, before uint64, each func(rec *plimsollv1.AuditRecord, size int) bool) error {
	for {
		end := clientv3.GetPrefixRangeEnd(auditPrefix(ns))
		if before != 0 {
			end = auditKey(ns, before)
		}
		resp, err := s.get(ctx, auditPrefix(ns), clientv3.WithRange(end), clientv3.WithLimit(auditPage),
			clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
		if err != nil {
			return wrapEtcd("read the audit log", err)
		}
		for _, kv := range resp.Kvs {
			rec, err := decodeRecord(kv)
			if err != nil {
				return err
			}
			before = rec.GetSeq()
			if !each(rec, len(kv.Value)) {
				return nil
			}
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return nil
		}
	}
}

// moreBefore is the sequence to go on before; the first record has none.
func moreBefore(seq uint64) uint64 {
	if seq <= 1 {
		return 0
	}
	return seq
}

// recordsAfter calls each for the records after seq, oldest first, until each
// returns an error.
func (s *Store) recordsAfter(ctx context.Context, ns string, seq uint64, each func(*mvccpb.KeyValue) error) error {
	end := clientv3.GetPrefixRangeEnd(auditPrefix(ns))
	from := auditKey(ns, seq+1)
	for {
		resp, err := s.get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(auditPage))
		if err != nil {
			return wrapEtcd("read the audit log", err)
		}
		for _, kv := range resp.Kvs {
			if err := each(kv); err != nil {
				return err
			}
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

func decodeRecord(kv *mvccpb.KeyValue) (*plimsollv1.AuditRecord, error) {
	stored := new(plimsollv1.StoredAuditRecord)
	rec := new(plimsollv1.AuditRecord)
	if err := proto.Unmarshal(kv.Value, stored); err != nil {
		return nil, fmt.Errorf("audit record %s cannot be read: %w", kv.Key, err)
	}
	if err := proto.Unmarshal(stored.GetRecord(), rec); err != nil {
		return nil, fmt.Errorf("audit record %s cannot be read: %w", kv.Key, err)
	}
	rec.Hash, rec.Revision = stored.GetHash(), kv.ModRevision
	return rec, nil
}

// Verdict is the outcome of verifying a chain.
type Verdict struct {
	// Records is how many records were checked.
	Records uint64
	// BadSeq is the first record that is wrong, and Problem what is wrong; 0
	// and empty: nothing.
	BadSeq  uint64
	Problem string
	// HeadHash is the last record's hash.
	HeadHash []byte
}

// errBadRecord ends the reading of a chain at its first bad record.
var errBadRecord = errors.New("bad record")

// Verify checks that a namespace's audit log is complete and unaltered: the
// sequence has no gap, each record has the hash of its content and names the
// hash of the record before, and the last one is the one that the head names.
func (s *Store) Verify(ctx context.Context, ns string) (Verdict, error) {
	snap, err := s.Snapshot(ns)
	if err != nil {
		return Verdict{}, err
	}
	headSeq, headHash := snap.AuditSeq()
	var v Verdict
	bad := func(seq uint64, format string, args ...any) error {
		v.BadSeq, v.Problem = seq, fmt.Sprintf(format, args...)
		return errBadRecord
	}
	err = s.recordsAfter(ctx, ns, 0, func(kv *mvccpb.KeyValue) error {
		want := v.Records + 1
		if want > headSeq {
			return errBadRecord // written after the head we verify against
		}
		_, seq, _ := splitAudit(string(kv.Key))
		if seq != want {
			return bad(want, "record %d is missing; the next one found is %d", want, seq)
		}
		stored := new(plimsollv1.StoredAuditRecord)
		if err := proto.Unmarshal(kv.Value, stored); err != nil {
			return bad(seq, "record %d cannot be decoded: %v", seq, err)
		}
		if sum := sha256.Sum256(stored.GetRecord()); !bytes.Equal(sum[:], stored.GetHash()) {
			return bad(seq, "record %d was altered: its content does not have its hash", seq)
		}
		rec, err := decodeRecord(kv)
		if err != nil {
			return bad(seq, "%v", err)
		}
		if rec.GetSeq() != seq {
			return bad(seq, "record %d says that it is record %d", seq, rec.GetSeq())
		}
		if !bytes.Equal(rec.GetPrevHash(), v.HeadHash) {
			return bad(seq, "record %d does not follow record %d: it names another hash", seq, seq-1)
		}
		v.Records, v.HeadHash = seq, rec.GetHash()
		return nil
	})
	switch {
	case err != nil && !errors.Is(err, errBadRecord):
		return Verdict{}, err
	case v.BadSeq != 0:
	case v.Records != headSeq:
		v.BadSeq, v.Problem = v.Records+1, fmt.Sprintf("the head names record %d, but the log ends with %d", headSeq, v.Records)
	case !bytes.Equal(v.HeadHash, headHash):
		v.BadSeq, v.Problem = headSeq, fmt.Sprintf("the head names another hash than record %d has", headSeq)
	}
	return v, nil
}

// lastRecord returns the newest record of a namespace, which may be gone
// itself; nil: there is none.
func (s *Store) lastRecord(ctx context.Context, ns string) (*plimsollv1.AuditRecord, error) {
	recs, _, err := s.Records(ctx, ns, RecordQuery{Limit: 1})
	if err != nil || len(recs) == 0 {
		return nil, err
	}
	return recs[0], nil
}

// DescribeRecord fills in the objects' values as text for people.
func DescribeRecord(rec *plimsollv1.AuditRecord) {
	for _, o := range rec.GetObjects() {
		if o.Before != nil {
			o.BeforeJson = describeValue(o.GetObject(), o.GetBefore())
		}
		if o.After != nil {
			o.AfterJson = describeValue(o.GetObject(), o.GetAfter())
		}
	}
}

// describeValue is the text of a stored value: what the author wrote for a
// definition, the message as JSON for everything else.
func describeValue(object string, value []byte) string {
	var msg proto.Message
	kind, name := cutKind(object)
	switch {
	case kind == kindFlag:
		v := new(plimsollv1.StoredFlag)
		if proto.Unmarshal(value, v) == nil {
			return v.GetDefinition()
		}
		return ""
	case kind == kindSegment || kind == kindEvaluator:
		v := new(plimsollv1.StoredRule)
		if proto.Unmarshal(value, v) == nil {
			return v.GetRule()
		}
		return ""
	case kind == kindOverride:
		msg = new(plimsollv1.Override)
	case kind == kindHold:
		msg = new(plimsollv1.Hold)
	case name == objSettings:
		msg = new(plimsollv1.StoredSettings)
	case name == objPlan:
		msg = new(plimsollv1.StoredPlan)
	case name == objLevel:
		msg = new(plimsollv1.StoredLevel)
	case name == objSetMeta:
		msg = new(plimsollv1.StoredSetMetadata)
	default:
		return ""
	}
	if proto.Unmarshal(value, msg) != nil {
		return ""
	}
	text, err := protojson.Marshal(msg)
	if err != nil {
		return ""
	}
	// protojson varies its spaces from run to run on purpose.
	var out bytes.Buffer
	if json.Compact(&out, text) != nil {
		return ""
	}
	return out.String()
}
