package store

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/btree"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// Object is one value of a namespace as it stands in etcd.
type Object struct {
	// Name is the key below ns/<ns>/, such as flags/new-ui.
	Name string
	// Value is the stored message, encoded. It must not be modified.
	Value []byte
	// ModRevision is the revision at which it was last written.
	ModRevision int64
}

// Snapshot is the state of one namespace at one revision. It is immutable,
// safe for concurrent use, and shares most of its structure with the versions
// before and after it. Snapshots of one position are equal on every server.
type Snapshot struct {
	namespace string
	position  *plimsollv1.Position
	head      *plimsollv1.StoredHead
	headRev   int64
	objects   *btree.BTreeG[Object]
	cloning   *sync.Mutex // held while objects are cloned; one for all versions
	flags     int
	bytes     int64
	aliases   []string // further names of the namespace
	set       *flag.Set
	aged      *atomic.Pointer[flag.Set] // set, without what has expired since
	history   history
	// superseded is closed once a newer snapshot has taken this one's place or
	// the namespace is gone.
	superseded chan struct{}
}

func newSnapshot(ns string, identity *plimsollv1.StoredIdentity) *Snapshot {
	return &Snapshot{
		namespace: ns,
		position:  &plimsollv1.Position{StoreId: identity.GetId(), Epoch: identity.GetEpoch()},
		objects: btree.NewG(32, func(a, b Object) bool {
			return a.Name < b.Name
		}),
		cloning:    new(sync.Mutex),
		set:        flag.Empty(),
		aged:       new(atomic.Pointer[flag.Set]),
		superseded: make(chan struct{}),
	}
}

// Namespace is the snapshot's namespace.
func (s *Snapshot) Namespace() string { return s.namespace }

// Position is the point of the namespace's history that the snapshot shows.
// The message is shared and must not be modified.
func (s *Snapshot) Position() *plimsollv1.Position { return s.position }

// Revision is the namespace's revision.
func (s *Snapshot) Revision() int64 { return s.position.GetRevision() }

// Superseded is closed once there is a newer snapshot, or none any more.
func (s *Snapshot) Superseded() <-chan struct{} { return s.superseded }

// FlagCount is the number of flags.
func (s *Snapshot) FlagCount() int { return s.flags }

// AuditSeq is the sequence of the namespace's last audit record, and its hash.
func (s *Snapshot) AuditSeq() (uint64, []byte) { return s.head.GetAuditSeq(), s.head.GetAuditHash() }

// Set is the compiled set, composed for the instant now.
func (s *Snapshot) Set(now time.Time) *flag.Set {
	set := s.aged.Load()
	if set == nil {
		set = s.set
	}
	if due, ok := set.NextExpiry(); ok && !now.Before(due) {
		set = set.At(now)
		s.aged.Store(set)
	}
	return set
}

// Object returns one object.
func (s *Snapshot) Object(name string) (Object, bool) { return s.objects.Get(Object{Name: name}) }

// Objects iterates over all objects, sorted by name.
func (s *Snapshot) Objects() iter.Seq[Object] {
	return func(yield func(Object) bool) { s.objects.Ascend(yield) }
}

// Flags iterates over the flags whose keys are not below from and begin with
// prefix, sorted by key.
func (s *Snapshot) Flags(from, prefix string) iter.Seq2[string, Object] {
	return s.kind(kindFlag, from, prefix)
}

// Overrides iterates over the stored overrides, those included that have
// expired and are about to be removed, sorted by flag key.
func (s *Snapshot) Overrides() iter.Seq2[string, Object] { return s.kind(kindOverride, "", "") }

func (s *Snapshot) kind(kind, from, prefix string) iter.Seq2[string, Object] {
	if from < prefix {
		from = prefix
	}
	return func(yield func(string, Object) bool) {
		s.objects.AscendGreaterOrEqual(Object{Name: kind + from}, func(o Object) bool {
			name, ok := strings.CutPrefix(o.Name, kind)
			if !ok || !strings.HasPrefix(name, prefix) {
				return false
			}
			return yield(name, o)
		})
	}
}

