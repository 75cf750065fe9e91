package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

func newNamespace(c *cli) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "namespace",
		Short: "Create, list and delete namespaces",
	})
	cmd.AddCommand(newNamespaceCreate(c), newNamespaceList(c), newNamespaceDelete(c))
	return cmd
}

func newNamespaceCreate(c *cli) *cobra.Command {
	var bucketing, description string
	var aliases []string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an empty namespace",
		Long: `Create an empty namespace. A name is 1 to 63 lower-case letters, digits and
dashes. --bucketing chooses how the operator fractional distributes users: v2
agrees with flagd and its providers of today, v1 with older, v3 with newer ones.
--alias gives it a further name, by which the selectors of flagd's clients pick
it, such as the source that they have asked for so far.`,
		Example:           `  flagctl namespace create shop --description "the shop's front end"`,
		Args:              exactly("NAME"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			generation, known := protoBucketings[bucketing]
			if !known {
				return usage(fmt.Sprintf("--bucketing is v1, v2 or v3, not %q", bucketing))
			}
			return c.createNamespace(cmd.Context(), args[0], &plimsollv1.Settings{Bucketing: generation, Description: description, Aliases: aliases})
		},
	}
	cmd.Flags().StringVar(&bucketing, "bucketing", "v2", "`generation` of fractional: v1, v2 or v3")
	cmd.Flags().StringVar(&description, "description", "", "`text` that says what the namespace is for")
	cmd.Flags().StringArrayVar(&aliases, "alias", nil, "further `name` for the selectors of flagd's clients (repeatable)")
	must(cmd.RegisterFlagCompletionFunc("bucketing", fixed("v1", "v2", "v3")))
	must(cmd.RegisterFlagCompletionFunc("alias", cobra.NoFileCompletions))
	c.globals.bindReason(cmd)
	return cmd
}

func newNamespaceList(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List namespaces",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.listNamespaces(cmd.Context())
		},
	}
}

func newNamespaceDelete(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "delete NAME",
		Short:             "Delete an empty namespace",
		Long:              "Delete a namespace that has no flags any more. Its audit log stays.",
		Args:              exactly("NAME"),
		ValidArgsFunction: c.completeNamespaces,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.deleteNamespace(cmd.Context(), args[0])
		},
	}
	c.globals.bindReason(cmd)
	c.globals.bindYes(cmd)
	return cmd
}

var protoBucketings = map[string]plimsollv1.Bucketing{
	"v1": plimsollv1.Bucketing_BUCKETING_V1, "v2": plimsollv1.Bucketing_BUCKETING_V2, "v3": plimsollv1.Bucketing_BUCKETING_V3,
}

// bucketingText is the name of a generation.
func bucketingText(b plimsollv1.Bucketing) string {
	for name, generation := range protoBucketings {
		if generation == b {
			return name
		}
	}
	return "v2"
}

// namespaceJSON is a namespace for programs.
type namespaceJSON struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Aliases     []string `json:"aliases,omitempty"`
	Bucketing   string   `json:"bucketing"`
	Flags       uint32   `json:"flags"`
	Revision    int64    `json:"revision"`
}

func namespaceToJSON(ns *plimsollv1.Namespace) namespaceJSON {
	return namespaceJSON{ns.GetName(), ns.GetSettings().GetDescription(), ns.GetSettings().GetAliases(), bucketingText(ns.GetSettings().GetBucketing()), ns.GetFlagCount(), ns.GetRevision()}
}

func (c *cli) createNamespace(ctx context.Context, name string, settings *plimsollv1.Settings) error {
	if err := checkNamespace(name); err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	id := rand.Text()
	res, err := c.client.Admin.CreateNamespace(ctx, connect.NewRequest(&plimsollv1.CreateNamespaceRequest{Name: name, Settings: settings, Change: c.change(id)}))
	if err != nil {
		return c.failedChange("create namespace "+name, err, id, c.againAnywhere([]string{"namespace", "list"}))
	}
	if !c.print.People() {
		return c.print.Value(namespaceToJSON(res.Msg.GetNamespace()))
	}
	c.print.Printf("namespace %s: created (revision %d)\n", output.Bold(output.Clean(name)), res.Msg.GetChange().GetPosition().GetRevision())
	c.print.Printf("undo: %s\n", c.again([]string{"namespace", "delete"}, name))
	return nil
}

