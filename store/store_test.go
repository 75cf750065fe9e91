package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// etcd's logging of a closed gRPC stream outlives the member by a moment.
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"),
	)
}

const boolFlag = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`

// quiet hears nothing.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// startMember starts an embedded etcd member that ends with the test.
func startMember(t testing.TB, dir string) *store.Embedded {
	t.Helper()
	member, err := store.StartEmbedded(t.Context(), store.EmbeddedOptions{Dir: dir, Logger: quiet(), MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := member.Close(); err != nil {
			t.Errorf("close the member: %v", err)
		}
	})
	return member
}

// openOn opens a store on a member; it ends with the test.
func openOn(t testing.TB, member *store.Embedded, change ...func(*store.Options)) *store.Store {
	t.Helper()
	opts := store.Options{
		Connect:    func() (*clientv3.Client, error) { return member.Client(), nil },
		KeepClient: true,
		Logger:     quiet(),
	}
	for _, c := range change {
		c(&opts)
	}
	s, err := store.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	await(t, s.Ready(), "the store to be ready")
	return s
}

// newStore is a store on a member of its own.
func newStore(t testing.TB) *store.Store {
	t.Helper()
	return openOn(t, startMember(t, t.TempDir()))
}

func await[T any](t testing.TB, ch <-chan T, what string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(30 * time.Second):
		t.Fatalf("waited 30 s for %s", what)
	}
}

// eventually waits, woken by the store's changes, until cond holds.
func eventually(t testing.TB, s *store.Store, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		changed := s.Changed()
		if cond() {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waited 30 s until %s", what)
		}
	}
}

func by(name string) store.Change {
	return store.Change{Actor: &plimsollv1.Actor{Name: name, Origin: "test"}, Reason: "because " + name + " says so"}
}

func mustCreate(t testing.TB, s *store.Store, key, definition string) store.Result {
	t.Helper()
	res, _, err := s.CreateFlag(t.Context(), "default", key, definition, by("ann"))
	if err != nil {
		t.Fatalf("create %s: %v", key, err)
	}
	return res
}

// override pins a flag of the default namespace.
func override(t testing.TB, s *store.Store, key, variant string, lasts *time.Duration) store.Effect {
	t.Helper()
	e, err := s.Kill(t.Context(), "default", store.Kill{Keys: []string{key}, Variant: variant, Lasts: lasts}, false, by("ann"))
	if err != nil {
		t.Fatalf("override %s: %v", key, err)
	}
	return e
}

func lasts(d time.Duration) *time.Duration { return &d }

func snapshot(t testing.TB, s *store.Store) *store.Snapshot {
	t.Helper()
	snap, err := s.Snapshot("default")
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func document(t testing.TB, n int, format string) *flag.Document {
	t.Helper()
	var b strings.Builder
	b.WriteString(`{"flags":{`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"flag-%05d":`, i)
		fmt.Fprintf(&b, format, i)
	}
	b.WriteString(`}}`)
	return parse(t, b.String())
}

func parse(t testing.TB, text string) *flag.Document {
	t.Helper()
	doc, faults := flag.ParseDocument([]byte(text), flag.Env{})
	if faults.Err() != nil {
		t.Fatal(faults)
	}
	return doc
}

func TestANewStoreHasAnIdentityAndADefaultNamespace(t *testing.T) {
	dir := t.TempDir()
	var id string
	t.Run("first start", func(t *testing.T) {
		s := openOn(t, startMember(t, dir))
		var epoch uint64
		if id, epoch = s.Identity(); len(id) != 32 || epoch != 1 {
			t.Errorf("identity %q, epoch %d", id, epoch)
		}
		snap := snapshot(t, s)
		if snap.FlagCount() != 0 || snap.Revision() == 0 || snap.LevelState().GetSeed() == "" {
			t.Errorf("default namespace: %d flags, revision %d, seed %q", snap.FlagCount(), snap.Revision(), snap.LevelState().GetSeed())
		}
		mustCreate(t, s, "a", boolFlag)
	})
	t.Run("second start", func(t *testing.T) {
		s := openOn(t, startMember(t, dir))
		if again, _ := s.Identity(); again != id {
			t.Errorf("identity %q became %q", id, again)
		}
		if _, _, ok := snapshot(t, s).Flag("a"); !ok {
			t.Error("flag a is gone")
		}
	})
}

