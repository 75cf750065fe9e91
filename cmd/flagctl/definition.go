package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// newFlag is a flag as the command line of create describes it.
type newFlag struct {
	boolean          bool
	kind             string
	variants         []string // name=value
	defaultVariant   string
	tier, degraded   string
	owner, describes string
	labels           map[string]string
}

// flagTypes are what --type takes.
var flagTypes = []string{"bool", "string", "number", "object"}

// definitionJSON is a definition with its fields in the order in which people
// write them.
type definitionJSON struct {
	State          string          `json:"state"`
	Variants       json.RawMessage `json:"variants"`
	DefaultVariant string          `json:"defaultVariant,omitempty"`
	Degradation    struct {
		Tier            string `json:"tier,omitempty"`
		DegradedVariant string `json:"degradedVariant,omitempty"`
	} `json:"degradation,omitzero"`
	Plimsoll *infoJSON `json:"plimsoll,omitempty"`
}

type infoJSON struct {
	Owner       string            `json:"owner,omitempty"`
	Description string            `json:"description,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
}

// definition writes the definition as JSON. The error says what is wrong with
// the command line; whether the definition is valid is not checked here.
func (f newFlag) definition() (string, error) {
	if f.boolean {
		if len(f.variants) > 0 {
			return "", errors.New("--bool brings its own variants, on and off: leave out --variant")
		}
		if f.kind != "" && f.kind != "bool" {
			return "", fmt.Errorf("--bool and --type %s contradict each other", f.kind)
		}
		f.variants, f.kind = []string{"on=true", "off=false"}, "bool"
		if f.defaultVariant == "" {
			f.defaultVariant = "off"
		}
	}
	if len(f.variants) == 0 {
		return "", errors.New("it needs --bool, --variant name=value or -f FILE")
	}
	if f.kind != "" && !slices.Contains(flagTypes, f.kind) {
		return "", fmt.Errorf("--type is one of %s, not %q", strings.Join(flagTypes, ", "), f.kind)
	}
	variants, err := f.variantsJSON()
	if err != nil {
		return "", err
	}
	out := definitionJSON{State: stateEnabled, Variants: variants, DefaultVariant: f.defaultVariant}
	out.Degradation.Tier, out.Degradation.DegradedVariant = f.tier, f.degraded
	if f.owner != "" || f.describes != "" || len(f.labels) > 0 {
		out.Plimsoll = &infoJSON{f.owner, f.describes, f.labels}
	}
	return jsonText(out), nil
}

// variantsJSON is the object of the variants, in their order.
func (f newFlag) variantsJSON() (json.RawMessage, error) {
	seen := make(map[string]bool, len(f.variants))
	members := make([]string, 0, len(f.variants))
	for _, v := range f.variants {
		name, text, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--variant %q is not name=value", v)
		}
		if seen[name] {
			return nil, fmt.Errorf("the variant %q is there twice", name)
		}
		seen[name] = true
		value, err := f.valueJSON(text)
		if err != nil {
			return nil, fmt.Errorf("--variant %s: %w", name, err)
		}
		members = append(members, jsonText(name)+":"+value)
	}
	return json.RawMessage("{" + strings.Join(members, ",") + "}"), nil
}

// valueJSON is a value as JSON: of the type that was asked for, else of the
// type that it looks like.
func (f newFlag) valueJSON(text string) (string, error) {
	kind := kindOf(text)
	switch {
	case f.kind == "string" && strings.HasPrefix(text, `"`) && kind == "string":
		return text, nil // quoted already
	case f.kind == "string" || f.kind == "" && (kind == "" || kind == "text"):
		return jsonText(text), nil
	case f.kind == "" || f.kind == kind:
		return text, nil
	default:
		return "", fmt.Errorf("%q is no %s", text, f.kind)
	}
}

// kindOf is the type of a value written as JSON; "text" if it is no JSON, ""
// if it is of a type that no variant has.
func kindOf(text string) string {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return "text"
	}
	switch v.(type) {
	case bool:
		return "bool"
	case string:
		return "string"
	case float64:
		return "number"
	case map[string]any:
		return "object"
	default:
		return ""
	}
}
