// Command server is Plimsoll's control plane: it keeps the flags in etcd,
// streams them to the processes that evaluate them, and serves operators.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/config"
)

// version is set by the release build.
var version = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := command(os.Stdout, os.Stderr).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func command(stdout, stderr io.Writer) *cobra.Command {
	var cfg config.Config
	cmd := &cobra.Command{
		Use:           "server",
		Short:         "Plimsoll's control plane",
		Long:          "Server keeps every feature flag in etcd and streams it to the processes that evaluate it.\n\nEvery flag can also be set in the environment (--data-dir is PLIMSOLL_DATA_DIR)\nand in the YAML file that --config names (data-dir: …).",
		Args:          cobra.NoArgs,
		Version:       buildVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.Complete(cmd.Flags(), os.LookupEnv); err != nil {
				return err
			}
			return run(cmd.Context(), cfg, stdout, stderr)
		},
	}
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cfg.Bind(cmd.Flags())
	return cmd
}

// buildVersion is the release's version, or the module's as Go recorded it.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
