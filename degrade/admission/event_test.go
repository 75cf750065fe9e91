package admission

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A function for events that panics, each time, takes neither a request down nor a
// place, whether a request calls it or the timer.
func TestAPanicInTheFunctionForEvents(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	synctest.Test(t, func(t *testing.T) {
		told := map[EventKind]int{}
		c := newController(t, WithEvents(func(e Event) {
			told[e.Kind]++
			panic("the function's own fault")
		}))
		slots := make(chan struct{}, 2)
		for range 3000 {
			go c.serve(slots)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(20 * time.Second) // only the timer can find out that it is over
		synctest.Wait()
		all := 0
		for _, kind := range []EventKind{KneeFound, Probe, Saturated, Relieved} {
			if told[kind] == 0 {
				t.Errorf("no event %s: a panic stopped them", kind)
			}
			all += told[kind]
		}
		if s := c.Snapshot(); s.InFlight != 0 || s.Waiting != 0 {
			t.Errorf("%d places and %d turns were lost", s.InFlight, s.Waiting)
		}
		logged := log.String()
		if n := strings.Count(logged, "level=ERROR"); n != all+told[Jump] {
			t.Errorf("%d panics, %d lines in the log", all+told[Jump], n)
		}
		if !strings.Contains(logged, "the function's own fault") || !strings.Contains(logged, "event_test.go") {
			t.Errorf("neither the panic nor its stack is in the log:\n%.2000s", logged)
		}
	})
}
