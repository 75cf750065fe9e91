package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/manifest"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// maxRequest is how much JSON one request carries. A server writes about as
// much in one transaction, so the answer to each request comes soon, and an
// interruption loses at most that much.
const maxRequest = 1 << 20

func newApply(c *cli) *cobra.Command {
	var files []string
	a := apply{cli: c, doing: "apply"}
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Bring flags to what files say",
		Long: `Create and change flags, evaluators, segments and metadata so that they are
what the files say. What the files do not name stays as it is.

Every fault of every file is reported, and with a single one nothing is sent. A
flag that was changed by hand since it was last applied, and differs from the
file, is a conflict: both versions are shown, nothing is written, and the exit
code is 4. --force overwrites it.

What is too large for one request goes in several, under one change id. They
are all checked before the first one is written. If it is interrupted between
two of them, running it again finishes it.

` + filesHelp,
		Example: `  flagctl apply -f flags.yaml --dry-run
  flagctl apply -f flags/ -n shop --reason "release 42"
  flagctl export | flagctl apply -n copy -f -`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needFiles(cmd, files); err != nil {
				return err
			}
			return a.run(cmd.Context(), files)
		},
	}
	bindFiles(cmd, &files)
	a.bind(cmd)
	return cmd
}

// bind registers the flags that apply and import share.
func (a *apply) bind(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.force, "force", false, "overwrite what was changed by hand, and allow changes of type")
	cmd.Flags().StringVar(&a.changeID, "change-id", "", "`id` of an interrupted "+a.doing+", to join this one to it in the audit log")
	a.globals.bindReason(cmd)
	a.globals.bindDryRun(cmd)
	a.globals.bindWait(cmd)
}

// apply is one run of the command, or of import.
type apply struct {
	*cli
	doing    string // the verb
	force    bool
	changeID string

	words   []string // the command line that is run, without its flags
	bundle  *manifest.Bundle
	chunks  []manifest.Chunk
	written int  // chunks
	writing bool // a request that writes has been sent
}

// applied is what became of all chunks.
type applied struct {
	objects []*plimsollv1.AppliedObject
	at      *plimsollv1.Position // after the last chunk; nil if none was sent
}

func (a *apply) run(ctx context.Context, files []string) error {
	bundle, err := manifest.Read(files, a.in)
	if err != nil {
		return &failure{code: exitFailed, doing: a.doing, why: err}
	}
	a.words = []string{"apply"}
	for _, f := range files {
		a.words = append(a.words, "-f", f)
	}
	return a.take(ctx, bundle)
}

// take brings the namespace to what was read.
func (a *apply) take(ctx context.Context, bundle *manifest.Bundle) error {
	if errs := bundle.Errors(); len(errs) > 0 {
		if err := a.printFaults(errs, bundle.Warnings()); err != nil {
			return err
		}
		return &failure{code: exitFailed, doing: a.doing, why: fmt.Errorf("%s in %s; nothing was sent",
			output.Count(len(errs), "error"), output.Count(bundle.Files(), "file"))}
	}
	if err := a.connect(); err != nil {
		return err
	}
	a.bundle, a.chunks = bundle, bundle.Chunks(maxRequest)
	if len(a.chunks) == 0 {
		return a.result(ctx, applied{})
	}
	a.changeID = cmp.Or(a.changeID, rand.Text())
	done, err := a.send(ctx)
	if err != nil {
		return err
	}
	return a.result(ctx, done)
}

// printFaults prints what keeps files from being sent, with the warnings; for
// programs as lint does.
func (a *apply) printFaults(errs, warnings []manifest.Fault) error {
	if !a.print.People() {
		return a.print.Value(lintToJSON(errs, warnings))
	}
	for _, f := range slices.Concat(errs, warnings) {
		a.print.Notef("%s", faultLine(f))
	}
	return nil
}

