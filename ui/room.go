package ui

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	// roomRest is the least time between two views: what changes faster is shown
	// together.
	roomRest = 100 * time.Millisecond
	// rolloutPause is the time between two questions of how far a change has got,
	// while some process lacks it; fleetPause, while none does.
	rolloutPause = 400 * time.Millisecond
	fleetPause   = 2 * time.Second
	// usagePause is how old the counts of evaluations may be.
	usagePause = 10 * time.Second
	// chartStep is how often charts of time move on.
	chartStep = 15 * time.Second
	// roomIdle is how long a room outlives its last visitor.
	roomIdle = time.Minute
	// retryPause is the time between two tries to read a namespace.
	retryPause = time.Second
	// maxVisitors bounds the open event streams of a room.
	maxVisitors = 5000
)

// errRest ends a room that nobody looks at.
var errRest = errors.New("nobody looks at this namespace")

var errTooManyVisitors = errors.New("too many consoles are open on this server; this page stays as it is")

// room follows one namespace as long as somebody looks at it. One goroutine
// makes its views; visitors read the newest.
type room struct {
	c  *Console
	ns string
	// boot tells the versions of this room from those of another process.
	boot string

	first chan struct{} // closed once there is a view, or the room has failed
	view  atomic.Pointer[View]
	nudge chan struct{} // of one: somebody came
	// confirmed is how long ago etcd confirmed the server's state, in
	// nanoseconds, when it was last asked.
	confirmed atomic.Int64
	// processesWanted: a page waits for the processes of the fleet.
	processesWanted atomic.Bool

	// wired is what the failure map is made from, as of the last time that
	// somebody looked at it.
	wiringMu sync.Mutex
	wired    *wiring

	mu       sync.Mutex
	failed   error // why there is no view; the room is over then
	used     time.Time
	visitors map[*visitor]struct{}
	topics   map[string]*topicState
}

// room returns the room of a namespace, which it opens if nobody looks at the
// namespace yet.
func (c *Console) room(ns string) *room {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rm, ok := c.rooms[ns]; ok {
		return rm
	}
	rm := &room{
		c: c, ns: ns, boot: rand.Text()[:8], first: make(chan struct{}), nudge: make(chan struct{}, 1),
		used: c.Now(), visitors: make(map[*visitor]struct{}), topics: make(map[string]*topicState),
	}
	c.rooms[ns] = rm
	c.work.Go(func() { rm.run(c.ctx) })
	return rm
}

