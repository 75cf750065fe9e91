package ui

import (
	"bytes"
	"context"
	"encoding/json"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
)

// A topic is what one kind of page shows live. On each new view, its render
// function emits the fragments that may have changed since prev; what has the
// same bytes as before is not sent.
//
// The fragments are the same for all who look, so they hold no forms that
// change something, only links to them. prev is nil at first. A topic may have an
// argument, the flag of its page for example.
type topic struct {
	render func(c *Console, prev, next *View, arg string, emit emit)
}

// emit takes a fragment: an element with this id. A nil component: the element is
// gone. With id "*", the page is to be loaded anew, in place.
type emit func(id string, fragment templ.Component)

// topics are all there are. The frame is part of every page.
var topics = map[string]topic{
	frameTopic: {renderFrame},
	"overview": {renderOverview},
	"flags":    {renderFlags},
	"map":      {renderMap},
	fleetTopic: {renderFleet},
	"flag":     {renderFlag},
	"edit":     {renderEdit},
}

const (
	frameTopic = "frame"
	// maxFragments bounds the fragments that a topic remembers; who lacks older
	// ones loads the page anew.
	maxFragments = 400
	// topicRest is how long a topic without visitors is kept: that is how long a
	// page may take to open its event stream.
	topicRest = 30 * time.Second
	// maxTopics bounds the topics of a room that are rendered: pages of single
	// flags are a topic each. Who comes when there are more, shares the frame
	// alone, is told that the page does not follow, and follows once there is room.
	maxTopics = 500
)

// splitTopic splits "flag:KEY" into its name and argument.
func splitTopic(s string) (name, arg string) {
	name, arg, _ = strings.Cut(s, ":")
	return name, arg
}

// topicState is a topic that somebody looks at.
type topicState struct {
	kind topic
	arg  string
	// known are the fragments that changed since since, the newest last.
	known []fragment
	since uint64
	// bytes are what each fragment was last.
	bytes    map[string][]byte
	visitors int
	used     time.Time // when a page of the topic was last made, or left
	// encoded is the message from one version to the newest, which most visitors
	// want.
	encodedFrom uint64
	encoded     []byte
}

type fragment struct {
	id      string
	version uint64
	html    []byte // nil: gone
}

// advance renders what changed between two views.
func (t *topicState) advance(c *Console, prev, next *View) {
	t.encoded = nil
	t.kind.render(c, prev, next, t.arg, func(id string, component templ.Component) {
		var html []byte
		if component != nil {
			var b bytes.Buffer
			if err := component.Render(context.Background(), &b); err != nil {
				c.Log.Error("a part of a page could not be rendered", "id", id, "error", err)
				return
			}
			html = b.Bytes()
		}
		if before, ok := t.bytes[id]; ok && bytes.Equal(before, html) && id != "*" {
			return
		}
		if prev == nil {
			t.bytes[id] = html
			return
		}
		t.bytes[id] = html
		t.known = slices.DeleteFunc(t.known, func(f fragment) bool { return f.id == id })
		t.known = append(t.known, fragment{id, next.Version, html})
	})
	for len(t.known) > maxFragments {
		t.since = t.known[0].version
		delete(t.bytes, t.known[0].id)
		t.known = t.known[1:]
	}
}

// patch is what the script is sent.
type patch struct {
	HTML map[string]string `json:"html,omitempty"`
	Gone []string          `json:"gone,omitempty"`
	// Reload: the page is to be loaded anew, in place.
	Reload bool `json:"reload,omitempty"`
	// Shed is the shed share of each tier, as text.
	Shed map[string]string `json:"shed,omitempty"`
	// Fleet is how far the newest revision has got.
	Fleet *fleetPatch `json:"fleet,omitempty"`
}

type fleetPatch struct {
	Revision int64  `json:"revision"`
	Applied  uint32 `json:"applied"`
	Live     uint32 `json:"live"`
	Unknown  uint32 `json:"unknown,omitempty"`
}

// collect adds to p what has changed after a version.
func (t *topicState) collect(p *patch, after uint64) {
	if after < t.since {
		p.Reload = true
	}
	for _, f := range t.known {
		switch {
		case f.version <= after:
		case f.id == "*":
			p.Reload = true
		case f.html == nil:
			p.Gone = append(p.Gone, f.id)
		default:
			p.HTML[f.id] = string(f.html)
		}
	}
}

// publish makes a view the newest, and wakes all who look.
func (rm *room) publish(next *View) {
	prev := rm.view.Load()
	rm.mu.Lock()
	defer rm.mu.Unlock()
	rm.sweep()
	for key, t := range rm.topics {
		rm.advance(key, t, prev, next)
	}
	rm.view.Store(next)
	for v := range rm.visitors {
		select {
		case v.wake <- struct{}{}:
		default:
		}
	}
}