// send checks everything where there is more than one request, and then writes
// it. With --dry-run it only checks.
func (a *apply) send(ctx context.Context) (applied, error) {
	if a.globals.dryRun || len(a.chunks) > 1 {
		checked, err := a.check(ctx)
		if err != nil || a.globals.dryRun {
			return checked, err
		}
	}
	var done applied
	sent, total := 0, a.total()
	for _, chunk := range a.chunks {
		a.writing = true
		res, err := a.request(ctx, chunk.Write, false)
		if err != nil {
			return done, a.stopped(err)
		}
		a.written++
		done.add(res, chunk)
		sent += chunk.Objects()
		if len(a.chunks) > 1 {
			a.print.Notef("%s", output.Faint(fmt.Sprintf("applied %d of %s", sent, output.Count(total, "object"))))
		}
	}
	return done, nil
}

// check sends every chunk as a dry run and gathers what is wrong with any.
func (a *apply) check(ctx context.Context) (applied, error) {
	var done applied
	var wrong *remote.Error
	for _, chunk := range a.chunks {
		res, err := a.request(ctx, chunk.Check, true)
		if err == nil {
			done.add(res, chunk)
			continue
		}
		e := a.client.Explain(err)
		if len(e.Conflicts) == 0 && len(e.Faults) == 0 {
			return done, a.stopped(e)
		}
		if wrong == nil {
			wrong = e
			continue
		}
		wrong.Outcome = min(wrong.Outcome, e.Outcome) // a refusal outweighs a conflict
		wrong.Conflicts = append(wrong.Conflicts, e.Conflicts...)
		wrong.Faults = append(wrong.Faults, e.Faults...)
	}
	if wrong != nil {
		return done, a.stopped(wrong)
	}
	return done, nil
}

func (a *apply) request(ctx context.Context, doc *flag.Document, dryRun bool) (*plimsollv1.ApplyResponse, error) {
	res, err := a.client.Flags.Apply(ctx, connect.NewRequest(&plimsollv1.ApplyRequest{
		Namespace: a.namespace(), Document: doc.JSON(), Force: a.force, DryRun: dryRun, Change: a.change(a.changeID),
	}))
	if err != nil {
		return nil, err
	}
	if !dryRun || a.globals.dryRun {
		for _, w := range res.Msg.GetWarnings() {
			a.print.Notef("%s", faultLine(a.bundle.Locate(faultOf(w).Fault)))
		}
	}
	return res.Msg, nil
}

// add takes in what was done with the objects of a chunk. The rules that were
// sent along for the check are not the chunk's.
func (d *applied) add(res *plimsollv1.ApplyResponse, chunk manifest.Chunk) {
	for _, o := range res.GetObjects() {
		if chunk.Writes(o.GetObject()) {
			d.objects = append(d.objects, o)
		}
	}
	d.at = res.GetChange().GetPosition()
}

func (a *apply) total() int {
	n := 0
	for _, c := range a.chunks {
		n += c.Objects()
	}
	return n
}

// stopped tells how far it came, and how to go on.
func (a *apply) stopped(err error) error {
	e := a.client.Explain(err)
	for _, f := range e.Faults {
		a.print.Notef("%s", faultLine(a.bundle.Locate(faultOf(f).Fault)))
	}
	a.printConflicts(e.Conflicts, func(object string) string {
		file, line := a.bundle.Place(object)
		return fmt.Sprintf(" (%s:%d)", file, line)
	})
	if n := len(e.Faults); n > 0 {
		e.Faults, e.Message = nil, "the server found "+output.Count(n, "fault")
	}
	if n := len(e.Conflicts); n > 0 {
		e.Message = output.Count(n, "conflict")
	}
	f := a.failure(a.doing, e)
	if len(e.Conflicts) > 0 {
		e.Conflicts = nil // they have been printed
		f.hint = "take what was changed by hand into the file, or overwrite it with --force"
	}
	look := a.again([]string{"audit", "--change", a.changeID})
	unknown := a.writing && e.Unknown
	switch {
	case a.written == 0 && !unknown:
		f.why = fmt.Errorf("%w; nothing was written", e)
		return f
	case a.written == 0:
		f.why = fmt.Errorf("%w; it is not known whether change %s was written; look for it with: %s", e, a.changeID, look)
	case unknown:
		f.why = fmt.Errorf("%w; at least %d of %d requests were written; look for change %s with: %s", e, a.written, len(a.chunks), a.changeID, look)
	default:
		f.why = fmt.Errorf("%w; %d of %d requests were written, as change %s", e, a.written, len(a.chunks), a.changeID)
	}
	f.hint = "finish it with: " + a.again(append(a.arguments(), "--change-id", a.changeID))
	return f
}