var namespaceName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// checkNamespace says what is wrong with the name of a namespace, if anything.
func checkNamespace(name string) error {
	if !namespaceName.MatchString(name) {
		return usage(fmt.Sprintf("%q is no name of a namespace: it takes 1 to 63 lower-case letters, digits and dashes", name))
	}
	return nil
}

// checkOptionalNamespace is checkNamespace where "" leaves the choice open.
func checkOptionalNamespace(name string) error {
	if name == "" {
		return nil
	}
	return checkNamespace(name)
}

// suggestNamespace adds to a failure for want of a namespace which there are.
func (c *cli) suggestNamespace(failed error, name string) error {
	var f *failure
	var e *remote.Error
	if errors.As(failed, &f) && errors.As(failed, &e) && e.NoNamespace(name) {
		f.hint = c.noNamespaceHint(e, name)
	}
	return failed
}

// noNamespaceHint says how to find the namespace that was meant. It names the
// nearest one if the server did not and can be asked.
func (c *cli) noNamespaceHint(e *remote.Error, name string) string {
	hint := fmt.Sprintf("`%s` shows them", c.againAnywhere([]string{"namespace", "list"}))
	if strings.Contains(e.Message, "did you mean") {
		return hint
	}
	res, err := c.client.Admin.ListNamespaces(c.root.Context(), connect.NewRequest(&plimsollv1.ListNamespacesRequest{}))
	if err != nil {
		return hint
	}
	var names []string
	for _, ns := range res.Msg.GetNamespaces() {
		names = append(names, ns.GetName())
	}
	slices.Sort(names)
	if nearest := flag.Nearest(name, names); nearest != "" {
		return fmt.Sprintf("did you mean %q? %s", nearest, hint)
	}
	return hint
}

func (c *cli) listNamespaces(ctx context.Context) error {
	if err := c.connect(); err != nil {
		return err
	}
	res, err := c.client.Admin.ListNamespaces(ctx, connect.NewRequest(&plimsollv1.ListNamespacesRequest{}))
	if err != nil {
		return c.failed("list the namespaces", err)
	}
	out := struct {
		Namespaces []namespaceJSON `json:"namespaces"`
	}{make([]namespaceJSON, 0, len(res.Msg.GetNamespaces()))}
	rows := make([][]string, 0, len(res.Msg.GetNamespaces()))
	for _, ns := range res.Msg.GetNamespaces() {
		one := namespaceToJSON(ns)
		out.Namespaces = append(out.Namespaces, one)
		rows = append(rows, []string{
			output.Clean(one.Name), fmt.Sprint(one.Flags), one.Bucketing, output.Age(ns.GetCreatedAt().AsTime(), c.now()), output.Clean(one.Description),
		})
	}
	if !c.print.People() {
		return c.print.Value(out)
	}
	c.print.Table([]string{"NAME", "FLAGS", "BUCKETING", "AGE", "DESCRIPTION"}, rows, "BUCKETING", "AGE", "DESCRIPTION")
	return nil
}

func (c *cli) deleteNamespace(ctx context.Context, name string) error {
	if err := checkNamespace(name); err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	if err := c.confirm(ctx, fmt.Sprintf("delete namespace %s?", output.Clean(name))); err != nil {
		return err
	}
	id := rand.Text()
	_, err := c.client.Admin.DeleteNamespace(ctx, connect.NewRequest(&plimsollv1.DeleteNamespaceRequest{Name: name, Change: c.change(id)}))
	if err != nil {
		f := c.failedChange("delete namespace "+name, err, id, c.againAnywhere([]string{"namespace", "list"}))
		return c.suggestNamespace(f, name)
	}
	if !c.print.People() {
		return c.print.Value(struct {
			Deleted string `json:"deleted"`
		}{name})
	}
	c.print.Printf("namespace %s: deleted\n", output.Bold(output.Clean(name)))
	return nil
}
