package follow

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// maxSnapshot bounds a whole snapshot, in bytes: what a store may hold.
const maxSnapshot = 1 << 30

// change is one complete step of a stream.
type change struct {
	flag.Update
	// levelOnly is whether the level alone has changed.
	levelOnly bool
	// base is the revision that the step builds on; 0: any, or not said.
	base int64
}

// follows tells whether the step may be applied to a set.
func (c *change) follows(set *flag.Set) error {
	if c.base > set.Revision() && c.Epoch == set.Epoch() {
		return fmt.Errorf("the server sent a change of revision %d to a client that is at %d: something was missed", c.base, set.Revision())
	}
	return nil
}

// isEmpty tells whether the step moves the position alone.
func (c *change) isEmpty() bool {
	return !c.Reset && len(c.Flags)+len(c.RemovedFlags)+
		len(c.Evaluators)+len(c.RemovedEvaluators)+
		len(c.Segments)+len(c.RemovedSegments)+
		len(c.Overrides)+len(c.RemovedOverrides) == 0 &&
		c.Level == nil && c.Settings == nil
}

// assembly turns messages into steps and collects the chunks of a snapshot.
type assembly struct {
	snapshot *change // nil: none is being collected
	at       position
	chunks   uint32
	bytes    int
}

// add takes the next message; c is nil if that does not complete a step.
func (a *assembly) add(m *plimsollv1.WatchResponse, at position) (c *change, err error) {
	if chunk := m.GetSnapshot(); chunk != nil {
		return a.chunk(chunk, at, m.GetPosition().GetFingerprint())
	}
	if _, isHeartbeat := m.GetEvent().(*plimsollv1.WatchResponse_Heartbeat); a.snapshot != nil {
		if isHeartbeat {
			return nil, nil // the position is reached with the last chunk
		}
		return nil, errors.New("the server sent a change in the middle of a snapshot")
	}
	c = &change{}
	switch e := m.GetEvent().(type) {
	case *plimsollv1.WatchResponse_Delta:
		c.put(e.Delta)
	case *plimsollv1.WatchResponse_Level:
		c.Level, c.levelOnly = levelOf(e.Level), true
	case *plimsollv1.WatchResponse_Heartbeat:
	default:
		return nil, nil // of a newer server, and nothing to this version
	}
	c.Epoch, c.Revision, c.Fingerprint = at.epoch, at.revision, m.GetPosition().GetFingerprint()
	c.base = m.GetBaseRevision()
	return c, nil
}

func (a *assembly) chunk(chunk *plimsollv1.SnapshotChunk, at position, fingerprint uint64) (*change, error) {
	if chunk.GetIndex() == 0 {
		*a = assembly{snapshot: &change{}, at: at}
		a.snapshot.Reset = true
		a.snapshot.Epoch, a.snapshot.Revision, a.snapshot.Fingerprint = at.epoch, at.revision, fingerprint
	}
	switch {
	case a.snapshot == nil || chunk.GetIndex() != a.chunks:
		return nil, fmt.Errorf("the server sent chunk %d of a snapshot where chunk %d was due", chunk.GetIndex(), a.chunks)
	case at != a.at || fingerprint != a.snapshot.Fingerprint:
		return nil, fmt.Errorf("the server sent a snapshot of %s with a chunk of %s", a.at, at)
	}
	if a.bytes += proto.Size(chunk); a.bytes > maxSnapshot {
		return nil, fmt.Errorf("the server sent a snapshot of more than %d bytes", maxSnapshot)
	}
	a.snapshot.put(chunk.GetObjects())
	a.chunks++
	if !chunk.GetLast() {
		return nil, nil
	}
	c := a.snapshot
	*a = assembly{}
	return c, nil
}

// put adds the objects of a message.
func (c *change) put(s *plimsollv1.StateChange) {
	for _, f := range s.GetFlags() {
		c.Flags = append(c.Flags, flag.Source{Key: f.GetKey(), JSON: f.GetDefinition()})
	}
	c.Evaluators = appendRules(c.Evaluators, s.GetEvaluators())
	c.Segments = appendRules(c.Segments, s.GetSegments())
	for _, o := range s.GetOverrides() {
		c.Overrides = append(c.Overrides, flag.Override{
			Key: o.GetFlagKey(), Variant: o.GetVariant(), ExpiresAt: timeOf(o.GetExpiresAt()),
		})
	}
	c.RemovedFlags = append(c.RemovedFlags, s.GetRemovedFlags()...)
	c.RemovedEvaluators = append(c.RemovedEvaluators, s.GetRemovedEvaluators()...)
	c.RemovedSegments = append(c.RemovedSegments, s.GetRemovedSegments()...)
	c.RemovedOverrides = append(c.RemovedOverrides, s.GetRemovedOverrides()...)
	if l := s.GetLevel(); l != nil {
		c.Level = levelOf(l)
	}
	if set := s.GetSettings(); set != nil {
		c.Settings = settingsOf(set)
	}
}

func appendRules(sources []flag.Source, rules []*plimsollv1.RuleDefinition) []flag.Source {
	for _, r := range rules {
		sources = append(sources, flag.Source{Key: r.GetName(), JSON: r.GetRule()})
	}
	return sources
}

func levelOf(l *plimsollv1.LevelState) *degrade.LevelState {
	state := &degrade.LevelState{Auto: degrade.Level(l.GetAutoMillionths()), Seed: l.GetSeed()}
	for _, h := range l.GetHolds() {
		state.Holds = append(state.Holds, degrade.Hold{
			Name:      h.GetName(),
			Floor:     boundOf(h.FloorMillionths),
			Ceiling:   boundOf(h.CeilingMillionths),
			ExpiresAt: timeOf(h.GetExpiresAt()),
		})
	}
	return state
}

func boundOf(millionths *uint32) *degrade.Level {
	if millionths == nil {
		return nil
	}
	level := degrade.Level(*millionths)
	return &level
}

// timeOf is the zero time for an unset timestamp: it never comes.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// settingsOf takes over what this version understands; what it does not is
// left at its default, as everything that a set is told must be served.
func settingsOf(s *plimsollv1.SetSettings) *flag.Settings {
	settings := &flag.Settings{Metadata: s.GetMetadata()}
	switch s.GetBucketing() {
	case plimsollv1.Bucketing_BUCKETING_V1:
		settings.Bucketing = flag.V1
	case plimsollv1.Bucketing_BUCKETING_V3:
		settings.Bucketing = flag.V3
	default:
		settings.Bucketing = flag.V2
	}
	var tiers degrade.Tiers
	for _, t := range s.GetTiers() {
		tiers = append(tiers, t.GetName())
	}
	if tiers.Validate() == nil {
		settings.Tiers = tiers
	}
	return settings
}
