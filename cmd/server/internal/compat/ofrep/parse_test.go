package ofrep

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// FuzzQuickContext wants what is read quickly to be what encoding/json reads.
func FuzzQuickContext(f *testing.F) {
	for _, body := range quickBodies {
		f.Add([]byte(body))
	}
	for _, body := range slowBodies {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, ok := quickContext(body)
		if !ok {
			return
		}
		var want struct{ Context map[string]any }
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("%q was read, though %v", body, err)
		}
		if !reflect.DeepEqual(got, want.Context) {
			t.Fatalf("%q: %v, not %v", body, got, want.Context)
		}
	})
}

var quickBodies = []string{
	`{"context":{}}`,
	` { "context" : { "targetingKey" : "u" , "n" : -1.5e+3 , "z":0, "t":true,"f":false,"x":null,"l":[ ],"m":[1,"a",{"b":[]}]} } `,
	`{"context":{"a":"é","a":2}}`,
}

var slowBodies = []string{
	``, `{}`, `[]`, `{"context":null}`, `{"context":{"a":"\n"}}`, `{"context":{"a":"\xff"}}`, `{"context":{}}x`, `{"context":{}`, `{"Context":{}}`,
	`{"context":{"a":01}}`, `{"context":{"a":1.}}`, `{"context":{"a":1e}}`, `{"context":{"a":-}}`, `{"context":{"a":1e999}}`, `{"context":{"a":tru}}`,
	`{"context":{"a":1,}}`, `{"context":{"a":[1,]}}`, `{"context":{"a" 1}}`, `{"context":{},"x":1}`, `{"context":{"a":"\u0000"}}`,
	`{"context":{"a":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}}`, "{\"context\":{\"a\":\"\x00\"}}",
}

// The same for texts that are nearly right.
func TestQuickContextAgrees(t *testing.T) {
	token := rapid.SampledFrom([]string{
		"{", "}", "[", "]", ":", ",", `"a"`, `"b"`, `"`, `\\`, "0", "12", "-", ".5", "e", "E+1", "true", "false", "null", " ", "\n", "\x00", "é", "\xff",
	})
	rapid.Check(t, func(t *rapid.T) {
		body := `{"context":{"x":` + strings.Join(rapid.SliceOfN(token, 0, 8).Draw(t, "tokens"), "") + `}}`
		got, ok := quickContext([]byte(body))
		var want struct{ Context map[string]any }
		switch err := json.Unmarshal([]byte(body), &want); {
		case ok && err != nil:
			t.Fatalf("%q was read, though %v", body, err)
		case ok && !reflect.DeepEqual(got, want.Context):
			t.Fatalf("%q: %v, not %v", body, got, want.Context)
		}
	})
}

// What is usual is read quickly, and nothing that is not.
func TestQuickContext(t *testing.T) {
	for _, body := range quickBodies {
		if _, ok := quickContext([]byte(body)); !ok {
			t.Errorf("%s is not read quickly", body)
		}
	}
	for _, body := range slowBodies {
		if v, ok := quickContext([]byte(body)); ok {
			t.Errorf("%q is read as %v", body, v)
		}
	}
}
