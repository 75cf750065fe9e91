package otelhook_test

import (
	"context"
	"log/slog"
	"os"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/hooks"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/plimsoll-dev/plimsoll/sdk/otelhook"
)

// Every evaluation as a log record of OpenTelemetry.
func Example() {
	openfeature.AddHooks(otelhook.New())
}

// Evaluations as events of the request's span, without the users' keys.
func ExampleOnSpan() {
	openfeature.AddHooks(otelhook.New(otelhook.OnSpan(), otelhook.WithoutContextID()))
}

// Evaluations in the app's own log: OpenFeature's SDK has the hook.
func Example_slog() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	openfeature.AddHooks(hooks.NewLoggingHook(false, log))
}

// counting is a hook that counts evaluations in a metric of the app's own.
type counting struct {
	openfeature.UnimplementedHook
	evaluations metric.Int64Counter
}

func (h counting) Finally(ctx context.Context, hook openfeature.HookContext, details openfeature.InterfaceEvaluationDetails, _ openfeature.HookHints) {
	h.evaluations.Add(ctx, 1, metric.WithAttributes(
		attribute.String("feature_flag.key", hook.FlagKey()),
		attribute.String("feature_flag.result.variant", details.Variant),
		attribute.String("feature_flag.result.reason", string(details.Reason)),
	))
}

// Evaluations as a metric. The server has them too, by tier and reason, as
// plimsoll_evaluations_total, without any hook.
func Example_metrics() {
	evaluations, err := otel.Meter("shop").Int64Counter("feature_flag.evaluations")
	if err != nil {
		slog.Error("no metric of evaluations", "err", err)
		return
	}
	openfeature.AddHooks(counting{evaluations: evaluations})
}
