package flagd

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	evaluationv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v1"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v1/evaluationv1connect"
	evaluationv2 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v2"
	"github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v2/evaluationv2connect"
)

// many are operands that make evaluating a rule over a long list take too long.
var many = strings.TrimSuffix(strings.Repeat(`{"var": ""},`, 150), ",")

var allFlags = `{
  "metadata": {"owner": "set", "team": "shop"},
  "$evaluators": {"vip": {"==": [{"var": "vip"}, true]}},
  "flags": {
    "static":      {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on", "metadata": {"owner": "flag"}},
    "emptyRule":   {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on", "targeting": {}},
    "nullRule":    {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on", "targeting": {"if": [{"var": "nothing"}, "off", null]}},
    "match":       {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off", "targeting": {"if": [{"$ref": "vip"}, "on"]}},
    "boolName":    {"state": "ENABLED", "variants": {"true": true, "false": false}, "defaultVariant": "false", "targeting": {"==": [{"var": "vip"}, true]}},
    "disabled":    {"state": "DISABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"},
    "noDefault":   {"state": "ENABLED", "variants": {"on": true, "off": false}},
    "noMatch":     {"state": "ENABLED", "variants": {"on": true, "off": false}, "targeting": {"if": [{"var": "nothing"}, "on", null]}},
    "stranger":    {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on", "targeting": {"cat": ["no", "where"]}},
    "endless":     {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on", "targeting": {"map": [{"var": "list"}, {"and": [` + many + `]}]}},
    "text":        {"state": "ENABLED", "variants": {"a": "é", "b": ""}, "defaultVariant": "a"},
    "number":      {"state": "ENABLED", "variants": {"a": -3.75, "b": 9007199254740991}, "defaultVariant": "a"},
    "large":       {"state": "ENABLED", "variants": {"a": 9007199254740991}, "defaultVariant": "a"},
    "object":      {"state": "ENABLED", "variants": {"a": {"x": [1, null, "y"], "z": {}}}, "defaultVariant": "a"}
  }
}`

// got is an answer in the terms of the tables; a value that was left out is
// absent.
type got struct {
	value, variant, reason string
	code                   connect.Code
	metadata               string
}

const absent = "-"

func (g got) String() string {
	if g.code != 0 {
		return g.code.String()
	}
	return fmt.Sprintf("%s %s %s", g.value, g.variant, g.reason)
}

func asked[T any](resp *connect.Response[T], err error, of func(*T) got) got {
	if err != nil {
		return got{code: connect.CodeOf(err)}
	}
	return of(resp.Msg)
}

func text(v any, present bool) string {
	if !present {
		return absent
	}
	return fmt.Sprint(v)
}

func metadataText(s *structpb.Struct) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(s.AsMap())) {
		parts = append(parts, fmt.Sprintf("%s=%v", name, s.AsMap()[name]))
	}
	return strings.Join(parts, " ")
}

