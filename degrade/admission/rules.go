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
	// health checks.
	Exempt bool
}

// rules finds the rule of a request. It is immutable.
type rules struct {
	mux       *http.ServeMux // nil without any rule
	byPattern map[string]*compiled
}

type compiled struct {
	rank                     int // -1: does not say
	stream, longPoll, exempt bool
}

var noRule = &compiled{rank: -1}

// compileRules checks every rule, and returns all that is wrong with them.
func compileRules(list []Rule, rank func(string) (int, error)) (rules, error) {
	if len(list) == 0 {
		return rules{}, nil
	}
	r := rules{mux: http.NewServeMux(), byPattern: make(map[string]*compiled, len(list)+1)}
	var faults []error
	for i, rule := range list {
		if err := r.add(rule, rank); err != nil {
			faults = append(faults, fmt.Errorf("rule %d, %q: %w", i+1, rule.Pattern, err))
		}
	}
	if len(faults) > 0 {
		return rules{}, errors.Join(faults...)
	}
	// So that a request without a rule is not also looked up under every other
	// method, as the mux does before it says that nothing was found.
	if _, ok := r.byPattern["/"]; !ok {
		r.mux.Handle("/", http.NotFoundHandler())
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
	if r.byPattern[rule.Pattern] != nil {
		return errors.New("there are two rules with this pattern")
	}
	if err := register(r.mux, rule.Pattern); err != nil {
		return err
	}
	r.byPattern[rule.Pattern] = c
	return nil
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
	case method != strings.ToUpper(method):
		return fmt.Errorf("no request has the method %s: write %s", method, strings.ToUpper(method))
	case strings.ContainsAny(rest, "?#"):
		return errors.New("it matches nothing: a path ends before ? and #")
	}
	if i := strings.Index(rest, "/"); i >= 0 && method != http.MethodConnect {
		clean := path.Clean(rest[i:])
		if strings.HasSuffix(rest, "/") && clean != "/" {
			clean += "/"
		}
		if clean != rest[i:] {
			return fmt.Errorf("it matches nothing, since paths are cleaned before: write %s", rest[:i]+clean)
		}
	}
	return nil
}

var registeredAt = regexp.MustCompile(` \(registered at [^)]*\)`)

// register adds a pattern to the mux, which panics on a malformed or
// conflicting one.
func register(mux *http.ServeMux, pattern string) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			text := registeredAt.ReplaceAllString(fmt.Sprint(fault), "")
			err = errors.New(strings.ReplaceAll(text, "\n", " "))
		}
	}()
	mux.Handle(pattern, http.NotFoundHandler())
	return nil
}

// of returns the rule of a call, or noRule.
func (r rules) of(call *Call) *compiled {
	if r.mux == nil {
		return noRule
	}
	request := call.Request
	if request == nil {
		request = &http.Request{Method: call.Method, URL: &url.URL{Path: call.Path}}
	}
	_, pattern := r.mux.Handler(request)
	if c := r.byPattern[pattern]; c != nil {
		return c
	}
	return noRule
}
