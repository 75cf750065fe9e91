package sdk_test

import (
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/memprovider"

	"github.com/plimsoll-dev/plimsoll/sdk"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/fakeserver"
)

// BenchmarkHandle is one evaluation by a handle and by the provider's method, as
// an app has them: counted, with a live stream, with a context of a request. The
// OpenFeature SDK's in-memory provider, whose rules are Go functions, and its
// client over Plimsoll's provider stand beside it.
func BenchmarkHandle(b *testing.B) {
	server := fakeserver.NewHandler("store-1")
	server.Put(map[string]string{
		"static":  on,
		"rule":    `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":{"if":[{"==":[{"var":"country"},"DE"]},"on",null]}}`,
		"rollout": shop["rollout"],
	})
	web := httptest.NewServer(server.Handler())
	defer web.Close()
	provider, err := sdk.NewProvider(sdk.WithEndpoints(web.URL), sdk.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		b.Fatal(err)
	}
	if err := openfeature.SetProviderAndWait(provider); err != nil {
		b.Fatal(err)
	}
	defer openfeature.Shutdown()
	client := openfeature.NewDefaultClient()
	peer := memprovider.NewInMemoryProvider(map[string]memprovider.InMemoryFlag{
		"static": {Key: "static", State: memprovider.Enabled, DefaultVariant: "on", Variants: map[string]any{"on": true, "off": false}},
	})
	attributes := map[string]any{"country": "DE", "plan": "gold", "age": 42, "beta": true}
	user, whole := sdk.Attributes("user-4711", attributes), openfeature.NewEvaluationContext("user-4711", attributes)
	ctx := b.Context()
	pinned := sdk.Pin(ctx)
	run := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
	for _, key := range []string{"static", "rule", "rollout"} {
		handle := sdk.Bool(provider, key, false)
		if handle.Details(ctx, user).Variant == "" {
			b.Fatalf("%s is not served", key)
		}
		run("flag="+key+"/by=handle", func() { handle.Value(ctx, user) })
		run("flag="+key+"/by=pinned-handle", func() { handle.Value(pinned, user) })
		run("flag="+key+"/by=provider", func() { provider.BooleanEvaluation(ctx, key, false, user) })
		run("flag="+key+"/by=client", func() { client.Boolean(ctx, key, false, whole) })
	}
	run("flag=static/by=memprovider", func() { peer.BooleanEvaluation(ctx, "static", false, user) })
}

// BenchmarkHandleParallel shows that cores do not contend: run it with -cpu 1,2.
func BenchmarkHandleParallel(b *testing.B) {
	server := fakeserver.NewHandler("store-1")
	server.Put(map[string]string{"static": on})
	web := httptest.NewServer(server.Handler())
	defer web.Close()
	provider, err := sdk.NewProvider(sdk.WithEndpoints(web.URL), sdk.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		b.Fatal(err)
	}
	if err := provider.Init(openfeature.EvaluationContext{}); err != nil {
		b.Fatal(err)
	}
	defer provider.Shutdown()
	handle, ctx := sdk.Bool(provider, "static", false), b.Context()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			handle.Value(ctx, nil)
		}
	})
}
