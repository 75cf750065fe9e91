package ofrep

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	"github.com/plimsoll-dev/plimsoll/store"
)

// Each test of a requirement of the protocol's OpenAPI text, version 0.3.0, says
// in its name or in that of its case which one that is.

// The operation evaluateFlag.
func TestEvaluateFlag(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct {
		requirement, key, body string
		headers                []string
		status                 int
		want                   string
	}{
		{"200: a boolean value with reason, variant and metadata", "switch", `{"context":{"targetingKey":"u"}}`, nil, 200,
			`{"key":"switch","value":true,"reason":"STATIC","variant":"on","metadata":{"beta":true,"team":"web","weight":2.5}}`},
		{"200: a string value", "theme", `{"context":{"targetingKey":"u","country":"DE"}}`, nil, 200,
			`{"key":"theme","value":"#000 \"é\"","reason":"TARGETING_MATCH","variant":"dark"}`},
		{"200: an integer value", "count", `{"context":{"targetingKey":"u"}}`, nil, 200,
			`{"key":"count","value":12,"reason":"STATIC","variant":"many"}`},
		{"200: a float value", "ratio", `{"context":{"targetingKey":"u"}}`, nil, 200,
			`{"key":"ratio","value":0.25,"reason":"STATIC","variant":"a"}`},
		{"200: an object value", "palette", `{"context":{"targetingKey":"u"}}`, nil, 200,
			`{"key":"palette","value":{"x":[1,null,"y"]},"reason":"STATIC","variant":"a"}`},
		{"200: without a value the code default is used: disabled", "disabled", `{"context":{"targetingKey":"u"}}`, nil, 200,
			`{"key":"disabled","reason":"DISABLED"}`},
		{"200: without a value the code default is used: no default variant", "open", `{"context":{"targetingKey":"u"}}`, nil, 200,
			`{"key":"open","reason":"DEFAULT"}`},
		{"context: additional properties of any kind", "theme", `{"context":{"targetingKey":"u","a":[1,{"b":null}],"c":1.5,"d":false}}`, nil, 200,
			`{"key":"theme","value":"#fff","reason":"DEFAULT","variant":"light"}`},
		{"context: a rule without a targeting key is evaluated all the same", "theme", `{"context":{"country":"DE"}}`, nil, 200,
			`{"key":"theme","value":"#000 \"é\"","reason":"TARGETING_MATCH","variant":"dark"}`},
		{"request: an absent context is an empty one", "switch", `{}`, nil, 200,
			`{"key":"switch","value":true,"reason":"STATIC","variant":"on","metadata":{"beta":true,"team":"web","weight":2.5}}`},
		{"request: an absent body is an empty context", "ratio", ``, nil, 200,
			`{"key":"ratio","value":0.25,"reason":"STATIC","variant":"a"}`},
		{"path: a key with a slash, escaped", "a%2Fb%20c", `{}`, nil, 200, `{"key":"a/b c","value":"slash","reason":"STATIC","variant":"a"}`},
		{"path: a key with a slash, as providers send it", "a/b%20c", `{}`, nil, 200, `{"key":"a/b c","value":"slash","reason":"STATIC","variant":"a"}`},
		{"400: the body is no JSON: PARSE_ERROR", "switch", `{"context":`, nil, 400,
			`{"key":"switch","errorCode":"PARSE_ERROR","errorDetails":"the body is no JSON: unexpected end of JSON input"}`},
		{"400: another media type: PARSE_ERROR", "switch", `context=1`, []string{"Content-Type", "text/plain"}, 400,
			`{"key":"switch","errorCode":"PARSE_ERROR","errorDetails":"the body is \"text/plain\"; application/json is wanted"}`},
		{"400: the context is no object: INVALID_CONTEXT", "switch", `{"context":[]}`, nil, 400,
			`{"key":"switch","errorCode":"INVALID_CONTEXT","errorDetails":"context must be an object, not array"}`},
		{"400: the targeting key is no string: INVALID_CONTEXT", "switch", `{"context":{"targetingKey":7}}`, nil, 400,
			`{"key":"switch","errorCode":"INVALID_CONTEXT","errorDetails":"context.targetingKey must be a string"}`},
		{"400: targeting names no variant: GENERAL", "odd", `{"context":{"variant":"q"}}`, nil, 400,
			`{"key":"odd","errorCode":"GENERAL","errorDetails":"the targeting yields \"q\", which is no variant of the flag"}`},
		{"400: no such namespace: GENERAL, and no name of another one", "switch", `{}`, []string{"Plimsoll-Namespace", "defautl"}, 400,
			`{"key":"switch","errorCode":"GENERAL","errorDetails":"there is no namespace \"defautl\""}`},
		{"400: a number beyond all doubles: INVALID_CONTEXT", "switch", `{"context":{"a":1e400}}`, nil, 400,
			`{"key":"switch","errorCode":"INVALID_CONTEXT","errorDetails":"context has the number 1e400, which no double holds"}`},
		{"context: of two the last one counts, and nothing of the first", "odd", `{"context":{"variant":"a"},"context":{"x":1}}`, nil, 200,
			`{"key":"odd","value":"x","reason":"DEFAULT","variant":"a"}`},
		{"context: of two members in it the last one counts", "odd", `{"context":{"variant":"a","\u0076ariant":"b"}}`, nil, 200,
			`{"key":"odd","value":"y","reason":"TARGETING_MATCH","variant":"b"}`},
		{"context: a member of another case is none", "odd", `{"CONTEXT":{"variant":"b"},"Context":{"variant":"b"}}`, nil, 200,
			`{"key":"odd","value":"x","reason":"DEFAULT","variant":"a"}`},
		{"415: a body that is encoded: PARSE_ERROR", "switch", `{}`, []string{"Content-Encoding", "br"}, 415,
			`{"key":"switch","errorCode":"PARSE_ERROR","errorDetails":"the body is encoded as \"br\"; it is wanted as it is"}`},
		{"404: no key", "", `{}`, nil, 404, `{"key":"","errorCode":"FLAG_NOT_FOUND","errorDetails":"there is no flag \"\""}`},
		{"path: a key that is no clean path", "x//../y", `{}`, nil, 404,
			`{"key":"x//../y","errorCode":"FLAG_NOT_FOUND","errorDetails":"there is no flag \"x//../y\""}`},
		{"404: FLAG_NOT_FOUND", "nope", `{"context":{"targetingKey":"u"}}`, nil, 404,
			`{"key":"nope","errorCode":"FLAG_NOT_FOUND","errorDetails":"there is no flag \"nope\""}`},
		{"security: BearerAuth is taken", "ratio", `{}`, []string{"Authorization", "Bearer secret"}, 200, `{"key":"ratio","value":0.25,"reason":"STATIC","variant":"a"}`},
		{"security: ApiKeyAuth is taken", "ratio", `{}`, []string{"X-API-Key", "secret"}, 200, `{"key":"ratio","value":0.25,"reason":"STATIC","variant":"a"}`},
	} {
		t.Run(c.requirement, func(t *testing.T) {
			got := b.one(c.key, c.body, c.headers...)
			if got.status != c.status || got.body != c.want {
				t.Errorf("%d %s\nwant %d %s", got.status, got.body, c.status, c.want)
			}
			if kind := got.header.Get("Content-Type"); kind != contentJSON {
				t.Errorf("Content-Type %q", kind)
			}
		})
	}
	t.Run("413: a body that is too large: GENERAL", func(t *testing.T) {
		got := b.one("switch", `{"context":{"a":"`+strings.Repeat("x", 10*maxBody)+`"}}`)
		if got.status != 413 || !strings.Contains(got.body, `"errorCode":"GENERAL"`) {
			t.Errorf("%d %s", got.status, got.body)
		}
		if got := b.one("ratio", `{}`); got.status != 200 {
			t.Errorf("and then %d %s", got.status, got.body)
		}
	})
	t.Run("405: other methods", func(t *testing.T) {
		if got := b.do(http.MethodGet, b.url+routeFlag+"switch", ""); got.status != 405 || got.header.Get("Allow") != "POST" {
			t.Errorf("%d %v", got.status, got.header)
		}
	})
	t.Run("degraded and overridden flags say so", func(t *testing.T) {
		b.kill("switch", "off")
		got := b.one("switch", `{"context":{"targetingKey":"u"}}`).json(t)
		if got["value"] != false || got["reason"] != "OVERRIDE" || got["variant"] != "off" {
			t.Errorf("%v", got)
		}
		if _, err := b.store.Shed(t.Context(), store.DefaultNamespace, "optional", 1_000_000, nil, false, store.Change{}); err != nil {
			t.Fatal(err)
		}
		got = b.one("count", `{"context":{"targetingKey":"u"}}`).json(t)
		metadata, _ := got["metadata"].(map[string]any)
		if got["value"] != 3.0 || got["reason"] != "DEGRADED" || metadata["tier"] != "optional" || metadata["level"] != 1.0 || metadata["revision"] == nil {
			t.Errorf("%v", got)
		}
	})
}

