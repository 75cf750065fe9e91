package ui

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

const (
	// policy lets a page load what this server serves, and nothing else: text
	// that got past escaping would still run nothing and send nothing.
	policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

	cookieSession = "plimsoll-session"
	cookieName    = "plimsoll-name"
	cookieTheme   = "plimsoll-theme"
	cookieLife    = 180 * 24 * time.Hour

	// maxForm bounds a form: a definition of 64 KiB, escaped, twice.
	maxForm = 512 << 10
	// formLife is how long a form may lie open before it is sent.
	formLife = 12 * time.Hour
	// clockError is how far the clocks of two servers may be apart.
	clockError = 10 * time.Second
	// maxUsed bounds how many sent forms are remembered.
	maxUsed = 20_000
)

// secured puts the headers that every answer has, refuses what no page of this
// server sends, and keeps a panic from ending more than its request.
func (c *Console) secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		defer func() {
			cause := recover()
			if cause == nil || cause == http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
				return
			}
			c.Log.Error("a page of the console panicked", "path", r.URL.Path, "panic", cause, "stack", string(debug.Stack()))
			http.Error(w, "The console has a fault; the server's log says more.", http.StatusInternalServerError)
		}()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			if err := fromOwnPage(r); err != nil {
				http.Error(w, err.Error(), http.StatusForbidden)
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		}
		next.ServeHTTP(w, r)
	})
}

// fromOwnPage refuses a form that a page of another site has sent. Every browser
// that is in use says where a form comes from.
func fromOwnPage(r *http.Request) error {
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "same-origin":
		return nil
	case "":
	default:
		return errors.New("this form was sent by a page of another site; open the console and repeat it there")
	}
	origin := r.Header.Get("Origin")
	if u, err := url.Parse(origin); origin == "" || err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
		return errors.New("this form does not say that it comes from a page of this console; scripts use the API or flagctl instead")
	}
	return nil
}

// session is what forms for one browser are bound to. A browser without one
// gets it with the page.
func session(w http.ResponseWriter, r *http.Request) string {
	if id := sessionOf(r); id != "" {
		return id
	}
	id := rand.Text()
	http.SetCookie(w, cookie(r, cookieSession, id))
	return id
}

func sessionOf(r *http.Request) string {
	ck, err := r.Cookie(cookieSession)
	if err != nil || len(ck.Value) < 26 || len(ck.Value) > 64 {
		return ""
	}
	return ck.Value
}

func cookie(r *http.Request, name, value string) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(cookieLife / time.Second),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil,
	}
}

// A pass lets one form be sent once, from the browser that it was made for.
type pass struct {
	// Change is the id of the change that the form will make.
	Change string
	// Token proves that this server made the form; it covers the session, the
	// change and the time.
	Token string
}

var (
	errForged   = errors.New("this form was not made for this browser by this console, or its cookie is gone: open the page anew and repeat what you did")
	errExpired  = errors.New("this form has been open for over 12 hours: open the page anew and repeat what you did")
	errTooLarge = errors.New("the form could not be read, or has over 512 KiB")
	errUsed     = errors.New("this form has been sent already; nothing was done a second time")
)

// newPass makes the pass of a form.
func (c *Console) newPass(ctx context.Context, session string) (pass, error) {
	key, err := c.Key(ctx)
	if err != nil {
		return pass{}, err
	}
	p := pass{Change: rand.Text()}
	p.Token = sign(key, session, p.Change, c.Now())
	return p, nil
}

// seal signs what a page of this browser is to say.
func (c *Console) seal(ctx context.Context, session string, texts ...string) (string, error) {
	key, err := c.Key(ctx)
	if err != nil {
		return "", err
	}
	return sign(key, session, "seal\x00"+strings.Join(texts, "\x00"), c.Now()), nil
}

// sealed tells whether this store's servers have sealed it for the browser.
func (c *Console) sealed(ctx context.Context, session, seal string, texts ...string) bool {
	key, err := c.Key(ctx)
	raw, bad := base64.RawURLEncoding.DecodeString(seal)
	if err != nil || bad != nil || len(raw) != 8+sha256.Size {
		return false
	}
	at := time.Unix(int64(binary.BigEndian.Uint64(raw)), 0)
	return hmac.Equal([]byte(sign(key, session, "seal\x00"+strings.Join(texts, "\x00"), at)), []byte(seal))
}

// sign is eight bytes of time and a MAC, as text.
func sign(key []byte, session, change string, at time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(at.Unix()))
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	mac.Write([]byte(session + "\x00" + change))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(b))
}

// admit checks the pass of a form that was sent. With once, it can be used this
// one time.
func (c *Console) admit(r *http.Request, once bool) (pass, error) {
	p := pass{Change: r.PostFormValue("change"), Token: r.PostFormValue("csrf")}
	id := sessionOf(r)
	raw, err := base64.RawURLEncoding.DecodeString(p.Token)
	if id == "" || err != nil || len(raw) != 8+sha256.Size || p.Change == "" {
		return pass{}, errForged
	}
	key, err := c.Key(r.Context())
	if err != nil {
		return pass{}, err
	}
	at := time.Unix(int64(binary.BigEndian.Uint64(raw)), 0)
	if subtle.ConstantTimeCompare([]byte(sign(key, id, p.Change, at)), []byte(p.Token)) != 1 {
		return pass{}, errForged
	}
	if age := c.Now().Sub(at); age > formLife || age < -clockError {
		return pass{}, errExpired
	}
	if once && !c.used.add(p.Change) {
		return pass{}, errUsed
	}
	return p, nil
}

// usedForms remembers the changes that forms were sent for, the newest maxUsed.
// The audit log knows older ones, and those sent to other servers.
type usedForms struct {
	mu    sync.Mutex
	known map[string]bool
	order []string
}

func newUsedForms() *usedForms { return &usedForms{known: make(map[string]bool)} }

// add tells whether a change is new.
func (u *usedForms) add(change string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known[change] {
		return false
	}
	if len(u.order) == maxUsed {
		delete(u.known, u.order[0])
		u.order = u.order[1:]
	}
	u.known[change] = true
	u.order = append(u.order, change)
	return true
}

// forget lets a form be sent again that came to nothing.
func (u *usedForms) forget(change string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.known, change)
}
