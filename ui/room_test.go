package ui

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
)

// look opens a room in a bubble of fake time, with a visitor of the flags who
// has seen the first view.
func look(t *testing.T, w *world) (*Console, *room, *visitor) {
	t.Helper()
	c := w.console(t)
	t.Cleanup(c.Close)
	view, rm, err := c.current(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	if view.Version != 1 {
		t.Fatalf("the first view has version %d", view.Version)
	}
	rm.expect("flags", "")
	v := rm.visit("flags", "")
	return c, rm, v
}

// sent is what a visitor gets who has seen a version.
func sent(t *testing.T, rm *room, v *visitor, after uint64) (patch, uint64) {
	t.Helper()
	event, version := rm.message(v, after)
	var p patch
	if event == nil {
		return p, version
	}
	_, data, _ := strings.Cut(string(event), "data: ")
	if err := json.Unmarshal([]byte(data), &p); err != nil {
		t.Fatalf("%s: %v", event, err)
	}
	return p, version
}

func rowsOf(p patch) (ids []string) {
	for id := range p.HTML {
		if strings.HasPrefix(id, "row-") {
			ids = append(ids, id)
		}
	}
	return ids
}

func TestOnlyWhatChangedIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a", "b", "c")
		_, rm, v := look(t, w)
		time.Sleep(5 * time.Second) // until all was asked for the first time
		_, seen := sent(t, rm, v, 1)
		w.put("b", strings.Replace(onOff, `"defaultVariant":"off"`, `"defaultVariant":"on"`, 1))
		time.Sleep(time.Second)
		p, seen2 := sent(t, rm, v, seen)
		if rows := rowsOf(p); len(rows) != 1 || rows[0] != "row-"+elementID("b") || p.Reload {
			t.Errorf("rows %v, reload %v", rows, p.Reload)
		}
		if w.listed() != 1 {
			t.Errorf("the flags were listed %d times", w.listed())
		}
		w.put("c", "")
		time.Sleep(time.Second)
		p, seen3 := sent(t, rm, v, seen2)
		if len(p.Gone) != 1 || p.Gone[0] != "row-"+elementID("c") {
			t.Errorf("gone: %v", p.Gone)
		}
		w.shedTo(400_000)
		time.Sleep(time.Second)
		p, seen4 := sent(t, rm, v, seen3)
		if rows := rowsOf(p); len(rows) != 0 || p.Shed["optional"] != "40\u202f%" {
			t.Errorf("a level sent rows %v and shares %v", rows, p.Shed)
		}
		w.put("d", onOff)
		time.Sleep(time.Second)
		if p, _ = sent(t, rm, v, seen4); !p.Reload {
			t.Error("a new flag does not have the list loaded anew")
		}
		// Who has seen nothing since the beginning gets all of that together.
		if p, _ = sent(t, rm, v, seen); len(rowsOf(p)) != 1 || len(p.Gone) != 1 || !p.Reload {
			t.Errorf("the slow one gets %v", p)
		}
		rm.leave(v)
	})
}

func TestTheMessageIsEncodedOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a")
		_, rm, v := look(t, w)
		second := rm.visit("flags", "")
		time.Sleep(5 * time.Second)
		_, seen := sent(t, rm, v, 1)
		w.put("a", strings.Replace(onOff, "optional", "critical", 1))
		time.Sleep(time.Second)
		one, _ := rm.message(v, seen)
		two, _ := rm.message(second, seen)
		if len(one) == 0 || &one[0] != &two[0] {
			t.Error("two visitors got two encodings of one message")
		}
	})
}

func TestMoreChangesThanAreRememberedReloadThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		for i := range maxFragments + 50 {
			w.put(fmt.Sprintf("flag-%03d", i), onOff)
		}
		_, rm, v := look(t, w)
		for i := range maxFragments + 50 {
			w.put(fmt.Sprintf("flag-%03d", i), strings.Replace(onOff, `"off","deg`, `"on","deg`, 1))
			time.Sleep(time.Second)
		}
		if p, _ := sent(t, rm, v, 1); !p.Reload {
			t.Error("who lacks more than is remembered is not told")
		}
		if n := len(rm.topics["flags:"].bytes); n > maxFragments {
			t.Errorf("%d fragments are kept", n)
		}
	})
}

