package ofrep

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
)

// The schemas of the protocol's OpenAPI text, version 0.3.0, as far as answers
// have them. Reasons are left open: the text lists some, and its clients take all.

// object is an answer, or a part of one, with what is left of it to look at.
type object struct {
	at     string
	fields map[string]any
}

func objectAt(at string, v any) (*object, error) {
	fields, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is no object but %T", at, v)
	}
	return &object{at, fields}, nil
}

// take takes a field out; it is an error if a required one is not there, or one is
// not as it has to be.
func (o *object) take(name string, required bool, fine func(any) bool) (any, error) {
	v, ok := o.fields[name]
	delete(o.fields, name)
	switch {
	case !ok && required:
		return nil, fmt.Errorf("%s lacks %s", o.at, name)
	case ok && !fine(v):
		return nil, fmt.Errorf("%s: %s is %v", o.at, name, v)
	}
	return v, nil
}

// only takes several fields out, and nothing may be left then.
func (o *object) only(fields ...field) error {
	for _, f := range fields {
		if _, err := o.take(f.name, f.required, f.fine); err != nil {
			return err
		}
	}
	if len(o.fields) > 0 {
		return fmt.Errorf("%s has other fields: %v", o.at, o.fields)
	}
	return nil
}

type field struct {
	name     string
	required bool
	fine     func(any) bool
}

func text(v any) bool { _, ok := v.(string); return ok }

func oneOf(list ...string) func(any) bool {
	return func(v any) bool { s, ok := v.(string); return ok && slices.Contains(list, s) }
}

// metadataValues are JSON's primitives but for null.
func metadataValues(v any) bool {
	m, ok := v.(map[string]any)
	for _, one := range m {
		switch one.(type) {
		case string, bool, float64:
		default:
			return false
		}
	}
	return ok
}

func flagValue(v any) bool {
	switch v.(type) {
	case bool, string, float64, map[string]any:
		return true
	default:
		return false
	}
}

// evaluationSuccess covers codeDefaultFlag as well, which is what has no value.
func evaluationSuccess(o *object) error {
	return o.only(field{"key", true, text}, field{"value", false, flagValue}, field{"reason", true, text}, field{"variant", false, text}, field{"metadata", false, metadataValues})
}

func evaluationFailure(o *object) error {
	return o.only(field{"key", true, text}, field{"errorCode", true, oneOf("PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL")},
		field{"errorDetails", false, text}, field{"metadata", false, metadataValues})
}

func flagNotFound(o *object) error {
	return o.only(field{"key", true, text}, field{"errorCode", true, oneOf("FLAG_NOT_FOUND")}, field{"errorDetails", false, text}, field{"metadata", false, metadataValues})
}

func bulkEvaluationFailure(o *object) error {
	return o.only(field{"errorCode", true, text}, field{"errorDetails", false, text})
}

func generalErrorResponse(o *object) error { return o.only(field{"errorDetails", false, text}) }

func bulkEvaluationSuccess(o *object) error {
	list, err := o.take("flags", true, func(v any) bool { _, ok := v.([]any); return ok })
	if err != nil {
		return err
	}
	for i, one := range list.([]any) {
		f, err := objectAt(fmt.Sprintf("%s.flags[%d]", o.at, i), one)
		if err != nil {
			return err
		}
		if _, failed := f.fields["errorCode"]; failed {
			err = evaluationFailure(f)
		} else {
			err = evaluationSuccess(f)
		}
		if err != nil {
			return err
		}
	}
	return o.only(field{"metadata", false, metadataValues}, field{"eventStreams", false, eventStreams})
}

// eventStreams have a URL or an endpoint, and not both.
func eventStreams(v any) bool {
	list, ok := v.([]any)
	for _, one := range list {
		stream, err := objectAt("eventStreams", one)
		if err != nil {
			return false
		}
		_, whole := stream.fields["url"]
		_, split := stream.fields["endpoint"]
		err = stream.only(field{"type", true, text}, field{"url", false, absolute}, field{"endpoint", false, eventStreamEndpoint},
			field{"inactivityDelaySec", false, func(v any) bool { n, ok := v.(float64); return ok && n >= 1 && n == float64(int(n)) }})
		if err != nil || whole == split {
			return false
		}
	}
	return ok
}