// A client that refuses reasons which OpenFeature does not list gets the nearest
// that it does; the rest of the answer is everybody's.
func TestReasonsOfLimitedClients(t *testing.T) {
	b := newBench(t, nil)
	b.kill("switch", "off")
	if _, err := b.store.Shed(t.Context(), store.DefaultNamespace, "optional", 1_000_000, nil, false, store.Change{}); err != nil {
		t.Fatal(err)
	}
	ours := map[string]string{"switch": "OVERRIDE", "count": "DEGRADED", "ratio": "STATIC", "theme": "DEFAULT", "disabled": "DISABLED"}
	theirs := map[string]string{"switch": "TARGETING_MATCH", "count": "TARGETING_MATCH", "ratio": "STATIC", "theme": "DEFAULT", "disabled": "DISABLED"}
	for agent, reasons := range map[string]map[string]string{
		"python-requests/2.34.2": theirs, "curl/8": ours, "a client of python-requests/2": ours,
	} {
		list := b.all(user, "User-Agent", agent)
		for key, reason := range reasons {
			alone, among, usual := b.one(key, user, "User-Agent", agent).json(t), list.flag(t, key), b.one(key, user).json(t)
			if alone["reason"] != reason || !reflect.DeepEqual(alone, among) {
				t.Errorf("%s of %s: %v alone, %v in bulk; want %s", key, agent, alone, among, reason)
			}
			if alone["reason"], usual["reason"] = "", ""; !reflect.DeepEqual(alone, usual) {
				t.Errorf("%s of %s: %v beyond the reason, everybody's is %v", key, agent, alone, usual)
			}
		}
	}
	metadata, _ := b.one("count", user, "User-Agent", "python-requests/2").json(t)["metadata"].(map[string]any)
	if metadata["tier"] != "optional" || metadata["level"] != 1.0 || metadata["revision"] == nil {
		t.Errorf("a shed flag's metadata: %v", metadata)
	}
}

