package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/manifest"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
)

const filesHelp = `A file is a flagd document as JSON, or a YAML stream of any number of them;
flags may carry the blocks degradation and plimsoll. A folder stands for every
.json, .yaml and .yml file below it, - for standard input.`

func newLint(c *cli) *cobra.Command {
	var files []string
	var strict bool
	cmd := &cobra.Command{
		Use:   "lint -f FILE",
		Short: "Check files without a server",
		Long: `Check files and print everything that is wrong with them. Nothing is sent
anywhere, so what only a server can know is not checked: references to rules
that no file defines are warnings, and tiers are not known.

` + filesHelp,
		Example: `  flagctl lint -f flags.yaml
  flagctl lint -f flags/ --strict`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needFiles(cmd, files); err != nil {
				return err
			}
			return c.lint(files, strict)
		},
	}
	bindFiles(cmd, &files)
	cmd.Flags().BoolVar(&strict, "strict", false, "treat warnings as errors")
	return cmd
}

// bindFiles registers -f.
func bindFiles(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "file", "f", nil, "`file` or folder to read, or - (repeatable)")
	must(cmd.MarkFlagFilename("file", "json", "yaml", "yml"))
}

// needFiles refuses to do without any file.
func needFiles(cmd *cobra.Command, files []string) error {
	if len(files) == 0 {
		return &failure{code: exitUsage, why: fmt.Errorf("%s needs -f FILE", cmd.CommandPath()), hint: "usage: " + cmd.UseLine()}
	}
	return nil
}

func (c *cli) lint(files []string, strict bool) error {
	b, err := manifest.Read(files, c.in)
	if err != nil {
		return &failure{code: exitFailed, doing: "lint", why: err}
	}
	b.CheckReferences()
	b.CheckSize(c.now())
	errs, warnings := b.Errors(), b.Warnings()
	if c.print.People() {
		for _, f := range append(errs[:len(errs):len(errs)], warnings...) {
			c.print.Printf("%s\n", faultLine(f))
		}
	} else if err := c.print.Value(lintToJSON(errs, warnings)); err != nil {
		return err
	}
	total := fmt.Sprintf("%s and %s in %s", output.Count(len(errs), "error"), output.Count(len(warnings), "warning"), output.Count(b.Files(), "file"))
	if len(errs) > 0 || strict && len(warnings) > 0 {
		return &failure{code: exitFailed, doing: "lint", why: errors.New(total)}
	}
	c.print.Notef("%s", total)
	return nil
}

// lintJSON is the result for programs.
type lintJSON struct {
	Errors   []faultJSON `json:"errors"`
	Warnings []faultJSON `json:"warnings"`
}

type faultJSON struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func lintToJSON(errs, warnings []manifest.Fault) lintJSON {
	convert := func(faults []manifest.Fault) []faultJSON {
		out := make([]faultJSON, 0, len(faults))
		for _, f := range faults {
			out = append(out, faultJSON{f.File, f.Line, f.Column, f.Path, f.Message, f.Hint})
		}
		return out
	}
	return lintJSON{convert(errs), convert(warnings)}
}
