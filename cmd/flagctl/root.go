package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

const rootHelp = `Flagctl creates, changes and inspects the feature flags of a Plimsoll server, and
dims features in an incident. Without a command it shows how the namespace
stands, as status does.

Where it connects to is decided in this order: the flags --server, --namespace
and --token-file; the environment (PLIMSOLL_SERVER, PLIMSOLL_NAMESPACE,
PLIMSOLL_TOKEN); the named context that PLIMSOLL_CONTEXT or
` + "`flagctl context use`" + ` chose; the default. PLIMSOLL_ACTOR is the name that the
audit log gets instead of user@host. PLIMSOLL_FLAGCTL_CONFIG names another file
for the contexts. PLIMSOLL_FLAGCTL_CACHE names another folder for what was last
seen of each namespace, which status and blast show when the server cannot be
reached.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 server unreachable,
4 conflict (it has changed meanwhile, or exists already), 5 done, but with --wait
it is not known that every process has applied it.`

// Groups of commands in the help.
const (
	groupIncidents = "incidents"
	groupFlags     = "flags"
	groupFiles     = "files"
	groupServer    = "server"
	groupSelf      = "self"
)

// newRoot puts the commands together.
func newRoot(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:           "flagctl",
		Short:         "Feature flags of a Plimsoll server",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownVerb,
		RunE:          func(cmd *cobra.Command, _ []string) error { return c.status(cmd.Context(), false) },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return c.globals.check(cmd)
		},
	}
	root.SetOut(printerOut{c.print})
	root.SetErr(printerOut{c.print})
	root.SetFlagErrorFunc(unknownFlag)
	helpOnlyKnown(c, root)
	c.globals.bind(c, root)
	root.AddGroup(
		&cobra.Group{ID: groupIncidents, Title: "Incidents:"},
		&cobra.Group{ID: groupFlags, Title: "Feature flags:"},
		&cobra.Group{ID: groupFiles, Title: "Files:"},
		&cobra.Group{ID: groupServer, Title: "Server:"},
		&cobra.Group{ID: groupSelf, Title: "This command:"},
	)
	add(root, groupIncidents, newStatus(c), newKill(c), newRestore(c), newShed(c), newLevel(c), newUndo(c), newBlast(c), newClients(c), newWatch(c))
	add(root, groupFlags, newList(c), newGet(c), newCreate(c), newSet(c), newEnable(c), newDisable(c), newDelete(c), newEval(c), newHistory(c))
	add(root, groupFiles, newApply(c), newLint(c), newExport(c), newImport(c), newManifest(c))
	add(root, groupServer, newPlan(c), newAudit(c), newNamespace(c))
	add(root, groupSelf, newContext(c), newVersion(c))
	root.SetHelpCommandGroupID(groupSelf)
	root.SetCompletionCommandGroupID(groupSelf)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	strictDefaults(root)
	completeGlobals(c, root)
	noteRunning(c, root)
	return root
}

// helpOnlyKnown refuses to help with a verb that there is not, which cobra takes
// for a wish for the help of the command above it.
func helpOnlyKnown(c *cli, root *cobra.Command) {
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if rest := cmd.Flags().Args(); cmd.HasSubCommands() && len(rest) > 0 {
			c.noHelp = unknownVerb(cmd, rest)
			return
		}
		help(cmd, args)
	})
}

func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, cmd := range commands {
		cmd.GroupID = group
		root.AddCommand(cmd)
	}
}

// noteRunning notes when a command begins to run: an error before that is one of
// the command line.
func noteRunning(c *cli, cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			c.running = true
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		noteRunning(c, sub)
	}
}

// strictDefaults makes cobra's own commands refuse what they do not know, as
// ours do.
func strictDefaults(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			parent(cmd)
		case "help":
			cmd.Args = func(_ *cobra.Command, args []string) error {
				if found, rest, err := root.Find(args); err != nil || len(rest) > 0 {
					return unknownVerb(found, rest)
				}
				return nil
			}
		}
	}
}

// parent makes a command of one that only has commands below it.
func parent(cmd *cobra.Command) *cobra.Command {
	cmd.Args = unknownVerb
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return &failure{code: exitUsage, why: fmt.Errorf("%s needs one of: %s", cmd.CommandPath(), strings.Join(verbs(cmd), ", "))}
	}
	return cmd
}

// verbs are the names of the commands below one.
func verbs(cmd *cobra.Command) []string {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			names = append(names, sub.Name())
		}
	}
	return names
}

// unknownVerb refuses arguments of a command that takes only verbs.
func unknownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return &failure{
		code: exitUsage, why: fmt.Errorf("there is no command %q", strings.TrimPrefix(cmd.CommandPath()+" "+args[0], "flagctl ")),
		hint: didYouMean(args[0], verbs(cmd), fmt.Sprintf("`%s --help` lists them", cmd.CommandPath())),
	}
}

func didYouMean(name string, names []string, otherwise string) string {
	slices.Sort(names)
	if nearest := flag.Nearest(name, names); nearest != "" {
		return fmt.Sprintf("did you mean %q?", nearest)
	}
	return otherwise
}

// unknownFlag explains an error in the flags of a command. Where a verb is
// mistyped, its flags are not known either: then it is the verb that is wrong.
func unknownFlag(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 {
		return unknownVerb(cmd, args)
	}
	hint := fmt.Sprintf("`%s --help` lists the flags", cmd.CommandPath())
	var missing *pflag.NotExistError
	if errors.As(err, &missing) && missing.GetSpecifiedShortnames() == "" {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		hint = didYouMean("--"+missing.GetSpecifiedName(), names, hint)
	}
	return &failure{code: exitUsage, why: err, hint: hint}
}

// exactly takes the arguments that are named, no more and no fewer.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := checkCount(cmd, args, len(names), len(names)); err != nil {
			return err
		}
		if len(names) > 0 && names[0] == "FLAG" {
			return checkKeys(args[:1])
		}
		return nil
	}
}

// checkKeys refuses what no flag can be called.
func checkKeys(keys []string) error {
	for _, key := range keys {
		if err := flag.CheckKey(key); err != nil {
			return usage(err.Error())
		}
	}
	return nil
}

// atLeastOne takes one argument or more, atMostOne one or none.
func atLeastOne(cmd *cobra.Command, args []string) error { return checkCount(cmd, args, 1, -1) }
func atMostOne(cmd *cobra.Command, args []string) error  { return checkCount(cmd, args, 0, 1) }

// noArguments takes none.
func noArguments(cmd *cobra.Command, args []string) error { return checkCount(cmd, args, 0, 0) }

func checkCount(cmd *cobra.Command, args []string, least, most int) error {
	if len(args) >= least && (most < 0 || len(args) <= most) {
		return nil
	}
	why := fmt.Errorf("%s takes %s, not %d", cmd.CommandPath(), wanted(least, most), len(args))
	if most == 0 {
		why = fmt.Errorf("%s takes no arguments, and got %q", cmd.CommandPath(), args[0])
	}
	return &failure{code: exitUsage, why: why, hint: "usage: " + cmd.UseLine()}
}

func wanted(least, most int) string {
	switch {
	case most < 0:
		return fmt.Sprintf("at least %s", output.Count(least, "argument"))
	case least == most:
		return output.Count(least, "argument")
	default:
		return fmt.Sprintf("at most %s", output.Count(most, "argument"))
	}
}

// printerOut lets cobra write its help and completions through the printer.
type printerOut struct{ p *output.Printer }

func (w printerOut) Write(b []byte) (int, error) {
	w.p.Raw(b)
	return len(b), nil
}
