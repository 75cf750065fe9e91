package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

const (
	// maxUnconfirmed is how long ago etcd may have confirmed a server's state
	// for that server to count as up to date.
	maxUnconfirmed = 15 * time.Second
	// grace is how long the end of a stream may go without a new one before the
	// state is no longer live.
	grace = 2 * time.Second
	// maxNap bounds the wait for the next expiry, as the clock on the wall, by
	// which things expire, can be set and goes on while a machine sleeps.
	maxNap = time.Second
	// metaBehind and metaRetryAfter are what a server says at the end of a
	// stream: its own head, and how many seconds to leave it alone.
	metaBehind     = "Plimsoll-Behind"
	metaRetryAfter = "Plimsoll-Retry-After"
)

var (
	// errNoStream is the trouble while the follower does not run.
	errNoStream = errors.New("not connected")
	errLost     = fmt.Errorf("the stream ended, and there was no other within %s", grace)
)

// Where a set that is not live comes from: see State.Source.
const (
	// Memory is a stream that is no longer live.
	Memory = "memory"
	// Cache is the process's cache on disk.
	Cache = "cache"
	// Bootstrap is a file that was shipped with the process.
	Bootstrap = "bootstrap"
)

// State is what is known at one moment. It is immutable.
type State struct {
	// Set is the newest set; nil until there is one. Its epoch and revision
	// are its position in the history of the store.
	Set *flag.Set
	// Store is the identity of the store that the set comes from; empty for a
	// seed that is of no store.
	Store string
	// Source is where a set comes from that is not live: Memory, Cache or
	// Bootstrap. It is empty for a live one, and without a set.
	Source string
	// Trouble is why the set is not live; nil if it is: a stream keeps it up to
	// date, from a server whose own state is confirmed.
	Trouble error
}

// Change tells an observer what happened.
type Change struct {
	// Old and New are the states before and after; they may be the same.
	Old, New State
	// LevelOnly is whether the sets differ in their level alone.
	LevelOnly bool
	// Lowered is whether the new state is an older one of the same store, which
	// was adopted.
	Lowered bool
	// Failed is whether an attempt to connect has failed. It is told for every
	// such attempt.
	Failed bool
}

// Config is what a Follower needs.
type Config struct {
	// Endpoints, at least one. Of those of the same rank the first is tried
	// first.
	Endpoints []Endpoint
	// Namespace to follow; empty: the server's choice.
	Namespace string
	// Client is who asks.
	Client *plimsollv1.ClientInfo
	// Log takes what an operator should know.
	Log *slog.Logger
	// Jitter draws a time from [0, most); 0 for most = 0. It is called by one
	// goroutine at a time.
	Jitter func(most time.Duration) time.Duration
	// Observe is told of every change in order, never concurrently. It must
	// not block.
	Observe func(Change)
	// Serving is told which server's stream keeps the state up to date from now
	// on, and nil once that has ended, unless Run itself ends. It is called as
	// Observe is, and must not block either. May be nil.
	Serving func(*Endpoint)
}

// Follower follows one namespace. Its state outlives Run, so that a later Run
// goes on from where an earlier one stopped and never goes back in time.
type Follower struct {
	config Config
	rota   *rota
	state  State
	// origin is where a seed came from, until a stream has brought it up to date.
	origin string
	offer  offer
	// expiry fires when an override or a hold is due; missed, when a stream that
	// ended has had no successor for the grace.
	expiry, missed *time.Timer
	diary          diary
}

// New makes a Follower; it does nothing before Run.
func New(c Config) *Follower {
	return &Follower{
		config: c,
		rota:   newRota(c.Endpoints, c.Jitter),
		state:  State{Trouble: errNoStream},
		diary:  diary{log: c.Log},
	}
}

// A Seed is a state to begin with, until a server has a newer one.
type Seed struct {
	// Set is what is served. If there is no store its position means nothing.
	Set *flag.Set
	// Store is the identity of the store that the set comes from; empty: unknown.
	// The first store that is offered is then adopted at once.
	Store string
	// Source is Cache or Bootstrap.
	Source string
}

// Seed gives the follower a state to begin with, and tells the observer. It may
// be called once, before the first Run. What the seed holds that has expired
// does not count.
func (f *Follower) Seed(s Seed) {
	f.origin = s.Source
	next := State{Set: s.Set.At(time.Now()), Store: s.Store, Trouble: f.state.Trouble}
	f.diary.seeded(next, s.Source)
	f.become(next, Change{})
}

