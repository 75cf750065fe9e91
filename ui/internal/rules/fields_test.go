package rules_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/plimsoll-dev/plimsoll/ui/internal/rules"
)

const whole = `{"x-unknown":{"b":1,"a":1.50},"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off",
	"metadata":{"team":"shop"},"degradation":{"tier":"optional","dependsOn":["db"],"x":1},"plimsoll":{"owner":"ann","labels":{"k":"v"},"z":[1, 2]}}`

// edited sends the form of a definition, with some fields typed over.
func edited(t *testing.T, definition string, typed ...string) (string, []rules.Problem) {
	t.Helper()
	o, err := rules.ReadObject(definition)
	if err != nil {
		t.Fatal(err)
	}
	f, err := rules.ReadFields(o)
	if err != nil {
		t.Fatal(err)
	}
	form := make(url.Values)
	f.Encode(form)
	for i := 0; i < len(typed); i += 2 {
		form.Set(typed[i], typed[i+1])
	}
	g, _, problems := rules.DecodeFields(form)
	g.Write(o)
	return o.Compact(), problems
}

func TestAFormThatIsNotTouchedChangesNothing(t *testing.T) {
	for _, text := range []string{
		whole,
		`{"variants":{"a":"42","b":" x ","c":"{","d":"\"","e":""},"state":"DISABLED"}`,
		`{"state":"ENABLED","variants":{"a":{"k": [1,2.0]},"b":{}},"plimsoll":{"description":" two\r\nlines <b> "}}`,
		`{"state":"ENABLED","variants":{"a":1e3,"b":0.10},"defaultVariant":null,"degradation":{}}`,
	} {
		o, err := rules.ReadObject(text)
		if err != nil {
			t.Fatal(err)
		}
		got, problems := edited(t, text)
		if got != o.Compact() || len(problems) > 0 {
			t.Errorf("%s became %s; %v", text, got, problems)
		}
	}
}

func TestFieldsChangeOnlyWhatWasTyped(t *testing.T) {
	for _, c := range []struct {
		typed []string
		from  string
		to    string
	}{
		{[]string{"disabled", "true"}, `"state":"ENABLED"`, `"state":"DISABLED"`},
		{[]string{"default", "on"}, `"defaultVariant":"off"`, `"defaultVariant":"on"`},
		{[]string{"default", ""}, `"defaultVariant":"off",`, ``},
		{[]string{"owner", ""}, `"owner":"ann",`, ``},
		{[]string{"labels", "k=v\r\n team = a=b "}, `{"k":"v"}`, `{"k":"v","team":"a=b"}`},
		{[]string{"dependson", "db, cache,db"}, `["db"]`, `["db","cache"]`},
		{[]string{"degradable", ""}, `"degradation":{"tier":"optional","dependsOn":["db"],"x":1},`, ``},
		{[]string{"tier", ""}, `"tier":"optional",`, ``},
		{[]string{"variant.0.name", "yes"}, `"on":true`, `"yes":true`},
		{[]string{"variant.1.name", "no"}, `"off":false},"defaultVariant":"off"`, `"no":false},"defaultVariant":"no"`},
		{[]string{"variant.2.name", "maybe", "variant.2.value", "true"}, `"off":false`, `"off":false,"maybe":true`},
	} {
		before, _ := edited(t, whole)
		want := strings.Replace(before, c.from, c.to, 1)
		got, problems := edited(t, whole, c.typed...)
		if got != want || want == before || len(problems) > 0 {
			t.Errorf("%v:\n%s\nwant\n%s\n%v", c.typed, got, want, problems)
		}
	}
}

func TestFieldsSayWhatIsWrong(t *testing.T) {
	for field, typed := range map[string][]string{
		"variant.0.name":  {"variant.0.name", " "},
		"variant.1.name":  {"variant.1.name", "on"},
		"variant.0.value": {"variant.0.value", `{"a":`},
		"labels":          {"labels", "novalue"},
	} {
		_, problems := edited(t, whole, typed...)
		if len(problems) != 1 || problems[0].Field != field {
			t.Errorf("%s: %v", field, problems)
		}
	}
}

func TestRenamingAVariantRenamesItInTheRules(t *testing.T) {
	m, err := rules.Parse(`{"if":[{"var":"a"},"on",{"fractional":[["on",1],["off",1]]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	m.Rename(map[string]string{"on": "off", "off": "on"})
	if want := `{"if":[{"!!":[{"var":"a"}]},"off",{"fractional":[["off",1],["on",1]]}]}`; m.JSON() != want {
		t.Errorf("%s, want %s", m.JSON(), want)
	}
}

func TestATargetingThatMeansTheSameStaysAsWritten(t *testing.T) {
	const text = `{"targeting":{"if":[{"var":["a"]},"on",null]}}`
	o, err := rules.ReadObject(text)
	if err != nil {
		t.Fatal(err)
	}
	m, err := rules.Parse(o.Get("targeting"))
	if err != nil {
		t.Fatal(err)
	}
	if o.SetTargeting(m); o.Compact() != text {
		t.Errorf("it became %s", o.Compact())
	}
	m.Edit("remove-rule:0")
	if o.SetTargeting(m); o.Compact() != `{}` {
		t.Errorf("without rules it is %s", o.Compact())
	}
}

func TestDefinitionsThatNoFormCanShow(t *testing.T) {
	for _, text := range []string{
		`{"state":1}`, `{"variants":[]}`, `{"variants":{"a\nb":1}}`, `{"plimsoll":{"labels":{"a=b":"c"}}}`, `{"degradation":{"dependsOn":"db"}}`,
		`{"degradation":{"dependsOn":["a,b"]}}`, `{"plimsoll":{"owner":["ann"]}}`,
	} {
		o, err := rules.ReadObject(text)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := rules.ReadFields(o); err == nil {
			t.Errorf("%s was read as %+v", text, f)
		}
	}
	for text, want := range map[string]string{
		"{\n  \"a\": }": "line 2, column 8", `[]`: "no object", `{"a":1,"a":2}`: "twice", ``: "unexpected end",
	} {
		if _, err := rules.ReadObject(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