func askV1(ctx context.Context, c evaluationv1connect.ServiceClient, kind, key string, values *structpb.Struct) got {
	switch kind {
	case "bool":
		r, err := c.ResolveBoolean(ctx, connect.NewRequest(&evaluationv1.ResolveBooleanRequest{FlagKey: key, Context: values}))
		return asked(r, err, func(m *evaluationv1.ResolveBooleanResponse) got {
			return got{fmt.Sprint(m.GetValue()), m.GetVariant(), m.GetReason(), 0, metadataText(m.GetMetadata())}
		})
	case "string":
		r, err := c.ResolveString(ctx, connect.NewRequest(&evaluationv1.ResolveStringRequest{FlagKey: key, Context: values}))
		return asked(r, err, func(m *evaluationv1.ResolveStringResponse) got {
			return got{m.GetValue(), m.GetVariant(), m.GetReason(), 0, metadataText(m.GetMetadata())}
		})
	case "int":
		r, err := c.ResolveInt(ctx, connect.NewRequest(&evaluationv1.ResolveIntRequest{FlagKey: key, Context: values}))
		return asked(r, err, func(m *evaluationv1.ResolveIntResponse) got {
			return got{fmt.Sprint(m.GetValue()), m.GetVariant(), m.GetReason(), 0, metadataText(m.GetMetadata())}
		})
	case "float":
		r, err := c.ResolveFloat(ctx, connect.NewRequest(&evaluationv1.ResolveFloatRequest{FlagKey: key, Context: values}))
		return asked(r, err, func(m *evaluationv1.ResolveFloatResponse) got {
			return got{fmt.Sprint(m.GetValue()), m.GetVariant(), m.GetReason(), 0, metadataText(m.GetMetadata())}
		})
	default:
		r, err := c.ResolveObject(ctx, connect.NewRequest(&evaluationv1.ResolveObjectRequest{FlagKey: key, Context: values}))
		return asked(r, err, func(m *evaluationv1.ResolveObjectResponse) got {
			return got{fmt.Sprint(m.GetValue().AsMap()), m.GetVariant(), m.GetReason(), 0, metadataText(m.GetMetadata())}
		})
	}
}

func askV2(ctx context.Context, c evaluationv2connect.ServiceClient, kind, key string, values *structpb.Struct) got {
	switch kind {
	case "bool":
		r, err := c.ResolveBoolean(ctx, connect.NewRequest(&evaluationv2.ResolveBooleanRequest{FlagKey: key, Context: values}))
		return asked(r, err, func(m *evaluationv2.ResolveBooleanResponse) got {
			return got{text(m.GetValue(), m.Value != nil), text(m.GetVariant(), m.Variant != nil), m.GetReason(), 0, metadataText(m.GetMetadata())}
		})
	case "string":
		r, err := c.ResolveString(ctx, connect.NewRequest(&evaluationv2.ResolveStringRequest{FlagKey: key, Context: values}))
		return asked(r, err, func(m *evaluationv2.ResolveStringResponse) got {
			return got{text(m.GetValue(), m.Value != nil), text(m.GetVariant(), m.Variant != nil), m.GetReason(), 0, metadataText(m.GetMetadata())}
		})
	case "int":
		r, err := c.ResolveInt(ctx, connect.NewRequest(&evaluationv2.ResolveIntRequest{FlagKey: key, Context: values}))
		return asked(r, err, func(m *evaluationv2.ResolveIntResponse) got {
			return got{text(m.GetValue(), m.Value != nil), text(m.GetVariant(), m.Variant != nil), m.GetReason(), 0, metadataText(m.GetMetadata())}
		})
	case "float":
		r, err := c.ResolveFloat(ctx, connect.NewRequest(&evaluationv2.ResolveFloatRequest{FlagKey: key, Context: values}))
		return asked(r, err, func(m *evaluationv2.ResolveFloatResponse) got {
			return got{text(m.GetValue(), m.Value != nil), text(m.GetVariant(), m.Variant != nil), m.GetReason(), 0, metadataText(m.GetMetadata())}
		})
	default:
		r, err := c.ResolveObject(ctx, connect.NewRequest(&evaluationv2.ResolveObjectRequest{FlagKey: key, Context: values}))
		return asked(r, err, func(m *evaluationv2.ResolveObjectResponse) got {
			return got{text(m.GetValue().AsMap(), m.Value != nil), text(m.GetVariant(), m.Variant != nil), m.GetReason(), 0, metadataText(m.GetMetadata())}
		})
	}
}

