package ui

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/ui/internal/rules"
)

// maxPlayAttributes is how many attributes of the rules a new playground has.
const maxPlayAttributes = 12

// maxTraceDepth is how deep the tree of a trace is shown.
const maxTraceDepth = 24

// playground evaluates a flag for a context that somebody types.
type playground struct {
	ns, key string
	// User is the targeting key, Context the rest of the context as JSON.
	User, Context string
	// Answer is what came of it; nil: not asked yet. Trouble is why there is none.
	Answer  *plimsollv1.ExplainResponse
	Trace   trace
	Trouble *trouble
}

// trace is how an answer came about, as the API tells it.
type trace struct {
	Stages []struct {
		Name    string `json:"name"`
		Finding string `json:"finding"`
	} `json:"stages"`
	Targeting []*traceStep `json:"targeting"`
}

type traceStep struct {
	Op      string       `json:"op"`
	Path    string       `json:"path"`
	Inputs  []string     `json:"inputs"`
	Outcome string       `json:"outcome"`
	Note    string       `json:"note"`
	Steps   []*traceStep `json:"steps"`
}

// newPlayground begins with the attributes that the rules ask for.
func newPlayground(ns string, row *Row, m rules.Model) playground {
	o := &rules.Object{}
	for _, a := range m.Attributes() {
		name, value := a.Name, a.Example
		if strings.HasPrefix(name, "$flagd") || name == "targetingKey" || strings.Contains(name, ".") || len(o.Names()) == maxPlayAttributes {
			continue
		}
		if value == "" {
			value = `""`
		}
		o.Set(name, value)
	}
	return playground{ns: ns, key: row.Key, User: "user-1", Context: o.Pretty()}
}

// tryPage evaluates a flag. It changes nothing, so its form needs no pass.
func tryPage(ctx context.Context, q *request) {
	if err := q.r.ParseForm(); err != nil {
		q.fail(invalid("the form could not be read: %v", err))
		return
	}
	p := playground{ns: q.ns, key: q.r.URL.Query().Get("key"), User: q.r.PostForm.Get("user"), Context: q.r.PostForm.Get("context")}
	p.ask(ctx, q)
	if q.partial {
		q.write(ctx, http.StatusOK, playResult(p))
		return
	}
	q.render(ctx, http.StatusOK, frame{Title: "Try " + clip(p.key, 60), Nav: "flags"}, playPage(p))
}

func (p *playground) ask(ctx context.Context, q *request) {
	fields := &structpb.Struct{}
	if text := strings.TrimSpace(p.Context); text != "" {
		if _, err := rules.ReadObject(text); err != nil {
			p.Trouble = &trouble{Message: "The context cannot be read: " + err.Error()}
			return
		}
		if err := protojson.Unmarshal([]byte(text), fields); err != nil {
			p.Trouble = &trouble{Message: "The context cannot be read: " + err.Error()}
			return
		}
	}
	if fields.Fields == nil {
		fields.Fields = make(map[string]*structpb.Value)
	}
	if p.User != "" {
		fields.Fields["targetingKey"] = structpb.NewStringValue(strings.ToValidUTF8(p.User, ""))
	}
	resp, err := call(ctx, q.c, q.c.Flags.Explain, &plimsollv1.ExplainRequest{Namespace: q.ns, Key: p.key, Context: fields})
	if err != nil {
		t := explain(err)
		p.Trouble = &t
		return
	}
	p.Answer = resp
	if err := json.Unmarshal([]byte(resp.GetTraceJson()), &p.Trace); err != nil {
		p.Trouble = &trouble{Message: "The trace cannot be read: " + err.Error()}
	}
}

// joined are the inputs of an operation in a line.
func joined(inputs []string) string { return strings.Join(inputs, ", ") }
