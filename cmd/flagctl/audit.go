package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// auditPage is how many records one request asks for.
const auditPage = 500

func newAudit(c *cli) *cobra.Command {
	req := &plimsollv1.ListRecordsRequest{}
	var limit int
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show the audit log, and verify it",
		Long: `Show the records of the audit log, newest first: one for every transaction. The
log of a deleted namespace is still there.`,
		Example: `  flagctl audit --limit 100
  flagctl audit --object flags/new-ui
  flagctl audit verify`,
		Args: unknownVerb,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usage("--limit must be at least 1")
			}
			return c.audit(cmd.Context(), req, limit)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&limit, "limit", 50, "how many `records` at most")
	flags.StringVar(&req.Object, "object", "", "only records of this `object`, such as flags/new-ui")
	flags.StringVar(&req.ChangeId, "change", "", "only records of the change with this `id`")
	flags.Uint64Var(&req.BeforeSeq, "before", 0, "only records before this `sequence`")
	cmd.AddCommand(newAuditVerify(c))
	return cmd
}

func newAuditVerify(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check that no record is missing or altered",
		Long: `Let the server recompute the hash of every record and compare the end of the
chain with the namespace. The exit code is 1 if the log is not intact.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.verify(cmd.Context())
		},
	}
}

func (c *cli) audit(ctx context.Context, req *plimsollv1.ListRecordsRequest, limit int) error {
	if err := c.connect(); err != nil {
		return err
	}
	req.Namespace = c.namespace()
	records, err := c.records(ctx, req, limit)
	if err != nil {
		return c.failed("read the audit log", err)
	}
	if !c.print.People() {
		out := struct {
			Records []recordJSON `json:"records"`
		}{make([]recordJSON, 0, len(records))}
		for _, r := range records {
			out.Records = append(out.Records, recordToJSON(r))
		}
		return c.print.Value(out)
	}
	if len(records) == 0 {
		c.print.Notef("no records in namespace %s", c.namespaceName())
		return nil
	}
	rows := make([][]string, 0, len(records))
	for _, r := range records {
		rows = append(rows, []string{
			fmt.Sprint(r.GetSeq()), output.Time(r.GetTime().AsTime()), actorText(r.GetActor()), output.Clean(r.GetVerb()),
			objectText(r.GetObjects()), output.Clean(whyText(r)), output.Faint(output.Clean(r.GetChangeId())),
		})
	}
	c.print.Table([]string{"SEQ", "TIME", "ACTOR", "VERB", "OBJECTS", "REASON", "CHANGE"}, rows, "CHANGE", "SEQ", "REASON")
	return nil
}

// records reads up to limit records, page by page.
func (c *cli) records(ctx context.Context, req *plimsollv1.ListRecordsRequest, limit int) ([]*plimsollv1.AuditRecord, error) {
	var out []*plimsollv1.AuditRecord
	for {
		req.Limit = uint32(min(limit-len(out), auditPage))
		res, err := c.client.Audit.ListRecords(ctx, connect.NewRequest(req))
		if err != nil {
			return nil, err
		}
		out = append(out, res.Msg.GetRecords()...)
		req.BeforeSeq = res.Msg.GetNextBeforeSeq()
		if req.BeforeSeq == 0 || len(out) >= limit {
			return out, nil
		}
	}
}

// whyText is the reason of a record; of what ended by itself also when it was
// due, since the record is younger where no server was there at that time.
func whyText(r *plimsollv1.AuditRecord) string {
	if r.GetDueAt() == nil {
		return r.GetReason()
	}
	return r.GetReason() + ", due " + output.Time(r.GetDueAt().AsTime())
}

// objectText names the objects of a record, as far as a line has room.
func objectText(objects []*plimsollv1.AuditObject) string {
	const most = 3
	var names []string
	for i, o := range objects {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more", len(objects)-most))
			break
		}
		names = append(names, output.Clean(o.GetObject()))
	}
	return strings.Join(names, ", ")
}

// recordJSON is a record for programs.
type recordJSON struct {
	Seq      uint64       `json:"seq"`
	Time     *time.Time   `json:"time"`
	Actor    string       `json:"actor"`
	Origin   string       `json:"origin,omitempty"`
	Verified bool         `json:"verified"`
	Verb     string       `json:"verb"`
	Reason   string       `json:"reason,omitempty"`
	ChangeID string       `json:"changeId"`
	Revision int64        `json:"revision"`
	DueAt    *time.Time   `json:"dueAt,omitempty"`
	Hash     string       `json:"hash"`
	Objects  []objectJSON `json:"objects"`
}

type objectJSON struct {
	Object string          `json:"object"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

func recordToJSON(r *plimsollv1.AuditRecord) recordJSON {
	out := recordJSON{
		Seq: r.GetSeq(), Time: instant(r.GetTime()), Actor: r.GetActor().GetName(), Origin: r.GetActor().GetOrigin(),
		Verified: r.GetActor().GetVerified(), Verb: r.GetVerb(), Reason: r.GetReason(), ChangeID: r.GetChangeId(),
		Revision: r.GetRevision(), DueAt: instant(r.GetDueAt()), Hash: hex.EncodeToString(r.GetHash()),
		Objects: make([]objectJSON, 0, len(r.GetObjects())),
	}
	for _, o := range r.GetObjects() {
		out.Objects = append(out.Objects, objectJSON{o.GetObject(), rawJSON(o.GetBeforeJson()), rawJSON(o.GetAfterJson())})
	}
	return out
}

// rawJSON is JSON that a server sent; what is none becomes a string.
func rawJSON(text string) json.RawMessage {
	switch {
	case text == "":
		return nil
	case !json.Valid([]byte(text)):
		return json.RawMessage(jsonText(text))
	default:
		return json.RawMessage(text)
	}
}

func (c *cli) verify(ctx context.Context) error {
	if err := c.connect(); err != nil {
		return err
	}
	res, err := c.client.Audit.VerifyChain(ctx, connect.NewRequest(&plimsollv1.VerifyChainRequest{Namespace: c.namespace()}))
	if err != nil {
		return c.failed("verify the audit log", err)
	}
	v := res.Msg
	if !c.print.People() {
		if err := c.print.Value(struct {
			Valid       bool   `json:"valid"`
			Records     uint64 `json:"records"`
			FirstBadSeq uint64 `json:"firstBadSeq,omitempty"`
			Problem     string `json:"problem,omitempty"`
			HeadHash    string `json:"headHash"`
			Revision    int64  `json:"revision"`
		}{v.GetValid(), v.GetRecords(), v.GetFirstBadSeq(), v.GetProblem(), hex.EncodeToString(v.GetHeadHash()), v.GetPosition().GetRevision()}); err != nil {
			return err
		}
	} else if v.GetValid() {
		c.print.Printf("%s: %s in namespace %s, up to revision %d\nhead hash %x\n",
			output.Good("the audit log is intact"), output.Count(int(v.GetRecords()), "record"), output.Clean(c.namespaceName()), v.GetPosition().GetRevision(), v.GetHeadHash())
	}
	if v.GetValid() {
		return nil
	}
	why := errors.New(v.GetProblem())
	if v.GetFirstBadSeq() != 0 {
		why = fmt.Errorf("record %d: %s", v.GetFirstBadSeq(), v.GetProblem())
	}
	return &failure{code: exitFailed, doing: "the audit log is not intact", why: why, hint: "nothing of it after that record can be relied upon"}
}