// Every situation of the protocol, in both versions, over every protocol. Where
// version 1 answers otherwise it says so.
func TestEvaluation(t *testing.T) {
	w := newWorld(t, effective.Options{})
	w.apply(t, "default", allFlags)
	vip, _ := structpb.NewStruct(map[string]any{"vip": true, "targetingKey": "u"})
	big, err := structpb.NewStruct(map[string]any{"list": ones()})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, kind, key string
		context         *structpb.Struct
		want, v1        string
	}{
		{"unknown key", "bool", "nowhere", nil, "not_found", ""},
		{"no key", "bool", "", nil, "not_found", ""},
		{"no targeting", "bool", "static", nil, "true on STATIC", ""},
		{"empty targeting", "bool", "emptyRule", vip, "true on STATIC", ""},
		{"targeting yields null", "bool", "nullRule", vip, "true on DEFAULT", ""},
		{"targeting chooses", "bool", "match", vip, "true on TARGETING_MATCH", ""},
		{"targeting does not choose", "bool", "match", nil, "false off DEFAULT", ""},
		{"a bool names the variant", "bool", "boolName", vip, "true true TARGETING_MATCH", ""},
		{"disabled", "bool", "disabled", vip, "- - DISABLED", "not_found"},
		{"no default variant", "bool", "noDefault", nil, "- - DEFAULT", "not_found"},
		{"no default and null", "bool", "noMatch", vip, "- - DEFAULT", "not_found"},
		{"no such variant", "bool", "stranger", vip, "unknown", ""},
		{"cannot be evaluated", "bool", "endless", big, "data_loss", ""},
		{"another type", "string", "static", nil, "invalid_argument", ""},
		{"an object is no number", "float", "object", nil, "invalid_argument", ""},
		{"text", "string", "text", nil, "é a STATIC", ""},
		{"float", "float", "number", nil, "-3.75 a STATIC", ""},
		{"int truncates", "int", "number", nil, "-3 a STATIC", ""},
		{"large int", "int", "large", nil, "9007199254740991 a STATIC", ""},
		{"object", "object", "object", nil, "map[x:[1 <nil> y] z:map[]] a STATIC", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, p := range protocols {
				if g := askV2(short(t), w.v2(p.opts...), tc.kind, tc.key, tc.context); g.String() != tc.want {
					t.Errorf("v2 over %s: %s, want %s", p.name, g, tc.want)
				}
				want := tc.want
				if tc.v1 != "" {
					want = tc.v1
				}
				if g := askV1(short(t), w.v1(p.opts...), tc.kind, tc.key, tc.context); g.String() != want {
					t.Errorf("v1 over %s: %s, want %s", p.name, g, want)
				}
			}
		})
	}
	t.Run("metadata of the flag over that of the set", func(t *testing.T) {
		const want = "owner=flag team=shop"
		if g := askV2(short(t), w.v2(), "bool", "static", nil); g.metadata != want {
			t.Errorf("v2: %q", g.metadata)
		}
		if g := askV1(short(t), w.v1(), "bool", "static", nil); g.metadata != want {
			t.Errorf("v1: %q", g.metadata)
		}
	})
}

// ones is a long list of ones.
func ones() []any {
	list := make([]any, 10_000)
	for i := range list {
		list[i] = 1
	}
	return list
}

