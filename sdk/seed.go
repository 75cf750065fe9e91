package sdk

import (
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/follow"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/shelf"
)

// seed gives the follower what is on disk: the cache or the bootstrap file,
// whichever is to be preferred.
func (p *Provider) seed() {
	var cache, bootstrap shelf.Saved
	if p.shelf != nil {
		cache, _ = p.shelf.Load()
	}
	if p.bootstrap != "" {
		bootstrap = p.readBootstrap()
	}
	if best, source := shelf.Better(cache, bootstrap); best.Set != nil {
		p.follower.Seed(follow.Seed{Set: best.Set, Store: best.Store, Source: source})
	}
}

// readBootstrap is what the bootstrap file has; no set if it cannot be used, as a
// bad file must not keep an app from starting.
func (p *Provider) readBootstrap() shelf.Saved {
	saved, warnings, err := shelf.Read(p.bootstrap, flag.Empty(), time.Now())
	if err != nil {
		p.log.Error("the bootstrap file cannot be used: starting without it", "file", p.bootstrap, "faults", err)
		return shelf.Saved{}
	}
	if warnings != nil {
		p.log.Warn("the bootstrap file is not as it should be", "file", p.bootstrap, "faults", warnings)
	}
	return saved
}
