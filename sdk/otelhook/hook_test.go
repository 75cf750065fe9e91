package otelhook_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/memprovider"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/log/embedded"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/plimsoll-dev/plimsoll/sdk/otelhook"
)

// told is one event.
type told struct {
	name       string
	severity   log.Severity
	attributes map[string]any
}

// recorder keeps log records.
type recorder struct {
	embedded.LoggerProvider
	mu     sync.Mutex
	off    bool
	events []told
}

func (r *recorder) Logger(string, ...log.LoggerOption) log.Logger { return logger{recorder: r} }

type logger struct {
	embedded.Logger
	*recorder
}

func (r logger) Enabled(context.Context, log.EnabledParameters) bool { return !r.off }

func (r logger) Emit(_ context.Context, record log.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	event := told{record.EventName(), record.Severity(), map[string]any{}}
	record.WalkAttributes(func(kv attribute.KeyValue) bool {
		event.attributes[string(kv.Key)] = kv.Value.AsInterface()
		return true
	})
	r.events = append(r.events, event)
}

// span keeps its events.
type span struct {
	noop.Span
	recording bool
	events    []told
}

func (s *span) IsRecording() bool { return s.recording }

func (s *span) AddEvent(name string, options ...trace.EventOption) {
	event := told{name: name, attributes: map[string]any{}}
	config := trace.NewEventConfig(options...)
	for _, kv := range config.Attributes() {
		event.attributes[string(kv.Key)] = kv.Value.AsInterface()
	}
	s.events = append(s.events, event)
}

// client is an OpenFeature client with the hook.
func client(t *testing.T, hook openfeature.Hook) *openfeature.Client {
	t.Helper()
	domain := t.Name()
	provider := memprovider.NewInMemoryProvider(map[string]memprovider.InMemoryFlag{
		"banner": {Key: "banner", State: memprovider.Enabled, DefaultVariant: "blue", Variants: map[string]any{"blue": "#00f"}},
		"off":    {Key: "off", State: memprovider.Disabled, DefaultVariant: "on", Variants: map[string]any{"on": true}},
	})
	if err := openfeature.SetNamedProviderWithContextAndWait(t.Context(), domain, provider); err != nil {
		t.Fatal(err)
	}
	c := openfeature.NewClient(domain)
	c.AddHooks(hook)
	return c
}

func TestEvaluationsAreLogRecords(t *testing.T) {
	records := &recorder{}
	c := client(t, otelhook.New(otelhook.WithLoggerProvider(records)))
	user := openfeature.NewEvaluationContext("user-42", map[string]any{"plan": "pro"})
	c.String(t.Context(), "banner", "none", user)
	c.Boolean(t.Context(), "banner", true, openfeature.EvaluationContext{})
	c.Int(t.Context(), "nothing", 7, user)
	want := []told{
		{"feature_flag.evaluation", log.SeverityInfo, map[string]any{
			"feature_flag.key": "banner", "feature_flag.provider.name": "InMemoryProvider",
			"feature_flag.result.variant": "blue", "feature_flag.result.reason": "static", "feature_flag.context.id": "user-42",
		}},
		{"feature_flag.evaluation", log.SeverityWarn, map[string]any{
			"feature_flag.key": "banner", "feature_flag.provider.name": "InMemoryProvider",
			"feature_flag.result.variant": "blue", "feature_flag.result.reason": "error",
			"error.type": "type_mismatch",
		}},
		{"feature_flag.evaluation", log.SeverityWarn, map[string]any{
			"feature_flag.key": "nothing", "feature_flag.provider.name": "InMemoryProvider",
			"feature_flag.result.value": int64(7), "feature_flag.result.reason": "error", "feature_flag.context.id": "user-42",
			"error.type": "flag_not_found",
		}},
	}
	for i := range records.events {
		if message, ok := records.events[i].attributes["feature_flag.error.message"]; ok == (records.events[i].severity == log.SeverityInfo) || ok && message == "" {
			t.Errorf("event %d has the message %v", i, message)
		}
		delete(records.events[i].attributes, "feature_flag.error.message")
	}
	if diff := cmp.Diff(want, records.events, cmp.AllowUnexported(told{})); diff != "" {
		t.Error(diff)
	}

	records.off = true
	c.String(t.Context(), "banner", "none", user)
	if len(records.events) != len(want) {
		t.Error("a record was made that nobody takes")
	}
}

func TestEvaluationsAreSpanEvents(t *testing.T) {
	c := client(t, otelhook.New(otelhook.OnSpan(), otelhook.WithoutContextID()))
	user := openfeature.NewEvaluationContext("user-42", nil)
	live, idle := &span{recording: true}, &span{}
	c.String(trace.ContextWithSpan(t.Context(), live), "banner", "none", user)
	c.String(trace.ContextWithSpan(t.Context(), idle), "banner", "none", user)
	c.String(t.Context(), "banner", "none", user) // without a span
	want := []told{{name: "feature_flag.evaluation", attributes: map[string]any{
		"feature_flag.key": "banner", "feature_flag.provider.name": "InMemoryProvider",
		"feature_flag.result.variant": "blue", "feature_flag.result.reason": "static",
	}}}
	if diff := cmp.Diff(want, live.events, cmp.AllowUnexported(told{})); diff != "" {
		t.Error(diff)
	}
	if len(idle.events) > 0 {
		t.Error("a span that is not recorded got an event")
	}
}

func TestLongTextsAreCut(t *testing.T) {
	records := &recorder{}
	c := client(t, otelhook.New(otelhook.WithLoggerProvider(records)))
	c.String(t.Context(), "nothing", strings.Repeat("ä", 300), openfeature.EvaluationContext{})
	text, _ := records.events[0].attributes["feature_flag.result.value"].(string)
	if len(text) > 260 || !utf8.ValidString(text) {
		t.Errorf("a value of %d bytes: %q", len(text), text)
	}
}

// Without an SDK in the process nothing happens.
func TestWithoutASDK(t *testing.T) {
	if got := client(t, otelhook.New()).String(t.Context(), "banner", "none", openfeature.EvaluationContext{}); got != "#00f" {
		t.Errorf("got %q", got)
	}
}
