package interop

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
)

// How many contexts each provider is asked about: for rules without buckets,
// for buckets, and for the flag that is shed.
const (
	ruleContexts  = 2000
	splitContexts = 1000
	shedContexts  = 1000
)

// awayFor is how long the server is away at least.
const awayFor = 3 * time.Second

// run asks one example everything, and notes what it is able to do. What is
// promised and does not hold fails the test.
func (r *row) run(t *testing.T, s *server, n native) {
	if remark := r.remarks[r.mode]; remark != "" {
		r.note("%s", remark)
	}
	a := launch(t, r.example, s)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the app's log:\n%s", tail(a.log.String()))
		}
	})
	r.askTypes(t, a, n)
	if t.Failed() {
		r.untested = "it does not answer"
		return
	}
	r.answers(t, a, n)
	r.push(t, a, s, n)
	r.shed(t, a, s, n)
	r.restart(t, a, s, n)
}

// flagctl runs a command on the row's namespace.
func (r *row) flagctl(t *testing.T, s *server, args ...string) {
	t.Helper()
	s.flagctl(t, append(args, "--namespace", namespaceOf(r.set))...)
}

// native tells whether the provider must answer as the native one does, wherever
// there are buckets.
func (r *row) native() bool { return r.generation() == r.set }

func (r *row) askTypes(t *testing.T, a *app, n native) {
	questions := plainQuestions()
	answers, err := a.ask(90*time.Second, questions...)
	if err != nil {
		t.Fatal(err)
	}
	r.types = "all"
	limit := r.nested[r.mode]
	for i, q := range questions {
		same := reflect.DeepEqual(answers[i].Value, n.ask(q).Value)
		switch {
		case q.Flag != nestedFlag || limit == "":
			if !same {
				t.Errorf("%s is %v, natively %v", q.Flag, answers[i], n.ask(q))
			}
		case same:
			t.Errorf("%s is served as it is: nothing is to be said any more of %s in mode %s", q.Flag, r.provider.name, r.mode)
		default:
			r.types = "all; an object or list within an object " + limit
		}
	}
	if t.Failed() {
		return
	}
	wrong := []question{ask("absent", "bool", nil), ask("rule-plan", "bool", nil)} // one with a rule: Node's provider keeps static answers whatever their type
	if answers, err = a.ask(30*time.Second, wrong...); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"FLAG_NOT_FOUND", "TYPE_MISMATCH"} {
		if answers[i].ErrorCode != want {
			r.note("error code %s where %s is meant", answers[i].ErrorCode, want)
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
	if r.found = generation(t, splits, answers[len(rules):]); r.found != r.generation() {
		t.Errorf("the answers are of generation %q, and not %q as the table has it", r.found, r.generation())
	}
	differ, first = n.compare(splits, answers[len(rules):])
	r.sameBuckets = fmt.Sprintf("%d of %d", len(splits)-differ, len(splits))
	if differ > 0 && r.native() {
		t.Errorf("%d of %d buckets differ from the native provider's; the first: %s", differ, len(splits), first)
	}
}

func (r *row) push(t *testing.T, a *app, s *server, n native) {
	q := ask("switched", "string", map[string]any{"targetingKey": "someone"})
	r.flagctl(t, s, "set", "switched", "b")
	events, err := a.until(20*time.Second, q, true, func(got answer) bool { return got.Variant == "b" })
	if err != nil {
		t.Errorf("a change: %v", err)
	}
	switch {
	case err != nil:
		r.pushed = "no"
	case events:
		r.pushed = "yes, event"
	case r.mode == inProcess:
		r.pushed = "yes; no events"
	default:
		r.pushed = "asks the server each time"
	}
	r.flagctl(t, s, "set", "switched", "a")
	r.flagctl(t, s, "kill", "killed")
	q = ask("killed", "bool", map[string]any{"targetingKey": "someone"})
	if _, err := a.until(20*time.Second, q, false, func(got answer) bool { return got.Value == false && got.Variant == "off" }); err != nil {
		t.Errorf("a kill: %v", err)
	}
	r.flagctl(t, s, "restore", "killed")
	n.await(t, q, func(got answer) bool { return got.Value == true })
}

func (r *row) shed(t *testing.T, a *app, s *server, n native) {
	questions := shedQuestions(shedContexts)
	// Asked before as well, so that what a provider keeps would be seen.
	if _, err := a.ask(time.Minute, questions[:100]...); err != nil {
		t.Error(err)
		return
	}
	r.flagctl(t, s, "shed", "optional", "--percent", "40")
	defer func() {
		r.flagctl(t, s, "shed", "optional", "--percent", "0")
		n.await(t, shedKey(n, questions), func(got answer) bool { return got.Value == true })
	}()
	n.await(t, questions[0], func(answer) bool { return share(questions, n.ask) > 0 })
	key := shedKey(n, questions)
	probe := func(got answer) bool { return got.Value == false }
	if !r.native() {
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
	r.shedKeys = "same keys"
	if differ > 0 {
		r.shedKeys = "as many, other keys"
		if r.native() {
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
	// A provider takes a moment to see that the server is gone.
	r.meanwhile = "last value"
	for end := time.Now().Add(awayFor); r.meanwhile == "last value" && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		answers, err := a.ask(time.Minute, q)
		if err != nil {
			t.Errorf("while the server is away: %v", err)
			break
		}
		if answers[0].Variant != "a" {
			r.meanwhile = "default"
		}
	}
	s.start(t)
	r.flagctl(t, s, "set", "switched", "b")
	started := time.Now()
	_, err := a.until(2*time.Minute, q, false, func(got answer) bool { return got.Variant == "b" })
	if err != nil {
		t.Errorf("after a restart of the server: %v", err)
		r.restarted = "no"
	} else {
		r.restarted = "yes"
		t.Logf("followed %s after the server was back", time.Since(started).Round(100*time.Millisecond))
	}
	r.flagctl(t, s, "set", "switched", "a")
	n.await(t, q, func(got answer) bool { return got.Variant == "a" })
}
