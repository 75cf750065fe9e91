package admission

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// call is a call of HTTP, as Handler makes it.
func call(r *http.Request) Call {
	return Call{Method: r.Method, Path: r.URL.Path, Addr: r.RemoteAddr, Values: r.Header.Values, Request: r}
}

func newController(t *testing.T, opts ...Option) *Controller {
	t.Helper()
	c, err := New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newEdge(t *testing.T, c *Controller, opts ...EdgeOption) *Edge {
	t.Helper()
	e, err := NewEdge(c, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestRulesGiveTheTier(t *testing.T) {
	e := newEdge(t, newController(t), WithRules(
		Rule{Pattern: "POST /checkout", Tier: "critical"},
		Rule{Pattern: "/static/", Tier: "optional"},
		Rule{Pattern: "/static/logo.svg", Tier: "important"},
		Rule{Pattern: "GET /items/{id}", Tier: "important"},
		Rule{Pattern: "GET /items/{id}/reviews", Tier: "optional"},
		Rule{Pattern: "admin.example/", Tier: "critical"},
		Rule{Pattern: "/shop.v1.Cart/", Tier: "important"},
		Rule{Pattern: "/shop.v1.Cart/Pay", Tier: "critical"},
		Rule{Pattern: "/events", Stream: true},
		Rule{Pattern: "/poll", LongPoll: true, Tier: "optional"},
		Rule{Pattern: "/livez", Exempt: true},
	))
	for _, tc := range []struct {
		method, url string
		want        int
	}{
		{"POST", "/checkout", 0},
		{"GET", "/checkout", 2},
		{"GET", "/static/app.js", 3},
		{"GET", "/static/logo.svg", 1},
		{"GET", "/items/7", 1},
		{"HEAD", "/items/7", 1},
		{"GET", "/items/7/reviews", 3},
		{"GET", "/items/a%2Fb", 1},
		{"GET", "//static/app.js", 3},
		{"GET", "/items/../static/app.js", 3},
		{"GET", "/static/../items/7", 2}, // no better than without a rule
		{"GET", "/static//logo.svg", 2},
		{"GET", "/x/../livez", 2},
		{"GET", "/shop.v1.Cart", 2},
		{"GET", "http://admin.example/anything", 0},
		{"GET", "/events", 2},
		{"GET", "/poll", 3},
		{"GET", "/nothing/of/the/kind", 2},
		{"GET", "/", 2},
		{"BREW", "/coffee", 2},
	} {
		c := call(httptest.NewRequest(tc.method, tc.url, nil))
		if got := e.rank(t.Context(), c, e.rules.of(&c), ""); got != tc.want {
			t.Errorf("%s %s: tier %d, want %d", tc.method, tc.url, got, tc.want)
		}
	}
	for procedure, want := range map[string]int{"/shop.v1.Cart/Pay": 0, "/shop.v1.Cart/List": 1, "/shop.v1.Other/List": 2, "": 2, "no slash": 2} {
		c := Call{Method: "POST", Path: procedure}
		if got := e.rank(t.Context(), c, e.rules.of(&c), ""); got != want {
			t.Errorf("procedure %q: tier %d, want %d", procedure, got, want)
		}
	}
}

func TestWhatIsWrongIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		opts []EdgeOption
		want string
	}{
		{"no pattern", []EdgeOption{WithRules(Rule{Tier: "critical"})}, `rule 1, "": the pattern is empty`},
		{"unknown tier", []EdgeOption{WithRules(Rule{Pattern: "/", Tier: "critcal"})}, `rule 1, "/": there is no tier "critcal": the tiers are ["critical" "important" "standard" "optional"]`},
		{"says nothing", []EdgeOption{WithRules(Rule{Pattern: "/a"})}, "it says nothing: give it a Tier"},
		{"twice", []EdgeOption{WithRules(Rule{Pattern: "/a", Tier: "critical"}), WithRules(Rule{Pattern: "/a", Tier: "optional"})}, `rule 2, "/a": there are two rules with this pattern`},
		{"the same by other names", []EdgeOption{WithRules(Rule{Pattern: "/a/{x}", Tier: "critical"}, Rule{Pattern: "/a/{y}", Tier: "optional"})}, `rule 2, "/a/{y}": pattern "/a/{y}" conflicts with pattern "/a/{x}"`},
		{"ambiguous", []EdgeOption{WithRules(Rule{Pattern: "/a/{x}", Tier: "critical"}, Rule{Pattern: "/{x}/b", Tier: "optional"})}, "conflicts with pattern"},
		{"a method that nobody uses", []EdgeOption{WithRules(Rule{Pattern: "get /a", Tier: "critical"})}, "no request has the method get: write GET"},
		{"a query", []EdgeOption{WithRules(Rule{Pattern: "/a?b=c", Tier: "critical"})}, "it matches nothing: a path ends before ? and #"},
		{"an unclean path", []EdgeOption{WithRules(Rule{Pattern: "/a//b", Tier: "critical"})}, "it matches nothing, since paths are cleaned before: write /a/b"},
		{"a space", []EdgeOption{WithRules(Rule{Pattern: "/a b", Tier: "critical"})}, "it has a space in its path: write /a%20b"},
		{"a bad escape", []EdgeOption{WithRules(Rule{Pattern: "/a%zz", Tier: "critical"})}, "it matches nothing: invalid URL escape"},
		{"a host with its port", []EdgeOption{WithRules(Rule{Pattern: "shop.example:8080/a", Tier: "critical"})}, "it matches nothing, since hosts are compared without their ports: write shop.example"},
		{"a host in upper case", []EdgeOption{WithRules(Rule{Pattern: "GET Shop.example/a", Tier: "critical"})}, "clients send hosts in lower case: write shop.example"},
		{"no path", []EdgeOption{WithRules(Rule{Pattern: "checkout", Tier: "critical"})}, "parsing"},
		{"a bad wildcard", []EdgeOption{WithRules(Rule{Pattern: "/a/{b", Tier: "critical"})}, "bad wildcard"},
		{"exempt with a tier", []EdgeOption{WithRules(Rule{Pattern: "/a", Exempt: true, Tier: "critical"})}, "an exempt route holds no place"},
		{"both kinds of lasting", []EdgeOption{WithRules(Rule{Pattern: "/a", Stream: true, LongPoll: true})}, "choose between Stream"},
		{"unknown default", []EdgeOption{WithDefaultTier("none")}, `default tier: there is no tier "none"`},
		{"unknown ceiling", []EdgeOption{WithCeiling("none")}, `ceiling: there is no tier "none"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, err := NewEdge(newController(t), tc.opts...)
			if err == nil || e != nil || !strings.HasPrefix(err.Error(), "admission: ") || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want one with %q", err, tc.want)
			}
			if strings.Contains(err.Error(), ".go:") {
				t.Errorf("the error names a line of this package: %v", err)
			}
		})
	}
	if _, err := NewEdge(nil); err == nil {
		t.Error("an edge without a controller was made")
	}
	_, err := NewEdge(newController(t), WithDefaultTier("x"), WithCeiling("y"), WithRules(Rule{Pattern: "/a", Tier: "z"}, Rule{Tier: "w"}))
	for _, want := range []string{`"x"`, `"y"`, `"z"`, "rule 2"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not all is told at once: %s is missing in\n%v", want, err)
		}
	}
}

func TestDefaultTier(t *testing.T) {
	for _, tc := range []struct {
		tiers []string
		opts  []EdgeOption
		want  int
	}{
		{[]string{"critical", "important", "standard", "optional"}, nil, 2},
		{[]string{"gold", "silver", "bronze"}, nil, 2},
		{[]string{"gold", "silver", "bronze"}, []EdgeOption{WithDefaultTier("gold")}, 0},
		{[]string{"only"}, nil, 0},
	} {
		e := newEdge(t, newController(t, WithTiers(tc.tiers...)), tc.opts...)
		if got := e.rank(t.Context(), Call{}, noRule, ""); got != tc.want {
			t.Errorf("%v: %d, want %d", tc.tiers, got, tc.want)
		}
	}
}

// TestAStrangerCannotRaiseItself walks through who claims what.
func TestAStrangerCannotRaiseItself(t *testing.T) {
	trusted := WithTrustedCallers(func(_ context.Context, c Call) bool { return c.Addr == "10.0.0.1:1" })
	const stranger, friend = "203.0.113.9:9", "10.0.0.1:1"
	critical, standard := WithDefaultTier("critical"), WithDefaultTier("standard")
	function := WithTierFunc(func(_ context.Context, c Call) string { return strings.TrimPrefix(c.Path, "/") })
	for _, tc := range []struct {
		name        string
		opts        []EdgeOption
		addr, path  string
		claim, want string
	}{
		{"no claim", []EdgeOption{standard}, stranger, "", "", "standard"},
		{"raise", []EdgeOption{standard}, stranger, "", "critical", "standard"},
		{"lower", []EdgeOption{standard}, stranger, "", "optional", "optional"},
		{"unknown name", []EdgeOption{standard}, stranger, "", "CRITICAL", "standard"},
		{"raise, trusted", []EdgeOption{standard, trusted}, friend, "", "critical", "critical"},
		{"raise, others are trusted", []EdgeOption{standard, trusted}, stranger, "", "critical", "standard"},
		{"lower, trusted", []EdgeOption{critical, trusted}, friend, "", "optional", "optional"},
		{"everybody is trusted", []EdgeOption{standard, WithTrustedCallers(Everybody)}, stranger, "", "critical", "critical"},
		{"raise to the ceiling", []EdgeOption{standard, WithCeiling("important")}, stranger, "", "critical", "important"},
		{"raise under the ceiling", []EdgeOption{WithDefaultTier("optional"), WithCeiling("important")}, stranger, "", "standard", "standard"},
		{"the ceiling does not lower a route", []EdgeOption{critical, WithCeiling("important")}, stranger, "", "critical", "critical"},
		{"the ceiling is not for friends", []EdgeOption{standard, trusted, WithCeiling("important")}, friend, "", "critical", "critical"},
		{"a function", []EdgeOption{standard, function}, stranger, "/important", "", "important"},
		{"a function without an opinion", []EdgeOption{standard, function}, stranger, "/", "", "standard"},
		{"a function and a claim", []EdgeOption{standard, function}, stranger, "/important", "critical", "important"},
		{"a function over a rule", []EdgeOption{function, WithRules(Rule{Pattern: "/", Tier: "optional"})}, stranger, "/important", "", "important"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEdge(t, newController(t), tc.opts...)
			c := Call{Method: "GET", Path: tc.path, Addr: tc.addr}
			if got := e.names[e.rank(t.Context(), c, e.rules.of(&c), tc.claim)]; got != tc.want {
				t.Errorf("tier %s, want %s", got, tc.want)
			}
		})
	}
}
