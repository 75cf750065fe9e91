package interop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/plimsoll-dev/plimsoll/sdk"
)

// TestInterop runs every example in each of its modes, one after the other,
// against one server. PLIMSOLL_INTEROP is "all", or names of its parts with
// commas: the folders of examples, and "accessors".
func TestInterop(t *testing.T) {
	only := os.Getenv("PLIMSOLL_INTEROP")
	if only == "" {
		t.Skip("make interop runs this; it takes minutes and installs what it needs")
	}
	wanted := func(part string) bool { return only == "all" || slices.Contains(strings.Split(only, ","), part) }
	checkParts(t, only)
	ci := os.Getenv("CI") == "true"
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	installed := map[string]*installation{}
	for _, l := range languages {
		if wanted(l.folder) && l.missing() == "" {
			installed[l.folder] = install(t, filepath.Join(root, "examples", l.folder), l.env, l.install...)
		}
	}
	var cli *installation
	if wanted("accessors") {
		cli = installCLI(t)
	}
	if err := command(t.Context(), root, nil, "go", "build", "-o", work+"/", "./cmd/server", "./cmd/flagctl"); err != nil {
		t.Fatal(err)
	}
	s := &server{address: freeAddress(t), dataDir: t.TempDir(), origin: "http://" + freeAddress(t)}
	s.start(t)
	t.Cleanup(s.stop)
	natives := newNatives(t, s)

	var rows []row
	for _, l := range languages {
		if wanted(l.folder) {
			t.Run(l.folder, func(t *testing.T) { l.run(t, s, natives, installed[l.folder], ci, &rows) })
		}
	}
	typed := ""
	if cli != nil {
		t.Run("accessors", func(t *testing.T) { typed = runCLI(t, s, natives[ours], cli, installed) })
	}
	if only == "all" {
		publish(t, page(rows, typed), ci)
	}
}

// checkParts refuses a name that is none of a part.
func checkParts(t *testing.T, only string) {
	t.Helper()
	parts := []string{"all", "accessors"}
	for _, l := range languages {
		parts = append(parts, l.folder)
	}
	for part := range strings.SplitSeq(only, ",") {
		if !slices.Contains(parts, part) {
			t.Fatalf("PLIMSOLL_INTEROP: there is no part %q; there are %s", part, strings.Join(parts, ", "))
		}
	}
}

// run runs a language's examples once they are installed, and adds their rows.
func (l language) run(t *testing.T, s *server, natives map[string]native, i *installation, must bool, rows *[]row) {
	untested := func(why string) {
		for _, e := range l.examples() {
			*rows = append(*rows, row{example: e, untested: why})
		}
	}
	if missing := l.missing(); missing != "" {
		untested("skipped: there is no " + missing + " here")
		if must {
			t.Fatalf("there is no %s here, which %s needs", missing, l.name)
		}
		t.Skipf("there is no %s here", missing)
	}
	if err := i.wait(); err != nil {
		untested("it could not be installed")
		t.Fatal(err)
	}
	t.Logf("installed in %s", i.took.Round(time.Second))
	for _, e := range l.examples() {
		name := e.mode
		if e.set != ours {
			name += "-" + e.set
		}
		t.Run(name, func(t *testing.T) {
			r := &row{example: e}
			defer func() { *rows = append(*rows, *r) }()
			r.run(t, s, natives[e.set])
		})
	}
}

// publish writes the page; in CI it has to be the committed one.
func publish(t *testing.T, text string, ci bool) {
	t.Helper()
	path := filepath.Join(root, "docs", "interop.md")
	if !ci {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	committed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(committed) != text {
		was, is := firstDifference(string(committed), text)
		t.Errorf("docs/interop.md is stale: run make interop and commit it. The first line that differs is\n%s\nand now\n%s", was, is)
	}
}

// native answers as the examples do, with the native Go provider.
type native struct{ client *openfeature.Client }

// newNatives makes the set in each generation, and a native client of each.
func newNatives(t *testing.T, s *server) map[string]native {
	t.Helper()
	natives := map[string]native{}
	t.Cleanup(openfeature.Shutdown)
	for _, set := range []string{"v1", "v2", "v3"} {
		ns := namespaceOf(set)
		if set != ours {
			s.flagctl(t, "namespace", "create", ns, "--bucketing", set)
		}
		s.flagctl(t, "apply", "-f", "-", "--namespace", ns)
		provider, err := sdk.NewProvider(sdk.WithEndpoints("http://"+s.address), sdk.WithNamespace(ns))
		if err != nil {
			t.Fatal(err)
		}
		if err := openfeature.SetNamedProviderWithContextAndWait(t.Context(), set, provider); err != nil {
			t.Fatal(err)
		}
		natives[set] = native{openfeature.NewClient(set)}
	}
	return natives
}

func (n native) ask(q question) answer {
	attributes := map[string]any{}
	for key, value := range q.Context {
		attributes[key] = value
	}
	key, _ := attributes["targetingKey"].(string)
	delete(attributes, "targetingKey")
	in, ctx := openfeature.NewEvaluationContext(key, attributes), context.Background()
	var value any
	var d openfeature.EvaluationDetails
	switch q.Type {
	case "bool":
		got, _ := n.client.BooleanValueDetails(ctx, q.Flag, q.Default.(bool), in)
		value, d = got.Value, got.EvaluationDetails
	case "string":
		got, _ := n.client.StringValueDetails(ctx, q.Flag, q.Default.(string), in)
		value, d = got.Value, got.EvaluationDetails
	case "int":
		got, _ := n.client.IntValueDetails(ctx, q.Flag, int64(q.Default.(float64)), in)
		value, d = float64(got.Value), got.EvaluationDetails
	case "float":
		got, _ := n.client.FloatValueDetails(ctx, q.Flag, q.Default.(float64), in)
		value, d = got.Value, got.EvaluationDetails
	default:
		got, _ := n.client.ObjectValueDetails(ctx, q.Flag, q.Default, in)
		value, d = got.Value, got.EvaluationDetails
	}
	return answer{Flag: q.Flag, Value: value, Variant: d.Variant, Reason: string(d.Reason), ErrorCode: string(d.ErrorCode)}
}

// await waits until the native provider answers as it should after a change.
func (n native) await(t *testing.T, q question, right func(answer) bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !right(n.ask(q)); {
		if time.Now().After(end) {
			t.Fatalf("the native provider says %v of %s a minute after the change", n.ask(q), q.Flag)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// compare counts the answers that differ from the native ones, and shows the
// first.
func (n native) compare(questions []question, answers []answer) (differ int, first string) {
	for i, q := range questions {
		want, got := n.ask(q), answers[i]
		if !reflect.DeepEqual(got.Value, want.Value) || got.Variant != want.Variant {
			if differ == 0 {
				first = fmt.Sprintf("%v: %v, natively %v", q, got, want)
			}
			differ++
		}
	}
	return differ, first
}
