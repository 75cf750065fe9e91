package follow_test

import (
	"fmt"
	"iter"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/follow"
)

// sent are messages as they come out of a file.
func sent(t *testing.T, messages iter.Seq[*plimsollv1.WatchResponse]) iter.Seq2[*plimsollv1.WatchResponse, error] {
	return func(yield func(*plimsollv1.WatchResponse, error) bool) {
		for m := range messages {
			b, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			back := new(plimsollv1.WatchResponse)
			if !yield(back, proto.Unmarshal(b, back)) {
				return
			}
		}
	}
}

func list(messages ...*plimsollv1.WatchResponse) iter.Seq2[*plimsollv1.WatchResponse, error] {
	return func(yield func(*plimsollv1.WatchResponse, error) bool) {
		for _, m := range messages {
			if !yield(m, nil) {
				return
			}
		}
	}
}

func TestRecordAndReplay(t *testing.T) {
	const bad = `{"state":"ON"}`
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	floor := degrade.Level(500_000)
	first := flag.Update{
		Reset: true, Epoch: 3, Revision: 10,
		Settings: &flag.Settings{Bucketing: flag.V3, Tiers: degrade.Tiers{"high", "low"}, Metadata: `{"team":"a"}`},
	}
	// Enough to need several chunks, by count and by size.
	text := `{"plimsoll":{"description":"` + strings.Repeat("x", 2000) + `"},` + on[1:]
	for i := range 2500 {
		first.Flags = append(first.Flags, flag.Source{Key: fmt.Sprintf("f%d", i), JSON: []string{on, text}[i%2]})
	}
	for i := range 20 {
		first.Segments = append(first.Segments, flag.Source{Key: fmt.Sprintf("s%d", i), JSON: `{"in":[{"var":"x"},["` + strings.Repeat("y", 30_000) + `"]]}`})
	}
	first.Evaluators = []flag.Source{{Key: "e", JSON: `{"segment":"s1"}`}}
	set := flag.Empty()
	for i, u := range []flag.Update{
		first,
		{Overrides: []flag.Override{{Key: "f1", Variant: "off", ExpiresAt: now.Add(time.Hour)}}},
		{Level: &degrade.LevelState{Auto: 100, Seed: "5eed", Holds: []degrade.Hold{{Name: "h", Floor: &floor, ExpiresAt: now.Add(time.Minute)}}}},
		{Overrides: []flag.Override{{Key: "f2", Variant: "off"}}},
		{Flags: []flag.Source{{Key: "f3", JSON: bad}, {Key: "new", JSON: bad}}},
		{RemovedSegments: []string{"s1"}},
	} {
		u.Epoch, u.Revision = 3, int64(10*(i+1))
		set, _ = set.With(u, now)
	}
	messages, largest := 0, 0
	for m := range follow.Record(set, "store-1") {
		messages++
		largest = max(largest, proto.Size(m))
	}
	if messages < 10 || largest > 400<<10 {
		t.Errorf("%d messages, the largest of %d bytes: want many of bounded size", messages, largest)
	}
	made, store, err := follow.Replay(sent(t, follow.Record(set, "store-1")), now)
	if err != nil || store != "store-1" {
		t.Fatalf("store %q, error %v", store, err)
	}
	if changed := made.ChangedKeys(set); len(changed) > 0 {
		t.Errorf("%q answer differently", changed)
	}
	if made.Epoch() != 3 || made.Revision() != 60 || made.Level() != set.Level() || !reflect.DeepEqual(made.Settings(), set.Settings()) {
		t.Errorf("%d/%d, level %s, settings %+v", made.Epoch(), made.Revision(), made.Level(), made.Settings())
	}
	if !reflect.DeepEqual(made.Problems(), set.Problems()) || len(set.Problems()) != 3 {
		t.Errorf("problems %v, want %v", made.Problems(), set.Problems())
	}
	if r := made.Bool("f3", false, nil); !r.Value {
		t.Errorf("f3 is %+v, want its last good version", r)
	}
	// Later the two go on alike.
	if a, b := made.At(now.Add(2*time.Minute)), set.At(now.Add(2*time.Minute)); a.Level() != b.Level() || len(a.ChangedKeys(b)) > 0 {
		t.Errorf("levels %s and %s after the hold", a.Level(), b.Level())
	}
}

func TestReplayOfWhatIsNoState(t *testing.T) {
	at := func(store string, revision int64) *plimsollv1.Position {
		return &plimsollv1.Position{StoreId: store, Epoch: 1, Revision: revision}
	}
	missed := delta(at("s", 9), "f", off)
	missed.BaseRevision = 8
	for _, test := range []struct {
		name, want string
		messages   iter.Seq2[*plimsollv1.WatchResponse, error]
	}{
		{"nothing", "no whole state", list()},
		{"a change alone", "begins with a change", list(delta(at("s", 1), "f", on))},
		{"half a snapshot", "no whole state", list(chunk(at("s", 1), 0, false, "f", on))},
		{"a state and half of another", "no whole state", list(chunk(at("s", 1), 0, true, "f", on), chunk(at("s", 2), 0, false, "f", on))},
		{"no position", "without a position", list(chunk(nil, 0, true, "f", on))},
		{"two stores", "two stores", list(chunk(at("s", 1), 0, true, "f", on), delta(at("t", 2), "f", off))},
		{"back in time", "back in time", list(chunk(at("s", 2), 0, true, "f", on), delta(at("s", 1), "f", off))},
		{"something missed", "was missed", list(chunk(at("s", 2), 0, true, "f", on), missed)},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, _, err := follow.Replay(test.messages, time.Now())
			if err == nil || set != nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want it to say %q", err, test.want)
			}
		})
	}
}
