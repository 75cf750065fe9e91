package authz

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"
)

func TestSelect(t *testing.T) {
	// The namespaces of the test, and an alias.
	of := func(name string) string {
		return map[string]string{"default": "default", "shop": "shop", "flags/shop.json": "shop", "other": "other"}[name]
	}
	for _, c := range []struct {
		what, header, selector, field string
		want                          string // or what the refusal names
		code                          connect.Code
	}{
		{"nothing", "", "", "", "default", 0},
		{"a field", "", "", "shop", "shop", 0},
		{"our header", "shop", "", "", "shop", 0},
		{"the selector", "", "flagSetId=shop", "", "shop", 0},
		{"the selector wins over the field", "", "source=other", "shop", "other", 0},
		{"field and header, the same", "shop", "", "shop", "shop", 0},
		{"a name in the field, its alias in the header", "flags/shop.json", "", "shop", "shop", 0},
		{"an alias in the field, its name in the header", "shop", "", "source=flags/shop.json", "shop", 0},
		{"both headers, by name and alias", "shop", "flags/shop.json", "", "shop", 0},
		{"both headers, and another field", "shop", "shop", "other", "shop", 0},
		{"field and header differ", "other", "", "shop", `"other"`, connect.CodePermissionDenied},
		{"the headers differ", "shop", "flagSetId=other", "", `"other"`, connect.CodePermissionDenied},
		{"the headers differ, and one is the field", "shop", "other", "shop", `"shop"`, connect.CodePermissionDenied},
		{"an unknown name", "", "nowhere", "", "nowhere", 0},
		{"no name at all", "", "No Name", "", "No Name", connect.CodeInvalidArgument},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
			r.Header.Set(HeaderNamespace, c.header)
			r.Header.Set(HeaderSelector, c.selector)
			var caller Caller
			Identify(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { caller = CallerFrom(r.Context()) })).
				ServeHTTP(httptest.NewRecorder(), r)
			got, err := caller.Select(c.field, of)
			if c.code != 0 {
				if connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%q, %v", got, err)
				}
				return
			}
			if got != c.want || err != nil {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}
