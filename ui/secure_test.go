package ui

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestAPassIsForOneBrowserOneUseAndTwelveHours(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := newWorld().console(t)
	defer c.Close()
	c.Now = func() time.Time { return at }
	const mine = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	send := func(p pass, session string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(url.Values{"csrf": {p.Token}, "change": {p.Change}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if session != "" {
			r.AddCookie(&http.Cookie{Name: cookieSession, Value: session})
		}
		return r
	}
	p, err := c.newPass(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		name    string
		session string
		after   time.Duration
		want    error
	}{
		{"no session", "", 0, errForged},
		{"another session", strings.ToLower(mine), 0, errForged},
		{"the future", mine, -time.Minute, errExpired},
		{"too late", mine, formLife + time.Second, errExpired},
		{"in time", mine, formLife, nil},
		{"once more", mine, time.Hour, errUsed},
	} {
		at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(one.after)
		if _, err := c.admit(send(p, one.session), true); err != one.want { //nolint:errorlint // they are never wrapped
			t.Errorf("%s: %v, want %v", one.name, err, one.want)
		}
	}
	c.used.forget(p.Change)
	if _, err := c.admit(send(p, mine), true); err != nil {
		t.Errorf("a form that came to nothing cannot be sent again: %v", err)
	}
}

func TestUsedFormsAreBounded(t *testing.T) {
	u := newUsedForms()
	for i := range maxUsed + 100 {
		if !u.add(fmt.Sprint(i)) {
			t.Fatalf("%d was not new", i)
		}
	}
	if len(u.known) != maxUsed || len(u.order) != maxUsed {
		t.Errorf("%d and %d are remembered", len(u.known), len(u.order))
	}
}

func TestBackLeadsNowhereElse(t *testing.T) {
	for in, want := range map[string]string{
		"/ns/a/flags?q=x": "/ns/a/flags?q=x", "": "/", "//evil.example": "/", "https://evil.example/": "/", `/\evil.example`: "/",
		"javascript:alert(1)": "/", "flags": "/", "/ns/%2e%2e/": "/ns/%2e%2e/",
	} {
		if got := ownPath(in); got != want {
			t.Errorf("ownPath(%q) = %q, want %q", in, got, want)
		}
	}
}
