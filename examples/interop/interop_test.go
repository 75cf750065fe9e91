package interop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/plimsoll-dev/plimsoll/sdk"
)

// How many contexts each provider is asked about: for rules without buckets,
// for buckets, and for the flag that is shed.
const (
	ruleContexts  = 2000
	splitContexts = 1000
	shedContexts  = 1000
)

// TestInterop runs every example in each of its modes, one after the other,
// against one server.
func TestInterop(t *testing.T) {
	if os.Getenv("PLIMSOLL_INTEROP") == "" {
		t.Skip("make interop runs this; it takes minutes and installs what it needs")
	}
	started := time.Now()
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := command(t, root, "go", "build", "-o", work+"/", "./cmd/server", "./cmd/flagctl"); err != nil {
		t.Fatal(err)
	}
	s := &server{address: freeAddress(t), dataDir: t.TempDir(), origin: "http://" + freeAddress(t)}
	s.start(t)
	t.Cleanup(s.stop)
	s.flagctl(t, "apply", "-f", "-")
	native := newNative(t, s)

	var rows []row
	for _, l := range languages {
		t.Run(l.folder, func(t *testing.T) {
			if missing := l.missing(); missing != "" {
				for _, e := range l.examples() {
					rows = append(rows, row{example: e, untested: "skipped: there is no " + missing + " here"})
				}
				if os.Getenv("CI") == "true" {
					t.Fatalf("there is no %s here, which %s needs", missing, l.name)
				}
				t.Skipf("there is no %s here", missing)
			}
			for _, step := range l.install {
				if err := command(t, root+"/examples/"+l.folder, step[0], step[1:]...); err != nil {
					for _, e := range l.examples() {
						rows = append(rows, row{example: e, untested: "it could not be installed"})
					}
					t.Fatal(err)
				}
			}
			for _, e := range l.examples() {
				t.Run(e.mode, func(t *testing.T) {
					r := &row{example: e}
					defer func() { rows = append(rows, *r) }()
					r.run(t, s, native)
				})
			}
		})
	}
	if len(rows) < total() { // a part of the test
		return
	}
	if err := writeMatrix(root+"/docs/interop.md", rows); err != nil {
		t.Fatal(err)
	}
	t.Logf("the whole took %s", time.Since(started).Round(time.Second))
}

// command runs a step of an installation.
func command(t *testing.T, folder, name string, args ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s in %s: %w\n%s", name, folder, err, out)
	}
	return nil
}

// native answers as the examples do, with the native Go provider.
type native struct{ client *openfeature.Client }

func newNative(t *testing.T, s *server) native {
	t.Helper()
	provider, err := sdk.NewProvider(sdk.WithEndpoints("http://" + s.address))
	if err != nil {
		t.Fatal(err)
	}
	if err := openfeature.SetProviderWithContextAndWait(t.Context(), provider); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(openfeature.Shutdown)
	return native{openfeature.NewDefaultClient()}
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

// run asks one example everything, and notes what it is able to do. What is
// promised and does not hold fails the test.
func (r *row) run(t *testing.T, s *server, n native) {
	a := launch(t, r.example, s)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the app's log:\n%s", tail(a.log.String()))
		}
	})
	r.types(t, a, n)
	if t.Failed() {
		r.untested = "it does not answer"
		return
	}
	r.answers(t, a, n)
	r.push(t, a, s, n)
	r.shed(t, a, s, n)
	r.restart(t, a, s, n)
}

func (r *row) types(t *testing.T, a *app, n native) {
	questions := plainQuestions()
	answers, err := a.ask(90*time.Second, questions...)
	if err != nil {
		t.Fatal(err)
	}
	for i, q := range questions {
		want := n.ask(q)
		if !reflect.DeepEqual(answers[i].Value, want.Value) {
			t.Errorf("%s is %v, natively %v", q.Flag, answers[i], want)
		}
	}
	r.typesHold = mark(!t.Failed())
	wrong := []question{ask("absent", "bool", nil), ask("rule-plan", "bool", nil)} // one with a rule: Node's provider keeps static answers whatever their type
	if answers, err = a.ask(30*time.Second, wrong...); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"FLAG_NOT_FOUND", "TYPE_MISMATCH"} {
		if answers[i].ErrorCode != want {
			r.note("%s where %s is meant", answers[i].ErrorCode, want)
		}
		if answers[i].Value != false {
			t.Errorf("%s yields %v and not the default", want, answers[i])
		}
	}
}

func (r *row) answers(t *testing.T, a *app, n native) {
	rules, splits := ruleQuestions(ruleContexts), splitQuestions(splitContexts)
	answers, err := a.ask(3*time.Minute, slices.Concat(rules, splits)...)
	if err != nil {
		t.Error(err)
		return
	}
	differ, first := n.compare(rules, answers[:len(rules)])
	if differ > 0 {
		t.Errorf("%d of %d answers differ from the native provider's; the first: %s", differ, len(rules), first)
	}
	r.same = fmt.Sprintf("%d of %d", len(rules)-differ, len(rules))
	r.generation = generation(t, splits, answers[len(rules):])
	differ, first = n.compare(splits, answers[len(rules):])
	r.sameBuckets = fmt.Sprintf("%d of %d", len(splits)-differ, len(splits))
	if differ > 0 && (r.generation == "" || r.generation == "v2" || r.mode != "in-process") {
		t.Errorf("%d of %d buckets differ from the native provider's, generation %q; the first: %s", differ, len(splits), r.generation, first)
	}
}

