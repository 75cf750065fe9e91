package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

const numbered = `{"state":"ENABLED","variants":{"a":%d,"b":-1},"defaultVariant":"a"}`

func outcomes(done store.Applied) map[string]plimsollv1.AppliedObject_Outcome {
	out := make(map[string]plimsollv1.AppliedObject_Outcome)
	for _, o := range done.Objects {
		out[o.GetObject()] = o.GetOutcome()
	}
	return out
}

func apply(t testing.TB, s *store.Store, text string, opts store.ApplyOptions, who string) (store.Applied, error) {
	t.Helper()
	return s.Apply(t.Context(), "default", parse(t, text), opts, by(who))
}

func TestApplyWritesWhatDiffers(t *testing.T) {
	s := newStore(t)
	first := `{"flags":{"a":` + boolFlag + `,"b":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off",
		"targeting":{"if":[{"segment":"staff"},"on","off"]}}},
		"segments":{"staff":{"ends_with":[{"var":"email"},"@x.example"]}},"$evaluators":{"e":{"==":[1,1]}},"metadata":{"team":"x"}}`
	done, err := apply(t, s, first, store.ApplyOptions{}, "ann")
	if err != nil {
		t.Fatal(err)
	}
	if !done.Changed || done.Batches != 1 || len(done.Objects) != 5 {
		t.Errorf("first apply: %+v", done)
	}
	if got := snapshot(t, s).Set(time.Now()).Bool("b", false, map[string]any{"email": "a@x.example"}); !got.Value {
		t.Errorf("the segment does not match: %+v", got)
	}
	again, err := apply(t, s, first, store.ApplyOptions{}, "ann")
	if err != nil || again.Changed || again.Batches != 0 {
		t.Errorf("second apply: %+v, %v", again, err)
	}
	dry, err := apply(t, s, strings.Replace(first, `"defaultVariant":"off"}`, `"defaultVariant":"on"}`, 1), store.ApplyOptions{DryRun: true}, "ann")
	if err != nil || dry.Changed {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
	if got := outcomes(dry); got["flags/a"] != plimsollv1.AppliedObject_OUTCOME_UPDATED || got["flags/b"] != plimsollv1.AppliedObject_OUTCOME_UNCHANGED {
		t.Errorf("dry run: %v", got)
	}
	if f, _, _ := snapshot(t, s).Flag("a"); f.GetDefinition() != boolFlag {
		t.Error("the dry run wrote something")
	}
	doc, err := snapshot(t, s).Document()
	if err != nil {
		t.Fatal(err)
	}
	exported, err := apply(t, s, doc, store.ApplyOptions{}, "ann")
	if err != nil || exported.Changed {
		t.Errorf("applying what was exported: %+v, %v", exported, err)
	}
}

func TestApplyDoesNotOverwriteWhatWasChangedByHand(t *testing.T) {
	s := newStore(t)
	file := func(variant string) string {
		return `{"flags":{"f":{"state":"ENABLED","variants":{"on":true,"off":false,"x":true},"defaultVariant":"` + variant + `"}}}`
	}
	if _, err := apply(t, s, file("off"), store.ApplyOptions{}, "ann"); err != nil {
		t.Fatal(err)
	}
	on := "on"
	if _, _, err := s.UpdateFlag(t.Context(), "default", "f", store.FlagUpdate{DefaultVariant: &on}, by("bob")); err != nil {
		t.Fatal(err)
	}
	_, err := apply(t, s, file("x"), store.ApplyOptions{}, "ann")
	var conflict *store.ConflictError
	if !errors.As(err, &conflict) {
		t.Fatalf("error %v, want a conflict", err)
	}
	c := conflict.Conflicts[0]
	if c.GetActor().GetName() != "bob" || !strings.Contains(c.GetCurrentDefinition(), `"defaultVariant":"on"`) || !strings.Contains(c.GetRefusedDefinition(), `"defaultVariant":"x"`) {
		t.Errorf("the conflict does not show both: %v", c)
	}
	if _, err := apply(t, s, file("x"), store.ApplyOptions{Force: true}, "ann"); err != nil {
		t.Fatal(err)
	}
	// What was brought by hand to what the file says belongs to the file.
	off := "off"
	if _, _, err := s.UpdateFlag(t.Context(), "default", "f", store.FlagUpdate{DefaultVariant: &off}, by("bob")); err != nil {
		t.Fatal(err)
	}
	if _, err := apply(t, s, file("off"), store.ApplyOptions{}, "ann"); err != nil {
		t.Fatal(err)
	}
	if _, err := apply(t, s, file("on"), store.ApplyOptions{}, "ann"); err != nil {
		t.Errorf("the file has the flag again: %v", err)
	}
}

func TestAnInterruptedApplyLeavesWholeBatchesAndIsFinishedByARerun(t *testing.T) {
	s := newStore(t)
	const n = 5000
	doc := document(t, n, numbered)
	change := by("ann")
	change.ID = "the-change"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			changed := s.Changed()
			if snap, err := s.Snapshot("default"); err == nil && snap.FlagCount() > n/4 {
				cancel()
				return
			}
			<-changed
		}
	}()
	done, err := s.Apply(ctx, "default", doc, store.ApplyOptions{}, change)
	<-stopped
	if err == nil || !strings.Contains(err.Error(), "applying the document again finishes it") {
		t.Fatalf("interrupted apply: %v", err)
	}
	if done.Batches == 0 || snapshot(t, s).FlagCount() == n {
		t.Fatalf("%d batches, %d flags: it was not interrupted midway", done.Batches, snapshot(t, s).FlagCount())
	}
	// etcd may still commit the batch that was under way, so the log is read anew
	// each time.
	recorded := 0
	eventually(t, s, "the snapshot has what the log records", func() bool {
		recs, _, err := s.Records(t.Context(), "default", store.RecordQuery{ChangeID: "the-change", Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		recorded = 0
		for _, r := range recs {
			recorded += len(r.GetObjects())
		}
		return snapshot(t, s).FlagCount() == recorded
	})
	rest, err := s.Apply(t.Context(), "default", doc, store.ApplyOptions{}, change)
	if err != nil {
		t.Fatal(err)
	}
	if got := snapshot(t, s).FlagCount(); got != n {
		t.Errorf("%d flags after the rerun, want %d", got, n)
	}
	if written := n - recorded; rest.Batches > written/50 {
		t.Errorf("%d batches for the %d flags that were left", rest.Batches, written)
	}
	replay(t, s, "default")
}

func TestApplyFindsFaultsBeforeItWrites(t *testing.T) {
	s := newStore(t)
	doc := document(t, 300, numbered)
	text := `{"flags":{"z":{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on","targeting":{"if":[{"segment":"nowhere"},"on",null]}}}}`
	doc.Flags = append(doc.Flags, parse(t, text).Flags...)
	_, err := s.Apply(t.Context(), "default", doc, store.ApplyOptions{}, by("ann"))
	if err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("error %v, want one that names the segment", err)
	}
	if n := snapshot(t, s).FlagCount(); n != 0 {
		t.Errorf("%d flags were written", n)
	}
}

