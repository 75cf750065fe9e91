// Package authz finds out who calls and keeps out who must not: one HTTP
// middleware in front of every route, since RPC interceptors would not see
// every stream.
package authz

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/store"
)

// Headers that callers may send.
const (
	HeaderNamespace = "Plimsoll-Namespace"
	HeaderSelector  = "Flagd-Selector"
	HeaderActor     = "Plimsoll-Actor"
	HeaderOrigin    = "Plimsoll-Origin"
)

// maxName is how much of a claimed name is kept, in bytes.
const maxName = 128

// Caller is who makes a request.
type Caller struct {
	// Actor is what the audit log says of the caller.
	Actor *plimsollv1.Actor
	// header and selector are the namespaces that the request's headers name;
	// empty: none.
	header, selector string
}

type callerKey struct{}

// CallerFrom returns the caller that the middleware put into the context.
func CallerFrom(ctx context.Context) Caller {
	if c, ok := ctx.Value(callerKey{}).(Caller); ok {
		return c
	}
	return Caller{Actor: &plimsollv1.Actor{Name: "anonymous"}}
}

// Identify puts the caller of every request into its context. As long as the
// server is open, a caller may name itself; such a name is not verified.
func Identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := printable(r.Header.Get(HeaderActor))
		if name == "" {
			name = "anonymous"
		}
		origin := printable(r.Header.Get(HeaderOrigin))
		if origin == "" {
			origin = "api"
		}
		c := Caller{
			Actor:    &plimsollv1.Actor{Name: name, Origin: origin},
			header:   r.Header.Get(HeaderNamespace),
			selector: r.Header.Get(HeaderSelector),
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	})
}

// originConsole is where the changes of the console's visitors come from.
const originConsole = "console"

// AsVisitor is a request's context with a visitor of the console, who has named
// herself, as the caller. Pages carry their namespace in their address, so
// headers name none.
func AsVisitor(ctx context.Context, name string) context.Context {
	if name = printable(name); name == "" {
		name = "anonymous"
	}
	return context.WithValue(ctx, callerKey{}, Caller{Actor: &plimsollv1.Actor{Name: name, Origin: originConsole}})
}

// printable keeps a claimed name from forging lines of a log or a terminal.
func printable(s string) string {
	if !utf8.ValidString(s) {
		return ""
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) {
			return -1
		}
		return r
	}, s)
	for len(s) > maxName {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return strings.TrimSpace(s)
}

// Namespace is the namespace of a request: the one its headers name, or the
// field of the message, or the default. Headers that contradict each other, or a
// header that contradicts the field, are PERMISSION_DENIED, but for the selector
// header, which wins over the field.
func (c Caller) Namespace(field string) (string, error) {
	return c.Select(field, func(name string) string { return name })
}

// Select is Namespace for the protocols of others, where the field may be a
// selector as the header is: NAME, flagSetId=NAME or source=NAME. of is the
// namespace that has a name or alias, which are the same; "" if none does.
func (c Caller) Select(field string, of func(string) string) (string, error) {
	name, err := c.named(selected(field), func(name string) string {
		if ns := of(name); ns != "" {
			return ns
		}
		return name
	})
	if err != nil {
		return "", err
	}
	if err := store.CheckNamespace(name); err != nil {
		if strings.ContainsAny(name, "=,") {
			err = fmt.Errorf("a selector has one name, as NAME, flagSetId=NAME or source=NAME: %w", err)
		}
		return "", connect.NewError(connect.CodeInvalidArgument, err)
	}
	return name, nil
}

// selected is what a selector selects by.
func selected(selector string) string {
	selector = strings.TrimSpace(selector)
	for _, by := range [...]string{"flagSetId=", "source="} {
		if name, ok := strings.CutPrefix(selector, by); ok {
			return name
		}
	}
	return selector
}

// named is the namespace that a request names; of is that of a name.
func (c Caller) named(field string, of func(string) string) (string, error) {
	selector := selected(c.selector)
	switch {
	case selector != "" && c.header != "" && of(selector) != of(c.header):
		return "", connect.NewError(connect.CodePermissionDenied,
			fmt.Errorf("the header %s names namespace %q, and the header %s names %q", HeaderSelector, selector, HeaderNamespace, c.header))
	case selector != "":
		return of(selector), nil
	case field != "" && c.header != "" && of(field) != of(c.header):
		return "", connect.NewError(connect.CodePermissionDenied,
			fmt.Errorf("the request names namespace %q, and its header %s names %q", field, HeaderNamespace, c.header))
	case field != "":
		return of(field), nil
	case c.header != "":
		return of(c.header), nil
	default:
		return of(store.DefaultNamespace), nil
	}
}
