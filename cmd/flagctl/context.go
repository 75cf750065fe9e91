package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/config"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
)

func newContext(c *cli) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "context",
		Short: "Name servers and namespaces, and choose among them",
		Long: `A context is a name for a server, a namespace and the file of a token. They are
kept in the file that PLIMSOLL_FLAGCTL_CONFIG names, else in plimsoll/flagctl.yaml
in the user's configuration folder. ` + "`flagctl context use`" + ` chooses the one in use,
and PLIMSOLL_CONTEXT another for a single run.`,
	})
	cmd.AddCommand(newContextList(c), newContextUse(c), newContextSet(c), newContextDelete(c))
	return cmd
}

// loadContexts reads the file of the contexts, and tells where it lies.
func loadContexts() (path string, file *config.File, err error) {
	if path, err = config.Path(); err != nil {
		return "", nil, &failure{code: exitUsage, why: err, hint: "name a file for the contexts in PLIMSOLL_FLAGCTL_CONFIG"}
	}
	if file, err = config.Load(path); err != nil {
		return "", nil, &failure{code: exitUsage, why: err, hint: "mend the file, or point PLIMSOLL_FLAGCTL_CONFIG at another"}
	}
	return path, file, nil
}

// editContexts reads the contexts, lets change work on them, and saves them.
func editContexts(change func(*config.File) error) error {
	path, file, err := loadContexts()
	if err != nil {
		return err
	}
	if err := change(file); err != nil {
		return err
	}
	return file.Save(path)
}

// contextJSON is a context for programs.
type contextJSON struct {
	Name      string `json:"name"`
	Current   bool   `json:"current"`
	Server    string `json:"server,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	TokenFile string `json:"tokenFile,omitempty"`
}

func newContextList(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List contexts",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			_, file, err := loadContexts()
			if err != nil {
				return err
			}
			return c.printContexts(file)
		},
	}
}

func (c *cli) printContexts(file *config.File) error {
	out := struct {
		Contexts []contextJSON `json:"contexts"`
	}{make([]contextJSON, 0, len(file.Contexts))}
	rows := make([][]string, 0, len(file.Contexts))
	for _, name := range file.Names() {
		one := file.Contexts[name]
		out.Contexts = append(out.Contexts, contextJSON{name, name == file.Current, one.Server, one.Namespace, one.TokenFile})
		current := ""
		if name == file.Current {
			current = output.Good("*")
		}
		rows = append(rows, []string{current, output.Clean(name), output.Clean(one.Server), output.Clean(one.Namespace), output.Clean(one.TokenFile)})
	}
	switch {
	case !c.print.People():
		return c.print.Value(out)
	case len(rows) == 0:
		c.print.Notef("no contexts; `flagctl context set NAME --server URL` makes one")
	default:
		c.print.Table([]string{"", "NAME", "SERVER", "NAMESPACE", "TOKEN FILE"}, rows, "TOKEN FILE")
	}
	return nil
}

func newContextUse(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:               "use NAME",
		Short:             "Choose the context to use from now on",
		Long:              "Choose the context to use from now on. `flagctl context use -` uses none.",
		Args:              exactly("NAME"),
		ValidArgsFunction: completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			return editContexts(func(f *config.File) error {
				if name == "-" {
					f.Current = ""
					c.print.Printf("no context is used from now on\n")
					return nil
				}
				if _, ok := f.Contexts[name]; !ok {
					return unknownContext(f, name)
				}
				f.Current = name
				c.print.Printf("context %s is used from now on\n", output.Bold(output.Clean(name)))
				return nil
			})
		},
	}
}

func newContextSet(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "set NAME",
		Short: "Make or change a context",
		Long: `Make or change a context from --server, --namespace and --token-file; what is not
given stays as it is. The first context there is becomes the one in use.`,
		Example:           `  flagctl context set prod --server https://flags.example.com -n shop --token-file ~/.plimsoll/prod`,
		Args:              exactly("NAME"),
		ValidArgsFunction: completeContexts,
		RunE: func(cmd *cobra.Command, args []string) error {
			return editContexts(func(f *config.File) error { return c.setContext(cmd, f, args[0]) })
		},
	}
}

func (c *cli) setContext(cmd *cobra.Command, f *config.File, name string) error {
	if err := config.CheckName(name); err != nil {
		return usage(err.Error())
	}
	given := cmd.Flags().Changed
	if !given("server") && !given("namespace") && !given("token-file") {
		return usage("give --server, --namespace or --token-file")
	}
	one, existed := f.Contexts[name]
	if given("server") {
		if err := remote.CheckURL(c.globals.server); err != nil {
			return usage(err.Error())
		}
		one.Server = c.globals.server
	}
	if given("namespace") {
		if err := checkOptionalNamespace(c.globals.namespace); err != nil {
			return err
		}
		one.Namespace = c.globals.namespace
	}
	if given("token-file") {
		path, err := filepath.Abs(c.globals.tokenFile)
		if err != nil {
			return fmt.Errorf("token file: %w", err)
		}
		one.TokenFile = path
	}
	f.Contexts[name] = one
	if !existed && len(f.Contexts) == 1 {
		f.Current = name
	}
	verb := "made"
	if existed {
		verb = "changed"
	}
	c.print.Printf("context %s: %s\n", output.Bold(output.Clean(name)), verb)
	if f.Current != name {
		c.print.Notef("%s `flagctl context use %s` uses it", output.Faint("hint:"), name)
	}
	return nil
}

func newContextDelete(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:               "delete NAME",
		Short:             "Delete a context",
		Args:              exactly("NAME"),
		ValidArgsFunction: completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			return editContexts(func(f *config.File) error {
				if _, ok := f.Contexts[name]; !ok {
					return unknownContext(f, name)
				}
				delete(f.Contexts, name)
				if f.Current == name {
					f.Current = ""
				}
				c.print.Printf("context %s: deleted\n", output.Bold(output.Clean(name)))
				return nil
			})
		},
	}
}