func TestARuleThatIsUsedCannotBeBroken(t *testing.T) {
	s := newStore(t)
	text := `{"flags":{"f":{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on","targeting":{"if":[{"$ref":"a"},"on",null]}}},"$evaluators":{"a":{"==":[1,1]}}}`
	if _, err := apply(t, s, text, store.ApplyOptions{}, "ann"); err != nil {
		t.Fatal(err)
	}
	known := flag.Env{HasEvaluator: func(string) bool { return true }}
	doc, faults := flag.ParseDocument([]byte(`{"flags":{},"$evaluators":{"b":{"!":{"$ref":"a"}}}}`), known)
	if faults.Err() != nil {
		t.Fatal(faults)
	}
	if _, err := s.Apply(t.Context(), "default", doc, store.ApplyOptions{}, by("ann")); err != nil {
		t.Fatal(err)
	}
	doc, faults = flag.ParseDocument([]byte(`{"flags":{},"$evaluators":{"a":{"!":{"$ref":"b"}}}}`), known)
	if faults.Err() != nil {
		t.Fatal(faults)
	}
	if _, err := s.Apply(t.Context(), "default", doc, store.ApplyOptions{}, by("bob")); err == nil {
		t.Error("a cycle of evaluators was stored under a flag that uses them")
	}
	verifyChain(t, s, "default")
}

