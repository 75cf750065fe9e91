package ofrep

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"strings"
)

// maxBody bounds a request, which is little more than one context, in bytes.
const maxBody = 1 << 20

// maxDrained is how much of a larger request is taken in before it is refused.
const maxDrained = 16 << 20

// The error codes of the protocol that requests can earn; those of evaluations
// come from the evaluator.
const (
	codeParse          = "PARSE_ERROR"
	codeInvalidContext = "INVALID_CONTEXT"
	codeGeneral        = "GENERAL"
)

// problem is why a request is not answered. Without a code it is one of the
// answers that carry only details: 401, 403, 429 and 500.
type problem struct {
	code, details string
	// status is that of the answer; 0 is 400.
	status int
}

func (p *problem) statusCode() int {
	if p.status == 0 {
		return http.StatusBadRequest
	}
	return p.status
}

// fail answers with a problem in general; key is only named where it is known.
func fail(w http.ResponseWriter, status int, p problem) { failKey(w, status, "", p) }

// failKey answers with a problem of one flag's evaluation.
func failKey(w http.ResponseWriter, status int, key string, p problem) {
	b := []byte{'{'}
	if key != "" {
		b = append(appendString(append(b, `"key":`...), key), ',')
	}
	if p.code != "" {
		b = append(appendString(append(b, `"errorCode":`...), p.code), ',')
	}
	b = append(appendString(append(b, `"errorDetails":`...), p.details), '}')
	w.Header().Set("Content-Type", contentJSON)
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that is gone does not miss it
}

const contentJSON = "application/json"

// readContext reads the context of a request. The buffer is used for the body,
// and returned as it has grown. An absent body or context is an empty one.
func readContext(r *http.Request, buf []byte) (map[string]any, []byte, *problem) {
	if p := checkContentType(r.Header.Get("Content-Type")); p != nil {
		return nil, buf, p
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, buf, &problem{codeParse, fmt.Sprintf("the body is encoded as %q; it is wanted as it is", encoding), http.StatusUnsupportedMediaType}
	}
	buf, err := readAll(r.Body, buf[:0])
	switch {
	case len(buf) > maxBody:
		// A client that is still writing would not see the answer.
		_, _ = io.CopyN(io.Discard, r.Body, maxDrained)
		return nil, buf, &problem{codeGeneral, fmt.Sprintf("the request is larger than %d bytes", maxBody), http.StatusRequestEntityTooLarge}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, buf, &problem{codeGeneral, "the request did not arrive in time", http.StatusRequestTimeout}
	case err != nil:
		return nil, buf, &problem{code: codeGeneral, details: "the request could not be read: " + err.Error()}
	case len(buf) == 0:
		return map[string]any{}, buf, nil
	}
	ctx, ok := quickContext(buf)
	if !ok {
		var wrong *problem
		if ctx, wrong = slowContext(buf); wrong != nil {
			return nil, buf, wrong
		}
	}
	if key, ok := ctx[targetingKey]; ok && key != nil {
		if _, text := key.(string); !text {
			return nil, buf, &problem{code: codeInvalidContext, details: "context.targetingKey must be a string"}
		}
	}
	return ctx, buf, nil
}

// slowContext reads the context of any body. Of two members of a name the last
// counts, in the body as in the context; names are told apart by case.
func slowContext(body []byte) (map[string]any, *problem) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, explain("the body", err)
	}
	ctx := map[string]any{}
	if text, ok := members["context"]; ok {
		if err := json.Unmarshal(text, &ctx); err != nil {
			return nil, explain("context", err)
		}
		if ctx == nil { // null
			ctx = map[string]any{}
		}
	}
	return ctx, nil
}

const targetingKey = "targetingKey"

// checkContentType refuses what is declared to be something else than JSON. A
// page of another site can send text without asking first.
func checkContentType(declared string) *problem {
	if declared == "" || declared == contentJSON {
		return nil
	}
	kind, _, err := mime.ParseMediaType(declared)
	if err == nil && (kind == contentJSON || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")) {
		return nil
	}
	return &problem{code: codeParse, details: fmt.Sprintf("the body is %q; %s is wanted", declared, contentJSON)}
}

// explain tells a body that is no JSON from one that means nothing.
func explain(what string, err error) *problem {
	var wrong *json.UnmarshalTypeError
	switch {
	case !errors.As(err, &wrong):
		return &problem{code: codeParse, details: "the body is no JSON: " + err.Error()}
	case strings.HasPrefix(wrong.Value, "number ") && wrong.Type.Kind() == reflect.Float64:
		return &problem{code: codeInvalidContext, details: fmt.Sprintf("%s has the %s, which no double holds", what, wrong.Value)}
	default:
		return &problem{code: codeInvalidContext, details: fmt.Sprintf("%s must be an object, not %s", what, wrong.Value)}
	}
}

// readAll is io.ReadAll into a buffer that is there already. It stops soon after
// maxBody.
func readAll(r io.Reader, b []byte) ([]byte, error) {
	for len(b) <= maxBody {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return b, err
		}
	}
	return b, nil
}
