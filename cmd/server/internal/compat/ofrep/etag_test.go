package ofrep

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	"github.com/plimsoll-dev/plimsoll/store"
)

const user = `{"context":{"targetingKey":"u","plan":{"name":"pro","seats":3}}}`

// The header If-None-Match and the answer 304.
func TestNotModified(t *testing.T) {
	b := newBench(t, nil)
	tag := b.all(user).header.Get("ETag")
	for requirement, c := range map[string]struct {
		header string
		status int
	}{
		"304: the tag":                          {tag, 304},
		"304: one of several tags":              {`"other", ` + tag, 304},
		"304: the tag, weak by a proxy":         {`W/` + tag, 304},
		"304: the tag, its quotes lost":         {tag[1:33], 304},
		"304: any":                              {`*`, 304},
		"200: another tag":                      {`"other"`, 200},
		"200: no condition":                     {``, 200},
		"200: the tag as a part of another one": {`"x` + tag[1:], 200},
	} {
		t.Run(requirement, func(t *testing.T) {
			got := b.all(user, "If-None-Match", c.header)
			if got.status != c.status || got.header.Get("ETag") != tag {
				t.Errorf("%d, ETag %s", got.status, got.header.Get("ETag"))
			}
			if c.status == 304 && got.body != "" {
				t.Errorf("a body: %s", got.body)
			}
		})
	}
}

// The tag changes with whatever may change the answer, and with nothing else.
func TestTag(t *testing.T) {
	b := newBench(t, nil)
	tag := func(body string) string { return b.all(body).header.Get("ETag") }
	first := tag(user)
	if again := tag(`{"context":{"plan":{"seats":3.0,"name":"pro"},  "targetingKey":"u"}}`); again != first {
		t.Error("the same context, written otherwise, has another tag")
	}
	_, _, url := b.serve(Options{}, effective.Options{Now: b.now})
	if other := b.do(http.MethodPost, url+routeFlags, user).header.Get("ETag"); other != first {
		t.Error("another server has another tag")
	}
	for _, body := range []string{
		`{}`, `{"context":{"targetingKey":"v","plan":{"name":"pro","seats":3}}}`, `{"context":{"targetingKey":"u","plan":{"name":"pro","seats":"3"}}}`,
		`{"context":{"targetingKey":"u","plan":{"name":"pro","seats":[3]}}}`, `{"context":{"targetingKey":"u","plan":{"name":"pro"},"seats":3}}`,
	} {
		if tag(body) == first {
			t.Errorf("%s has the same tag", body)
		}
	}
	b.kill("switch", "off", time.Minute)
	killed := tag(user)
	if killed == first {
		t.Error("the same tag after a kill")
	}
	if b.pass(59 * time.Second); tag(user) != killed {
		t.Error("time alone has changed the tag")
	}
	// What ends by itself has no writer.
	b.pass(2 * time.Second)
	if got := b.all(user, "If-None-Match", killed); got.status != 200 || got.flag(t, "switch")["value"] != true {
		t.Errorf("%d %s after the end of the kill", got.status, got.body)
	}
}

