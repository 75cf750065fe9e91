package manifest_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/authz"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/manifest"
	"github.com/plimsoll-dev/plimsoll/store"
)

// serve serves the manifests of a store with flags.
func serve(t *testing.T, flags map[string]string) (url string, s *store.Store) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	member, err := store.StartEmbedded(t.Context(), store.EmbeddedOptions{Dir: t.TempDir(), Logger: quiet, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = member.Close() })
	s, err = store.Open(store.Options{
		Connect: func() (*clientv3.Client, error) { return member.Client(), nil }, KeepClient: true, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	select {
	case <-s.Ready():
	case <-time.After(time.Minute):
		t.Fatal("the store was not ready in time")
	}
	for key, definition := range flags {
		if _, _, err := s.CreateFlag(t.Context(), store.DefaultNamespace, key, definition, store.Change{}); err != nil {
			t.Fatal(err)
		}
	}
	sets := effective.New(s, effective.Options{})
	t.Cleanup(sets.Close)
	server := httptest.NewServer(authz.Identify(manifest.Handler(sets)))
	t.Cleanup(server.Close)
	return server.URL, s
}

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	body   string
}

func ask(t *testing.T, method, url string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(text)}
}

var flags = map[string]string{
	"switch":  `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","plimsoll":{"description":"A <switch>."}}`,
	"text":    `{"state":"ENABLED","variants":{"a":"x"}}`,
	"whole":   `{"state":"ENABLED","variants":{"a":1,"b":2.0},"defaultVariant":"b"}`,
	"ratio":   `{"state":"DISABLED","variants":{"a":1,"b":0.5},"defaultVariant":"a"}`,
	"palette": `{"state":"ENABLED","variants":{"a":{"x":[1]}},"defaultVariant":"a"}`,
}

// The API's form: what ` + "`openfeature pull`" + ` asks for.
func TestEnvelope(t *testing.T) {
	url, s := serve(t, flags)
	got := ask(t, http.MethodGet, url+manifest.Path)
	const want = `{
  "flags": [
    {
      "key": "palette",
      "type": "object",
      "defaultValue": {
        "x": [
          1
        ]
      }
    },
    {
      "key": "ratio",
      "type": "float",
      "defaultValue": 1
    },
    {
      "key": "switch",
      "type": "boolean",
      "description": "A <switch>.",
      "defaultValue": true
    },
    {
      "key": "text",
      "type": "string",
      "defaultValue": ""
    },
    {
      "key": "whole",
      "type": "integer",
      "defaultValue": 2.0
    }
  ]
}
`
	if got.status != 200 || got.header.Get("Content-Type") != "application/json" || got.header.Get("X-Manifest-Capabilities") != "read" || got.body != want {
		t.Errorf("%d %v\n%s", got.status, got.header, got.body)
	}
	// A kill changes what is served, and no default of an accessor.
	if _, err := s.Kill(t.Context(), store.DefaultNamespace, store.Kill{Keys: []string{"switch"}, Variant: "off"}, false, store.Change{}); err != nil {
		t.Fatal(err)
	}
	if again := ask(t, http.MethodGet, url+manifest.Path); again.body != got.body {
		t.Errorf("after a kill:\n%s", again.body)
	}
}

// The file's form has the same flags, by key, in the words of its schema.
func TestFile(t *testing.T) {
	url, _ := serve(t, flags)
	list, text := ask(t, http.MethodGet, url+manifest.Path).body, ask(t, http.MethodGet, url+manifest.FilePath).body
	type one struct {
		Key, Type, FlagType, Description string
		DefaultValue                     json.RawMessage
	}
	var a struct{ Flags []one }
	var f struct {
		Schema string `json:"$schema"`
		Flags  map[string]one
	}
	if err := json.Unmarshal([]byte(list), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		t.Fatal(err)
	}
	if f.Schema != manifest.Schema || len(f.Flags) != len(flags) || len(a.Flags) != len(flags) {
		t.Fatalf("%s\n%s", list, text)
	}
	for _, want := range a.Flags {
		got := f.Flags[want.Key]
		if got.FlagType != want.Type || got.Description != want.Description || len(got.DefaultValue) == 0 {
			t.Errorf("%s: %+v, %+v", want.Key, got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	url, _ := serve(t, nil)
	for _, c := range []struct {
		name, method, path string
		headers            []string
		status             int
	}{
		{"no flags", http.MethodGet, manifest.Path, nil, 200},
		{"no such namespace", http.MethodGet, manifest.Path, []string{"Plimsoll-Namespace", "nowhere"}, 404},
		{"no such namespace, by parameter", http.MethodGet, manifest.FilePath + "?namespace=nowhere", nil, 404},
		{"two namespaces", http.MethodGet, manifest.Path + "?namespace=a", []string{"Plimsoll-Namespace", "b"}, 403},
		{"no name of a namespace", http.MethodGet, manifest.Path + "?namespace=A_B", nil, 400},
		{"no such path", http.MethodGet, "/openfeature/v0/other", nil, 404},
		{"flags are not changed here", http.MethodPost, manifest.Path, nil, 405},
		{"nor created", http.MethodPost, manifest.Path + "/flags", nil, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ask(t, c.method, url+c.path, c.headers...)
			if got.status != c.status {
				t.Fatalf("%d %s", got.status, got.body)
			}
			var body struct {
				Flags *[]any
				Error struct {
					Message string
					Status  int
				}
			}
			if err := json.Unmarshal([]byte(got.body), &body); err != nil {
				t.Fatal(err)
			}
			if c.status == 200 && (body.Flags == nil || len(*body.Flags) != 0) || c.status != 200 && (body.Error.Status != c.status || body.Error.Message == "") {
				t.Errorf("%s", got.body)
			}
		})
	}
}
