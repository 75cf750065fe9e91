package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/manifest"
	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// evaluate is one run of eval.
type evaluate struct {
	*cli
	key       string
	context   map[string]any
	files     []string
	bucketing string
	explain   bool
}

func newEval(c *cli) *cobra.Command {
	e := evaluate{cli: c}
	var pairs []string
	cmd := &cobra.Command{
		Use:   "eval FLAG",
		Short: "Evaluate a flag for a context",
		Long: `Evaluate a flag for a context: on the server, with everything that is in force
there (overrides, level, the namespace's bucketing), or with -f offline, from
files alone.

A value of --context is read as JSON; what is no JSON is a string, and
targetingKey always is one. --context also takes a whole JSON object. The exit
code is 1 if the evaluation ends in an error.`,
		Example: `  flagctl eval new-ui --context targetingKey=alice --context country=DE
  flagctl eval new-ui --context '{"user": {"age": 42}}' --explain
  flagctl eval new-ui -f flags.yaml --context targetingKey=alice`,
		Args:              exactly("FLAG"),
		ValidArgsFunction: c.completeFlag,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			e.key = args[0]
			if cmd.Flags().Changed("bucketing") && len(e.files) == 0 {
				return usage("--bucketing goes with -f: the server knows its namespace's")
			}
			if e.context, err = parseContext(pairs); err != nil {
				return err
			}
			return e.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&pairs, "context", nil, "an attribute, as `name=value`, or a JSON object (repeatable)")
	flags.StringArrayVarP(&e.files, "file", "f", nil, "evaluate offline: `file` or folder to read, or - (repeatable)")
	flags.StringVar(&e.bucketing, "bucketing", "v2", "`generation` of fractional, offline: v1, v2 or v3")
	flags.BoolVar(&e.explain, "explain", false, "show each condition with its inputs and outcome")
	must(cmd.MarkFlagFilename("file", "json", "yaml", "yml"))
	must(cmd.RegisterFlagCompletionFunc("bucketing", fixed(slices.Sorted(maps.Keys(bucketings))...)))
	must(cmd.RegisterFlagCompletionFunc("context", cobra.NoFileCompletions))
	return cmd
}

// bucketings are the generations of fractional by name.
var bucketings = map[string]flag.Bucketing{"v1": flag.V1, "v2": flag.V2, "v3": flag.V3}

const targetingKey = "targetingKey"

// parseContext puts the evaluation context together.
func parseContext(pairs []string) (map[string]any, error) {
	out := make(map[string]any)
	for _, p := range pairs {
		if strings.HasPrefix(p, "{") {
			var object map[string]any
			if err := json.Unmarshal([]byte(p), &object); err != nil {
				return nil, usage(fmt.Sprintf("--context %s: this is no JSON object: %v", p, err))
			}
			for name, value := range object {
				if _, again := out[name]; again {
					return nil, givenTwice(name)
				}
				out[name] = value
			}
			continue
		}
		name, text, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, usage(fmt.Sprintf("--context %q is not name=value", p))
		}
		if _, again := out[name]; again {
			return nil, givenTwice(name)
		}
		var value any
		if name == targetingKey || json.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		out[name] = value
	}
	return out, nil
}

func givenTwice(name string) error {
	return usage(fmt.Sprintf("--context gives %q twice; keep one of the two", name))
}

// answerJSON is the result for programs.
type answerJSON struct {
	Key          string          `json:"key"`
	Value        json.RawMessage `json:"value,omitempty"`
	Variant      string          `json:"variant,omitempty"`
	Reason       string          `json:"reason"`
	ErrorCode    string          `json:"errorCode,omitempty"`
	ErrorMessage string          `json:"errorMessage,omitempty"`
	Metadata     map[string]any  `json:"metadata,omitempty"`
	Trace        json.RawMessage `json:"trace,omitempty"`

	traceText string
	hint      string
}

func (e *evaluate) run(ctx context.Context) error {
	evaluated := e.remotely
	if len(e.files) > 0 {
		evaluated = e.locally
	}
	a, err := evaluated(ctx)
	if err != nil {
		return err
	}
	if !e.explain {
		a.Trace = nil
	}
	if !e.print.People() {
		if err := e.print.Value(a); err != nil {
			return err
		}
	} else {
		e.printAnswer(a)
	}
	if a.ErrorCode != "" {
		return &failure{code: exitFailed, doing: "eval " + e.key, why: fmt.Errorf("%s: %s", a.ErrorCode, a.ErrorMessage), hint: a.hint}
	}
	return nil
}

