package ui

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/a-h/templ"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	// headerPartial says that the script asks: it wants the content without the
	// frame, or a dialog, or a toast.
	headerPartial = "Plimsoll-Partial"
	// headerToast tells the script that the answer is a toast: what was asked for
	// is done.
	headerToast = "Plimsoll-Toast"
	// compressFrom is from how many bytes on pages are compressed.
	compressFrom = 1024
	// maxNameLength bounds the name that somebody gives herself, in bytes.
	maxNameLength = 64
)

// request is one request for a page of a namespace.
type request struct {
	c  *Console
	w  http.ResponseWriter
	r  *http.Request
	ns string
	// view is what the page shows.
	view *View
	room *room
	// session is what forms are bound to, name what the visitor calls herself.
	session, name string
	// partial: the script asks.
	partial bool
}

// page serves a function as a page of a namespace.
func (c *Console) page(serve func(context.Context, *request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := &request{c: c, w: w, r: r, ns: r.PathValue("ns"), name: nameOf(r), partial: r.Header.Get(headerPartial) != ""}
		ctx := c.As(r.Context(), q.name)
		q.session = session(w, r)
		// Whether the caller may see it is for the API to say.
		if _, err := call(ctx, c, c.Degradation.GetDegradation, &plimsollv1.GetDegradationRequest{Namespace: q.ns}); err != nil {
			q.fail(err)
			return
		}
		var err error
		if q.view, q.room, err = c.current(ctx, q.ns); err != nil {
			q.fail(err)
			return
		}
		serve(ctx, q)
	}
}

// frame is what is around the content of a page.
type frame struct {
	// Title is the page's name.
	Title string
	// Nav is the entry of the navigation that the page belongs to.
	Nav string
	// Topic is what the page shows live; "": nothing but the frame.
	Topic string

	ns, name, theme string
	view            *View
	version         string
	assets          *assets
	namespaces      []*plimsollv1.Namespace
	path            string
}

// expect takes the newest view, of which the fragments of a topic can then
// follow. A page with a topic calls it before it reads the view.
func (q *request) expect(topic string) {
	name, arg := splitTopic(topic)
	q.view = q.room.expect(name, arg)
}

// render answers with a page, or with its content alone if the script asks.
func (q *request) render(ctx context.Context, code int, f frame, content templ.Component) {
	f.ns, f.name, f.theme, f.view, f.assets = q.ns, q.name, themeOf(q.r), q.view, q.c.assets
	f.path = q.r.URL.RequestURI()
	if f.Topic == "" {
		f.Topic = frameTopic
	}
	if q.room != nil {
		f.version = fmt.Sprintf("%s.%d", q.room.boot, q.view.Version)
	}
	whole := content
	if !q.partial {
		if list, err := call(ctx, q.c, q.c.Admin.ListNamespaces, &plimsollv1.ListNamespacesRequest{}); err == nil {
			f.namespaces = list.GetNamespaces()
		}
		whole = layout(f, content)
	}
	q.write(ctx, code, whole)
}

// write answers with HTML, which is written only once it is whole.
func (q *request) write(ctx context.Context, code int, content templ.Component) {
	var b bytes.Buffer
	if err := content.Render(ctx, &b); err != nil {
		q.c.Log.Error("a page of the console could not be rendered", "path", q.r.URL.Path, "error", err)
		http.Error(q.w, "The console has a fault; the server's log says more.", http.StatusInternalServerError)
		return
	}
	h := q.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Encoding, "+headerPartial)
	if b.Len() < compressFrom || !acceptsGzip(q.r) {
		q.w.WriteHeader(code)
		_, _ = q.w.Write(b.Bytes()) // the browser has gone
		return
	}
	h.Set("Content-Encoding", "gzip")
	q.w.WriteHeader(code)
	z := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(z)
	z.Reset(q.w)
	_, _ = z.Write(b.Bytes())
	_ = z.Close()
}

// fail answers with an error of the API.
func (q *request) fail(err error) {
	t, code := explain(err), status(err)
	title := "This did not work"
	if code == http.StatusNotFound {
		title = "Not found"
	}
	ctx := q.r.Context()
	if q.partial {
		q.write(ctx, code, troubleDialog(title, t))
		return
	}
	if q.view == nil {
		q.write(ctx, code, barePage(q.c.assets, themeOf(q.r), title, t))
		return
	}
	q.render(ctx, code, frame{Title: title}, troublePage(title, t))
}

func (c *Console) notFound(w http.ResponseWriter, r *http.Request) {
	q := &request{c: c, w: w, r: r}
	q.write(r.Context(), http.StatusNotFound, barePage(c.assets, themeOf(r), "Not found",
		trouble{Message: "The console has no page at this address."}))
}

// nsURL is the address of a page of a namespace. The query is given in pairs;
// what is empty is left out.
func nsURL(ns, page string, query ...string) string {
	u := "/ns/" + url.PathEscape(ns) + "/" + page
	q := make(url.Values)
	for i := 0; i+1 < len(query); i += 2 {
		if query[i+1] != "" {
			q.Add(query[i], query[i+1])
		}
	}
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	return u
}

// nameOf is what the visitor calls herself. It is not verified.
func nameOf(r *http.Request) string {
	ck, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	name, err := url.QueryUnescape(ck.Value)
	if err != nil {
		return ""
	}
	return clip(name, maxNameLength)
}

// clip cuts a text after at most n bytes, between two characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "�")
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.ToValidUTF8(s[:n], "�") + "…"
}

func (c *Console) nameYourself(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSpace(r.PostFormValue("name"))
	if len(name) > maxNameLength {
		http.Error(w, fmt.Sprintf("A name has at most %d bytes.", maxNameLength), http.StatusUnprocessableEntity)
		return
	}
	http.SetCookie(w, cookie(r, cookieName, url.QueryEscape(name)))
	c.back(w, r)
}

func themeOf(r *http.Request) string {
	if ck, err := r.Cookie(cookieTheme); err == nil && (ck.Value == "dark" || ck.Value == "light") {
		return ck.Value
	}
	return "auto"
}

func (c *Console) chooseTheme(w http.ResponseWriter, r *http.Request) {
	theme := r.PostFormValue("theme")
	if theme != "dark" && theme != "light" {
		theme = "auto"
	}
	http.SetCookie(w, cookie(r, cookieTheme, theme))
	c.back(w, r)
}

// back goes to the page that a form stood on.
func (c *Console) back(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, ownPath(r.PostFormValue("back")), http.StatusSeeOther)
}

// ownPath is a path of this console; what leads elsewhere becomes its start.
func ownPath(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(s, "//") || strings.Contains(s, `\`) {
		return "/"
	}
	return u.RequestURI()
}
