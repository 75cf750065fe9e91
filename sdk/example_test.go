package sdk_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/plimsoll-dev/plimsoll/sdk"
)

// An app makes one provider, hands it to OpenFeature, and asks OpenFeature's
// clients from then on.
func Example() {
	ctx := context.Background()
	provider, err := sdk.NewProvider(
		sdk.WithEndpoints("https://flags-a.internal:8013", "https://flags-b.internal:8013"),
		sdk.WithNamespace("shop"),
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := openfeature.SetProviderWithContextAndWait(ctx, provider); err != nil {
		log.Fatal(err)
	}
	defer openfeature.Shutdown()

	client := openfeature.NewDefaultClient()
	user := openfeature.NewEvaluationContext("user-42", map[string]any{"plan": "pro"})
	if client.Boolean(ctx, "new-checkout", false, user) {
		fmt.Println("the new checkout")
	}
}

// Handlers learn of changes as they arrive, and of the stream's loss and return.
func ExampleProvider_events() {
	changed := func(e openfeature.EventDetails) {
		if level, moved := e.EventMetadata["level"]; moved {
			fmt.Println("the level of degradation is now", level)
			return
		}
		fmt.Println("changed:", e.FlagChanges)
	}
	stale := func(e openfeature.EventDetails) { fmt.Println("serving from memory:", e.Message) }
	openfeature.AddHandler(openfeature.ProviderConfigChange, &changed)
	openfeature.AddHandler(openfeature.ProviderStale, &stale)
}

func ExampleNewProvider() {
	_, err := sdk.NewProvider(sdk.WithEndpoints("flags:8013"), sdk.WithNamespace("Shop"))
	fmt.Println(err)
	// Output:
	// sdk: endpoint "flags:8013" has no scheme: write http://flags:8013 or https://flags:8013
	// sdk: namespace "Shop": a name is 1 to 63 of a-z, 0-9 and -
}

// Servers with certificates of one's own, and logs as JSON.
func ExampleWithTLSConfig() {
	provider, err := sdk.NewProvider(
		sdk.WithEndpoints("https://flags.internal:8013"),
		sdk.WithTLSConfig(&tls.Config{ServerName: "flags.internal", MinVersion: tls.VersionTLS13}),
		sdk.WithInitTimeout(2*time.Second),
		sdk.WithLogger(slog.New(slog.NewJSONHandler(os.Stderr, nil))),
		sdk.WithService("checkout"),
		sdk.WithZone("eu-1a"),
	)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(provider.Metadata().Name)
	// Output: plimsoll
}