func TestWhoeverWroteSeesItAtOnce(t *testing.T) {
	s := newStore(t)
	res := mustCreate(t, s, "new-ui", boolFlag)
	snap := snapshot(t, s)
	if snap.Revision() != res.Position.GetRevision() {
		t.Errorf("written at %d, seen %d", res.Position.GetRevision(), snap.Revision())
	}
	got := snap.Set(time.Now()).Bool("new-ui", true, nil)
	if got.Value || got.Variant != "off" {
		t.Errorf("evaluated to %+v", got)
	}
}

func TestUpdates(t *testing.T) {
	yes, no, on, missing := true, false, "on", "offf"
	whole := `{"state":"ENABLED","variants":{"on":true,"off":false,"auto":true},"defaultVariant":"auto"}`
	text := `{"state":"ENABLED","variants":{"a":"x"},"defaultVariant":"a"}`
	for _, tc := range []struct {
		name    string
		update  store.FlagUpdate
		want    string // the definition afterwards
		changed bool
		refusal string
	}{
		{name: "default variant", update: store.FlagUpdate{DefaultVariant: &on}, changed: true,
			want: `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}`},
		{name: "disable", update: store.FlagUpdate{Enabled: &no}, changed: true,
			want: `{"state":"DISABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`},
		{name: "enable what is enabled", update: store.FlagUpdate{Enabled: &yes}, want: boolFlag},
		{name: "whole definition", update: store.FlagUpdate{Definition: &whole}, changed: true, want: whole},
		{name: "unknown variant", update: store.FlagUpdate{DefaultVariant: &missing}, want: boolFlag, refusal: `"off"`},
		{name: "another type", update: store.FlagUpdate{Definition: &text}, want: boolFlag, refusal: "type"},
		{name: "another type by force", update: store.FlagUpdate{Definition: &text, Force: true}, changed: true, want: text},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStore(t)
			mustCreate(t, s, "f", boolFlag)
			res, _, err := s.UpdateFlag(t.Context(), "default", "f", tc.update, by("bob"))
			if tc.refusal == "" && err != nil {
				t.Fatal(err)
			}
			if tc.refusal != "" && (err == nil || !strings.Contains(err.Error(), tc.refusal)) {
				t.Fatalf("error %v, want one with %s", err, tc.refusal)
			}
			if res.Changed != tc.changed {
				t.Errorf("changed: %v", res.Changed)
			}
			if got, _, _ := snapshot(t, s).Flag("f"); got.GetDefinition() != tc.want {
				t.Errorf("definition %s\nwant       %s", got.GetDefinition(), tc.want)
			}
		})
	}
}

