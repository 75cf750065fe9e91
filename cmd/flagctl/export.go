package main

import (
	"context"
	"encoding/json"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func newExport(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Print a namespace as one document",
		Long: `Print all flags, evaluators, segments and metadata of a namespace as one flagd
document, which ` + "`flagctl apply -f`" + ` takes: as JSON, or with -o yaml as YAML.`,
		Example: `  flagctl export -n shop -o yaml > shop.yaml`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.export(cmd.Context())
		},
	}
}

func (c *cli) export(ctx context.Context) error {
	if err := c.connect(); err != nil {
		return err
	}
	doc, err := c.document(ctx)
	if err != nil {
		return c.failed("export", err)
	}
	return c.print.Value(json.RawMessage(doc))
}

// document puts the parts of the exported document together.
func (c *cli) document(ctx context.Context) (string, error) {
	ctx, wait := listen(ctx, c.globals.timeout)
	defer wait.stop()
	parts, err := c.client.Flags.Export(ctx, connect.NewRequest(&plimsollv1.ExportRequest{Namespace: c.namespace()}))
	if err != nil {
		return "", whyEnded(ctx, err)
	}
	defer func() { _ = parts.Close() }() // the error that ended it is parts.Err
	var doc strings.Builder
	for parts.Receive() {
		wait.heard()
		doc.WriteString(parts.Msg().GetDocumentPart())
	}
	return doc.String(), whyEnded(ctx, parts.Err())
}