func absolute(v any) bool {
	s, _ := v.(string)
	u, err := url.Parse(s)
	return err == nil && u.IsAbs()
}

func eventStreamEndpoint(v any) bool {
	o, err := objectAt("endpoint", v)
	return err == nil && o.only(field{"origin", false, absolute}, field{"requestUri", true, func(v any) bool {
		s, _ := v.(string)
		_, err := url.ParseRequestURI(s)
		return err == nil && strings.HasPrefix(s, "/")
	}}) == nil
}

// Each answer that a request can earn is one of the schema that the text names for
// its operation and status.
func TestAnswersAreOfTheSchema(t *testing.T) {
	b := newBench(t, func(_ *Options, so *effective.Options) { so.MaxStreams = 1 })
	b.apply(`{"flags":{},"metadata":{"version":"v12","n":1,"beta":true}}`)
	b.events().event("the present state") // takes the one place
	single := func(key string) string { return b.url + routeFlag + url.PathEscape(key) }
	bulk := b.url + routeFlags
	const contradicting, unknown = "a", "nowhere"
	for _, c := range []struct {
		requirement, method, url, body string
		headers                        []string
		status                         int
		schema                         func(*object) error
	}{
		{"evaluateFlag 200 serverEvaluationSuccess, booleanFlag", "POST", single("switch"), user, nil, 200, evaluationSuccess},
		{"evaluateFlag 200 serverEvaluationSuccess, stringFlag", "POST", single("theme"), user, nil, 200, evaluationSuccess},
		{"evaluateFlag 200 serverEvaluationSuccess, integerFlag", "POST", single("count"), user, nil, 200, evaluationSuccess},
		{"evaluateFlag 200 serverEvaluationSuccess, floatFlag", "POST", single("ratio"), user, nil, 200, evaluationSuccess},
		{"evaluateFlag 200 serverEvaluationSuccess, objectFlag", "POST", single("palette"), user, nil, 200, evaluationSuccess},
		{"evaluateFlag 200 serverEvaluationSuccess, codeDefaultFlag: disabled", "POST", single("disabled"), user, nil, 200, evaluationSuccess},
		{"evaluateFlag 200 serverEvaluationSuccess, codeDefaultFlag: no default variant", "POST", single("open"), user, nil, 200, evaluationSuccess},
		{"evaluateFlag 400 evaluationFailure: PARSE_ERROR", "POST", single("switch"), `{`, nil, 400, evaluationFailure},
		{"evaluateFlag 400 evaluationFailure: INVALID_CONTEXT", "POST", single("switch"), `{"context":7}`, nil, 400, evaluationFailure},
		{"evaluateFlag 400 evaluationFailure: GENERAL", "POST", single("odd"), `{"context":{"variant":"q"}}`, nil, 400, evaluationFailure},
		{"evaluateFlag 400 evaluationFailure: no such namespace", "POST", single("switch"), user, []string{"Plimsoll-Namespace", unknown}, 400, evaluationFailure},
		{"evaluateFlag 404 flagNotFound", "POST", single("nope"), user, nil, 404, flagNotFound},
		{"evaluateFlag 403 generalErrorResponse", "POST", single("switch"), user, []string{"Origin", "https://evil.example"}, 403, generalErrorResponse},
		{"evaluateFlag 405 generalErrorResponse", "GET", single("switch"), "", nil, 405, generalErrorResponse},
		{"evaluateFlagsBulk 200 bulkEvaluationSuccess", "POST", bulk, user, nil, 200, bulkEvaluationSuccess},
		{"evaluateFlagsBulk 200 bulkEvaluationSuccess: with a failure of one", "POST", bulk, `{"context":{"variant":"q"}}`, nil, 200, bulkEvaluationSuccess},
		{"evaluateFlagsBulk 400 bulkEvaluationFailure: PARSE_ERROR", "POST", bulk, `nope`, nil, 400, bulkEvaluationFailure},
		{"evaluateFlagsBulk 400 bulkEvaluationFailure: another media type", "POST", bulk, user, []string{"Content-Type", "text/plain"}, 400, bulkEvaluationFailure},
		{"evaluateFlagsBulk 400 bulkEvaluationFailure: INVALID_CONTEXT, the context", "POST", bulk, `{"context":[]}`, nil, 400, bulkEvaluationFailure},
		{"evaluateFlagsBulk 400 bulkEvaluationFailure: INVALID_CONTEXT, the targeting key", "POST", bulk, `{"context":{"targetingKey":{}}}`, nil, 400, bulkEvaluationFailure},
		{"evaluateFlagsBulk 400 bulkEvaluationFailure: no such namespace", "POST", bulk, user, []string{"Plimsoll-Namespace", unknown}, 400, bulkEvaluationFailure},
		{"evaluateFlagsBulk 400 bulkEvaluationFailure: flagConfigLastModified", "POST", bulk + "?" + queryModified + "=soon", user, nil, 400, bulkEvaluationFailure},
		{"evaluateFlagsBulk 403 generalErrorResponse", "POST", bulk, user, []string{"Origin", "https://evil.example"}, 403, generalErrorResponse},
		{"evaluateFlagsBulk 503 generalErrorResponse", "POST", bulk + "?" + queryModified + "=4102444800", user, nil, 503, generalErrorResponse},
		{"the event stream 400 bulkEvaluationFailure: no such namespace", "GET", b.url + routeEvents + "?namespace=" + unknown, "", nil, 400, bulkEvaluationFailure},
		{"the event stream 403 generalErrorResponse", "GET", b.url + routeEvents + "?namespace=" + contradicting, "", []string{"Plimsoll-Namespace", "b"}, 403, generalErrorResponse},
		{"the event stream 503 generalErrorResponse", "GET", b.url + routeEvents, "", nil, 503, generalErrorResponse},
	} {
		t.Run(c.requirement, func(t *testing.T) {
			got := b.do(c.method, c.url, c.body, c.headers...)
			if kind := got.header.Get("Content-Type"); got.status != c.status || kind != contentJSON {
				t.Fatalf("%d, %s: %s", got.status, kind, got.body)
			}
			var v any
			if err := json.Unmarshal([]byte(got.body), &v); err != nil {
				t.Fatalf("%v: %s", err, got.body)
			}
			o, err := objectAt("the answer", v)
			if err == nil {
				err = c.schema(o)
			}
			if err != nil {
				t.Errorf("%v: %s", err, got.body)
			}
		})
	}
}

