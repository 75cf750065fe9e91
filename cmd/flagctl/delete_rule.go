package main

import (
	"context"
	"crypto/rand"
	"fmt"

	"connectrpc.com/connect"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// rule names a segment or an evaluator.
type rule struct {
	kind plimsollv1.RuleKind
	// word is what people call it, field its place in a document, and object
	// its name in the audit log.
	word, field, object string
	name                string
}

func segmentNamed(name string) rule {
	return rule{plimsollv1.RuleKind_RULE_KIND_SEGMENT, "segment", "segments", "segments/" + name, name}
}

func evaluatorNamed(name string) rule {
	return rule{plimsollv1.RuleKind_RULE_KIND_EVALUATOR, "evaluator", "$evaluators", "evaluators/" + name, name}
}

// deletedRuleJSON is the result for programs.
type deletedRuleJSON struct {
	Deleted  string `json:"deleted"`
	ChangeID string `json:"changeId"`
	Revision int64  `json:"revision"`
	Restore  string `json:"restore,omitempty"`

	Wait *waitJSON `json:"wait,omitempty"`
}

// deleteRule deletes a segment or an evaluator. What it was is read from the
// audit record of its deletion, which has it exactly.
func (c *cli) deleteRule(ctx context.Context, r rule) error {
	if c.globals.dryRun {
		return usage(fmt.Sprintf("--dry-run does not go with --%s: the server refuses to delete a %s that is used", r.word, r.word))
	}
	if err := c.connect(); err != nil {
		return err
	}
	doing := fmt.Sprintf("delete %s %s", r.word, r.name)
	if err := c.confirm(ctx, fmt.Sprintf("%s from namespace %s?", output.Clean(doing), c.namespaceName())); err != nil {
		return err
	}
	out := deletedRuleJSON{Deleted: r.object, ChangeID: rand.Text()}
	res, err := c.client.Flags.DeleteRule(ctx, connect.NewRequest(&plimsollv1.DeleteRuleRequest{
		Namespace: c.namespace(), Kind: r.kind, Name: r.name, Change: c.change(out.ChangeID),
	}))
	if err != nil {
		return c.failedChange(doing, err, out.ChangeID, c.again([]string{"audit", "--change", out.ChangeID}))
	}
	out.Revision = res.Msg.GetChange().GetPosition().GetRevision()
	if text := c.deletedText(ctx, out.ChangeID, r); text != "" {
		doc := fmt.Sprintf(`{"flags":{},%s:{%s:%s}}`, jsonText(r.field), jsonText(r.name), text)
		out.Restore = fmt.Sprintf("%s <<'EOF'\n%s\nEOF", c.again([]string{"apply", "-f", "-"}), printableJSON(doc))
	}
	show := func() {
		c.print.Printf("%s %s: deleted\n", r.word, output.Bold(output.Clean(r.name)))
		if out.Restore != "" {
			c.print.Printf("restore with:\n%s\n", out.Restore)
		}
	}
	return c.conclude(ctx, concluded{doing: doing, at: res.Msg.GetChange().GetPosition(), changed: true}, show, func(w *waitJSON) any {
		out.Wait = w
		return out
	})
}

// deletedText is the rule as it was; "" if the log cannot be read, as the rule
// is deleted either way.
func (c *cli) deletedText(ctx context.Context, changeID string, r rule) string {
	res, err := c.client.Audit.ListRecords(ctx, connect.NewRequest(&plimsollv1.ListRecordsRequest{
		Namespace: c.namespace(), ChangeId: changeID, Limit: 1,
	}))
	if err != nil {
		return ""
	}
	for _, rec := range res.Msg.GetRecords() {
		for _, o := range rec.GetObjects() {
			if o.GetObject() == r.object {
				return o.GetBeforeJson()
			}
		}
	}
	return ""
}
