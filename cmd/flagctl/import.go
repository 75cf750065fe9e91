package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/manifest"
)

func newImport(c *cli) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "import",
		Short: "Take over the flags of another system",
		Long:  "Take over the flags of another system, with their rules.",
	})
	cmd.AddCommand(newImportFlagd(c))
	return cmd
}

func newImportFlagd(c *cli) *cobra.Command {
	a := apply{cli: c, doing: "import"}
	cmd := &cobra.Command{
		Use:   "flagd FILE|URL",
		Short: "Take over a flag definition of flagd",
		Long: `Take over a whole flag definition of flagd: its flags, in the form of an object
or of an array, with their targeting and metadata, its evaluators, and the
metadata of the set. It is JSON or YAML, in a file, on standard input (-), or
where flagd's own http source has it. Flags that the definition does not name
stay as they are.

What is created and what is changed is shown, with --dry-run without doing it. A
flag that is there already, was changed by hand and differs is a conflict, as
for apply: both versions are shown, nothing is written, and the exit code is 4.
--force overwrites it. No flag takes part in degradation until it is given a
tier, by the block degradation or by ` + "`flagctl create --tier`" + `.`,
		Example: `  flagctl import flagd demo.flagd.json --dry-run
  flagctl import flagd https://config.example/flags.json -n shop --reason "from flagd"`,
		Args: exactly("FILE|URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.fetch(cmd.Context(), args[0])
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"json", "yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	a.bind(cmd)
	return cmd
}

// fetch reads one definition, from a file or from the network, and takes it.
func (a *apply) fetch(ctx context.Context, from string) error {
	var bundle *manifest.Bundle
	var err error
	if manifest.IsURL(from) {
		limited, cancel := context.WithTimeout(ctx, a.globals.timeout)
		defer cancel()
		bundle, err = manifest.Fetch(limited, from)
	} else if info, stat := os.Stat(from); stat == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder; name one file of it, or use flagctl apply -f", from)
	} else {
		bundle, err = manifest.Read([]string{from}, a.in)
	}
	if err != nil {
		return &failure{code: exitFailed, doing: a.doing, why: err}
	}
	a.words = []string{"import", "flagd", from}
	return a.take(ctx, bundle)
}
