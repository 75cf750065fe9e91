package main

import (
	"context"

	"github.com/spf13/cobra"
)

func newManifest(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "manifest",
		Short: "Print the manifest for the OpenFeature command line",
		Long: `Print which flags there are, of which type and with which default, as the file
from which ` + "`openfeature generate`" + ` makes typed accessors for many languages.
` + "`openfeature pull --provider-url SERVER`" + ` writes the same file.`,
		Example: `  flagctl manifest > flags.json
  openfeature generate go --manifest flags.json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.manifest(cmd.Context())
		},
	}
}

func (c *cli) manifest(ctx context.Context) error {
	if err := c.connect(); err != nil {
		return err
	}
	text, err := c.client.Manifest(ctx, c.namespace())
	if err != nil {
		return c.failed("manifest", err)
	}
	return c.print.Value(text)
}