// The schemas sseEvent and sseEventData, byte by byte as the standard of
// server-sent events has it: a provider reads data as JSON, and retry as a number.
func TestEventsAreOfTheSchema(t *testing.T) {
	b := newBench(t, nil)
	s := b.subscribe(b.url + routeEvents)
	retry, _ := s.next("the time to come back")
	if n, ok := strings.CutPrefix(retry, "retry: "); !ok || strings.Trim(strings.TrimSuffix(n, "\n"), "0123456789") != "" {
		t.Errorf("retry is no whole number that is not negative: %q", retry)
	}
	block, _ := s.next("the present state")
	fields := make(map[string]string)
	for line := range strings.Lines(block) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if _, twice := fields[name]; twice {
			t.Errorf("%s is there twice: %q", name, block)
		}
		fields[name] = value
	}
	if len(fields) != 3 || fields["event"] != "message" || fields["id"] == "" {
		t.Errorf("event %q", block)
	}
	var v any
	if err := json.Unmarshal([]byte(fields["data"]), &v); err != nil {
		t.Fatal(err)
	}
	o, err := objectAt("data", v)
	if err == nil {
		err = o.only(field{"type", true, oneOf("refetchEvaluation")}, field{"etag", true, text},
			field{"lastModified", true, func(v any) bool { n, ok := v.(float64); return ok && n >= 0 && n == float64(int64(n)) }})
	}
	if err != nil {
		t.Errorf("%v: %s", err, block)
	}
	// What it carries is what the refetch brings back, as it is.
	if got := b.do(http.MethodPost, b.url+routeFlags+"?"+queryEtag+"="+url.QueryEscape(fields["id"]), `{}`); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
}