// advance renders a topic. A fault in it costs those who look at it a reload,
// and nobody else anything.
func (rm *room) advance(key string, t *topicState, prev, next *View) {
	defer func() {
		if cause := recover(); cause != nil {
			rm.c.Log.Error("a page of the console could not be kept live", "topic", key, "panic", cause, "stack", string(debug.Stack()))
			t.since, t.known, t.encoded = next.Version, nil, nil
		}
	}()
	t.advance(rm.c, prev, next)
}

// sweep lets go of topics that nobody looks at.
func (rm *room) sweep() {
	now := rm.c.Now()
	for key, t := range rm.topics {
		if t.visitors == 0 && now.Sub(t.used) > topicRest {
			delete(rm.topics, key)
		}
	}
}

// expect has a topic ready for a page that is about to be made from the newest
// view.
func (rm *room) expect(name, arg string) *View {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	for _, one := range [][2]string{{frameTopic, ""}, {name, arg}} {
		if rm.join(one[0], one[1]) {
			rm.part(one[0] + ":" + one[1])
		}
	}
	return rm.view.Load()
}

// visitor is one who looks at a page: an open event stream.
type visitor struct {
	topic, key string
	wake       chan struct{} // of one
	gone       chan struct{} // closed when the room ends
	ended      bool          // guarded by the room
}

func (v *visitor) end() {
	if !v.ended {
		v.ended = true
		close(v.gone)
	}
}

// visit registers somebody who looks at a topic. "" is none.
func (rm *room) visit(name, arg string) *visitor {
	v := &visitor{topic: name, key: name + ":" + arg, wake: make(chan struct{}, 1), gone: make(chan struct{})}
	rm.mu.Lock()
	defer rm.mu.Unlock()
	rm.visitors[v] = struct{}{}
	if rm.failed != nil {
		v.end()
		return v
	}
	if name == "" {
		return v
	}
	rm.join(frameTopic, "")
	if !rm.join(name, arg) {
		v.topic = ""
	}
	// A room that thought it was alone asks for the figures now.
	select {
	case rm.nudge <- struct{}{}:
	default:
	}
	return v
}

// still says that a visitor's page does not follow: there were too many topics when
// it came.
func (v *visitor) still() bool { return v.topic == "" && v.key != ":" }

// rejoin has a still page follow, once there is room. It has to be loaded anew then.
func (rm *room) rejoin(v *visitor) bool {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	if rm.failed != nil || !v.still() {
		return false
	}
	name, arg := splitTopic(v.key)
	if !rm.join(name, arg) {
		return false
	}
	v.topic = name
	return true
}

// join counts a visitor of a topic, which is set up for the first one.
func (rm *room) join(name, arg string) bool {
	kind, known := topics[name]
	key := name + ":" + arg
	t, ok := rm.topics[key]
	if !ok {
		if len(rm.topics) >= maxTopics {
			rm.sweep()
		}
		if !known || len(rm.topics) >= maxTopics {
			return false
		}
		view := rm.view.Load()
		t = &topicState{kind: kind, arg: arg, since: view.Version, bytes: make(map[string][]byte)}
		t.advance(rm.c, nil, view)
		rm.topics[key] = t
	}
	t.visitors++
	return true
}

func (rm *room) leave(v *visitor) {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	delete(rm.visitors, v)
	rm.used = rm.c.Now()
	if v.key == ":" {
		return
	}
	rm.part(frameTopic + ":")
	if v.topic != "" {
		rm.part(v.key)
	}
}

// part ends what join began.
func (rm *room) part(key string) {
	if t, ok := rm.topics[key]; ok {
		t.visitors--
		t.used = rm.c.Now()
	}
}

// message is what a visitor lacks who has seen a version, as an event, and the
// version that it leads to.
func (rm *room) message(v *visitor, after uint64) (event []byte, version uint64) {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	view := rm.view.Load()
	if view.Version == after {
		return nil, after
	}
	t := rm.topics[v.key]
	if t == nil || v.topic == "" {
		t = rm.topics[frameTopic+":"]
	}
	if t.encoded != nil && t.encodedFrom == after {
		return t.encoded, view.Version
	}
	p := patch{HTML: make(map[string]string), Shed: make(map[string]string)}
	rm.topics[frameTopic+":"].collect(&p, after)
	if t != rm.topics[frameTopic+":"] {
		t.collect(&p, after)
	}
	for _, tier := range view.Level.GetTiers() {
		p.Shed[tier.GetName()] = shedText(tier.GetShedMillionths())
	}
	if f := view.Fleet; f != nil {
		p.Fleet = &fleetPatch{f.GetPosition().GetRevision(), f.GetApplied(), f.GetLive(), f.GetUnknown()}
	}
	data, err := json.Marshal(p)
	if err != nil {
		rm.c.Log.Error("a change could not be encoded for the console", "error", err)
		return nil, view.Version
	}
	event = append([]byte("event: patch\nid: "+rm.boot+"."+strconv.FormatUint(view.Version, 10)+"\ndata: "), data...)
	event = append(event, "\n\n"...)
	t.encodedFrom, t.encoded = after, event
	return event, view.Version
}
