package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

const (
	flagdSync       = plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_FLAGD_SYNC
	flagdEvaluation = plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_FLAGD_EVALUATION
	ofrep           = plimsollv1.ForeignProtocol_FOREIGN_PROTOCOL_OFREP
)

// foreignText is what is known of clients of other protocols, in short; with the
// time since somebody asked only under a clock that stands still.
func foreignText(list []*plimsollv1.ForeignClients, clocked bool) string {
	var parts []string
	for _, c := range list {
		text := fmt.Sprintf("%s %d/%d", strings.ToLower(strings.TrimPrefix(c.GetProtocol().String(), "FOREIGN_PROTOCOL_")), c.GetSent(), c.GetStreams())
		if c.GetLastAskedAge() != nil {
			text += " asked"
			if clocked {
				text += " " + c.GetLastAskedAge().AsDuration().String()
			}
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// Of clients that do not report it is known what they were sent, and when the
// last one asked.
func TestForeignClients(t *testing.T) {
	b := newBench(t)
	check := func(what, want string) {
		t.Helper()
		s, _ := b.known(0)
		if got := foreignText(s.foreign, true); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	check("at first", "")
	before := b.position()
	sent, left := b.Following("default", flagdSync)
	check("before anything was sent", "flagd_sync 0/1")
	sent(before)
	page, pageLeft := b.Following("default", ofrep)
	page(before)
	b.Asked("default", ofrep)
	b.clock.advance(time.Second)
	b.Asked("default", flagdEvaluation)
	check("with two streams", "flagd_sync 1/1, flagd_evaluation 0/0 asked 0s, ofrep 1/1 asked 1s")
	after := b.change("f")
	page(after)
	check("after a change", "flagd_sync 0/1, flagd_evaluation 0/0 asked 0s, ofrep 1/1 asked 1s")
	if s, _ := b.known(before.GetRevision()); foreignText(s.foreign[:1], true) != "flagd_sync 1/1" {
		t.Errorf("of the revision before: %s", foreignText(s.foreign, true))
	}
	left()
	pageLeft()
	b.clock.advance(time.Hour)
	check("at the end", "flagd_evaluation 0/0 asked 1h0m0s, ofrep 0/0 asked 1h0m1s")

	lost, lostLeft := b.Following("nowhere", flagdSync)
	lost(after)
	lostLeft()
	b.Asked("nowhere", flagdSync)
}

// Each server tells of its own, and a rollout counts them all.
func TestForeignClientsOfAllServers(t *testing.T) {
	member := newMember(t)
	a, b := newNode(t, member), newNode(t, member)
	a.sees(t, 2)
	b.sees(t, 2)
	before := newest(t, a.Store)
	here, hereLeft := a.Registry.Following("default", flagdSync)
	defer hereLeft()
	there, thereLeft := b.Registry.Following("default", ofrep)
	defer thereLeft()
	watchLeft := b.Registry.Watching("default", nil, nil)
	defer watchLeft()
	b.Registry.Asked("default", flagdSync)
	here(before)
	there(before)
	answer := a.list(t, &plimsollv1.ListClientsRequest{})
	for i, want := range []struct {
		silent  uint32
		foreign string
	}{{1, "flagd_sync 1/1"}, {2, "flagd_sync 0/0 asked, ofrep 1/1"}} {
		s := answer.GetServers()[i]
		if got := foreignText(s.GetForeign(), false); s.GetSilentStreams() != want.silent || got != want.foreign {
			t.Errorf("server %d: %d silent streams, %s; want %d, %s", i, s.GetSilentStreams(), got, want.silent, want.foreign)
		}
	}
	res, _, err := a.Store.CreateFlag(t.Context(), "default", "f", twoVariants, store.Change{})
	if err != nil {
		t.Fatal(err)
	}
	b.waitFor(t, res.Position)
	for _, step := range []struct {
		do   func()
		sent uint32
	}{
		{func() {}, 1}, // the watch stream
		{func() { there(res.Position) }, 2},
		{func() { here(res.Position) }, 3},
	} {
		step.do()
		for _, n := range []*node{a, b} {
			if got := n.rollout(t, &plimsollv1.GetRolloutRequest{Revision: res.Position.GetRevision()}).GetSent(); got != step.sent {
				t.Errorf("sent to %d, want %d", got, step.sent)
			}
		}
	}
}