// Flag returns a flag as stored.
func (s *Snapshot) Flag(key string) (*plimsollv1.StoredFlag, int64, bool) {
	o, ok := s.Object(kindFlag + key)
	if !ok {
		return nil, 0, false
	}
	f := new(plimsollv1.StoredFlag)
	if proto.Unmarshal(o.Value, f) != nil {
		return nil, 0, false
	}
	return f, o.ModRevision, true
}

// FlagObject returns a flag as the object that it is stored as.
func (s *Snapshot) FlagObject(key string) (Object, bool) { return s.Object(kindFlag + key) }

// NoFlag is the error of a flag that does not exist.
func (s *Snapshot) NoFlag(key string) error {
	return &NotFoundError{Kind: "flag", Name: key, Nearest: nearest(key, s.flagKeys())}
}

// Override returns the override of a flag that is in force at now.
func (s *Snapshot) Override(key string, now time.Time) (*plimsollv1.Override, bool) {
	o, ok := s.Object(kindOverride + key)
	if !ok {
		return nil, false
	}
	ov := new(plimsollv1.Override)
	if proto.Unmarshal(o.Value, ov) != nil || lapsed(ov.GetExpiresAt(), now) {
		return nil, false
	}
	return ov, true
}

// LiveOverrides are the overrides that are in force at now, sorted by flag key.
func (s *Snapshot) LiveOverrides(now time.Time) []*plimsollv1.Override {
	var out []*plimsollv1.Override
	for key := range s.Overrides() {
		if ov, ok := s.Override(key, now); ok {
			out = append(out, ov)
		}
	}
	return out
}

// Hold returns the hold of a name that is in force at now.
func (s *Snapshot) Hold(name string, now time.Time) (*plimsollv1.Hold, bool) {
	o, ok := s.Object(kindHold + name)
	if !ok {
		return nil, false
	}
	h := new(plimsollv1.Hold)
	if proto.Unmarshal(o.Value, h) != nil || lapsed(h.GetExpiresAt(), now) {
		return nil, false
	}
	return h, true
}

// LiveHolds are the holds that are in force at now, sorted by name.
func (s *Snapshot) LiveHolds(now time.Time) []*plimsollv1.Hold {
	var out []*plimsollv1.Hold
	for name := range s.kind(kindHold, "", "") {
		if h, ok := s.Hold(name, now); ok {
			out = append(out, h)
		}
	}
	return out
}

// Ends are the moments at which overrides and holds end or have ended, in no
// order.
func (s *Snapshot) Ends() iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		for _, kind := range []string{kindOverride, kindHold} {
			for _, o := range s.kind(kind, "", "") {
				if end, ok := endOfObject(kind, o.Value); ok && !yield(end) {
					return
				}
			}
		}
	}
}

// endOfObject is when an override or hold ends; false: never.
func endOfObject(kind string, value []byte) (time.Time, bool) {
	var v interface {
		proto.Message
		GetExpiresAt() *timestamppb.Timestamp
	} = new(plimsollv1.Override)
	if kind == kindHold {
		v = new(plimsollv1.Hold)
	}
	if proto.Unmarshal(value, v) != nil || v.GetExpiresAt() == nil {
		return time.Time{}, false
	}
	return v.GetExpiresAt().AsTime(), true
}

// lapsed tells whether an expiry has come at now; unset: it never does.
func lapsed(expires *timestamppb.Timestamp, now time.Time) bool {
	return expires != nil && !now.Before(expires.AsTime())
}

// Settings are the namespace's settings, and when it was created.
func (s *Snapshot) Settings() *plimsollv1.StoredSettings {
	v := new(plimsollv1.StoredSettings)
	s.read(objSettings, v)
	return v
}

// Tiers are the namespace's tiers, most important first.
func (s *Snapshot) Tiers() degrade.Tiers { return s.set.Settings().Tiers }

