package sdk

import mathrand "math/rand/v2"

// WithEnviron sets the environment that overrides are read from.
func WithEnviron(entries ...string) Option {
	return func(c *config) { c.environ = func() []string { return entries } }
}

// WithShuffle sets what draws the order of endpoints of one rank.
func WithShuffle(shuffle func(n int, swap func(i, j int))) Option {
	return func(c *config) { c.shuffle = shuffle }
}

// LocalOverrides is how many flags the environment overrides.
func (p *Provider) LocalOverrides() int { return int(p.overrides.active.Load()) }

// InRandomOrder draws the order of endpoints as providers do.
var InRandomOrder = WithShuffle(mathrand.Shuffle)
