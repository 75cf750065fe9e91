package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// applying takes documents and remembers them; before is asked first.
type applying struct {
	plimsollv1connect.UnimplementedFlagServiceHandler
	before func(*plimsollv1.ApplyRequest) error
	writes []*plimsollv1.ApplyRequest
	checks []*plimsollv1.ApplyRequest
}

func (a *applying) Apply(_ context.Context, req *connect.Request[plimsollv1.ApplyRequest]) (*connect.Response[plimsollv1.ApplyResponse], error) {
	if a.before != nil {
		if err := a.before(req.Msg); err != nil {
			return nil, err
		}
	}
	res := &plimsollv1.ApplyResponse{Change: &plimsollv1.ChangeResult{ChangeId: req.Msg.GetChange().GetChangeId(), Changed: !req.Msg.GetDryRun()}}
	doc, faults := flag.ParseDocument([]byte(req.Msg.GetDocument()), flag.Env{})
	if doc == nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, faults)
	}
	for _, r := range doc.Segments {
		res.Objects = append(res.Objects, &plimsollv1.AppliedObject{Object: "segments/" + r.Name(), Outcome: plimsollv1.AppliedObject_OUTCOME_CREATED})
	}
	for _, f := range doc.Flags {
		res.Objects = append(res.Objects, &plimsollv1.AppliedObject{Object: "flags/" + f.Key(), Outcome: plimsollv1.AppliedObject_OUTCOME_CREATED})
	}
	if req.Msg.GetDryRun() {
		a.checks = append(a.checks, req.Msg)
	} else {
		a.writes = append(a.writes, req.Msg)
	}
	return connect.NewResponse(res), nil
}

// largeFile writes a document that takes four requests, and changes to its
// folder.
func largeFile(t *testing.T) string {
	t.Helper()
	t.Chdir(t.TempDir())
	var b strings.Builder
	b.WriteString("segments: {beta: true}\nflags:\n")
	for i := range 70 {
		fmt.Fprintf(&b, "  f%02d: {state: ENABLED, variants: {a: %q}, targeting: {if: [{segment: beta}, a]}}\n", i, strings.Repeat("x", 50_000))
	}
	if err := os.WriteFile("large.yaml", []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return "large.yaml"
}

// TestApplyInterrupted: when the server goes away between two requests, it is
// said what was written and how to finish, and doing that finishes it.
func TestApplyInterrupted(t *testing.T) {
	file := largeFile(t)
	server := new(applying)
	server.before = func(req *plimsollv1.ApplyRequest) error {
		if !req.GetDryRun() && len(server.writes) == 2 {
			return connect.NewError(connect.CodeUnavailable, fmt.Errorf("draining"))
		}
		return nil
	}
	url := services(t, server, nil)
	r := runFlagctl(t.Context(), t, url, "apply", "-f", file, "--reason", "release 42")
	r.want(t, exitFailed, "draining; 2 of 4 requests were written, as change ", "hint: finish it with: flagctl apply -f large.yaml --reason 'release 42' --change-id ")
	id := server.writes[0].GetChange().GetChangeId()
	if !regexp.MustCompile(`^[A-Z2-7]{26}$`).MatchString(id) || !strings.HasSuffix(r.stderr, "--change-id "+id+"\n") {
		t.Errorf("change %q is not that of the hint", id)
	}

	server.before = nil
	server.writes = nil
	r = runFlagctl(t.Context(), t, url, "apply", "-f", file, "--reason", "release 42", "--change-id", id)
	r.want(t, exitDone, "applied 71 of 71 objects")
	for i, w := range server.writes {
		if w.GetChange().GetChangeId() != id || w.GetChange().GetReason() != "release 42" {
			t.Errorf("request %d is of change %v", i, w.GetChange())
		}
	}
	if !strings.Contains(r.stdout, "71 created, 0 updated, 0 unchanged (change "+id) {
		t.Errorf("stdout ends with %q", r.stdout[max(0, len(r.stdout)-100):])
	}
}

// TestApplyCtrlC is the same for a person who gives up.
func TestApplyCtrlC(t *testing.T) {
	file := largeFile(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := new(applying)
	server.before = func(req *plimsollv1.ApplyRequest) error {
		if !req.GetDryRun() && len(server.writes) == 1 {
			cancel()
		}
		return nil
	}
	runFlagctl(ctx, t, services(t, server, nil), "apply", "-f", file).want(t, exitFailed, "interrupted; at least 1 of 4 requests were written; look for change ", "finish it with: flagctl apply -f large.yaml --change-id ")
}

// TestApplyChecksFirst: what is wrong anywhere is found before anything is
// written, all of it, and each request can be checked by itself.
func TestApplyChecksFirst(t *testing.T) {
	file := largeFile(t)
	server := new(applying)
	server.before = func(req *plimsollv1.ApplyRequest) error {
		if !strings.Contains(req.GetDocument(), `"segments"`) {
			t.Errorf("a request lacks the segment that its flags refer to")
		}
		err := connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("conflict"))
		detail, detailErr := connect.NewErrorDetail(&plimsollv1.ConflictList{Conflicts: []*plimsollv1.Conflict{{
			Object: fmt.Sprintf("flags/f%02d", len(server.checks)), CurrentRevision: 5, Actor: &plimsollv1.Actor{Name: "bob"},
			CurrentDefinition: `{"a":1}`, RefusedDefinition: `{"a":2}`,
		}}})
		if detailErr != nil {
			return detailErr
		}
		err.AddDetail(detail)
		server.checks = append(server.checks, req)
		if len(server.checks) == 1 {
			return nil // the first one is fine
		}
		return err
	}
	r := runFlagctl(t.Context(), t, services(t, server, nil), "apply", "-f", file)
	r.want(t, exitConflict, "flagctl: apply: 3 conflicts; nothing was written\n", "overwrite it with --force", "+++ as you want it")
	if n := strings.Count(r.stderr, "conflict: flags/f"); n != 3 {
		t.Errorf("%d conflicts are shown, want 3", n)
	}
	if len(server.writes) != 0 || r.stdout != "" {
		t.Errorf("%d requests were written; stdout %q", len(server.writes), r.stdout)
	}
}

// TestApplyNothing: a document that says nothing asks for nothing.
func TestApplyNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.json")
	if err := os.WriteFile(file, []byte(`{"flags":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runFlagctl(t.Context(), t, "http://127.0.0.1:1", "apply", "-f", file)
	r.want(t, exitDone)
	if r.stdout != "0 created, 0 updated, 0 unchanged\n" {
		t.Errorf("stdout %q", r.stdout)
	}
}