// read decodes the object into msg, which stays empty if there is none.
func (s *Snapshot) read(name string, msg proto.Message) {
	if o, ok := s.Object(name); ok {
		// A value that a newer server wrote decodes as far as it is known.
		_ = proto.Unmarshal(o.Value, msg)
	}
}

// Env is what definitions of this namespace may refer to.
func (s *Snapshot) Env() flag.Env {
	return flag.Env{
		Tiers:        s.Tiers(),
		HasEvaluator: func(name string) bool { return s.objects.Has(Object{Name: kindEvaluator + name}) },
		HasSegment:   func(name string) bool { return s.objects.Has(Object{Name: kindSegment + name}) },
	}
}

// mutation is one object put, or removed where its value is nil.
type mutation struct {
	object Object
}

func (m mutation) removes() bool { return m.object.Value == nil }

// next returns the snapshot after the mutations, which all belong to one
// revision of the namespace. A nil head leaves head and revision as they are.
// Only the goroutine that follows etcd may call it, on the newest snapshot.
func (s *Snapshot) next(muts []mutation, head *plimsollv1.StoredHead, rev int64, now time.Time) (*Snapshot, []flag.Problem) {
	n := s.fork(muts)
	if head != nil {
		n.head, n.headRev = head, rev
		n.position = &plimsollv1.Position{
			StoreId: s.position.GetStoreId(), Epoch: s.position.GetEpoch(), Revision: rev, Fingerprint: fingerprintOf(head.GetAuditHash()),
		}
	}
	names := make([]string, 0, len(muts))
	for _, m := range muts {
		names = append(names, m.object.Name)
	}
	n.history = s.history.append(n.point(), names)
	return n.compile(muts, now)
}

// rehearse returns what the snapshot would be after the writes, at the same
// position, and what of it would not compile. Any goroutine may call it.
func (s *Snapshot) rehearse(writes []write, now time.Time) (*Snapshot, []flag.Problem) {
	muts := make([]mutation, len(writes))
	for i, w := range writes {
		muts[i] = mutation{Object{Name: w.name, Value: w.value}}
	}
	return s.fork(muts).compile(muts, now)
}

// fork is the snapshot with other objects, and nothing else brought up to them.
func (s *Snapshot) fork(muts []mutation) *Snapshot {
	n := *s
	if aged := s.aged.Load(); aged != nil {
		// It shares more with what was served last: what has ended is no change
		// when it is removed.
		n.set = aged
	}
	n.superseded, n.aged = make(chan struct{}), new(atomic.Pointer[flag.Set])
	s.cloning.Lock()
	n.objects = s.objects.Clone()
	s.cloning.Unlock()
	for _, m := range muts {
		n.put(m)
	}
	return &n
}

// compile gives a fork its set, which follows from the one that it has yet.
func (s *Snapshot) compile(muts []mutation, now time.Time) (*Snapshot, []flag.Problem) {
	if slices.ContainsFunc(muts, func(m mutation) bool { return m.object.Name == objSettings }) {
		s.aliases = s.Settings().GetSettings().GetAliases()
	}
	set, problems := s.set.With(s.update(muts), now)
	s.set = set
	return s, problems
}

func (s *Snapshot) put(m mutation) {
	var old Object
	var had bool
	if m.removes() {
		old, had = s.objects.Delete(m.object)
	} else {
		old, had = s.objects.ReplaceOrInsert(m.object)
		s.bytes += int64(len(m.object.Name) + len(m.object.Value))
	}
	if had {
		s.bytes -= int64(len(old.Name) + len(old.Value))
	}
	if strings.HasPrefix(m.object.Name, kindFlag) {
		if had {
			s.flags--
		}
		if !m.removes() {
			s.flags++
		}
	}
}

