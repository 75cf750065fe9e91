package store

import (
	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// StateChange is the named objects as clients need them: put where the
// snapshot has them, removed where it does not. It carries neither actors nor
// reasons.
func (s *Snapshot) StateChange(names []string) *plimsollv1.StateChange {
	out := new(plimsollv1.StateChange)
	for _, name := range names {
		o, exists := s.Object(name)
		switch kind, rest := cutKind(name); kind {
		case kindFlag:
			if !exists {
				out.RemovedFlags = append(out.RemovedFlags, rest)
				continue
			}
			v := new(plimsollv1.StoredFlag)
			_ = proto.Unmarshal(o.Value, v) // what cannot be read has no definition; clients report it
			out.Flags = append(out.Flags, &plimsollv1.FlagDefinition{Key: rest, Definition: v.GetDefinition()})
		case kindEvaluator:
			wireRule(&out.Evaluators, &out.RemovedEvaluators, rest, o, exists)
		case kindSegment:
			wireRule(&out.Segments, &out.RemovedSegments, rest, o, exists)
		case kindOverride:
			if !exists {
				out.RemovedOverrides = append(out.RemovedOverrides, rest)
				continue
			}
			v := new(plimsollv1.Override)
			_ = proto.Unmarshal(o.Value, v)
			out.Overrides = append(out.Overrides, &plimsollv1.OverrideState{FlagKey: rest, Variant: v.GetVariant(), ExpiresAt: v.GetExpiresAt()})
		case kindHold:
			out.Level = s.LevelState()
		case "":
			switch name {
			case objLevel:
				out.Level = s.LevelState()
			case objSettings, objPlan, objSetMeta:
				out.Settings = s.SetSettings()
			}
		}
	}
	return out
}

func wireRule(put *[]*plimsollv1.RuleDefinition, removed *[]string, name string, o Object, exists bool) {
	if !exists {
		*removed = append(*removed, name)
		return
	}
	v := new(plimsollv1.StoredRule)
	_ = proto.Unmarshal(o.Value, v)
	*put = append(*put, &plimsollv1.RuleDefinition{Name: name, Rule: v.GetRule()})
}

// LevelState is the level as clients need it.
func (s *Snapshot) LevelState() *plimsollv1.LevelState {
	var level plimsollv1.StoredLevel
	s.read(objLevel, &level)
	out := &plimsollv1.LevelState{AutoMillionths: level.GetAutoMillionths(), Seed: level.GetSeed()}
	for name, o := range s.kind(kindHold, "", "") {
		h := new(plimsollv1.Hold)
		if proto.Unmarshal(o.Value, h) != nil {
			continue
		}
		out.Holds = append(out.Holds, &plimsollv1.HoldState{
			Name: name, FloorMillionths: h.FloorMillionths, CeilingMillionths: h.CeilingMillionths, ExpiresAt: h.GetExpiresAt(),
		})
	}
	return out
}

// SetSettings is what the set decides for all of its flags, as clients need
// it.
func (s *Snapshot) SetSettings() *plimsollv1.SetSettings {
	var plan plimsollv1.StoredPlan
	var meta plimsollv1.StoredSetMetadata
	s.read(objPlan, &plan)
	s.read(objSetMeta, &meta)
	return &plimsollv1.SetSettings{
		Bucketing: s.Settings().GetSettings().GetBucketing(), Tiers: plan.GetTiers(), Metadata: meta.GetJson(),
	}
}

// LevelOnly says whether the named objects change the level and nothing else.
func LevelOnly(names []string) bool {
	for _, n := range names {
		if kind, _ := cutKind(n); n != objLevel && kind != kindHold {
			return false
		}
	}
	return len(names) > 0
}

// AutomaticOnly says whether the named objects are what a policy's move of the
// level writes, and nothing else: operators move it by holds.
func AutomaticOnly(names []string) bool { return len(names) == 1 && names[0] == objLevel }
