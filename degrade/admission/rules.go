package admission

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// A Rule gives the requests of a route their tier.
type Rule struct {
	// Pattern is "[METHOD ][HOST]/PATH" as [http.ServeMux] understands it, with
	// wildcards; the most specific pattern wins. A procedure of Connect or gRPC
	// is the path "/package.Service/Method", all of a service's are
	// "/package.Service/".
	Pattern string
	// Tier is the name of the tier. Empty: the rule does not say.
	Tier string
	// Stream marks a route whose answers last and which are not recognised as
	// streams by themselves: the place is given back at the first byte of the
	// answer.
	Stream bool
	// LongPoll marks a route whose requests wait for something to happen: they
	// are admitted or refused like others, but give their place back at once.
	LongPoll bool
	// Exempt requests go past the controller and are never refused, such as
	// health checks. A tier that they claim without being trusted, and better than
	// the one a request without a rule has, is taken out of their baggage.
	Exempt bool
}

// rules finds the rule of a request. It is immutable.
type rules struct {
	mux       *http.ServeMux // nil without any rule; its handlers are *compiled
	redirects map[string]*compiled
}

type compiled struct {
	rank                     int // -1: does not say
	stream, longPoll, exempt bool
	// redirect: it is the rule of a path that others may read in another way, and
	// can only make a request less important.
	redirect bool
	lesser   *compiled // itself as a redirect; nil: itself
}

// ServeHTTP makes it a handler to the mux, which only looks it up.
func (*compiled) ServeHTTP(http.ResponseWriter, *http.Request) {}

var noRule = &compiled{rank: -1}

// compileRules checks every rule, and returns all that is wrong with them.
func compileRules(list []Rule, rank func(string) (int, error)) (rules, error) {
	if len(list) == 0 {
		return rules{}, nil
	}
	r := rules{mux: http.NewServeMux(), redirects: make(map[string]*compiled, len(list))}
	seen := make(map[string]bool, len(list))
	var faults []error
	for i, rule := range list {
		err := r.add(rule, rank)
		if seen[rule.Pattern] {
			err = errors.New("there are two rules with this pattern")
		}
		seen[rule.Pattern] = true
		if err != nil {
			faults = append(faults, fmt.Errorf("rule %d, %q: %w", i+1, rule.Pattern, err))
		}
	}
	if len(faults) > 0 {
		return rules{}, errors.Join(faults...)
	}
	// So that a request without a rule is not also looked up under every other
	// method, as the mux does before it says that nothing was found.
	if !seen["/"] {
		r.mux.Handle("/", noRule)
	}
	return r, nil
}

func (r rules) add(rule Rule, rank func(string) (int, error)) error {
	if err := possible(rule.Pattern); err != nil {
		return err
	}
	c := &compiled{rank: -1, stream: rule.Stream, longPoll: rule.LongPoll, exempt: rule.Exempt}
	lasting := rule.Stream || rule.LongPoll
	switch {
	case rule.Exempt && (rule.Tier != "" || lasting):
		return errors.New("an exempt route holds no place and has no tier: leave Tier, Stream and LongPoll out")
	case rule.Stream && rule.LongPoll:
		return errors.New("choose between Stream, until the first byte of the answer, and LongPoll, at once")
	case rule.Tier != "":
		var err error
		if c.rank, err = rank(rule.Tier); err != nil {
			return err
		}
	case !rule.Exempt && !lasting:
		return errors.New("it says nothing: give it a Tier, Stream, LongPoll or Exempt")
	}
	c.lesser = &compiled{rank: c.rank, redirect: true}
	r.redirects[rule.Pattern] = c.lesser
	return register(r.mux, rule.Pattern, c)
}

