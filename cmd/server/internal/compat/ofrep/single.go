package ofrep

import (
	"net/http"
	"strconv"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// single evaluates one flag.
func (h *Handler) single(w http.ResponseWriter, r *http.Request, key string, q *question) {
	if !h.evaluations.enter() {
		tooMany(w, "evaluations")
		return
	}
	status, err := h.evaluate(r, key, q)
	h.evaluations.leave() // what is left is waiting for the client
	if err != nil {
		refuse(w, key, err)
		return
	}
	head := w.Header()
	head["Content-Type"] = jsonHeader
	head["Content-Length"] = []string{strconv.Itoa(len(*q.out))}
	w.WriteHeader(status)
	_, _ = w.Write(*q.out) // a client that is gone does not miss it
}

// evaluate appends the answer of one flag.
func (h *Handler) evaluate(r *http.Request, key string, q *question) (status int, err error) {
	shown, err := h.face(r)
	if err != nil {
		return 0, err
	}
	result := shown.Flags.Raw(key, h.sets.Context().Merge(q.context, r.Header))
	if isLimited(r.Header) {
		result.Reason = listedReason(result.Reason)
	}
	metadata := ""
	if len(result.Metadata) > 0 {
		metadata = string(appendMetadata(nil, result.Metadata))
	}
	b := appendString(append((*q.out)[:0], `{"key":`...), key)
	*q.out = appendAnswer(b, &result, metadata)
	return statusOf(result.ErrorCode), nil
}

// jsonHeader is shared by all answers and never changed.
var jsonHeader = []string{contentJSON}

func statusOf(code flag.ErrorCode) int {
	switch code {
	case "":
		return http.StatusOK
	case flag.FlagNotFound:
		return http.StatusNotFound
	default:
		return http.StatusBadRequest
	}
}