// Run follows until the context ends, and then waits for what it started. It
// must not be called concurrently.
func (f *Follower) Run(ctx context.Context) {
	f.expiry, f.missed = time.NewTimer(0), time.NewTimer(grace)
	f.missed.Stop()
	defer f.expiry.Stop()
	defer f.missed.Stop()
	for ctx.Err() == nil {
		e, pause := f.rota.next(time.Now())
		if !f.rest(ctx, pause) {
			break
		}
		now := time.Now()
		e.tried = now
		s := &session{endpoint: e, opened: now}
		s.takeLower = f.offer.lowerDue(now) && f.rota.allTriedSince(f.offer.since)
		err := f.serve(ctx, s)
		if ctx.Err() != nil {
			break
		}
		if s.told {
			f.config.Serving(nil)
		}
		f.ended(s, err)
	}
	f.lose(errNoStream)
}

// rest waits while things go on expiring; false if the context ended.
func (f *Follower) rest(ctx context.Context, pause time.Duration) bool {
	over := time.NewTimer(pause)
	defer over.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-over.C:
			return true
		case <-f.expiry.C:
			f.expire()
		case <-f.missed.C:
			f.miss()
		}
	}
}

// receive deals with one message. An error ends the session.
func (f *Follower) receive(s *session, m *plimsollv1.WatchResponse) error {
	store, at, err := positionOf(m)
	if err != nil {
		return err
	}
	switch s.store {
	case store:
	case "":
		if err := f.greet(s, store, at); err != nil {
			return err
		}
	default:
		return fmt.Errorf("the server went from store %s to store %s within a stream", s.store, store)
	}
	if h := m.GetHeartbeat(); h != nil {
		if err := f.heartbeat(s, h.GetConfirmedAge().AsDuration()); err != nil {
			return err
		}
		if !s.foreign && !s.current {
			return nil // a sign of life, of a server that has more to say first
		}
	}
	c, err := s.assembly.add(m, at)
	if err != nil || c == nil {
		return err
	}
	if s.foreign {
		return f.consider(s, c)
	}
	return f.apply(s, c, at)
}

// greet looks at whose state a new stream carries.
func (f *Follower) greet(s *session, store string, at position) error {
	s.store = store
	s.foreign = f.state.Store != "" && store != f.state.Store
	if !s.foreign {
		return nil
	}
	if f.offer.note(store, false, at, time.Now()) {
		f.config.Log.Warn("a server has another store than the one followed; it is adopted if nothing else is offered",
			"server", s.URL, "store", store, "followed", f.state.Store, "after", adoptAfter)
	}
	f.lose(fmt.Errorf("%s has store %s instead of %s", s.URL, store, f.state.Store))
	return f.preferOther(s)
}

// heartbeat takes note of how far the server itself is up to date.
func (f *Follower) heartbeat(s *session, age time.Duration) error {
	s.unconfirmed = age > maxUnconfirmed
	if s.unconfirmed || s.foreign {
		return f.preferOther(s)
	}
	return nil
}

func (f *Follower) preferOther(s *session) error {
	if f.rota.hasAlternative(s.endpoint, time.Now()) {
		return errElsewhere
	}
	return nil
}

// apply brings the followed state forward. It never goes back, except to a
// lower head that is to be adopted.
func (f *Follower) apply(s *session, c *change, at position) error {
	now := time.Now()
	set := f.state.Set
	told := Change{LevelOnly: c.levelOnly}
	switch {
	case f.state.Store == "" && !c.Reset:
		return errors.New("the server sent a change to a client that has nothing")
	case set == nil:
		set = flag.Empty()
	case f.state.Store == "": // what is of no store has no position
	case s.takeLower && !s.current && at.before(f.offer.head):
		return fmt.Errorf("the server offered %s, older than the head %s that another confirmed", at, f.offer.head)
	case s.takeLower && !s.current && c.Reset && at.before(positionIn(set)):
		f.config.Log.Warn("adopting an older state of the store: no server has the one applied last",
			"server", s.URL, "store", s.store, "from", positionIn(set), "to", at)
		told.Lowered = true
	case at.before(positionIn(set)):
		return fmt.Errorf("the server offered %s, older than %s, which was applied already", at, positionIn(set))
	}
	if err := c.follows(set); err != nil {
		return err
	}
	if at != positionIn(set) || !c.isEmpty() {
		set, _ = set.With(c.Update, now) // the diary tells the problems
	}
	s.current = true
	f.offer = offer{}
	f.follow(s, set, told)
	return nil
}

// follow makes a set of a session's store the one that is followed.
func (f *Follower) follow(s *session, set *flag.Set, c Change) {
	f.missed.Stop()
	f.origin = ""
	next := State{Set: set, Store: s.store}
	if s.unconfirmed {
		next.Trouble = unconfirmed(s)
	}
	f.become(next, c)
	if !s.told && f.config.Serving != nil {
		s.told = true
		f.config.Serving(&s.endpoint.Endpoint)
	}
}

