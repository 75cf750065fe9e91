package follow

import (
	"context"
	"errors"
	"log/slog"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// maxTroubles bounds what is remembered of the troubles that were logged.
const maxTroubles = 100

// diary logs what happens and says nothing twice: an attempt is made every few
// seconds for as long as a server is gone.
type diary struct {
	log *slog.Logger
	// troubles are those that were logged since the state was last live.
	troubles map[string]bool
	// reported is what was said about each flag that does not compile.
	reported map[string]string
}

// seeded logs what there is to begin with.
func (d *diary) seeded(s State, source string) {
	d.log.Info("starting from the "+source, "store", s.Store, "position", positionIn(s.Set), "flags", s.Set.Len())
}

// turned logs that the state became live, or ceased to be.
func (d *diary) turned(s State) {
	switch {
	case s.Trouble == nil:
		clear(d.troubles)
		d.log.Info("following the namespace", "store", s.Store, "position", positionIn(s.Set), "flags", s.Set.Len())
	case !errors.Is(s.Trouble, errNoStream):
		d.isNew(s.Trouble)
		d.log.Warn("no live stream: serving the state last seen", "position", positionIn(s.Set), "err", s.Trouble)
	}
}

// lost logs the end of a live stream that may be replaced at once.
func (d *diary) lost(s *session, err error) {
	d.log.Info("the stream ended: connecting again", "server", s.URL, "err", err)
}

// nearer logs the way back to a server of a better rank.
func (d *diary) nearer(s *session, to *endpoint) {
	d.log.Info("a nearer server can be reached again: going over", "server", to.URL, "from", s.URL)
}

// failed logs an attempt that failed.
func (d *diary) failed(trouble error) {
	level := slog.LevelDebug
	if d.isNew(trouble) {
		level = slog.LevelWarn
	}
	d.log.Log(context.Background(), level, "no stream: trying again", "err", trouble)
}

// isNew tells whether a trouble was not logged yet, and takes note of it.
func (d *diary) isNew(trouble error) bool {
	text := trouble.Error()
	if d.troubles[text] {
		return false
	}
	if d.troubles == nil || len(d.troubles) >= maxTroubles {
		d.troubles = map[string]bool{}
	}
	d.troubles[text] = true
	return true
}

// problems logs every flag that does not compile, once for each reason.
func (d *diary) problems(s *flag.Set) {
	problems := s.Problems()
	if len(problems)+len(d.reported) == 0 {
		return
	}
	now := make(map[string]string, len(problems))
	for _, p := range problems {
		text := p.Faults.Error()
		now[p.Key] = text
		if d.reported[p.Key] != text {
			d.log.Error("a flag does not compile: its last good version is served", "flag", p.Key, "faults", text)
		}
	}
	d.reported = now
}