func TestResolveAll(t *testing.T) {
	w := newWorld(t, effective.Options{})
	w.apply(t, "default", allFlags)
	for _, p := range protocols {
		resp, err := w.v1(p.opts...).ResolveAll(short(t), connect.NewRequest(&evaluationv1.ResolveAllRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		flags := resp.Msg.GetFlags()
		if len(flags) != 12 || flags["stranger"] != nil || flags["endless"] != nil {
			t.Errorf("%s: %d flags; all but the two that fail were wanted", p.name, len(flags))
		}
		if f := flags["disabled"]; f.GetReason() != "DISABLED" || f.GetValue() != nil {
			t.Errorf("%s: disabled is %v", p.name, f)
		}
		if f := flags["number"]; f.GetDoubleValue() != -3.75 || f.GetVariant() != "a" {
			t.Errorf("%s: number is %v", p.name, f)
		}
		if f := flags["object"]; len(f.GetObjectValue().GetFields()) != 2 {
			t.Errorf("%s: object is %v", p.name, f)
		}
		if m := metadataText(resp.Msg.GetMetadata()); m != "owner=set team=shop" {
			t.Errorf("%s: metadata of the set %q", p.name, m)
		}
	}
}

// A provider that keeps STATIC answers by key alone must not be given one for a
// flag whose tier is being shed.
func TestNothingIsStaticWhileItsTierIsShed(t *testing.T) {
	w := newWorld(t, effective.Options{})
	w.apply(t, "default", `{"flags": {"f": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on", "degradation": {"tier": "optional"}}}}`)
	reasons := func() map[string]int {
		count := map[string]int{}
		for i := range 200 {
			values, _ := structpb.NewStruct(map[string]any{"targetingKey": fmt.Sprintf("user-%d", i)})
			count[askV2(short(t), w.v2(connect.WithGRPC()), "bool", "f", values).reason]++
		}
		return count
	}
	if r := reasons(); r["STATIC"] != 200 {
		t.Errorf("before: %v", r)
	}
	w.shed(t, "optional", 40)
	if r := reasons(); r["STATIC"] != 0 || r["DEGRADED"] < 40 || r["DEFAULT"] < 80 {
		t.Errorf("at 40 %%: %v", r)
	}
	w.kill(t, "f", nil)
	if r := reasons(); r["OVERRIDE"] != 200 {
		t.Errorf("killed: %v", r)
	}
}

func TestTheServerAddsToTheContext(t *testing.T) {
	w := newWorld(t, effective.Options{Context: effective.Context{
		Values: map[string]string{"region": "eu", "stage": "prod"}, FromHeader: map[string]string{"X-Stage": "stage"},
	}})
	w.apply(t, "default", `{"flags": {"f": {"state": "ENABLED", "variants": {"euprod": "a", "eutest": "b", "none": "c"}, "defaultVariant": "none",
		"targeting": {"cat": [{"var": "region"}, {"var": "stage"}]}}}}`)
	own, _ := structpb.NewStruct(map[string]any{"region": "us", "stage": "client"})
	for _, tc := range []struct {
		name, header, want string
		context            *structpb.Struct
	}{
		{"values", "", "a", nil},
		{"values win over the client's", "", "a", own},
		{"headers win over values", "test", "b", own},
	} {
		req := connect.NewRequest(&evaluationv2.ResolveStringRequest{FlagKey: "f", Context: tc.context})
		if tc.header != "" {
			req.Header().Set("X-Stage", tc.header)
		}
		resp, err := w.v2(connect.WithGRPC()).ResolveString(short(t), req)
		if err != nil || resp.Msg.GetValue() != tc.want {
			t.Errorf("%s: %v %v, want %s", tc.name, resp, err, tc.want)
		}
	}
}

// The header wins over the field; names, aliases and flagd's forms all pick a
// namespace.
func TestTheSelectorPicksTheNamespace(t *testing.T) {
	w := newWorld(t, effective.Options{})
	w.namespace(t, "shop", "flags/shop.json", "legacy=1")
	for ns, value := range map[string]string{"default": "default", "shop": "shop"} {
		w.apply(t, ns, `{"flags": {"f": {"state": "ENABLED", "variants": {"v": "`+value+`"}, "defaultVariant": "v"}}}`)
	}
	for _, tc := range []struct {
		name   string
		header map[string]string
		want   string
	}{
		{"nothing", nil, "default"},
		{"a name", map[string]string{authz.HeaderSelector: "shop"}, "shop"},
		{"flagSetId", map[string]string{authz.HeaderSelector: "flagSetId=shop"}, "shop"},
		{"source", map[string]string{authz.HeaderSelector: "source=shop"}, "shop"},
		{"an alias", map[string]string{authz.HeaderSelector: "source=flags/shop.json"}, "shop"},
		{"an alias with a sign in it", map[string]string{authz.HeaderSelector: "legacy=1"}, "shop"},
		{"an empty selector", map[string]string{authz.HeaderSelector: "flagSetId="}, "default"},
		{"our own header", map[string]string{authz.HeaderNamespace: "shop"}, "shop"},
		{"one that is nearly there", map[string]string{authz.HeaderSelector: "shpo"}, "failed_precondition"},
		{"an unknown one", map[string]string{authz.HeaderSelector: "nowhere"}, "failed_precondition"},
		{"no name at all", map[string]string{authz.HeaderSelector: "No Where"}, "failed_precondition"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, p := range protocols {
				req := connect.NewRequest(&evaluationv2.ResolveStringRequest{FlagKey: "f"})
				for name, value := range tc.header {
					req.Header().Set(name, value)
				}
				resp, err := w.v2(p.opts...).ResolveString(short(t), req)
				value := connect.CodeOf(err).String()
				if err == nil {
					value = resp.Msg.GetValue()
				} else if strings.Contains(err.Error(), "shop") {
					t.Errorf("over %s: another namespace is named: %v", p.name, err)
				}
				if value != tc.want {
					t.Errorf("over %s: %s, want %s", p.name, value, tc.want)
				}
			}
		})
	}
}

// What is no request gets the error of its protocol, and the next one on the
// same connection is answered.
func TestWrongInput(t *testing.T) {
	w := newWorld(t, effective.Options{})
	w.apply(t, "default", allFlags)
	path := evaluationv2connect.ServiceResolveBooleanProcedure
	for _, tc := range []struct {
		name, kind, body, path string
		status                 int
		grpc                   string
	}{
		{"json that is none", "application/json", `{"flagKey":`, path, 400, ""},
		{"json of another type", "application/json", `{"flagKey": 3}`, path, 400, ""},
		{"protobuf that is none", "application/proto", "\xff\xff", path, 400, ""},
		{"an unknown content type", "text/plain", "x", path, 415, ""},
		{"an unknown method", "application/json", `{}`, "/flagd.evaluation.v2.Service/ResolveAll", 404, ""},
		{"grpc without a message", "application/grpc", "", path, 200, "12 13 3"},
		{"grpc with protobuf that is none", "application/grpc", "\x00\x00\x00\x00\x02\xff\xff", path, 200, "3"},
		{"grpc that promises too much", "application/grpc", "\x00\x7f\xff\xff\xff\x00", path, 200, "8"},
		{"a sync without a message", "application/grpc", "", "/flagd.sync.v1.FlagSyncService/SyncFlags", 200, "3"},
		{"a sync with protobuf that is none", "application/grpc", "\x00\x00\x00\x00\x02\xff\xff", "/flagd.sync.v1.FlagSyncService/SyncFlags", 200, "3"},
		{"a sync of two messages", "application/grpc", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "/flagd.sync.v1.FlagSyncService/SyncFlags", 200, "3"},
		{"a sync that promises too much", "application/grpc", "\x00\x7f\xff\xff\xff\x00", "/flagd.sync.v1.FlagSyncService/SyncFlags", 200, "8"},
		{"a sync with unknown flags", "application/grpc", "\x80\x00\x00\x00\x00", "/flagd.sync.v1.FlagSyncService/SyncFlags", 200, "3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(short(t), http.MethodPost, w.url+tc.path, strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", tc.kind)
			status, trailer := exchange(t, w.client, req)
			if status != tc.status || (tc.grpc != "" && !slices.Contains(strings.Fields(tc.grpc), trailer)) {
				t.Errorf("HTTP %d, Grpc-Status %q; want %d and one of %q", status, trailer, tc.status, tc.grpc)
			}
			if g := askV2(short(t), w.v2(connect.WithGRPC()), "bool", "static", nil); g.String() != "true on STATIC" {
				t.Errorf("afterwards: %s", g)
			}
		})
	}
}

// exchange sends a request and returns its status, in HTTP and in gRPC.
func exchange(t *testing.T, client *http.Client, req *http.Request) (status int, grpc string) {
	t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	grpc = resp.Trailer.Get("Grpc-Status")
	if grpc == "" {
		grpc = resp.Header.Get("Grpc-Status")
	}
	return resp.StatusCode, grpc
}
