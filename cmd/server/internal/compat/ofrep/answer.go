package ofrep

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// The bodies are appended by hand: what encoding/json would do to a map for each
// flag costs more than evaluating it.

// appendAnswer appends what follows its key in the answer of one flag, given its
// metadata as a JSON object, "" without any.
func appendAnswer(b []byte, r *flag.Result[string], metadata string) []byte {
	if r.ErrorCode != "" {
		b = append(append(b, `,"errorCode":"`...), r.ErrorCode...)
		b = appendString(append(b, `","errorDetails":`...), r.Message)
		return append(b, '}')
	}
	if r.HasValue {
		b = append(append(b, `,"value":`...), r.Value...)
	}
	b = append(append(b, `,"reason":"`...), r.Reason...)
	b = append(b, '"')
	if r.HasValue {
		b = appendString(append(b, `,"variant":`...), r.Variant)
	}
	if metadata != "" {
		b = append(append(b, `,"metadata":`...), metadata...)
	}
	return append(b, '}')
}

// limited are the clients, by how their User-Agent begins, that refuse an answer
// whose reason OpenFeature does not list: Python's provider looks it up in an
// enumeration, and its app would get the default where the flag is degraded.
var limited = []string{"python-requests/"}

// isLimited tells whether a request is from such a client. The answer needs no
// Vary header for it: caches do not keep answers to POST.
func isLimited(header http.Header) bool {
	agents := header["User-Agent"]
	return len(agents) > 0 && slices.ContainsFunc(limited, func(begin string) bool { return strings.HasPrefix(agents[0], begin) })
}

// listedReason is the reason among those that OpenFeature lists that comes
// nearest: a shed or an override picks a variant, as a rule does.
func listedReason(reason flag.Reason) flag.Reason {
	switch reason {
	case flag.ReasonDegraded, flag.ReasonOverride:
		return flag.ReasonTargetingMatch
	default:
		return reason
	}
}

// appendMetadata appends metadata as a JSON object, its members by name, so that
// equal metadata is equal text everywhere.
func appendMetadata(b []byte, m map[string]any) []byte {
	b = append(b, '{')
	var room [16]string
	names := slices.AppendSeq(room[:0], maps.Keys(m))
	slices.Sort(names)
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		switch v := m[name].(type) {
		case string:
			b = appendString(b, v)
		case bool:
			b = strconv.AppendBool(b, v)
		case int64:
			b = strconv.AppendInt(b, v, 10)
		default:
			text, err := json.Marshal(v)
			if err != nil { // metadata is text, numbers and bools
				text = []byte("null")
			}
			b = append(b, text...)
		}
	}
	return append(b, '}')
}

// appendString appends text as a JSON string.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	plain := 0 // s[plain:i] goes as it is
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[plain:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			plain = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(append(b, s[plain:i]...), "\ufffd"...)
			plain = i + 1
		}
		i += size
	}
	return append(append(b, s[plain:]...), '"')
}