func TestOfTwoWritersOnTheSameRevisionOneWins(t *testing.T) {
	s := newStore(t)
	created := mustCreate(t, s, "f", boolFlag)
	on, off := "on", "off"
	base := created.Position.GetRevision()
	if _, _, err := s.UpdateFlag(t.Context(), "default", "f", store.FlagUpdate{DefaultVariant: &on, BaseRevision: base}, by("ann")); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.UpdateFlag(t.Context(), "default", "f", store.FlagUpdate{DefaultVariant: &off, BaseRevision: base}, by("bob"))
	var conflict *store.ConflictError
	if !errors.As(err, &conflict) || len(conflict.Conflicts) != 1 {
		t.Fatalf("error %v, want a conflict", err)
	}
	c := conflict.Conflicts[0]
	if c.GetActor().GetName() != "ann" || c.GetVerb() != "flag.set_default" || c.GetTime() == nil || c.GetObject() != "flags/f" || c.GetBaseRevision() != base {
		t.Errorf("the conflict does not name the winner: %v", c)
	}
	for _, want := range []string{"flags/f", "ann", "flag.set_default"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}

func TestAConflictWithADeletionNamesWhoDeleted(t *testing.T) {
	s := newStore(t)
	created := mustCreate(t, s, "f", boolFlag)
	if _, err := s.DeleteFlag(t.Context(), "default", "f", 0, by("eve")); err != nil {
		t.Fatal(err)
	}
	on := "on"
	_, _, err := s.UpdateFlag(t.Context(), "default", "f", store.FlagUpdate{DefaultVariant: &on, BaseRevision: created.Position.GetRevision()}, by("bob"))
	if err == nil || !strings.Contains(err.Error(), "deleted by eve") {
		t.Errorf("error %v, want one that says it was deleted by eve", err)
	}
}

func TestAConflictWithAFlagThatNeverWasIsNotFound(t *testing.T) {
	s := newStore(t)
	mustCreate(t, s, "real", boolFlag)
	on := "on"
	_, _, err := s.UpdateFlag(t.Context(), "default", "reall", store.FlagUpdate{DefaultVariant: &on, BaseRevision: 5}, by("bob"))
	var missing *store.NotFoundError
	if !errors.As(err, &missing) || missing.Nearest != "real" {
		t.Errorf("error %v", err)
	}
}

func TestRefusals(t *testing.T) {
	s := newStore(t)
	mustCreate(t, s, "new-ui", boolFlag)
	ctx := t.Context()
	_, _, exists := s.CreateFlag(ctx, "default", "new-ui", boolFlag, by("ann"))
	_, missing := s.DeleteFlag(ctx, "default", "new-iu", 0, by("ann"))
	_, _, nowhere := s.CreateFlag(ctx, "defualt", "a", boolFlag, by("ann"))
	_, _, invalid := s.CreateFlag(ctx, "default", "a", `{"state":"ON","variants":{}}`, by("ann"))
	_, _, huge := s.CreateFlag(ctx, "default", "a", `{"state":"ENABLED","variants":{"a":"`+strings.Repeat("x", 10<<20)+`"},"defaultVariant":"a"}`, by("ann"))
	_, _, utf8 := s.CreateFlag(ctx, "default", "a", "{\"state\":\"ENABLED\",\"variants\":{\"a\":\"\xff\"},\"defaultVariant\":\"a\"}", by("ann"))
	_, _, key := s.CreateFlag(ctx, "default", "a\nb", boolFlag, by("ann"))
	_, _, wordy := s.CreateFlag(ctx, "default", "a", boolFlag, store.Change{Reason: strings.Repeat("x", 5000)})
	_, badName := s.CreateNamespace(ctx, "Shop!", nil, by("ann"))
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"a key that is taken", exists, `flag "new-ui" exists already`},
		{"a flag that does not exist", missing, `did you mean "new-ui"`},
		{"a namespace that does not exist", nowhere, `did you mean "default"`},
		{"an invalid definition", invalid, "$.state"},
		{"a huge flag", huge, "65536"},
		{"invalid UTF-8", utf8, "UTF-8"},
		{"a key with a line break", key, "control"},
		{"a long reason", wordy, "4096"},
		{"a bad namespace name", badName, "lower-case"},
	} {
		if tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) {
			t.Errorf("%s: error %v\nwant one with %q", tc.name, tc.err, tc.want)
		}
	}
	if n := snapshot(t, s).FlagCount(); n != 1 {
		t.Errorf("%d flags after the refusals, want 1", n)
	}
	verifyChain(t, s, "default")
}

func verifyChain(t testing.TB, s *store.Store, ns string) store.Verdict {
	t.Helper()
	v, err := s.Verify(context.Background(), ns)
	if err != nil {
		t.Fatal(err)
	}
	if v.BadSeq != 0 {
		t.Fatalf("the chain of %s is broken at %d: %s", ns, v.BadSeq, v.Problem)
	}
	return v
}

