package manifest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// maxFetched is the largest document that is read from the network, in bytes.
const maxFetched = 64 << 20

// IsURL tells a URL of a document from the path of a file.
func IsURL(text string) bool {
	scheme, _, ok := strings.Cut(text, "://")
	return ok && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https"))
}

// Fetch reads what Read does from a URL, in as long as the context allows. Faults
// name the document by its URL without user, password and query, which may be
// secrets.
func Fetch(ctx context.Context, from string) (*Bundle, error) {
	u, err := url.Parse(from)
	if err != nil {
		return nil, errors.New(notURL(from)) // what is wrong may quote a password
	}
	name := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	text, err := get(ctx, from)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("%s did not answer in time; --timeout gives it longer", name)
	case err != nil:
		return nil, fmt.Errorf("%s cannot be read: %s", name, innermost(err))
	}
	b := &Bundle{files: []string{name}}
	b.read(source{name: name, kind: strings.ToLower(path.Ext(u.Path)), text: text})
	b.findRepeated()
	return b, nil
}

// notURL says where a URL that cannot be read points, as far as that is no secret.
func notURL(text string) string {
	scheme, rest, _ := strings.Cut(text, "://")
	authority, _, _ := strings.Cut(rest, "/")
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		return scheme + "://…@" + authority[at+1:] + "/… is no URL"
	}
	return "this is no URL; one such as https://config.example/flags.json is wanted"
}

func get(ctx context.Context, from string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, application/yaml;q=0.9, */*;q=0.1")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // only read from
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", res.Status)
	}
	return readLimited(res.Body, maxFetched)
}

// innermost is the root of an error: the ones around it repeat the URL.
func innermost(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()
}