// possible refuses patterns which the mux accepts although no request matches.
func possible(pattern string) error {
	method, rest, ok := strings.Cut(pattern, " ")
	if !ok {
		method, rest = "", pattern
	}
	switch {
	case pattern == "":
		return errors.New("the pattern is empty: give a path such as /checkout")
	case strings.Contains(method, "/"):
		return fmt.Errorf("it has a space in its path: write %s", strings.ReplaceAll(pattern, " ", "%20"))
	case method != strings.ToUpper(method):
		return fmt.Errorf("no request has the method %s: write %s", method, strings.ToUpper(method))
	case strings.ContainsAny(rest, "?#"):
		return errors.New("it matches nothing: a path ends before ? and #")
	}
	i := strings.Index(rest, "/")
	if i < 0 {
		return nil // the mux refuses it
	}
	if err := possibleHost(rest[:i]); err != nil {
		return err
	}
	decoded, err := url.PathUnescape(rest[i:])
	if err != nil {
		return fmt.Errorf("it matches nothing: %w", err)
	}
	if clean := cleaned(rest[i:]); clean != rest[i:] {
		return fmt.Errorf("it matches nothing, since paths are cleaned before: write %s", rest[:i]+clean)
	}
	if encodesSlash(rest[i:]) || unclean(decoded) {
		return errors.New("it gives nothing, since some routers decode such a path and take it for another one: give a pattern without encoded slashes and dots, such as its parent's")
	}
	return nil
}

func possibleHost(host string) error {
	name, _, port := strings.Cut(host, ":")
	switch {
	case port:
		return fmt.Errorf("it matches nothing, since hosts are compared without their ports: write %s", name)
	case host != strings.ToLower(host):
		return fmt.Errorf("clients send hosts in lower case: write %s", strings.ToLower(host))
	}
	return nil
}

var registeredAt = regexp.MustCompile(` \(registered at [^)]*\)`)

// register adds a pattern to the mux, which panics on a malformed or
// conflicting one.
func register(mux *http.ServeMux, pattern string, c *compiled) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			text := registeredAt.ReplaceAllString(fmt.Sprint(fault), "")
			err = errors.New(strings.ReplaceAll(text, "\n", " "))
		}
	}()
	mux.Handle(pattern, c)
	return nil
}

// of returns the rule of a call, or noRule. A path that is not clean, or has an
// encoded slash, is another one to some routers than to the mux. It gains nothing
// by its rules then, and has the less important one of the two.
func (r rules) of(call *Call) *compiled {
	if r.mux == nil {
		return noRule
	}
	request := call.Request
	if request == nil {
		request = &http.Request{Method: call.Method, URL: &url.URL{Path: call.Path}}
	}
	rule := r.lookup(request)
	unclean := unclean(request.URL.Path)
	if !unclean && !encodesSlash(request.URL.RawPath) {
		return rule
	}
	other := r.lookup(&http.Request{
		Method: request.Method,
		Host:   request.Host,
		URL:    &url.URL{Host: request.URL.Host, Path: cleaned(request.URL.Path)},
	})
	if other == rule && !unclean {
		return rule
	}
	if other.rank > rule.rank {
		rule = other
	}
	if rule.lesser != nil {
		return rule.lesser
	}
	return rule
}

// lookup is the rule of the path as the mux understands it.
func (r rules) lookup(request *http.Request) *compiled {
	handler, pattern := r.mux.Handler(request)
	if c, ok := handler.(*compiled); ok {
		return c
	}
	if c, ok := r.redirects[pattern]; ok {
		return c
	}
	return noRule
}

// unclean says that a decoded path has empty, "." or ".." segments, or does not
// begin at the root.
func unclean(p string) bool {
	if !strings.HasPrefix(p, "/") || strings.Contains(p, "//") {
		return true
	}
	for {
		i := strings.Index(p, "/.")
		if i < 0 {
			return false
		}
		p = p[i+1:]
		switch segment, _, _ := strings.Cut(p, "/"); segment {
		case ".", "..":
			return true
		}
	}
}

// encodesSlash says so of a path that was not decoded.
func encodesSlash(raw string) bool {
	return raw != "" && (strings.Contains(raw, "%2F") || strings.Contains(raw, "%2f"))
}

// cleaned is the path without such segments. It keeps a slash at the end.
func cleaned(p string) string {
	clean := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}