// consider collects the state of a foreign store.
func (f *Follower) consider(s *session, c *change) error {
	switch {
	case c.Reset:
		// Built on what is followed: a flag that does not compile keeps its last
		// good version across stores too.
		s.candidate, _ = f.state.Set.With(c.Update, time.Now())
	case s.candidate == nil && c.isEmpty():
	case s.candidate == nil:
		return errors.New("the server sent a change to a state that the client does not have")
	default:
		if err := c.follows(s.candidate); err != nil {
			return err
		}
		s.candidate, _ = s.candidate.With(c.Update, time.Now())
	}
	return nil
}

// adopt follows another store from now on.
func (f *Follower) adopt(s *session) {
	set := s.candidate.At(time.Now())
	f.config.Log.Warn("adopting another store: nothing else was offered",
		"server", s.URL, "store", s.store, "instead_of", f.state.Store,
		"for", adoptAfter, "position", positionIn(set))
	s.candidate, s.foreign, s.current = nil, false, true
	f.offer = offer{}
	f.follow(s, set, Change{})
}

// expire lets overrides and holds end that are due.
func (f *Follower) expire() {
	next := f.state
	var c Change
	if next.Set != nil {
		next.Set = next.Set.At(time.Now())
		// Where a hold and an override end at the same moment, the level
		// stands for both: what depends on the level may be any flag.
		c.LevelOnly = next.Set.Level() != f.state.Set.Level()
	}
	f.become(next, c)
	f.rearm()
}

// rearm sets the timer for what expires next.
func (f *Follower) rearm() {
	if f.expiry == nil {
		return // a seed, before the first Run
	}
	f.expiry.Stop()
	if f.state.Set == nil {
		return
	}
	if due, ok := f.state.Set.NextExpiry(); ok {
		f.expiry.Reset(min(time.Until(due), maxNap))
	}
}

// lose keeps the set and says that it is not live.
func (f *Follower) lose(why error) {
	next := f.state
	next.Trouble = why
	f.become(next, Change{})
}

// miss ends the grace after the end of a live stream.
func (f *Follower) miss() {
	if f.state.Trouble == nil {
		f.lose(errLost)
	}
}

// become is the only place where the state changes.
func (f *Follower) become(next State, c Change) {
	switch {
	case next.Set == nil || next.Trouble == nil:
		next.Source = ""
	case f.origin != "":
		next.Source = f.origin
	default:
		next.Source = Memory
	}
	c.Old, c.New = f.state, next
	f.state = next
	newSet := c.Old.Set != next.Set
	if newSet {
		f.rearm()
		f.diary.problems(next.Set)
	}
	turned := (c.Old.Trouble == nil) != (next.Trouble == nil)
	switch {
	case turned:
		f.diary.turned(next)
	case c.Failed:
		f.diary.failed(next.Trouble)
	}
	if newSet || turned || c.Failed || c.Old.Source != next.Source {
		f.config.Observe(c)
	}
}

// ended settles what follows from the end of a session.
func (f *Follower) ended(s *session, err error) {
	now := time.Now()
	if !errors.Is(err, errNearer) {
		s.troubled = now
	}
	if f.state.Trouble == nil {
		f.missed.Reset(grace)
	}
	elsewhere := errors.Is(err, errElsewhere)
	switch {
	case s.current && now.Sub(s.opened) >= healthyAfter:
		f.rota.failures = 0
		f.rota.arrived(s.endpoint)
	case !elsewhere:
		f.rota.failures++
	}
	f.heed(s, err, now)
	if elsewhere {
		return
	}
	if f.state.Trouble == nil && !errors.Is(err, errSilent) && (s.current || f.rota.hasAlternative(s.endpoint, now)) {
		f.diary.lost(s, err) // and not stale: the next attempt may succeed at once
		return
	}
	next := f.state
	next.Trouble = fmt.Errorf("%s: %w", s.URL, err)
	f.become(next, Change{Failed: true})
}

// heed does what a server asked for when it ended a stream.
func (f *Follower) heed(s *session, err error, now time.Time) {
	var ended *connect.Error
	if !errors.As(err, &ended) {
		return
	}
	if head, err := parsePosition(ended.Meta().Get(metaBehind)); err == nil &&
		f.state.Store != "" && head.before(positionIn(f.state.Set)) {
		if f.offer.note(f.state.Store, true, head, now) {
			f.config.Log.Warn("a server's newest state is older than the one applied; it is adopted if nothing else is offered",
				"server", s.URL, "head", head, "applied", positionIn(f.state.Set), "after", adoptAfter)
		}
	}
	// Plimsoll-Reconnect: elsewhere needs no more than the trouble that every
	// end of a stream is: others are preferred for a while.
	if wait, err := strconv.ParseFloat(ended.Meta().Get(metaRetryAfter), 64); err == nil && wait > 0 {
		s.barred = now.Add(time.Duration(min(wait, maxRetryAfter.Seconds()) * float64(time.Second)))
	}
}

func unconfirmed(s *session) error {
	return fmt.Errorf("etcd has not confirmed the state of %s for over %s", s.URL, maxUnconfirmed)
}