// A page that comes when too many others are open does not pretend to follow, and
// follows once they are gone.
func TestAPageTooManyIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a")
		_, rm, v := look(t, w)
		var others []*visitor
		for i := range maxTopics {
			others = append(others, rm.visit("flag", fmt.Sprintf("key-%d", i)))
		}
		late := rm.visit("flag", "a")
		if v.still() || others[0].still() || !late.still() {
			t.Fatalf("still: %v, %v, and the one too many %v", v.still(), others[0].still(), late.still())
		}
		if rm.rejoin(late) || rm.rejoin(v) {
			t.Error("it joined though there is no room, or twice")
		}
		time.Sleep(5 * time.Second)
		_, seen := sent(t, rm, late, 1)
		for _, other := range others[:10] {
			rm.leave(other)
		}
		time.Sleep(topicRest + time.Second)
		if !rm.rejoin(late) || late.still() || rm.rejoin(late) {
			t.Error("it does not follow though there is room")
		}
		w.put("a", strings.Replace(onOff, "optional", "critical", 1))
		time.Sleep(time.Second)
		if p, _ := sent(t, rm, late, seen); len(p.HTML) == 0 {
			t.Error("a change of its flag does not reach it")
		}
		for _, one := range append(others[10:], late, v) {
			rm.leave(one)
		}
	})
}

func TestABurstIsReadAnewAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a")
		_, rm, v := look(t, w)
		for i := range maxCatchUp + 10 {
			w.put(fmt.Sprint("burst-", i), onOff)
		}
		time.Sleep(2 * time.Second)
		if n := len(rm.view.Load().Rows); n != maxCatchUp+11 {
			t.Errorf("the view has %d flags", n)
		}
		rm.leave(v)
	})
}

func TestARoomWithoutVisitorsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a")
		c, rm, v := look(t, w)
		time.Sleep(10 * roomIdle)
		if c.room("default") != rm {
			t.Fatal("the room ended under its visitor")
		}
		rm.leave(v)
		time.Sleep(3 * roomIdle)
		asked := w.questions()
		time.Sleep(10 * roomIdle)
		if w.questions() != asked {
			t.Error("a room that nobody looks at asks on")
		}
		// Who comes then finds a new one, and the old one tells its visitors to go.
		if _, fresh, err := c.current(t.Context(), "default"); err != nil || fresh == rm {
			t.Errorf("the same room, %v", err)
		}
		late := rm.visit("flags", "")
		select {
		case <-late.gone:
		default:
			t.Error("a visitor of a room that is over waits for ever")
		}
	})
}

func TestAPageSaysWhatTheServerCannotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a")
		_, rm, v := look(t, w)
		w.breakWith(connect.NewError(connect.CodeUnavailable, errors.New("etcd is away")))
		time.Sleep(3 * time.Second)
		if got := rm.view.Load().Trouble; !strings.Contains(got, "etcd is away") {
			t.Errorf("trouble: %q", got)
		}
		p, _ := sent(t, rm, v, 1)
		if !strings.Contains(p.HTML["strip"], "etcd is away") {
			t.Errorf("the page does not tell: %v", p.HTML)
		}
		w.breakWith(nil)
		w.put("a", strings.Replace(onOff, `"off","deg`, `"on","deg`, 1))
		time.Sleep(3 * time.Second)
		view := rm.view.Load()
		if row, _ := view.Row("a"); view.Trouble != "" || row.Default != "on" {
			t.Errorf("after the trouble: %q, %v", view.Trouble, row)
		}
		rm.leave(v)
	})
}

func TestTheFleetIsAskedMoreOftenWhileAChangeIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a")
		_, rm, v := look(t, w)
		time.Sleep(30 * time.Second)
		before := w.questions()
		time.Sleep(20 * time.Second)
		calm := w.questions() - before
		w.mu.Lock()
		w.applied = 1
		w.mu.Unlock()
		w.put("a", onOff)
		time.Sleep(time.Second)
		before = w.questions()
		time.Sleep(20 * time.Second)
		if busy := w.questions() - before; busy < 3*calm {
			t.Errorf("%d questions in 20 s while a change is under way, %d otherwise", busy, calm)
		}
		if p, _ := sent(t, rm, v, 1); p.Fleet == nil || p.Fleet.Applied != 1 || p.Fleet.Live != 3 {
			t.Errorf("the page is told %v", p.Fleet)
		}
		rm.leave(v)
	})
}

func TestAnUnknownNamespaceHasNoRoom(t *testing.T) {
	w := newWorld()
	c := w.console(t)
	defer c.Close()
	if _, _, err := c.current(t.Context(), "nobody"); status(err) != 404 {
		t.Errorf("error %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rooms) != 0 {
		t.Error("the room of a namespace that is not there is kept")
	}
}
