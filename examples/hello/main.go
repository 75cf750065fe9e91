// Hello is a small app with two features: it greets with what the flag
// welcome-banner serves, and shows recommendations to those of its hundred
// visitors for whom the flag recommendations is on. It prints a line whenever an
// answer changes, until it is interrupted. Try it beside a server:
//
//	make run                                             # in one terminal
//	go run ./examples/hello                              # in another
//	go run ./cmd/flagctl set welcome-banner sale         # in a third
//	go run ./cmd/flagctl shed optional --percent 40
//
// Kill the server, and the app goes on answering. --server or PLIMSOLL_SERVER
// names another server than the local one, --cache a folder to begin from where
// there is no server.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
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
	cfg, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2) // parse has said why
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process, whatever it waits for
	if err := run(ctx, os.Stdout, cfg); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

// config is what the command line decides.
type config struct{ server, cache string }

// parse reads the arguments. It tells people on w what they are where they are
// asked for (flag.ErrHelp) or wrong.
func parse(args []string, w io.Writer) (config, error) {
	var cfg config
	flags := flag.NewFlagSet("hello", flag.ContinueOnError)
	flags.SetOutput(w)
	flags.StringVar(&cfg.server, "server", cmp.Or(os.Getenv("PLIMSOLL_SERVER"), "http://127.0.0.1:8013"), "`URL` of the server, also from PLIMSOLL_SERVER")
	flags.StringVar(&cfg.cache, "cache", "", "`folder` for the newest flags, to begin with where no server answers")
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	if flags.NArg() > 0 {
		err := fmt.Errorf("hello takes no arguments, and got %q", flags.Arg(0))
		fmt.Fprintln(w, err)
		flags.Usage()
		return config{}, err
	}
	return cfg, nil
}

// run answers until the context ends.
func run(ctx context.Context, out io.Writer, cfg config) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	options := []sdk.Option{sdk.WithEndpoints(cfg.server), sdk.WithLogger(log)}
	if cfg.cache != "" {
		options = append(options, sdk.WithCacheDir(cfg.cache))
	}
	provider, err := sdk.NewProvider(options...)
	if err != nil {
		return err
	}
	defer openfeature.Shutdown()
	if err := openfeature.SetProviderWithContextAndWait(ctx, provider); ctx.Err() != nil {
		return nil // interrupted
	} else if err != nil {
		return err
	}
	shop := &shop{out: out, client: openfeature.NewDefaultClient(), recommendations: sdk.Bool(provider, "recommendations", false)}
	for i := range visitors {
		shop.visitors[i] = sdk.Attributes(fmt.Sprint("visitor-", i+1), nil)
	}
	look := func(openfeature.EventDetails) { shop.look(ctx) }
	look(openfeature.EventDetails{})
	for _, event := range []openfeature.EventType{
		openfeature.ProviderConfigChange, openfeature.ProviderStale, openfeature.ProviderReady, // told at once if it is so
	} {
		openfeature.AddHandler(event, &look)
	}
	<-ctx.Done()
	return nil
}

// visitors is how many visitors the shop has.
const visitors = 100

// shop prints what its visitors see.
type shop struct {
	out             io.Writer
	client          *openfeature.Client
	recommendations *sdk.BoolFlag // a handle: it is evaluated for every visitor
	visitors        [visitors]openfeature.FlattenedContext

	mu                  sync.Mutex // OpenFeature calls handlers from goroutines of their own
	banner, recommended string     // as last printed
}

// look prints what has changed. All that it evaluates is of one revision.
func (s *shop) look(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx = sdk.Pin(ctx)
	s.print(&s.banner, describe(s.client.StringValueDetails(ctx, "welcome-banner", "Hello!", openfeature.NewEvaluationContext("visitor-1", nil))))
	shown, shed := 0, 0
	for _, visitor := range s.visitors {
		d := s.recommendations.Details(ctx, visitor)
		if d.Value {
			shown++
		}
		if d.Reason == "DEGRADED" {
			shed++
		}
	}
	line := fmt.Sprintf("recommendations for %d of %d visitors", shown, visitors)
	if shed > 0 {
		line += fmt.Sprintf(", shed for %d", shed)
	}
	s.print(&s.recommended, line)
}

// print prints a line unless it is the one that was printed last.
func (s *shop) print(last *string, line string) {
	if line != *last {
		fmt.Fprintln(s.out, time.Now().Format(time.TimeOnly), line)
		*last = line
	}
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