// current is the newest view of a namespace, and its room.
func (c *Console) current(ctx context.Context, ns string) (*View, *room, error) {
	for {
		rm := c.room(ns)
		rm.touch()
		select {
		case <-rm.first:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		rm.mu.Lock()
		err := rm.failed
		rm.mu.Unlock()
		switch {
		case errors.Is(err, errRest):
		case err != nil:
			return nil, nil, err
		default:
			return rm.view.Load(), rm, nil
		}
	}
}

// reach waits for a revision to be in the view, at most a second: who has just
// changed something sees it.
func (rm *room) reach(ctx context.Context, revision int64) *View {
	return rm.wait(ctx, time.Second, func(view *View) bool { return view.Revision() >= revision })
}

// wait waits for a view that is as it should be, and returns the newest after
// most of that time.
func (rm *room) wait(ctx context.Context, most time.Duration, done func(*View) bool) *View {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	v := rm.visit("", "")
	defer rm.leave(v)
	for {
		if view := rm.view.Load(); done(view) {
			return view
		}
		select {
		case <-v.wake:
		case <-ctx.Done():
			return rm.view.Load()
		}
	}
}

func (rm *room) touch() {
	rm.mu.Lock()
	rm.used = rm.c.Now()
	rm.mu.Unlock()
	select {
	case rm.nudge <- struct{}{}:
	default:
	}
}

// run makes the views until nobody has looked for roomIdle.
func (rm *room) run(ctx context.Context) {
	superseded, err := rm.open(ctx)
	if err != nil {
		rm.close(err)
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var asked polled
	for {
		wait := rm.poll(ctx, &asked)
		if rm.idle() {
			return
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			rm.close(ctx.Err())
			return
		case <-superseded:
			superseded = rm.follow(ctx)
			pause(ctx, roomRest)
		case <-rm.nudge:
		case <-timer.C:
		}
	}
}

// open reads the namespace for the first time.
func (rm *room) open(ctx context.Context) (<-chan struct{}, error) {
	superseded, err := rm.c.Superseded(rm.ns)
	if err != nil {
		return nil, err
	}
	view, err := rm.c.load(ctx, rm.ns)
	if err != nil {
		return nil, err
	}
	view.Version = 1
	rm.view.Store(view)
	close(rm.first)
	return superseded, nil
}

// close ends the room: nobody finds it any more, and its visitors leave.
func (rm *room) close(err error) {
	rm.c.mu.Lock()
	if rm.c.rooms[rm.ns] == rm {
		delete(rm.c.rooms, rm.ns)
	}
	rm.c.mu.Unlock()
	rm.mu.Lock()
	rm.failed = err
	for v := range rm.visitors {
		v.end()
	}
	rm.mu.Unlock()
	select {
	case <-rm.first:
	default:
		close(rm.first)
	}
}

// idle ends the room if nobody has looked for a while.
func (rm *room) idle() bool {
	rm.c.mu.Lock()
	defer rm.c.mu.Unlock()
	rm.mu.Lock()
	defer rm.mu.Unlock()
	if len(rm.visitors) > 0 || rm.c.Now().Sub(rm.used) < roomIdle {
		return false
	}
	delete(rm.c.rooms, rm.ns)
	rm.failed = errRest
	return true
}

// follow makes the next view after a change. Without one, it tells why in the
// view that there is, and is called again.
func (rm *room) follow(ctx context.Context) <-chan struct{} {
	prev := rm.view.Load()
	superseded, err := rm.c.Superseded(rm.ns)
	if err == nil {
		var next *View
		if next, err = rm.c.advance(ctx, prev); err == nil {
			rm.publish(next)
			return superseded
		}
	}
	if status(err) == 404 {
		rm.trouble("This namespace is gone.")
	} else {
		rm.trouble("The server could not read what has changed: " + explain(err).Message)
	}
	pause(ctx, retryPause)
	again := make(chan struct{})
	close(again)
	return again
}

// trouble shows why the view is not the newest.
func (rm *room) trouble(why string) {
	prev := rm.view.Load()
	if prev.Trouble == why {
		return
	}
	next := *prev
	next.Version, next.Trouble = prev.Version+1, why
	rm.publish(&next)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// polled is when a room asked what does not come by itself.
type polled struct {
	fleet, status, usage, chart time.Time
	// processes is when they may be asked for again.
	processes time.Time
}

// poll asks what does not come by itself and is due, and tells when the next
// is. A room without visitors asks nothing.
func (rm *room) poll(ctx context.Context, asked *polled) time.Duration {
	rm.mu.Lock()
	visitors, fleet := len(rm.visitors), rm.watched(fleetTopic)
	rm.mu.Unlock()
	if visitors == 0 && !fleet {
		return roomIdle
	}
	now := rm.c.Now()
	next := *rm.view.Load()
	moved := false
	every := fleetPause
	if pending(&next) {
		every = rolloutPause
	}
	wanted := fleet && rm.processesWanted.Load() && !now.Before(next.Processes.freshUntil())
	if wanted || now.Sub(asked.fleet) >= every {
		asked.fleet = now
		moved = rm.askFleet(ctx, &next)
	}
	if now.Sub(asked.status) >= fleetPause {
		asked.status = now
		warned := next.Status.GetWarnings()
		if rm.c.loadStatus(ctx, &next) == nil {
			moved = moved || !slices.Equal(warned, next.Status.GetWarnings())
			rm.confirmed.Store(int64(next.Status.GetConfirmedAge().AsDuration()))
		}
	}
	if wanted || (fleet && !now.Before(asked.processes)) {
		rm.processesWanted.Store(false)
		moved = rm.askProcesses(ctx, &next) || wanted || moved // the view wakes those who wait
		asked.processes = now.Add(max(fleetPause, next.Processes.freshUntil().Sub(now)))
	}
	if now.Sub(asked.usage) >= usagePause {
		asked.usage = now
		moved = rm.c.loadUsage(ctx, &next) == nil || moved
	}
	if now.Sub(asked.chart) >= chartStep {
		asked.chart, moved = now, true
	}
	if moved {
		next.Version++
		rm.publish(&next)
	}
	if pending(&next) {
		return rolloutPause
	}
	return fleetPause
}

// askFleet asks how far the newest revision has got.
func (rm *room) askFleet(ctx context.Context, v *View) bool {
	fleet, err := call(ctx, rm.c, rm.c.Fleet.GetRollout, &plimsollv1.GetRolloutRequest{Namespace: rm.ns, MaxLaggards: 5})
	if err != nil {
		return false // the page says how old its figures are
	}
	moved := v.Fleet.GetApplied() != fleet.GetApplied() || v.Fleet.GetLive() != fleet.GetLive() || v.Fleet.GetUnknown() != fleet.GetUnknown() ||
		v.Fleet.GetPosition().GetRevision() != fleet.GetPosition().GetRevision() || v.Fleet.GetSent() != fleet.GetSent()
	v.Fleet = fleet
	return moved
}

// pending tells whether some process has not applied the newest revision.
func pending(v *View) bool {
	return v.Fleet.GetPosition().GetRevision() < v.Revision() || v.Fleet.GetApplied() < v.Fleet.GetLive()
}
