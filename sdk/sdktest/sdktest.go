// Package sdktest is Plimsoll's provider for unit tests: flags are set in code,
// there is no server, and changes are there at once. It evaluates as in
// production, so that targeting, degradation and overrides can be tested too.
//
//	flags := sdktest.New(t, map[string]any{"new-checkout": true, "page-size": 20})
//	if err := openfeature.SetProviderAndWait(flags); err != nil {
//		t.Fatal(err)
//	}
//	...
//	flags.Set("new-checkout", false)
//
// Tests that run at the same time need a provider and a domain each
// (openfeature.SetNamedProviderAndWait), or an API each (package isolated of
// OpenFeature's SDK).
package sdktest

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"testing"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/bridge"
)

// Definition is a whole flag as a flagd document has it, for flags with
// targeting, several variants or a degradation block.
type Definition string

// seed decides who is shed while a level is set in part: the same users in each
// run of a test.
const seed = "5eed5eed5eed5eed"

// Provider is a provider with flags from code; it is an *sdk.Provider, which
// typed handles take. Its methods are safe for concurrent use. Those that are
// given nonsense end the test.
type Provider struct {
	*sdk.Provider
	tb   testing.TB
	test bridge.Test

	mu          sync.Mutex
	evaluations map[string]map[string]int
	tracked     map[string]Tracked
}

// Tracked sums up what was tracked of one event.
type Tracked struct {
	Count int
	Sum   float64
}

// New makes a provider with flags: by key a plain value (a bool, a string, a
// number, or a map or struct for an object), which everybody gets, or a
// Definition.
func New(tb testing.TB, flags map[string]any) *Provider {
	tb.Helper()
	test := bridge.New(slog.New(slog.NewTextHandler(io.Discard, nil)))
	p := &Provider{Provider: test.Provider.(*sdk.Provider), tb: tb, test: test}
	var u flag.Update
	for key, value := range flags {
		u.Flags = append(u.Flags, p.source(key, value))
	}
	p.update(u)
	return p
}

// Set adds or replaces a flag; see New.
func (p *Provider) Set(key string, value any) {
	p.tb.Helper()
	p.update(flag.Update{Flags: []flag.Source{p.source(key, value)}})
}

// Remove removes a flag.
func (p *Provider) Remove(key string) {
	p.tb.Helper()
	p.update(flag.Update{RemovedFlags: []string{key}})
}

// Segment adds or replaces a segment that targeting can refer to: a rule as
// JSON.
func (p *Provider) Segment(name, rule string) {
	p.tb.Helper()
	p.update(flag.Update{Segments: []flag.Source{{Key: name, JSON: rule}}})
}

// Override pins a flag to a variant, as an operator would; "" removes the
// override.
func (p *Provider) Override(key, variant string) {
	p.tb.Helper()
	if !p.test.Flag(key) {
		p.tb.Fatalf("sdktest: there is no flag %q to override: set it first", key)
	}
	if variant == "" {
		p.update(flag.Update{RemovedOverrides: []string{key}})
		return
	}
	p.update(flag.Update{Overrides: []flag.Override{{Key: key, Variant: variant}}})
}

// SetLevel sets the level of degradation: 0 sheds nothing, 1 all flags of the
// tier optional, 1.25 also a quarter of the users of standard, 3 everything but
// critical ones.
func (p *Provider) SetLevel(level float64) {
	p.tb.Helper()
	most := degrade.DefaultTiers().Max()
	if math.IsNaN(level) || level < 0 || level > float64(most)/float64(degrade.One) {
		p.tb.Fatalf("sdktest: level %v: it is 0 to %s", level, most)
	}
	millionths := degrade.Level(math.Round(level * float64(degrade.One)))
	p.update(flag.Update{Level: &degrade.LevelState{Auto: millionths, Seed: seed}})
}

// Evaluations is how often each variant of a flag was served since the provider
// was made; "" is the caller's default. Evaluations of keys that are no flag are
// those of "".
func (p *Provider) Evaluations(key string) map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.test.Counts(func(c flag.Count) {
		if p.evaluations == nil {
			p.evaluations = map[string]map[string]int{}
		}
		if p.evaluations[c.Key] == nil {
			p.evaluations[c.Key] = map[string]int{}
		}
		p.evaluations[c.Key][c.Variant] += int(c.N)
	})
	served := map[string]int{}
	for variant, n := range p.evaluations[key] {
		served[variant] = n
	}
	return served
}

// Tracked is what was tracked of an event since the provider was made.
func (p *Provider) Tracked(event string) Tracked {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.test.Tracked() {
		if p.tracked == nil {
			p.tracked = map[string]Tracked{}
		}
		sum := p.tracked[e.GetName()]
		p.tracked[e.GetName()] = Tracked{sum.Count + int(e.GetCount()), sum.Sum + e.GetSum()}
	}
	return p.tracked[event]
}

func (p *Provider) update(u flag.Update) {
	p.tb.Helper()
	for _, problem := range p.test.Update(u) {
		p.tb.Fatalf("sdktest: %s: %v", problem.Key, problem.Faults)
	}
}

// source is the text of a flag.
func (p *Provider) source(key string, value any) flag.Source {
	p.tb.Helper()
	if err := flag.CheckKey(key); err != nil {
		p.tb.Fatalf("sdktest: %v", err)
	}
	switch v := value.(type) {
	case Definition:
		return flag.Source{Key: key, JSON: string(v)}
	case bool:
		return flag.Source{Key: key, JSON: fmt.Sprintf(`{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":%q}`, map[bool]string{true: "on", false: "off"}[v])}
	}
	text, err := json.Marshal(value)
	if err != nil {
		p.tb.Fatalf("sdktest: the value of flag %q: %v", key, err)
	}
	return flag.Source{Key: key, JSON: fmt.Sprintf(`{"state":"ENABLED","variants":{"value":%s},"defaultVariant":"value"}`, text)}
}
