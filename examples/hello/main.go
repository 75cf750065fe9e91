// Hello is the smallest app with a flag: it greets with what the flag
// welcome-banner serves, and prints a line whenever the answer changes, until
// it is interrupted. Try it beside a server:
//
//	make run                                        # in one terminal
//	go run ./examples/hello                         # in another
//	go run ./cmd/flagctl set welcome-banner VARIANT # in a third
//
// Kill the server, and the app goes on answering. PLIMSOLL_SERVER names another
// server than the local one.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/plimsoll-dev/plimsoll/sdk"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, cmp.Or(os.Getenv("PLIMSOLL_SERVER"), "http://127.0.0.1:8013")); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

// run answers until the context ends.
func run(ctx context.Context, out io.Writer, server string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	provider, err := sdk.NewProvider(sdk.WithEndpoints(server), sdk.WithLogger(log))
	if err != nil {
		return err
	}
	defer openfeature.Shutdown()
	if err := openfeature.SetProviderWithContextAndWait(ctx, provider); ctx.Err() != nil {
		return nil // interrupted
	} else if err != nil {
		return err
	}
	client := openfeature.NewDefaultClient()
	visitor := openfeature.NewEvaluationContext("visitor-1", nil)
	var mu sync.Mutex // OpenFeature calls handlers from goroutines of their own
	var last string
	greet := func(openfeature.EventDetails) {
		mu.Lock()
		defer mu.Unlock()
		d, err := client.StringValueDetails(ctx, "welcome-banner", "Hello!", visitor)
		if line := describe(d, err); line != last {
			fmt.Fprintln(out, time.Now().Format(time.TimeOnly), line)
			last = line
		}
	}
	greet(openfeature.EventDetails{})
	for _, event := range []openfeature.EventType{
		openfeature.ProviderConfigChange, openfeature.ProviderStale, openfeature.ProviderReady, // told at once if it is so
	} {
		openfeature.AddHandler(event, &greet)
	}
	<-ctx.Done()
	return nil
}

// describe is the answer in one line.
func describe(d openfeature.StringEvaluationDetails, err error) string {
	source := "live"
	if err != nil {
		source = err.Error()
	} else if d.Variant == "" {
		source = "the app's own default"
	} else if s, ok := d.FlagMetadata["source"]; ok {
		source = fmt.Sprintf("%v (the server is gone)", s)
	}
	return fmt.Sprintf("%q  variant=%s  reason=%s  source=%s", d.Value, cmp.Or(d.Variant, "-"), d.Reason, source)
}