// The answers 401, 403, 429 and 500, which carry no more than details.
func TestGeneralErrors(t *testing.T) {
	for _, c := range []struct {
		requirement string
		err         error
		status      int
		retry       string
	}{
		{"401: credentials are missing or wrong", connect.NewError(connect.CodeUnauthenticated, errors.New("why")), 401, ""},
		{"403: not permitted", connect.NewError(connect.CodePermissionDenied, errors.New("why")), 403, ""},
		{"429: with Retry-After", connect.NewError(connect.CodeResourceExhausted, errors.New("why")), 429, "1"},
		{"500: generalErrorResponse", errors.New("why"), 500, ""},
		{"503: with Retry-After", connect.NewError(connect.CodeUnavailable, errors.New("why")), 503, "1"},
	} {
		t.Run(c.requirement, func(t *testing.T) {
			w := httptest.NewRecorder()
			refuse(w, "key", c.err)
			if w.Code != c.status || w.Body.String() != `{"errorDetails":"why"}` || w.Header().Get("Retry-After") != c.retry {
				t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
			}
		})
	}
	b := newBench(t, func(o *Options, _ *effective.Options) { o.MaxRequests, o.MaxEvaluations = 1, 1 })
	t.Run("429: when too many evaluations are under way", func(t *testing.T) {
		for _, l := range []*limit{&b.handler.requests, &b.handler.evaluations} {
			if !l.enter() {
				t.Fatal("there is no place")
			}
			got := b.one("ratio", `{}`)
			if got.status != 429 || got.header.Get("Retry-After") != "1" || got.json(t)["errorDetails"] == "" {
				t.Errorf("%d %v %s", got.status, got.header, got.body)
			}
			l.leave()
		}
		if got := b.all(`{}`); got.status != 200 {
			t.Errorf("and then %d %s", got.status, got.body)
		}
	})
	t.Run("403: headers that contradict each other", func(t *testing.T) {
		got := b.do(http.MethodGet, b.url+routeEvents+"?namespace=a", "", "Plimsoll-Namespace", "b")
		if got.status != 403 || !strings.Contains(got.body, "errorDetails") {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
	t.Run("404: nothing there", func(t *testing.T) {
		if got := b.do(http.MethodPost, b.url+"/ofrep/v1/nothing", "{}"); got.status != 404 || got.json(t)["errorDetails"] == "" {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
}

// The operation evaluateFlagsBulk without conditions.
func TestEvaluateFlagsBulk(t *testing.T) {
	b := newBench(t, nil)
	body := `{"context":{"targetingKey":"u","country":"DE","variant":"q"}}`
	got := b.all(body)
	t.Run("200: every flag is answered as by itself", func(t *testing.T) {
		if got.status != 200 || got.header.Get("Content-Type") != contentJSON {
			t.Fatalf("%d %v %s", got.status, got.header, got.body)
		}
		for key := range flags {
			alone := b.one(strings.ReplaceAll(strings.ReplaceAll(key, "/", "%2F"), " ", "%20"), body)
			if want := alone.json(t); !reflect.DeepEqual(got.flag(t, key), want) {
				t.Errorf("%s: %v in bulk, %v alone", key, got.flag(t, key), want)
			}
		}
	})
	t.Run("200: a failure of one flag is among the others", func(t *testing.T) {
		if f := got.flag(t, "odd"); f["errorCode"] != "GENERAL" || f["errorDetails"] == nil {
			t.Errorf("%v", f)
		}
	})
	t.Run("200: nothing but what the schema has", func(t *testing.T) { wellFormed(t, got.body) })
	t.Run("200: metadata of the set", func(t *testing.T) {
		b.apply(`{"flags":{},"metadata":{"version":"v12"}}`)
		got := b.all(body)
		if m, _ := got.json(t)["metadata"].(map[string]any); m["version"] != "v12" {
			t.Errorf("%s", got.body)
		}
		if m, _ := got.flag(t, "switch")["metadata"].(map[string]any); m["version"] != "v12" || m["team"] != "web" {
			t.Errorf("the flag's own is not merged over it: %v", m)
		}
		wellFormed(t, got.body)
	})
	t.Run("200: an ETag", func(t *testing.T) {
		if tag := got.header.Get("ETag"); len(tag) != 34 || tag[0] != '"' {
			t.Errorf("%q", tag)
		}
	})
	for _, c := range []struct{ requirement, body, want string }{
		{"400: the body is no JSON: PARSE_ERROR", `{`, `{"errorCode":"PARSE_ERROR","errorDetails":"the body is no JSON: unexpected end of JSON input"}`},
		{"400: the body is no object: INVALID_CONTEXT", `[]`, `{"errorCode":"INVALID_CONTEXT","errorDetails":"the body must be an object, not array"}`},
		{"400: the context is no object: INVALID_CONTEXT", `{"context":"u"}`, `{"errorCode":"INVALID_CONTEXT","errorDetails":"context must be an object, not string"}`},
	} {
		t.Run(c.requirement, func(t *testing.T) {
			if got := b.all(c.body); got.status != 400 || got.body != c.want {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
}

// A set of thousands leaves in pieces and is whole.
func TestLargeBulk(t *testing.T) {
	b := newBench(t, nil)
	var doc strings.Builder
	doc.WriteString(`{"flags":{`)
	const n = 3000
	for i := range n {
		fmt.Fprintf(&doc, `"flag-%04d":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","metadata":{"n":%d}},`, i, i)
	}
	doc.WriteString(`"last":{"state":"ENABLED","variants":{"a":1}}}}`)
	b.apply(doc.String())
	got := b.all(`{"context":{"targetingKey":"u"}}`)
	if got.header.Get("Content-Length") != "" {
		t.Errorf("an answer of %d bytes was held back whole", len(got.body))
	}
	if list, _ := got.json(t)["flags"].([]any); len(list) != n+1+len(flags) {
		t.Errorf("%d flags", len(list))
	}
	wellFormed(t, got.body)
	large := make([]byte, maxKept+1)
	if release(&b.handler.outs, &large); cap(*b.handler.outs.Get().(*[]byte)) > maxKept {
		t.Error("a large buffer is kept")
	}
}

// wellFormed checks a bulk answer against the schema: each flag has the fields of
// a success or those of a failure, and no others.
func wellFormed(t *testing.T, body string) {
	t.Helper()
	type endpoint struct {
		Origin     string `json:"origin"`
		RequestURI string `json:"requestUri"`
	}
	var all struct {
		Flags        []json.RawMessage `json:"flags"`
		Metadata     map[string]any    `json:"metadata"`
		EventStreams []struct {
			Type               string    `json:"type"`
			URL                string    `json:"url"`
			Endpoint           *endpoint `json:"endpoint"`
			InactivityDelaySec *int      `json:"inactivityDelaySec"`
		} `json:"eventStreams"`
	}
	strictly(t, body, &all)
	for _, e := range all.EventStreams {
		if e.Type != "sse" || (e.URL == "") == (e.Endpoint == nil) || e.Endpoint != nil && e.Endpoint.RequestURI == "" || e.InactivityDelaySec == nil || *e.InactivityDelaySec < 0 {
			t.Errorf("event stream %+v", e)
		}
	}
	if len(all.EventStreams) != 1 {
		t.Errorf("%d event streams", len(all.EventStreams))
	}
	for _, text := range all.Flags {
		var f struct {
			Key                                   string
			Reason, Variant                       string
			Value                                 any
			Metadata                              map[string]any
			ErrorCode, ErrorDetails               string
			hasValue, isFailure, isKnown, isShort bool
		}
		strictly(t, string(text), &f)
		f.isFailure = f.ErrorCode != ""
		switch {
		case f.Key == "", !f.isFailure && f.Reason == "", f.isFailure && (f.Reason != "" || f.Value != nil):
			t.Errorf("flag %s", text)
		}
		for name, v := range f.Metadata {
			switch v.(type) {
			case string, bool, float64:
			default:
				t.Errorf("metadata %s of %s is %T", name, f.Key, v)
			}
		}
	}
}

func strictly(t *testing.T, text string, v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// What the server adds to a context counts as if the client had sent it.
func TestServersContext(t *testing.T) {
	b := newBench(t, func(_ *Options, so *effective.Options) {
		so.Context = effective.Context{Values: map[string]string{"country": "DE"}, FromHeader: map[string]string{"X-Country": "country"}}
	})
	if got := b.one("theme", `{"context":{"country":"FR"}}`).json(t); got["variant"] != "dark" {
		t.Errorf("static value: %v", got)
	}
	if got := b.one("theme", `{}`, "X-Country", "IT").json(t); got["variant"] != "light" {
		t.Errorf("header: %v", got)
	}
	first := b.all(`{}`)
	if again := b.all(`{}`, "X-Country", "IT"); again.header.Get("ETag") == first.header.Get("ETag") {
		t.Error("the tag is the same with another header")
	}
	if got := b.all(`{}`, "X-Country", "IT", "If-None-Match", first.header.Get("ETag")); got.status != 200 {
		t.Errorf("304 for another context")
	}
}

func TestNamespaces(t *testing.T) {
	b := newBench(t, nil)
	if _, err := b.store.CreateNamespace(t.Context(), "shop", nil, store.Change{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.store.CreateFlag(t.Context(), "shop", "mine", `{"state":"ENABLED","variants":{"a":1},"defaultVariant":"a"}`, store.Change{}); err != nil {
		t.Fatal(err)
	}
	for _, headers := range [][]string{{"Plimsoll-Namespace", "shop"}, {"Flagd-Selector", "shop"}, {"Flagd-Selector", "flagSetId=shop"}} {
		if got := b.one("mine", `{}`, headers...); got.status != 200 {
			t.Errorf("%v: %d %s", headers, got.status, got.body)
		}
		got := b.all(`{}`, headers...)
		if got.flag(t, "mine") == nil || !strings.Contains(got.body, `"requestUri":"/ofrep/v1/events?namespace=shop"`) {
			t.Errorf("%v: %s", headers, got.body)
		}
	}
	if got := b.one("mine", `{}`); got.status != 404 {
		t.Errorf("the default namespace has it: %s", got.body)
	}
}