// remotely asks the server.
func (e *evaluate) remotely(ctx context.Context) (*answerJSON, error) {
	if err := e.connect(); err != nil {
		return nil, err
	}
	attributes, err := structpb.NewStruct(e.context)
	if err != nil {
		return nil, usage(fmt.Sprintf("--context: %v", err))
	}
	res, err := e.client.Flags.Explain(ctx, connect.NewRequest(&plimsollv1.ExplainRequest{Namespace: e.namespace(), Key: e.key, Context: attributes}))
	if err != nil {
		return nil, e.failed("eval "+e.key, err)
	}
	a := &answerJSON{
		Key: e.key, Value: json.RawMessage(res.Msg.GetValue()), Variant: res.Msg.GetVariant(), Reason: res.Msg.GetReason(),
		ErrorCode: res.Msg.GetErrorCode(), ErrorMessage: res.Msg.GetErrorMessage(), Metadata: res.Msg.GetMetadata().AsMap(),
		Trace: json.RawMessage(res.Msg.GetTraceJson()), traceText: res.Msg.GetTraceText(),
	}
	if a.ErrorCode == string(flag.FlagNotFound) {
		// GetFlag's refusal names the nearest key there is.
		if _, err := e.getFlag(ctx, e.key); err != nil {
			a.ErrorMessage = e.client.Explain(err).Message
		}
	}
	return a, nil
}

// locally evaluates from files.
func (e *evaluate) locally(context.Context) (*answerJSON, error) {
	doing := "eval " + e.key
	bucketing, known := bucketings[e.bucketing]
	if !known {
		return nil, usage(fmt.Sprintf("--bucketing is v1, v2 or v3, not %q", e.bucketing))
	}
	b, err := manifest.Read(e.files, e.in)
	if err != nil {
		return nil, &failure{code: exitFailed, doing: doing, why: err}
	}
	if errs := b.Errors(); len(errs) > 0 {
		for _, f := range errs {
			e.print.Notef("%s", faultLine(f))
		}
		return nil, &failure{code: exitFailed, doing: doing, why: errors.New(output.Count(len(errs), "error") + " in the files")}
	}
	doc := b.Document()
	set, problems := flag.Empty().With(doc.Update(bucketing), e.now())
	for _, p := range problems {
		for _, f := range p.Faults {
			f.Path = p.Key + ": " + f.Path
			f.Line = 0
			e.print.Notef("%s", faultLine(manifest.Fault{Fault: f}))
		}
	}
	trace := set.WithClock(e.now).Explain(e.key, e.context)
	r := trace.Result
	a := &answerJSON{
		Key: e.key, Variant: r.Variant, Reason: string(r.Reason), ErrorCode: string(r.ErrorCode), ErrorMessage: r.Message,
		Metadata: r.Metadata, Trace: json.RawMessage(jsonText(trace)), traceText: trace.Text(),
	}
	if r.HasValue {
		a.Value = json.RawMessage(jsonText(r.Value))
	}
	if r.ErrorCode == flag.FlagNotFound {
		a.hint = nearestFlag(e.key, doc)
	}
	return a, nil
}

func nearestFlag(key string, doc *flag.Document) string {
	keys := make([]string, 0, len(doc.Flags))
	for _, f := range doc.Flags {
		keys = append(keys, f.Key())
	}
	return didYouMean(key, keys, "")
}

func (e *evaluate) printAnswer(a *answerJSON) {
	value := output.Bold(output.Clean(string(a.Value)))
	if len(a.Value) == 0 {
		value = output.Faint("none: apps use their own default")
	}
	fields := [][2]string{{"value", value}, {"variant", output.Clean(a.Variant)}, {"reason", output.Clean(a.Reason)}}
	for _, name := range slices.Sorted(maps.Keys(a.Metadata)) {
		fields = append(fields, [2]string{"metadata " + output.Clean(name), output.Clean(jsonText(a.Metadata[name]))})
	}
	e.print.Fields(slices.DeleteFunc(fields, func(f [2]string) bool { return f[1] == "" }))
	if e.explain {
		e.print.Printf("\n")
		for line := range strings.Lines(a.traceText) {
			e.print.Printf("%s\n", output.Clean(strings.TrimSuffix(line, "\n")))
		}
	}
}