func TestARuleThatIsUsedCannotBeDeleted(t *testing.T) {
	s := newStore(t)
	text := `{"flags":{"f":{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on","targeting":{"if":[{"segment":"staff"},"on",null]}}},
		"segments":{"staff":{"$ref":"e"}},"$evaluators":{"e":{"==":[{"var":"a"},1]}}}`
	if _, err := apply(t, s, text, store.ApplyOptions{}, "ann"); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := s.DeleteSegment(ctx, "default", "staff", by("bob")); err == nil || !strings.Contains(err.Error(), `segment "staff" is used by f`) {
		t.Errorf("deleting a segment in use: %v", err)
	}
	if _, err := s.DeleteEvaluator(ctx, "default", "e", by("bob")); err == nil || !strings.Contains(err.Error(), "is used by") {
		t.Errorf("deleting an evaluator in use: %v", err)
	}
	if _, err := s.DeleteSegment(ctx, "default", "stuff", by("bob")); err == nil || !strings.Contains(err.Error(), `"staff"`) {
		t.Errorf("deleting a segment that does not exist: %v", err)
	}
	if _, err := s.DeleteFlag(ctx, "default", "f", 0, by("bob")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteSegment(ctx, "default", "staff", by("bob")); err != nil {
		t.Error(err)
	}
	if _, err := s.DeleteEvaluator(ctx, "default", "e", by("bob")); err != nil {
		t.Error(err)
	}
	replay(t, s, "default")
}

func TestALargeSetOfRulesIsWrittenInAnOrderThatCompiles(t *testing.T) {
	s := newStore(t)
	var b strings.Builder
	b.WriteString(`{"flags":{},"segments":{"last":{"==":[1,1]}},"$evaluators":{"e000":{"$ref":"e149"},"s":{"segment":"last"}`)
	for i := 1; i < 150; i++ {
		fmt.Fprintf(&b, `,"e%03d":{"==":[1,%d]}`, i, i)
	}
	b.WriteString(`}}`)
	done, err := apply(t, s, b.String(), store.ApplyOptions{}, "ann")
	if err != nil {
		t.Fatal(err)
	}
	if done.Batches != 2 {
		t.Errorf("%d batches", done.Batches)
	}
	recs, _, err := s.Records(t.Context(), "default", store.RecordQuery{ChangeID: done.ChangeID, Limit: 10})
	if err != nil || len(recs) != 2 || recs[0].GetBatch() != 2 || recs[0].GetBatches() != 2 {
		t.Errorf("records %v, %v", recs, err)
	}
}

func TestApplyTellsAllRefusalsAtOnce(t *testing.T) {
	s := newStore(t)
	doc := func(v string) string {
		one := `{"state":"ENABLED","variants":{"x":` + v + `},"defaultVariant":"x"}`
		return `{"flags":{"a":` + one + `,"b":` + one + `}}`
	}
	if _, err := apply(t, s, doc("1"), store.ApplyOptions{}, "ann"); err != nil {
		t.Fatal(err)
	}
	_, err := apply(t, s, doc(`"text"`), store.ApplyOptions{}, "ann")
	if err == nil || !strings.Contains(err.Error(), `flag "a"`) || !strings.Contains(err.Error(), `flag "b"`) {
		t.Errorf("error %v, want both flags in it", err)
	}
}

func TestALongReasonIsKeptOnce(t *testing.T) {
	s := newStore(t)
	change := by("ann")
	change.Reason = strings.Repeat("é", 1000)
	if _, err := s.Apply(t.Context(), "default", document(t, 10, numbered), store.ApplyOptions{}, change); err != nil {
		t.Fatal(err)
	}
	f, _, _ := snapshot(t, s).Flag("flag-00001")
	if len(f.GetReason()) > 210 || !strings.HasSuffix(f.GetReason(), "é…") {
		t.Errorf("each flag carries a reason of %d bytes", len(f.GetReason()))
	}
	recs, _, err := s.Records(t.Context(), "default", store.RecordQuery{Object: "flags/flag-00001", Limit: 1})
	if err != nil || recs[0].GetReason() != change.Reason {
		t.Errorf("the log does not have the whole reason: %v", err)
	}
}
