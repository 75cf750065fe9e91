package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this flagctl",
		Long:  "Print the version of this flagctl. The server's is shown by `flagctl status`.",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			v := buildVersion()
			if !c.print.People() {
				return c.print.Value(struct {
					Version  string `json:"version"`
					Go       string `json:"go"`
					Platform string `json:"platform"`
				}{v, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH})
			}
			c.print.Printf("%s\n", fmt.Sprintf("flagctl %s (%s, %s/%s)", v, runtime.Version(), runtime.GOOS, runtime.GOARCH))
			return nil
		},
	}
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
