// Package otelhook tells OpenTelemetry of flag evaluations that go through the
// OpenFeature client, as its semantic conventions for feature flags say: an
// event "feature_flag.evaluation" with the flag's key, variant, reason and
// provider, the user's targeting key, and the error if there is one.
//
//	openfeature.AddHooks(otelhook.New())
//
// The event is a log record by default, which OpenTelemetry correlates with the
// span of the context that was evaluated with; with [OnSpan] it is an event of
// that span instead, for backends that do not take logs. The package uses
// OpenTelemetry's API only: without an SDK in the process it does nothing.
//
// An event for each evaluation is much for flags in hot paths. Typed handles,
// such as those that sdk.Bool makes, call no hooks, and are counted all the same.
package otelhook

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// scope is the name of the instrumentation.
const scope = "github.com/plimsoll-dev/plimsoll/sdk/otelhook"

// eventName is what the conventions call the event.
const eventName = "feature_flag.evaluation"

// maxText is how much of a text is told, in bytes.
const maxText = 256

// Hook is an OpenFeature hook. It is safe for concurrent use.
type Hook struct {
	openfeature.UnimplementedHook
	logs      log.LoggerProvider // nil: the global one
	span      bool
	noContext bool
}

// An Option configures a Hook.
type Option func(*Hook)

// WithLoggerProvider sets where log records go; unless set that is the global
// provider, as it is at each evaluation.
func WithLoggerProvider(p log.LoggerProvider) Option { return func(h *Hook) { h.logs = p } }

// OnSpan makes the events events of the span in the context, instead of log
// records. Without a span that is recorded they are dropped.
func OnSpan() Option { return func(h *Hook) { h.span = true } }

// WithoutContextID leaves out the targeting key, where it must not leave the
// process.
func WithoutContextID() Option { return func(h *Hook) { h.noContext = true } }

// New makes a hook, to be given to openfeature.AddHooks or to one client.
func New(options ...Option) *Hook {
	h := &Hook{}
	for _, option := range options {
		option(h)
	}
	return h
}

// Finally tells of an evaluation.
func (h *Hook) Finally(ctx context.Context, hook openfeature.HookContext, details openfeature.InterfaceEvaluationDetails, _ openfeature.HookHints) {
	if h.span {
		if span := trace.SpanFromContext(ctx); span.IsRecording() {
			span.AddEvent(eventName, trace.WithAttributes(h.attributes(hook, details)...))
		}
		return
	}
	provider := h.logs
	if provider == nil {
		provider = otel.GetLoggerProvider()
	}
	severity := log.SeverityInfo
	if failed(details) {
		severity = log.SeverityWarn
	}
	logger := provider.Logger(scope, log.WithSchemaURL(semconv.SchemaURL))
	if !logger.Enabled(ctx, log.EnabledParameters{Severity: severity, EventName: eventName}) {
		return
	}
	var record log.Record
	record.SetTimestamp(time.Now())
	record.SetEventName(eventName)
	record.SetSeverity(severity)
	record.AddAttributes(h.attributes(hook, details)...)
	logger.Emit(ctx, record)
}

func failed(details openfeature.InterfaceEvaluationDetails) bool {
	return details.ErrorCode != "" || details.Reason == openfeature.ErrorReason
}

// attributes are those of the event.
func (h *Hook) attributes(hook openfeature.HookContext, details openfeature.InterfaceEvaluationDetails) []attribute.KeyValue {
	list := make([]attribute.KeyValue, 0, 8)
	list = append(list,
		semconv.FeatureFlagKey(hook.FlagKey()),
		semconv.FeatureFlagProviderName(hook.ProviderMetadata().Name),
		semconv.FeatureFlagResultReasonKey.String(strings.ToLower(string(cmp.Or(details.Reason, openfeature.UnknownReason)))),
	)
	if details.Variant != "" {
		list = append(list, semconv.FeatureFlagResultVariant(details.Variant))
	} else {
		list = append(list, valueOf(details.Value))
	}
	if key := hook.EvaluationContext().TargetingKey(); key != "" && !h.noContext {
		list = append(list, semconv.FeatureFlagContextID(key))
	}
	// Names that OpenFeature has given to metadata of a flag.
	if id, ok := details.FlagMetadata["flagSetId"].(string); ok {
		list = append(list, semconv.FeatureFlagSetID(id))
	}
	if version, ok := details.FlagMetadata["version"].(string); ok {
		list = append(list, semconv.FeatureFlagVersion(version))
	}
	if failed(details) {
		list = append(list, semconv.ErrorTypeKey.String(strings.ToLower(string(cmp.Or(details.ErrorCode, openfeature.GeneralCode)))))
		if details.ErrorMessage != "" {
			list = append(list, semconv.FeatureFlagErrorMessage(shortened(details.ErrorMessage)))
		}
	}
	return list
}

// valueOf is a value that has no variant to name it.
func valueOf(value any) attribute.KeyValue {
	key := semconv.FeatureFlagResultValueKey
	switch v := value.(type) {
	case bool:
		return key.Bool(v)
	case int64:
		return key.Int64(v)
	case float64:
		return key.Float64(v)
	case string:
		return key.String(shortened(v))
	default:
		return key.String(shortened(fmt.Sprint(v)))
	}
}

func shortened(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}
