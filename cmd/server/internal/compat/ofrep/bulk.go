package ofrep

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

const (
	// flushFrom is how much of an answer is gathered before it leaves.
	flushFrom = 32 << 10
	// catchUpWait is how long a server that is behind a client waits for what it
	// lacks.
	catchUpWait = time.Second
	// clockError is how far the clocks of two servers may be apart.
	clockError = 2 * time.Second
	// inactivity is after how long in the background a page should close its
	// stream, in seconds.
	inactivity = 120
)

// Parameters of a request that an event led to.
const (
	queryEtag     = "flagConfigEtag"
	queryModified = "flagConfigLastModified"
)

// bulk evaluates all flags.
func (h *Handler) bulk(w http.ResponseWriter, r *http.Request, s *scratch) {
	ctx, body, wrong := readContext(r, s.body)
	s.body = body
	if wrong != nil {
		fail(w, http.StatusBadRequest, *wrong)
		return
	}
	shown, err := h.face(r)
	if err == nil && r.URL.RawQuery != "" {
		shown, err = h.catchUp(r, shown)
	}
	if err != nil {
		refuse(w, "", err)
		return
	}
	if shown == nil {
		unavailable(w, "this server does not have the state yet that the event told of; try again in a second")
		return
	}
	a := answering{list: shown.listed(), set: shown.Flags, ns: shown.Namespace, ctx: h.sets.Context().Merge(ctx, r.Header), limited: isLimited(r.Header)}
	var tag string
	if a.list.timed {
		now := h.sets.Now()
		a.set = a.set.WithClock(func() time.Time { return now })
		tag = a.bodyTag(s)
	} else {
		tag = shown.entityTag(s.body, a.ctx, a.limited)
	}
	head := w.Header()
	head["Etag"] = []string{tag}
	if tags := r.Header["If-None-Match"]; len(tags) > 0 && noneMatch(tags, tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	head["Content-Type"] = jsonHeader
	s.out = a.write(w, s.out[:0])
}

// answering is one bulk answer.
type answering struct {
	list *listing
	set  *flag.Set
	ns   string
	ctx  map[string]any
	// limited is set for a client that takes listed reasons only.
	limited bool
}

// bodyTag is the tag of the body itself, for which the flags are evaluated once
// more than to write it.
func (a *answering) bodyTag(s *scratch) string {
	sum := sha256.New()
	_, _ = sum.Write([]byte{tagFormat})
	unseen := *a
	unseen.set = a.set.Counted(nil)
	s.out = unseen.write(sum, s.out[:0])
	var digest [sha256.Size]byte
	sum.Sum(digest[:0])
	return tagOf(digest)
}

// write evaluates and appends flag by flag, and lets the body leave in pieces. An
// answer that fits into one is sent with its length. The buffer is returned as it
// has grown.
func (a *answering) write(w io.Writer, b []byte) []byte {
	b = append(b, `{"flags":[`...)
	sent := false
	for i := range a.list.entries {
		e := &a.list.entries[i]
		if i > 0 {
			b = append(b, ',')
		}
		result := a.set.Raw(e.key, a.ctx)
		if a.limited {
			result.Reason = listedReason(result.Reason)
		}
		b = e.append(b, &result)
		if len(b) >= flushFrom {
			if _, err := w.Write(b); err != nil {
				return b // the client is gone
			}
			b, sent = b[:0], true
		}
	}
	b = append(b, ']')
	if own := a.set.Metadata(); len(own) > 0 {
		b = appendMetadata(append(b, `,"metadata":`...), own)
	}
	b = appendStreams(b, a.ns)
	b = append(b, '}')
	if head, ok := w.(http.ResponseWriter); ok && !sent {
		head.Header()["Content-Length"] = []string{strconv.Itoa(len(b))}
	}
	_, _ = w.Write(b) // a client that is gone does not miss it
	return b
}

// appendStreams tells where changes are told of.
func appendStreams(b []byte, ns string) []byte {
	b = append(b, `,"eventStreams":[{"type":"sse","endpoint":{"requestUri":`...)
	b = appendString(b, routeEvents+"?"+queryNamespace+"="+url.QueryEscape(ns))
	b = append(b, `},"inactivityDelaySec":`...)
	b = strconv.AppendInt(b, inactivity, 10)
	return append(b, "}]"...)
}

// catchUp waits until there is a state that is as new as what the event had that
// led to this request. It is shown though it may be an automatic move that others
// have to wait for: this client knows of it. Nil: there is none yet.
func (h *Handler) catchUp(r *http.Request, shown *face) (*face, error) {
	reached, err := reaching(r.URL.Query())
	if err != nil || reached(shown) {
		return shown, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), catchUpWait)
	defer cancel()
	for {
		state, over, err := h.sets.FollowNewest(shown.Namespace)
		if err != nil {
			return nil, err
		}
		if newest := h.faces.of(state); reached(newest) {
			return newest, nil
		}
		select {
		case <-over:
		case <-ctx.Done():
			return nil, nil
		case <-h.sets.Draining():
			return nil, nil
		}
	}
}

// reaching tells when a state is as new as a refetch wants it. The version says it
// exactly; a time alone, only as far as clocks agree.
func reaching(query url.Values) (func(*face) bool, error) {
	if wanted, ok := parseVersion(query.Get(queryEtag)); ok {
		return func(f *face) bool { return f.version.reaches(wanted) }, nil
	}
	text := query.Get(queryModified)
	if text == "" || query.Get(queryEtag) != "" {
		return func(*face) bool { return true }, nil
	}
	at, err := parseTime(text)
	if err != nil {
		return nil, err
	}
	return func(f *face) bool { return !f.Since.Add(clockError).Before(at) }, nil
}

// parseTime reads a time in seconds since 1970, or as ISO 8601 or HTTP has it.
func parseTime(text string) (time.Time, error) {
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil && seconds >= 0 {
		return time.Unix(seconds, 0), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		at, err = http.ParseTime(text)
	}
	if err != nil {
		return time.Time{}, badRequest(fmt.Sprintf("%s %q is neither seconds since 1970 nor a time such as 2026-02-20T21:28:18Z", queryModified, text))
	}
	return at, nil
}
