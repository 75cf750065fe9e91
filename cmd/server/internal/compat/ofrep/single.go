package ofrep

import (
	"net/http"
	"strconv"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// single evaluates one flag.
func (h *Handler) single(w http.ResponseWriter, r *http.Request, key string, s *scratch) {
	ctx, body, wrong := readContext(r, s.body)
	s.body = body
	if wrong != nil {
		failKey(w, http.StatusBadRequest, key, *wrong)
		return
	}
	shown, err := h.face(r)
	if err != nil {
		refuse(w, key, err)
		return
	}
	result := shown.Flags.Raw(key, h.sets.Context().Merge(ctx, r.Header))
	if isLimited(r.Header) {
		result.Reason = listedReason(result.Reason)
	}
	metadata := ""
	if len(result.Metadata) > 0 {
		metadata = string(appendMetadata(nil, result.Metadata))
	}
	b := appendString(append(s.out[:0], `{"key":`...), key)
	b = appendAnswer(b, &result, metadata)
	s.out = b
	head := w.Header()
	head["Content-Type"] = jsonHeader
	head["Content-Length"] = []string{strconv.Itoa(len(b))}
	w.WriteHeader(statusOf(result.ErrorCode))
	_, _ = w.Write(b) // a client that is gone does not miss it
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