func TestNamespaces(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	if _, err := s.CreateNamespace(ctx, "shop", &plimsollv1.Settings{Bucketing: plimsollv1.Bucketing_BUCKETING_V3}, by("ann")); err != nil {
		t.Fatal(err)
	}
	snap, err := s.Snapshot("shop")
	if err != nil {
		t.Fatal(err)
	}
	if got := snap.Set(time.Now()).Settings().Bucketing; got != flag.V3 {
		t.Errorf("bucketing %v", got)
	}
	if _, err := s.CreateNamespace(ctx, "shop", nil, by("ann")); err == nil {
		t.Error("created twice")
	}
	if _, _, err := s.CreateFlag(ctx, "shop", "f", boolFlag, by("ann")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteNamespace(ctx, "shop", by("ann")); err == nil || !strings.Contains(err.Error(), "1 flags") {
		t.Errorf("deleting a namespace with a flag: %v", err)
	}
	if _, err := s.DeleteFlag(ctx, "shop", "f", 0, by("ann")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteNamespace(ctx, "shop", by("ann")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Snapshot("shop"); err == nil {
		t.Error("the namespace is still there")
	}
	if _, err := s.DeleteNamespace(ctx, "default", by("ann")); err == nil {
		t.Error("the default namespace was deleted")
	}
	// Its log goes on where it ended.
	if _, err := s.CreateNamespace(ctx, "shop", nil, by("bob")); err != nil {
		t.Fatal(err)
	}
	if v := verifyChain(t, s, "shop"); v.Records != 5 {
		t.Errorf("%d records, want 5: create, flag, its deletion, delete, create", v.Records)
	}
}

func TestOverridesGuardWhatTheyServe(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	mustCreate(t, s, "f", boolFlag)
	override(t, s, "f", "on", nil)
	if got := snapshot(t, s).Set(time.Now()).Bool("f", false, nil); !got.Value || got.Reason != "OVERRIDE" {
		t.Errorf("overridden: %+v", got)
	}
	without := `{"state":"ENABLED","variants":{"off":false},"defaultVariant":"off"}`
	if _, _, err := s.UpdateFlag(ctx, "default", "f", store.FlagUpdate{Definition: &without}, by("bob")); err == nil || !strings.Contains(err.Error(), "ann") {
		t.Errorf("removing a variant that is served: %v", err)
	}
	if _, err := s.DeleteFlag(ctx, "default", "f", 0, by("bob")); err == nil || !strings.Contains(err.Error(), "restore") {
		t.Errorf("deleting a flag that is overridden: %v", err)
	}
	if _, err := s.Restore(ctx, "default", []string{"f"}, false, by("ann")); err != nil {
		t.Fatal(err)
	}
	if got := snapshot(t, s).Set(time.Now()).Bool("f", true, nil); got.Value {
		t.Errorf("restored: %+v", got)
	}
}

func TestLimits(t *testing.T) {
	s := openOn(t, startMember(t, t.TempDir()), func(o *store.Options) {
		o.Limits = store.Limits{FlagsPerNamespace: 2, Flags: 3, Namespaces: 2, Bytes: 1 << 20}
	})
	ctx := t.Context()
	mustCreate(t, s, "a", boolFlag)
	mustCreate(t, s, "b", boolFlag)
	if _, _, err := s.CreateFlag(ctx, "default", "c", boolFlag, by("ann")); err == nil || !strings.Contains(err.Error(), "limit of 2") {
		t.Errorf("third flag of two: %v", err)
	}
	if _, err := s.CreateNamespace(ctx, "shop", nil, by("ann")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateNamespace(ctx, "more", nil, by("ann")); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("third namespace of two: %v", err)
	}
	if _, _, err := s.CreateFlag(ctx, "shop", "c", boolFlag, by("ann")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.CreateFlag(ctx, "shop", "d", boolFlag, by("ann")); err == nil || !strings.Contains(err.Error(), "limit of 3") {
		t.Errorf("fourth flag of three: %v", err)
	}
}
