package ofrep

import (
	"net/http"
	"strings"
	"testing"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
)

// Pages may ask as the Fetch standard has it, if their origin is on the list.
func TestCORS(t *testing.T) {
	b := newBench(t, func(o *Options, _ *effective.Options) { o.Origins = []string{"https://shop.example"} })
	const preflight = "Access-Control-Request-Method"
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		allow                    string
	}{
		{"a preflight of an origin on the list", http.MethodOptions, routeFlags, "", []string{"Origin", "https://shop.example", preflight, "POST"}, 204, "https://shop.example"},
		{"a preflight for one flag", http.MethodOptions, routeFlag + "switch", "", []string{"Origin", "https://shop.example", preflight, "POST"}, 204, "https://shop.example"},
		{"a preflight of another origin", http.MethodOptions, routeFlags, "", []string{"Origin", "https://evil.example", preflight, "POST"}, 403, ""},
		{"a preflight of the opaque origin", http.MethodOptions, routeFlags, "", []string{"Origin", "null", preflight, "POST"}, 403, ""},
		{"a request of an origin on the list", http.MethodPost, routeFlags, "{}", []string{"Origin", "https://shop.example"}, 200, "https://shop.example"},
		{"a request of another origin", http.MethodPost, routeFlags, "{}", []string{"Origin", "https://evil.example"}, 403, ""},
		{"an origin that only begins alike", http.MethodPost, routeFlags, "{}", []string{"Origin", "https://shop.example.evil"}, 403, ""},
		{"another scheme", http.MethodPost, routeFlags, "{}", []string{"Origin", "http://shop.example"}, 403, ""},
		{"a request of this server's own pages", http.MethodPost, routeFlags, "{}", []string{"Origin", b.url}, 200, ""},
		{"no page at all", http.MethodPost, routeFlags, "{}", nil, 200, ""},
		{"an error can be read", http.MethodPost, routeFlag + "nope", "{}", []string{"Origin", "https://shop.example"}, 404, "https://shop.example"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := b.do(c.method, b.url+c.path, c.body, c.headers...)
			if got.status != c.status || got.header.Get("Access-Control-Allow-Origin") != c.allow {
				t.Fatalf("%d, %q\n%s", got.status, got.header.Get("Access-Control-Allow-Origin"), got.body)
			}
			if got.header.Get("Vary") != "Origin" {
				t.Errorf("Vary %q", got.header.Get("Vary"))
			}
			if c.allow != "" && c.status != 204 && !strings.Contains(got.header.Get("Access-Control-Expose-Headers"), "ETag") {
				t.Error("the tag cannot be read")
			}
			if c.status == 204 {
				for _, name := range []string{"Authorization", "X-API-Key", "Content-Type", "If-None-Match"} {
					if !strings.Contains(got.header.Get("Access-Control-Allow-Headers"), name) {
						t.Errorf("%s is not allowed", name)
					}
				}
			}
		})
	}
	t.Run("the event stream of a page", func(t *testing.T) {
		s := b.subscribe(b.url+routeEvents, "Origin", "https://shop.example")
		if s.status != 200 || s.header.Get("Access-Control-Allow-Origin") != "https://shop.example" {
			t.Errorf("%d %v", s.status, s.header)
		}
	})
}

func TestCORSOfAllAndOfNone(t *testing.T) {
	b := newBench(t, nil)
	if got := b.all(`{}`, "Origin", "https://shop.example"); got.status != 403 || got.json(t)["errorDetails"] == "" {
		t.Errorf("without a list: %d %s", got.status, got.body)
	}
	_, _, open := b.serve(Options{Origins: []string{"*"}}, effective.Options{Now: b.now})
	if got := b.do(http.MethodPost, open+routeFlags, `{}`, "Origin", "https://shop.example"); got.status != 200 || got.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("with *: %d %v", got.status, got.header)
	}
}

func TestCheckOrigin(t *testing.T) {
	for origin, fine := range map[string]bool{
		"*": true, "https://shop.example": true, "http://localhost:3000": true, "https://shop.example/": false,
		"https://shop.example/x": false, "shop.example": false, "": false, "ftp://x": false, "https://": false, "https://*.example": false,
	} {
		if err := CheckOrigin(origin); (err == nil) != fine {
			t.Errorf("%q: %v", origin, err)
		}
	}
}
