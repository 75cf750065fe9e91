package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/config"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

const (
	defaultServer  = "http://127.0.0.1:8013"
	defaultTimeout = 10 * time.Second
	maxReason      = 4096 // bytes, as the server accepts
	maxActor       = 128  // bytes, as the server keeps
)

// globals are the flags that commands share.
type globals struct {
	server, tokenFile, namespace string
	timeout                      time.Duration

	reason      string // of commands that change something
	yes, dryRun bool

	wait        bool // of commands that change what apps get
	waitTimeout time.Duration
}

// bind registers the flags of all commands.
func (g *globals) bind(c *cli, root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&g.server, "server", "", "`URL` of the server (PLIMSOLL_SERVER; default "+defaultServer+")")
	flags.StringVar(&g.tokenFile, "token-file", "", "`file` with the token (the token itself: PLIMSOLL_TOKEN)")
	flags.StringVarP(&g.namespace, "namespace", "n", "", "`namespace` (PLIMSOLL_NAMESPACE; default \"default\")")
	flags.VarP(&c.print.Format, "output", "o", "how to print results: table, json or yaml")
	flags.DurationVar(&g.timeout, "timeout", defaultTimeout, "longest `duration` of one call to the server")
}

// bindReason registers --reason for a command that changes something.
func (g *globals) bindReason(cmd *cobra.Command) {
	cmd.Flags().StringVar(&g.reason, "reason", "", "`text` that says why, for the audit log")
}

// bindDryRun registers --dry-run.
func (g *globals) bindDryRun(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&g.dryRun, "dry-run", false, "show what would change, and change nothing")
}

// bindYes registers --yes for a command that destroys something.
func (g *globals) bindYes(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&g.yes, "yes", "y", false, "do not ask")
}

// check says what is wrong with the flags as such.
func (g *globals) check(cmd *cobra.Command) error {
	if g.timeout <= 0 {
		return usage("--timeout must be more than 0, such as 10s")
	}
	if len(g.reason) > maxReason {
		return usage(fmt.Sprintf("--reason has %d bytes; at most %d are allowed", len(g.reason), maxReason))
	}
	return g.checkWait(cmd)
}

// settings are where to connect to, and as who.
type settings struct{ server, namespace, token, actor string }

// resolve decides: a flag wins over the environment, that over the context in
// use, that over the default.
func (g *globals) resolve() (settings, error) {
	named, err := currentContext()
	if err != nil {
		return settings{}, err
	}
	s := settings{
		server:    cmp.Or(g.server, os.Getenv("PLIMSOLL_SERVER"), named.Server, defaultServer),
		namespace: cmp.Or(g.namespace, os.Getenv("PLIMSOLL_NAMESPACE"), named.Namespace),
	}
	if err := remote.CheckURL(s.server); err != nil {
		return settings{}, usage(err.Error())
	}
	if err := checkOptionalNamespace(s.namespace); err != nil {
		return settings{}, err
	}
	if s.token, err = g.token(named); err != nil {
		return settings{}, err
	}
	s.actor, err = actor()
	return s, err
}

// currentContext is the named context in use; empty if there is none.
func currentContext() (config.Context, error) {
	if _, err := config.Path(); err != nil {
		return config.Context{}, nil //nolint:nilerr // without a home there are no contexts to use
	}
	_, file, err := loadContexts()
	if err != nil {
		return config.Context{}, err
	}
	name := cmp.Or(os.Getenv("PLIMSOLL_CONTEXT"), file.Current)
	if name == "" {
		return config.Context{}, nil
	}
	named, ok := file.Contexts[name]
	if !ok {
		return config.Context{}, unknownContext(file, name)
	}
	return named, nil
}

func unknownContext(file *config.File, name string) error {
	hint := "`flagctl context list` shows those there are"
	if nearest := flag.Nearest(name, file.Names()); nearest != "" {
		hint = fmt.Sprintf("did you mean %q?", nearest)
	}
	return &failure{code: exitUsage, why: fmt.Errorf("there is no context %q", name), hint: hint}
}

func (g *globals) token(named config.Context) (string, error) {
	path := g.tokenFile
	if path == "" {
		if token := os.Getenv("PLIMSOLL_TOKEN"); token != "" {
			return checkToken(token, "PLIMSOLL_TOKEN")
		}
		path = named.TokenFile
	}
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", &failure{code: exitUsage, doing: "read the token", why: err}
	}
	return checkToken(string(text), path)
}

// checkToken refuses what cannot be a token, without repeating it.
func checkToken(text, from string) (string, error) {
	token := strings.TrimSpace(text)
	switch {
	case token == "":
		return "", usage(fmt.Sprintf("there is no token in %s", from))
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return "", usage(fmt.Sprintf("what is in %s is no token: it has spaces, line ends or characters that are not ASCII", from))
	}
	return token, nil
}

// actor is who the audit log is told that acts: user@host, unless
// PLIMSOLL_ACTOR says something else.
func actor() (string, error) {
	if name := os.Getenv("PLIMSOLL_ACTOR"); name != "" {
		if len(name) > maxActor || strings.ContainsFunc(name, unicode.IsControl) {
			return "", usage(fmt.Sprintf("PLIMSOLL_ACTOR must have at most %d bytes and no control characters", maxActor))
		}
		return name, nil
	}
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if name == "" {
		name = "unknown"
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return name, nil //nolint:nilerr // a machine may be without a name
	}
	return name + "@" + host, nil
}

// usage is a mistake in the command line.
func usage(message string) error {
	return &failure{code: exitUsage, why: errors.New(message)}
}