// update translates mutations into what the compiled set must learn.
func (s *Snapshot) update(muts []mutation) flag.Update {
	u := flag.Update{Epoch: s.position.GetEpoch(), Revision: s.Revision(), Fingerprint: s.position.GetFingerprint()}
	settings := false
	level := false
	for _, m := range muts {
		name := m.object.Name
		switch kind, rest := cutKind(name); kind {
		case kindFlag:
			collect(&u.Flags, &u.RemovedFlags, rest, m, func(v *plimsollv1.StoredFlag) string { return v.GetDefinition() })
		case kindEvaluator:
			collect(&u.Evaluators, &u.RemovedEvaluators, rest, m, func(v *plimsollv1.StoredRule) string { return v.GetRule() })
		case kindSegment:
			collect(&u.Segments, &u.RemovedSegments, rest, m, func(v *plimsollv1.StoredRule) string { return v.GetRule() })
		case kindOverride:
			if m.removes() {
				u.RemovedOverrides = append(u.RemovedOverrides, rest)
				continue
			}
			ov := new(plimsollv1.Override)
			if proto.Unmarshal(m.object.Value, ov) == nil {
				u.Overrides = append(u.Overrides, flag.Override{Key: rest, Variant: ov.GetVariant(), ExpiresAt: instant(ov.GetExpiresAt())})
			}
		case kindHold:
			level = true
		case "":
			switch name {
			case objSettings, objPlan, objSetMeta:
				settings = true
			case objLevel:
				level = true
			}
		}
	}
	if settings {
		u.Settings = s.flagSettings()
	}
	if level {
		u.Level = s.levelState()
	}
	return u
}

// collect adds one mutation of a definition to what is put or removed.
func collect[M any, P interface {
	*M
	proto.Message
}](put *[]flag.Source, removed *[]string, key string, m mutation, text func(P) string) {
	if m.removes() {
		*removed = append(*removed, key)
		return
	}
	v := P(new(M))
	// What cannot be decoded has no text, which the set reports as a problem
	// of this key while it keeps the last good version.
	_ = proto.Unmarshal(m.object.Value, v)
	*put = append(*put, flag.Source{Key: key, JSON: text(v)})
}

func (s *Snapshot) flagSettings() *flag.Settings {
	var plan plimsollv1.StoredPlan
	var meta plimsollv1.StoredSetMetadata
	s.read(objPlan, &plan)
	s.read(objSetMeta, &meta)
	out := &flag.Settings{Metadata: meta.GetJson(), Bucketing: flagBucketing(s.Settings().GetSettings().GetBucketing())}
	for _, t := range plan.GetTiers() {
		out.Tiers = append(out.Tiers, t.GetName())
	}
	return out
}

func flagBucketing(b plimsollv1.Bucketing) flag.Bucketing {
	switch b {
	case plimsollv1.Bucketing_BUCKETING_V1:
		return flag.V1
	case plimsollv1.Bucketing_BUCKETING_V3:
		return flag.V3
	default:
		return flag.V2
	}
}

func (s *Snapshot) levelState() *degrade.LevelState {
	var level plimsollv1.StoredLevel
	s.read(objLevel, &level)
	out := &degrade.LevelState{Auto: degrade.Level(level.GetAutoMillionths()), Seed: level.GetSeed()}
	for name, o := range s.kind(kindHold, "", "") {
		h := new(plimsollv1.Hold)
		if proto.Unmarshal(o.Value, h) != nil {
			continue
		}
		hold := degrade.Hold{Name: name, ExpiresAt: instant(h.GetExpiresAt())}
		if h.FloorMillionths != nil {
			v := degrade.Level(h.GetFloorMillionths())
			hold.Floor = &v
		}
		if h.CeilingMillionths != nil {
			v := degrade.Level(h.GetCeilingMillionths())
			hold.Ceiling = &v
		}
		out.Holds = append(out.Holds, hold)
	}
	return out
}

// cutKind splits an object's name into its kind, "" for one of which there is
// only one, and the rest.
func cutKind(name string) (kind, rest string) {
	for _, k := range [...]string{kindFlag, kindEvaluator, kindSegment, kindOverride, kindHold} {
		if rest, ok := strings.CutPrefix(name, k); ok {
			return k, rest
		}
	}
	return "", name
}

// String names the snapshot in logs.
func (s *Snapshot) String() string {
	return fmt.Sprintf("%s@%d/%d", s.namespace, s.position.GetEpoch(), s.Revision())
}
