package main

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/lastseen"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// staleAfter is how long a server has to answer before the copy of what was last
// seen is shown instead, unless --timeout says otherwise.
const staleAfter = 3 * time.Second

// seen is what a command has just been told of the namespace; what it was not
// told is nil.
type seen struct {
	status      *plimsollv1.GetStatusResponse
	degradation *plimsollv1.GetDegradationResponse
	failureMap  *plimsollv1.GetFailureMapResponse
	changes     []*plimsollv1.AuditRecord
}

// remember keeps what was seen for when the server cannot be reached. That it
// cannot be kept is not worth a word: nothing is wrong with what is shown.
func (c *cli) remember(s seen) {
	dir, err := lastseen.Folder()
	if err != nil {
		return
	}
	keep := lastseen.Copy{Status: s.status}
	if s.degradation != nil {
		keep.Degradation, keep.DegradationAt = s.degradation, c.now()
	}
	if s.failureMap != nil {
		keep.Map, keep.MapAt = s.failureMap, c.now()
	}
	for _, r := range s.changes {
		keep.Changes = append(keep.Changes, withoutValues(r))
	}
	_ = lastseen.Save(dir, c.target.server, c.target.namespace, keep)
}

// withoutValues is a record without what the objects held.
func withoutValues(r *plimsollv1.AuditRecord) *plimsollv1.AuditRecord {
	brief := proto.CloneOf(r)
	for i, o := range r.GetObjects() {
		brief.Objects[i] = &plimsollv1.AuditObject{Object: o.GetObject()}
	}
	return brief
}

// connectOrRecall connects, and where there is a copy of what was last seen gives
// the server no longer than people would wait for it.
func (c *cli) connectOrRecall() error {
	if err := c.connect(); err != nil {
		return err
	}
	dir, err := lastseen.Folder()
	if err == nil && lastseen.Has(dir, c.target.server, c.target.namespace) && !c.root.PersistentFlags().Changed("timeout") {
		c.dial(min(staleAfter, c.globals.timeout))
	}
	return nil
}

// recall is the copy of what was last seen, if failed says that the server
// cannot be reached; else nil.
func (c *cli) recall(failed error) *lastseen.Copy {
	var f *failure
	if !errors.As(failed, &f) || f.code != exitUnreachable {
		return nil
	}
	dir, err := lastseen.Folder()
	if err != nil {
		return nil
	}
	found, err := lastseen.Load(dir, c.target.server, c.target.namespace)
	if err != nil {
		c.print.Notef("%s %s", output.Warn("note:"), output.Clean(err.Error()))
	}
	return found
}

// staleJSON tells programs whether a result is a copy. AsOf is when it was seen,
// by this machine's clock.
type staleJSON struct {
	Stale   bool       `json:"stale"`
	AsOf    *time.Time `json:"asOf,omitempty"`
	Problem string     `json:"problem,omitempty"`
}

func staleSince(at time.Time, why error) staleJSON {
	at = at.UTC()
	return staleJSON{true, &at, why.Error()}
}

// printStale marks a result as a copy.
func (c *cli) printStale(at time.Time, why error) {
	layout := time.TimeOnly
	if at.Local().Format(time.DateOnly) != c.now().Local().Format(time.DateOnly) {
		layout = time.DateTime
	}
	c.print.Printf("%s as of %s, %s ago; the server cannot be reached: %s\n", output.Bold(output.Bad("STALE:")),
		at.Local().Format(layout), output.Span(c.now().Sub(at)), output.Clean(why.Error()))
}

// answeredStale is how a command ends that was answered from the copy. Programs
// get the reason beside the result, too.
func (c *cli) answeredStale(failed error) error {
	var f *failure
	if errors.As(failed, &f) {
		f.told = c.print.People()
		f.why = fmt.Errorf("answered from what was last seen: %w", f.why)
	}
	return failed
}

// whyUnreachable is the reason alone.
func whyUnreachable(failed error) error {
	var f *failure
	if errors.As(failed, &f) {
		return f.why
	}
	return failed
}
