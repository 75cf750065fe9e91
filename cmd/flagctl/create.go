package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/manifest"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

func newCreate(c *cli) *cobra.Command {
	var file string
	var f newFlag
	cmd := &cobra.Command{
		Use:   "create KEY",
		Short: "Create a flag",
		Long: `Create a flag from its variants, or from a file that holds its definition (JSON
or YAML, as ` + "`flagctl get KEY -o yaml`" + ` prints it; - is standard input).

Values of variants are read as JSON; what is no JSON is a string. --type makes
sure of the type, so that --type string --variant one=1 is the string "1".
A flag is shed under load only if it has a tier.`,
		Example: `  flagctl create new-ui --bool --owner team-web
  flagctl create theme --variant dark='#000' --variant light='#fff' --default light
  flagctl create reviews --bool --default on --tier optional --degraded-variant off
  flagctl create new-ui -f new-ui.yaml`,
		Args:              exactly("KEY"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := fileAlone(cmd); err != nil {
				return err
			}
			definition, err := c.definition(args[0], file, f)
			if err != nil {
				return err
			}
			return c.create(cmd.Context(), args[0], definition)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&file, "file", "f", "", "`file` with the definition; - is standard input")
	flags.BoolVar(&f.boolean, "bool", false, "short for --variant on=true --variant off=false --default off")
	flags.StringVar(&f.kind, "type", "", "`type` of the values: bool, string, number or object")
	flags.StringArrayVar(&f.variants, "variant", nil, "a variant, as `name=value` (repeatable)")
	flags.StringVar(&f.defaultVariant, "default", "", "the default `variant`; without: apps use their own default")
	flags.StringVar(&f.tier, "tier", "", "`tier` of the flag: how important it is; lets it be shed")
	flags.StringVar(&f.degraded, "degraded-variant", "", "`variant` that is served when the flag is shed")
	flags.StringVar(&f.owner, "owner", "", "`name` of whom to ask about the flag")
	flags.StringVar(&f.describes, "description", "", "`text` that says what the flag is for")
	bindLabels(cmd, &f.labels, "a label (repeatable)")
	must(cmd.RegisterFlagCompletionFunc("type", fixed(flagTypes...)))
	must(cmd.RegisterFlagCompletionFunc("tier", c.completeTiers))
	c.globals.bindReason(cmd)
	c.globals.bindDryRun(cmd)
	c.globals.bindWait(cmd)
	return cmd
}

// fileAlone refuses a file together with flags that describe the flag.
func fileAlone(cmd *cobra.Command) error {
	if !cmd.Flags().Changed("file") {
		return nil
	}
	for _, other := range []string{"bool", "type", "variant", "default", "tier", "degraded-variant", "owner", "description", "label"} {
		if cmd.Flags().Changed(other) {
			return usage(fmt.Sprintf("the file holds the whole definition: leave out --%s, or -f", other))
		}
	}
	return nil
}

func (c *cli) create(ctx context.Context, key, definition string) error {
	doing := "create " + key
	if err := c.connect(); err != nil {
		return err
	}
	if c.globals.dryRun {
		return c.dryCreate(ctx, key, definition)
	}
	id := rand.Text()
	res, err := c.client.Flags.CreateFlag(ctx, connect.NewRequest(&plimsollv1.CreateFlagRequest{
		Namespace: c.namespace(), Key: key, Definition: definition, Change: c.change(id),
	}))
	if err != nil {
		return c.failedCreate(doing, key, c.failedChange(doing, err, id, c.again([]string{"history"}, key)))
	}
	c.warn(res.Msg.GetWarnings())
	show := func() {
		c.print.Printf("%s: created (revision %d)\n", output.Bold(output.Clean(key)), res.Msg.GetFlag().GetRevision())
		c.print.Printf("undo: %s\n", c.again([]string{"delete"}, key))
	}
	return c.conclude(ctx, concluded{doing: doing, at: res.Msg.GetChange().GetPosition(), changed: true}, show, func(w *waitJSON) any {
		return struct {
			flagJSON
			ChangeID string    `json:"changeId"`
			Wait     *waitJSON `json:"wait,omitempty"`
		}{flagToJSON(res.Msg.GetFlag()), res.Msg.GetChange().GetChangeId(), w}
	})
}

func (c *cli) failedCreate(doing, key string, err error) error {
	failed := c.failed(doing, err)
	var f *failure
	if errors.As(failed, &f) && connect.CodeOf(err) == connect.CodeAlreadyExists {
		f.hint = fmt.Sprintf("`%s` shows it, `flagctl set` and `flagctl apply` change it", c.again([]string{"get"}, key))
	}
	return failed
}

// dryCreate asks the server what creating the flag would do: the same as
// applying a document with it, but that it must not exist.
func (c *cli) dryCreate(ctx context.Context, key, definition string) error {
	doing := "create " + key
	_, err := c.getFlag(ctx, key)
	switch {
	case err == nil:
		return c.failedCreate(doing, key, connect.NewWireError(connect.CodeAlreadyExists, fmt.Errorf("flag %q exists already", key)))
	case connect.CodeOf(err) != connect.CodeNotFound || !connect.IsWireError(err):
		return c.failed(doing, err)
	}
	res, err := c.client.Flags.Apply(ctx, connect.NewRequest(&plimsollv1.ApplyRequest{
		Namespace: c.namespace(), DryRun: true, Document: fmt.Sprintf(`{"flags":{%s:%s}}`, jsonText(key), definition),
	}))
	if err != nil {
		return c.failed(doing, err)
	}
	c.warn(res.Msg.GetWarnings())
	if !c.print.People() {
		return c.print.Value(json.RawMessage(definition))
	}
	c.print.Printf("%s: would be created as\n%s\n", output.Bold(output.Clean(key)), output.Pretty([]byte(definition)))
	return nil
}

// definition is the checked definition of the new flag: from the file, or else
// as the command line describes it.
func (c *cli) definition(key, file string, f newFlag) (string, error) {
	if err := flag.CheckKey(key); err != nil {
		return "", usage(err.Error())
	}
	doing := "create " + key
	var def *flag.Definition
	var faults []manifest.Fault
	if file != "" {
		var err error
		if def, faults, err = manifest.ReadDefinition(key, file, c.in); err != nil {
			return "", &failure{code: exitFailed, doing: doing, why: err}
		}
	} else {
		text, err := f.definition()
		if err != nil {
			return "", &failure{code: exitUsage, doing: doing, why: err, hint: "`flagctl create --help` has examples"}
		}
		var found flag.Faults
		def, found = flag.Parse(key, []byte(text), flag.Env{})
		for _, fault := range found {
			fault.Line = 0 // nobody sees the text
			faults = append(faults, manifest.Fault{Fault: fault})
		}
	}
	if def != nil {
		return def.JSON(), nil // the server repeats the warnings
	}
	for _, fault := range faults {
		c.print.Notef("%s", faultLine(fault))
	}
	return "", &failure{code: exitFailed, doing: doing, why: errors.New("the definition is not valid; nothing was changed")}
}
