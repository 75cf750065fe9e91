package main

import (
	"bytes"
	"encoding/json"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// summary is what is told of a definition at a glance. It is read leniently:
// a newer server may hold definitions that this version would refuse.
type summary struct {
	State          string          `json:"state"`
	DefaultVariant *string         `json:"defaultVariant"`
	Targeting      json.RawMessage `json:"targeting"`
	Metadata       json.RawMessage `json:"metadata"`
	Degradation    *struct {
		Tier            string   `json:"tier"`
		DegradedVariant string   `json:"degradedVariant"`
		DependsOn       []string `json:"dependsOn"`
		Guard           string   `json:"guard"`
	} `json:"degradation"`
	Plimsoll struct {
		Owner       string            `json:"owner"`
		Expires     string            `json:"expires"`
		Description string            `json:"description"`
		Labels      map[string]string `json:"labels"`
	} `json:"plimsoll"`
	Variants json.RawMessage `json:"variants"`

	variants []namedValue // in their order
}

// namedValue is a variant and its value as JSON.
type namedValue struct {
	name string
	json string
}

// defaultTier is the tier of a degradation block that names none.
const defaultTier = "standard"

func summarize(definition string) summary {
	var s summary
	// A definition of a shape that is not known tells as much as it can.
	_ = json.Unmarshal([]byte(definition), &s)
	s.variants = members(s.Variants)
	if s.Degradation != nil && s.Degradation.Tier == "" {
		s.Degradation.Tier = defaultTier
	}
	return s
}

// members are the members of a JSON object in their order.
func members(object json.RawMessage) []namedValue {
	dec := json.NewDecoder(bytes.NewReader(object))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil
	}
	var out []namedValue
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return out
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return out
		}
		text, _ := name.(string)
		out = append(out, namedValue{text, string(value)})
	}
	return out
}

// valueType is the type of all variants.
func (s *summary) valueType() string {
	if len(s.variants) == 0 {
		return ""
	}
	switch s.variants[0].json[0] {
	case 't', 'f':
		return "bool"
	case '"':
		return "string"
	case '{':
		return "object"
	default:
		return "number"
	}
}

func (s *summary) tier() string {
	if s.Degradation == nil {
		return ""
	}
	return s.Degradation.Tier
}

// defaultName is the default variant; "" when callers use their own default.
func (s *summary) defaultName() string {
	if s.DefaultVariant == nil {
		return ""
	}
	return *s.DefaultVariant
}

func (s *summary) variantNames() []string {
	names := make([]string, len(s.variants))
	for i, v := range s.variants {
		names[i] = v.name
	}
	return names
}

// targeted tells whether anybody gets something else than the default.
func (s *summary) targeted() bool {
	t := string(bytes.TrimSpace(s.Targeting))
	return t != "" && t != "null" && t != "{}"
}

// flagJSON is a flag as -o json lists it.
type flagJSON struct {
	Key            string            `json:"key"`
	Type           string            `json:"type"`
	State          string            `json:"state"`
	DefaultVariant *string           `json:"defaultVariant"`
	Targeted       bool              `json:"targeted"`
	Tier           string            `json:"tier,omitempty"`
	Owner          string            `json:"owner,omitempty"`
	Description    string            `json:"description,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
	Override       *overrideJSON     `json:"override,omitempty"`
	Problem        string            `json:"problem,omitempty"`
	Revision       int64             `json:"revision"`
	CreatedAt      *time.Time        `json:"createdAt,omitempty"`
	UpdatedAt      *time.Time        `json:"updatedAt,omitempty"`
	UpdatedBy      string            `json:"updatedBy,omitempty"`
}

type overrideJSON struct {
	Variant   string     `json:"variant"`
	Reason    string     `json:"reason,omitempty"`
	Actor     string     `json:"actor,omitempty"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
}

func flagToJSON(f *plimsollv1.Flag) flagJSON {
	s := summarize(f.GetDefinition())
	out := flagJSON{
		Key: f.GetKey(), Type: s.valueType(), State: s.State, DefaultVariant: s.DefaultVariant, Targeted: s.targeted(),
		Tier: s.tier(), Owner: s.Plimsoll.Owner, Description: s.Plimsoll.Description, Labels: s.Plimsoll.Labels,
		Problem: f.GetProblem(), Revision: f.GetRevision(),
		CreatedAt: instant(f.GetCreatedAt()), UpdatedAt: instant(f.GetUpdatedAt()), UpdatedBy: f.GetUpdatedBy().GetName(),
	}
	if o := f.GetOverride(); o != nil {
		out.Override = &overrideJSON{o.GetVariant(), o.GetReason(), o.GetActor().GetName(), instant(o.GetExpiresAt())}
	}
	return out
}

// instant is a timestamp for JSON, in UTC; nil if it is not set.
func instant(ts *timestamppb.Timestamp) *time.Time {
	if ts == nil {
		return nil
	}
	t := ts.AsTime().UTC()
	return &t
}
