// Package manifest tells the OpenFeature command line which flags there are, of
// which type and with which default, so that `openfeature pull` and `openfeature
// generate` make typed accessors from them.
//
// There are two forms. Path is the manifest API of the command line's version 0,
// which `openfeature pull` asks when it is given the server's address. FilePath is
// the file that `openfeature pull` writes and `openfeature generate` reads, as
// its schema flag-manifest.json, version 0, has it.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"connectrpc.com/connect"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// The routes.
const (
	Path     = "/openfeature/v0/manifest"
	FilePath = Path + ".json"
)

// Schema is where editors find the schema of the file.
const Schema = "https://raw.githubusercontent.com/open-feature/cli/refs/heads/main/schema/v0/flag-manifest.json"

// entry is what a manifest says of a flag.
type entry struct {
	key, kind, description string
	fallback               json.RawMessage // what callers serve when evaluation fails
}

// Handler serves both forms, for the namespace that the request names.
func Handler(sets *effective.Sets) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var write func([]entry) any
		switch r.URL.Path {
		case Path:
			write = envelope
		case FilePath:
			write = file
		default:
			refuse(w, http.StatusNotFound, fmt.Sprintf("there is nothing at %s; the manifest is at %s and %s", r.URL.Path, Path, FilePath))
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			refuse(w, http.StatusMethodNotAllowed, "the manifest can only be read here: flags are changed with flagctl")
			return
		}
		set, err := open(sets, r)
		if err != nil {
			refuseError(w, err)
			return
		}
		w.Header().Set("X-Manifest-Capabilities", "read")
		answer(w, http.StatusOK, write(entries(set)))
	})
}

func open(sets *effective.Sets, r *http.Request) (*flag.Set, error) {
	ns, err := sets.Namespace(r.Context(), r.URL.Query().Get("namespace"))
	if err != nil {
		return nil, err
	}
	state, err := sets.Newest(ns)
	if err != nil {
		return nil, err
	}
	return state.Flags, nil
}

// entries are the flags that compile, sorted by key. Overrides and the level
// change nothing about them.
func entries(set *flag.Set) []entry {
	var out []entry
	for _, key := range set.AllKeys() {
		def, ok := set.Lookup(key)
		if !ok {
			continue
		}
		e := entry{key: key, description: def.Info().Description}
		e.kind, e.fallback = kindOf(def)
		if name, ok := def.DefaultVariant(); ok {
			text, _ := def.Variant(name)
			e.fallback = json.RawMessage(text)
		}
		out = append(out, e)
	}
	return out
}

// kindOf is the flag's type as the command line calls it, with the value that
// stands for nothing: accessors have no other default for a flag that leaves it
// to its callers.
func kindOf(def *flag.Definition) (kind string, nothing json.RawMessage) {
	switch def.Type() {
	case flag.Bool:
		return "boolean", json.RawMessage("false")
	case flag.String:
		return "string", json.RawMessage(`""`)
	case flag.Number:
		for _, name := range def.Variants() {
			text, _ := def.Variant(name)
			if f, err := strconv.ParseFloat(text, 64); err != nil || f != math.Trunc(f) {
				return "float", json.RawMessage("0")
			}
		}
		return "integer", json.RawMessage("0")
	default:
		return "object", json.RawMessage("{}")
	}
}

// envelope is the form of the API: a list.
func envelope(list []entry) any {
	type one struct {
		Key          string          `json:"key"`
		Type         string          `json:"type"`
		Description  string          `json:"description,omitempty"`
		DefaultValue json.RawMessage `json:"defaultValue"`
	}
	flags := make([]one, 0, len(list))
	for _, e := range list {
		flags = append(flags, one{e.key, e.kind, e.description, e.fallback})
	}
	return struct {
		Flags []one `json:"flags"`
	}{flags}
}

// file is the form of the file: an object by key.
func file(list []entry) any {
	type one struct {
		FlagType     string          `json:"flagType"`
		DefaultValue json.RawMessage `json:"defaultValue"`
		Description  string          `json:"description"`
	}
	flags := make(map[string]one, len(list))
	for _, e := range list {
		flags[e.key] = one{e.kind, e.fallback, e.description}
	}
	return struct {
		Schema string         `json:"$schema"`
		Flags  map[string]one `json:"flags"`
	}{Schema, flags}
}

func answer(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		http.Error(w, "encode the manifest: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that is gone does not miss it
}

// refuseError answers with an error of the store, or of the namespace.
func refuseError(w http.ResponseWriter, err error) {
	var rpc *connect.Error
	if !errors.As(api.Error(err), &rpc) {
		rpc = connect.NewError(connect.CodeInternal, err)
	}
	status := http.StatusInternalServerError
	switch rpc.Code() {
	case connect.CodeInvalidArgument:
		status = http.StatusBadRequest
	case connect.CodeNotFound:
		status = http.StatusNotFound
	case connect.CodeUnauthenticated:
		status = http.StatusUnauthorized
	case connect.CodePermissionDenied:
		status = http.StatusForbidden
	case connect.CodeUnavailable:
		status = http.StatusServiceUnavailable
	}
	refuse(w, status, rpc.Message())
}

// refuse answers with an error as the manifest API has it.
func refuse(w http.ResponseWriter, status int, message string) {
	type cause struct {
		Message string `json:"message"`
		Status  int    `json:"status"`
	}
	answer(w, status, struct {
		Error cause `json:"error"`
	}{cause{message, status}})
}