// Where rules read the time, the tag is one of the body.
func TestTagOfSetsThatTellTheTime(t *testing.T) {
	b := newBench(t, nil)
	start := b.now().Unix()
	b.create("late", `{"state":"ENABLED","variants":{"yes":true,"no":false},"defaultVariant":"no","targeting":{"if":[{">":[{"var":"$flagd.timestamp"},`+strconv.FormatInt(start+10, 10)+`]},"yes"]}}`)
	first := b.all(user)
	b.pass(5 * time.Second)
	if got := b.all(user, "If-None-Match", first.header.Get("ETag")); got.status != 304 {
		t.Errorf("%d while nothing has changed", got.status)
	}
	b.pass(6 * time.Second)
	got := b.all(user, "If-None-Match", first.header.Get("ETag"))
	if got.status != 200 || got.flag(t, "late")["value"] != true {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := b.all(user, "If-None-Match", got.header.Get("ETag")); got.status != 304 {
		t.Errorf("%d right after", got.status)
	}
}

// The same flags in other words are another body, and have another tag, whether
// it is one of the state or one of the body.
func TestTagOfLimitedClients(t *testing.T) {
	b := newBench(t, nil)
	b.kill("switch", "off")
	limited := []string{"User-Agent", "python-requests/2.34.2"}
	check := func(t *testing.T) {
		t.Helper()
		usual, own := b.all(user), b.all(user, limited...)
		tag, ownTag := usual.header.Get("ETag"), own.header.Get("ETag")
		if usual.body == own.body || tag == ownTag {
			t.Fatalf("tags %s and %s of\n%s\n%s", tag, ownTag, usual.body, own.body)
		}
		if got := b.all(user, append(limited, "If-None-Match", tag)...); got.status != 200 || got.body != own.body {
			t.Errorf("%d for another client's tag", got.status)
		}
		if got := b.all(user, append(limited, "If-None-Match", ownTag)...); got.status != 304 {
			t.Errorf("%d for its own tag", got.status)
		}
	}
	check(t)
	b.create("late", `{"state":"ENABLED","variants":{"yes":true,"no":false},"defaultVariant":"no","targeting":{"if":[{">":[{"var":"$flagd.timestamp"},1]},"yes"]}}`)
	check(t)
}

// A metadata that is kept from one answer is not served with another one.
func TestMetadataFollowsTheLevel(t *testing.T) {
	b := newBench(t, nil)
	b.create("own", `{"state":"ENABLED","variants":{"many":12,"few":3},"defaultVariant":"many","metadata":{"team":"a"},"degradation":{"tier":"optional","degradedVariant":"few"}}`)
	for _, share := range []uint32{250_000, 750_000, 1_000_000} {
		if _, err := b.store.Shed(t.Context(), store.DefaultNamespace, "optional", share, nil, false, store.Change{}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for _, key := range []string{"a", "b", "c", "d", "e"} {
				body := `{"context":{"targetingKey":"` + key + `"}}`
				got := b.all(body)
				for _, name := range []string{"own", "count"} {
					f := got.flag(t, name)
					metadata, _ := f["metadata"].(map[string]any)
					level, shed := metadata["level"]
					if shed != (f["reason"] == "DEGRADED") || shed && level != float64(share)/1e6 || name == "own" && metadata["team"] != "a" {
						t.Errorf("%d: %v", share, f)
					}
				}
			}
		}
	}
}

// Contexts have the same canonical form if and only if they are equal as JSON.
func TestCanonical(t *testing.T) {
	value := rapid.Custom(anyValue)
	rapid.Check(t, func(t *rapid.T) {
		a, b := value.Draw(t, "a"), value.Draw(t, "b")
		same := string(appendCanonical(nil, a)) == string(appendCanonical(nil, b))
		x, _ := json.Marshal(a) // maps come out sorted
		y, _ := json.Marshal(b)
		if want := string(x) == string(y); same != want {
			t.Fatalf("%s and %s: same %t", x, y, same)
		}
	})
}

func anyValue(t *rapid.T) any {
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return float64(rapid.IntRange(-2, 300).Draw(t, "number"))
	case 3, 4:
		return rapid.StringMatching("[a-c]{0,2}").Draw(t, "text")
	case 5:
		return rapid.SliceOfN(rapid.Custom(anyValue), 0, 2).Draw(t, "list")
	default:
		return rapid.MapOfN(rapid.StringMatching("[a-c]{0,2}"), rapid.Custom(anyValue), 0, 2).Draw(t, "object")
	}
}

func TestVersionText(t *testing.T) {
	v := version{store: "abc", epoch: 3, revision: 1042, fingerprint: 0xfeed, lapsed: 1700000000123}
	for _, text := range []string{v.String(), `"` + v.String() + `"`, `W/"` + v.String() + `"`} {
		if got, ok := parseVersion(text); !ok || got != v {
			t.Errorf("%q: %+v %t", text, got, ok)
		}
	}
	for _, text := range []string{"", "550e8400-e29b-41d4-a716-446655440000", "a.b.c.d.e", "abc.1.2.3", "abc.1.2.3.4.5", ".1.2.3.4"} {
		if got, ok := parseVersion(text); ok {
			t.Errorf("%q is %+v", text, got)
		}
	}
	later := v
	later.lapsed++
	if v.reaches(later) || !later.reaches(v) || !v.reaches(v) || (version{store: "x", epoch: 9}).reaches(v) || !(version{store: "abc", epoch: 4}).reaches(v) {
		t.Error("order")
	}
}

func TestAppendString(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "text")
		var back string
		if err := json.Unmarshal(appendString(nil, s), &back); err != nil || back != s {
			t.Fatalf("%q became %s: %v", s, appendString(nil, s), err)
		}
	})
	if got := string(appendString(nil, "a\xffb\x00\"\\\n\t")); got != "\"a\ufffdb\\u0000\\\"\\\\\\n\\t\"" {
		t.Errorf("%s", got)
	}
}
