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

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
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
	// surelyHere is after how long a state that another server told of is taken to
	// be here, where only its time is known.
	surelyHere = 5 * time.Second
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
func (h *Handler) bulk(w http.ResponseWriter, r *http.Request, q *question) {
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
	a := answering{list: shown.listed(), set: shown.Flags, ns: shown.Namespace, ctx: h.sets.Context().Merge(q.context, r.Header), limited: isLimited(r.Header)}
	if !a.list.timed && h.notModified(w, r, shown.entityTag(q.scratch, a.ctx, a.limited)) {
		return
	}
	a.turn = h.sets.Turn(r.Context())
	defer a.turn.End()
	if a.list.timed {
		now := h.sets.Now()
		a.set = a.set.WithClock(func() time.Time { return now })
		tag, err := a.bodyTag(q)
		if err != nil {
			giveUp(w, r, false, err)
			return
		}
		if h.notModified(w, r, tag) {
			return
		}
	}
	w.Header()["Content-Type"] = jsonHeader
	if sent, err := a.write(w, q); err != nil {
		giveUp(w, r, sent, err)
	}
}

// giveUp ends an answer that cannot be written to its end. Where its client is
// gone, or has got a part of it already, it must not look like a whole one.
func giveUp(w http.ResponseWriter, r *http.Request, sent bool, why error) {
	if sent || r.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Del("ETag")
	refuse(w, "", why)
}

// notModified answers a client whose tag still matches.
func (h *Handler) notModified(w http.ResponseWriter, r *http.Request, tag string) bool {
	w.Header()["Etag"] = []string{tag}
	if tags := r.Header["If-None-Match"]; len(tags) == 0 || !noneMatch(tags, tag) {
		return false
	}
	w.WriteHeader(http.StatusNotModified)
	return true
}

// answering is one bulk answer.
type answering struct {
	list *listing
	set  *flag.Set
	ns   string
	ctx  map[string]any
	turn *effective.Turn
	// limited is set for a client that takes listed reasons only.
	limited bool
}

// bodyTag is the tag of the body itself, for which the flags are evaluated once
// more than to write it.
func (a *answering) bodyTag(q *question) (string, error) {
	sum := sha256.New()
	_, _ = sum.Write([]byte{tagFormat})
	unseen := *a
	unseen.set = a.set.Counted(nil)
	if _, err := unseen.write(sum, q); err != nil {
		return "", err
	}
	var digest [sha256.Size]byte
	sum.Sum(digest[:0])
	return tagOf(digest), nil
}

// write evaluates and appends flag by flag, and lets the body leave in pieces,
// during which others have the turn. An answer that fits into one is sent with its
// length.
func (a *answering) write(w io.Writer, q *question) (sent bool, err error) {
	b := (*q.out)[:0]
	defer func() { *q.out = b }()
	b = append(b, `{"flags":[`...)
	client, toClient := w.(http.ResponseWriter)
	set := a.set.ForRequest()
	for i := range a.list.entries {
		if err := a.turn.Next(set.Taken()); err != nil {
			return sent, err
		}
		e := &a.list.entries[i]
		if i > 0 {
			b = append(b, ',')
		}
		result := set.Raw(e.key, a.ctx)
		if a.limited {
			result.Reason = listedReason(result.Reason)
		}
		b = e.append(b, &result)
		if len(b) < flushFrom {
			continue
		}
		if toClient {
			a.turn.Begun()
			sent = true
		}
		if _, err := w.Write(b); err != nil {
			return sent, err
		}
		b = b[:0]
	}
	b = append(b, ']')
	if own := a.set.Metadata(); len(own) > 0 {
		b = appendMetadata(append(b, `,"metadata":`...), own)
	}
	b = append(appendStreams(b, a.ns), '}')
	if toClient {
		a.turn.Begun()
		if !sent {
			client.Header()["Content-Length"] = []string{strconv.Itoa(len(b))}
		}
	}
	_, _ = w.Write(b) // a client that is gone does not miss it
	return true, nil
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
	wanted, err := h.wanted(r.URL.Query())
	if err != nil || wanted.by(shown) {
		return shown, err
	}
	if !h.waiting.enter() {
		return nil, api.TooMany("requests that wait for a newer state", time.Second)
	}
	defer h.waiting.leave()
	newest, reached, err := h.await(r.Context(), shown.Namespace, wanted.by)
	if err != nil || reached || wanted.vague {
		return newest, err
	}
	return nil, nil
}

// await waits a second for a state.
func (h *Handler) await(ctx context.Context, ns string, reached func(*face) bool) (newest *face, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, catchUpWait)
	defer cancel()
	for {
		state, over, err := h.sets.FollowNewest(ns)
		if err != nil {
			return nil, false, err
		}
		if newest = faceOf(state); reached(newest) {
			return newest, true, nil
		}
		select {
		case <-over:
		case <-ctx.Done():
			return newest, false, nil
		case <-h.sets.Draining():
			return newest, false, nil
		}
	}
}

// wanted is how new a state a refetch wants.
type wanted struct {
	by func(*face) bool
	// vague is true of a time that has come, of which nothing can be said for
	// certain: each server has its own for a state.
	vague bool
}

// wanted is what a refetch says. The version says it exactly; a time without one
// that we know, only as far as clocks agree.
func (h *Handler) wanted(query url.Values) (wanted, error) {
	if v, ok := parseVersion(query.Get(queryEtag)); ok {
		return wanted{by: func(f *face) bool { return f.version.reaches(v) }}, nil
	}
	text := query.Get(queryModified)
	if text == "" {
		return wanted{by: func(*face) bool { return true }}, nil
	}
	at, err := parseTime(text)
	if err != nil {
		return wanted{}, err
	}
	now := h.sets.Now()
	long := at.Before(now.Add(-surelyHere))
	return wanted{
		by:    func(f *face) bool { return long || !f.Since.Add(clockError).Before(at) },
		vague: !at.After(now.Add(clockError)),
	}, nil
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
