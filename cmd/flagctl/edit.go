package main

import (
	"context"
	"crypto/rand"
	"fmt"

	"connectrpc.com/connect"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// flagd's states.
const (
	stateEnabled  = "ENABLED"
	stateDisabled = "DISABLED"
)

// edit is one change of one field of a flag: what set, enable and disable do.
type edit struct {
	key, field   string
	base         int64 // the revision it is based on; 0: the one that is read
	value        func(*summary) string
	wanted       string
	request      *plimsollv1.UpdateFlagRequest
	check        func(*summary) error         // may be nil
	rewrite      func(string) (string, error) // the definition afterwards
	undo         func(old string) []string    // nil: by applying the old definition
	afterwards   func(*plimsollv1.Flag, *summary) string
	verbForError string
}

// editJSON is the result for programs.
type editJSON struct {
	Key      string `json:"key"`
	Field    string `json:"field"`
	Before   string `json:"before"`
	After    string `json:"after"`
	Changed  bool   `json:"changed"`
	DryRun   bool   `json:"dryRun,omitempty"`
	ChangeID string `json:"changeId,omitempty"`
	Revision int64  `json:"revision"`
	Undo     string `json:"undo,omitempty"`

	Wait *waitJSON `json:"wait,omitempty"`
}

// edit makes the change, on the condition that the flag still is what was read
// first, and prints old, new and the command that undoes it.
func (c *cli) edit(ctx context.Context, e edit) error {
	if err := checkBase(e.base); err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	old, err := c.getFlag(ctx, e.key)
	if err != nil {
		return c.failed(e.verbForError, err)
	}
	s := summarize(old.GetDefinition())
	if e.check != nil {
		if err := e.check(&s); err != nil {
			return &failure{code: exitFailed, doing: e.verbForError, why: err}
		}
	}
	out := editJSON{Key: e.key, Field: e.field, Before: e.value(&s), After: e.wanted, Revision: old.GetRevision(), DryRun: c.globals.dryRun}
	if e.base == 0 {
		e.base = old.GetRevision()
	}
	var at *plimsollv1.Position
	if out.Before != out.After || e.base != old.GetRevision() {
		if at, err = c.applyEdit(ctx, e, old, &out); err != nil {
			return c.failed(e.verbForError, err)
		}
	}
	if out.Changed {
		out.Undo = c.undoEdit(e, old, out.Before)
	}
	show := func() {
		c.printEdit(&out)
		if e.afterwards == nil {
			return
		}
		if note := e.afterwards(old, &s); note != "" {
			c.print.Notef("%s %s", output.Warn("note:"), output.Clean(note))
		}
	}
	return c.conclude(ctx, concluded{doing: e.verbForError, at: at, changed: out.Changed}, show, func(w *waitJSON) any {
		out.Wait = w
		return out
	})
}

// checkBase refuses a revision that no flag can have.
func checkBase(revision int64) error {
	if revision < 0 {
		return usage(fmt.Sprintf("--base-revision must not be negative, and is %d", revision))
	}
	return nil
}

// applyEdit sends the change, or with --dry-run checks it here. It returns the
// namespace's position after it.
func (c *cli) applyEdit(ctx context.Context, e edit, old *plimsollv1.Flag, out *editJSON) (*plimsollv1.Position, error) {
	if c.globals.dryRun {
		if e.base != old.GetRevision() {
			return nil, &failure{code: exitConflict, doing: e.verbForError, why: fmt.Errorf("the flag is at revision %d, not %d", old.GetRevision(), e.base)}
		}
		_, err := e.rewrite(old.GetDefinition())
		out.Changed = err == nil
		return nil, err
	}
	id := rand.Text()
	e.request.Namespace, e.request.Key, e.request.BaseRevision, e.request.Change = c.namespace(), e.key, e.base, c.change(id)
	res, err := c.client.Flags.UpdateFlag(ctx, connect.NewRequest(e.request))
	if err != nil {
		return nil, c.failedChange(e.verbForError, err, id, c.again([]string{"history"}, e.key))
	}
	c.warn(res.Msg.GetWarnings())
	out.ChangeID = res.Msg.GetChange().GetChangeId()
	out.Revision = res.Msg.GetFlag().GetRevision()
	out.Changed = res.Msg.GetChange().GetChanged()
	return res.Msg.GetChange().GetPosition(), nil
}

func (c *cli) undoEdit(e edit, old *plimsollv1.Flag, before string) string {
	if words := e.undo(before); words != nil {
		return c.again(words[:1], words[1:]...)
	}
	return c.applyAgain(map[string]string{e.key: old.GetDefinition()})
}

func (c *cli) printEdit(out *editJSON) {
	name := output.Bold(output.Clean(out.Key))
	before := output.Clean(out.Before)
	if before == "" {
		before = "(none)"
	}
	switch {
	case !out.Changed:
		c.print.Printf("%s: %s already; nothing was changed\n", name, output.Clean(out.After))
	case out.DryRun:
		c.print.Printf("%s: %s → %s (dry run: nothing was changed)\n", name, before, output.Clean(out.After))
	default:
		c.print.Printf("%s: %s → %s (revision %d)\n", name, before, output.Bold(output.Clean(out.After)), out.Revision)
		c.print.Printf("undo: %s\n", out.Undo)
	}
}

// notServed says why a flag does not serve its default variant to everybody,
// if so.
func (c *cli) notServed(f *plimsollv1.Flag, s *summary) string {
	switch {
	case f.GetOverride() != nil:
		return fmt.Sprintf("an override pins this flag to %s", overrideText(f.GetOverride()))
	case s.State == stateDisabled:
		return fmt.Sprintf("this flag is disabled: apps use their own default until `%s`", c.again([]string{"enable"}, f.GetKey()))
	case s.targeted():
		return "targeting decides first; those it does not match get the default"
	}
	return ""
}

// unknownVariant names the variant that was probably meant.
func unknownVariant(name string, s *summary) error {
	names := s.variantNames()
	message := fmt.Sprintf("it has no variant %q", name)
	if nearest := flag.Nearest(name, names); nearest != "" {
		return fmt.Errorf("%s; did you mean %q?", message, nearest)
	}
	return fmt.Errorf("%s; there are %s", message, quotedList(names))
}