// arguments are this run's verb and flags, to be given again.
func (a *apply) arguments() []string {
	out := slices.Clone(a.words)
	if a.force {
		out = append(out, "--force")
	}
	if a.globals.reason != "" {
		out = append(out, "--reason", a.globals.reason)
	}
	switch {
	case a.globals.waitTimeout != defaultWait:
		out = append(out, "--wait-timeout", a.globals.waitTimeout.String())
	case a.globals.wait:
		out = append(out, "--wait")
	}
	return out
}

// outcomes are the words for what became of an object.
var outcomes = map[plimsollv1.AppliedObject_Outcome]string{
	plimsollv1.AppliedObject_OUTCOME_CREATED:   "created",
	plimsollv1.AppliedObject_OUTCOME_UPDATED:   "updated",
	plimsollv1.AppliedObject_OUTCOME_UNCHANGED: "unchanged",
}

// appliedJSON is the result for programs.
type appliedJSON struct {
	ChangeID  string              `json:"changeId,omitempty"`
	DryRun    bool                `json:"dryRun,omitempty"`
	Revision  int64               `json:"revision,omitempty"`
	Created   int                 `json:"created"`
	Updated   int                 `json:"updated"`
	Unchanged int                 `json:"unchanged"`
	Objects   []appliedObjectJSON `json:"objects"`

	Wait *waitJSON `json:"wait,omitempty"`
}

type appliedObjectJSON struct {
	Object  string `json:"object"`
	Outcome string `json:"outcome"`
}

func (a *apply) result(ctx context.Context, done applied) error {
	counts := make(map[string]int)
	out := appliedJSON{ChangeID: a.changeID, DryRun: a.globals.dryRun, Revision: done.at.GetRevision(), Objects: make([]appliedObjectJSON, 0, len(done.objects))}
	for _, o := range done.objects {
		word := outcomes[o.GetOutcome()]
		counts[word]++
		out.Objects = append(out.Objects, appliedObjectJSON{o.GetObject(), word})
	}
	out.Created, out.Updated, out.Unchanged = counts["created"], counts["updated"], counts["unchanged"]
	if a.globals.dryRun {
		out.ChangeID, out.Revision = "", 0
	}
	end := concluded{doing: a.doing, at: done.at, changed: out.Created+out.Updated > 0}
	return a.conclude(ctx, end, func() { a.printResult(&out) }, func(w *waitJSON) any {
		out.Wait = w
		return out
	})
}

func (a *apply) printResult(out *appliedJSON) {
	for _, o := range out.Objects {
		switch o.Outcome {
		case "created":
			a.print.Printf("%s %s\n", output.Good("created"), output.Clean(o.Object))
		case "updated":
			a.print.Printf("%s %s\n", output.Warn("updated"), output.Clean(o.Object))
		}
	}
	total := fmt.Sprintf("%d created, %d updated, %d unchanged", out.Created, out.Updated, out.Unchanged)
	if out.DryRun {
		a.print.Printf("%s (dry run: nothing was changed)\n", total)
		return
	}
	if out.Created+out.Updated == 0 {
		a.print.Printf("%s\n", total)
		return
	}
	a.print.Printf("%s (change %s, revision %d)\n", total, out.ChangeID, out.Revision)
}
