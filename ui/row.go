package ui

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// Row is a flag as lists show it. It is immutable.
type Row struct {
	Key string
	// ID is the flag's key as it can stand in the id of an element.
	ID         string
	Definition string
	Revision   int64
	// Moved is the revision that last changed what it serves: its definition, or
	// its override.
	Moved     int64
	Updated   time.Time
	UpdatedBy string
	// Type is bool, string, number or object.
	Type     string
	Enabled  bool
	Variants []string
	// Default is the default variant; "": the caller's default.
	Default string
	// Targeted: it has rules.
	Targeted bool
	// On and Off are the variants that a toggle goes between; "" for a flag that
	// cannot be toggled.
	On, Off string
	// Degradable: it has a degradation block, with these.
	Degradable     bool
	Tier, Degraded string
	DependsOn      []string

	Owner, Description, Expires string
	Labels                      []string // k=v, sorted
	Override                    *plimsollv1.Override
	Problem                     string

	search string
}

// definition is what lists need of a flag's definition.
type definition struct {
	State          string                     `json:"state"`
	Variants       map[string]json.RawMessage `json:"variants"`
	DefaultVariant *string                    `json:"defaultVariant"`
	Targeting      json.RawMessage            `json:"targeting"`
	Degradation    *struct {
		Tier            string   `json:"tier"`
		DegradedVariant string   `json:"degradedVariant"`
		DependsOn       []string `json:"dependsOn"`
	} `json:"degradation"`
	Plimsoll struct {
		Owner       string            `json:"owner"`
		Expires     string            `json:"expires"`
		Description string            `json:"description"`
		Labels      map[string]string `json:"labels"`
	} `json:"plimsoll"`
}

// newRows reads many flags, on all processors: it is what the first page of a
// large namespace takes longest for.
func newRows(flags []*plimsollv1.Flag) []*Row {
	rows := make([]*Row, len(flags))
	var work sync.WaitGroup
	share := max(500, (len(flags)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	for from := 0; from < len(flags); from += share {
		to := min(from+share, len(flags))
		work.Go(func() {
			for i := from; i < to; i++ {
				rows[i] = newRow(flags[i])
			}
		})
	}
	work.Wait()
	return rows
}

// defaultTier is the tier of a degradation block that names none.
const defaultTier = "standard"

func newRow(f *plimsollv1.Flag) *Row {
	r := &Row{
		Key: f.GetKey(), ID: elementID(f.GetKey()), Definition: f.GetDefinition(), Revision: f.GetRevision(), Moved: f.GetRevision(),
		Updated: f.GetUpdatedAt().AsTime(), UpdatedBy: f.GetUpdatedBy().GetName(),
		Override: f.GetOverride(), Problem: f.GetProblem(),
	}
	var d definition
	if err := json.Unmarshal([]byte(f.GetDefinition()), &d); err != nil {
		r.Problem = fmt.Sprintf("its definition cannot be read: %v", err)
	}
	r.Enabled = d.State != "DISABLED"
	for name := range d.Variants {
		r.Variants = append(r.Variants, name)
	}
	slices.Sort(r.Variants)
	if d.DefaultVariant != nil {
		r.Default = *d.DefaultVariant
	}
	text := strings.TrimSpace(string(d.Targeting))
	r.Targeted = text != "" && text != "null" && text != "{}"
	r.setType(d)
	if d.Degradation != nil {
		r.Degradable, r.Tier, r.Degraded, r.DependsOn = true, d.Degradation.Tier, d.Degradation.DegradedVariant, d.Degradation.DependsOn
		if r.Tier == "" {
			r.Tier = defaultTier
		}
	}
	r.Owner, r.Description, r.Expires = d.Plimsoll.Owner, d.Plimsoll.Description, d.Plimsoll.Expires
	for k, v := range d.Plimsoll.Labels {
		r.Labels = append(r.Labels, k+"="+v)
	}
	slices.Sort(r.Labels)
	r.search = strings.ToLower(strings.Join(append([]string{r.Key, r.Description, r.Owner, r.Tier}, r.Labels...), "\n"))
	return r
}

// setType finds the type of the variants, and what a toggle goes between.
func (r *Row) setType(d definition) {
	for _, name := range r.Variants {
		value := strings.TrimSpace(string(d.Variants[name]))
		switch {
		case value == "true" || value == "false":
			r.Type = "bool"
			if value == "true" && r.On == "" {
				r.On = name
			}
			if value == "false" && r.Off == "" {
				r.Off = name
			}
		case strings.HasPrefix(value, `"`):
			r.Type = "string"
		case strings.HasPrefix(value, "{") || strings.HasPrefix(value, "["):
			r.Type = "object"
		default:
			r.Type = "number"
		}
	}
	if r.On == "" || r.Off == "" || r.Targeted || r.Default == "" {
		r.On, r.Off = "", ""
	}
}

// Toggles tells whether the flag can be toggled: a bool flag without rules.
func (r *Row) Toggles() bool { return r.On != "" }

// IsOn tells whether a flag that can be toggled is on.
func (r *Row) IsOn() bool { return r.Default == r.On }

// elementID is a key as it can stand in the id of an element.
func elementID(key string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // never fails
	return fmt.Sprintf("f%016x", h.Sum64())
}
