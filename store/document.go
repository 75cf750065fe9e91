package store

import (
	"encoding/json"
	"strings"

	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// Document is the namespace as one document that [Store.Apply] takes: a flag a
// line, sorted by key.
func (s *Snapshot) Document() (string, error) {
	var b strings.Builder
	b.WriteString("{\n\"flags\": {")
	err := s.members(&b, kindFlag, func(value []byte) (string, error) {
		v := new(plimsollv1.StoredFlag)
		err := proto.Unmarshal(value, v)
		return v.GetDefinition(), err
	})
	if err != nil {
		return "", err
	}
	b.WriteString("}")
	for _, part := range []struct{ kind, field string }{{kindEvaluator, "$evaluators"}, {kindSegment, "segments"}} {
		var rules strings.Builder
		err := s.members(&rules, part.kind, func(value []byte) (string, error) {
			v := new(plimsollv1.StoredRule)
			err := proto.Unmarshal(value, v)
			return v.GetRule(), err
		})
		if err != nil {
			return "", err
		}
		if rules.Len() > 0 {
			b.WriteString(",\n\"" + part.field + "\": {" + rules.String() + "}")
		}
	}
	var meta plimsollv1.StoredSetMetadata
	s.read(objSetMeta, &meta)
	if meta.GetJson() != "" {
		b.WriteString(",\n\"metadata\": " + meta.GetJson())
	}
	b.WriteString("\n}\n")
	return b.String(), nil
}

// members writes the objects of a kind as members of a JSON object.
func (s *Snapshot) members(b *strings.Builder, kind string, text func(value []byte) (string, error)) error {
	first := true
	for name, o := range s.kind(kind, "", "") {
		key, err := json.Marshal(name)
		if err != nil {
			return err
		}
		value, err := text(o.Value)
		if err != nil {
			return err
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		b.WriteString("\n  ")
		b.Write(key)
		b.WriteString(": ")
		b.WriteString(value)
	}
	if !first {
		b.WriteByte('\n')
	}
	return nil
}