func (r *row) push(t *testing.T, a *app, s *server, n native) {
	q := ask("switched", "string", map[string]any{"targetingKey": "someone"})
	s.flagctl(t, "set", "switched", "b")
	events, err := a.until(20*time.Second, q, true, func(got answer) bool { return got.Variant == "b" })
	if err != nil {
		t.Errorf("a change: %v", err)
	}
	switch {
	case err != nil:
		r.pushed = "no"
	case events:
		r.pushed = "yes, event"
	case r.mode == "in-process":
		r.pushed = "yes; no events"
	default:
		r.pushed = "asks the server each time"
	}
	s.flagctl(t, "set", "switched", "a")
	s.flagctl(t, "kill", "killed")
	q = ask("killed", "bool", map[string]any{"targetingKey": "someone"})
	if _, err := a.until(20*time.Second, q, false, func(got answer) bool { return got.Value == false && got.Variant == "off" }); err != nil {
		t.Errorf("a kill: %v", err)
	}
	s.flagctl(t, "restore", "killed")
	n.await(t, q, func(got answer) bool { return got.Value == true })
}

func (r *row) shed(t *testing.T, a *app, s *server, n native) {
	questions := shedQuestions(shedContexts)
	// Asked before as well, so that what a provider keeps would be seen.
	if _, err := a.ask(time.Minute, questions[:100]...); err != nil {
		t.Error(err)
		return
	}
	s.flagctl(t, "shed", "optional", "--percent", "40")
	defer func() {
		s.flagctl(t, "shed", "optional", "--percent", "0")
		n.await(t, shedKey(n, questions), func(got answer) bool { return got.Value == true })
	}()
	n.await(t, questions[0], func(answer) bool { return share(questions, n.ask) > 0 })
	key := shedKey(n, questions)
	probe := func(got answer) bool { return got.Value == false }
	if r.generation != "" && r.generation != "v2" {
		key, probe = questions[0], func(got answer) bool { return got.Reason != "STATIC" && got.Reason != "CACHED" }
	}
	if _, err := a.until(20*time.Second, key, false, probe); err != nil {
		t.Errorf("a shed: %v", err)
		return
	}
	answers, err := a.ask(2*time.Minute, questions...)
	if err != nil {
		t.Error(err)
		return
	}
	dimmed := 0
	for _, got := range answers {
		if got.Value == false {
			dimmed++
		}
	}
	differ, first := n.compare(questions, answers)
	r.shedKeys = fmt.Sprintf("%.1f %%, same keys", float64(dimmed)*100/float64(len(answers)))
	if differ > 0 {
		r.shedKeys = fmt.Sprintf("%.1f %%, other keys", float64(dimmed)*100/float64(len(answers)))
		if r.generation == "v2" {
			t.Errorf("%d of %d keys are shed otherwise than natively; the first: %s", differ, len(questions), first)
		}
	}
	if wanted := len(answers) * 40 / 100; dimmed < wanted*85/100 || dimmed > wanted*115/100 {
		t.Errorf("%d of %d keys are shed at 40 %%", dimmed, len(answers))
	}
}

// shedKey is the first question that is shed natively, or the first of all.
func shedKey(n native, questions []question) question {
	for _, q := range questions {
		if n.ask(q).Value == false {
			return q
		}
	}
	return questions[0]
}

func share(questions []question, ask func(question) answer) float64 {
	shed := 0
	for _, q := range questions {
		if ask(q).Value == false {
			shed++
		}
	}
	return float64(shed) / float64(len(questions))
}

func (r *row) restart(t *testing.T, a *app, s *server, n native) {
	q := ask("switched", "string", map[string]any{"targetingKey": "someone"})
	s.stop()
	answers, err := a.ask(time.Minute, q)
	if err != nil {
		t.Errorf("while the server is away: %v", err)
	} else if r.meanwhile = "default"; answers[0].Variant == "a" {
		r.meanwhile = "last value"
	}
	s.start(t)
	s.flagctl(t, "set", "switched", "b")
	started := time.Now()
	_, err = a.until(2*time.Minute, q, false, func(got answer) bool { return got.Variant == "b" })
	if err != nil {
		t.Errorf("after a restart of the server: %v", err)
		r.restarted = "no"
	} else {
		r.restarted = "yes"
		t.Logf("followed %s after the server was back", time.Since(started).Round(100*time.Millisecond))
	}
	s.flagctl(t, "set", "switched", "a")
	n.await(t, q, func(got answer) bool { return got.Variant == "a" })
}
