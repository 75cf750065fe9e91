package admission

import (
	"bufio"
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
		{"GET", "/items/a%2Fb", 2}, // /items/a/b to some routers
		{"GET", "/shop.v1.Cart/a%2fb", 1},
		{"GET", "/static/a%2fb", 3},
		{"GET", "/static/%2e%2e/items/7", 3}, // below /static/ to some
		{"GET", "/%2e/static/app.js", 3},
		{"GET", "/.well-known/x", 2},
		{"GET", "/shop.v1.Cart/.x/..y/z..", 1},
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
		{"an unclean path to connect to", []EdgeOption{WithRules(Rule{Pattern: "CONNECT /a/../b", Tier: "critical"})}, "it matches nothing, since paths are cleaned before: write /b"},
		{"an unclean path", []EdgeOption{WithRules(Rule{Pattern: "/a//b", Tier: "critical"})}, "it matches nothing, since paths are cleaned before: write /a/b"},
		{"an encoded slash", []EdgeOption{WithRules(Rule{Pattern: "/a%2Fb", Exempt: true})}, "it gives nothing, since some routers decode such a path"},
		{"encoded dots", []EdgeOption{WithRules(Rule{Pattern: "/a/%2e%2E/b", Tier: "critical"})}, "it gives nothing, since some routers decode such a path"},
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

// A path that some routers take for another one gains neither an exemption, nor
// the end of a stream's place, nor a better tier.
func TestUncleanPathsGainNothing(t *testing.T) {
	e := newEdge(t, newController(t), WithRules(
		Rule{Pattern: "/public/", Exempt: true},
		Rule{Pattern: "/public/{name}", Exempt: true},
		Rule{Pattern: "/livez", Exempt: true},
		Rule{Pattern: "/poll/", LongPoll: true},
		Rule{Pattern: "/events/", Stream: true},
		Rule{Pattern: "/pay/", Tier: "critical"},
		Rule{Pattern: "CONNECT /pay/", Tier: "critical"},
	))
	for _, root := range []string{"/public/", "/poll/", "/events/", "/pay/"} {
		for _, line := range []string{
			"GET " + root + "%2e%2e/report",
			"GET " + root + "%2E./report",
			"GET " + root + "..%2freport",
			"GET " + root + "a%2f..%2f..%2Freport",
			"GET " + root + "%2e%2e",
			"GET " + root + "%2F/report",
			"GET " + root + "../report",
			"GET " + root + "./x",
			"GET " + root + "/x",
			"GET /report/.." + root,
			"GET /report/%2e%2e" + root + "x",
			"CONNECT " + root + "../report",
			"CONNECT /report/.." + root,
		} {
			c := call(parsed(t, line))
			r := e.rules.of(&c)
			if rank := e.rank(t.Context(), c, r, ""); r.exempt || r.stream || r.longPoll || rank != 2 {
				t.Errorf("%s: exempt %v, stream %v, long poll %v, tier %d", line, r.exempt, r.stream, r.longPoll, rank)
			}
		}
	}
	for _, line := range []string{"GET /livez/", "GET //livez", "GET /public/a%2Fb"} {
		c := call(parsed(t, line))
		// Of the last, one reading is a rule's for one segment, the other its
		// parent's. Both are exempt, but that is for two rules to say.
		if e.rules.of(&c).exempt {
			t.Errorf("%s has the exemption of another path", line)
		}
	}
	for _, line := range []string{"GET /public/a", "GET /public/a/b", "GET /livez", "GET /public/a/b%2Fc", "GET /public/.x", "CONNECT /public/a"} {
		c := call(parsed(t, line))
		if !e.rules.of(&c).exempt {
			t.Errorf("%s is not exempt", line)
		}
	}
	// A call of another protocol has no request.
	c := Call{Method: "GET", Path: "/public/../report"}
	if e.rules.of(&c).exempt {
		t.Errorf("%s is exempt as a procedure", c.Path)
	}
}

// parsed is a request as a server reads it.
func parsed(t *testing.T, line string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line + " HTTP/1.1\r\nHost: h\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return r
}
